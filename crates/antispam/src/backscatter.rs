//! Bounces of what we never sent: how our own mail is marked, and how a message without a sender proves to be about it.
//!
//! Marks are made once, when a message is taken in: a tag in the reverse-path (BATV, draft-levine-smtp-batv) and a check in the
//! Message-IDs that we add; of others' Message-IDs a keyed hash is remembered. A message with the null reverse-path to one of
//! our users proves itself by any of the three. What proves none is forged. Nothing here replies to a client: it is a
//! ruling in the words of `policy`, which acts in mode `enforce` alone. A look-up that fails is neither proof nor forgery
//! (invariant I9).

pub mod batv;
pub mod judge;
pub mod keys;
pub mod message_id;
pub mod out;
pub mod status;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::batv::{Tagged, Validity};
pub use self::judge::{Backscatter, Judgement, Proof};
pub use self::keys::{KeyError, Keys};

/// Days that a report may come later than the queue gives up: the other side has a queue too.
const DAYS_AFTER_QUEUE: u64 = 7;
/// A tag tells its day in three digits, so that no validity may come near 1000 days.
const DAYS_MAX: u64 = 400;
const DAY_SECONDS: u64 = 86_400;

/// Bounces of what we never sent: `[antispam.backscatter]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackscatterSettings {
    /// Sign the reverse-path of mail from our own domains with a tag (`prvs=`), by which bounces of it are known. Not in
    /// force in this version: bounces are known by their Message-IDs alone.
    pub sign: bool,
    /// What is done with a message without a sender that proves not to be about mail of ours: `off`, `observe` (it is
    /// counted and recorded), `enforce` (550 5.7.1 after DATA). Watch `staffetta backscatter status` first.
    pub mode: BackscatterMode,
    /// The folder of the keys, one file for each; not set: `backscatter` in the data folder. The first key is made at start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<PathBuf>,
    /// Domains to which reverse-paths are not signed: of lists that know their members by the reverse-path.
    #[schemars(with = "Vec<String>")]
    pub unsigned_to: Vec<mail::Domain>,
}

impl Default for BackscatterSettings {
    fn default() -> Self {
        Self { sign: true, mode: BackscatterMode::Observe, keys: None, unsigned_to: Vec::new() }
    }
}

/// What is done about forged bounces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackscatterMode {
    /// Nothing is looked at.
    Off,
    /// Counted and recorded.
    #[default]
    Observe,
    /// Refused after DATA.
    Enforce,
}

/// How our own mail is marked, so that reports about it are known.
#[derive(Debug, Clone)]
pub struct Marks {
    /// The keys.
    pub keys: std::sync::Arc<Keys>,
    /// For how many days a mark holds.
    pub days: u64,
}

/// For how many days a mark holds, when the queue gives up after so many seconds.
#[must_use]
pub fn validity_days(queue_lifetime_seconds: u64) -> u64 {
    queue_lifetime_seconds.div_ceil(DAY_SECONDS).saturating_add(DAYS_AFTER_QUEUE).min(DAYS_MAX)
}
