//! What an account had queued before it was found to look broken into: it is put on hold like what comes after, so that a
//! thief's mail that waits for a slow server, or for its next attempt, goes no further.
//!
//! Runs beside the session that has noticed; mail that others send does not wait for it. It releases nothing: that is for an
//! operator (`staffetta queue release --account`). A message that is being delivered at this moment may still arrive.
//! When the server ends before all is on hold, the next start does the rest before anything is delivered; what an operator
//! has released by then stays released. When the state store does not say then whose mail that is, mail is delivered all the
//! same, as that of everybody else must not wait for it; it is asked again until it answers, and what is in the queue at
//! that time is held; of accounts that are not locked, what was there at the start. Nothing is lost either way. A crash in
//! the seconds in which that an account was found out is not yet on disk (`[store.state] flush_millis`) forgets that it was.

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
use crate::runner::{Message, RunnerHandle};
use crate::services::Shared;

/// Messages looked at in one go.
const PAGE: usize = 500;
/// How long a start waits for the state store to say whose mail is to be held.
const PATIENCE: Duration = Duration::from_secs(3);
/// When that is tried again after it has failed: twice as long after each time.
const TRY_AGAIN_MIN: Duration = Duration::from_secs(1);
/// The longest time between two tries.
const TRY_AGAIN_MAX: Duration = Duration::from_secs(60);
/// What was being taken while the account was found out is in the queue by then.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Puts all that this account has queued on hold, and what was being taken at this moment a little later.
pub(super) fn hold(shared: &Arc<Shared>, account: &str) {
    let shared = Arc::clone(shared);
    let mut sweep = Sweep { account: account.to_owned(), found_out: clock::now(), seen: BTreeSet::new() };
    tokio::spawn(async move {
        let begun = shared.rates.sweep_begins(&sweep.account, clock::now()).await;
        if let Err(error) = begun {
            let text = format!(
                "a stop before all that {} has queued is held leaves the rest: {error}",
                sweep.account
            );
            shared.log.notice(Level::Warning, &text);
        }
        let done = sweep.run(&shared).await;
        let mut stopping = shared.stopping.subscribe();
        let stopped = async move { stopping.wait_for(|stopping| *stopping).await.is_ok() };
        let is_over = tokio::time::timeout(AGAIN_AFTER, stopped).await.is_err();
        if is_over && done && sweep.run(&shared).await {
            // Else the next start looks again.
            let _ = shared.rates.sweep_ends(&sweep.account, clock::now()).await;
        }
    });
}

/// Before anything is delivered: holds what locked accounts have queued, and what was not yet held when the server ended.
/// What cannot be done within [`PATIENCE`] is tried again beside deliveries.
pub(crate) async fn hold_at_start(shared: &Arc<Shared>) {
    let began = clock::now();
    // All that is there was there before, whatever the clock said then.
    if let Err(why) = hold_all(shared, Timestamp(u64::MAX), None).await {
        let text = format!("{why}; it is tried again, and mail goes on meanwhile");
        shared.log.notice(Level::Error, &text);
        let shared = Arc::clone(shared);
        tokio::spawn(async move { hold_later(&shared, began).await });
    }
}

/// Tries again until it is done, or the daemon stops.
async fn hold_later(shared: &Shared, began: Timestamp) {
    let mut stopping = shared.stopping.subscribe();
    let mut wait = TRY_AGAIN_MIN;
    loop {
        if tokio::time::timeout(wait, stopping.wait_for(|stopping| *stopping)).await.is_ok() {
            // The next start does it.
            return;
        }
        if hold_all(shared, began, Some(&shared.runner)).await.is_ok() {
            shared.log.notice(Level::Info, "what accounts that look broken into have queued is on hold now");
            return;
        }
        wait = (wait * 2).min(TRY_AGAIN_MAX);
    }
}

/// Holds what all such accounts have queued `until` then, and locked ones later; the runner, when it is at work, hears of each
/// message. `Err` says why it could not be done, or not all of it.
async fn hold_all(shared: &Shared, until: Timestamp, runner: Option<&RunnerHandle>) -> Result<(), String> {
    let asked = tokio::time::timeout(PATIENCE, shared.rates.to_be_held(clock::now())).await;
    let asked = asked.map_err(|_| "no answer in time".to_owned());
    let accounts = asked
        .and_then(|asked| asked.map_err(|error| error.to_string()))
        .map_err(|why| format!("whose queued mail has to be held is not known: {why}"))?;
    if accounts.is_empty() {
        return Ok(());
    }
    let (mut after, mut all) = (None, Ok(()));
    let all = loop {
        match next_page_of_all(shared, (&accounts, until), (&mut after, runner)).await {
            // What could not be held keeps nothing behind it on its way.
            Ok(Some(held)) => all = all.and(held),
            Ok(None) => break all,
            Err(error) => break Err(error),
        }
    };
    all.map_err(|error| format!("what {} accounts have queued could not be held: {error}", accounts.len()))?;
    for account in &accounts {
        let _ = shared.rates.sweep_ends(account, clock::now()).await;
    }
    Ok(())
}

/// What became of those on one page; none when the queue ends. Without a runner nobody needs to hear of it: it will find what
/// is held as it is.
async fn next_page_of_all(
    shared: &Shared,
    (accounts, until): (&BTreeSet<String>, Timestamp),
    (after, runner): (&mut Option<QueueId>, Option<&RunnerHandle>),
) -> Result<Option<Result<(), StoreError>>, StoreError> {
    let page = shared.store.list(Page { after: *after, limit: PAGE }).await?;
    let Some(last) = page.last() else { return Ok(None) };
    *after = Some(last.record.id);
    let account = |entry: &QueueEntry| {
        let origin = &entry.record.origin;
        let account = origin.account.clone().filter(|account| accounts.contains(account))?;
        let is_free = waits(entry) && entry.state.released.is_none();
        // What others than locked ones have sent since is nobody's to hold but the limits': their hour is over.
        let is_suspicious = entry.record.arrived <= until || shared.rates.locks().of(&account).is_some();
        let is_meant = origin.kind == OriginKind::Submission && is_free && is_suspicious;
        is_meant.then_some((entry.record.id, account))
    };
    let found: Vec<(QueueId, String)> = page.iter().filter_map(account).collect();
    let (held, settled) = settle(shared, found.iter().map(|(id, _)| *id).collect()).await;
    for id in held {
        if let Some(runner) = runner {
            runner.send(Message::Event(Event::Held(id))).await;
        }
        let account = found.iter().find(|(found, _)| *found == id).map(|(_, account)| account.as_str());
        shared.log.notice(Level::Warning, &line(id, account.unwrap_or_default()));
    }
    Ok(Some(settled))
}

/// Puts these on hold; gives those that are, and what became of the others: [`StoreError::Absent`] is no failure.
async fn settle(shared: &Shared, ids: Vec<QueueId>) -> (Vec<QueueId>, Result<(), StoreError>) {
    if ids.is_empty() {
        return (ids, Ok(()));
    }
    let hold = |id: &QueueId| Settlement { id: *id, changes: vec![Change::Held(Hold::Operator)] };
    let settled = match shared.store.settle(ids.iter().map(hold).collect()).await {
        Ok(settled) => settled,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let (mut held, mut all) = (Vec::with_capacity(ids.len()), Ok(()));
    for (id, settled) in ids.into_iter().zip(settled) {
        match settled {
            Ok(()) => held.push(id),
            // Delivered meanwhile.
            Err(StoreError::Absent) => {}
            Err(error) => all = Err(error),
        }
    }
    (held, all)
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
    /// True when all is on hold.
    async fn run(&mut self, shared: &Shared) -> bool {
        let (mut after, mut done) = (None, true);
        loop {
            let ids = match self.next_page(shared, &mut after).await {
                Ok(Some(ids)) => ids,
                Ok(None) => return done,
                Err(error) => {
                    self.fails(shared, &error);
                    return false;
                }
            };
            let (held, settled) = settle(shared, ids).await;
            // Those that are on hold must not be delivered, whatever became of the others.
            for id in held {
                shared.runner.send(Message::Event(Event::Held(id))).await;
                shared.log.notice(Level::Warning, &line(id, &self.account));
            }
            // It is told once, and keeps nothing behind it on its way.
            if let Err(error) = settled.as_ref()
                && done
            {
                self.fails(shared, error);
            }
            done &= settled.is_ok();
        }
    }

    fn fails(&self, shared: &Shared, error: &StoreError) {
        let text = format!("what account {} has queued could not be held: {error}", self.account);
        shared.log.notice(Level::Error, &text);
    }

    /// What there is to hold on one page of the queue; none when the queue ends.
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
        Ok(Some(new.into_iter().filter(|entry| waits(entry)).map(|entry| entry.record.id).collect()))
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

#[cfg(test)]
mod tests;
