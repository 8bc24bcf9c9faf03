//! One batch of deliveries: all written, all synced, all renamed, each folder synced, and only then reported.
//!
//! Messages for one mailbox share the opening of its folders. What fails concerns its own message alone, and leaves
//! nothing behind in `tmp`; a folder that cannot be synced fails all that were renamed into it.
//! Never reports before file and folder are synced.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{OFlag, PosixFadviseAdvice, openat, posix_fadvise, renameat};
use nix::sys::stat::fchmod;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};
use tokio::sync::oneshot;

use super::beneath::{open_below, open_mailbox};
use super::{Inner, Job, MaildirDelivery, MaildirError, message, quota, syncing};
use mail::next_hop::MaildirPath;

/// Delivers a batch and answers each of its jobs.
pub(super) fn deliver(inner: &Inner, batch: Vec<Job>) {
    let mut opened: Vec<Arc<Folders>> = Vec::new();
    let mut pending: Vec<Pending> = Vec::with_capacity(batch.len());
    for Job { delivery, done } in batch {
        let result =
            folders(inner, &mut opened, &delivery).and_then(|folders| inner.write(&delivery, folders));
        pending.push(Pending { done, result });
    }
    drop(opened);
    let files =
        pending.iter().filter_map(Pending::written).map(|written| Arc::clone(&written.file)).collect();
    let mut synced = syncing::sync_all(files, inner.syncs_max).into_iter();
    advance(&mut pending, |_| synced.next().unwrap_or_else(no_sync));
    advance(&mut pending, Written::publish);
    sync_folders(&mut pending, inner.syncs_max);
    for Pending { done, result } in pending {
        let result = result.map(|written| {
            if !inner.quota.is_unlimited() {
                // The next count mends what is not recorded here.
                drop(quota::add(&written.folders.mailbox, written.size));
            }
        });
        // Nobody waits any more when the time limit has passed.
        drop(done.send(result));
    }
}

/// A job on its way.
struct Pending {
    done: oneshot::Sender<Result<(), MaildirError>>,
    result: Result<Written, MaildirError>,
}

impl Pending {
    fn written(&self) -> Option<&Written> {
        self.result.as_ref().ok()
    }
}

/// A message that is in `tmp`.
struct Written {
    folders: Arc<Folders>,
    file: Arc<File>,
    name: String,
    size: u64,
    wire_size: u64,
}

/// The open folders of a mailbox, or of its junk folder.
struct Folders {
    path: MaildirPath,
    junk: bool,
    mailbox: File,
    temporary: File,
    new: Arc<File>,
}

fn no_sync() -> io::Result<()> {
    Err(io::Error::other("it could not be synced"))
}

/// Takes a further step with what went well so far; what fails leaves nothing behind in `tmp`.
fn advance(pending: &mut [Pending], mut step: impl FnMut(&Written) -> io::Result<()>) {
    for Pending { result, .. } in pending {
        if let Ok(written) = result
            && let Err(error) = step(written)
        {
            written.discard();
            *result = Err(MaildirError::at(&written.name, error));
        }
    }
}

/// Syncs each `new` once, after all renames into it.
fn sync_folders(pending: &mut [Pending], syncs_max: usize) {
    let mut folders: Vec<(Identity, Arc<File>)> = Vec::new();
    let mut places: Vec<io::Result<usize>> = Vec::with_capacity(pending.len());
    for written in pending.iter().filter_map(Pending::written) {
        places.push(identity(&written.folders.new).map(|identity| {
            folders.iter().position(|(seen, _)| *seen == identity).unwrap_or_else(|| {
                folders.push((identity, Arc::clone(&written.folders.new)));
                folders.len() - 1
            })
        }));
    }
    let synced = syncing::sync_all(folders.into_iter().map(|(_, folder)| folder).collect(), syncs_max);
    let mut places = places.into_iter();
    advance(pending, |_| match synced.get(places.next().unwrap_or(Ok(usize::MAX))?) {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
        None => no_sync(),
    });
}

/// Device and inode: two names may lead to one folder.
type Identity = (u64, u64);

fn identity(folder: &File) -> io::Result<Identity> {
    let metadata = folder.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// The folders for a delivery: those that are open already, or opened, and made, now.
fn folders(
    inner: &Inner,
    opened: &mut Vec<Arc<Folders>>,
    delivery: &MaildirDelivery,
) -> Result<Arc<Folders>, MaildirError> {
    let known = opened.iter().find(|known| known.junk == delivery.junk && known.path == delivery.path);
    if let Some(known) = known {
        return Ok(Arc::clone(known));
    }
    let folders = Arc::new(inner.open(&delivery.path, delivery.junk)?);
    opened.push(Arc::clone(&folders));
    Ok(folders)
}

impl Inner {
    /// Opens, or makes, the mailbox with its folders.
    fn open(&self, path: &MaildirPath, junk: bool) -> Result<Folders, MaildirError> {
        let missing = || MaildirError::at(path, Errno::ENOENT);
        let below =
            |folder: &File, name: &str| open_below(folder, name, Some(self.making))?.ok_or_else(missing);
        let mailbox = open_mailbox(path, Some(self.making))?.ok_or_else(missing)?;
        let junk_folder = junk.then(|| self.junk(&mailbox)).transpose()?;
        let folder = junk_folder.as_ref().unwrap_or(&mailbox);
        let (temporary, new) = (below(folder, "tmp")?, Arc::new(below(folder, "new")?));
        below(folder, "cur")?;
        Ok(Folders { path: path.clone(), junk, mailbox, temporary, new })
    }

    /// Writes the message into the mailbox's `tmp`.
    fn write(&self, delivery: &MaildirDelivery, folders: Arc<Folders>) -> Result<Written, MaildirError> {
        let wire_size = delivery.content.size();
        if !self.quota.is_unlimited()
            && quota::is_over(&folders.mailbox, self.quota, wire_size, SystemTime::now(), self.file_mode)?
        {
            return Err(MaildirError::Full);
        }
        let name = self.names.next(delivery.now);
        let file = self.create(&folders.temporary, &name).map_err(|error| MaildirError::at(&name, error))?;
        let mut written = Written { folders, file: Arc::new(file), name, size: 0, wire_size };
        match message::write(&written.file, &delivery.content) {
            Ok(size) => {
                written.size = size;
                if let Ok(len) = size.try_into() {
                    // Starts the write-back, so that the first sync of a batch commits the blocks of all its files and the
                    // others find nothing left to do. Only a hint.
                    let _ = posix_fadvise(&*written.file, 0, len, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
                }
                Ok(written)
            }
            Err(error) => {
                written.discard();
                Err(MaildirError::at(written.name, error))
            }
        }
    }

    /// The junk folder, with the empty file that marks a Maildir++ folder.
    fn junk(&self, mailbox: &File) -> Result<File, MaildirError> {
        let name = self.junk_folder.as_str();
        let existing = open_below(mailbox, name, None)?;
        if let Some(folder) = existing {
            return Ok(folder);
        }
        let made = open_below(mailbox, name, Some(self.making))?;
        let folder = made.ok_or_else(|| MaildirError::at(name, Errno::ENOENT))?;
        match self.create(&folder, "maildirfolder") {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(MaildirError::at(name, error)),
            _ => Ok(folder),
        }
    }

    fn create(&self, folder: &File, name: &str) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = File::from(openat(folder, name, flags, self.file_mode)?);
        if self.file_mode.bits() & 0o077 != 0 {
            fchmod(&file, self.file_mode)?;
        }
        if let Some(owner) = self.making.owner {
            fchown(&file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
        }
        Ok(file)
    }
}

impl Written {
    /// From `tmp` into `new`. The final name tells the size on disk (`S`) and with CRLF line ends (`W`), as Maildir++ and
    /// IMAP servers like to know without looking.
    fn publish(&self) -> io::Result<()> {
        let name = format!("{},S={},W={}", self.name, self.size, self.wire_size);
        Ok(renameat(&self.folders.temporary, self.name.as_str(), &*self.folders.new, name.as_str())?)
    }

    fn discard(&self) {
        // What cannot be removed now, mail readers remove from `tmp` after 36 hours.
        let _ = unlinkat(&self.folders.temporary, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}
