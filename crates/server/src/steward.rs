//! The steward: one task that carries out whatever takes a message off hold, puts it there or throws it away, one order after
//! the other.
//!
//! An operator's order, the end of a message's time in quarantine, and a recipient who wants its copy all look at a message
//! first and change it then. Here nothing comes between the two: what was just released is not thrown away, and nothing is
//! released twice. Whoever asks waits for the answer, and may go away meanwhile: what was begun is done. Delivers nothing:
//! the runner hears of every change.

mod recipients;

use std::sync::Arc;

use mail::{Address, QueueId};
use queue::{Event, RetryScope};
use store::{Change, Hold, QueueEntry, RecipientState, RecipientStatus, Settlement, StoreError};
use tokio::sync::{mpsc, oneshot};

use crate::admin::{ControlError, Order};
use crate::clock;
use crate::maillog::SteeredLine;
use crate::metrics::LeftQuarantine;
use crate::runner::Message;
use crate::services::{Current, Services, Shared};

/// Orders that wait; whoever has more waits with them.
const ORDERS_WAITING_MAX: usize = 256;

/// A message was kept for long enough.
const EXPIRED: (&str, LeftQuarantine) = ("expire", LeftQuarantine::Expired);
/// There was too much.
const DISPLACED: (&str, LeftQuarantine) = ("displace", LeftQuarantine::Displaced);

/// Tells the steward. Clones share it.
#[derive(Debug, Clone)]
pub struct StewardHandle(mpsc::Sender<Task>);

/// What the steward is told.
#[derive(Debug)]
pub struct Task {
    what: What,
    done: oneshot::Sender<Result<bool, ControlError>>,
}

#[derive(Debug)]
enum What {
    Steer(Order, QueueId),
    Expire(QueueId),
    Displace(QueueId),
    Release { id: QueueId, recipient: Address },
    ReleaseTo { id: QueueId, recipient: Address },
}

impl StewardHandle {
    /// A handle, and what [`run`] wants.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Task>) {
        let (sender, receiver) = mpsc::channel(ORDERS_WAITING_MAX);
        (Self(sender), receiver)
    }

    /// An operator's order about one message.
    ///
    /// # Errors
    /// [`ControlError`]: why it was not carried out.
    pub async fn steer(&self, order: Order, id: QueueId) -> Result<(), ControlError> {
        self.ask(What::Steer(order, id)).await.map(drop)
    }

    /// Throws a message away that has been in quarantine for too long; false when it is not there, or not for so long.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn expire(&self, id: QueueId) -> Result<bool, ControlError> {
        self.ask(What::Expire(id)).await
    }

    /// Throws a message in quarantine away to make room; false when it is not there.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn displace(&self, id: QueueId) -> Result<bool, ControlError> {
        self.ask(What::Displace(id)).await
    }

    /// Releases a message to one of its recipients, who is told; false when it is not kept back for that one, or not for
    /// its score alone.
    ///
    /// # Errors
    /// [`ControlError`]: the store.
    pub async fn release(&self, id: QueueId, recipient: Address) -> Result<bool, ControlError> {
        self.ask(What::Release { id, recipient }).await
    }

    /// An operator's order to release a message to one of its recipients, whatever keeps it back; the others' copies stay.
    ///
    /// # Errors
    /// [`ControlError`]: why it was not carried out.
    pub async fn release_to(&self, id: QueueId, recipient: Address) -> Result<(), ControlError> {
        self.ask(What::ReleaseTo { id, recipient }).await.map(drop)
    }

    async fn ask(&self, what: What) -> Result<bool, ControlError> {
        let stopping = || ControlError::Store("the server is stopping".to_owned());
        let (done, answer) = oneshot::channel();
        self.0.send(Task { what, done }).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }
}

/// Carries out orders until every handle is gone or the future is dropped.
pub async fn run(current: Current, mut tasks: mpsc::Receiver<Task>) {
    while let Some(Task { what, done }) = tasks.recv().await {
        let services = current.get();
        // Nobody may be waiting for the answer any more.
        match what {
            What::Steer(order, id) => {
                drop(done.send(steer(&services.shared, order, id).await.map(|()| true)));
            }
            What::Expire(id) => {
                let settings = &services.config.antispam.quarantine;
                let is_over = |entry: &QueueEntry| settings.is_over(entry.record.arrived, clock::now());
                drop(done.send(throw_away(&services.shared, id, is_over, EXPIRED).await));
            }
            What::Displace(id) => {
                drop(done.send(throw_away(&services.shared, id, |_| true, DISPLACED).await));
            }
            What::ReleaseTo { id, recipient } => {
                let released = recipients::release_by_operator(&services, id, &recipient).await;
                drop(done.send(released.map(|()| true)));
            }
            What::Release { id, recipient } => {
                let released = recipients::release(&services, id, &recipient).await;
                let is_released = released == Ok(true);
                drop(done.send(released));
                if is_released {
                    recipients::tell(&services, id, &recipient).await;
                }
            }
        }
    }
}

async fn settle(shared: &Shared, id: QueueId, changes: Vec<Change>) -> Result<(), StoreError> {
    let settled = shared.store.settle(vec![Settlement { id, changes }]).await?;
    settled.into_iter().collect::<Result<Vec<()>, _>>().map(drop)
}

async fn steer(shared: &Shared, order: Order, id: QueueId) -> Result<(), ControlError> {
    let entry = shared.store.get(id).await?;
    let held = entry.state.hold;
    let refused = |why: &str| Err(ControlError::Refused(why.to_owned()));
    let change = match (order, held) {
        (Order::Hold, _) => Change::Held(Hold::Operator),
        (Order::Release, Some(Hold::Damaged)) => {
            return refused("the message is damaged: it can only be deleted");
        }
        (Order::Release, Some(_)) | (Order::Retry, None) => Change::Released { next_attempt: clock::now() },
        (Order::Release, None) => return refused("the message is not on hold"),
        (Order::Retry, Some(_)) => return refused("the message is on hold: release it"),
        (Order::Delete, _) => Change::Deleted,
    };
    settle(shared, id, vec![change]).await?;
    shared.log.steered(&line(order.name(), &entry));
    match order {
        Order::Release if held == Some(Hold::Quarantine) => {
            shared.metrics.left_quarantine(LeftQuarantine::Released);
        }
        Order::Delete if held == Some(Hold::Quarantine) => {
            shared.metrics.left_quarantine(LeftQuarantine::Deleted);
        }
        _ => {}
    }
    let event = match order {
        Order::Hold => Event::Held(id),
        Order::Delete => Event::Deleted(id),
        Order::Release | Order::Retry => Event::Retry(RetryScope::Messages(vec![id])),
    };
    shared.runner.send(Message::Event(event)).await;
    Ok(())
}

/// Out of quarantine, when this is true of it. Nobody is told but the log and a counter.
async fn throw_away(
    shared: &Shared,
    id: QueueId,
    is_meant: impl Fn(&QueueEntry) -> bool,
    (order, how): (&'static str, LeftQuarantine),
) -> Result<bool, ControlError> {
    let entry = match shared.store.get(id).await {
        Err(StoreError::Absent) => return Ok(false),
        entry => entry?,
    };
    if entry.state.hold != Some(Hold::Quarantine) || !is_meant(&entry) {
        return Ok(false);
    }
    settle(shared, id, vec![Change::Deleted]).await?;
    shared.log.aged_out(&line(order, &entry));
    shared.metrics.left_quarantine(how);
    Ok(true)
}

/// The line of an order that was carried out.
fn line<'a>(order: &'a str, entry: &'a QueueEntry) -> SteeredLine<'a> {
    let pending = |status: &&RecipientStatus| status.state == RecipientState::Pending;
    SteeredLine {
        id: entry.record.id,
        order,
        from: &entry.record.reverse_path,
        waiting: entry.state.recipients.iter().filter(pending).count(),
    }
}

/// Hands a message to the runner that was stored here.
async fn admit(services: &Services, entry: QueueEntry) {
    services.shared.runner.admit(services, Arc::new(entry)).await;
}
