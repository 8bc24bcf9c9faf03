//! Counters of the journal, for metrics and tests. Cheap to keep, read without stopping anybody.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters since the journal was opened.
#[derive(Debug, Default)]
pub(super) struct Figures {
    records: AtomicU64,
    bytes: AtomicU64,
    writes: AtomicU64,
    syncs: AtomicU64,
    failures: AtomicU64,
}

/// What the journal has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalFigures {
    /// Payloads written.
    pub records: u64,
    /// Octets written, with what frames add.
    pub bytes: u64,
    /// Writes: `records / writes` is what group commit gathers.
    pub writes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Writes and syncs that failed.
    pub failures: u64,
}

impl Figures {
    pub(super) fn written(&self, records: usize, bytes: u32) {
        self.records.fetch_add(records as u64, Relaxed);
        self.bytes.fetch_add(bytes.into(), Relaxed);
        self.writes.fetch_add(1, Relaxed);
    }

    pub(super) fn synced(&self, synced: bool) {
        self.syncs.fetch_add(synced.into(), Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> JournalFigures {
        JournalFigures {
            records: self.records.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            writes: self.writes.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            failures: self.failures.load(Relaxed),
        }
    }
}
