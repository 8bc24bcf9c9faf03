//! One message in the active window: what waits, what runs, and what this round of attempts has brought so far.
//!
//! A *round* begins when the message is admitted and ends when each pending recipient has been tried or left for later. The
//! message then leaves the window, finished or due again.

use std::sync::Arc;

use mail::Timestamp;
use store::{Change, LastAttempt, QueueEntry, RecipientState, RecipientStatus};

use super::destination::DestinationId;
use crate::bounce::Reported;
use crate::outcome::{DeliveryResult, Outcome, Trouble};

#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) entry: Arc<QueueEntry>,
    /// When it was admitted.
    pub(crate) since: Timestamp,
    /// Destinations at which recipients wait.
    pub(crate) waiting_at: Vec<DestinationId>,
    pub(crate) flights: Vec<Flight>,
    pub(crate) deferred: Vec<Deferral>,
    pub(crate) failed: Vec<Reported>,
    /// An attempt was really made in this round.
    pub(crate) tried: bool,
    pub(crate) leaving: Option<Leaving>,
}

/// A job that runs.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) destination: DestinationId,
    /// Ascending.
    pub(crate) recipients: Vec<u32>,
    pub(crate) since: Timestamp,
}

/// Why nothing more is dispatched for a message whose jobs still run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    Held,
    Deleted,
}

/// A recipient that is still pending.
#[derive(Debug)]
pub(crate) struct Deferral {
    pub(crate) outcome: Outcome,
    pub(crate) at: Timestamp,
    pub(crate) again: Again,
    /// The store has it already, or has better.
    pub(crate) written: bool,
}

/// When a deferred recipient wants to be tried again.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Again {
    /// After the usual interval.
    Interval(Trouble),
    /// After the usual interval, but not before its destination's rest is over.
    AfterRest(Timestamp),
    /// Then: it had no turn.
    At(Timestamp),
}

/// What a job's outcomes came to.
#[derive(Debug, Default)]
pub(crate) struct Harvest {
    pub(crate) changes: Vec<Change>,
    pub(crate) delivered: Vec<Reported>,
    pub(crate) relayed: Vec<Reported>,
}

impl Active {
    pub(crate) fn new(entry: Arc<QueueEntry>, since: Timestamp) -> Self {
        Self {
            entry,
            since,
            waiting_at: Vec::new(),
            flights: Vec::new(),
            deferred: Vec::new(),
            failed: Vec::new(),
            tried: false,
            leaving: None,
        }
    }

    /// Nothing waits and nothing runs.
    pub(crate) fn round_is_over(&self) -> bool {
        self.waiting_at.is_empty() && self.flights.is_empty()
    }

    pub(crate) fn no_longer_waits_at(&mut self, destination: DestinationId) {
        self.waiting_at.retain(|d| *d != destination);
    }

    /// Takes the flight that these outcomes are about: the one with their recipients, or else the oldest to there.
    pub(crate) fn land(&mut self, destination: DestinationId, outcomes: &[Outcome]) -> Option<Flight> {
        let to_there = |flight: &Flight| flight.destination == destination;
        let about = |flight: &Flight| {
            outcomes.first().is_some_and(|o| flight.recipients.binary_search(&o.recipient).is_ok())
        };
        let exact = self.flights.iter().position(|f| to_there(f) && about(f));
        let index = exact.or_else(|| self.flights.iter().position(to_there))?;
        Some(self.flights.remove(index))
    }

    /// Sorts outcomes into what ends now, what is told at the end of the round, and what is tried again.
    pub(crate) fn record(&mut self, outcomes: Vec<Outcome>, now: Timestamp) -> Harvest {
        self.tried = true;
        let mut harvest = Harvest::default();
        for outcome in outcomes {
            match outcome.result {
                DeliveryResult::Deferred(trouble) => {
                    let again = Again::Interval(trouble);
                    self.deferred.push(Deferral { outcome, at: now, again, written: false });
                }
                DeliveryResult::Failed => self.failed.push(Reported { outcome, expired: false, at: now }),
                DeliveryResult::Discarded => {
                    harvest.changes.push(change(&outcome, RecipientState::Discarded, now));
                }
                DeliveryResult::Delivered | DeliveryResult::Relayed | DeliveryResult::RelayedWithDsn => {
                    harvest.changes.push(change(&outcome, RecipientState::Delivered, now));
                    let told = match outcome.result {
                        DeliveryResult::Delivered => &mut harvest.delivered,
                        DeliveryResult::Relayed => &mut harvest.relayed,
                        // RFC 3461 §5.2.2: the report on success is now the next server's to make.
                        _ => continue,
                    };
                    told.push(Reported { outcome, expired: false, at: now });
                }
            }
        }
        harvest
    }

    /// Writes down the deferrals that the store does not know yet.
    pub(crate) fn write_deferred(&mut self, changes: &mut Vec<Change>) {
        for deferral in self.deferred.iter_mut().filter(|d| !d.written) {
            changes.push(change(&deferral.outcome, RecipientState::Pending, deferral.at));
            deferral.written = true;
        }
    }

    /// Defers recipients without an attempt. Where an earlier one is on record its words stay: they are the real ones.
    pub(crate) fn skip(
        &mut self,
        recipients: &[u32],
        again: Again,
        peer: Option<&str>,
        reply: &mail::Reply,
        now: Timestamp,
    ) {
        for &recipient in recipients {
            let status = usize::try_from(recipient).ok().and_then(|i| self.entry.state.recipients.get(i));
            let last = status.and_then(|s| s.last.as_ref());
            let (peer, reply, at) = match last {
                Some(last) => (last.peer.clone(), last.reply.clone(), last.at),
                None => (peer.map(str::to_owned), reply.clone(), now),
            };
            let result = DeliveryResult::Deferred(Trouble::Destination);
            let outcome = Outcome { recipient, result, peer, reply };
            self.deferred.push(Deferral { outcome, at, again, written: last.is_some() });
        }
    }
}

/// The change that records an outcome.
pub(crate) fn change(outcome: &Outcome, state: RecipientState, at: Timestamp) -> Change {
    let last = LastAttempt { at, peer: outcome.peer.clone(), reply: outcome.reply.clone() };
    Change::Recipient { index: outcome.recipient, status: RecipientStatus { state, last: Some(last) } }
}
