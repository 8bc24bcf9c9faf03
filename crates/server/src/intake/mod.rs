//! From "end of data" to a durable message: headers of ours, recipients as the aliases have them, signatures, commit.
//!
//! The one place that makes a 250 for a message, and it makes it only after the store said that it is durable
//! (RFC 5321 §4.2.5; invariant I1). Never decides whether a message is wanted: that has been answered before.

pub mod submission;
pub mod trace;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use mail::{Address, Disposition, QueueId, Reply};
use store::{HeaderEdit, MessageRecord, NewMessage, Origin, QueueEntry, RecipientRecord, StoreError};

use crate::clock;
use crate::maillog::{AcceptedLine, Level};
use crate::metrics::MessageResult;
use crate::services::Services;
use crate::session::body::ReceivedBody;
use crate::session::facts::ClientFacts;
use crate::session::transaction::{AcceptedRecipient, Transaction};

/// A message that is to become ours.
pub struct Intake {
    /// The envelope.
    pub transaction: Transaction,
    /// Where it came from.
    pub origin: Origin,
    /// Trace lines, each with CRLF.
    pub trace: Vec<u8>,
    /// Changes to its header.
    pub edits: Vec<HeaderEdit>,
    /// Its octets.
    pub body: ReceivedBody,
}

/// Stores a message and hands it to the runner.
///
/// The reply is 250 with the queue id only when the message is durable; 452 when the disk is full; 451 else.
pub async fn commit(services: &Services, facts: &ClientFacts, intake: Intake) -> Reply {
    let started = Instant::now();
    let arrived = clock::now();
    let Intake { transaction, origin, trace, edits, body } = intake;
    let record = MessageRecord {
        id: transaction.id,
        arrived,
        origin,
        reverse_path: transaction.reverse_path,
        body_type: transaction.body_type,
        smtputf8: transaction.smtputf8,
        ret: transaction.ret,
        envid: transaction.envid,
        trace,
        edits,
        recipients: expand(&transaction.recipients),
        size: body.bytes,
    };
    let shared = &services.shared;
    let entry = Arc::new(QueueEntry::new(record.clone(), arrived));
    let message = NewMessage { record, body: body.body, next_attempt: arrived, hold: None };
    let stored = shared.store.enqueue(message).await;
    drop(body.room);
    shared.metrics.committed(started.elapsed());
    match stored {
        Ok(()) => {
            let reply = Reply::new(250, (2, 0, 0), format!("Ok: queued as {}", entry.record.id));
            log(services, facts, &entry);
            shared.runner.admit(services, entry).await;
            reply
        }
        Err(error) => refusal(services, entry.record.id, &error),
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

/// The final recipients: each address once (RFC 5321 §3.9 leaves copies to us; two to one mailbox help nobody).
fn expand(accepted: &[AcceptedRecipient]) -> Vec<RecipientRecord> {
    let mut seen: HashSet<&Address> = HashSet::new();
    let mut records = Vec::new();
    for recipient in accepted {
        for address in &recipient.finals {
            if seen.insert(address) {
                records.push(RecipientRecord {
                    address: address.clone(),
                    accepted_as: (*address != recipient.accepted_as).then(|| recipient.accepted_as.clone()),
                    original: recipient.original.clone(),
                    notify: recipient.notify,
                    disposition: Disposition::Inbox,
                    header_lines: Vec::new(),
                });
            }
        }
    }
    records
}
