//! Destinations: what waits for each, how many deliveries it takes at once, and when it is left alone.
//!
//! The limit of a destination starts low, grows by one after as many successes in a row as it allows deliveries, and is halved
//! by every trouble of the destination's own. Maildirs of this machine are nobody's to spare: their limit is another, and
//! holds from the start. After several troubles in a row a destination *rests*: nothing is sent until the rest is over,
//! then one probe at a time until one succeeds. Round robin among destinations that can take a job.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use mail::{QueueId, Reply, Timestamp};

use crate::event::MAILDIR_KEY;
use crate::outcome::{DeliveryResult, Outcome, Trouble};
use crate::retry::{self, Chance};
use crate::settings::Settings;

/// Which destination: a slot that is used again once its destination is forgotten, and none is forgotten in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DestinationId(usize);

/// Recipients of one message that wait for this destination, ascending.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) id: QueueId,
    pub(crate) recipients: Vec<u32>,
}

/// The trouble that a destination was last seen in.
#[derive(Debug, Clone)]
pub(crate) struct LastTrouble {
    pub(crate) peer: Option<String>,
    pub(crate) reply: Reply,
}

#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) key: Arc<str>,
    pub(crate) waiting: VecDeque<Waiting>,
    pub(crate) in_flight: u32,
    /// Deliveries at once while it is well.
    pub(crate) limit: u32,
    /// Successes since the limit last moved.
    run: u32,
    /// Troubles in a row; from `destination_failures_max` on it is probed, not used.
    failures: u32,
    /// Rests in a row.
    rests: u32,
    pub(crate) rests_until: Option<Timestamp>,
    pub(crate) trouble: Option<LastTrouble>,
    /// Moving average of what a delivery takes, in milliseconds.
    delivery_ms: u64,
    /// When a job last ended, or began while none was running.
    progress: Timestamp,
    /// Messages were sent back because it is slow; new ones are too, while it stays so.
    pub(crate) crowded: bool,
    listed: bool,
    used: Timestamp,
}

impl Destination {
    fn new(key: Arc<str>, settings: &Settings, now: Timestamp) -> Self {
        let (start, _) = limits(&key, settings);
        Self {
            key,
            waiting: VecDeque::new(),
            in_flight: 0,
            limit: start,
            run: 0,
            failures: 0,
            rests: 0,
            rests_until: None,
            trouble: None,
            delivery_ms: 0,
            progress: now,
            crowded: false,
            listed: false,
            used: now,
        }
    }

    /// Until when it is left alone, if it is.
    pub(crate) fn resting(&self, now: Timestamp) -> Option<Timestamp> {
        self.rests_until.filter(|until| *until > now)
    }

    /// Deliveries at once, as it is now: one probe after a rest.
    pub(crate) fn concurrency(&self) -> u32 {
        if self.rests_until.is_some() { 1 } else { self.limit }
    }

    fn is_ready(&self) -> bool {
        !self.waiting.is_empty() && self.in_flight < self.concurrency()
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight == 0 && !self.listed
    }

    /// Takes the next job; gives also whether its message has more recipients waiting here. Their turn comes after that of
    /// every other message, so that a long list does not hold the others up.
    pub(crate) fn take(&mut self, recipients_max: usize, now: Timestamp) -> Option<(Waiting, bool)> {
        let mut next = self.waiting.pop_front()?;
        let more = next.recipients.len() > recipients_max;
        if more {
            let rest = next.recipients.split_off(recipients_max);
            self.waiting.push_back(Waiting { id: next.id, recipients: rest });
        }
        if self.in_flight == 0 {
            self.progress = now;
        }
        self.in_flight += 1;
        self.used = now;
        Some((next, more))
    }

    /// Learns from a job that ended. True: it rests from now on, and what waits must go.
    pub(crate) fn learn(
        &mut self,
        outcomes: &[Outcome],
        started: Timestamp,
        now: Timestamp,
        settings: &Settings,
        chance: &mut Chance,
    ) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.progress = now;
        self.used = now;
        let took = u64::try_from(now.since(started).as_millis()).unwrap_or(u64::MAX);
        self.delivery_ms = self.delivery_ms - self.delivery_ms / 8 + took / 8;
        let trouble = outcomes.iter().find(|o| is_trouble(o.result));
        let reached = outcomes.iter().any(|o| is_answer(o.result));
        match trouble {
            None if reached => self.succeed(settings),
            // Only our own troubles: nothing is learnt of the destination.
            None => {}
            Some(outcome) => {
                self.trouble = Some(LastTrouble { peer: outcome.peer.clone(), reply: outcome.reply.clone() });
                self.limit = (self.limit / 2).max(1);
                self.run = 0;
                // It answered for some recipients: slower, but not dead.
                return !reached && self.fail(now, settings, chance);
            }
        }
        false
    }

    fn succeed(&mut self, settings: &Settings) {
        let (start, most) = limits(&self.key, settings);
        if self.rests_until.take().is_some() {
            self.limit = start;
        }
        self.failures = 0;
        self.rests = 0;
        self.trouble = None;
        self.run += 1;
        if self.run >= self.limit {
            self.run = 0;
            self.limit = (self.limit + 1).min(most);
        }
    }

    fn fail(&mut self, now: Timestamp, settings: &Settings, chance: &mut Chance) -> bool {
        // Several jobs fail together when a host goes down: those that end during the rest tell nothing new.
        if self.resting(now).is_some() {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures < settings.destination_failures_max && self.rests_until.is_none() {
            return false;
        }
        self.rests = self.rests.saturating_add(1);
        self.rests_until = Some(now.plus(retry::rest(settings, self.rests, chance)));
        true
    }

    /// An operator wants it tried: the next job is sent, as after a rest that is over.
    pub(crate) fn forgive(&mut self, now: Timestamp) {
        if self.rests_until.is_some() {
            self.rests_until = Some(now);
        }
        self.crowded = false;
    }

    /// How many jobs it can take within that time, going by how long deliveries take and have been taking.
    pub(crate) fn takes_within(&self, milliseconds: u64, now: Timestamp) -> usize {
        let standstill = if self.in_flight > 0 { now.since(self.progress).as_millis() } else { 0 };
        let each = self.delivery_ms.max(u64::try_from(standstill).unwrap_or(u64::MAX)).max(1);
        usize::try_from(milliseconds.saturating_mul(self.concurrency().into()) / each).unwrap_or(usize::MAX)
    }

    /// Removes what waits for a message, and gives it.
    pub(crate) fn withdraw(&mut self, id: QueueId) -> Vec<u32> {
        let mut withdrawn = Vec::new();
        self.waiting.retain_mut(|waiting| {
            if waiting.id == id {
                withdrawn.append(&mut waiting.recipients);
            }
            waiting.id != id
        });
        withdrawn
    }
}

/// Deliveries at once to a destination, at first and at most.
fn limits(key: &str, settings: &Settings) -> (u32, u32) {
    let maildirs = settings.maildir_deliveries_max.max(1);
    if key.starts_with(MAILDIR_KEY) {
        return (maildirs, maildirs);
    }
    (settings.destination_deliveries_start.max(1), settings.destination_deliveries_max.max(1))
}

/// The destination as a whole is in trouble, as far as this recipient saw.
fn is_trouble(result: DeliveryResult) -> bool {
    matches!(result, DeliveryResult::Deferred(Trouble::Destination | Trouble::Dns))
}

/// It answered, for this recipient at least.
fn is_answer(result: DeliveryResult) -> bool {
    !is_trouble(result) && result != DeliveryResult::Deferred(Trouble::Local)
}

/// All destinations that are in use or remembered.
#[derive(Debug, Default)]
pub(crate) struct Destinations {
    slots: Vec<Option<Destination>>,
    free: Vec<usize>,
    by_key: HashMap<Arc<str>, DestinationId>,
    /// Those that can take a job, each once, in the order of their turns.
    ring: VecDeque<DestinationId>,
}

impl Destinations {
    /// The destination of that key, made when it is new.
    pub(crate) fn of(&mut self, key: &Arc<str>, settings: &Settings, now: Timestamp) -> DestinationId {
        if let Some(found) = self.by_key.get(key) {
            return *found;
        }
        if self.by_key.len() >= settings.destinations_max {
            self.forget_idle();
        }
        let destination = Some(Destination::new(Arc::clone(key), settings, now));
        let index = if let Some(index) = self.free.pop() {
            if let Some(slot) = self.slots.get_mut(index) {
                *slot = destination;
            }
            index
        } else {
            self.slots.push(destination);
            self.slots.len() - 1
        };
        self.by_key.insert(Arc::clone(key), DestinationId(index));
        DestinationId(index)
    }

    pub(crate) fn find(&self, key: &str) -> Option<DestinationId> {
        self.by_key.get(key).copied()
    }

    pub(crate) fn get_mut(&mut self, id: DestinationId) -> Option<&mut Destination> {
        self.slots.get_mut(id.0).and_then(Option::as_mut)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Destination> {
        self.slots.iter().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (DestinationId, &mut Destination)> {
        self.slots.iter_mut().enumerate().filter_map(|(i, slot)| Some((DestinationId(i), slot.as_mut()?)))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Gives it a turn, when it can take a job and has none yet.
    pub(crate) fn enlist(&mut self, id: DestinationId) {
        if let Some(destination) = self.get_mut(id)
            && destination.is_ready()
            && !destination.listed
        {
            destination.listed = true;
            self.ring.push_back(id);
        }
    }

    /// Whose turn it is.
    pub(crate) fn next_ready(&mut self) -> Option<DestinationId> {
        while let Some(id) = self.ring.pop_front() {
            if let Some(destination) = self.get_mut(id) {
                destination.listed = false;
                if destination.is_ready() {
                    return Some(id);
                }
            }
        }
        None
    }

    /// Forgets the longer unused half of the idle ones: rarely, so that the sorting costs little for each new one.
    fn forget_idle(&mut self) {
        let mut idle: Vec<(Timestamp, usize)> = Vec::new();
        for (index, destination) in self.slots.iter().enumerate() {
            if let Some(destination) = destination.as_ref().filter(|d| d.is_idle()) {
                idle.push((destination.used, index));
            }
        }
        idle.sort_unstable();
        idle.truncate(idle.len().div_ceil(2));
        for (_, index) in idle {
            if let Some(destination) = self.slots.get_mut(index).and_then(Option::take) {
                self.by_key.remove(&destination.key);
                self.free.push(index);
            }
        }
    }
}
