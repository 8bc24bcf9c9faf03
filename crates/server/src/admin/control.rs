//! What the queue runner and the daemon offer to the admin socket.

use std::future::Future;
use std::pin::Pin;

use antispam::backscatter::BackscatterMode;
use antispam::connect::dnsbl::lists::Status as ListStatus;
use antispam::connect::rates::Rates;
use antispam::correspondents::Correspondents;
use antispam::quarantine::QuarantineSettings;
use antispam::reputation::Reputation;
use mail::{Address, QueueId, Timestamp};
use policy::{Mode, VerdictRecord};
use serde::{Deserialize, Serialize};
use store::{QueueStore, StateStore, StoreError};

use crate::judge::Wanted;

use super::protocol::Order;

/// A result that comes later.
pub type Control<'a, T> = Pin<Box<dyn Future<Output = Result<T, ControlError>> + Send + 'a>>;

/// Why something could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such message; it may have been delivered in the meantime.
    #[error("no such message")]
    Absent,
    /// The message is in a state in which this makes no sense.
    #[error("{0}")]
    Refused(String),
    /// The store failed.
    #[error("{0}")]
    Store(String),
    /// The new configuration has mistakes; the old one goes on.
    #[error("the configuration has mistakes, the old one stays in force: {0}")]
    Configuration(String),
}

impl From<StoreError> for ControlError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Absent => Self::Absent,
            other => Self::Store(other.to_string()),
        }
    }
}

/// What a check of the whole queue found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FsckReport {
    /// Messages looked at.
    pub checked: u64,
    /// Messages whose record or body cannot be read back.
    pub damaged: Vec<(QueueId, String)>,
    /// Messages without an owner, or past their deadline.
    pub overdue: Vec<QueueId>,
    /// How many of those were mended.
    pub mended: u64,
}

/// How the server is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// How long it runs, in seconds.
    pub uptime_seconds: u64,
    /// It takes no new sessions because it is stopping.
    pub stopping: bool,
    /// Open sessions.
    pub sessions: u64,
    /// Messages waiting for their first attempt or being tried.
    pub active: u64,
    /// Messages that were tried and wait.
    pub deferred: u64,
    /// Messages on hold.
    pub held: u64,
    /// Octets of all of them.
    pub queue_bytes: u64,
    /// Age of the oldest, in seconds.
    pub oldest_seconds: Option<u64>,
    /// What is wrong, in sentences; empty when all is well.
    pub troubles: Vec<String>,
}

/// What became of mail without a sender in the last days, and what the settings make of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackscatterStatus {
    /// `[antispam.backscatter] mode`.
    pub mode: BackscatterMode,
    /// `[antispam] mode`: anything but `enforce` refuses nothing. Domains and recipients may have their own.
    pub antispam_mode: Mode,
    /// For how many days what we sent can be proven to be ours.
    pub proof_days: u64,
    /// Days that are counted together, today among them.
    pub counted_days: u64,
    /// Messages that proved to be about mail of ours.
    pub proven: u64,
    /// Messages that proved nothing: what `enforce` refuses.
    pub forged: u64,
    /// Dispositions, automatic replies and complaints that proved nothing: scored.
    pub scored: u64,
    /// Messages of which it could not be found out.
    pub unknown: u64,
    /// The share of all that `enforce` refuses, in thousandths; 0 when there were none.
    pub refused_thousandths: u64,
}

/// What the admin socket needs of the running server. Implemented by the queue runner.
pub trait QueueControl: Send + Sync {
    /// Where messages are.
    fn store(&self) -> &dyn QueueStore;

    /// The time.
    fn now(&self) -> Timestamp;

    /// True while an attempt for this message is under way.
    fn is_active(&self, id: QueueId) -> bool;

    /// Carries out an order, a result for each id in the same order. Durable when it resolves.
    fn steer(&self, order: Order, ids: Vec<QueueId>) -> Control<'_, Vec<Result<(), ControlError>>>;

    /// Releases a message in quarantine to one of its recipients; the others' copies stay. Durable when it resolves.
    fn release_to(&self, id: QueueId, recipient: Address) -> Control<'_, ()>;

    /// Checks every message, and mends what can be mended.
    fn fsck(&self) -> Control<'_, FsckReport>;

    /// How the server is.
    fn status(&self) -> Status;

    /// Reads configuration, certificates and tables again; warnings come back.
    fn reload(&self) -> Control<'_, Vec<String>>;

    /// Verdicts that are kept, newest first, at most so many, each with its explanation; true when there are more.
    fn verdicts(&self, wanted: Wanted, limit: usize) -> Control<'_, (Vec<(VerdictRecord, String)>, bool)>;

    /// Forgets every verdict that names this address, and its reputation; gives the number of verdicts.
    fn erase_verdicts(&self, address: String) -> Control<'_, u64>;

    /// What the judging of mail remembers.
    fn state(&self) -> &dyn StateStore;

    /// What clients and accounts did lately, and which accounts are locked.
    fn rates(&self) -> &Rates;

    /// What senders and networks have sent lately.
    fn reputation(&self) -> Reputation;

    /// Whom our users know.
    fn correspondents(&self) -> Correspondents;

    /// How each DNS list does, in the order of the settings.
    fn dnsbl(&self) -> Vec<ListStatus>;

    /// How long what is kept back is kept.
    fn quarantine(&self) -> QuarantineSettings;

    /// Tells recipients now what is new in quarantine for them; gives the number of letters.
    fn digest(&self) -> Control<'_, u64>;

    /// What became of mail without a sender.
    fn backscatter(&self) -> Control<'_, BackscatterStatus>;
}
