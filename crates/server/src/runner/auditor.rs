//! The auditor's rounds: every message in the store has an owner and a deadline, whatever the scheduler believes.
//!
//! Pages through the store, asks [`queue::auditor::audit`] about each message, logs and counts what it finds, and mends it.
//! Independent of the scheduler but for one bit: whether a message is being worked on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mail::QueueId;
use queue::auditor::{Mend, audit};
use queue::{Event, RetryScope};
use store::{Change, Hold, Page, QueueEntry, Settlement};

use crate::admin::protocol::State;
use crate::clock;
use crate::control::Daemon;
use crate::maillog::Level;
use crate::metrics::OldestByState;
use crate::quarantine::bounds::{self, Tally};
use crate::services::{Current, Services};

use super::handle::Message;

/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(60);
/// Messages looked at in one go.
const PAGE: usize = 500;

/// What one go found.
#[derive(Debug, Default)]
pub struct Round {
    /// Messages that are not as they must be.
    pub found: Vec<QueueId>,
    /// How many were put right.
    pub mended: u64,
}

/// Makes rounds until the future is dropped.
pub async fn rounds(current: Current, daemon: Arc<Daemon>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let services = current.get();
        let mut found = 0;
        let mut after = None;
        let mut oldest = OldestByState::default();
        let mut kept = Some(Tally::default());
        loop {
            let Ok(page) = services.shared.store.list(Page { after, limit: PAGE }).await else {
                // How much there is is not known then.
                kept = None;
                break;
            };
            let Some(last) = page.last() else { break };
            after = Some(last.record.id);
            for entry in &page {
                let state = State::of(entry, services.shared.runner.is_active(entry.record.id));
                oldest.note(state.into(), entry.record.arrived);
            }
            found += mend(&services, &page).await.found.len() as u64;
            daemon.expire(&page).await;
            if let Some(kept) = &mut kept {
                kept.add(&page, &services.config.antispam.quarantine, clock::now());
            }
            // A long queue is gone through gently.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if let Some(kept) = kept {
            bounds::keep_within(&services, kept).await;
        }
        daemon.overdue.store(found, Ordering::Relaxed);
        services.shared.metrics.queue_ages(&oldest, clock::now());
    }
}

/// Audits some messages and puts right what can be.
pub async fn mend(services: &Services, page: &[QueueEntry]) -> Round {
    let shared = &services.shared;
    let mut round = Round::default();
    let mut load = false;
    for entry in page {
        let id = entry.record.id;
        let working = shared.runner.is_active(id);
        let Some(finding) = audit(entry, working, &services.config.queue, clock::now()) else { continue };
        let text = format!("the auditor found {id} {:?}: {:?}", finding.problem, finding.mend);
        shared.log.notice(Level::Warning, &text);
        round.found.push(id);
        let settlement = match finding.mend {
            Mend::Load => {
                load = true;
                round.mended += 1;
                continue;
            }
            Mend::Wait => continue,
            Mend::Settle(settlement) => settlement,
            Mend::Operator => Settlement { id, changes: vec![Change::Held(Hold::Damaged)] },
        };
        if shared.store.settle(vec![settlement]).await.is_ok() {
            load = true;
            round.mended += 1;
        }
    }
    if load {
        shared.runner.send(Message::Event(Event::Retry(RetryScope::Messages(Vec::new())))).await;
    }
    round
}
