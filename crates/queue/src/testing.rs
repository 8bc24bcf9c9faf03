//! What the tests of this crate share: a point in time, and messages made to order.

use std::time::Duration;

use mail::{Address, Notify, QueueId, ReversePath, Timestamp};
use store::{MessageRecord, QueueEntry, RecipientRecord};

/// When every message here arrived.
pub(crate) const START: Timestamp = Timestamp(1_800_000_000_000);

/// So many seconds later.
pub(crate) fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

/// A message with these NOTIFY values, one recipient for each.
pub(crate) fn entry(id: u64, notify: &[Notify]) -> QueueEntry {
    let recipient = |(i, notify): (usize, &Notify)| {
        let address = Address::parse(&format!("r{i}@a.test")).unwrap();
        RecipientRecord { notify: *notify, ..RecipientRecord::new(address) }
    };
    let sender = ReversePath::Mailbox(Address::parse("sender@b.test").unwrap());
    let recipients = notify.iter().enumerate().map(recipient).collect();
    let record = MessageRecord::new(QueueId(id), START, sender, recipients);
    QueueEntry::new(MessageRecord { size: 1000, ..record }, START)
}

/// One whose recipients said nothing of reports.
pub(crate) fn plain(id: u64, recipients: usize) -> QueueEntry {
    entry(id, &vec![Notify::default(); recipients])
}
