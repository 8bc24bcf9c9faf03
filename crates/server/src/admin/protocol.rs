//! What goes over `admin.sock`: requests and responses, one JSON object a line.
//!
//! Times are RFC 3339 texts with the seconds since 1970 beside them, so that people and programs can both read them.
//! Fields may be added; none changes its meaning.

use antispam::connect::dnsbl::lists::Status as ListStatus;
use antispam::connect::rates::locks::Lock;
use antispam::correspondents::acquaintance::{Acquaintance, Claims};
use antispam::rcpt::greylist::manage::Line as Greylisted;
use antispam::reputation::Line as ReputationLine;
use mail::{Address, QueueId, Timestamp};
use policy::{Score, VerdictRecord};
use serde::{Deserialize, Serialize};
use store::{Hold, QueueEntry, RecipientState};

use super::control::{BackscatterStatus, FsckReport, Status};
use super::filter::Filter;

/// Longest line in either direction, in octets.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// What a client asks. One per connection at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Messages that pass the filter, oldest first.
    List {
        /// Which.
        #[serde(default)]
        filter: Filter,
        /// At most so many; 0 for all.
        #[serde(default)]
        limit: u64,
    },
    /// One message, without its body.
    Show {
        /// Which.
        id: QueueId,
    },
    /// The header and body as they will be delivered, without what is made for each recipient.
    Cat {
        /// Which.
        id: QueueId,
    },
    /// Does something to messages.
    Steer {
        /// What.
        order: Order,
        /// To which.
        select: Select,
        /// Only to those in this state; others are refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        only: Option<State>,
    },
    /// Checks every message: can it be read, has it an owner and a deadline?
    Fsck,
    /// How the server is.
    Status,
    /// Reads configuration, certificates and tables again.
    Reload,
    /// Verdicts that are kept, newest first: of one message or session, about a recipient, or all.
    Explain {
        /// Of this message or session.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<QueueId>,
        /// About this recipient: an address, `joe@` in any domain, or `@example.test` for anybody there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recipient: Option<String>,
        /// At most this old.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        younger_than_seconds: Option<u64>,
        /// At most so many.
        limit: u64,
    },
    /// Forgets every verdict that names an address.
    Erase {
        /// Which.
        address: String,
    },
    /// How the DNS lists do.
    Dnsbl,
    /// What greylisting remembers, allowed origins first.
    #[serde(rename = "greylist_list")]
    GreylistList {
        /// At most so many; 0 for all.
        #[serde(default)]
        limit: u64,
    },
    /// Never asks these to come back: domains, addresses, networks, or origins as the list shows them. All or none.
    #[serde(rename = "greylist_allow")]
    GreylistAllow {
        /// Whom.
        names: Vec<String>,
    },
    /// Forgets all that greylisting remembers of these.
    #[serde(rename = "greylist_delete")]
    GreylistDelete {
        /// Whom.
        names: Vec<String>,
    },
    /// What senders and networks have sent: those of these names, or all, the worst first.
    Reputation {
        /// Addresses, domains, clients, networks, or subjects as the list shows them.
        #[serde(default)]
        names: Vec<String>,
        /// At most so many; 0 for all.
        #[serde(default)]
        limit: u64,
    },
    /// What is remembered of whom a letter may be from, and of what it may answer.
    Acquaintance(Claims),
    /// Forgets what these have sent.
    #[serde(rename = "reputation_delete")]
    ReputationDelete {
        /// Whose.
        names: Vec<String>,
    },
    /// What became of mail without a sender.
    Backscatter,
    /// Messages in quarantine that pass the filter, oldest first.
    #[serde(rename = "quarantine_list")]
    QuarantineList {
        /// Which; its state does not count.
        #[serde(default)]
        filter: Filter,
        /// At most so many; 0 for all.
        #[serde(default)]
        limit: u64,
    },
    /// One message in quarantine, and the verdict about it.
    #[serde(rename = "quarantine_show")]
    QuarantineShow {
        /// Which.
        id: QueueId,
    },
    /// Releases messages in quarantine to one of those for whom they are kept back; the others' copies stay.
    #[serde(rename = "quarantine_release")]
    QuarantineRelease {
        /// Which.
        ids: Vec<QueueId>,
        /// To whom, as the list shows it.
        recipient: Address,
    },
    /// Tells recipients now what is new in quarantine for them; `done` counts the letters.
    #[serde(rename = "quarantine_digest")]
    QuarantineDigest,
    /// The accounts that are locked.
    Locks,
    /// Lets a locked account log in again; `done` counts 1 when it was locked.
    Unlock {
        /// Its address.
        account: String,
    },
}

/// What can be done to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// No attempts until released.
    Hold,
    /// Off hold, due now.
    Release,
    /// Due now; what is on hold stays there.
    Retry,
    /// Thrown away, without a report to the sender.
    Delete,
}

impl Order {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Retry => "retry",
            Self::Delete => "delete",
        }
    }
}

/// Which messages an order is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Select {
    /// These.
    Ids(Vec<QueueId>),
    /// All that pass the filter; an empty one is every message.
    Filter(Filter),
}

/// What the server answers: items, then `Done` or `Error`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Response {
    /// A message.
    Message(Box<MessageView>),
    /// A message in quarantine.
    Kept(Box<KeptView>),
    /// A piece of a message, in base64.
    Bytes(String),
    /// An order could not be carried out for this message.
    Refused {
        /// Which.
        id: QueueId,
        /// Why.
        why: String,
    },
    /// What a check found.
    Fsck(FsckReport),
    /// How the server is.
    Status(Box<Status>),
    /// A verdict, and its explanation in lines.
    Verdict {
        /// What was kept.
        record: Box<VerdictRecord>,
        /// In plain words.
        text: String,
    },
    /// How a DNS list does, for one family.
    Dnsbl(Box<ListStatus>),
    /// What greylisting remembers.
    Greylisted(Greylisted),
    /// What somebody has sent lately.
    Reputation(ReputationLine),
    /// Whom a domain of ours knows.
    Acquaintance(Acquaintance),
    /// Something was done about this origin.
    Origin(String),
    /// What became of mail without a sender.
    Backscatter(BackscatterStatus),
    /// An account that is locked.
    Locked {
        /// Its address.
        account: String,
        /// Why and since when.
        lock: Lock,
    },
    /// What a reload had to say.
    Warning(String),
    /// All is said: so many messages were listed or changed.
    Done {
        /// How many.
        count: u64,
        /// There are more than the limit let through.
        #[serde(default)]
        more: bool,
    },
    /// It cannot be done.
    Error(String),
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for its first attempt, or is being tried.
    Active,
    /// Was tried, and waits.
    Deferred,
    /// Held by an operator or a rule.
    Held,
    /// Held by a verdict.
    Quarantine,
    /// Held because its record or body is damaged.
    Damaged,
}

impl State {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deferred => "deferred",
            Self::Held => "held",
            Self::Quarantine => "quarantine",
            Self::Damaged => "damaged",
        }
    }

    /// The state of an entry; `is_active` when an attempt is under way.
    #[must_use]
    pub fn of(entry: &QueueEntry, is_active: bool) -> Self {
        match entry.state.hold {
            Some(Hold::Operator) => Self::Held,
            Some(Hold::Quarantine) => Self::Quarantine,
            Some(Hold::Damaged) => Self::Damaged,
            None if is_active || entry.state.attempts == 0 => Self::Active,
            None => Self::Deferred,
        }
    }
}

impl From<State> for crate::metrics::QueueState {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::Deferred => Self::Deferred,
            State::Held | State::Quarantine | State::Damaged => Self::Held,
        }
    }
}

/// A point in time, twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// RFC 3339, in UTC.
    pub time: String,
    /// Seconds since 1970.
    pub seconds: u64,
}

impl From<Timestamp> for Moment {
    fn from(at: Timestamp) -> Self {
        Self { time: at.to_string(), seconds: at.seconds() }
    }
}

/// A message as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageView {
    /// Its name.
    pub id: QueueId,
    /// Where it stands.
    pub state: State,
    /// When it was accepted.
    pub arrived: Moment,
    /// How long ago, in seconds.
    pub age_seconds: u64,
    /// Octets as received.
    pub size: u64,
    /// MAIL FROM; empty for the null reverse-path.
    pub sender: String,
    /// By which door it came: `mx`, `submission`, `local`, `report`.
    pub origin: String,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The account, or local user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Attempts that ended.
    pub attempts: u32,
    /// When the next one is due.
    pub next_attempt: Moment,
    /// A rule hands it to this next hop, whatever routes its recipients have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Every recipient, those that are done included.
    pub recipients: Vec<RecipientView>,
}

/// A message in quarantine as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptView {
    /// The message.
    #[serde(flatten)]
    pub message: MessageView,
    /// What its header says about who has written it: decoded, short, without control characters. Empty when it says nothing.
    pub from: String,
    /// Its subject, likewise.
    pub subject: String,
    /// Its score; none when no verdict is known, as with a copy that an undeliverable report has left.
    pub score: Option<Score>,
    /// Its symbols and what each was worth, the heaviest first.
    pub symbols: Vec<(String, Score)>,
    /// When it will be thrown away; none when never.
    pub kept_until: Option<Moment>,
}

/// A recipient as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientView {
    /// Where it goes.
    pub address: String,
    /// What RCPT said, when that was another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_as: Option<String>,
    /// `pending`, `delivered`, `failed`, `discarded`.
    pub state: String,
    /// When it was last tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tried: Option<Moment>,
    /// The peer of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// What was said then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
}

impl MessageView {
    /// How an entry looks at `now`.
    #[must_use]
    pub fn of(entry: &QueueEntry, is_active: bool, now: Timestamp) -> Self {
        let record = &entry.record;
        let recipients = record.recipients.iter().zip(&entry.state.recipients);
        Self {
            id: record.id,
            state: State::of(entry, is_active),
            arrived: record.arrived.into(),
            age_seconds: now.since(record.arrived).as_secs(),
            size: record.size,
            sender: record.reverse_path.to_string(),
            origin: format!("{:?}", record.origin.kind).to_lowercase(),
            client: record.origin.client.map(|ip| ip.to_string()),
            account: record.origin.account.clone(),
            attempts: entry.state.attempts,
            next_attempt: entry.state.next_attempt.into(),
            filter: record.filter.as_ref().map(ToString::to_string),
            recipients: recipients.map(|(recipient, status)| RecipientView::of(recipient, status)).collect(),
        }
    }

    /// Recipients that are not done.
    pub fn pending(&self) -> impl Iterator<Item = &RecipientView> {
        self.recipients.iter().filter(|r| r.state == "pending")
    }

    /// The last words about a recipient that is not done, the peer before them.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.pending().find_map(RecipientView::reason)
    }
}

impl RecipientView {
    fn of(recipient: &store::RecipientRecord, status: &store::RecipientStatus) -> Self {
        let state = match status.state {
            RecipientState::Pending => "pending",
            RecipientState::Delivered => "delivered",
            RecipientState::Failed => "failed",
            RecipientState::Discarded => "discarded",
        };
        Self {
            address: recipient.address.to_string(),
            accepted_as: recipient.accepted_as.as_ref().map(ToString::to_string),
            state: state.to_owned(),
            tried: status.last.as_ref().map(|last| last.at.into()),
            peer: status.last.as_ref().and_then(|last| last.peer.clone()),
            reply: status.last.as_ref().map(|last| last.reply.to_string()),
        }
    }

    /// The last words, after the peer that they are about: it said them, or could not be reached.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let reply = self.reply.as_ref()?;
        Some(match &self.peer {
            Some(peer) => format!("{peer}: {reply}"),
            None => reply.clone(),
        })
    }
}
