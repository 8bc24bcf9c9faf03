//! Who gets a message, and how: the final recipients with what the verdict made of each.
//!
//! Mail that is marked as junk for somebody whose alias leads to another host is not forwarded there: to that host we would be
//! the sender of junk. Its copy is kept back instead, and nobody is told.
//!
//! Recipients whose copy is kept back are stored as a message of their own, held; so that the rest is delivered, and
//! nothing that is released later can reach anybody twice.

use std::collections::HashSet;

use mail::{Address, Disposition, Notify};
use store::{NewBody, QueueStore, RecipientRecord, SpooledBody, StoreError};

use crate::judge::{Copy, Judged};
use crate::services::Services;
use crate::session::transaction::{AcceptedRecipient, Transaction};

/// The recipients of a message, sorted by what becomes of their copies.
#[derive(Debug, Default)]
pub struct Copies {
    /// To be delivered.
    pub delivered: Vec<RecipientRecord>,
    /// To be kept until an operator releases them.
    pub quarantined: Vec<RecipientRecord>,
    /// Those of the quarantined that an alias would have sent to another host.
    pub not_forwarded: Vec<Address>,
    /// Accepted, and thrown away by an operator's rule.
    pub discarded: Vec<Address>,
}

impl Copies {
    /// Sorts them. Each address once (RFC 5321 §3.9 leaves copies to us; two to one mailbox help nobody). `no_junk_to` says
    /// where aliases may not send what is marked as junk.
    #[must_use]
    pub fn of(
        accepted: &[AcceptedRecipient],
        judged: &Judged,
        no_junk_to: impl Fn(&Address) -> bool,
    ) -> Self {
        let mut copies = Self::default();
        let mut seen: HashSet<&Address> = HashSet::new();
        let all =
            accepted.iter().enumerate().map(|(number, recipient)| (recipient, judged.copies.get(number)));
        // Whoever gets it by another name gets it.
        let (discarded, wanted): (Vec<_>, Vec<_>) =
            all.partition(|(_, own)| own.is_some_and(|copy| copy.discarded));
        for (recipient, own) in wanted.into_iter().chain(discarded) {
            let redirect = own.and_then(|copy| copy.redirect.as_ref()).map(std::slice::from_ref);
            for address in redirect.unwrap_or(&recipient.finals) {
                if !seen.insert(address) {
                    continue;
                }
                let mut record = record(recipient, address, own);
                let forwarded = redirect.is_none() && record.accepted_as.is_some();
                if forwarded && record.disposition == Disposition::Junk && no_junk_to(address) {
                    record.disposition = Disposition::Quarantine;
                    record.notify = Notify::NEVER;
                    copies.not_forwarded.push(address.clone());
                }
                copies.add(record, own.is_some_and(|copy| copy.discarded));
            }
        }
        for address in &judged.bcc {
            if seen.insert(address) {
                copies.delivered.push(blind(address));
            }
        }
        copies
    }

    /// Those of whom this is true are told the sender without a tag.
    pub fn leave_untagged(&mut self, wanted: impl Fn(&Address) -> bool) {
        for record in self.delivered.iter_mut().chain(&mut self.quarantined) {
            record.untagged_sender = wanted(&record.address);
        }
    }

    fn add(&mut self, record: RecipientRecord, discarded: bool) {
        if discarded {
            self.discarded.push(record.address);
        } else if record.disposition == Disposition::Quarantine {
            // It is delivered only when somebody has said that it is wanted.
            let header_lines = policy::headers::released(&record.header_lines);
            self.quarantined.push(RecipientRecord { header_lines, ..record });
        } else {
            self.delivered.push(record);
        }
    }
}

fn record(recipient: &AcceptedRecipient, address: &Address, own: Option<&Copy>) -> RecipientRecord {
    RecipientRecord {
        address: address.clone(),
        accepted_as: (*address != recipient.accepted_as).then(|| recipient.accepted_as.clone()),
        original: recipient.original.clone(),
        notify: recipient.notify,
        disposition: own.map_or(Disposition::Inbox, |copy| copy.disposition),
        header_lines: own.map(|copy| copy.header_lines.clone()).unwrap_or_default(),
        untagged_sender: false,
        may_release: own.is_some_and(|copy| copy.may_release),
    }
}

/// A copy that the sender knows nothing of, and hears nothing of.
fn blind(address: &Address) -> RecipientRecord {
    RecipientRecord { notify: Notify::NEVER, ..RecipientRecord::new(address.clone()) }
}

/// The accounts that a message goes to.
#[must_use]
pub fn accounts(services: &Services, transaction: &Transaction) -> Vec<String> {
    let finals = transaction.recipients.iter().flat_map(|recipient| &recipient.finals);
    let named = finals.filter_map(|address| services.accounts.named(&address.lookup_key()));
    named.map(|account| account.name.to_string()).collect()
}

/// The same octets once more, for a second message. What is in memory is shared; a file is copied.
///
/// # Errors
/// What the store says of the copy. Reads and writes files: for the blocking pool.
pub fn second_body(store: &dyn QueueStore, id: mail::QueueId, body: &NewBody) -> Result<NewBody, StoreError> {
    match body {
        NewBody::Memory(chunks) => Ok(NewBody::Memory(chunks.clone())),
        NewBody::File(file) => Ok(NewBody::File(copy_file(store, id, file)?)),
    }
}

fn copy_file(
    store: &dyn QueueStore,
    id: mail::QueueId,
    file: &SpooledBody,
) -> Result<SpooledBody, StoreError> {
    let mut writer = store.spool(id)?;
    for piece in file.pieces() {
        writer.write(&piece.map_err(|error| StoreError::NotApplied(error.to_string()))?)?;
    }
    writer.finish()
}
