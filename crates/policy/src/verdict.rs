//! What was decided, by what, and the one function that turns it into a reply.
//!
//! Values only: [`crate::judge`] makes them. A verdict never says 250; that is said when a message is durable (I1).

use std::fmt;

use mail::Reply;
use serde::{Deserialize, Serialize};

use crate::mode::Mode;
use crate::ruling::{Order, Ruling, Source};
use crate::score::Score;
use crate::thresholds::Threshold;

/// What is done with a recipient, or with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing speaks against it.
    Accept,
    /// The memory of greylisting is to be asked, and the question put again with its answer.
    AskGreylist,
    /// The client is to come back.
    Greylist {
        /// In so many seconds.
        seconds: u64,
    },
    /// The recipient is to come in a transaction of its own: another mode holds for it.
    SeparateTransaction,
    /// A check did not finish that the operator needs.
    Tempfail {
        /// Its name.
        check: String,
    },
    /// Refused by its score, at RCPT.
    RejectEarly,
    /// Refused by its score, after DATA.
    Reject,
    /// Something decides alone: refused, refused for now, or thrown away.
    Ruled(Ruling),
}

/// What is done, in one word: for records, logs and metrics. From the mildest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Delivered.
    #[default]
    Accept,
    /// Marked and filed into Junk.
    Junk,
    /// Kept until an operator releases it, by an operator's order.
    Hold,
    /// Kept from the recipient until an operator releases it.
    Quarantine,
    /// Accepted and thrown away.
    Discard,
    /// Asked to come in a transaction of its own.
    Separate,
    /// Asked to come back by greylisting.
    Greylist,
    /// Asked to come back for another reason.
    Defer,
    /// Refused.
    Reject,
}

impl Action {
    /// All of them, the mildest first.
    pub const ALL: [Self; 9] = [
        Self::Accept,
        Self::Junk,
        Self::Hold,
        Self::Quarantine,
        Self::Discard,
        Self::Separate,
        Self::Greylist,
        Self::Defer,
        Self::Reject,
    ];

    /// Its name in records and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Junk => "junk",
            Self::Hold => "hold",
            Self::Quarantine => "quarantine",
            Self::Discard => "discard",
            Self::Separate => "separate",
            Self::Greylist => "greylist",
            Self::Defer => "defer",
            Self::Reject => "reject",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a decision was made by.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecidedBy {
    /// No threshold was reached and nothing ruled.
    #[default]
    Nothing,
    /// The score reached a threshold.
    Threshold {
        /// Which.
        threshold: Threshold,
        /// Its configuration key.
        key: String,
        /// Its value.
        limit: Score,
        /// The score that reached it.
        score: Score,
    },
    /// Greylisting is for all strangers.
    GreylistAlways,
    /// Something decides alone.
    Ruling {
        /// Who rules.
        source: Source,
        /// The order: `reject`, `discard`, …
        order: String,
        /// The configuration key, or file and line.
        key: String,
        /// Why.
        evidence: String,
    },
    /// A check that did not finish, and whose operator wants the client to come back then.
    Unfinished {
        /// Its name.
        check: String,
    },
    /// Another mode holds for this recipient than for the first one.
    Mode {
        /// The configuration key of this recipient's mode.
        key: String,
        /// The mode of this recipient.
        mode: Mode,
        /// The mode of the first one.
        first: Mode,
    },
}

impl From<&Ruling> for DecidedBy {
    fn from(ruling: &Ruling) -> Self {
        Self::Ruling {
            source: ruling.source,
            order: ruling.order.as_str().to_owned(),
            key: ruling.key.clone(),
            evidence: ruling.evidence.clone(),
        }
    }
}

impl Verdict {
    /// In one word.
    #[must_use]
    pub const fn action(&self) -> Action {
        match self {
            Self::Accept | Self::AskGreylist => Action::Accept,
            Self::Greylist { .. } => Action::Greylist,
            Self::SeparateTransaction => Action::Separate,
            Self::Tempfail { .. } => Action::Defer,
            Self::RejectEarly | Self::Reject => Action::Reject,
            Self::Ruled(ruling) => match ruling.order {
                Order::Reject(_) => Action::Reject,
                Order::Defer(_) => Action::Defer,
                Order::Discard => Action::Discard,
                Order::Hold => Action::Hold,
                Order::Quarantine => Action::Quarantine,
                Order::Redirect(_) | Order::Bcc(_) | Order::Prepend(_) | Order::Filter(_) | Order::Accept => {
                    Action::Accept
                }
            },
        }
    }

    /// What the client is told; `id` is the queue id, or the session's as long as there is none. None where the client is
    /// told that all is well, which is not for a verdict to say.
    ///
    /// The one place where a verdict becomes words. They name no list, no symbol and no score: those are in the record
    /// that `id` leads to.
    #[must_use]
    pub fn reply(&self, id: &str) -> Option<Reply> {
        let reply = match self {
            Self::Accept | Self::AskGreylist => return None,
            Self::Greylist { seconds } => Reply::new(
                451,
                (4, 7, 1),
                format!("Greylisted: please try again in {seconds} seconds ({id})"),
            ),
            // RFC 5321 §4.5.3.1.10: 452 makes the client send the remaining recipients in another transaction.
            Self::SeparateTransaction => Reply::new(
                452,
                (4, 5, 3),
                format!("Send to this recipient in a transaction of its own ({id})"),
            ),
            Self::Tempfail { .. } => Reply::new(
                451,
                (4, 7, 0),
                format!("A check could not be finished, please try again later ({id})"),
            ),
            Self::RejectEarly | Self::Reject => Reply::new(
                550,
                (5, 7, 1),
                format!(
                    "Refused: this looks like unsolicited mail. Is that wrong? Tell the postmaster: {id}"
                ),
            ),
            Self::Ruled(ruling) => match &ruling.order {
                Order::Reject(reply) if reply.is_permanent() => reply.clone(),
                Order::Defer(reply) if reply.is_transient() => reply.clone(),
                // An order that gives no fitting words still means what it says.
                Order::Reject(_) => Reply::new(550, (5, 7, 1), format!("Refused by local policy ({id})")),
                Order::Defer(_) => Reply::new(451, (4, 7, 1), format!("Please try again later ({id})")),
                _ => return None,
            },
        };
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_has_its_reply() {
        let ruled = |order| Verdict::Ruled(Ruling::new(Source::Access, order, "k", "e"));
        for (verdict, want) in [
            (Verdict::Accept, None),
            (Verdict::AskGreylist, None),
            (
                Verdict::Greylist { seconds: 300 },
                Some("451 4.7.1 Greylisted: please try again in 300 seconds (S1)"),
            ),
            (
                Verdict::SeparateTransaction,
                Some("452 4.5.3 Send to this recipient in a transaction of its own (S1)"),
            ),
            (
                Verdict::Tempfail { check: "clamav".into() },
                Some("451 4.7.0 A check could not be finished, please try again later (S1)"),
            ),
            (
                Verdict::Reject,
                Some(
                    "550 5.7.1 Refused: this looks like unsolicited mail. Is that wrong? Tell the postmaster: S1",
                ),
            ),
            (ruled(Order::Reject(Reply::new(554, (5, 7, 1), "no"))), Some("554 5.7.1 no")),
            (
                ruled(Order::Reject(Reply::new(250, (2, 0, 0), "yes"))),
                Some("550 5.7.1 Refused by local policy (S1)"),
            ),
            (
                ruled(Order::Defer(Reply::new(550, (5, 0, 0), "no"))),
                Some("451 4.7.1 Please try again later (S1)"),
            ),
            (ruled(Order::Discard), None),
        ] {
            assert_eq!(verdict.reply("S1").map(|reply| reply.to_string()).as_deref(), want, "{verdict:?}");
        }
        assert_eq!(Verdict::RejectEarly.reply("S1"), Verdict::Reject.reply("S1"));
    }

    #[test]
    fn a_reply_is_negative_exactly_when_the_action_is() {
        for verdict in [Verdict::Accept, Verdict::Reject, Verdict::Greylist { seconds: 1 }] {
            assert_eq!(verdict.reply("S1").is_some(), verdict.action() >= Action::Separate);
        }
    }
}
