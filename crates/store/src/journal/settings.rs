//! What an administrator may set about the journal. The defaults serve a busy server on one disk.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::frame::{BLOCK_BYTES, FRAME_HEADER_BYTES};

/// The journal: the files in which accepted mail and every change of its state are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Size of a segment file, in octets; its disk blocks are allocated before they are used. Larger files
    /// are begun less often, smaller ones return their space sooner. At least 32768; rounded down to a
    /// multiple of 4096. Changing it concerns new files only.
    pub segment_bytes: u32,
    /// How many emptied segment files are kept for use instead of being removed: rewriting an allocated file
    /// is faster than allocating a new one. One is always kept, as a reserve for a full disk.
    pub spare_segments_max: u32,
    /// The most that one write to the disk carries, in octets; what waits beyond that goes into the next one.
    pub batch_bytes_max: u32,
    /// How long a change of state (delivered, deferred) may wait in memory for company before it is written,
    /// in milliseconds. What a crash of the server loses in that time is delivered a second time. It reaches
    /// the disk itself with the next message.
    pub lazy_write_millis: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            spare_segments_max: 4,
            batch_bytes_max: 8 * 1024 * 1024,
            lazy_write_millis: 5,
        }
    }
}

impl Settings {
    /// Size of a new segment: at least eight blocks, and whole ones.
    pub(super) fn segment_size(&self) -> u32 {
        self.segment_bytes.max(8 * BLOCK_BYTES) / BLOCK_BYTES * BLOCK_BYTES
    }

    /// The part of the last segment that is kept for changes of state when the disk is full.
    pub(super) fn reserve(&self) -> u32 {
        self.segment_size() / 8
    }

    /// The largest payload that fits, in octets.
    #[must_use]
    pub fn payload_bytes_max(&self) -> u32 {
        self.segment_size() - self.reserve() - BLOCK_BYTES - FRAME_HEADER_BYTES
    }

    pub(super) fn lazy_write(&self) -> Duration {
        Duration::from_millis(self.lazy_write_millis.into())
    }
}
