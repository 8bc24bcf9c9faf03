//! The Maildir agent: final delivery into folders of this machine.
//!
//! A message is written to `tmp`, synced, renamed into `new`, and the folder synced; only then is it reported as
//! delivered. Several that wait at the same time share the folder's sync. Mailbox and folders are made on first use, and
//! opened beneath their root without following links. The blocking work is done by a bounded number of threads.
//! Never reads mail, never changes what is there. What fails is a value: a full mailbox, a link in the way, a disk.

mod beneath;
mod message;
mod quota;

use std::collections::VecDeque;
use std::fmt::Display;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use mail::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{OFlag, PosixFadviseAdvice, openat, posix_fadvise, renameat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};
use tokio::sync::oneshot;

use crate::content::Content;
use crate::error::DeliveryError;
use crate::next_hop::MaildirPath;
use crate::settings::MaildirSettings;
use beneath::{Making, open_below, open_mailbox};
use quota::Quota;

/// The user that Maildirs belong to, when it is not the server's own. Making it so needs CAP_CHOWN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The Maildir agent. Clones share its threads.
#[derive(Debug, Clone)]
pub struct Maildir(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file_mode: Mode,
    making: Making,
    junk_folder: String,
    quota: Quota,
    names: message::Names,
    writers_max: usize,
    batch_max: usize,
    time_max: Duration,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    writers: usize,
}

/// One message for one mailbox.
#[derive(Debug)]
pub struct MaildirDelivery {
    /// Which mailbox.
    pub path: MaildirPath,
    /// Into the junk folder instead of the inbox.
    pub junk: bool,
    /// The message, with everything on top.
    pub content: Content,
    /// When: it goes into the file's name.
    pub now: Timestamp,
}

#[derive(Debug)]
struct Job {
    delivery: MaildirDelivery,
    done: oneshot::Sender<Result<(), MaildirError>>,
}

/// Why a message could not be delivered into a Maildir.
#[derive(Debug, thiserror::Error)]
pub enum MaildirError {
    /// The quota is used up.
    #[error("the mailbox is full")]
    Full,
    /// A link, or a file, stands where a folder must be; it is not followed.
    #[error("`{0}` is a link or a file where a folder of the mailbox must be")]
    Link(String),
    /// The file system said no.
    #[error("{place}: {error}")]
    Io {
        /// Which file or folder.
        place: String,
        /// What it said.
        error: io::Error,
    },
    /// It took too long, or the writer died: it may or may not be there.
    #[error("the file system did not answer in time")]
    Late,
}

impl MaildirError {
    fn at(place: impl Display, error: impl Into<io::Error>) -> Self {
        Self::Io { place: place.to_string(), error: error.into() }
    }

    /// True when the disk, or a disk quota, is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        let Self::Io { error, .. } = self else { return false };
        matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::ENOSPC | Errno::EDQUOT))
    }
}

impl Maildir {
    /// An agent with these settings. `host` goes into file names; `owner` is given when Maildirs belong to another user.
    ///
    /// # Errors
    /// [`DeliveryError::Setting`] for a mode that is not octal, or a junk folder that is no plain name.
    pub fn new(settings: &MaildirSettings, owner: Option<Owner>, host: &str) -> Result<Self, DeliveryError> {
        let file_mode = octal("delivery.maildir.file_mode", &settings.file_mode)?;
        let mut folder_mode = octal("delivery.maildir.folder_mode", &settings.folder_mode)?;
        if owner.is_some() {
            folder_mode |= (folder_mode & 0o700) >> 3;
        }
        let junk = &settings.junk_folder;
        if junk.len() < 2 || !junk.starts_with('.') || junk.contains('/') || junk == ".." {
            let want = "a dot and a name, such as .Junk";
            return Err(DeliveryError::setting("delivery.maildir.junk_folder", junk, want));
        }
        Ok(Self(Arc::new(Inner {
            file_mode: Mode::from_bits_truncate(file_mode),
            making: Making { mode: Mode::from_bits_truncate(folder_mode), owner },
            junk_folder: junk.clone(),
            quota: Quota { bytes_max: settings.quota_bytes_max, messages_max: settings.quota_messages_max },
            names: message::Names::new(host, random()),
            writers_max: settings.writers_max.max(1),
            batch_max: settings.batch_max.max(1),
            time_max: Duration::from_secs(settings.write_seconds_max.max(1)),
            waiting: Mutex::default(),
        })))
    }

    /// Begins a delivery, to be waited for with [`Begun::done`].
    #[must_use]
    pub fn begin(&self, delivery: MaildirDelivery) -> Begun {
        let (done, result) = oneshot::channel();
        if self.enlist(Job { delivery, done }) {
            let inner = Arc::clone(&self.0);
            tokio::task::spawn_blocking(move || write_until_empty(&inner));
        }
        Begun { result, time_max: self.0.time_max }
    }

    /// Delivers one message; `Ok` after file and folder are synced.
    ///
    /// # Errors
    /// [`MaildirError`].
    pub async fn deliver(&self, delivery: MaildirDelivery) -> Result<(), MaildirError> {
        self.begin(delivery).done().await
    }

    /// True when the mailbox takes no further message: asked at RCPT. A mailbox that does not exist yet is empty.
    ///
    /// # Errors
    /// [`MaildirError`].
    pub async fn is_full(&self, path: &MaildirPath) -> Result<bool, MaildirError> {
        if self.0.quota.is_unlimited() {
            return Ok(false);
        }
        let (inner, path) = (Arc::clone(&self.0), path.clone());
        let look = tokio::task::spawn_blocking(move || match open_mailbox(&path, None)? {
            Some(mailbox) => quota::is_over(&mailbox, inner.quota, 1, SystemTime::now(), inner.file_mode),
            None => Ok(false),
        });
        tokio::time::timeout(self.0.time_max, look)
            .await
            .map_or(Err(MaildirError::Late), |done| done.unwrap_or(Err(MaildirError::Late)))
    }

    /// Puts a job in line; true when a further writer is to be started for it.
    fn enlist(&self, job: Job) -> bool {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.jobs.push_back(job);
        let more = waiting.writers < self.0.writers_max;
        waiting.writers += usize::from(more);
        more
    }
}

/// A delivery that is under way.
#[derive(Debug)]
pub struct Begun {
    result: oneshot::Receiver<Result<(), MaildirError>>,
    time_max: Duration,
}

impl Begun {
    /// `Ok` after file and folder are synced.
    ///
    /// # Errors
    /// [`MaildirError`].
    pub async fn done(self) -> Result<(), MaildirError> {
        match tokio::time::timeout(self.time_max, self.result).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(MaildirError::Late),
        }
    }
}

/// Takes its place in the count of writers back, even if it dies.
struct Writer<'a>(&'a Inner);

impl Writer<'_> {
    /// The next jobs in line; none: this writer's place is given up in the same step, so that no job is left behind.
    fn next(&self) -> Option<Vec<Job>> {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.jobs.len().min(self.0.batch_max);
        (count > 0).then(|| waiting.jobs.drain(..count).collect())
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).writers -= 1;
    }
}

fn write_until_empty(inner: &Inner) {
    loop {
        let writer = Writer(inner);
        while let Some(batch) = writer.next() {
            write_batch(inner, batch);
        }
        drop(writer);
        // A job may have come between the last look and giving the place up.
        let mut waiting = inner.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.jobs.is_empty() || waiting.writers >= inner.writers_max {
            return;
        }
        waiting.writers += 1;
    }
}

/// A message that is in `tmp`.
struct Written {
    mailbox: File,
    temporary: File,
    new: File,
    file: File,
    name: String,
    size: u64,
    wire_size: u64,
}

/// Writes all, syncs all, renames all, syncs each folder once, and only then reports.
fn write_batch(inner: &Inner, batch: Vec<Job>) {
    let mut pending: Vec<(oneshot::Sender<_>, Result<Written, MaildirError>)> =
        Vec::with_capacity(batch.len());
    for Job { delivery, done } in batch {
        pending.push((done, inner.write(&delivery)));
    }
    for (_, result) in &mut pending {
        advance(result, |written| written.file.sync_all());
    }
    for (_, result) in &mut pending {
        advance(result, Written::publish);
    }
    let mut synced: Vec<((u64, u64), bool)> = Vec::new();
    for (_, result) in &mut pending {
        advance(result, |written| sync_once(&written.new, &mut synced));
    }
    for (done, result) in pending {
        let result = result.map(|written| {
            if !inner.quota.is_unlimited() {
                // The next count mends what is not recorded here.
                drop(quota::add(&written.mailbox, written.size));
            }
        });
        // Nobody waits any more when the time limit has passed.
        drop(done.send(result));
    }
}

/// Takes a further step with what went well so far; what fails leaves nothing behind in `tmp`.
fn advance(result: &mut Result<Written, MaildirError>, step: impl FnOnce(&Written) -> io::Result<()>) {
    if let Ok(written) = result
        && let Err(error) = step(written)
    {
        written.discard();
        *result = Err(MaildirError::at(&written.name, error));
    }
}

/// Syncs a folder unless it was synced since the batch's renames.
fn sync_once(folder: &File, synced: &mut Vec<((u64, u64), bool)>) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let metadata = folder.metadata()?;
    let identity = (metadata.dev(), metadata.ino());
    match synced.iter().find(|(seen, _)| *seen == identity) {
        Some((_, true)) => Ok(()),
        Some((_, false)) => Err(io::Error::other("the folder could not be synced")),
        None => {
            let result = folder.sync_all();
            synced.push((identity, result.is_ok()));
            result
        }
    }
}

impl Inner {
    /// Opens, or makes, the mailbox and writes the message into its `tmp`.
    fn write(&self, delivery: &MaildirDelivery) -> Result<Written, MaildirError> {
        let missing = || MaildirError::at(&delivery.path, Errno::ENOENT);
        let below =
            |folder: &File, name: &str| open_below(folder, name, Some(self.making))?.ok_or_else(missing);
        let mailbox = open_mailbox(&delivery.path, Some(self.making))?.ok_or_else(missing)?;
        if !self.quota.is_unlimited() {
            let (size, now) = (delivery.content.size(), SystemTime::now());
            if quota::is_over(&mailbox, self.quota, size, now, self.file_mode)? {
                return Err(MaildirError::Full);
            }
        }
        let junk = delivery.junk.then(|| self.junk(&mailbox)).transpose()?;
        let folder = junk.as_ref().unwrap_or(&mailbox);
        let (temporary, new) = (below(folder, "tmp")?, below(folder, "new")?);
        below(folder, "cur")?;
        let name = self.names.next(delivery.now);
        let file = self.create(&temporary, &name).map_err(|error| MaildirError::at(&name, error))?;
        let wire_size = delivery.content.size();
        let mut written = Written { mailbox, temporary, new, file, name, size: 0, wire_size };
        match message::write(&written.file, &delivery.content) {
            Ok(size) => {
                written.size = size;
                if let Ok(len) = size.try_into() {
                    // Starts the write-back, so that the first sync of a batch commits the blocks of all its files and the
                    // others find nothing left to do. Only a hint.
                    let _ = posix_fadvise(&written.file, 0, len, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
                }
            }
            Err(error) => {
                written.discard();
                return Err(MaildirError::at(written.name, error));
            }
        }
        Ok(written)
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
        Ok(renameat(&self.temporary, self.name.as_str(), &self.new, name.as_str())?)
    }

    fn discard(&self) {
        // What cannot be removed now, mail readers remove from `tmp` after 36 hours.
        let _ = unlinkat(&self.temporary, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}

fn octal(key: &'static str, text: &str) -> Result<u32, DeliveryError> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err(DeliveryError::setting(key, text, "permissions in octal, such as \"0600\"")),
    }
}

/// A number that the next start of the server does not draw again.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
