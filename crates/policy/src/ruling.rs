//! What decides alone, whatever the score: facts that are certain, and what operators have ordered.
//!
//! Kept apart from the score on purpose. A ruling acts in every mode, but for one source: whether a bounce is forged is a
//! conclusion of ours, and so follows the modes like a score.

use std::fmt;

use mail::{Address, NextHop, Reply};
use serde::{Deserialize, Serialize};

use crate::mode::Mode;
use crate::stage::Scope;

/// Longest evidence, in octets; what is longer is cut.
pub const EVIDENCE_BYTES_MAX: usize = 256;

/// Who rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A scanner knows it for malware.
    Malware,
    /// There is no such recipient.
    UnknownRecipient,
    /// The client may not send there (invariant I4).
    Relay,
    /// A login, MAIL or From that the account does not own.
    Sender,
    /// A limit that operators set: rates, sizes, counts.
    Limit,
    /// An access table.
    Access,
    /// A line of `header_checks` and its kin.
    HeaderCheck,
    /// A line of `body_checks`.
    BodyCheck,
    /// Another order of the operator's, such as `honour_reject`.
    Operator,
    /// A table or service that was needed did not answer (I9).
    Unavailable,
    /// A bounce of what we never sent.
    Backscatter,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Malware,
        Self::UnknownRecipient,
        Self::Relay,
        Self::Sender,
        Self::Limit,
        Self::Access,
        Self::HeaderCheck,
        Self::BodyCheck,
        Self::Operator,
        Self::Unavailable,
        Self::Backscatter,
    ];

    /// Its name in records and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malware => "malware",
            Self::UnknownRecipient => "unknown_recipient",
            Self::Relay => "relay",
            Self::Sender => "sender",
            Self::Limit => "limit",
            Self::Access => "access",
            Self::HeaderCheck => "header_check",
            Self::BodyCheck => "body_check",
            Self::Operator => "operator",
            Self::Unavailable => "unavailable",
            Self::Backscatter => "backscatter",
        }
    }

    /// True when it acts in `mode`: always, but for backscatter, which acts where a score would.
    #[must_use]
    pub const fn acts_in(self, mode: Mode) -> bool {
        match self {
            Self::Backscatter => matches!(mode, Mode::Enforce),
            _ => true,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Refuse for good, in these words; 5xx.
    Reject(Reply),
    /// Refuse for now, in these words; 4xx.
    Defer(Reply),
    /// Say 250 and throw it away, with a log line.
    Discard,
    /// Queue it, and deliver it when an operator says so.
    Hold,
    /// Keep it from its recipients until an operator releases it.
    Quarantine,
    /// Deliver it to this address instead.
    Redirect(Address),
    /// A copy to this address too.
    Bcc(Address),
    /// Put this line on top of the header; without its line end.
    Prepend(String),
    /// Hand the whole message to this next hop, whatever routes its recipients have.
    Filter(NextHop),
    /// What the score says shall not act: it is recorded only.
    Accept,
}

impl Order {
    /// Its name in records: `reject`, `defer`, …
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Reject(_) => "reject",
            Self::Defer(_) => "defer",
            Self::Discard => "discard",
            Self::Hold => "hold",
            Self::Quarantine => "quarantine",
            Self::Redirect(_) => "redirect",
            Self::Bcc(_) => "bcc",
            Self::Prepend(_) => "prepend",
            Self::Filter(_) => "filter",
            Self::Accept => "accept",
        }
    }

    /// The strictest of several orders wins, in whatever order they were found: this is how strict one is. Those that
    /// only add something rank alike, and all are carried out.
    pub(crate) const fn rank(&self) -> u8 {
        match self {
            Self::Reject(_) => 6,
            Self::Defer(_) => 5,
            Self::Discard => 4,
            Self::Quarantine => 3,
            Self::Hold => 2,
            Self::Accept => 1,
            Self::Redirect(_) | Self::Bcc(_) | Self::Prepend(_) | Self::Filter(_) => 0,
        }
    }
}

/// One ruling: who, what, why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// Who rules.
    pub source: Source,
    /// What is to be done.
    pub order: Order,
    /// Why: a peer's words are in it, so it is bounded and holds no control characters.
    pub evidence: String,
    /// The configuration key, or file and line, that ordered it: `antispam.access[0] client_access:12`.
    pub key: String,
    /// Whom it is for. The stage it is found at gives at least its own.
    pub scope: Scope,
    /// How much its check may do; only [`Source::Backscatter`] heeds it.
    pub mode: Mode,
}

impl Ruling {
    /// A ruling for one recipient, the transaction or the session, as the stage it is found at has it.
    ///
    /// `key` is the configuration key, or file and line, that ordered it.
    #[must_use]
    pub fn new(source: Source, order: Order, key: &str, evidence: &str) -> Self {
        let (scope, mode) = (Scope::Recipient, Mode::Enforce);
        Self { source, order, evidence: bounded(evidence), key: bounded(key), scope, mode }
    }

    /// For more than the stage it is found at: found at RCPT, it is to hold for the whole transaction.
    #[must_use]
    pub fn holds_for(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// True when it acts for a recipient of this mode. What only adds something, or lets a message be, always does.
    #[must_use]
    pub fn acts_in(&self, mode: Mode) -> bool {
        self.order.rank() <= Order::Accept.rank() || self.source.acts_in(self.mode.min(mode))
    }
}

/// Cut to [`EVIDENCE_BYTES_MAX`], control characters replaced: fit for a log, a header and a terminal.
pub(crate) fn bounded(text: &str) -> String {
    bounded_to(text, EVIDENCE_BYTES_MAX)
}

/// As [`bounded`], to `max` octets.
pub(crate) fn bounded_to(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        let c = if c.is_control() { '?' } else { c };
        if out.len() + c.len_utf8() > max {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_cut_and_has_no_control_characters() {
        assert_eq!(bounded("a\r\nb\u{1b}[1m"), "a??b?[1m");
        assert_eq!(bounded_to("äää", 5), "ää");
        let ruling = Ruling::new(Source::Access, Order::Hold, "k", &"x".repeat(1000));
        assert_eq!(ruling.evidence.len(), EVIDENCE_BYTES_MAX);
    }

    #[test]
    fn every_source_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Source::ALL.iter().map(|source| source.as_str()).collect();
        assert_eq!(names.len(), Source::ALL.len());
    }
}
