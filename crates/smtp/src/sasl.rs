//! Authentication mechanisms.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A SASL mechanism that can be offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Mechanism {
    /// RFC 4616.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Never standardised, still what many clients speak.
    #[serde(rename = "LOGIN")]
    Login,
    /// RFC 7677.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// RFC 7677, bound to the TLS connection (RFC 9266).
    #[serde(rename = "SCRAM-SHA-256-PLUS")]
    ScramSha256Plus,
}

impl Mechanism {
    /// All of them, the strongest first.
    pub const ALL: [Self; 4] = [Self::ScramSha256Plus, Self::ScramSha256, Self::Plain, Self::Login];

    /// As it is written in EHLO and AUTH.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
        }
    }
}

/// An AUTH exchange under way.
#[derive(Debug)]
pub(crate) struct Exchange;
