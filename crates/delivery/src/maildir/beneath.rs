//! Folders beneath a trusted one, opened name by name without ever following a link.
//!
//! Names below the root come from outside (domains, mailbox names): whoever can write into one mailbox must not be able to
//! make the server write elsewhere by planting a link. Each level is opened from the one above with `O_NOFOLLOW`, and made
//! where it is missing. The root itself is the operator's: it may be a link.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{Gid, Uid, fchown};

use super::{MaildirError, Owner};
use mail::next_hop::MaildirPath;

const FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// How folders are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Making {
    /// Permissions, exactly: the umask does not count.
    pub(super) mode: Mode,
    /// Whose they are, when not the server's.
    pub(super) owner: Option<Owner>,
}

/// Opens a mailbox's folder; makes what is missing when told how. `Ok(None)`: it is missing.
pub(super) fn open_mailbox(path: &MaildirPath, making: Option<Making>) -> Result<Option<File>, MaildirError> {
    let Some(mut folder) = open_root(&path.root, making)? else { return Ok(None) };
    for name in &path.below {
        match open_below(&folder, name, making)? {
            Some(next) => folder = next,
            None => return Ok(None),
        }
    }
    Ok(Some(folder))
}

fn open_root(root: &Path, making: Option<Making>) -> Result<Option<File>, MaildirError> {
    match open(root, FOLDER, Mode::empty()) {
        Ok(fd) => return Ok(Some(File::from(fd))),
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(MaildirError::at(root.display(), errno)),
    }
    let Some(making) = making else { return Ok(None) };
    let made = DirBuilder::new().recursive(true).mode(making.mode.bits()).create(root);
    made.map_err(|error| MaildirError::at(root.display(), error))?;
    let folder =
        File::from(open(root, FOLDER, Mode::empty()).map_err(|e| MaildirError::at(root.display(), e))?);
    finish(&folder, making).map_err(|error| MaildirError::at(root.display(), error))?;
    Ok(Some(folder))
}

/// Opens the folder `name` in `parent`, without following a link; makes it when told how. `Ok(None)`: it is missing.
pub(super) fn open_below(
    parent: &File,
    name: &str,
    making: Option<Making>,
) -> Result<Option<File>, MaildirError> {
    let look = || openat(parent, name, FOLDER | OFlag::O_NOFOLLOW, Mode::empty()).map(File::from);
    match look() {
        Ok(folder) => return Ok(Some(folder)),
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(not_a_folder(name, errno)),
    }
    let Some(making) = making else { return Ok(None) };
    let made = match mkdirat(parent, name, making.mode) {
        Ok(()) => true,
        // Somebody else was faster; the folder is theirs to finish.
        Err(Errno::EEXIST) => false,
        Err(errno) => return Err(MaildirError::at(name, errno)),
    };
    let folder = look().map_err(|errno| not_a_folder(name, errno))?;
    if made {
        finish(&folder, making).map_err(|error| MaildirError::at(name, error))?;
        // The new name must survive a crash before anything in it is promised.
        parent.sync_all().map_err(|error| MaildirError::at(name, error))?;
    }
    Ok(Some(folder))
}

fn finish(folder: &File, making: Making) -> io::Result<()> {
    fchmod(folder, making.mode)?;
    if let Some(owner) = making.owner {
        // The group stays the server's: it is how it gets in again.
        fchown(folder, Some(Uid::from_raw(owner.uid)), None::<Gid>)?;
    }
    Ok(())
}

/// With `O_DIRECTORY | O_NOFOLLOW` Linux says ENOTDIR (or ELOOP) for a link.
fn not_a_folder(name: &str, errno: Errno) -> MaildirError {
    match errno {
        Errno::ENOTDIR | Errno::ELOOP => MaildirError::Link(name.to_owned()),
        errno => MaildirError::at(name, errno),
    }
}
