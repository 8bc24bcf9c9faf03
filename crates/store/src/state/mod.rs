//! What the judging of mail remembers, as the rest of the system sees it: one trait, several engines, one conformance
//! suite.
//!
//! Keys belong to a namespace, the part before the first `/`: `greylist/`, `dnsbl/`, `verdict/`, `rate/`, `backscatter/`,
//! one for each purpose, each with bounds of its own ([`StateSettings`]), so that a flood in one costs the others nothing.
//! A batch is a list of independent items with a result each; no transactions, no iterators that live across an await.
//! Time is passed in. What has expired is never returned, whether it has been removed yet or not.
//!
//! A write is *not* durable when it is answered: a crash may lose the last few seconds, and damage may lose everything. What is
//! kept here can be learnt again, or is exported now and then ([`export`]). An answer says whether something failed;
//! it never takes a failure for an absence.

mod absent;
mod embedded;
mod export;
mod memory;
mod rows;
mod rules;
mod settings;

use bytes::Bytes;
use mail::Timestamp;

pub use self::embedded::EmbeddedState;
pub use self::export::{ExportError, Exported, export, import};
pub use self::memory::MemoryState;
pub use self::settings::StateSettings;
use crate::queue_store::{Pending, StoreError};

/// Octets of a key, its namespace included. Longer ones are refused: what a peer can make longer has to be hashed.
pub const KEY_BYTES_MAX: usize = 512;
/// Octets of a value.
pub const VALUE_BYTES_MAX: usize = 6 << 10;
/// Octets of the name of a namespace.
pub const NAMESPACE_BYTES_MAX: usize = 32;
/// Entries that one page of [`StateStore::scan`] has at most, whatever is asked for.
pub const PAGE_ENTRIES_MAX: usize = 1_000;

/// A key: the namespace, a slash, and any octets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateKey(Bytes);

impl StateKey {
    /// The key `rest` in a namespace. Whether it may be used is found out by using it: the name has to consist of
    /// `a-z 0-9 _ -`, and there are [`KEY_BYTES_MAX`].
    #[must_use]
    pub fn new(namespace: &str, rest: impl AsRef<[u8]>) -> Self {
        Self(Bytes::from([namespace.as_bytes(), b"/", rest.as_ref()].concat()))
    }

    /// All octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What is behind the namespace and its slash.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        let slash = self.0.iter().position(|octet| *octet == b'/').map_or(0, |place| place + 1);
        self.0.get(slash..).unwrap_or_default()
    }
}

/// An entry that has not expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateEntry {
    /// Its key.
    pub key: StateKey,
    /// Its value; a counter's is its total, 8 octets, big endian.
    pub value: Bytes,
    /// When it expires, to the second; never when absent.
    pub expires: Option<Timestamp>,
}

impl StateEntry {
    /// The total, if the entry is a counter.
    #[must_use]
    pub fn total(&self) -> Option<i64> {
        rules::total(&self.value)
    }
}

/// What to do with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Sets it, whatever it was.
    Put(Bytes),
    /// Sets it unless there is one.
    PutIfAbsent(Bytes),
    /// Sets it if its value is the expected one; `None` expects that there is no entry.
    CompareAndSet {
        /// What is expected.
        expected: Option<Bytes>,
        /// What is set.
        value: Bytes,
    },
    /// Adds to a counter, which begins at 0; the total saturates. The time to live becomes the longer one of what it
    /// was and what is given, so that the order of additions does not matter.
    Add(i64),
    /// Removes it, if there is one.
    Delete,
}

/// One item of a batch of writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Of which entry.
    pub key: StateKey,
    /// What is done.
    pub op: Op,
    /// Seconds from now until the entry expires; `None` keeps it for good. What is kept for good is never removed to make
    /// room: leave this to what is bounded by itself.
    pub ttl_seconds: Option<u64>,
}

impl Write {
    /// [`Op::Put`].
    #[must_use]
    pub fn put(key: StateKey, value: impl Into<Bytes>, ttl_seconds: u64) -> Self {
        Self { key, op: Op::Put(value.into()), ttl_seconds: Some(ttl_seconds) }
    }

    /// [`Op::PutIfAbsent`].
    #[must_use]
    pub fn put_if_absent(key: StateKey, value: impl Into<Bytes>, ttl_seconds: u64) -> Self {
        Self { key, op: Op::PutIfAbsent(value.into()), ttl_seconds: Some(ttl_seconds) }
    }

    /// [`Op::CompareAndSet`].
    #[must_use]
    pub fn compare_and_set(
        key: StateKey,
        expected: Option<Bytes>,
        value: impl Into<Bytes>,
        ttl_seconds: u64,
    ) -> Self {
        Self { key, op: Op::CompareAndSet { expected, value: value.into() }, ttl_seconds: Some(ttl_seconds) }
    }

    /// [`Op::Add`].
    #[must_use]
    pub fn add(key: StateKey, delta: i64, ttl_seconds: u64) -> Self {
        Self { key, op: Op::Add(delta), ttl_seconds: Some(ttl_seconds) }
    }

    /// [`Op::Delete`].
    #[must_use]
    pub fn delete(key: StateKey) -> Self {
        Self { key, op: Op::Delete, ttl_seconds: None }
    }
}

/// What became of a write that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It was done.
    Applied,
    /// [`Op::PutIfAbsent`] or [`Op::CompareAndSet`] found something else, and changed nothing: here it is.
    Refused(Option<StateEntry>),
    /// [`Op::Add`]: the total after it.
    Total(i64),
}

/// A part of a scan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatePage {
    /// Entries in the order of their keys. May be empty although more come: what has expired counts as looked at.
    pub entries: Vec<StateEntry>,
    /// Ask again after this one; `None` when there is no more.
    pub next: Option<StateKey>,
}

/// How much a namespace holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateUsage {
    /// Entries, expired ones included that have not been removed yet.
    pub entries: u64,
    /// Octets, as the bounds count them.
    pub bytes: u64,
}

/// What an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateNotice {
    /// What was there was no good, for the reason given: it was moved aside, and the store begins with nothing. What has been
    /// exported can be imported now.
    Anew(String),
    /// Beginning with nothing did not help either: until the next start nothing is remembered.
    GivenUp(String),
}

impl std::fmt::Display for StateNotice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anew(reason) => write!(f, "what antispam had learnt was damaged and begins anew: {reason}"),
            Self::GivenUp(reason) => write!(f, "antispam cannot remember anything until restarted: {reason}"),
        }
    }
}

/// A result for each item of a batch.
pub type Each<T> = Vec<Result<T, StoreError>>;

/// The memory of the judges.
///
/// Errors of items: [`StoreError::NotApplied`] (a bad key, too long a value, adding to what is no counter, an engine at
/// rest), [`StoreError::Full`] (its namespace, or the disk, is full; not applied either) and [`StoreError::Unknown`].
pub trait StateStore: Send + Sync {
    /// Looks entries up; `None` for what is not there or has expired at `now`.
    fn get(&self, keys: Vec<StateKey>, now: Timestamp) -> Pending<Each<Option<StateEntry>>>;

    /// Carries out writes, each by itself, one after the other.
    ///
    /// A new entry for which a namespace has no room takes the place of those that expire soonest, if they expire
    /// before itself; else it is refused with [`StoreError::Full`]. So a flood of entries that live for days never drives out those
    /// that have earned weeks.
    fn write(&self, writes: Vec<Write>, now: Timestamp) -> Pending<Each<Written>>;

    /// Entries whose key begins with `prefix`, after the key `after`, in order, at most `limit`.
    fn scan(
        &self,
        prefix: StateKey,
        after: Option<StateKey>,
        limit: usize,
        now: Timestamp,
    ) -> Pending<StatePage>;

    /// To be called about every second: removes a bounded number of expired entries, and sees to an engine that hangs
    /// or is damaged. Gives what an operator should know of since the last call. Never waits.
    fn tend(&self, now: Timestamp) -> Vec<StateNotice>;

    /// The namespaces and how much they hold, in order. Counted in the background after a start, so at first too low.
    fn usage(&self) -> Vec<(String, StateUsage)>;

    /// `Err` with a sentence while nothing can be remembered.
    ///
    /// # Errors
    /// The sentence.
    fn health(&self) -> Result<(), String>;

    /// Writes down all that waits, and stops. Further calls fail with [`StoreError::NotApplied`].
    fn close(&self) -> Pending<()>;
}
