//! `[antispam.reputation]`.
//!
//! Reads nothing, decides nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const DAY_SECONDS: u64 = 86_400;

/// What senders and networks have sent lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReputationSettings {
    /// Days after which a letter counts for half of what it did in the reputation of its sender and network. 14; 0 keeps no
    /// reputations.
    pub half_life_days: u32,
}

impl Default for ReputationSettings {
    fn default() -> Self {
        Self { half_life_days: 14 }
    }
}

impl ReputationSettings {
    pub(super) fn half_life_seconds(self) -> u64 {
        u64::from(self.half_life_days).saturating_mul(DAY_SECONDS).max(1)
    }
}
