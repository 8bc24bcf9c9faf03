//! Hashes that are remembered for some days, many of them in one row of the state store.
//!
//! Of every letter that our users send something is remembered, so that an answer to it, or a report about it, is known. A row
//! for each costs the store more than all else that it does for a message. So what is remembered is a hash and nothing
//! beside it; all that are alive are in memory, eight octets each, 5 MB at most with what is around them; and they are
//! written down together: what comes within [`GATHER_TIME`] at once, into a row that is written anew until it has its 170.
//! Asking wakes nobody. In memory, and not in the store beneath a filter: of one letter dozens of hashes are asked for, and
//! a row that is found by a hash would have to be read, changed and written for every letter again.
//!
//! Never takes what it could not read for an absence: before all rows are read, [`Hashes::look`] reads them, and fails where the
//! store does. Reads no clock. A crash forgets what was not written down, and what the store forgets with it.

mod known;
mod table;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mail::Timestamp;
use store::{StateKey, StateStore, StoreError, Write};
use tokio::sync::Notify;

pub use self::table::{HASH_BYTES, Hash};
use self::table::{Row, Table, Unsaved};

/// How long hashes are gathered before they are written down: far less than what a crash forgets anyway.
pub const GATHER_TIME: Duration = Duration::from_millis(100);
/// Rows that are read from the store at once: 100 KiB.
const PAGE: usize = 100;
/// Writes that go to the store at once: more would keep those waiting who ask it for something.
const WRITES_MAX: usize = 64;
/// What stands before the name of a row.
const PREFIX: &[u8] = b"p/";

/// See above. Clones share what is remembered.
#[derive(Clone)]
pub struct Hashes {
    inner: Arc<Inner>,
}

struct Inner {
    state: Arc<dyn StateStore>,
    namespace: &'static str,
    table: Mutex<Table>,
    /// All that was kept is in the table.
    is_read: AtomicBool,
    /// The row after which to read on.
    reading: tokio::sync::Mutex<Option<StateKey>>,
    /// One after the other, so that an older row is never written over a newer one.
    saving: tokio::sync::Mutex<()>,
    changed: Notify,
}

impl Hashes {
    /// Those in a namespace of this store, which are read when they are asked for.
    #[must_use]
    pub fn new(namespace: &'static str, state: Arc<dyn StateStore>) -> Self {
        Self {
            inner: Arc::new(Inner {
                state,
                namespace,
                table: Mutex::default(),
                is_read: AtomicBool::new(false),
                reading: tokio::sync::Mutex::default(),
                saving: tokio::sync::Mutex::default(),
                changed: Notify::new(),
            }),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.inner.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers hashes for so many seconds, and up to an hour longer. Whoever waits for [`Self::changed`] has to write them down.
    pub fn note(&self, hashes: impl IntoIterator<Item = Hash>, ttl_seconds: u64, now: Timestamp) {
        let mut table = self.table();
        let mut is_news = false;
        for hash in hashes {
            is_news |= table.note(hash, ttl_seconds, now);
        }
        drop(table);
        if is_news {
            self.inner.changed.notify_one();
        }
    }

    /// Which of these are remembered at `now`.
    ///
    /// # Errors
    /// [`StoreError`] when not all that was kept could be read so far: what is not known then may be there.
    pub async fn look(&self, hashes: &[Hash], now: Timestamp) -> Result<Vec<bool>, StoreError> {
        self.read(now).await?;
        let table = self.table();
        Ok(hashes.iter().map(|hash| table.has(hash, now)).collect())
    }

    /// Reads what was kept before a restart, once. Where it is cut off, the next call goes on.
    ///
    /// # Errors
    /// [`StoreError`] when the state store does not answer.
    pub async fn read(&self, now: Timestamp) -> Result<(), StoreError> {
        if self.inner.is_read.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut after = self.inner.reading.lock().await;
        while !self.inner.is_read.load(Ordering::Acquire) {
            let prefix = StateKey::new(self.inner.namespace, PREFIX);
            let page = self.inner.state.scan(prefix, after.clone(), PAGE, now).await?;
            for entry in &page.entries {
                let name = entry.key.rest().strip_prefix(PREFIX).unwrap_or_default();
                let expires = entry.expires.map_or(0, Timestamp::seconds);
                self.table().load(name, &entry.value, expires);
            }
            self.inner.is_read.store(page.next.is_none(), Ordering::Release);
            *after = page.next;
        }
        Ok(())
    }

    /// Reads again what is kept, when it is asked for next: the store has got back what it had lost.
    pub async fn read_again(&self) {
        let mut after = self.inner.reading.lock().await;
        *after = None;
        self.inner.is_read.store(false, Ordering::Release);
    }

    /// Waits until there is something to write down.
    pub async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    /// Writes down what has changed. What cannot be written, or of which nobody has waited for the answer, is tried again by the
    /// next call.
    ///
    /// # Errors
    /// [`StoreError`] when the state store does not answer, or refuses.
    pub async fn save(&self, now: Timestamp) -> Result<(), StoreError> {
        let _one = self.inner.saving.lock().await;
        let mut taken = Taken { hashes: self, unsaved: self.table().take_unsaved() };
        let mut writes: Vec<Write> = taken.unsaved.rows.iter().map(|row| self.put(row, now)).collect();
        writes.extend(taken.unsaved.gone.iter().map(|name| Write::delete(self.key(name))));
        // All are in line before the first answer: the store is kept waiting for none.
        let pending: Vec<_> =
            writes.chunks(WRITES_MAX).map(|some| self.inner.state.write(some.to_vec(), now)).collect();
        for written in pending {
            written.await?.into_iter().try_for_each(|one| one.map(drop))?;
        }
        taken.unsaved = Unsaved::default();
        Ok(())
    }

    /// How many are remembered, some of them expired.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table().len()
    }

    /// True when none are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn put(&self, row: &Row, now: Timestamp) -> Write {
        let ttl = row.expires.saturating_sub(now.seconds());
        Write::put(self.key(&row.name), row.value.clone(), ttl)
    }

    fn key(&self, name: &[u8]) -> StateKey {
        StateKey::new(self.inner.namespace, [PREFIX, name].concat())
    }
}

/// What is being written; when it is dropped it is given back.
struct Taken<'a> {
    hashes: &'a Hashes,
    /// Nothing, when all is written.
    unsaved: Unsaved,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let unsaved = std::mem::take(&mut self.unsaved);
        self.hashes.table().give_back(unsaved);
    }
}

#[cfg(test)]
mod tests;
