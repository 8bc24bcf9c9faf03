//! What is released to one recipient, by itself or by an operator: its own copy, and nobody else's.
//!
//! A message that is kept back for this recipient alone is released as it is. Of one that is kept back for others too, this
//! recipient's copy becomes a message of its own, durable before the first one counts it as delivered; a crash between the
//! two leaves both, and a second release would bring it a second time. A recipient never releases what a rule, a scanner or
//! a milter keeps back; an operator does.

use std::io::Read as _;
use std::sync::Arc;

use mail::{Address, QueueId, Reply};
use queue::{Event, RetryScope};
use store::{
    Change, LastAttempt, MessageRecord, NewBody, NewMessage, QueueEntry, QueueStore, RecipientState,
    RecipientStatus, StoreError, StoredBody,
};

use crate::admin::{ControlError, Order};
use crate::clock;
use crate::maillog::Level;
use crate::metrics::LeftQuarantine;
use crate::quarantine::{digest, release};
use crate::runner::Message;
use crate::services::Services;

use super::{admit, line, settle};

/// Octets that are copied in one go.
const PIECE_BYTES: usize = 64 << 10;

/// Releases it to this recipient, who asks for it; false when it is not kept back for that one, or only an operator may.
pub(super) async fn release(
    services: &Services,
    id: QueueId,
    recipient: &Address,
) -> Result<bool, ControlError> {
    let shared = &services.shared;
    let entry = match shared.store.get(id).await {
        Err(StoreError::Absent) => return Ok(false),
        entry => entry?,
    };
    if !release_places(services, &entry, release::theirs(&entry, recipient).collect()).await? {
        return Ok(false);
    }
    shared.log.released(&line("release", &entry));
    shared.metrics.left_quarantine(LeftQuarantine::ReleasedByRecipient);
    Ok(true)
}

/// Releases it to this recipient because an operator says so, whatever keeps it back.
pub(super) async fn release_by_operator(
    services: &Services,
    id: QueueId,
    recipient: &Address,
) -> Result<(), ControlError> {
    let shared = &services.shared;
    let entry = shared.store.get(id).await?;
    if !release_places(services, &entry, release::kept_for(&entry, recipient).collect()).await? {
        let words =
            format!("it is not kept back for <{recipient}>; for whom: staffetta quarantine show {id}");
        return Err(ControlError::Refused(words));
    }
    shared.log.steered(&line(Order::Release.name(), &entry));
    shared.metrics.left_quarantine(LeftQuarantine::Released);
    Ok(())
}

/// Releases it to the recipients in these places; false when there are none.
async fn release_places(
    services: &Services,
    entry: &QueueEntry,
    theirs: Vec<usize>,
) -> Result<bool, ControlError> {
    if theirs.is_empty() {
        return Ok(false);
    }
    let (shared, id) = (&services.shared, entry.record.id);
    let is_pending = |status: &&RecipientStatus| status.state == RecipientState::Pending;
    if theirs.len() == entry.state.recipients.iter().filter(is_pending).count() {
        settle(shared, id, vec![Change::Released { next_attempt: clock::now() }]).await?;
        shared.runner.send(Message::Event(Event::Retry(RetryScope::Messages(vec![id])))).await;
    } else {
        release_copy(services, entry, &theirs).await?;
    }
    Ok(true)
}

async fn release_copy(services: &Services, entry: &QueueEntry, theirs: &[usize]) -> Result<(), ControlError> {
    let (shared, now, copy) = (&services.shared, clock::now(), services.shared.ids.next());
    let recipients = theirs.iter().filter_map(|index| entry.record.recipients.get(*index).cloned());
    // Its time in the queue runs from now on, as that of any message that is released.
    let record =
        MessageRecord { id: copy, arrived: now, recipients: recipients.collect(), ..entry.record.clone() };
    shared.history.alias(copy, entry.record.id, services.config.antispam.history_days);
    let body = second_body(Arc::clone(&shared.store), copy, entry.record.id).await?;
    let new = QueueEntry::new(record.clone(), now);
    shared.store.enqueue(NewMessage { record, body, next_attempt: now, hold: None }).await?;
    let reply = Reply::new(250, (2, 0, 0), format!("Ok: released as {copy}"));
    let last = Some(LastAttempt { at: now, peer: None, reply });
    let status = RecipientStatus { state: RecipientState::Delivered, last };
    let ended = |index: &usize| {
        let index = u32::try_from(*index).ok()?;
        Some(Change::Recipient { index, status: status.clone() })
    };
    let settled = settle(shared, entry.record.id, theirs.iter().filter_map(ended).collect()).await;
    // It is in the queue, whatever became of the other one.
    admit(services, new).await;
    settled?;
    let text = format!("{}: the copy of a recipient is released as {copy}", entry.record.id);
    shared.log.notice(Level::Info, &text);
    Ok(())
}

/// The octets of one message for another.
async fn second_body(store: Arc<dyn QueueStore>, copy: QueueId, id: QueueId) -> Result<NewBody, StoreError> {
    let path = match store.read_body(id).await? {
        StoredBody::Memory(chunks) => return Ok(NewBody::Memory(chunks)),
        StoredBody::File { path, .. } => path,
    };
    let failed = |error: std::io::Error| StoreError::NotApplied(error.to_string());
    let copied = tokio::task::spawn_blocking(move || {
        let mut writer = store.spool(copy)?;
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let length = file.read(&mut piece).map_err(failed)?;
            if length == 0 {
                return writer.finish().map(NewBody::File);
            }
            writer.write(piece.get(..length).unwrap_or_default())?;
        }
    });
    copied.await.map_err(|panic| StoreError::NotApplied(panic.to_string()))?
}

/// Tells the recipient that it was released, so that a release that somebody else has asked for is noticed. Without the
/// letter it still has the message.
pub(super) async fn tell(services: &Services, id: QueueId, recipient: &Address) {
    if let Err(why) = digest::confirm(services, id, recipient, clock::now()).await {
        let text = format!("{id}: <{recipient}> was not told that it is released: {why}");
        services.shared.log.notice(Level::Warning, &text);
    }
}
