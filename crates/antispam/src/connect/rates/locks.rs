//! Accounts that may not log in, because they look broken into. Kept until an operator lifts it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use mail::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Op, StateKey, StateStore, StoreError, Write};

use super::{Event, PAGE};

/// Exported every hour: only an operator may forget it.
pub const NAMESPACE: &str = "locks";
/// Locked accounts that are known at most; there are not more accounts than that either.
const LOCKS_MAX: usize = 100_000;

/// Why and since when an account is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Seconds since 1970.
    pub since_seconds: u64,
    /// What there was too much of.
    pub event: Event,
    /// How often, within an hour.
    pub count: u64,
    /// From how often on it was slowed.
    pub limit: u64,
}

/// The locks, in memory and in the store.
pub struct Locks {
    state: Arc<dyn StateStore>,
    all: RwLock<BTreeMap<String, Lock>>,
}

impl Locks {
    pub(super) fn new(state: Arc<dyn StateStore>) -> Self {
        Self { state, all: RwLock::default() }
    }

    /// The lock of this account.
    #[must_use]
    pub fn of(&self, account: &str) -> Option<Lock> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).get(account).copied()
    }

    /// Every locked account, by name.
    #[must_use]
    pub fn all(&self) -> Vec<(String, Lock)> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(account, lock)| (account.clone(), *lock)).collect()
    }

    pub(super) async fn load(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.state.scan(StateKey::new(NAMESPACE, ""), after, PAGE, now).await?;
            for entry in page.entries {
                let account = String::from_utf8(entry.key.rest().to_vec());
                if let (Ok(account), Some(lock)) = (account, Lock::from_octets(&entry.value)) {
                    self.insert(account, lock);
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// True when it was not locked before.
    pub(super) async fn add(&self, account: &str, lock: Lock, now: Timestamp) -> Result<bool, StoreError> {
        if !self.insert(account.to_owned(), lock) {
            return Ok(false);
        }
        let key = StateKey::new(NAMESPACE, account);
        // Kept for good: what bounds it is the number of accounts.
        let write = Write { key, op: Op::Put(lock.to_octets().into()), ttl_seconds: None };
        for written in self.state.write(vec![write], now).await? {
            written?;
        }
        Ok(true)
    }

    pub(super) async fn remove(&self, account: &str, now: Timestamp) -> Result<bool, StoreError> {
        let delete = Write::delete(StateKey::new(NAMESPACE, account));
        for written in self.state.write(vec![delete], now).await? {
            written?;
        }
        Ok(self.all.write().unwrap_or_else(PoisonError::into_inner).remove(account).is_some())
    }

    fn insert(&self, account: String, lock: Lock) -> bool {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= LOCKS_MAX || all.contains_key(&account) {
            return false;
        }
        all.insert(account, lock);
        true
    }
}

impl Lock {
    /// `<since> <event> <count> <limit>`.
    fn to_octets(self) -> Vec<u8> {
        format!("{} {} {} {}", self.since_seconds, self.event.as_str(), self.count, self.limit).into_bytes()
    }

    fn from_octets(octets: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(octets).ok()?.split(' ');
        Some(Self {
            since_seconds: words.next()?.parse().ok()?,
            event: Event::named(words.next()?)?,
            count: words.next()?.parse().ok()?,
            limit: words.next()?.parse().ok()?,
        })
    }
}
