//! The queue runner: one task that feeds the pure scheduler and does what it asks.
//!
//! Sessions hand it accepted messages, delivery tasks hand it outcomes, operators hand it wishes; it starts deliveries,
//! writes down what became of them, and wakes when something is due. All decisions are the scheduler's
//! (`queue::Scheduler`, whose rules for its driver are in `queue::event`); all I/O is done in tasks of its own, so that
//! nothing here ever waits for a disk or a peer. What does not fit the bounded window stays in the store and is loaded
//! when there is room.

pub mod auditor;
pub mod delivery;
pub mod handle;
pub mod reports;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use mail::{QueueId, Timestamp};
use queue::{Action, Event, Report, Scheduler};
use store::{QueueEntry, Settlement};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use handle::{Admission, Message, RunnerHandle};
pub(crate) use reports::follow;

use crate::clock;
use crate::maillog::Level;
use crate::services::Current;

/// Messages handled before the actions they cause are carried out: settles many outcomes with one call.
const BATCH_MAX: usize = 256;
/// The longest sleep: a clock that was set is noticed after so long.
const NAP_MAX: Duration = Duration::from_secs(60);

/// The runner's state; lives in one task.
pub struct Runner {
    scheduler: Scheduler,
    services: Current,
    handle: RunnerHandle,
    messages: mpsc::Receiver<Message>,
    /// Routes of what is in the window.
    active: HashMap<QueueId, Admission>,
    /// Out of the window, but with a settlement that waits for its reports.
    finishing: HashSet<QueueId>,
    settlements: Vec<Settlement>,
    tasks: JoinSet<()>,
    wake: Option<Timestamp>,
    /// Set when the daemon stops: what runs may run so long.
    deadline: Option<Instant>,
}

impl Runner {
    /// A runner over the services, and the messages that its handle sends.
    #[must_use]
    pub fn new(
        scheduler: Scheduler,
        services: Current,
        handle: RunnerHandle,
        messages: mpsc::Receiver<Message>,
    ) -> Self {
        Self {
            scheduler,
            services,
            handle,
            messages,
            active: HashMap::new(),
            finishing: HashSet::new(),
            settlements: Vec::new(),
            tasks: JoinSet::new(),
            wake: None,
            deadline: None,
        }
    }

    /// Runs until [`Message::Stop`]; then finishes what is in flight, at most until the deadline that came with it. What
    /// is not finished stays in the queue.
    pub async fn run(mut self) {
        self.scheduler.handle(Event::Tick, clock::now());
        self.act();
        while self.deadline.is_none() || !self.tasks.is_empty() {
            let timer = tokio::time::sleep_until(self.deadline.unwrap_or_else(|| self.next_wake()));
            tokio::select! {
                message = self.messages.recv() => match message {
                    Some(message) => { self.take(message); self.take_more(); }
                    None => break,
                },
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
                () = timer => {
                    if self.deadline.is_some() { break; }
                    self.wake = None;
                    self.scheduler.handle(Event::Tick, clock::now());
                }
            }
            self.act();
        }
        self.tasks.shutdown().await;
        // Outcomes that came with the last breath are worth writing down: each saves a second delivery.
        while let Ok(message) = self.messages.try_recv() {
            self.take(message);
        }
        self.act();
        self.tasks.shutdown().await;
    }

    fn next_wake(&self) -> Instant {
        let nap = self.wake.map_or(NAP_MAX, |at| at.since(clock::now()).min(NAP_MAX));
        Instant::now() + nap.max(Duration::from_millis(1))
    }

    /// Takes what else is there, without waiting, up to a bound.
    fn take_more(&mut self) {
        for _ in 0..BATCH_MAX {
            match self.messages.try_recv() {
                Ok(message) => self.take(message),
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, message: Message) {
        let now = clock::now();
        match message {
            Message::Admit(admission) => self.admit(admission, now),
            Message::Finished { id, destination, outcomes } => {
                self.scheduler.handle(Event::Finished { id, destination, outcomes }, now);
            }
            Message::Loaded { admissions, next_due } => {
                let count = admissions.len();
                for admission in admissions {
                    self.admit(admission, now);
                }
                self.scheduler.handle(Event::Loaded { count, next_due }, now);
            }
            Message::Reported(settlement) => {
                self.finishing.remove(&settlement.id);
                self.settlements.push(settlement);
            }
            Message::Event(event) => self.scheduler.handle(event, now),
            Message::Reconfigure(settings) => self.scheduler.reconfigure(*settings),
            Message::Stop { by } => {
                self.deadline = Some(by);
                self.scheduler.handle(Event::Stop, now);
            }
        }
    }

    fn admit(&mut self, admission: Admission, now: Timestamp) {
        let id = admission.entry.record.id;
        if self.active.contains_key(&id) || self.finishing.contains(&id) {
            return;
        }
        let event = Event::Admitted {
            entry: Arc::clone(&admission.entry),
            destinations: admission.destinations(),
            unroutable: admission.unroutable.clone(),
        };
        self.active.insert(id, admission);
        self.handle.mark(id, true);
        self.scheduler.handle(event, now);
    }

    /// Carries out all that the scheduler wants now. Settlements are applied before the store is asked for more.
    fn act(&mut self) {
        let mut load = None;
        while let Some(action) = self.scheduler.poll() {
            match action {
                Action::Dispatch { id, destination, recipients } => {
                    self.dispatch(id, destination, &recipients);
                }
                Action::Finish { settlement, reports } => self.finish(settlement, reports),
                Action::Load { limit } => load = Some(limit),
                Action::Wake(at) => self.wake = Some(at),
                Action::Forget(id) => {
                    self.active.remove(&id);
                    self.handle.mark(id, false);
                }
            }
        }
        if !self.settlements.is_empty() {
            let settlements = std::mem::take(&mut self.settlements);
            // Not awaited: a settlement that a crash takes back only repeats work ("at worst twice").
            drop(self.services.get().shared.store.settle(settlements));
        }
        if let Some(limit) = load {
            self.load(limit);
        }
    }

    fn dispatch(&mut self, id: QueueId, destination: Arc<str>, recipients: &[u32]) {
        let Some(admission) = self.active.get(&id) else {
            // Cannot be; were it so, the answer that the scheduler is owed makes the message come back later.
            let gone = Event::Finished { id, destination, outcomes: Vec::new() };
            return self.scheduler.handle(gone, clock::now());
        };
        let routes = admission.routes_of(recipients);
        let entry = Arc::clone(&admission.entry);
        let work = delivery::deliver(self.services.get(), entry, routes, destination, self.handle.clone());
        self.tasks.spawn(work);
    }

    /// Reports first, then the settlement: who must be told is told before the queue forgets (invariant I2).
    fn finish(&mut self, settlement: Settlement, reports: Vec<Report>) {
        let entry = self.active.get(&settlement.id).map(|admission| Arc::clone(&admission.entry));
        match entry {
            Some(entry) if !reports.is_empty() => {
                self.finishing.insert(settlement.id);
                let (services, handle) = (self.services.get(), self.handle.clone());
                self.tasks.spawn(reports::report_then_settle(services, handle, entry, reports, settlement));
            }
            _ => self.settlements.push(settlement),
        }
    }

    /// Asks the store for due messages.
    fn load(&mut self, limit: usize) {
        let busy: HashSet<QueueId> = self.active.keys().chain(&self.finishing).copied().collect();
        let (services, handle) = (self.services.get(), self.handle.clone());
        self.tasks.spawn(async move {
            let now = clock::now();
            let store = &services.shared.store;
            let due = store.due(now, limit, Box::new(move |id| busy.contains(&id))).await;
            let entries: Vec<QueueEntry> = due.unwrap_or_else(|error| {
                let text = format!("the queue could not be read: {error}");
                services.shared.log.notice(Level::Error, &text);
                Vec::new()
            });
            // Where more is due, nobody asks what comes after: the scheduler comes back for it.
            let next_due =
                if entries.len() < limit { store.next_due(now).await.ok().flatten() } else { None };
            let mut admissions = Vec::with_capacity(entries.len());
            for entry in entries {
                admissions.push(Admission::route(&services, Arc::new(entry)).await);
            }
            handle.send(Message::Loaded { admissions, next_due }).await;
        });
    }
}
