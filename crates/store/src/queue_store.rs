//! The queue's durable state as the rest of the system sees it: one trait, several engines, one conformance suite.
//!
//! Ids are made by the caller. A batch is a list of independent items with a result each: there are no closure
//! transactions and no iterators that live across an await, so that an engine across a network fits too.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use mail::{QueueId, Timestamp};

use crate::model::{NewMessage, QueueEntry, Settlement, StoredBody};

/// Why something was not stored. Both are answered 451 to a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It is certainly not stored, and nothing of it will ever appear.
    #[error("not stored: {0}")]
    NotApplied(String),
    /// The disk is (nearly) full; certainly not stored. Answered 452 4.3.1.
    #[error("no space left: {0}")]
    Full(String),
    /// It may or may not be stored.
    #[error("may or may not be stored: {0}")]
    Unknown(String),
    /// It was stored and cannot be read back.
    #[error("damaged: {0}")]
    Damaged(String),
    /// There is no such message.
    #[error("no such message")]
    Absent,
}

/// A result that comes when the engine has it. Dropping it does not undo the request.
#[derive(Debug)]
pub struct Pending<T>(tokio::sync::oneshot::Receiver<Result<T, StoreError>>);

impl<T> Pending<T> {
    /// A pair: what the engine fulfils, and what the caller awaits.
    #[must_use]
    pub fn channel() -> (tokio::sync::oneshot::Sender<Result<T, StoreError>>, Self) {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        (sender, Self(receiver))
    }

    /// A result that is there already.
    #[must_use]
    pub fn ready(result: Result<T, StoreError>) -> Self {
        let (sender, pending) = Self::channel();
        drop(sender.send(result));
        pending
    }

    /// Waits on the current thread, which must not be one that drives futures.
    ///
    /// # Errors
    /// What the engine said; [`StoreError::Unknown`] when it stopped without a word.
    pub fn wait(self) -> Result<T, StoreError> {
        self.0.blocking_recv().unwrap_or_else(|_| Err(stopped()))
    }
}

fn stopped() -> StoreError {
    StoreError::Unknown("the store stopped before it answered".into())
}

impl<T> Future for Pending<T> {
    type Output = Result<T, StoreError>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|r| r.unwrap_or_else(|_| Err(stopped())))
    }
}

/// Which messages [`QueueStore::list`] gives.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Only ids after this one.
    pub after: Option<QueueId>,
    /// At most so many.
    pub limit: usize,
}

/// Figures of the queue, cheap to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueFigures {
    /// Messages that wait for their first attempt or are being tried.
    pub active: u64,
    /// Messages that were tried and wait.
    pub deferred: u64,
    /// Messages on hold, for whatever reason.
    pub held: u64,
    /// Those of them whose record or body is damaged.
    pub damaged: u64,
    /// Octets of all messages as received.
    pub bytes: u64,
    /// Arrival of the oldest message, if there is one.
    pub oldest: Option<Timestamp>,
}

/// The queue.
pub trait QueueStore: Send + Sync {
    /// Stores messages. Each result is `Ok` only when that message is durable (RFC 5321 §4.2.5): this, and nothing else,
    /// permits a 250. Concurrent calls share one sync.
    fn enqueue(&self, message: NewMessage) -> Pending<()>;

    /// Opens a file of its own for a large body that is still coming in.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::NotApplied`].
    fn spool(&self, id: QueueId) -> Result<crate::BodyWriter, StoreError>;

    /// Whether new mail can be taken at all; cheap, to be asked before MAIL (452 4.3.1, 451).
    ///
    /// # Errors
    /// [`StoreError::Full`] when the disk is nearly full, [`StoreError::NotApplied`] when the store is closed.
    fn room(&self) -> Result<(), StoreError>;

    /// Records changes. They are applied in memory at once and reach the disk with the next batch, or within a bounded
    /// time; the result comes when they are durable. Losing them to a crash repeats work, never loses mail.
    fn settle(&self, settlements: Vec<Settlement>) -> Pending<Vec<Result<(), StoreError>>>;

    /// Messages that are due at `now` and not held, the longest due first, at most `limit`, leaving out those for which
    /// `skip` is true (they are being worked on).
    fn due(
        &self,
        now: Timestamp,
        limit: usize,
        skip: Box<dyn Fn(QueueId) -> bool + Send>,
    ) -> Pending<Vec<QueueEntry>>;

    /// When the next message that is not held becomes due after `now`, if there is one.
    fn next_due(&self, now: Timestamp) -> Pending<Option<Timestamp>>;

    /// One message.
    fn get(&self, id: QueueId) -> Pending<QueueEntry>;

    /// The header and body as received.
    fn read_body(&self, id: QueueId) -> Pending<StoredBody>;

    /// Messages in the order of their ids, a page at a time.
    fn list(&self, page: Page) -> Pending<Vec<QueueEntry>>;

    /// The queue in figures.
    fn figures(&self) -> QueueFigures;

    /// `Err` with a sentence when the engine can no longer be relied on; the daemon then stops and starts anew.
    ///
    /// # Errors
    /// The sentence.
    fn health(&self) -> Result<(), String>;

    /// Writes down all that waits, and stops. Further calls fail with [`StoreError::NotApplied`].
    fn close(&self) -> Pending<()>;
}
