//! What greylisting keeps in the state store, namespace `greylist`.
//!
//! `e/<origin> <hash>`: one letter from one origin; the hash is over sender and recipient, so that no key is long. The value
//! shows both to operators, cut. `a/<origin>`: how often it has passed. What does not decode counts as not there.

use aws_lc_rs::digest;
use bytes::Bytes;
use mail::{Address, ReversePath, Timestamp};
use store::StateKey;

use super::Origin;
use super::sender::normalised;

pub(super) const NAMESPACE: &str = "greylist";
/// Octets of a sender or recipient that are kept to be shown.
const SHOWN_BYTES_MAX: usize = 128;
/// Successes that are counted.
const SUCCESSES_MAX: u32 = 1_000_000;
/// Of the letters within so many seconds one counts.
const SUCCESS_SECONDS: u64 = 3600;

/// A letter as keys have it.
pub(super) struct Letter(String);

impl Letter {
    pub(super) fn of(sender: &ReversePath, recipient: &Address) -> Self {
        let text = format!("{}\0{}", normalised(sender), recipient.lookup_key());
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        let octets = hash.as_ref().iter().take(16);
        Self(octets.fold(String::with_capacity(32), |all, octet| all + &format!("{octet:02x}")))
    }
}

pub(super) fn entry_key(origin: &Origin, letter: &Letter) -> StateKey {
    StateKey::new(NAMESPACE, format!("e/{origin} {}", letter.0))
}

/// Of all letters from an origin; of all there are, without one.
pub(super) fn entries_prefix(origin: Option<&Origin>) -> StateKey {
    StateKey::new(NAMESPACE, origin.map_or("e/".to_owned(), |origin| format!("e/{origin} ")))
}

pub(super) fn allowance_key(origin: &Origin) -> StateKey {
    StateKey::new(NAMESPACE, format!("a/{origin}"))
}

pub(super) fn allowances_prefix() -> StateKey {
    StateKey::new(NAMESPACE, "a/")
}

/// The origin in a key, whatever kind it is of.
pub(super) fn origin_of(key: &StateKey) -> Option<Origin> {
    let text = std::str::from_utf8(key.rest().get(2..)?).ok()?;
    text.split(' ').next()?.parse().ok()
}

/// A letter that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// When it came first.
    pub(super) first: Timestamp,
    /// It has come back in time.
    pub(super) passed: bool,
    /// The sender, normalised and cut; empty for the null sender.
    pub(super) sender: String,
    /// The recipient, cut.
    pub(super) recipient: String,
}

impl Entry {
    pub(super) fn new(first: Timestamp, sender: &ReversePath, recipient: &Address) -> Self {
        let (sender, recipient) = (normalised(sender), recipient.lookup_key());
        Self { first, passed: false, sender: cut(&sender), recipient: cut(&recipient) }
    }

    pub(super) fn encode(&self) -> Bytes {
        let passed = u8::from(self.passed);
        format!("{}\n{passed}\n{}\n{}", self.first.0, self.sender, self.recipient).into()
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(value).ok()?.split('\n');
        let (first, passed) = (lines.next()?.parse().ok()?, lines.next()? == "1");
        let mut text = || lines.next().map(ToOwned::to_owned);
        Some(Self { first: Timestamp(first), passed, sender: text()?, recipient: text()? })
    }
}

/// How often an origin has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Allowance {
    pub(super) successes: u32,
    pub(super) last: Timestamp,
    pub(super) by_operator: bool,
}

impl Allowance {
    /// An operator's word, for good.
    pub(super) const BY_OPERATOR: Self = Self { successes: 0, last: Timestamp(0), by_operator: true };

    /// After one more letter; `None` when this one does not count.
    pub(super) fn succeeded(self, now: Timestamp) -> Option<Self> {
        let counts = self.successes == 0 || now.since(self.last).as_secs() >= SUCCESS_SECONDS;
        let successes = self.successes.saturating_add(1).min(SUCCESSES_MAX);
        (counts && !self.by_operator).then_some(Self { successes, last: now, by_operator: false })
    }

    pub(super) fn encode(self) -> Bytes {
        format!("{}\n{}\n{}", self.successes, self.last.0, u8::from(self.by_operator)).into()
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(value).ok()?.split('\n');
        let (successes, last) = (lines.next()?.parse().ok()?, lines.next()?.parse().ok()?);
        Some(Self { successes, last: Timestamp(last), by_operator: lines.next()? == "1" })
    }
}

/// On one line, at most [`SHOWN_BYTES_MAX`] octets.
fn cut(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() + c.len_utf8() > SHOWN_BYTES_MAX {
            break;
        }
        out.push(if c.is_control() { '?' } else { c });
    }
    out
}
