//! What the tests of this crate share: a point in time, and messages made to order.

use std::time::Duration;

use mail::{Address, BodyType, Disposition, Notify, QueueId, ReversePath, Timestamp};
use store::{MessageRecord, MessageState, Origin, OriginKind, QueueEntry, RecipientRecord, RecipientStatus};

/// When every message here arrived.
pub(crate) const START: Timestamp = Timestamp(1_800_000_000_000);

/// So many seconds later.
pub(crate) fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

/// A message with these NOTIFY values, one recipient for each.
pub(crate) fn entry(id: u64, notify: &[Notify]) -> QueueEntry {
    let recipient = |(i, notify): (usize, &Notify)| RecipientRecord {
        address: Address::parse(&format!("r{i}@a.test")).unwrap(),
        accepted_as: None,
        original: None,
        notify: *notify,
        disposition: Disposition::Inbox,
        header_lines: Vec::new(),
    };
    QueueEntry {
        record: MessageRecord {
            id: QueueId(id),
            arrived: START,
            origin: Origin { kind: OriginKind::Mx, client: None, account: None, helo: None },
            reverse_path: ReversePath::Mailbox(Address::parse("sender@b.test").unwrap()),
            body_type: BodyType::SevenBit,
            smtputf8: false,
            ret: None,
            envid: None,
            trace: Vec::new(),
            edits: Vec::new(),
            recipients: notify.iter().enumerate().map(recipient).collect(),
            size: 1000,
        },
        state: MessageState {
            hold: None,
            attempts: 0,
            next_attempt: START,
            warned: false,
            recipients: vec![RecipientStatus::default(); notify.len()],
        },
    }
}

/// One whose recipients said nothing of reports.
pub(crate) fn plain(id: u64, recipients: usize) -> QueueEntry {
    entry(id, &vec![Notify::default(); recipients])
}
