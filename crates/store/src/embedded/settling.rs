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
use crate::journal::{AppendError, Durability, Journal, Payload, Position};
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
    let items: Vec<(usize, Settlement)> = settlements.into_iter().enumerate().collect();
    // One place answers for those that are young, the keeper for the others.
    let gather = Gather::new(items.len(), 2, sender);
    let elsewhere = settle_young(core, journal, spool, items, &gather);
    if elsewhere.is_empty() {
        gather.part_done();
    } else {
        core.send(Job::Settle { items: elsewhere, gather });
    }
    pending
}

/// Applies settlements, with their places in the batch, to the messages that are young; gives back the others. Answers one
/// part of the batch.
pub(crate) fn settle_young(
    core: &Arc<Core>,
    journal: &Journal,
    spool: &Sender<Task>,
    items: Vec<(usize, Settlement)>,
    gather: &Arc<Gather>,
) -> Vec<(usize, Settlement)> {
    let (mut here, mut elsewhere, mut indexed) = (Vec::with_capacity(items.len()), Vec::new(), Vec::new());
    let mut written = Written::default();
    // Changes to one message are appended in the order in which they are applied.
    let ordered = core.settling();
    let mut window = core.window();
    for (place, settlement) in items {
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
    if here.is_empty() {
        gather.part_done();
    } else {
        let gather = Arc::clone(gather);
        append(core, journal, spool, written, move |result| {
            gather.set(here, &result);
            gather.part_done();
        });
    }
    drop(ordered);
    for id in indexed {
        core.send(Job::Forget(id));
    }
    elsewhere
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
    let mut unwritten = core.unwritten();
    if unwritten.is_empty() {
        drop(unwritten);
        return write(core, journal, spool, (payloads, files), then);
    }
    unwritten.payloads.extend(payloads);
    unwritten.files.extend(files);
    drop(unwritten);
    then(Err(waits()));
}

/// Tries again what the journal had no room for.
pub(crate) fn retry(core: &Arc<Core>, journal: &Journal, spool: &Sender<Task>) {
    let mut unwritten = core.unwritten();
    if unwritten.trying || unwritten.payloads.is_empty() {
        return;
    }
    unwritten.trying = true;
    let parts = (std::mem::take(&mut unwritten.payloads), std::mem::take(&mut unwritten.files));
    drop(unwritten);
    let trying = Arc::clone(core);
    write(core, journal, spool, parts, move |_| trying.unwritten().trying = false);
}

fn waits() -> StoreError {
    StoreError::Unknown("it is in force, and is written down when the disk has room".into())
}

/// Appends; what the disk has no room for is kept, to be tried again.
fn write(
    core: &Arc<Core>,
    journal: &Journal,
    spool: &Sender<Task>,
    (payloads, files): (Vec<Payload>, Vec<QueueId>),
    then: impl FnOnce(Result<(), StoreError>) + Send + 'static,
) {
    let (core, spool) = (Arc::clone(core), spool.clone());
    let durability = Durability::Lazy { within: core.settings.settle_within() };
    let again = payloads.clone();
    let done = move |results: Vec<Result<Position, AppendError>>| {
        let last = results.iter().rev().find_map(|result| result.as_ref().ok());
        last.inspect(|position| core.window().reached(**position));
        let mut error =
            results.iter().find_map(|result| result.as_ref().err().cloned()).map(StoreError::from);
        if error.is_none() {
            for id in files {
                drop(spool.send(Task::Remove(id)));
            }
            return then(Ok(()));
        }
        // Whatever else is wrong with a record will not get better.
        let full = |result: &Result<_, AppendError>| {
            matches!(result, Err(AppendError::Full(_) | AppendError::Unknown(_)))
        };
        let kept: Vec<Payload> =
            again.into_iter().zip(&results).filter(|(_, r)| full(r)).map(|(payload, _)| payload).collect();
        if !kept.is_empty() {
            let mut unwritten = core.unwritten();
            // Before those that came meanwhile.
            unwritten.payloads.splice(0..0, kept);
            unwritten.files.extend(files);
            error = Some(waits());
        }
        then(error.map_or(Ok(()), Err));
    };
    journal.append(payloads, durability, Box::new(done));
}
