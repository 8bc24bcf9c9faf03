//! A model that is kept ready for judging: read from its file when that is first needed, and again when it has changed.
//!
//! The file is looked at for each message. One that cannot be read leaves the last good model in use. Reading takes as long
//! as the file is large: [`Kept::at_hand`] tells whether it is needed, so that whoever serves sessions does it elsewhere.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::correction::Correction;
use super::filter::{self, LearnError};
use super::model::Model;

/// The model of one filter, and the file it was read from.
#[derive(Debug)]
pub struct Kept<M> {
    folder: PathBuf,
    load: fn(&Path) -> Result<Option<M>, LearnError>,
    state: Mutex<State<M>>,
}

#[derive(Debug)]
struct State<M> {
    model: Option<Arc<M>>,
    read_from: Option<Stamp>,
}

impl Kept<Model> {
    /// That of the shared filter in `folder`, once there is one. Nothing is read yet.
    #[must_use]
    pub const fn shared(folder: PathBuf) -> Self {
        Self { folder, load: filter::load, state: Mutex::new(State { model: None, read_from: None }) }
    }
}

impl Kept<Correction> {
    /// The same of the filter of a domain or an account.
    #[must_use]
    pub const fn own(folder: PathBuf) -> Self {
        let state = Mutex::new(State { model: None, read_from: None });
        Self { folder, load: filter::load_correction, state }
    }
}

/// What changes when a file is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

fn stamp(path: &Path) -> Option<Stamp> {
    let data = fs::metadata(path).ok()?;
    Some(Stamp { inode: data.ino(), bytes: data.len(), changed: (data.mtime(), data.mtime_nsec()) })
}

impl<M> Kept<M> {
    /// The model as it is now, when nothing has to be read for that; `Some(None)` when there is none.
    #[must_use]
    pub fn at_hand(&self) -> Option<Option<Arc<M>>> {
        let now = stamp(&self.folder.join("model"));
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (now == state.read_from).then(|| state.model.clone())
    }

    /// The model as it is now; none when there is too little to judge by. Reads its file when it has changed.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged, and none was read before.
    pub fn current(&self) -> Result<Option<Arc<M>>, LearnError> {
        let now = stamp(&self.folder.join("model"));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now != state.read_from {
            match (self.load)(&self.folder) {
                Ok(model) => state.model = model.map(Arc::new),
                // What was read before stays in use; the next message looks again.
                Err(error) if state.model.is_none() => return Err(error),
                Err(_) => return Ok(state.model.clone()),
            }
            state.read_from = now;
        }
        Ok(state.model.clone())
    }
}
