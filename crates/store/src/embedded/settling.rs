//! Changes of state: applied in memory at once, to the journal with the next batch, to the index only where it has a row.
//!
//! A message that ends while it is young leaves nothing but its id in the journal. What the window does not know goes
//! to the keeper, which does the same against the index. Losing a change to a crash repeats work, never loses mail.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use mail::QueueId;

use super::core::{Core, Gather};
use super::keeper::Job;
use super::spool::Task;
use super::window::Settled;
use crate::codec::{self, kind};
use crate::journal::{Durability, Journal, Payload};
use crate::model::{Change, Hold, Settlement};
use crate::queue_store::{Pending, StoreError};

/// What a batch of settlements writes to the journal.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Changes to messages that stay.
    pub(crate) changes: Vec<Settlement>,
    /// Messages that ended.
    pub(crate) finished: Vec<QueueId>,
    /// Those of them whose body is a file.
    pub(crate) files: Vec<QueueId>,
}

/// Applies settlements; see [`crate::QueueStore::settle`].
pub(crate) fn settle(
    core: &Arc<Core>,
    journal: &Journal,
    spool: &Sender<Task>,
    settlements: Vec<Settlement>,
) -> Pending<Vec<Result<(), StoreError>>> {
    let (sender, pending) = Pending::channel();
    let items = settlements.len();
    let (mut here, mut elsewhere, mut indexed) = (Vec::with_capacity(items), Vec::new(), Vec::new());
    let mut written = Written::default();
    // Changes to one message are appended in the order in which they are applied.
    let ordered = core.settling();
    let mut window = core.window();
    for (place, settlement) in settlements.into_iter().enumerate() {
        match window.settle(&settlement) {
            Settled::Changed => {
                here.push(place);
                written.changes.push(settlement);
            }
            Settled::Finished { body_file, indexed: known } => {
                here.push(place);
                written.finished.push(settlement.id);
                written.files.extend(body_file.then_some(settlement.id));
                indexed.extend(known.then_some(settlement.id));
            }
            Settled::Elsewhere => elsewhere.push((place, settlement)),
        }
    }
    drop(window);
    let parts = usize::from(!here.is_empty()) + usize::from(!elsewhere.is_empty());
    let gather = Gather::new(items, parts.max(1), sender);
    if parts == 0 {
        gather.part_done();
    }
    if !here.is_empty() {
        let gather = Arc::clone(&gather);
        append(core, journal, spool, written, move |result| {
            gather.set(here, &result);
            gather.part_done();
        });
    }
    drop(ordered);
    for id in indexed {
        core.send(Job::Forget(id));
    }
    if !elsewhere.is_empty() {
        core.send(Job::Settle { items: elsewhere, gather });
    }
    pending
}

/// Puts a damaged message on hold if it is young; false when the keeper has to.
pub(crate) fn hold_young(core: &Arc<Core>, journal: &Journal, spool: &Sender<Task>, id: QueueId) -> bool {
    let hold = core.window().get(id).map(|young| young.row.state.hold);
    if hold.is_some_and(|hold| hold != Some(Hold::Damaged)) {
        let settlement = Settlement { id, changes: vec![Change::Held(Hold::Damaged)] };
        drop(settle(core, journal, spool, vec![settlement]));
    }
    hold.is_some()
}

/// Writes settlements to the journal, removes the bodies of those that ended once that is durable, and tells the result.
pub(crate) fn append(
    core: &Arc<Core>,
    journal: &Journal,
    spool: &Sender<Task>,
    written: Written,
    then: impl FnOnce(Result<(), StoreError>) + Send + 'static,
) {
    let Written { changes, finished, files } = written;
    let mut payloads = Vec::with_capacity(2);
    if !changes.is_empty() {
        match codec::encode_settlements(&changes) {
            Ok(octets) => payloads.push(Payload { kind: kind::SETTLEMENT, slices: vec![octets] }),
            Err(error) => return then(Err(StoreError::NotApplied(error.to_string()))),
        }
    }
    if !finished.is_empty() {
        payloads.push(Payload { kind: kind::FINISHED, slices: vec![codec::encode_finished(&finished)] });
    }
    let (core, spool) = (Arc::clone(core), spool.clone());
    let durability = Durability::Lazy { within: core.settings.settle_within() };
    journal.append(
        payloads,
        durability,
        Box::new(move |results| {
            let last = results.iter().rev().find_map(|result| result.as_ref().ok());
            last.inspect(|position| core.window().reached(**position));
            let error = results.into_iter().find_map(Result::err);
            if error.is_none() {
                for id in files {
                    drop(spool.send(Task::Remove(id)));
                }
            }
            then(error.map_or(Ok(()), |error| Err(error.into())));
        }),
    );
}
