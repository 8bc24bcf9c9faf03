//! The settings of the store, `[store]` in the configuration.
//!
//! Every bound that keeps memory, disk or time in check is here under a name with its unit. Nothing here is read from
//! an environment or a clock.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the queue is kept on disk, and how much memory it may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Octets that stay free on the file system: below this, new mail is refused with `452 4.3.1`, while accepted mail is
    /// delivered as before. Service returns by itself. The default leaves room for four journal segments.
    pub disk_free_bytes_min: u64,
    /// Octets of the largest body that is written into the journal with its envelope; a larger one goes to a file of its
    /// own in `spool/` while it arrives. Never more than a quarter of `journal.segment_bytes`.
    pub inline_body_bytes_max: u64,
    /// Octets of recently accepted bodies that stay in memory, so that the first delivery reads no disk.
    pub hot_bytes_max: u64,
    /// Octets of envelopes that may wait in memory for the index; what is more than half of it goes there at once, and when all
    /// is taken, acknowledgements wait. The default holds about 6,000 messages, many times what is in delivery at once.
    pub pending_bytes_max: u64,
    /// Milliseconds that a message waits before it is written to the index. Most mail is delivered before, and then
    /// never touches it.
    pub index_delay_millis: u64,
    /// Octets of the index (sled) that are kept in memory; it takes about three times as much. More makes a queue of
    /// hundreds of thousands of deferred messages a little faster to steer.
    pub index_cache_bytes: u64,
    /// Seconds that one operation of the index, its opening included, may take; after that it is taken to hang, and it
    /// is made again from the journal.
    pub index_seconds_max: u64,
    /// Milliseconds between checkpoints: a start reads the journal from the last one only.
    pub checkpoint_millis: u64,
    /// Milliseconds after which a change of state is on disk at the latest. A crash within that time repeats a delivery.
    pub settle_millis_max: u64,
    /// Messages are copied out of the oldest journal segment when less than so many percent of it, or of the whole
    /// journal, are still needed: the journal takes at most about 100 / this times the space of the queued mail.
    pub compact_live_percent: u64,
    /// The journal.
    pub journal: crate::journal::Settings,
    /// What the judging of mail remembers.
    pub state: crate::StateSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            disk_free_bytes_min: 256 << 20,
            inline_body_bytes_max: 256 << 10,
            hot_bytes_max: 16 << 20,
            pending_bytes_max: 8 << 20,
            index_delay_millis: 1_000,
            index_cache_bytes: 4 << 20,
            index_seconds_max: 30,
            checkpoint_millis: 5_000,
            settle_millis_max: 100,
            compact_live_percent: 25,
            journal: crate::journal::Settings::default(),
            state: crate::StateSettings::default(),
        }
    }
}

impl Settings {
    /// Octets of the largest body that goes into the journal.
    #[must_use]
    pub fn inline_max(&self) -> u64 {
        self.inline_body_bytes_max.min(u64::from(self.journal.segment_bytes) / 4)
    }

    /// [`Settings::index_delay_millis`] as a duration.
    #[must_use]
    pub fn index_delay(&self) -> Duration {
        Duration::from_millis(self.index_delay_millis)
    }

    /// [`Settings::checkpoint_millis`] as a duration.
    #[must_use]
    pub fn checkpoint_every(&self) -> Duration {
        Duration::from_millis(self.checkpoint_millis)
    }

    /// [`Settings::settle_millis_max`] as a duration.
    #[must_use]
    pub fn settle_within(&self) -> Duration {
        Duration::from_millis(self.settle_millis_max)
    }

    /// [`Settings::index_seconds_max`] as a duration.
    #[must_use]
    pub fn index_limit(&self) -> Duration {
        Duration::from_secs(self.index_seconds_max)
    }
}
