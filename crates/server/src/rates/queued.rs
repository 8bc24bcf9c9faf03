//! What an account had queued before it was found to look broken into: it is put on hold like what comes after, so that a
//! thief's mail that waits for a slow server, or for its next attempt, goes no further.
//!
//! Runs beside the session that has noticed; mail that others send does not wait for it. It releases nothing: that is for an
//! operator (`staffetta queue release --account`). A message that is being delivered at this moment may still arrive.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mail::{QueueId, Timestamp};
use queue::Event;
use store::{
    Change, Hold, OriginKind, Page, QueueEntry, RecipientState, RecipientStatus, Settlement, StoreError,
};

use crate::clock;
use crate::maillog::Level;
use crate::runner::Message;
use crate::services::Shared;

/// Messages looked at in one go.
const PAGE: usize = 500;
/// What was being taken while the account was found out is in the queue by then.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Puts all that this account has queued on hold, and what was being taken at this moment a little later.
pub(super) fn hold(shared: &Arc<Shared>, account: &str) {
    let shared = Arc::clone(shared);
    let mut sweep = Sweep { account: account.to_owned(), found_out: clock::now(), seen: BTreeSet::new() };
    tokio::spawn(async move {
        sweep.run(&shared).await;
        let mut stopping = shared.stopping.subscribe();
        let stopped = async move { stopping.wait_for(|stopping| *stopping).await.is_ok() };
        if tokio::time::timeout(AGAIN_AFTER, stopped).await.is_err() {
            sweep.run(&shared).await;
        }
    });
}

/// The line about a message of such an account.
pub(crate) fn line(id: QueueId, account: &str) -> String {
    format!("{id}: held: account {account} looks broken into")
}

/// One account's messages.
struct Sweep {
    account: String,
    /// What comes later is held as it comes.
    found_out: Timestamp,
    /// What an operator releases in the meantime is not held again.
    seen: BTreeSet<QueueId>,
}

impl Sweep {
    async fn run(&mut self, shared: &Shared) {
        let mut after = None;
        loop {
            let held = match self.next_page(shared, &mut after).await {
                Ok(Some(held)) => held,
                Ok(None) => return,
                Err(error) => {
                    let text = format!("what account {} has queued could not be held: {error}", self.account);
                    return shared.log.notice(Level::Error, &text);
                }
            };
            for id in held {
                shared.runner.send(Message::Event(Event::Held(id))).await;
                shared.log.notice(Level::Warning, &line(id, &self.account));
            }
        }
    }

    /// Holds what there is to hold on one page of the queue; none when the queue ends.
    async fn next_page(
        &mut self,
        shared: &Shared,
        after: &mut Option<QueueId>,
    ) -> Result<Option<Vec<QueueId>>, StoreError> {
        let page = shared.store.list(Page { after: *after, limit: PAGE }).await?;
        let Some(last) = page.last() else { return Ok(None) };
        *after = Some(last.record.id);
        let ours = page.iter().filter(|entry| self.is_its(entry));
        let new: Vec<&QueueEntry> = ours.filter(|entry| !self.seen.contains(&entry.record.id)).collect();
        self.seen.extend(new.iter().map(|entry| entry.record.id));
        let ids: Vec<QueueId> = new.into_iter().filter(|entry| waits(entry)).map(|e| e.record.id).collect();
        if ids.is_empty() {
            return Ok(Some(ids));
        }
        let hold = |id: &QueueId| Settlement { id: *id, changes: vec![Change::Held(Hold::Operator)] };
        let settled = shared.store.settle(ids.iter().map(hold).collect()).await?;
        let mut held = Vec::with_capacity(ids.len());
        for (id, settled) in ids.into_iter().zip(settled) {
            match settled {
                Ok(()) => held.push(id),
                // Delivered meanwhile.
                Err(StoreError::Absent) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(held))
    }

    fn is_its(&self, entry: &QueueEntry) -> bool {
        let origin = &entry.record.origin;
        origin.kind == OriginKind::Submission
            && origin.account.as_ref() == Some(&self.account)
            && entry.record.arrived <= self.found_out
    }
}

fn waits(entry: &QueueEntry) -> bool {
    let pending = |status: &RecipientStatus| status.state == RecipientState::Pending;
    entry.state.hold.is_none() && entry.state.recipients.iter().any(pending)
}
