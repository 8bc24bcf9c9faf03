//! The keys by which bounces of our own mail are known, as commands handle them: another one is made here, and put in force by a
//! reload.
//!
//! Never asks or tells the running server, which makes the first key and their folder at its start.

use std::path::PathBuf;

use antispam::backscatter::{Keys, validity_days};
use config::Loaded;

use crate::assemble::marks_folder;
use crate::clock;
use crate::error::Error;

/// Makes a key that signs after the next reload; all others still verify. Gives its file.
///
/// # Errors
/// When it cannot be written, or would replace one that is still needed.
pub fn rotate(loaded: &Loaded) -> Result<PathBuf, Error> {
    let folder = marks_folder(loaded);
    let days = validity_days(loaded.config.queue.lifetime_seconds);
    let keys = Keys::rotate(&folder, clock::now(), days)?;
    Ok(keys.newest().map_or(folder.clone(), |key| folder.join(format!("{}.key", key.digit))))
}
