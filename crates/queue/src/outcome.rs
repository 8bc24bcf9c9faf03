//! What a delivery agent reports of one recipient.

use mail::Reply;

/// How an attempt ended for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Index into the message's recipients.
    pub recipient: u32,
    /// What it means.
    pub result: DeliveryResult,
    /// The peer as far as it was reached, such as `mx.a.test[192.0.2.1]:25`.
    pub peer: Option<String>,
    /// The peer's reply verbatim; where no peer spoke, our own words with a fitting enhanced code.
    pub reply: Reply,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryResult {
    /// Final delivery was made (Maildir, LMTP, pipe).
    Delivered,
    /// A peer took it, and will send the report on success, if one is wanted, itself (RFC 3461 §5.2.2).
    RelayedWithDsn,
    /// A peer took it that knows nothing of DSN: a report of kind "relayed" is ours to make (RFC 3461 §5.2.2).
    Relayed,
    /// Not now.
    Deferred(Trouble),
    /// Never.
    Failed,
    /// Thrown away on purpose.
    Discarded,
}

/// Whose trouble a deferral is: it decides when to try again and whether the destination is slowed down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// This recipient's alone (4xx at RCPT): the destination itself is well.
    Recipient,
    /// The destination's: no connection, 421, time out, 4xx before RCPT.
    Destination,
    /// Ours: a table or directory that fails, a disk, a full agent.
    Local,
    /// DNS gave no answer.
    Dns,
}
