//! What is kept of every verdict: enough to explain it, never the subject or the body.
//!
//! Bounded: every list and text has a limit, and [`VerdictRecord::to_bytes`] leaves out the least telling parts, counted,
//! until the record fits where it is kept. Nothing is kept or read here; that is the work of a history elsewhere.

use std::net::IpAddr;

use mail::{Address, ReversePath, Timestamp};
use serde::{Deserialize, Serialize};

use crate::check::DnsAnswer;
use crate::dossier::Dossier;
use crate::facts::{ConnectFacts, Facts, HeloFacts, MailFacts};
use crate::judge::Decision;
use crate::mode::Mode;
use crate::pipeline::CheckTime;
use crate::ruling::bounded_to;
use crate::score::Score;
use crate::stage::Stage;
use crate::tally::{Capped, Line, Tally};
use crate::thresholds::{Rules, Threshold};
use crate::verdict::{Action, DecidedBy};

/// Recipients that are kept; further ones are counted.
pub const RECIPIENTS_MAX: usize = 32;
/// Symbols that are kept for a message or a recipient; further ones are counted.
pub const SYMBOLS_MAX: usize = 64;
/// DNS answers that are kept; further ones are counted.
pub const DNS_ANSWERS_MAX: usize = 32;
/// Times of checks that are kept; further ones are counted.
pub const TIMES_MAX: usize = 48;
/// Longest address, name or reply, in octets.
pub const TEXT_BYTES_MAX: usize = 320;
/// The largest record, in octets: what a state store takes as one value, less what the history puts around it.
pub const RECORD_BYTES_MAX: usize = (6 << 10) - 8;
/// Longest evidence in a record that must be made smaller, in octets.
const EVIDENCE_BYTES_SHORT: usize = 48;
/// The first octet of a record as it is kept: which fields follow.
const VERSION: u8 = 1;

/// One verdict, explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictRecord {
    /// Whom it is about.
    pub about: About,
    /// What was done.
    pub action: Action,
    /// By what.
    pub decided: DecidedBy,
    /// What the client was told.
    pub reply: Option<String>,
    /// The recipients that it is about.
    pub recipients: Vec<RecipientRecord>,
    /// The points of the recipient that they speak against most.
    pub points: Points,
    /// What DNS said.
    pub dns: Vec<DnsAnswer>,
    /// How long the checks took.
    pub times: Vec<CheckTime>,
    /// How many things there were beyond the bounds.
    pub left_out: usize,
}

/// Which session or message, from whom, when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The queue id, or the session's as long as there is none.
    pub id: String,
    /// The session.
    pub session: String,
    /// When it was decided.
    pub at: Timestamp,
    /// At which stage.
    pub stage: Stage,
    /// The client's address.
    pub client: IpAddr,
    /// Its name, when reverse DNS leads there and back.
    pub client_name: Option<String>,
    /// The name it gave.
    pub helo: Option<String>,
    /// The account that has logged in.
    pub account: Option<String>,
    /// The reverse-path; empty for the null one, none before MAIL.
    pub sender: Option<String>,
}

/// What was done about one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientRecord {
    /// Its address.
    pub address: String,
    /// What was done.
    pub action: Action,
    /// By what.
    pub decided: DecidedBy,
    /// What mode `enforce` everywhere would have done instead.
    pub would: Option<Action>,
    /// The mode that held for it.
    pub mode: Mode,
    /// The configuration key that says so.
    pub mode_key: String,
    /// Its score.
    pub score: Score,
    /// The nearest threshold of this stage that was not reached.
    pub next: Option<Next>,
    /// Its own points, when they are not those of the record.
    pub points: Option<Points>,
}

/// A threshold that was not reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// Which.
    pub threshold: Threshold,
    /// Its configuration key.
    pub key: String,
    /// Its value.
    pub limit: Score,
}

/// A tally as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Points {
    /// Every symbol, the heaviest first.
    pub lines: Vec<Line>,
    /// Groups whose caps took points away.
    pub capped: Vec<Capped>,
    /// The sum: what marking goes by.
    pub total: Score,
    /// What refusing goes by.
    pub refusing: Score,
    /// What it would be if checks that only record counted too.
    pub observed: Score,
}

/// The octets are no record, or one of a later version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this verdict was not written by this version, or is damaged")]
pub struct RecordError;

impl About {
    /// A session that has said nothing yet. `at` is now.
    #[must_use]
    pub fn connect(facts: &ConnectFacts, stage: Stage, at: Timestamp) -> Self {
        let name = facts.auth.iprev.as_ref().filter(|iprev| iprev.result.is_pass());
        Self {
            id: text(&facts.session),
            session: text(&facts.session),
            at,
            stage,
            client: facts.client,
            client_name: name.and_then(|iprev| iprev.name.as_ref()).map(|name| text(name.as_str())),
            helo: None,
            account: None,
            sender: None,
        }
    }

    /// A session that has said who it is.
    #[must_use]
    pub fn helo(facts: &HeloFacts, stage: Stage, at: Timestamp) -> Self {
        let iprev = facts.auth.iprev.as_ref().filter(|iprev| iprev.result.is_pass());
        let known = iprev.and_then(|iprev| iprev.name.as_ref()).map(|name| text(name.as_str()));
        let connect = Self::connect(&facts.connect, stage, at);
        Self { helo: Some(text(&facts.name)), client_name: known.or(connect.client_name), ..connect }
    }

    /// A transaction.
    #[must_use]
    pub fn mail(facts: &MailFacts, stage: Stage, at: Timestamp) -> Self {
        let sender = match &facts.reverse_path {
            ReversePath::Null => String::new(),
            ReversePath::Mailbox(address) => text(&address.to_string()),
        };
        let account = facts.account().map(text);
        Self { account, sender: Some(sender), ..Self::helo(&facts.helo, stage, at) }
    }

    /// With the queue id that the message was given.
    #[must_use]
    pub fn queued_as(mut self, id: mail::QueueId) -> Self {
        self.id = id.to_string();
        self
    }
}

impl VerdictRecord {
    /// The record of a verdict about `copies`: each recipient, what was decided about it, and by which rules. Without any,
    /// it is about the session.
    #[must_use]
    pub fn new(
        about: About,
        dossier: &Dossier,
        action: Action,
        decided: DecidedBy,
        copies: &[(&Address, &Decision, &Rules)],
    ) -> Self {
        let mut left_out = dossier.left_out() + copies.len().saturating_sub(RECIPIENTS_MAX);
        let worst = copies.iter().map(|(_, decision, _)| &decision.tally).max_by_key(|tally| tally.total);
        let points = worst.map(|tally| Points::of(tally, &mut left_out)).unwrap_or_default();
        let recipients = copies
            .iter()
            .take(RECIPIENTS_MAX)
            .map(|(address, decision, rules)| {
                let own = worst.is_some_and(|worst| *worst != decision.tally);
                let points = own.then(|| Points::of(&decision.tally, &mut left_out));
                RecipientRecord::of(about.stage, address, decision, rules, points)
            })
            .collect();
        let dns: Vec<DnsAnswer> = dossier.dns().take(DNS_ANSWERS_MAX).cloned().collect();
        let times: Vec<CheckTime> = dossier.times().take(TIMES_MAX).cloned().collect();
        left_out += dossier.dns().count() - dns.len() + dossier.times().count() - times.len();
        Self { about, action, decided, reply: None, recipients, points, dns, times, left_out }
    }

    /// With what the client was told.
    #[must_use]
    pub fn replied(mut self, reply: &mail::Reply) -> Self {
        self.reply = Some(text(&reply.to_string()));
        self
    }

    /// True when it names this address, in any case: what an erasure by address is to find.
    #[must_use]
    pub fn mentions(&self, address: &str) -> bool {
        let same = |text: &str| text.eq_ignore_ascii_case(address);
        self.about.sender.as_deref().is_some_and(same) || self.recipients.iter().any(|r| same(&r.address))
    }

    /// As it is kept: at most [`RECORD_BYTES_MAX`] octets.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.packed();
        if bytes.len() <= RECORD_BYTES_MAX {
            return bytes;
        }
        let mut smaller = self.clone();
        for step in SMALLER {
            step(&mut smaller);
            bytes = smaller.packed();
            if bytes.len() <= RECORD_BYTES_MAX {
                break;
            }
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => rmp_serde::from_slice(rest).map_err(|_| RecordError),
            _ => Err(RecordError),
        }
    }

    /// As one JSON object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    fn packed(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        // Writing plain values into memory has no way to fail.
        if rmp_serde::encode::write(&mut bytes, self).is_err() {
            bytes.truncate(1);
        }
        bytes
    }
}

/// What is given up first when a record is too large, and what last: its head, its verdict and its heaviest symbols stay.
const SMALLER: [fn(&mut VerdictRecord); 5] = [
    |record| {
        for recipient in &mut record.recipients {
            record.left_out += usize::from(recipient.points.take().is_some());
        }
    },
    |record| record.left_out += cut(&mut record.dns, 8) + cut(&mut record.times, 16),
    |record| {
        for line in &mut record.points.lines {
            line.evidence = bounded_to(&line.evidence, EVIDENCE_BYTES_SHORT);
        }
        record.left_out += cut(&mut record.recipients, 6);
    },
    |record| {
        record.left_out += cut(&mut record.points.lines, 24) + cut(&mut record.points.capped, 4);
        record.left_out += cut(&mut record.dns, 1) + cut(&mut record.times, 4);
    },
    |record| record.left_out += cut(&mut record.recipients, 1) + cut(&mut record.points.lines, 8),
];

/// Shortens a list; tells by how many.
fn cut<T>(list: &mut Vec<T>, max: usize) -> usize {
    let over = list.len().saturating_sub(max);
    list.truncate(max);
    over
}

impl RecipientRecord {
    fn of(
        stage: Stage,
        address: &Address,
        decision: &Decision,
        rules: &Rules,
        points: Option<Points>,
    ) -> Self {
        let score = decision.tally.total;
        let heeded: &[Threshold] = match stage {
            Stage::EndOfData => &[Threshold::Tag, Threshold::Quarantine, Threshold::Reject],
            _ => &[Threshold::Greylist, Threshold::RejectEarly],
        };
        let limits = heeded.iter().filter_map(|which| Some((rules.limit(*which)?, *which)));
        let next = limits.filter(|(limit, _)| limit.value > score).min_by_key(|(limit, _)| limit.value);
        Self {
            address: text(&address.to_string()),
            action: decision.action,
            decided: decision.decided.clone(),
            would: decision.would,
            mode: rules.mode.value,
            mode_key: text(&rules.mode.key),
            score,
            next: next.map(|(limit, threshold)| Next {
                threshold,
                key: text(&limit.key),
                limit: limit.value,
            }),
            points,
        }
    }
}

impl Points {
    fn of(tally: &Tally, left_out: &mut usize) -> Self {
        *left_out += tally.lines.len().saturating_sub(SYMBOLS_MAX);
        Self {
            lines: tally.lines.iter().take(SYMBOLS_MAX).cloned().collect(),
            capped: tally.capped.clone(),
            total: tally.total,
            refusing: tally.refusing,
            observed: tally.observed,
        }
    }
}

fn text(words: &str) -> String {
    bounded_to(words, TEXT_BYTES_MAX)
}

#[cfg(test)]
mod tests;
