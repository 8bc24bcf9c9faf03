//! What goes into the scheduler and what comes out: the whole contract with whoever runs it.
//!
//! The runner owns the clock, the store and the delivery agents. It keeps four rules:
//! 1. After every [`crate::Scheduler::handle`] it drains [`crate::Scheduler::poll`] until `None`, and carries the actions
//!    of one message out in the order they came.
//! 2. [`Action::Finish`]: its reports are made durable **first**, then the settlement goes to the store (invariant I2).
//!    When a report cannot be stored, [`crate::bounce::without_reports`] says what to settle instead.
//! 3. An id counts as *being worked on* (the store's `skip`) from before [`Event::Admitted`] until its [`Action::Forget`]
//!    has come **and** the `Finish` before it has been applied by the store.
//! 4. Every [`Action::Dispatch`] is answered by one [`Event::Finished`], every [`Action::Load`] by one [`Event::Loaded`],
//!    also when something broke.

use std::sync::Arc;

use mail::{QueueId, Timestamp};
use store::{QueueEntry, Settlement};

use crate::bounce::Report;
use crate::outcome::Outcome;

/// How the keys of destinations that are Maildirs of this machine begin. Nobody is at the other end who must be spared.
pub const MAILDIR_KEY: &str = "maildir:";

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A message is in the store and due, and has been routed. Ignored when it is being worked on already; answered with
    /// [`Action::Forget`] when there is no room: it then comes back by [`Action::Load`].
    Admitted {
        /// The message.
        entry: Arc<QueueEntry>,
        /// Pending recipients and the destination each is delivered to. The destination's key names what shares
        /// connections and troubles: a domain, a host, a local agent ([`MAILDIR_KEY`]).
        destinations: Vec<(u32, Arc<str>)>,
        /// Pending recipients for which there is no destination, with the reason: final or for now.
        unroutable: Vec<Outcome>,
    },
    /// A dispatched job ended. A recipient of the job without an outcome counts as deferred for a reason of ours.
    Finished {
        /// The message.
        id: QueueId,
        /// As dispatched.
        destination: Arc<str>,
        /// One for each recipient of the job.
        outcomes: Vec<Outcome>,
    },
    /// An operator wants attempts now. The runner has made the messages due in the store before.
    Retry(RetryScope),
    /// The message was put on hold. What runs is finished, nothing more is dispatched.
    Held(QueueId),
    /// The message was thrown away by an operator. What runs is finished, and no report is made.
    Deleted(QueueId),
    /// All that the store gave for [`Action::Load`] has been admitted.
    Loaded {
        /// How many messages the store gave.
        count: usize,
        /// When the store has the next one due ([`store::QueueStore::next_due`]), if it knows of one.
        next_due: Option<Timestamp>,
    },
    /// Time has passed: sent for [`Action::Wake`], harmless at any time.
    Tick,
    /// The server shuts down: no job is dispatched and nothing loaded from now on; what runs may still finish.
    Stop,
}

/// What an operator wants tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryScope {
    /// These messages, even if their destination is being left alone.
    Messages(Vec<QueueId>),
    /// One destination: it is no longer left alone.
    Destination(Arc<str>),
    /// No destination is left alone any longer.
    All,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Deliver to these recipients, together.
    Dispatch {
        /// The message.
        id: QueueId,
        /// As admitted.
        destination: Arc<str>,
        /// Indexes into the message's recipients; at most `recipients_per_job`.
        recipients: Vec<u32>,
    },
    /// Make the reports durable, then record the settlement.
    Finish {
        /// What changed.
        settlement: Settlement,
        /// What the sender is to be told, and what is kept from them and why. For every failed recipient in the
        /// settlement there is one report.
        reports: Vec<Report>,
    },
    /// There is room: ask the store for due messages, admit them, then say [`Event::Loaded`].
    Load {
        /// How many at most.
        limit: usize,
    },
    /// Send [`Event::Tick`] then. Replaces the time named before.
    Wake(Timestamp),
    /// The message is no longer worked on: it is finished, waits in the store for its next attempt, or found no room.
    Forget(QueueId),
}
