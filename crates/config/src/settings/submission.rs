//! `[submission]`: what is done to mail that our own users hand in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Principal;

/// What is done to mail that our own users hand in (RFC 6409), over the network or with `sendmail`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SubmissionSettings {
    /// Leave the user's own network address out of the Received line of what is submitted: where somebody writes from is
    /// nobody's business.
    pub hide_client: bool,
    /// Add a Date and a Message-ID to mail that has none (RFC 6409 §8.2, §8.3).
    pub add_missing_headers: bool,
    /// Sign with DKIM where there is a key for the domain of the author (`staffetta dkim new DOMAIN` makes one).
    pub sign: bool,
    /// Local users who may send under any address with `sendmail -f` or a From of their choice, besides root: web
    /// applications, list managers. Names or numbers.
    pub trusted_users: Vec<Principal>,
}

impl Default for SubmissionSettings {
    fn default() -> Self {
        Self { hide_client: true, add_missing_headers: true, sign: true, trusted_users: Vec::new() }
    }
}
