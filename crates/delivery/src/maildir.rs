//! The Maildir agent: final delivery into folders of this machine.
//!
//! A message is written to `tmp`, synced, renamed into `new`, and the folder synced; only then is it reported as
//! delivered. Several that wait at the same time are one batch (`batch.rs`): they share the folder's sync, and their files
//! are synced side by side (`syncing.rs`). Mailbox and folders are made on first use, and opened beneath their root without
//! following links. The blocking work is done by a bounded number of threads.
//! Never reads mail, never changes what is there. What fails is a value: a full mailbox, a link in the way, a disk.

mod batch;
mod beneath;
mod message;
mod quota;
mod syncing;

use std::collections::VecDeque;
use std::fmt::Display;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use mail::Timestamp;
use nix::errno::Errno;
use nix::sys::stat::Mode;
use tokio::sync::oneshot;

use crate::content::Content;
use crate::error::DeliveryError;
use crate::settings::MaildirSettings;
use beneath::{Making, open_mailbox};
use mail::next_hop::MaildirPath;
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
    syncs_max: usize,
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
            syncs_max: settings.syncs_max.max(1),
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
            batch::deliver(inner, batch);
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
