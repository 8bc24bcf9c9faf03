//! What operators see and change of greylisting: `staffetta greylist list|allow|delete`.
//!
//! In pages, so that a flooded list costs no more than the page. An operator's word lasts until it is taken back.

use mail::Timestamp;
use serde::{Deserialize, Serialize};
use store::{StateKey, StateStore, StoreError, Write};

use super::origin::Origin;
use super::record::{self, Allowance, Entry};

/// Entries on one page at most.
pub const PAGE_ENTRIES_MAX: usize = 1000;

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// `spf:example.org`, `name:example.org`, `net:192.0.2.0/24`.
    pub origin: String,
    /// What is remembered.
    pub state: State,
    /// When it is forgotten; never for an operator's word.
    pub expires: Option<Timestamp>,
}

/// What is remembered of an origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A letter was asked to come back, or has come back.
    Letter {
        /// Its sender, without what changes; empty for the null sender.
        sender: String,
        /// Its recipient.
        recipient: String,
        /// When it came first.
        first: Timestamp,
        /// It has come back.
        passed: bool,
    },
    /// It has passed so many times, at most once an hour.
    Successes(u32),
    /// An operator has allowed it.
    Allowed,
}

/// A page of the list: first the origins, then the letters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Page {
    /// In the order of their keys.
    pub lines: Vec<Line>,
    /// Ask again with this; `None` when there is no more. May come with a page without lines.
    pub next: Option<String>,
}

/// A page of what is remembered, behind `after`, which is what the page before said.
///
/// # Errors
/// [`StoreError`] when the state store does not answer.
pub async fn list(
    state: &dyn StateStore,
    after: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Result<Page, StoreError> {
    let letters = after.is_some_and(|after| after.starts_with("e/"));
    let prefix = if letters { record::entries_prefix(None) } else { record::allowances_prefix() };
    let start = after.filter(|after| after.len() > 2).map(|after| StateKey::new(record::NAMESPACE, after));
    let page = state.scan(prefix, start, limit.clamp(1, PAGE_ENTRIES_MAX), now).await?;
    let lines = page.entries.iter().filter_map(|entry| {
        let state = if letters {
            let Entry { first, passed, sender, recipient } = Entry::decode(&entry.value)?;
            State::Letter { sender, recipient, first, passed }
        } else {
            let allowance = Allowance::decode(&entry.value)?;
            if allowance.by_operator { State::Allowed } else { State::Successes(allowance.successes) }
        };
        Some(Line { origin: record::origin_of(&entry.key)?.to_string(), state, expires: entry.expires })
    });
    let next = page.next.map(|key| String::from_utf8_lossy(key.rest()).into_owned());
    Ok(Page { lines: lines.collect(), next: next.or_else(|| (!letters).then(|| "e/".to_owned())) })
}

/// Never asks letters from there to come back, until it is deleted.
///
/// # Errors
/// [`StoreError`] when it could not be written.
pub async fn allow(state: &dyn StateStore, origins: &[Origin], now: Timestamp) -> Result<(), StoreError> {
    let write = |origin| Write {
        ttl_seconds: None,
        ..Write::put(record::allowance_key(origin), Allowance::BY_OPERATOR.encode(), 0)
    };
    carry_out(state, origins.iter().map(write).collect(), now).await
}

/// Forgets everything of these origins; says how many entries that were.
///
/// # Errors
/// [`StoreError`] when it could not be done, or not wholly.
pub async fn delete(state: &dyn StateStore, origins: &[Origin], now: Timestamp) -> Result<usize, StoreError> {
    let mut deleted = 0;
    for origin in origins {
        let allowance = record::allowance_key(origin);
        let known = state.get(vec![allowance.clone()], now).await?.into_iter().flatten().flatten().count();
        carry_out(state, vec![Write::delete(allowance)], now).await?;
        deleted += known;
        let mut after = None;
        loop {
            let prefix = record::entries_prefix(Some(origin));
            let page = state.scan(prefix, after, PAGE_ENTRIES_MAX, now).await?;
            let writes: Vec<_> = page.entries.into_iter().map(|entry| Write::delete(entry.key)).collect();
            deleted += writes.len();
            carry_out(state, writes, now).await?;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(deleted)
}

async fn carry_out(state: &dyn StateStore, writes: Vec<Write>, now: Timestamp) -> Result<(), StoreError> {
    if writes.is_empty() {
        return Ok(());
    }
    state.write(writes, now).await?.into_iter().try_for_each(|written| written.map(drop))
}
