//! How much a verdict may do: act, mark, or only be written down.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What score verdicts, greylisting and backscatter may do. Everything that is certain acts in every mode.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Records what it would have done, and does nothing.
    Observe,
    /// Marks and files into Junk; never refuses, greylists or quarantines by score.
    Tag,
    /// Acts.
    #[default]
    Enforce,
}

impl Mode {
    /// All, the mildest first.
    pub const ALL: [Self; 3] = [Self::Observe, Self::Tag, Self::Enforce];

    /// Its name in settings and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Tag => "tag",
            Self::Enforce => "enforce",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
