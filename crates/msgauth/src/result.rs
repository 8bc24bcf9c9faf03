//! The result words that all methods share (RFC 8601 §2.7).

use std::fmt;

/// The result of a method. Not every method knows every word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthResult {
    /// There was nothing to verify.
    None,
    /// The domain says nothing either way; or what was to be verified could not be understood.
    Neutral,
    /// Verified.
    Pass,
    /// Verified to be false.
    Fail,
    /// The domain thinks it false (RFC 7208 §2.6.5).
    SoftFail,
    /// Perhaps true, but not in a way that we accept: a weak key, SHA-1, a body in part.
    Policy,
    /// DNS failed: another time the result may be another. Never taken for an absence (I9).
    TempError,
    /// What was published cannot be used, until its owner changes it.
    PermError,
}

impl AuthResult {
    /// The word of RFC 8601.
    #[must_use]
    pub fn as_str(self) -> &'static str {
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
}

impl fmt::Display for AuthResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
