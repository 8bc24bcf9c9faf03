//! The scheduler: decides what is tried when, how much at once, and when a message is given up.
//!
//! A state machine without clock, I/O or threads: [`Scheduler::handle`] takes an [`Event`] and the time, and
//! [`Scheduler::poll`] is then drained of [`Action`]s. The same seed and the same events give the same actions.
//!
//! Only messages in the *active window* are in memory, and the window is bounded; what waits for its time is in the store
//! alone. Destinations take turns; each has its own limit of deliveries at once (`destination.rs`). Every event costs O(1) in
//! the length of the queue, and O(recipients) of its message.
//!
//! It never delivers, never routes, never words a report. It cannot fail: an event that makes no sense is ignored.
//! What kept a message is unimportant: each way out of the window leads through one place that knows expiry
//! (`conclude.rs`). RFC 5321 §4.5.4.1.

mod active;
mod conclude;
mod destination;
mod loader;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mail::{QueueId, Reply, Timestamp};
use store::{Change, QueueEntry, RecipientState};

use self::active::{Active, Again, Flight, Harvest, Leaving};
use self::destination::{DestinationId, Destinations, LastTrouble, Waiting};
use self::loader::Loader;
use crate::bounce::{self, Report, ReportKind};
use crate::event::{Action, Event, RetryScope};
use crate::outcome::{DeliveryResult, Outcome, Trouble};
use crate::retry::Chance;
use crate::settings::Settings;

/// A time that is earlier than the last one by more than this says that the clock was set back.
const CLOCK_STEP: Duration = Duration::from_secs(2);

/// The scheduler. See the module for how it is driven; [`crate::event`] has the rules for whoever drives it.
#[derive(Debug)]
pub struct Scheduler {
    settings: Settings,
    chance: Chance,
    now: Timestamp,
    active: HashMap<QueueId, Active>,
    /// Recipients of all active messages.
    recipients: usize,
    destinations: Destinations,
    in_flight: u32,
    loader: Loader,
    /// Messages that an operator wants tried whatever their destination's condition.
    forced: HashSet<QueueId>,
    out: VecDeque<Action>,
    sweep_at: Timestamp,
    /// The time named by the last [`Action::Wake`].
    announced: Option<Timestamp>,
    stopped: bool,
}

/// The scheduler in figures, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Messages in the active window.
    pub active: usize,
    /// Their recipients.
    pub recipients: usize,
    /// Deliveries that run.
    pub in_flight: u32,
    /// Jobs that wait for their turn.
    pub waiting: usize,
    /// Destinations that are remembered.
    pub destinations: usize,
    /// Destinations that are left alone for now.
    pub resting: usize,
}

/// One destination's condition, for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationStatus {
    /// Its key.
    pub key: Arc<str>,
    /// Jobs that wait.
    pub waiting: usize,
    /// Deliveries that run.
    pub in_flight: u32,
    /// Deliveries that may run at once.
    pub concurrency: u32,
    /// Until when it is left alone, if it is.
    pub resting_until: Option<Timestamp>,
    /// The reply that told of its last trouble, while that lasts.
    pub trouble: Option<Reply>,
}

impl Scheduler {
    /// An empty window. Send [`Event::Tick`] once, so that the queue on disk is loaded.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            chance: Chance::new(seed),
            now: Timestamp(0),
            active: HashMap::new(),
            recipients: 0,
            destinations: Destinations::default(),
            in_flight: 0,
            loader: Loader::new(),
            forced: HashSet::new(),
            out: VecDeque::new(),
            sweep_at: Timestamp(0),
            announced: None,
            stopped: false,
        }
    }

    /// Puts other settings in force, from the next decision on. What runs or waits stays.
    pub fn reconfigure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Takes one event. Drain [`Self::poll`] afterwards. Clocks may be set, forwards and back: nothing is stuck by it.
    pub fn handle(&mut self, event: Event, now: Timestamp) {
        self.advance(now);
        self.load();
        match event {
            Event::Admitted { entry, destinations, unroutable } => {
                self.admit(entry, &destinations, unroutable);
            }
            Event::Finished { id, destination, outcomes } => self.finished(id, &destination, outcomes),
            Event::Retry(scope) => self.retry(scope),
            Event::Held(id) => self.withdraw(id, Leaving::Held),
            Event::Deleted(id) => self.withdraw(id, Leaving::Deleted),
            Event::Loaded { count, next_due } => {
                if self.loader.answered(count, next_due, self.now) {
                    // All that was due has been offered: what is still here is not in the store.
                    self.forced.clear();
                }
            }
            Event::Tick => {}
            Event::Stop => self.stopped = true,
        }
        self.sweep();
        self.load();
    }

    /// What is to be done next; `None` when all has been said.
    pub fn poll(&mut self) -> Option<Action> {
        if let Some(action) = self.out.pop_front() {
            return Some(action);
        }
        if let Some(dispatch) = self.dispatch() {
            return Some(dispatch);
        }
        let wake = self.wakes_at();
        if wake == self.announced {
            return None;
        }
        self.announced = wake;
        wake.map(Action::Wake)
    }

    /// True when a message admitted now would be taken. When false, offering it is harmless: it comes back from the store.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.stopped
            && self.active.len() < self.settings.active_max
            && self.recipients < self.settings.active_recipients_max
            && !self.loader.has_backlog(self.now)
    }

    /// True while the message is in the active window.
    #[must_use]
    pub fn is_active(&self, id: QueueId) -> bool {
        self.active.contains_key(&id)
    }

    /// The figures. O(destinations).
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            active: self.active.len(),
            recipients: self.recipients,
            in_flight: self.in_flight,
            waiting: self.destinations.iter().map(|d| d.waiting.len()).sum(),
            destinations: self.destinations.len(),
            resting: self.destinations.iter().filter(|d| d.resting(self.now).is_some()).count(),
        }
    }

    /// All destinations that are remembered, in no particular order.
    pub fn destinations(&self) -> impl Iterator<Item = DestinationStatus> + '_ {
        self.destinations.iter().map(|d| DestinationStatus {
            key: Arc::clone(&d.key),
            waiting: d.waiting.len(),
            in_flight: d.in_flight,
            concurrency: d.concurrency(),
            resting_until: d.resting(self.now),
            trouble: d.trouble.as_ref().map(|t| t.reply.clone()),
        })
    }

    fn advance(&mut self, now: Timestamp) {
        // Events that raced each other on their way here may be a little out of order: that is no set clock.
        if now.plus(CLOCK_STEP) >= self.now {
            self.now = self.now.max(now);
            return;
        }
        self.now = now;
        self.sweep_at = now;
        self.loader.ask_now(now);
        let latest = now.plus(Duration::from_secs(self.settings.destination_retry_seconds_max));
        for (_, destination) in self.destinations.iter_mut() {
            destination.rests_until = destination.rests_until.map(|until| until.min(latest));
        }
    }

    /// Asks the store, when something may be due and a fair part of the window is free: not for every message that ends.
    fn load(&mut self) {
        let low = |max: usize| max - max / 4;
        let room = self.active.len() < low(self.settings.active_max)
            && self.recipients < low(self.settings.active_recipients_max);
        if self.stopped || !room || self.loader.asks_at().is_none_or(|at| at > self.now) {
            return;
        }
        let limit = self.settings.active_max - self.active.len();
        self.loader.ask(limit, self.now);
        self.out.push_back(Action::Load { limit });
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        if self.stopped && self.active.is_empty() {
            return None;
        }
        // A question that is due and could not be put waits for room, not for the clock.
        let ask = self.loader.asks_at().filter(|at| *at > self.now && !self.stopped);
        // With nothing active and no question open there is nothing to sweep.
        let idle = self.active.is_empty() && ask.is_some();
        let sweep = (!idle).then_some(self.sweep_at);
        ask.into_iter().chain(sweep).min()
    }

    fn admit(&mut self, entry: Arc<QueueEntry>, destinations: &[(u32, Arc<str>)], unroutable: Vec<Outcome>) {
        let id = entry.record.id;
        if self.active.contains_key(&id) {
            return;
        }
        if entry.state.hold.is_some() || self.loader.is_stale(id) || !self.has_room() {
            if entry.state.hold.is_none() {
                self.loader.note_due(self.now);
            }
            self.out.push_back(Action::Forget(id));
            return;
        }
        let forced = self.forced.remove(&id);
        let (routed, unroutable) = self.sort_out(&entry, destinations, unroutable);
        self.recipients += entry.record.recipients.len();
        let mut active = Active::new(entry, self.now);
        let harvest =
            if unroutable.is_empty() { Harvest::default() } else { active.record(unroutable, self.now) };
        for (destination, recipients) in routed {
            self.queue_up(&mut active, destination, recipients, forced);
        }
        self.active.insert(id, active);
        self.settle_round(id, harvest);
    }

    /// Checks what was offered against what is pending: each recipient once, those forgotten deferred for a reason of ours.
    fn sort_out(
        &mut self,
        entry: &QueueEntry,
        destinations: &[(u32, Arc<str>)],
        mut unroutable: Vec<Outcome>,
    ) -> (Vec<(DestinationId, Vec<u32>)>, Vec<Outcome>) {
        let mut open: Vec<bool> =
            entry.state.recipients.iter().map(|r| r.state == RecipientState::Pending).collect();
        let mut claim = |index: u32| {
            let slot = usize::try_from(index).ok().and_then(|i| open.get_mut(i));
            slot.is_some_and(std::mem::take)
        };
        unroutable.retain(|outcome| claim(outcome.recipient));
        let mut pairs: Vec<(DestinationId, u32)> = Vec::with_capacity(destinations.len());
        for (index, key) in destinations {
            if claim(*index) {
                pairs.push((self.destinations.of(key, &self.settings, self.now), *index));
            }
        }
        let left_out =
            open.iter().enumerate().filter(|(_, open)| **open).filter_map(|(i, _)| u32::try_from(i).ok());
        unroutable.extend(left_out.map(|index| lost(index, "no destination was given")));
        pairs.sort_unstable();
        let same = pairs.chunk_by(|a, b| a.0 == b.0);
        let grouped =
            same.filter_map(|group| Some((group.first()?.0, group.iter().map(|(_, i)| *i).collect())));
        (grouped.collect(), unroutable)
    }

    /// Lets recipients wait for their destination, unless it rests or is too slow for more.
    fn queue_up(&mut self, active: &mut Active, id: DestinationId, recipients: Vec<u32>, forced: bool) {
        let now = self.now;
        let wait = self.settings.destination_wait_seconds_max.saturating_mul(1000);
        let Some(destination) = self.destinations.get_mut(id) else { return };
        destination.crowded &= !destination.waiting.is_empty();
        if let Some(until) = destination.resting(now).filter(|_| !forced) {
            let (peer, reply) = left_alone(destination.trouble.as_ref());
            active.skip(&recipients, Again::AfterRest(until), peer, &reply, now);
        } else if destination.crowded
            && !forced
            && destination.waiting.len() >= destination.takes_within(wait, now)
        {
            let later = sweep::turn_later(&self.settings, &mut self.chance, now);
            active.skip(&recipients, Again::At(later), None, &sweep::no_turn(), now);
        } else {
            destination.waiting.push_back(Waiting { id: active.entry.record.id, recipients });
            active.waiting_at.push(id);
            self.destinations.enlist(id);
        }
    }

    /// The next job, by turns.
    fn dispatch(&mut self) -> Option<Action> {
        while !self.stopped && self.in_flight < self.settings.deliveries_max {
            let turn = self.destinations.next_ready()?;
            let Some(destination) = self.destinations.get_mut(turn) else { continue };
            let Some((job, more)) = destination.take(self.settings.recipients_per_job.max(1), self.now)
            else {
                continue;
            };
            let key = Arc::clone(&destination.key);
            self.in_flight += 1;
            self.destinations.enlist(turn);
            if let Some(active) = self.active.get_mut(&job.id) {
                if !more {
                    active.no_longer_waits_at(turn);
                }
                let recipients = job.recipients.clone();
                active.flights.push(Flight { destination: turn, recipients, since: self.now });
            }
            return Some(Action::Dispatch { id: job.id, destination: key, recipients: job.recipients });
        }
        None
    }

    fn finished(&mut self, id: QueueId, key: &str, outcomes: Vec<Outcome>) {
        let Some(destination) = self.destinations.find(key) else { return };
        let Some(active) = self.active.get_mut(&id) else { return };
        let Some(flight) = active.land(destination, &outcomes) else { return };
        self.landed(id, &flight, outcomes);
    }

    /// A flight is over, by its outcomes or because it was lost.
    fn landed(&mut self, id: QueueId, flight: &Flight, outcomes: Vec<Outcome>) {
        let outcomes = complete(&flight.recipients, outcomes);
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(destination) = self.destinations.get_mut(flight.destination) else { return };
        let rests = destination.learn(&outcomes, flight.since, self.now, &self.settings, &mut self.chance);
        if let Some(active) = self.active.get_mut(&id) {
            let harvest = active.record(outcomes, self.now);
            self.settle_round(id, harvest);
        }
        if rests {
            self.send_back_waiting(flight.destination);
        }
        self.destinations.enlist(flight.destination);
    }

    /// The destination rests from now on: what waits for it leaves the window rather than fill it.
    fn send_back_waiting(&mut self, id: DestinationId) {
        let Some(destination) = self.destinations.get_mut(id) else { return };
        let until = destination.resting(self.now).unwrap_or(self.now);
        let (peer, reply) = left_alone(destination.trouble.as_ref());
        let peer = peer.map(str::to_owned);
        for job in std::mem::take(&mut destination.waiting) {
            self.send_back(id, &job, Again::AfterRest(until), peer.as_deref(), &reply);
        }
    }

    /// A job that waited has no turn in this round.
    fn send_back(
        &mut self,
        at: DestinationId,
        job: &Waiting,
        again: Again,
        peer: Option<&str>,
        reply: &Reply,
    ) {
        if let Some(active) = self.active.get_mut(&job.id) {
            active.no_longer_waits_at(at);
            active.skip(&job.recipients, again, peer, reply, self.now);
            self.settle_round(job.id, Harvest::default());
        }
    }

    /// Says what is known now of a message; when its round is over it leaves the window.
    fn settle_round(&mut self, id: QueueId, harvest: Harvest) {
        let Some(active) = self.active.get_mut(&id) else { return };
        let deleted = active.leaving == Some(Leaving::Deleted);
        let mut changes = harvest.changes;
        let mut reports = Vec::new();
        if !deleted {
            reports.extend(bounce::decide(&active.entry, ReportKind::Delivered, harvest.delivered));
            reports.extend(bounce::decide(&active.entry, ReportKind::Relayed, harvest.relayed));
        }
        if !active.round_is_over() {
            active.write_deferred(&mut changes);
            self.say(id, changes, reports);
            return;
        }
        if let Some(active) = self.active.remove(&id) {
            self.recipients = self.recipients.saturating_sub(active.entry.record.recipients.len());
            let end = conclude::conclude(active, &self.settings, &mut self.chance, self.now);
            changes.extend(end.changes);
            reports.extend(end.reports);
            self.say(id, changes, reports);
            self.out.push_back(Action::Forget(id));
            self.loader.left(id);
            if let Some(next) = end.next_attempt {
                self.loader.note_due(next);
            }
        }
    }

    fn say(&mut self, id: QueueId, changes: Vec<Change>, reports: Vec<Report>) {
        if !changes.is_empty() || !reports.is_empty() {
            let settlement = store::Settlement { id, changes };
            self.out.push_back(Action::Finish { settlement, reports });
        }
    }

    fn retry(&mut self, scope: RetryScope) {
        let now = self.now;
        match scope {
            RetryScope::Messages(ids) => {
                let room = self.settings.active_max.saturating_sub(self.forced.len());
                self.forced.extend(ids.into_iter().take(room));
            }
            RetryScope::Destination(key) => {
                if let Some(destination) =
                    self.destinations.find(&key).and_then(|id| self.destinations.get_mut(id))
                {
                    destination.forgive(now);
                }
            }
            RetryScope::All => {
                self.destinations.iter_mut().for_each(|(_, destination)| destination.forgive(now));
            }
        }
        self.loader.note_due(now);
    }

    /// Takes a message out of the window as soon as nothing of it runs.
    fn withdraw(&mut self, id: QueueId, why: Leaving) {
        // An answer of the store that is on its way may still hold it.
        self.loader.left(id);
        let Some(active) = self.active.get_mut(&id) else { return };
        active.leaving = Some(why);
        for at in std::mem::take(&mut active.waiting_at) {
            if let Some(destination) = self.destinations.get_mut(at) {
                // Not tried, and on record as before.
                drop(destination.withdraw(id));
            }
        }
        if active.round_is_over() {
            self.settle_round(id, Harvest::default());
        }
    }
}

/// One outcome for each recipient of the job, no more and no less.
fn complete(recipients: &[u32], mut outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let mut open = vec![true; recipients.len()];
    outcomes.retain(|outcome| {
        let slot = recipients.binary_search(&outcome.recipient).ok().and_then(|i| open.get_mut(i));
        slot.is_some_and(std::mem::take)
    });
    let missing = recipients.iter().zip(open).filter(|(_, open)| *open);
    outcomes.extend(missing.map(|(index, _)| lost(*index, "the delivery ended without a result")));
    outcomes
}

/// A recipient that something of ours let down.
fn lost(recipient: u32, words: &'static str) -> Outcome {
    let result = DeliveryResult::Deferred(Trouble::Local);
    Outcome { recipient, result, peer: None, reply: Reply::new(451, (4, 3, 0), words) }
}

/// What is on record for a recipient that was not tried because its destination rests: that, and the words that made it rest.
fn left_alone(trouble: Option<&LastTrouble>) -> (Option<&str>, Reply) {
    let Some(trouble) = trouble else {
        return (None, Reply::new(451, (4, 4, 1), "not tried: the destination failed moments ago"));
    };
    let text = format!("not tried: the destination failed moments ago: {}", trouble.reply.text);
    let reply = Reply { code: trouble.reply.code, enhanced: trouble.reply.enhanced, text: text.into() };
    (trouble.peer.as_deref(), reply)
}
