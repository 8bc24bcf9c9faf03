//! What is looked after from time to time: deliveries that never came back, and slow destinations that fill the window.
//!
//! Costs O(window) every [`PERIOD`], however long the queue is.

use std::time::Duration;

use mail::{QueueId, Reply, Timestamp};

use super::active::{Active, Again};
use super::destination::Waiting;
use super::{Scheduler, lost};
use crate::outcome::Outcome;
use crate::retry::Chance;
use crate::settings::Settings;

/// Between two sweeps.
const PERIOD: Duration = Duration::from_secs(10);

impl Scheduler {
    /// Sweeps, when it is time.
    pub(super) fn sweep(&mut self) {
        if self.now < self.sweep_at {
            return;
        }
        self.sweep_at = self.now.plus(PERIOD);
        self.loader.sweep(self.now);
        self.give_up_lost_flights();
        self.give_up_expired_waiting();
        let window_is_full = self.loader.has_backlog(self.now) && !self.active.is_empty();
        if window_is_full {
            self.make_room();
        }
    }

    /// A job that has not ended within `delivery_seconds_max` is no longer waited for.
    fn give_up_lost_flights(&mut self) {
        let max = Duration::from_secs(self.settings.delivery_seconds_max);
        let now = self.now;
        let has_lost = |f: &super::active::Flight| now.since(f.since) > max;
        let mut ids: Vec<QueueId> =
            self.active.iter().filter(|(_, a)| a.flights.iter().any(has_lost)).map(|(id, _)| *id).collect();
        // The map's order is not ours to rely on.
        ids.sort_unstable();
        for id in ids {
            while let Some(flight) = self.active.get_mut(&id).and_then(|active| {
                let index = active.flights.iter().position(has_lost)?;
                Some(active.flights.remove(index))
            }) {
                let words = "the delivery gave no answer in time";
                let outcomes: Vec<Outcome> =
                    flight.recipients.iter().map(|index| lost(*index, words)).collect();
                self.landed(id, &flight, outcomes);
            }
        }
    }

    /// A message whose time is over waits for its last attempt for `overdue_seconds`, and no longer.
    fn give_up_expired_waiting(&mut self) {
        let grace = Duration::from_secs(self.settings.overdue_seconds);
        let now = self.now;
        let over = |a: &Active| {
            let from = a.since.max(self.settings.expires_at(a.entry.runs_since()));
            !a.waiting_at.is_empty() && now > from.plus(grace)
        };
        let mut ids: Vec<QueueId> = self.active.iter().filter(|(_, a)| over(a)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        for id in ids {
            let waiting_at = self.active.get(&id).map(|active| active.waiting_at.clone()).unwrap_or_default();
            for at in waiting_at {
                let recipients = self.destinations.get_mut(at).map(|d| d.withdraw(id)).unwrap_or_default();
                self.send_back(at, &Waiting { id, recipients }, Again::At(now), None, &no_turn());
            }
        }
    }

    /// Due mail waits on disk while the window is full: what could not be delivered soon anyway gives up its place.
    fn make_room(&mut self) {
        let wait = self.settings.destination_wait_seconds_max.saturating_mul(1000);
        let now = self.now;
        let mut sent_back = Vec::new();
        for (id, destination) in self.destinations.iter_mut() {
            let keep = destination.takes_within(wait, now).max(1);
            if destination.waiting.len() > keep {
                destination.crowded = true;
                sent_back.extend(destination.waiting.drain(keep..).map(|job| (id, job)));
            }
        }
        for (id, job) in sent_back {
            let later = turn_later(&self.settings, &mut self.chance, now);
            self.send_back(id, &job, Again::At(later), None, &no_turn());
        }
    }
}

/// When a message that had no turn comes back: once or twice the longest wait from now.
pub(super) fn turn_later(settings: &Settings, chance: &mut Chance, now: Timestamp) -> Timestamp {
    let wait = Duration::from_secs(settings.destination_wait_seconds_max);
    now.plus(chance.between(wait, wait.saturating_mul(2)))
}

/// What is on record for it.
pub(super) fn no_turn() -> Reply {
    // RFC 3463 §3.5: X.4.5, mail system congestion.
    Reply::new(451, (4, 4, 5), "waits for its turn: the destination takes mail more slowly than it comes in")
}
