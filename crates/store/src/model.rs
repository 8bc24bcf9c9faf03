//! What is stored of a message: the record that never changes, the state that does, and the changes themselves.
//!
//! A message is kept **as received**, with the edits and trace headers beside it; the delivery agent puts them together.
//! Every type here is written to the journal by name (MessagePack maps), so that a field can be added with
//! `#[serde(default)]` and older records still read.

use std::net::IpAddr;
use std::path::PathBuf;

use bytes::Bytes;
use mail::{
    Address, BodyType, Disposition, NextHop, Notify, OriginalRecipient, QueueId, Reply, Ret, ReversePath,
    Timestamp,
};
use serde::{Deserialize, Serialize};

/// Where a message came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// By which door.
    pub kind: OriginKind,
    /// The client's canonical address; none for local mail and reports.
    #[serde(default)]
    pub client: Option<IpAddr>,
    /// The authenticated account, or the local user name.
    #[serde(default)]
    pub account: Option<String>,
    /// What the client called itself.
    #[serde(default)]
    pub helo: Option<String>,
    /// Whether the reverse-path is known to be the sender's own.
    #[serde(default)]
    pub sender: SenderProof,
}

impl Origin {
    /// A door, and nothing more known.
    #[must_use]
    pub fn new(kind: OriginKind) -> Self {
        Self { kind, client: None, account: None, helo: None, sender: SenderProof::default() }
    }
}

/// Whether it is known that a message comes from whom its reverse-path names. Found out when it is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum SenderProof {
    /// Nobody looked, as with messages of earlier versions: treated as proven.
    #[default]
    NotAsked,
    /// It is the sender's own, or a domain of ours.
    Proven,
    /// It may be anybody's: no report is sent to it.
    Unproven,
}

/// The doors into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OriginKind {
    /// An mx listener.
    Mx,
    /// A submission listener, authenticated.
    Submission,
    /// `sendmail` or the maildrop folder.
    Local,
    /// A report of our own (RFC 3464).
    Report,
}

/// One change to the message as received, made at delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Edit {
    /// Put these raw lines (each with its CRLF) before the header.
    Prepend(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Put these raw lines after the last header line, before the empty line.
    Append(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Remove every field of this name, in any case.
    Remove(String),
    /// Put these raw lines (each with its CRLF) in the place of one field; without any, it is left out.
    Field {
        /// Which field of the header as received, from 0; other edits do not count.
        number: u32,
        /// What stands there instead.
        #[serde(with = "serde_bytes")]
        with: Vec<u8>,
    },
    /// Put these raw octets in the place of some of the body.
    Body {
        /// Where those begin in the message as received, from its first octet.
        offset: u64,
        /// How many there are; 0 only adds.
        length: u64,
        /// What stands there instead.
        #[serde(with = "serde_bytes")]
        with: Vec<u8>,
    },
}

/// All that is known of a message when it is accepted. Never changes afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRecord {
    /// Its name.
    pub id: QueueId,
    /// When it was accepted.
    pub arrived: Timestamp,
    /// Where it came from.
    pub origin: Origin,
    /// MAIL FROM, without a tag of ours: where reports go, and what people and filters are shown.
    pub reverse_path: ReversePath,
    /// What other hosts are told instead: the same address with a tag, by which reports that they make are known to be about
    /// this message. Made when the message was taken in, so that every attempt has the same sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tagged_sender: Option<Address>,
    /// BODY=.
    #[serde(default)]
    pub body_type: BodyType,
    /// SMTPUTF8 was asked for (RFC 6531 §3.4).
    #[serde(default)]
    pub smtputf8: bool,
    /// RET=.
    #[serde(default)]
    pub ret: Option<Ret>,
    /// ENVID=, decoded (RFC 3461 §4.4).
    #[serde(default)]
    pub envid: Option<String>,
    /// Our trace lines, common to all recipients, each with its CRLF: they go on top.
    #[serde(with = "serde_bytes", default)]
    pub trace: Vec<u8>,
    /// Changes to the message as received, in order.
    #[serde(default)]
    pub edits: Vec<Edit>,
    /// It goes to this next hop, by order of a rule, whatever routes its recipients have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<NextHop>,
    /// Final recipients, aliases expanded; indexes into this list name recipients everywhere.
    pub recipients: Vec<RecipientRecord>,
    /// Octets of the message as received, without `trace` and `edits`.
    pub size: u64,
}

impl MessageRecord {
    /// A message of which no more is known than this: no MAIL parameters, no trace, no size.
    #[must_use]
    pub fn new(
        id: QueueId,
        arrived: Timestamp,
        reverse_path: ReversePath,
        recipients: Vec<RecipientRecord>,
    ) -> Self {
        Self {
            id,
            arrived,
            origin: Origin::new(OriginKind::Mx),
            reverse_path,
            tagged_sender: None,
            body_type: BodyType::default(),
            smtputf8: false,
            ret: None,
            envid: None,
            trace: Vec::new(),
            edits: Vec::new(),
            filter: None,
            recipients,
            size: 0,
        }
    }

    /// Who another host is told that sends this message to this recipient; `None` is the null reverse-path.
    #[must_use]
    pub fn sender_for(&self, recipient: &RecipientRecord) -> Option<&Address> {
        let tagged = self.tagged_sender.as_ref().filter(|_| !recipient.untagged_sender);
        tagged.or_else(|| self.reverse_path.mailbox())
    }
}

/// One final recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientRecord {
    /// Where it goes, after aliases.
    pub address: Address,
    /// What RCPT said, when an alias or the bare postmaster changed it.
    #[serde(default)]
    pub accepted_as: Option<Address>,
    /// ORCPT=.
    #[serde(default)]
    pub original: Option<OriginalRecipient>,
    /// NOTIFY=.
    #[serde(default)]
    pub notify: Notify,
    /// What the verdict made of it.
    #[serde(default)]
    pub disposition: Disposition,
    /// Header lines for this recipient alone, each with its CRLF.
    #[serde(with = "serde_bytes", default)]
    pub header_lines: Vec<u8>,
    /// It knows senders by the reverse-path, as lists do: it is told the one without a tag.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untagged_sender: bool,
    /// Its copy is kept back for a score alone: it may say itself that it wants it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_release: bool,
}

impl RecipientRecord {
    /// A recipient of which no more is known than its address.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self {
            address,
            accepted_as: None,
            original: None,
            notify: Notify::default(),
            disposition: Disposition::default(),
            header_lines: Vec::new(),
            untagged_sender: false,
            may_release: false,
        }
    }
}

/// The message as received, on its way in.
#[derive(Debug)]
pub enum NewBody {
    /// In memory, in the chunks it came in.
    Memory(Vec<Bytes>),
    /// In a file of its own, complete but not yet synced: made by [`crate::QueueStore::spool`].
    File(crate::SpooledBody),
}

/// The message as received, on its way out.
#[derive(Debug, Clone)]
pub enum StoredBody {
    /// In memory; clones share the bytes.
    Memory(Vec<Bytes>),
    /// In a file that stays while the message is queued.
    File {
        /// Where.
        path: PathBuf,
        /// Octets.
        size: u64,
    },
}

/// A message to be stored.
#[derive(Debug)]
pub struct NewMessage {
    /// Its record.
    pub record: MessageRecord,
    /// Its header and body.
    pub body: NewBody,
    /// When it is first due; normally `record.arrived`.
    pub next_attempt: Timestamp,
    /// Stored held from the start.
    pub hold: Option<Hold>,
}

/// Why a message is not to be delivered for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Hold {
    /// An operator, or a rule, said so.
    Operator,
    /// A verdict said so.
    Quarantine,
    /// Its journal record, or body, is damaged.
    Damaged,
}

/// What became of one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum RecipientState {
    /// Not yet.
    #[default]
    Pending,
    /// A delivery agent or a peer took it.
    Delivered,
    /// It never will, and who had to be told has been (a report is in the queue, or suppressed with a log line).
    Failed,
    /// Thrown away on purpose, with a log line.
    Discarded,
}

/// The last thing that happened to a recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAttempt {
    /// When.
    pub at: Timestamp,
    /// The peer's name and address as far as known, such as `mx.a.test[192.0.2.1]:25`.
    #[serde(default)]
    pub peer: Option<String>,
    /// The peer's reply verbatim, or ours where no peer spoke.
    pub reply: Reply,
}

/// Where one recipient stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RecipientStatus {
    /// Pending, or how it ended.
    pub state: RecipientState,
    /// The last attempt, if there was one.
    #[serde(default)]
    pub last: Option<LastAttempt>,
}

/// The part of a message that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageState {
    /// Held, and why.
    #[serde(default)]
    pub hold: Option<Hold>,
    /// Attempts that ended so far.
    #[serde(default)]
    pub attempts: u32,
    /// When the next one is due. Kept while held.
    pub next_attempt: Timestamp,
    /// The sender has been warned of the delay.
    #[serde(default)]
    pub warned: bool,
    /// When it was last taken off hold, if it ever was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Timestamp>,
    /// One for each of [`MessageRecord::recipients`].
    pub recipients: Vec<RecipientStatus>,
}

impl MessageState {
    /// True when no recipient is pending: nothing is left to do, and the store forgets the message.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.recipients.iter().all(|r| r.state != RecipientState::Pending)
    }

    /// Applies one change. Indexes out of range are ignored: they can only come from a damaged record.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Recipient { index, status } => {
                if let Some(slot) = usize::try_from(*index).ok().and_then(|i| self.recipients.get_mut(i)) {
                    // What has ended stays ended: replays and late outcomes must not revive a recipient.
                    if slot.state == RecipientState::Pending {
                        *slot = status.clone();
                    }
                }
            }
            Change::Retry { next_attempt, attempts } => {
                self.next_attempt = *next_attempt;
                self.attempts = *attempts;
            }
            Change::Warned => self.warned = true,
            Change::Held(hold) => self.hold = Some(*hold),
            Change::Released { next_attempt } => {
                if self.hold.take().is_some() {
                    self.released = Some(*next_attempt);
                }
                self.next_attempt = *next_attempt;
            }
            Change::Deleted => {
                for slot in &mut self.recipients {
                    if slot.state == RecipientState::Pending {
                        slot.state = RecipientState::Discarded;
                    }
                }
            }
        }
    }
}

/// One change of state, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A recipient was tried: it ended, or is still pending with a new last attempt.
    Recipient {
        /// Which one.
        index: u32,
        /// Its new status.
        status: RecipientStatus,
    },
    /// The next attempt is due then.
    Retry {
        /// When.
        next_attempt: Timestamp,
        /// How many have ended.
        attempts: u32,
    },
    /// The sender has been warned of the delay.
    Warned,
    /// Put on hold.
    Held(Hold),
    /// Taken off hold, or asked to be tried at once.
    Released {
        /// When it is due.
        next_attempt: Timestamp,
    },
    /// Thrown away by an operator.
    Deleted,
}

/// Changes to one message, applied together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// Which message.
    pub id: QueueId,
    /// What happened, in order.
    pub changes: Vec<Change>,
}

/// A message as the queue knows it, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueEntry {
    /// What never changes.
    pub record: MessageRecord,
    /// What does.
    pub state: MessageState,
}

impl QueueEntry {
    /// A message that has just been stored: every recipient pending, due at `next_attempt`.
    #[must_use]
    pub fn new(record: MessageRecord, next_attempt: Timestamp) -> Self {
        let recipients = vec![RecipientStatus::default(); record.recipients.len()];
        let state =
            MessageState { hold: None, attempts: 0, next_attempt, warned: false, released: None, recipients };
        Self { record, state }
    }

    /// Since when its time in the queue runs: since it came, or, when it was on hold, since it was released.
    #[must_use]
    pub fn runs_since(&self) -> Timestamp {
        self.state.released.map_or(self.record.arrived, |released| released.max(self.record.arrived))
    }
}
