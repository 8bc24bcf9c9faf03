//! Is a message without a sender about mail of ours? The check `backscatter`, after DATA.
//!
//! Proof is a tag at RCPT for every recipient, a Message-ID with our check, or one that is remembered, anywhere in what the
//! message returns or answers. A bounce without proof is forged: refused in mode `enforce`, recorded in `observe`. A disposition, an
//! automatic reply or a complaint without proof gets points, for they may be about mail that went another way; not with a
//! tag that is wrong or too old, which says what it is about and that this is not so. The postmaster takes what comes
//! (RFC 5321 §4.5.1). When the memory does not answer nothing is concluded (I9). At RCPT nothing is ever refused here:
//! call-outs get their 250.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mail::{Reply, Timestamp};
use policy::{
    Addressed, Check, Content, EndOfData, Facts as _, Findings, MessageFacts, Order, Ruling, Score, Source,
    SymbolDef, Work,
};
use store::{StateStore, StoreError};

use super::keys::Keys;
use super::{BackscatterMode, message_id, status};
use crate::end_of_data::bounce::{self, Kind, Recognised};
use crate::hashes::{Hash, Hashes};
use crate::work;

/// The symbol of a report that proves to be about mail that we have sent.
pub const PROVEN_SYMBOL: &str = "BACKSCATTER_PROVEN";
/// Message-IDs of one message that are looked up in the memory.
const LOOKUPS_MAX: usize = 16;
const BUDGET: Duration = Duration::from_secs(5);

const PROVEN: SymbolDef =
    SymbolDef::new(PROVEN_SYMBOL, Score::points(-2), "A report about mail that we have sent");
const FORGED: SymbolDef =
    SymbolDef::new("BACKSCATTER_FORGED", Score::points(0), "A report about mail that we have not sent");
const AUTOMATIC: SymbolDef = SymbolDef::new(
    "BACKSCATTER_AUTOMATIC",
    Score::points(2),
    "An automatic reply without a sender to mail that we have not sent",
);

/// What proved that a message is about mail of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The recipients carried our tag.
    Tag,
    /// It names a Message-ID that we made.
    MessageId,
    /// It names a Message-ID that left through us.
    Remembered,
}

/// What is made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It is about mail of ours.
    Proven(Proof),
    /// It is not, and pretends to be.
    Forged(Kind),
    /// It may be about mail that did not go through us.
    Scored(Kind),
    /// It could not be found out.
    Unknown,
}

impl Judgement {
    pub(super) const WORDS: [&str; 4] = ["proven", "forged", "scored", "unknown"];

    /// Its name in counters.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Proven(_) => "proven",
            Self::Forged(_) => "forged",
            Self::Scored(_) => "scored",
            Self::Unknown => "unknown",
        }
    }
}

/// Decides, by what is known. `remembered`: whether one of its references is in the memory; `None` when that did not answer.
#[must_use]
pub fn judge(kind: Kind, addressed: Addressed, our_message_id: bool, remembered: Option<bool>) -> Judgement {
    match (addressed, our_message_id, remembered) {
        (Addressed::Tagged, ..) => Judgement::Proven(Proof::Tag),
        (_, true, _) => Judgement::Proven(Proof::MessageId),
        (.., Some(true)) => Judgement::Proven(Proof::Remembered),
        (.., None) => Judgement::Unknown,
        (Addressed::BadlyTagged, _, Some(false)) => Judgement::Forged(kind),
        (.., Some(false)) => match kind {
            Kind::Disposition | Kind::AutoReply | Kind::Feedback => Judgement::Scored(kind),
            Kind::Bounce | Kind::Ordinary => Judgement::Forged(kind),
        },
    }
}

/// The check.
pub struct Backscatter {
    mode: BackscatterMode,
    keys: Arc<Keys>,
    state: Arc<dyn StateStore>,
    sent: Hashes,
    days: u64,
}

impl Backscatter {
    /// The check with the keys it goes by, a store that counts what it finds and the Message-IDs that left; `days` as
    /// [`super::validity_days`] has them.
    #[must_use]
    pub fn new(
        mode: BackscatterMode,
        keys: Arc<Keys>,
        (state, sent): (Arc<dyn StateStore>, Hashes),
        days: u64,
    ) -> Self {
        Self { mode, keys, state, sent, days }
    }

    async fn look(&self, facts: &MessageFacts) -> (Judgement, Option<String>) {
        let content = facts.content.clone();
        let seen = work::heavy(move || beginning(&content).map(|octets| bounce::recognise(&octets, true)));
        let Ok(Some(seen)) = seen.await else {
            return (
                judge(Kind::Ordinary, facts.addressed, false, None),
                Some("the message cannot be read".into()),
            );
        };
        let ours = seen.references.iter().any(|id| message_id::proves(&self.keys, id, facts.at, self.days));
        let proven = ours || facts.addressed == Addressed::Tagged;
        let remembered = if proven { Ok(false) } else { self.remembers(&seen, facts.at).await };
        let why = remembered.as_ref().err().map(ToString::to_string);
        (judge(seen.kind, facts.addressed, ours, remembered.ok()), why)
    }

    async fn remembers(&self, seen: &Recognised, now: Timestamp) -> Result<bool, StoreError> {
        let ids = seen.references.iter().take(LOOKUPS_MAX);
        let hashes: Vec<Hash> = ids.flat_map(|id| message_id::hashes(&self.keys, id)).collect();
        if hashes.is_empty() {
            return Ok(false);
        }
        Ok(self.sent.look(&hashes, now).await?.contains(&true))
    }
}

impl Check<EndOfData> for Backscatter {
    fn name(&self) -> &'static str {
        "backscatter"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![PROVEN, FORGED, AUTOMATIC]
    }

    fn budget(&self) -> Duration {
        BUDGET
    }

    fn applies(&self, facts: &MessageFacts) -> bool {
        self.mode != BackscatterMode::Off
            && facts.is_stranger()
            && facts.mail.reverse_path.is_null()
            && facts.addressed != Addressed::AsPostmaster
    }

    fn run<'a>(&'a self, facts: &'a MessageFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(async move {
            let (judgement, why) = self.look(facts).await;
            match &judgement {
                Judgement::Proven(proof) => found.saw(PROVEN_SYMBOL, proof_text(*proof)),
                Judgement::Scored(kind) => found.saw("BACKSCATTER_AUTOMATIC", kind.as_str()),
                Judgement::Forged(kind) => {
                    let evidence = forgery_text(*kind, facts.addressed);
                    found.saw("BACKSCATTER_FORGED", &evidence);
                    if self.mode == BackscatterMode::Enforce {
                        found.rule(refusal(&evidence));
                    }
                }
                Judgement::Unknown => found.unfinished(why.as_deref().unwrap_or("the memory did not answer")),
            }
            // A count that is lost spoils a statistic, nothing else.
            drop(self.state.write(vec![status::count(&judgement, facts.at)], facts.at).await);
        })
    }
}

fn refusal(evidence: &str) -> Ruling {
    let text = "This reports on mail that was not sent from here; its sender was forged";
    let order = Order::Reject(Reply::new(550, (5, 7, 1), text));
    Ruling::new(Source::Backscatter, order, "antispam.backscatter.mode", evidence)
}

fn forgery_text(kind: Kind, addressed: Addressed) -> String {
    let tag = if addressed == Addressed::BadlyTagged { ", to a tag that is not ours or too old" } else { "" };
    format!("{}{tag}", kind.as_str())
}

fn proof_text(proof: Proof) -> &'static str {
    match proof {
        Proof::Tag => "tag in the recipient",
        Proof::MessageId => "Message-ID with our check",
        Proof::Remembered => "Message-ID that left through us",
    }
}

/// As much of the message as is analysed; `None` when its file cannot be read.
fn beginning(content: &Content) -> Option<Bytes> {
    match content {
        Content::Memory(bytes) => Some(bytes.slice(..bytes.len().min(bounce::ANALYSED_BYTES_MAX))),
        Content::File { path, .. } => {
            let mut out = Vec::new();
            let limit = u64::try_from(bounce::ANALYSED_BYTES_MAX).unwrap_or(u64::MAX);
            std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut out)).ok()?;
            Some(out.into())
        }
    }
}

#[cfg(test)]
mod tests;
