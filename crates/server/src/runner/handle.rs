//! The runner's letter box, and what is put into it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use delivery::Route;
use mail::{QueueId, Timestamp};
use queue::{Event, Outcome};
use store::{QueueEntry, RecipientState, Settlement};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::services::Services;

/// What the runner is told.
#[derive(Debug)]
pub enum Message {
    /// A message that was just stored.
    Admit(Admission),
    /// A delivery task has ended.
    Finished {
        /// Which message.
        id: QueueId,
        /// For which destination.
        destination: Arc<str>,
        /// One for each recipient of the task.
        outcomes: Vec<Outcome>,
    },
    /// What the store had due.
    Loaded {
        /// With their routes.
        admissions: Vec<Admission>,
        /// When the next one is.
        next_due: Option<Timestamp>,
    },
    /// An operator's wish.
    Event(Event),
    /// All reports on a message are durable: this may be settled.
    Reported(Settlement),
    /// Other settings are in force.
    Reconfigure(Box<queue::Settings>),
    /// Finish what is in flight.
    Stop {
        /// At the latest then.
        by: Instant,
    },
}

/// A message with the routes of its pending recipients.
#[derive(Debug)]
pub struct Admission {
    /// The message.
    pub entry: Arc<QueueEntry>,
    /// Where its recipients go.
    pub routes: HashMap<u32, Route>,
    /// Recipients that have no route, and why.
    pub unroutable: Vec<Outcome>,
}

impl Admission {
    /// Finds the routes of all pending recipients.
    pub async fn route(services: &Services, entry: Arc<QueueEntry>) -> Self {
        let mut admission = Self { routes: HashMap::new(), unroutable: Vec::new(), entry };
        let entry = Arc::clone(&admission.entry);
        for (index, (recipient, status)) in
            entry.record.recipients.iter().zip(&entry.state.recipients).enumerate()
        {
            let Ok(index) = u32::try_from(index) else { continue };
            if status.state != RecipientState::Pending {
                continue;
            }
            let route = match &entry.record.filter {
                Some(filter) => services.router.filter(filter),
                None => services.router.route(&recipient.address, recipient.disposition).await,
            };
            match route {
                Ok(route) => {
                    admission.routes.insert(index, route);
                }
                Err(trouble) => admission.unroutable.push(trouble.outcome(index)),
            }
        }
        admission
    }

    /// Recipient and destination key, in the order of recipients.
    #[must_use]
    pub fn destinations(&self) -> Vec<(u32, Arc<str>)> {
        let mut all: Vec<_> =
            self.routes.iter().map(|(index, route)| (*index, Arc::clone(&route.key))).collect();
        all.sort_unstable_by_key(|(index, _)| *index);
        all
    }

    /// The routes of some recipients.
    #[must_use]
    pub fn routes_of(&self, recipients: &[u32]) -> Vec<(u32, Route)> {
        recipients.iter().filter_map(|index| Some((*index, self.routes.get(index)?.clone()))).collect()
    }
}

/// Sends to the runner. Clones share it.
#[derive(Debug, Clone)]
pub struct RunnerHandle {
    sender: mpsc::Sender<Message>,
    /// What is in the window, for those who only want to look. Written by the runner alone.
    active: Arc<RwLock<HashSet<QueueId>>>,
}

impl RunnerHandle {
    /// A handle and the receiving end.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel(1024);
        (Self { sender, active: Arc::default() }, receiver)
    }

    /// Hands over a message that is stored. Without room in the window the scheduler lets it go again, and it comes
    /// back from the store.
    pub async fn admit(&self, services: &Services, entry: Arc<QueueEntry>) {
        let admission = Admission::route(services, entry).await;
        self.send(Message::Admit(admission)).await;
    }

    /// True while a message is in the window.
    #[must_use]
    pub fn is_active(&self, id: QueueId) -> bool {
        self.active.read().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// The runner tells that a message came into the window, or left it.
    pub(super) fn mark(&self, id: QueueId, active: bool) {
        let mut marked = self.active.write().unwrap_or_else(PoisonError::into_inner);
        if active {
            marked.insert(id)
        } else {
            marked.remove(&id)
        };
    }

    /// Sends, waiting for room in the box.
    pub async fn send(&self, message: Message) {
        // The runner is gone only when the daemon ends.
        drop(self.sender.send(message).await);
    }
}
