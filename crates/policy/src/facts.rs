//! What is known at each stage, and no more than that: the only thing a check is given.
//!
//! Each later set of facts holds the earlier ones. Plain values; nothing here looks anything up. A check that learns
//! something others need (SPF, reverse DNS) hands it back with [`crate::Findings::learn`]; it is a fact from the next
//! stage on, never in the same one, so that no check depends on which of two was faster (invariant I5).

use std::any::Any;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use mail::{Address, BodyType, Domain, ReversePath, Timestamp};
use tokio::sync::OnceCell;

use crate::auth::AuthFacts;

/// What all sets of facts can tell.
pub trait Facts: Send + Sync {
    /// Where it all began.
    fn connect(&self) -> &ConnectFacts;

    /// The account that has logged in. Always `None` before MAIL.
    fn account(&self) -> Option<&str> {
        None
    }

    /// True when nothing vouches for the client: not logged in, not in a trusted network, not on this host, not at the
    /// door for submission. Most checks judge strangers only.
    fn is_stranger(&self) -> bool {
        self.connect().is_stranger() && self.account().is_none()
    }
}

/// The door a session came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// Where other servers bring mail (RFC 5321).
    Mx,
    /// Where users hand in mail (RFC 6409).
    Submission,
    /// LMTP (RFC 2033).
    Lmtp,
    /// `sendmail` on this host.
    Local,
}

/// Known when a connection is there.
#[derive(Debug, Clone)]
pub struct ConnectFacts {
    /// The session's name, in records and replies until there is a queue id.
    pub session: Arc<str>,
    /// When the connection was accepted.
    pub at: Timestamp,
    /// The client's address, canonical: IPv4 on a dual-stack socket is IPv4.
    pub client: IpAddr,
    /// The client's port.
    pub port: u16,
    /// The address it connected to.
    pub local: Option<IpAddr>,
    /// The door it came in by.
    pub door: Door,
    /// The client is in a network that may relay.
    pub trusted: bool,
    /// The client was seen before: it needs not be made to wait.
    pub known: bool,
    /// What the client did before our greeting, when somebody watched.
    pub before_greeting: BeforeGreeting,
    /// Reverse DNS, once it is known. At the stage Connect it is not yet.
    pub auth: AuthFacts,
}

/// What came from the client before we had greeted it (RFC 5321 §4.3.1: it must wait).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BeforeGreeting {
    /// Nobody watched.
    #[default]
    NotWatched,
    /// It waited.
    Silent,
    /// It spoke too early; so many octets were seen, bounded.
    Spoke {
        /// Octets that were there.
        bytes: usize,
    },
}

impl ConnectFacts {
    /// As [`Facts::is_stranger`], by the connection alone.
    #[must_use]
    pub fn is_stranger(&self) -> bool {
        !self.trusted && self.door == Door::Mx
    }
}

impl Facts for ConnectFacts {
    fn connect(&self) -> &ConnectFacts {
        self
    }
}

/// Known at HELO.
#[derive(Debug, Clone)]
pub struct HeloFacts {
    /// The connection.
    pub connect: Arc<ConnectFacts>,
    /// The name that was given: bounded, without control characters, else unchecked (RFC 5321 §4.1.1.1).
    pub name: Arc<str>,
    /// EHLO or LHLO.
    pub esmtp: bool,
    /// The connection is encrypted.
    pub tls: bool,
    /// The client sent commands before it was told that it may (RFC 2920 §3.1).
    pub pipelined_early: bool,
    /// What is known of the client: reverse DNS.
    pub auth: AuthFacts,
}

impl Facts for HeloFacts {
    fn connect(&self) -> &ConnectFacts {
        &self.connect
    }
}

/// Known at MAIL.
#[derive(Debug, Clone)]
pub struct MailFacts {
    /// HELO, and before.
    pub helo: Arc<HeloFacts>,
    /// When MAIL was said.
    pub at: Timestamp,
    /// The account that has logged in.
    pub account: Option<Arc<str>>,
    /// Where reports go. Without a BATV tag when it is our own domain's.
    pub reverse_path: ReversePath,
    /// SIZE=, in bytes (RFC 1870).
    pub size: Option<u64>,
    /// BODY=.
    pub body_type: BodyType,
    /// SMTPUTF8 was asked for.
    pub smtputf8: bool,
    /// The domain of the reverse-path is one of ours.
    pub sender_is_ours: bool,
    /// How many transactions the session has begun before this one.
    pub earlier_transactions: usize,
    /// What is known: reverse DNS and SPF for HELO.
    pub auth: AuthFacts,
}

impl MailFacts {
    /// The domain of the reverse-path; none for the null sender.
    #[must_use]
    pub fn sender_domain(&self) -> Option<&Domain> {
        self.reverse_path.mailbox().map(|address| &address.domain)
    }
}

impl Facts for MailFacts {
    fn connect(&self) -> &ConnectFacts {
        self.helo.connect()
    }
    fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }
}

/// Known at RCPT. What was said after an earlier RCPT of the transaction is counted, not named.
#[derive(Debug, Clone)]
pub struct RcptFacts {
    /// MAIL, and before.
    pub mail: Arc<MailFacts>,
    /// When RCPT was said.
    pub at: Timestamp,
    /// The recipient, with its BATV tag taken off.
    pub recipient: Address,
    /// The recipient as it was said, when that is something else.
    pub said: Option<Address>,
    /// The recipient's domain is one of ours.
    pub is_ours: bool,
    /// The recipient is there. `None`: not known, or not ours to know.
    pub exists: Option<bool>,
    /// Recipients of this transaction that were accepted before.
    pub accepted_before: usize,
    /// Recipients of this session that were refused because they do not exist.
    pub unknown_before: usize,
    /// What is known: reverse DNS and SPF.
    pub auth: AuthFacts,
}

impl Facts for RcptFacts {
    fn connect(&self) -> &ConnectFacts {
        self.mail.connect()
    }
    fn account(&self) -> Option<&str> {
        self.mail.account()
    }
}

/// The octets of a message, as received: dots unstuffed, without our trace lines and edits.
#[derive(Debug, Clone)]
pub enum Content {
    /// All of it.
    Memory(Bytes),
    /// A file that holds it, whole and closed, for as long as the verdict takes.
    File {
        /// Where.
        path: Arc<Path>,
        /// Its length.
        bytes: u64,
    },
}

impl Content {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Self::File { bytes, .. } => *bytes,
        }
    }

    /// True when there is nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// As whom recipients were written to: what RCPT told before tags (BATV) were taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addressed {
    /// By the plain address.
    #[default]
    Plainly,
    /// With a tag of ours that holds: in answer to mail that we have sent.
    Tagged,
    /// With a tag that is not of our making, or is too old.
    BadlyTagged,
    /// As the postmaster, who takes what comes (RFC 5321 §4.5.1).
    AsPostmaster,
}

impl Addressed {
    /// What it is for all recipients of a message together: a bad tag spoils it, and one plain address is no proof.
    #[must_use]
    pub fn together(all: impl IntoIterator<Item = Self>) -> Self {
        let rank = |addressed: Self| match addressed {
            Self::BadlyTagged => 0,
            Self::Plainly => 1,
            Self::Tagged => 2,
            Self::AsPostmaster => 3,
        };
        all.into_iter().min_by_key(|addressed| rank(*addressed)).unwrap_or_default()
    }
}

/// Known after DATA.
#[derive(Debug, Clone)]
pub struct MessageFacts {
    /// MAIL, and before.
    pub mail: Arc<MailFacts>,
    /// When the message was there.
    pub at: Timestamp,
    /// The id it has been given.
    pub queue_id: mail::QueueId,
    /// Its recipients, as accepted at RCPT.
    pub recipients: Arc<[Address]>,
    /// As whom they were written to, all together.
    pub addressed: Addressed,
    /// The header with the empty line, as received, for `mail::header`.
    pub header: Bytes,
    /// All of it.
    pub content: Content,
    /// The Received field, with its CRLF, that we put on top of it (RFC 5321 §4.4): with it the message will be in its mailbox. Empty
    /// when it came from there.
    pub received: Bytes,
    /// What is known: all of it, when authentication came before.
    pub auth: AuthFacts,
    /// What checks have worked out of the message, for each other.
    pub shared: Shared,
}

/// Something that several checks need and that is made of the message alone, so that it is made once. Which check makes it
/// does not matter: the same message gives the same (I5).
#[derive(Clone, Default)]
pub struct Shared(Arc<OnceCell<Arc<dyn Any + Send + Sync>>>);

impl Shared {
    /// What was made already, or else what `make` makes; others that ask meanwhile wait for that. A failure is not kept.
    /// `None` when something of another type has been made: there is one place.
    ///
    /// # Errors
    /// That of `make`.
    pub async fn get_or_make<T: Any + Send + Sync, E>(
        &self,
        make: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<Option<Arc<T>>, E> {
        let made = async { Ok(Arc::new(make.await?) as Arc<dyn Any + Send + Sync>) };
        let kept = self.0.get_or_try_init(|| made).await?;
        Ok(Arc::clone(kept).downcast().ok())
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&self.0.initialized()).finish()
    }
}

impl Facts for MessageFacts {
    fn connect(&self) -> &ConnectFacts {
        self.mail.connect()
    }
    fn account(&self) -> Option<&str> {
        self.mail.account()
    }
}
