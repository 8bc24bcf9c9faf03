//! The settings of the state store, `[store.state]` in the configuration.
//!
//! Reads nothing, decides nothing.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much the judging of mail may remember, and how it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StateSettings {
    /// Entries that each kind of memory (greylist, answers of DNS lists, verdicts, rates, ...) may have. Beyond that, those
    /// that would expire soonest go first.
    pub namespace_entries_max: u64,
    /// Octets that each kind of memory may take, keys and values together; on disk it is a few times as much.
    pub namespace_bytes_max: u64,
    /// Octets that stay free on the file system: below this, nothing new is remembered.
    pub disk_free_bytes_min: u64,
    /// Octets of the database that are kept in memory; it takes about three times as much.
    pub cache_bytes: u64,
    /// Milliseconds after which what was learnt is written to the disk: a crash forgets at most what came since.
    pub flush_millis: u64,
    /// Seconds that one operation may take; after that the database is taken to hang, is moved aside and begun anew.
    pub operation_seconds_max: u64,
}

impl Default for StateSettings {
    fn default() -> Self {
        Self {
            namespace_entries_max: 500_000,
            namespace_bytes_max: 64 << 20,
            disk_free_bytes_min: 64 << 20,
            cache_bytes: 4 << 20,
            flush_millis: 3_000,
            operation_seconds_max: 30,
        }
    }
}

impl StateSettings {
    /// [`StateSettings::flush_millis`] as a duration.
    #[must_use]
    pub fn flush_every(&self) -> Duration {
        Duration::from_millis(self.flush_millis)
    }

    /// [`StateSettings::operation_seconds_max`] as a duration.
    #[must_use]
    pub fn operation_limit(&self) -> Duration {
        Duration::from_secs(self.operation_seconds_max)
    }
}
