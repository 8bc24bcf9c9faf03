//! Messages and engines for the store's tests.
#![allow(dead_code, reason = "each test uses its part")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use mail::{Address, QueueId, Reply, ReversePath, Timestamp};
use store::disk::{Disk, RealDisk};
use store::{
    Change, EmbeddedStore, LastAttempt, MessageRecord, NewBody, NewMessage, Origin, OriginKind, QueueStore,
    RecipientRecord, RecipientState, RecipientStatus, Settings, Settlement, StoredBody,
};

/// An address.
pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// The record of the nth message, to so many recipients.
pub(crate) fn record(n: u64, recipients: usize, size: usize) -> MessageRecord {
    let recipient = |i| RecipientRecord::new(address(&format!("r{i}@b.test")));
    let sender = ReversePath::Mailbox(address(&format!("s{n}@a.test")));
    let (id, arrived) = (QueueId::from_parts(1_000_000 + n, 0), Timestamp(1_000_000 + n));
    MessageRecord {
        origin: Origin { helo: Some("c.test".into()), ..Origin::new(OriginKind::Mx) },
        body_type: mail::BodyType::EightBitMime,
        trace: b"Received: from c.test by m.test; Thu, 1 Jan 1970 00:00:00 +0000\r\n".to_vec(),
        size: size as u64,
        ..MessageRecord::new(id, arrived, sender, (0..recipients).map(recipient).collect())
    }
}

/// The body of the nth message: no two are alike, and every octet can be checked.
pub(crate) fn body(n: u64, size: usize) -> Vec<u8> {
    format!("Subject: {n}\r\n\r\n{n} ").bytes().cycle().take(size).collect()
}

/// The nth message, with its body in two chunks.
pub(crate) fn message_to(n: u64, recipients: usize, size: usize) -> NewMessage {
    let octets = Bytes::from(body(n, size));
    let chunks = vec![octets.slice(..size / 2), octets.slice(size / 2..)];
    let record = record(n, recipients, size);
    NewMessage { next_attempt: record.arrived, record, body: NewBody::Memory(chunks), hold: None }
}

/// The nth message, to one recipient, of half a kilobyte.
pub(crate) fn message(n: u64) -> NewMessage {
    message_to(n, 1, 512)
}

/// The id of the nth message.
pub(crate) fn id(n: u64) -> QueueId {
    QueueId::from_parts(1_000_000 + n, 0)
}

/// A recipient has ended.
pub(crate) fn ended(index: u32) -> Change {
    let reply = Reply::new(250, (2, 1, 5), "ok");
    let last = Some(LastAttempt { at: Timestamp(2_000_000), peer: Some("mx.b.test".into()), reply });
    Change::Recipient { index, status: RecipientStatus { state: RecipientState::Delivered, last } }
}

/// A recipient was tried in vain.
pub(crate) fn tried(index: u32, text: &'static str) -> Change {
    let reply = Reply::new(451, (4, 3, 0), text);
    let last = Some(LastAttempt { at: Timestamp(2_000_000), peer: None, reply });
    Change::Recipient { index, status: RecipientStatus { state: RecipientState::Pending, last } }
}

/// The next attempt.
pub(crate) fn retry(at: u64, attempts: u32) -> Change {
    Change::Retry { next_attempt: Timestamp(at), attempts }
}

/// Applies changes to one message and waits until they are durable.
pub(crate) fn settle(store: &dyn QueueStore, n: u64, changes: Vec<Change>) -> Result<(), store::StoreError> {
    let results = store.settle(vec![Settlement { id: id(n), changes }]).wait().unwrap();
    results.into_iter().next().unwrap()
}

/// What is due, by number.
pub(crate) fn due(store: &dyn QueueStore, now: u64, limit: usize) -> Vec<QueueId> {
    let due = store.due(Timestamp(now), limit, Box::new(|_| false)).wait().unwrap();
    due.iter().map(|entry| entry.record.id).collect()
}

/// The octets of a body in memory, or in a file of the operating system.
pub(crate) fn octets(body: StoredBody) -> Vec<u8> {
    match body {
        StoredBody::Memory(chunks) => chunks.concat(),
        StoredBody::File { path, .. } => std::fs::read(path).unwrap(),
    }
}

/// Settings for tests: small files, a disk that counts as empty.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings { disk_free_bytes_min: 0, ..Settings::default() };
    settings.settle_millis_max = 1;
    settings.journal.segment_bytes = 1 << 20;
    settings
}

/// Settings with which no message is young: each is acknowledged when the index has it.
pub(crate) fn settings_indexed() -> Settings {
    Settings { pending_bytes_max: 0, hot_bytes_max: 0, ..settings() }
}

/// The embedded engine on the operating system's files.
pub(crate) fn open(folder: &Path, settings: &Settings) -> EmbeddedStore {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    EmbeddedStore::open(disk, folder, settings.clone()).unwrap()
}

/// Waits until everything is recovered, and tells what there is by number: the recipients that are pending.
pub(crate) fn recovered(store: &EmbeddedStore) -> Vec<(QueueId, Vec<usize>)> {
    let list = store.list(store::Page { after: None, limit: 10_000 }).wait().unwrap();
    let pending = |entry: &store::QueueEntry| {
        let states = entry.state.recipients.iter().enumerate();
        states.filter(|(_, r)| r.state == RecipientState::Pending).map(|(i, _)| i).collect()
    };
    list.iter().map(|entry| (entry.record.id, pending(entry))).collect()
}
