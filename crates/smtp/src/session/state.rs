//! The states of a session, and what each carries. Data only; the transitions are in the files beside this one.

use mail::Reply;

use crate::body::BodyReader;
use crate::sasl::Exchange;

/// Where the session stands.
#[derive(Debug)]
pub(super) enum State {
    /// Greeted with 554: only QUIT is served (RFC 5321 §3.1).
    Refused,
    /// Before HELO, EHLO or LHLO.
    Idle,
    /// After it; no transaction.
    Greeted,
    /// After MAIL (RFC 5321 §3.3).
    InTransaction(Transaction),
    /// After a BDAT that was not the last (RFC 3030 §2).
    BetweenChunks(Message),
    /// Bytes are not commands now.
    Receiving(Receiving),
    /// Lines are part of an AUTH exchange now (RFC 4954 §4).
    Authenticating(Box<Exchange>),
    /// The peer's bytes are not ours until TLS is up (RFC 3207 §4).
    Handshaking,
    /// A question is open.
    Waiting(Waiting),
    /// Over.
    Closed,
}

/// MAIL was accepted.
#[derive(Debug)]
pub(super) struct Transaction {
    /// Accepted recipients.
    pub(super) recipients: usize,
    /// RCPT commands so far, whatever became of them.
    pub(super) attempts: usize,
    /// SMTPUTF8 was given (RFC 6531 §3.4).
    pub(super) smtputf8: bool,
}

/// A message that is being read.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) recipients: usize,
    pub(super) reader: Box<BodyReader>,
    /// The caller knows that it is refused.
    pub(super) aborted: bool,
}

/// Bytes of a message, or of a chunk that nobody wants.
#[derive(Debug)]
pub(super) enum Receiving {
    /// DATA: up to CRLF.CRLF.
    Data(Message),
    /// BDAT: by count.
    Chunk { message: Message, chunk: Chunk },
    /// A BDAT that was refused: its bytes come all the same (RFC 3030 §2).
    Unwanted { chunk: Chunk, reply: Reply, then: Box<State> },
}

/// The argument of BDAT, and how much of it is still to come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    pub(super) size: u64,
    pub(super) left: u64,
    pub(super) last: bool,
}

/// The open question, and what its answer decides.
#[derive(Debug)]
pub(super) enum Waiting {
    Connect,
    /// `before` is where the session stays when the name is refused (RFC 5321 §4.1.4).
    Helo {
        before: Box<State>,
        name: String,
        esmtp: bool,
    },
    Mail {
        smtputf8: bool,
    },
    Recipient(Transaction),
    /// The session stays where it is; the reply is ours.
    Unknown {
        before: Box<State>,
        reply: Reply,
    },
    Data {
        recipients: usize,
        chunk: Option<Chunk>,
    },
    EndOfData {
        recipients: usize,
    },
    Auth(Box<Exchange>),
}

impl State {
    /// The message in hand, if there is one.
    pub(super) fn message(&self) -> Option<&Message> {
        match self {
            Self::BetweenChunks(message)
            | Self::Receiving(Receiving::Data(message) | Receiving::Chunk { message, .. }) => Some(message),
            _ => None,
        }
    }

    /// Between commands, with no message in hand.
    pub(super) fn may_shut_down(&self) -> bool {
        match self {
            Self::Refused
            | Self::Idle
            | Self::Greeted
            | Self::InTransaction(_)
            | Self::Authenticating(_)
            | Self::Receiving(Receiving::Unwanted { .. }) => true,
            Self::BetweenChunks(_)
            | Self::Receiving(_)
            | Self::Handshaking
            | Self::Waiting(_)
            | Self::Closed => false,
        }
    }
}
