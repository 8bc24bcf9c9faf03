//! The result words that all methods of authentication share (RFC 8601 §2.7).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The result of one method (RFC 8601 §2.7). Not every method knows every word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthResult {
    /// There was nothing to verify.
    #[default]
    None,
    /// The domain says nothing either way.
    Neutral,
    /// Verified.
    Pass,
    /// Verified to be false.
    Fail,
    /// The domain thinks it false (RFC 7208 §2.6.5).
    SoftFail,
    /// Verified, but not by a key or algorithm that we accept (RFC 8601 §2.7.1).
    Policy,
    /// Could not be found out now: never taken for an absence (I9).
    TempError,
    /// Cannot be found out: what was published is malformed.
    PermError,
}

impl AuthResult {
    /// The word of RFC 8601.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::Policy => "policy",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }

    /// True for [`Self::Pass`] alone.
    #[must_use]
    pub const fn is_pass(self) -> bool {
        matches!(self, Self::Pass)
    }
}

impl fmt::Display for AuthResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
