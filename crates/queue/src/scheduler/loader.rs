//! When to ask the store for due messages, and which of its answers are stale.
//!
//! The scheduler remembers no message that waits for its time: only when the next may be due. A message that finished
//! while the store's answer was on its way may stand in that answer as it was before: it must not be taken for a new one.

use std::collections::HashSet;
use std::time::Duration;

use mail::{QueueId, Timestamp};

/// How long after an empty answer the store is asked again, whatever else is known. It catches what no event told of,
/// such as messages that recovery has just found.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// When a question without an answer is given up and asked again.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// Ids remembered during one question; beyond them nothing is admitted until the answer is in.
const MEANWHILE_MAX: usize = 100_000;

/// The state of the dialogue with the store.
#[derive(Debug)]
pub(crate) struct Loader {
    /// When something that we know of falls due in the store, if we know of any.
    due_at: Option<Timestamp>,
    /// When the store is asked whatever we know.
    ask_again_at: Timestamp,
    /// The open question: when it was asked, and for how many.
    asked: Option<(Timestamp, usize)>,
    /// Messages that left the window since the question was asked.
    meanwhile: HashSet<QueueId>,
}

impl Loader {
    /// The store is asked at once: a queue from before the start may be there.
    pub(crate) fn new() -> Self {
        Self { due_at: None, ask_again_at: Timestamp(0), asked: None, meanwhile: HashSet::new() }
    }

    /// Something falls due then.
    pub(crate) fn note_due(&mut self, at: Timestamp) {
        self.due_at = Some(self.due_at.map_or(at, |due| due.min(at)));
    }

    /// The clock was set back: all that was planned is planned anew.
    pub(crate) fn ask_now(&mut self, now: Timestamp) {
        self.ask_again_at = now;
    }

    /// The store has due messages that we have not asked for: newer ones must queue up behind them.
    pub(crate) fn has_backlog(&self, now: Timestamp) -> bool {
        self.asked.is_none() && self.due_at.is_some_and(|at| at <= now)
    }

    /// When to ask next, if no question is open.
    pub(crate) fn asks_at(&self) -> Option<Timestamp> {
        let known = self.due_at.unwrap_or(self.ask_again_at);
        self.asked.is_none().then_some(known.min(self.ask_again_at))
    }

    pub(crate) fn ask(&mut self, limit: usize, now: Timestamp) {
        self.asked = Some((now, limit));
        self.due_at = None;
        self.ask_again_at = now.plus(ASK_AGAIN);
        self.meanwhile.clear();
    }

    /// The answer is complete. True when it held all that was due.
    pub(crate) fn answered(&mut self, count: usize, next_due: Option<Timestamp>, now: Timestamp) -> bool {
        let limit = self.asked.take().map_or(0, |(_, limit)| limit);
        self.meanwhile = HashSet::new();
        self.ask_again_at = now.plus(ASK_AGAIN);
        if count >= limit {
            self.note_due(now);
        }
        if let Some(at) = next_due {
            self.note_due(at);
        }
        count < limit
    }

    /// Gives an answer up that does not come.
    pub(crate) fn sweep(&mut self, now: Timestamp) {
        if self.asked.is_some_and(|(since, _)| now.since(since) >= ANSWER_MAX) {
            self.asked = None;
            self.ask_again_at = now;
        }
    }

    /// A message left the window.
    pub(crate) fn left(&mut self, id: QueueId) {
        if self.asked.is_some() && self.meanwhile.len() < MEANWHILE_MAX {
            self.meanwhile.insert(id);
        }
    }

    /// What is offered under this id may be out of date.
    pub(crate) fn is_stale(&self, id: QueueId) -> bool {
        self.asked.is_some() && (self.meanwhile.len() >= MEANWHILE_MAX || self.meanwhile.contains(&id))
    }
}
