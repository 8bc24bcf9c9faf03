//! What the unit tests of this crate share: addresses and records.

use mail::{Address, QueueId, ReversePath, Timestamp};
use store::{MessageRecord, Origin, OriginKind, RecipientRecord};

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(crate) fn record(recipients: &[&str]) -> MessageRecord {
    MessageRecord {
        id: QueueId::from_parts(1_795_309_323_000, 7),
        arrived: Timestamp(1_795_309_323_000),
        origin: Origin { kind: OriginKind::Mx, client: None, account: None, helo: None },
        reverse_path: ReversePath::Mailbox(address("sender@from.test")),
        body_type: mail::BodyType::SevenBit,
        smtputf8: false,
        ret: None,
        envid: None,
        trace: Vec::new(),
        edits: Vec::new(),
        recipients: recipients.iter().map(|text| recipient(text)).collect(),
        size: 0,
    }
}

fn recipient(text: &str) -> RecipientRecord {
    RecipientRecord {
        address: address(text),
        accepted_as: None,
        original: None,
        notify: mail::Notify::default(),
        disposition: mail::Disposition::Inbox,
        header_lines: Vec::new(),
    }
}
