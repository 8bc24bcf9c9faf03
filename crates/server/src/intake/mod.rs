//! From "end of data" to a durable message: headers of ours, recipients as the aliases have them, signatures, commit.
//!
//! The one place that makes a 250 for a message, and it makes it only after the store said that it is durable
//! (RFC 5321 §4.2.5; invariant I1). Never decides whether a message is wanted: that has been answered before.

pub mod copies;
pub mod correspondents;
pub mod submission;
pub mod trace;

use std::sync::Arc;
use std::time::Instant;

use mail::{Address, QueueId, Reply, Timestamp};
use store::{Edit, Hold, MessageRecord, NewBody, NewMessage, Origin, QueueEntry, StoreError};

use crate::clock;
use crate::judge::Judged;
use crate::maillog::{AcceptedLine, DeliveryLine, Level};
use crate::metrics::MessageResult;
use crate::services::Services;
use crate::session::body::ReceivedBody;
use crate::session::facts::ClientFacts;
use crate::session::transaction::Transaction;

use copies::Copies;

/// A message that is to become ours.
pub struct Intake {
    /// The envelope.
    pub transaction: Transaction,
    /// Where it came from.
    pub origin: Origin,
    /// Trace lines, each with CRLF.
    pub trace: Vec<u8>,
    /// Changes to its header.
    pub edits: Vec<Edit>,
    /// Its octets.
    pub body: ReceivedBody,
    /// What the judge made of it.
    pub judged: Judged,
}

/// Stores a message and hands it to the runner.
///
/// The reply is 250 with the queue id only when the message is durable, every copy of it; 452 when the disk is full; 451
/// else. Copies that a rule throws away are logged instead of stored.
pub async fn commit(services: &Services, facts: &ClientFacts, intake: Intake) -> Reply {
    let started = Instant::now();
    let arrived = clock::now();
    let Intake { transaction, origin, trace, edits, body, judged } = intake;
    let id = transaction.id;
    // First: were storing it to fail, the client comes again for the rest.
    if let Err(reply) = release(services, &transaction, &judged).await {
        return reply;
    }
    let only_releases = transaction.recipients.iter().all(|recipient| recipient.releases.is_some());
    let forwards_all = services.config.antispam.forward_tagged;
    let no_junk_to = |address: &Address| !forwards_all && !services.router.is_ours(&address.domain);
    let mut copies = Copies::of(&transaction.recipients, &judged, no_junk_to);
    let tagged_sender = tagged_sender(services, facts, &transaction, arrived);
    if tagged_sender.is_some() {
        copies.leave_untagged(|recipient| services.judge.marks().is_unsigned_to(recipient));
    }
    let mut record = MessageRecord {
        id,
        arrived,
        origin,
        reverse_path: transaction.reverse_path,
        tagged_sender,
        body_type: transaction.body_type,
        smtputf8: transaction.smtputf8,
        ret: transaction.ret,
        envid: transaction.envid,
        trace,
        edits,
        filter: judged.filter,
        recipients: copies.delivered,
        size: body.bytes,
    };
    let mut hold = judged.hold.then_some(Hold::Operator);
    let mut octets = body.body;
    let mut kept_as = id;
    if record.recipients.is_empty() {
        // All that is left of it, if anything, is kept back.
        record.recipients = copies.quarantined;
        hold = Some(Hold::Quarantine);
    } else if !copies.quarantined.is_empty() {
        // First: were the second to fail, the client would come again, and a copy that nobody gets does no harm.
        let kept = MessageRecord {
            id: services.shared.ids.next(),
            recipients: copies.quarantined,
            ..record.clone()
        };
        kept_as = kept.id;
        services.shared.history.alias(kept.id, id, services.config.antispam.history_days);
        octets = match keep_back(services, facts, kept, octets).await {
            Ok(octets) => octets,
            Err(error) => return refusal(services, id, &error),
        };
    }
    if !record.recipients.is_empty() {
        let message = NewMessage { record, body: octets, next_attempt: arrived, hold };
        if let Err(error) = store(services, facts, message).await {
            return refusal(services, id, &error);
        }
    }
    drop(body.room);
    log_discarded(services, id, &copies.discarded);
    log_not_forwarded(services, (id, kept_as), &copies.not_forwarded);
    services.shared.metrics.committed(started.elapsed());
    if only_releases {
        // The letter itself goes nowhere.
        return Reply::new(250, (2, 0, 0), "Ok: what you ask for is released");
    }
    Reply::new(250, (2, 0, 0), format!("Ok: queued as {id}"))
}

/// Releases what this is a wish to release. What has gone in the meantime is released already.
async fn release(services: &Services, transaction: &Transaction, judged: &Judged) -> Result<(), Reply> {
    for (number, recipient) in transaction.recipients.iter().enumerate() {
        let is_discarded = judged.copies.get(number).is_some_and(|copy| copy.discarded);
        let Some(wish) = recipient.releases.as_ref().filter(|_| !is_discarded) else { continue };
        if let Err(error) = services.shared.steward.release(wish.id, wish.recipient.clone()).await {
            let text = format!("{} was not released to <{}>: {error}", wish.id, wish.recipient);
            services.shared.log.notice(Level::Error, &text);
            return Err(not_stored(&StoreError::NotApplied(String::new())));
        }
    }
    Ok(())
}

/// Who other hosts are told that sends it, when that is not the reverse-path as it is.
///
/// Signed is what our own users send in domains of ours; once, here, so that every attempt has the same sender, and beside the
/// plain reverse-path, so that queue, log, filters and mailboxes show people's addresses. What others send is never signed,
/// whatever it calls itself; a tag of ours that it came with goes on with it.
fn tagged_sender(
    services: &Services,
    facts: &ClientFacts,
    transaction: &Transaction,
    now: Timestamp,
) -> Option<Address> {
    if !facts.may_relay() {
        return transaction.tagged_sender.clone();
    }
    let sender = transaction.reverse_path.mailbox()?;
    let is_ours = services.router.is_ours(&sender.domain);
    if is_ours { services.judge.marks().signed(sender, now) } else { None }
}

/// Makes a message durable, and tells the log and the runner.
async fn store(services: &Services, facts: &ClientFacts, message: NewMessage) -> Result<(), StoreError> {
    let mut entry = QueueEntry::new(message.record.clone(), message.next_attempt);
    entry.state.hold = message.hold;
    services.shared.store.enqueue(message).await?;
    log(services, facts, &entry);
    if entry.state.hold.is_none() {
        services.shared.runner.admit(services, Arc::new(entry)).await;
    }
    Ok(())
}

/// Stores the copy of those whose verdict keeps it from them; gives the octets back.
async fn keep_back(
    services: &Services,
    facts: &ClientFacts,
    record: MessageRecord,
    octets: NewBody,
) -> Result<NewBody, StoreError> {
    let (queue, id, arrived) = (Arc::clone(&services.shared.store), record.id, record.arrived);
    let copied = tokio::task::spawn_blocking(move || {
        let second = copies::second_body(&*queue, id, &octets);
        (octets, second)
    });
    let (octets, second) = copied.await.map_err(|panic| StoreError::NotApplied(panic.to_string()))?;
    let message = NewMessage { record, body: second?, next_attempt: arrived, hold: Some(Hold::Quarantine) };
    store(services, facts, message).await?;
    Ok(octets)
}

/// What is thrown away ends with this line and no other (I2).
fn log_discarded(services: &Services, id: QueueId, discarded: &[Address]) {
    let reply = Reply::new(250, (2, 0, 0), "discarded by a rule");
    for address in discarded {
        services.shared.log.delivery(&DeliveryLine {
            id,
            to: &address.to_string(),
            accepted_as: None,
            agent: "discard",
            relay: None,
            delay: std::time::Duration::ZERO,
            result: queue::DeliveryResult::Discarded,
            reply: &reply,
        });
    }
}

/// An operator looks for whom mail did not reach; the log and a counter tell.
fn log_not_forwarded(services: &Services, (id, kept_as): (QueueId, QueueId), addresses: &[Address]) {
    for address in addresses {
        let text =
            format!("{id}: junk is not forwarded to <{address}>; its copy is in quarantine as {kept_as}");
        services.shared.log.notice(Level::Info, &text);
        services.shared.metrics.junk_not_forwarded();
    }
}

fn log(services: &Services, facts: &ClientFacts, entry: &QueueEntry) {
    let record = &entry.record;
    let tls = facts.tls.as_ref().map(|tls| format!("{} {}", tls.version, tls.cipher));
    services.shared.log.accepted(&AcceptedLine {
        id: record.id,
        listener: facts.door_name(),
        client: facts.for_log(),
        helo: facts.helo.as_deref(),
        account: record.origin.account.as_deref(),
        tls: tls.as_deref(),
        from: &record.reverse_path,
        recipients: record.recipients.len(),
        size: record.size,
        message_id: None,
    });
}

/// Logs that a message could not be kept, and says what its sender hears.
pub fn refusal(services: &Services, id: QueueId, error: &StoreError) -> Reply {
    services.shared.log.notice(Level::Error, &format!("message {id} was not stored: {error}"));
    not_stored(error)
}

/// What a transaction came to, by the reply that ended it.
#[must_use]
pub fn result_of(reply: &Reply) -> MessageResult {
    match reply.code {
        code if code < 400 => MessageResult::Accepted,
        452 => MessageResult::DiskFull,
        code if code < 500 => MessageResult::StoreFailed,
        _ => MessageResult::NotOwner,
    }
}

/// What a peer hears when its message is not, or would not be, kept. Never 250, never 5xx: the trouble is ours.
#[must_use]
pub fn not_stored(error: &StoreError) -> Reply {
    match error {
        StoreError::Full(_) => Reply::new(452, (4, 3, 1), "Insufficient system storage, try again later"),
        _ => Reply::new(451, (4, 3, 0), "The message could not be stored, try again later"),
    }
}
