//! What the unit tests of this crate share: addresses and records.

use mail::{Address, QueueId, ReversePath, Timestamp};
use store::{MessageRecord, RecipientRecord};

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(crate) fn record(recipients: &[&str]) -> MessageRecord {
    let recipients = recipients.iter().map(|text| RecipientRecord::new(address(text))).collect();
    let sender = ReversePath::Mailbox(address("sender@from.test"));
    let id = QueueId::from_parts(1_795_309_323_000, 7);
    MessageRecord::new(id, Timestamp(1_795_309_323_000), sender, recipients)
}
