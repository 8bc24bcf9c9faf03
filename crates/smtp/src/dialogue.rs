//! What passes between the session and its caller: outputs, questions, answers. Plain values.

use std::fmt;

use bytes::Bytes;
use mail::{ForwardPath, Reply, ReversePath};
use zeroize::Zeroizing;

use crate::parameters::{MailParameters, RecipientParameters};
use crate::sasl::Mechanism;

/// What the session wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Bytes for the peer. Replies to one pipelined group come as one (RFC 2920 §3.2).
    Send(Vec<u8>),
    /// Start the server's side of a TLS handshake after all that was sent before; then call
    /// [`crate::Session::tls_established`] or [`crate::Session::tls_failed`].
    StartTls,
    /// The next bytes of the message: lines end in CRLF, dots are unstuffed, DATA and BDAT look the same.
    Body(Bytes),
    /// The message that a positive answer to [`Question::Data`] began will not be completed: what was kept of it is void.
    /// After such an answer exactly one of this and [`Question::EndOfData`] follows.
    BodyAborted(BodyAbort),
    /// Something to decide. The session reads on after [`crate::Session::answer`].
    Ask(Question),
    /// The end: close the connection after all that was sent before.
    Close(CloseReason),
}

/// Why a message was dropped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyAbort {
    /// Over the size limit (RFC 1870 §6.3).
    TooLarge,
    /// A bare CR or LF from a stranger (RFC 5321 §2.3.8).
    BareNewline,
    /// Too many Received fields (RFC 5321 §6.3).
    Loop,
    /// The header is over its limit.
    HeaderTooLarge,
    /// A line is over its limit (RFC 5321 §4.5.3.1.6).
    LineTooLong,
    /// RSET, EHLO, STARTTLS or QUIT between two BDAT chunks.
    Reset,
    /// The connection or the time ended.
    Ended,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client said QUIT.
    Quit,
    /// The peer closed the connection.
    Eof,
    /// A time limit passed.
    Timeout,
    /// Errors, idle commands, refused recipients or failed logins over their limit.
    TooManyErrors,
    /// The messages of one session are used up.
    TooManyMessages,
    /// The connection was refused in place of the greeting.
    Refused,
    /// We are stopping.
    ShuttingDown,
    /// The client speaks HTTP.
    Http,
    /// The client speaks TLS where plain text was expected.
    TlsWithoutStartTls,
    /// A command ended with LF alone.
    BareNewline,
    /// More than the limits let us read and throw away.
    TooMuchInput,
    /// The TLS handshake failed.
    TlsFailed,
}

/// A decision that is not the protocol's. Each is answered once; the session waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// A connection is there, nothing was said. A positive reply is spoken as our greeting; 554 greets and refuses all
    /// but QUIT (RFC 5321 §3.1); any other refusal closes.
    Connect,
    /// HELO, EHLO or LHLO. A positive reply is spoken as our list of extensions.
    Helo {
        /// The name the client gave, bounded and free of control characters, else unchecked.
        name: String,
        /// EHLO or LHLO.
        esmtp: bool,
    },
    /// MAIL, well-formed and in place. Starts a transaction; an older one is over.
    Mail {
        /// Where reports go.
        reverse_path: ReversePath,
        /// What was asked for.
        params: MailParameters,
    },
    /// RCPT, well-formed and in place.
    Recipient {
        /// Who the message is for.
        path: ForwardPath,
        /// What was asked for.
        params: RecipientParameters,
        /// The path as it was written, brackets included.
        bare: String,
    },
    /// A command that is not known, or not implemented; asked only where [`crate::PeerInfo::tells_unknown`] says so. A reply
    /// that asks to come back is spoken in the place of ours; any other changes nothing.
    Unknown {
        /// The line as it was said, without its end.
        line: String,
    },
    /// A message is about to come, by DATA or BDAT. A refusal is spoken and ends the transaction.
    Data,
    /// The message is there. The reply is spoken verbatim; a positive one means that it is durable. With LMTP
    /// [`Answer::Replies`] gives one for each accepted recipient, in their order.
    EndOfData {
        /// Length of the message as it was handed out, in bytes.
        bytes: u64,
        /// Length of its header with the empty line, in bytes.
        header_bytes: u64,
        /// How many Received fields it has.
        received_lines: usize,
        /// It has bytes above 127 (RFC 6152).
        eight_bit: bool,
        /// Bare CR or LF were found and mended.
        bare_newlines: bool,
    },
    /// A name and a password to verify (AUTH PLAIN, LOGIN), both prepared by RFC 4013.
    Password {
        /// PLAIN or LOGIN.
        mechanism: Mechanism,
        /// Who logs in.
        authcid: String,
        /// Whom they want to act as; empty when they did not say (RFC 4616 §2).
        authzid: String,
        /// The password.
        password: Secret,
    },
    /// The stored keys of a user. For unknown users the answer holds stable false ones, so that nobody learns who exists.
    ScramKeys {
        /// Who logs in.
        authcid: String,
    },
    /// The client has proved that it knows the password, or has failed to.
    ScramDone {
        /// How.
        mechanism: Mechanism,
        /// Who logs in.
        authcid: String,
        /// Whom they want to act as; empty when they did not say.
        authzid: String,
        /// The proof was right.
        ok: bool,
    },
}

/// The answer to the open question.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    /// Go on when positive, else refuse; spoken verbatim but where [`Question`] says otherwise.
    Reply(Reply),
    /// One reply per accepted recipient, to [`Question::EndOfData`] with LMTP (RFC 2033 §4.2).
    Replies(Vec<Reply>),
    /// To [`Question::Password`] and [`Question::ScramDone`]: logged in.
    Authenticated {
        /// The canonical name of the account.
        account: String,
        /// What is said, usually `235 2.7.0`.
        reply: Reply,
    },
    /// To [`Question::ScramKeys`] (RFC 5802 §3).
    ScramKeys {
        /// Rounds of the hash.
        iterations: u32,
        /// The salt.
        salt: Vec<u8>,
        /// StoredKey, 32 bytes for SHA-256.
        stored_key: Vec<u8>,
        /// ServerKey, 32 bytes for SHA-256.
        server_key: Vec<u8>,
    },
}

/// Without the keys of SCRAM: who has them can pass for the server (RFC 5802 §9).
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(reply) => f.debug_tuple("Reply").field(reply).finish(),
            Self::Replies(replies) => f.debug_tuple("Replies").field(replies).finish(),
            Self::Authenticated { account, reply } => {
                f.debug_struct("Authenticated").field("account", account).field("reply", reply).finish()
            }
            Self::ScramKeys { iterations, .. } => {
                f.debug_struct("ScramKeys").field("iterations", iterations).finish_non_exhaustive()
            }
        }
    }
}

/// A password: wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the secret over.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_printed() {
        let question = Question::Password {
            mechanism: Mechanism::Plain,
            authcid: "alice".to_owned(),
            authzid: String::new(),
            password: Secret::new(b"hunter2".to_vec()),
        };
        let answer = Answer::ScramKeys {
            iterations: 4096,
            salt: vec![201; 8],
            stored_key: vec![202; 32],
            server_key: vec![203; 32],
        };
        let printed = format!("{question:?} {answer:?}");
        for secret in ["hunter2", "104, 117", "201", "202", "203"] {
            assert!(!printed.contains(secret), "{printed}");
        }
        assert!(printed.contains("alice") && printed.contains("4096"));
    }
}
