//! What a session came to: the counters behind its log line. Written by the session, read by anyone.

use crate::dialogue::CloseReason;
use crate::peer::TlsInfo;
use crate::sasl::Mechanism;
use crate::verb::{TABLE, Verb};

/// Counters and facts of one session so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts of a log line")]
pub struct SessionSummary {
    /// The name of the last accepted HELO, EHLO or LHLO.
    pub helo: Option<String>,
    /// That was EHLO or LHLO.
    pub esmtp: bool,
    /// TLS, if it is up.
    pub tls: Option<TlsInfo>,
    /// The account that logged in.
    pub account: Option<String>,
    /// The mechanism it logged in with.
    pub mechanism: Option<Mechanism>,
    /// Command lines read, the unknown ones included; not the lines of an authentication exchange.
    pub commands: u64,
    /// How many of them had each verb, by the verb's place in its enum.
    pub(crate) verbs: [u32; TABLE.len()],
    /// Transactions begun by an accepted MAIL.
    pub transactions: u64,
    /// Messages whose end of data had a positive reply (with LMTP: at least one).
    pub messages: u64,
    /// Messages refused after their end.
    pub messages_refused: u64,
    /// Recipients accepted at RCPT.
    pub recipients: u64,
    /// Recipients refused at RCPT, for good or for now, whoever refused them.
    pub recipients_refused: u64,
    /// Those of them that nobody was asked about: the session refused them itself.
    pub recipients_not_asked: NotAsked,
    /// Bytes read from the peer.
    pub bytes_in: u64,
    /// Bytes of replies.
    pub bytes_out: u64,
    /// Malformed or misplaced commands and refusals in all.
    pub errors: u64,
    /// Failed authentications.
    pub auth_failures: u64,
    /// The peer spoke before our greeting (RFC 5321 §3.1).
    pub spoke_first: bool,
    /// The peer pipelined behind a command that must end its group (RFC 2920 §3.1), or before EHLO.
    pub pipelined_early: bool,
    /// Why it ended, once it has.
    pub closed: Option<CloseReason>,
}

/// RCPT commands that the session refused by itself, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NotAsked {
    /// The address has a second `@`: a wish to relay.
    pub relaying: u64,
    /// More than a transaction may have.
    pub too_many: u64,
    /// Not readable, or not in its place.
    pub protocol: u64,
}

impl SessionSummary {
    /// How often each verb came, in its capitals, wherever it stood; what is missing from [`Self::commands`] was no
    /// verb of ours.
    pub fn commands_by_verb(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        TABLE
            .iter()
            .map(|facts| (facts.word, self.verbs.get(facts.verb as usize).copied().map_or(0, u64::from)))
    }

    pub(crate) fn count(&mut self, verb: Verb) {
        if let Some(count) = self.verbs.get_mut(verb as usize) {
            *count = count.saturating_add(1);
        }
    }
}
