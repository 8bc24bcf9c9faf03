//! The values that metric labels may take: closed sets, never a peer's words.
//!
//! Each set is an enum, so that a value outside it cannot be written, and a family can be laid out whole before the
//! first event: every series is there at zero, and `rate()` never misses the first increment.

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};

/// A closed set of label values.
pub trait Label: Copy + 'static {
    /// Every value, in the order of [`Label::index`].
    const ALL: &'static [Self];
    /// The value as it is written in the exposition.
    fn name(self) -> &'static str;
    /// Its place in [`Label::ALL`].
    fn index(self) -> usize;
}

/// Defines label sets: each an enum with the text of each value.
macro_rules! labels {
    ($($(#[$about:meta])* $set:ident { $($(#[$doc:meta])* $value:ident = $text:literal,)+ })+) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $set { $($(#[$doc])* $value,)+ }
        impl Label for $set {
            const ALL: &'static [Self] = &[$(Self::$value),+];
            fn name(self) -> &'static str { match self { $(Self::$value => $text),+ } }
            fn index(self) -> usize { self as usize }
        }
    )+};
}

labels! {
    /// By which door a session, or a message, comes in.
    Door {
        /// A listener of kind mx.
        Mx = "mx",
        /// A listener of kind submission (STARTTLS).
        Submission = "submission",
        /// A listener of kind submissions (implicit TLS).
        Submissions = "submissions",
        /// An LMTP listener.
        Lmtp = "lmtp",
        /// `sendmail` through the submit socket, or the maildrop folder.
        Local = "local",
    }
    /// How a session began or ended.
    SessionEnd {
        /// The client said QUIT.
        Quit = "quit",
        /// The client went away without QUIT.
        Lost = "lost",
        /// A time limit passed.
        TimedOut = "timed_out",
        /// Too many errors, an HTTP verb, or garbage: closed by us.
        Dropped = "dropped",
        /// No room: the limit of all sessions, or of this client's network.
        Crowded = "crowded",
        /// Refused at connect by a rule, or a broken PROXY header.
        Refused = "refused",
        /// We are stopping (421 4.3.2).
        Stopping = "stopping",
    }
    /// The verbs that are known; all else is `other`.
    Verb {
        /// HELO.
        Helo = "helo",
        /// EHLO.
        Ehlo = "ehlo",
        /// LHLO (RFC 2033).
        Lhlo = "lhlo",
        /// MAIL.
        Mail = "mail",
        /// RCPT.
        Rcpt = "rcpt",
        /// DATA.
        Data = "data",
        /// BDAT (RFC 3030).
        Bdat = "bdat",
        /// RSET.
        Rset = "rset",
        /// NOOP.
        Noop = "noop",
        /// QUIT.
        Quit = "quit",
        /// VRFY.
        Vrfy = "vrfy",
        /// HELP.
        Help = "help",
        /// STARTTLS.
        StartTls = "starttls",
        /// AUTH.
        Auth = "auth",
        /// Anything else.
        Other = "other",
    }
    /// How a message left quarantine.
    LeftQuarantine {
        /// An operator let it through.
        Released = "released",
        /// Its recipient let it through.
        ReleasedByRecipient = "released_by_recipient",
        /// An operator threw it away.
        Deleted = "deleted",
        /// It was there for too long.
        Expired = "expired",
        /// There was too much, and it was the oldest.
        Displaced = "displaced",
    }
    /// First digit of a reply.
    ReplyClass {
        /// 2xx: done.
        Success = "2xx",
        /// 3xx: go on.
        Intermediate = "3xx",
        /// 4xx: not now.
        Transient = "4xx",
        /// 5xx: never.
        Permanent = "5xx",
    }
    /// Why a recipient was refused at RCPT.
    RecipientRefusal {
        /// No such recipient here (550 5.1.1).
        Unknown = "unknown",
        /// Not our domain and no right to relay (550 5.7.1).
        RelayDenied = "relay_denied",
        /// A mailbox name that no delivery agent may use (550 5.1.3).
        BadMailbox = "bad_mailbox",
        /// An alias that loops, dangles, or grows too wide.
        BadAlias = "bad_alias",
        /// Over quota (452 4.2.2).
        MailboxFull = "mailbox_full",
        /// Over what a client or an account may do within an hour (450 4.7.1).
        Limit = "limit",
        /// Too many recipients (452 4.5.3).
        TooMany = "too_many",
        /// A table, a directory or DNS gave no answer (451).
        Unavailable = "unavailable",
        /// An operator's rule or a check.
        Policy = "policy",
        /// Not parsable, or in the wrong order.
        Protocol = "protocol",
    }
    /// What became of a transaction at, or before, its end of data.
    MessageResult {
        /// Durable, and answered 250.
        Accepted = "accepted",
        /// The reverse-path was refused at MAIL.
        SenderRefused = "sender_refused",
        /// From, Sender or MAIL FROM is not the account's (550 5.7.1).
        NotOwner = "not_owner",
        /// Over the size limit (552 5.3.4).
        TooLarge = "too_large",
        /// A bare CR or LF (550 5.5.2).
        BareNewline = "bare_newline",
        /// Over 100 Received lines (554 5.4.6).
        Loop = "loop",
        /// The header is malformed or too large.
        BadHeader = "bad_header",
        /// The disk is nearly full (452 4.3.1).
        DiskFull = "disk_full",
        /// The store did not take it (451).
        StoreFailed = "store_failed",
        /// An operator's rule or a check.
        Policy = "policy",
        /// The client went away, or gave up, in the middle.
        Abandoned = "abandoned",
    }
    /// A SASL mechanism.
    Mechanism {
        /// PLAIN (RFC 4616).
        Plain = "plain",
        /// LOGIN.
        Login = "login",
        /// SCRAM-SHA-256 (RFC 7677).
        ScramSha256 = "scram_sha_256",
        /// SCRAM-SHA-256-PLUS (RFC 7677).
        ScramSha256Plus = "scram_sha_256_plus",
        /// Anything else.
        Other = "other",
    }
    /// How an authentication ended.
    AuthResult {
        /// Good.
        Success = "success",
        /// Wrong password or no such account (535).
        Failure = "failure",
        /// Too many hashes wait (454).
        Busy = "busy",
        /// Too many failures from this network; not even tried (454).
        Blocked = "blocked",
        /// The account is locked, because it looks broken into (525).
        Locked = "locked",
        /// The client cancelled, or the exchange was malformed (501).
        Broken = "broken",
    }
    /// Whose limit it is.
    Limited {
        /// A stranger's network.
        Client = "client",
        /// An account.
        Account = "account",
    }
    /// Who opened a TLS session.
    Direction {
        /// A client to us.
        In = "in",
        /// We to a peer.
        Out = "out",
    }
    /// What a TLS handshake came to.
    TlsResult {
        /// TLS 1.2.
        Tls12 = "tls1.2",
        /// TLS 1.3.
        Tls13 = "tls1.3",
        /// No session came of it.
        Failed = "failed",
    }
    /// State of a queued message.
    QueueState {
        /// Waits for its first attempt, or is being tried.
        Active = "active",
        /// Tried, and waits.
        Deferred = "deferred",
        /// On hold.
        Held = "held",
    }
    /// Who delivers.
    AgentKind {
        /// Into a Maildir.
        Maildir = "maildir",
        /// To an LMTP server (RFC 2033).
        Lmtp = "lmtp",
        /// To an SMTP server.
        Smtp = "smtp",
        /// To a program.
        Pipe = "pipe",
        /// Nowhere, on purpose.
        Discard = "discard",
        /// None could be found: the recipient has no route.
        None = "none",
    }
    /// What became of one recipient in one attempt.
    Delivery {
        /// Final delivery.
        Delivered = "delivered",
        /// A peer took it.
        Relayed = "relayed",
        /// Not now: this recipient's trouble.
        DeferredRecipient = "deferred_recipient",
        /// Not now: the destination's trouble.
        DeferredDestination = "deferred_destination",
        /// Not now: our own trouble.
        DeferredLocal = "deferred_local",
        /// Not now: DNS gave no answer.
        DeferredDns = "deferred_dns",
        /// Never.
        Failed = "failed",
        /// Thrown away on purpose.
        Discarded = "discarded",
    }
    /// Kind of a report (RFC 3464).
    ReportKind {
        /// It failed.
        Failed = "failed",
        /// It is late.
        Delayed = "delayed",
        /// It arrived, and the sender wanted to know.
        Delivered = "delivered",
        /// It went to a peer that reports nothing.
        Relayed = "relayed",
    }
    /// What became of a report.
    ReportResult {
        /// It is in the queue.
        Queued = "queued",
        /// Nobody may be told: null reverse-path, or NOTIFY=NEVER.
        Suppressed = "suppressed",
    }
    /// Result of a DNS look-up.
    DnsResult {
        /// Records came.
        Found = "found",
        /// NXDOMAIN.
        NoName = "no_name",
        /// NODATA.
        NoData = "no_data",
        /// No answer, or none that can be relied on.
        Failed = "failed",
    }
    /// Did it work?
    Success {
        /// Yes.
        Ok = "ok",
        /// No.
        Failed = "failed",
    }
}

impl Verb {
    /// The verb for a command word in any case; [`Verb::Other`] for what is not known.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        Self::ALL.iter().copied().find(|v| v.name().eq_ignore_ascii_case(word)).unwrap_or(Self::Other)
    }
}

impl ReplyClass {
    /// The class of a reply code.
    #[must_use]
    pub fn of(code: u16) -> Self {
        match code {
            0..300 => Self::Success,
            300..400 => Self::Intermediate,
            400..500 => Self::Transient,
            _ => Self::Permanent,
        }
    }
}

impl From<smtp::Role> for Door {
    fn from(role: smtp::Role) -> Self {
        match role {
            smtp::Role::Mx => Self::Mx,
            smtp::Role::Submission => Self::Submission,
            smtp::Role::Submissions => Self::Submissions,
            smtp::Role::Lmtp => Self::Lmtp,
            smtp::Role::Local => Self::Local,
        }
    }
}

impl From<smtp::Mechanism> for Mechanism {
    fn from(mechanism: smtp::Mechanism) -> Self {
        match mechanism {
            smtp::Mechanism::Plain => Self::Plain,
            smtp::Mechanism::Login => Self::Login,
            smtp::Mechanism::ScramSha256 => Self::ScramSha256,
            smtp::Mechanism::ScramSha256Plus => Self::ScramSha256Plus,
        }
    }
}

impl From<smtp::CloseReason> for SessionEnd {
    fn from(reason: smtp::CloseReason) -> Self {
        use smtp::CloseReason as R;
        match reason {
            R::Quit => Self::Quit,
            R::Eof => Self::Lost,
            R::Timeout => Self::TimedOut,
            R::Refused => Self::Refused,
            R::ShuttingDown => Self::Stopping,
            R::TooManyErrors
            | R::TooManyMessages
            | R::Http
            | R::TlsWithoutStartTls
            | R::BareNewline
            | R::TooMuchInput
            | R::TlsFailed => Self::Dropped,
        }
    }
}

impl From<queue::DeliveryResult> for Delivery {
    fn from(result: queue::DeliveryResult) -> Self {
        use queue::{DeliveryResult, Trouble};
        match result {
            DeliveryResult::Delivered => Self::Delivered,
            DeliveryResult::Relayed | DeliveryResult::RelayedWithDsn => Self::Relayed,
            DeliveryResult::Deferred(Trouble::Recipient) => Self::DeferredRecipient,
            DeliveryResult::Deferred(Trouble::Destination) => Self::DeferredDestination,
            DeliveryResult::Deferred(Trouble::Local) => Self::DeferredLocal,
            DeliveryResult::Deferred(Trouble::Dns) => Self::DeferredDns,
            DeliveryResult::Failed => Self::Failed,
            DeliveryResult::Discarded => Self::Discarded,
        }
    }
}

/// A family with one label: its series are looked up by index, without hashing.
#[derive(Debug)]
pub(super) struct Row<A: Label, M> {
    series: Vec<M>,
    label: std::marker::PhantomData<A>,
}

/// A family with two labels.
#[derive(Debug)]
pub(super) struct Grid<A: Label, B: Label, M> {
    rows: Vec<Row<B, M>>,
    label: std::marker::PhantomData<A>,
}

impl<A: Label, M: Collector + Clone> Row<A, M> {
    /// Creates every series of `family`, which has the one label.
    pub(super) fn new<T: MetricVecBuilder<M = M>>(family: &MetricVec<T>) -> Result<Self, prometheus::Error>
    where
        M: prometheus::core::Metric,
    {
        let series: Result<Vec<M>, _> =
            A::ALL.iter().map(|a| family.get_metric_with_label_values(&[a.name()])).collect();
        Ok(Self { series: series?, label: std::marker::PhantomData })
    }
}

impl<A: Label, M> Row<A, M> {
    /// The series of that value.
    pub(super) fn at(&self, value: A) -> Option<&M> {
        self.series.get(value.index())
    }
}

impl<A: Label, B: Label, M: Collector + Clone> Grid<A, B, M> {
    /// Creates every series of `family`, which has the two labels.
    pub(super) fn new<T: MetricVecBuilder<M = M>>(family: &MetricVec<T>) -> Result<Self, prometheus::Error>
    where
        M: prometheus::core::Metric,
    {
        let mut rows = Vec::with_capacity(A::ALL.len());
        for a in A::ALL {
            let series: Result<Vec<M>, _> =
                B::ALL.iter().map(|b| family.get_metric_with_label_values(&[a.name(), b.name()])).collect();
            rows.push(Row { series: series?, label: std::marker::PhantomData });
        }
        Ok(Self { rows, label: std::marker::PhantomData })
    }
}

impl<A: Label, B: Label, M> Grid<A, B, M> {
    /// The series of those values.
    pub(super) fn at(&self, a: A, b: B) -> Option<&M> {
        self.rows.get(a.index()).and_then(|row| row.at(b))
    }
}

impl Label for policy::Stage {
    const ALL: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        self.as_str()
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for antispam::connect::rates::Event {
    const ALL: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        self.as_str()
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for antispam::connect::rates::Step {
    const ALL: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        self.as_str()
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for policy::Action {
    const ALL: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        self.as_str()
    }

    fn index(self) -> usize {
        self as usize
    }
}
