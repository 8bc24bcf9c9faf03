//! Authentication exchanges: PLAIN, LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, one message at a time.
//!
//! Never knows who exists or which password is right: that is asked. Lines, base64 and replies are the session's part.
//! The mechanisms themselves are rsasl's; what a peer sends reaches them only after it was found well-formed here, since
//! they take the form of a SCRAM message for granted.
//!
//! RFC 4422 (SASL), 4616 (PLAIN), 5802 and 7677 (SCRAM), 9266 (channel binding). LOGIN has no RFC.

mod plain;
mod scram;

use mail::Reply;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dialogue::{Answer, Question, Secret};
use scram::{ClientFirst, Proof};

/// A SASL mechanism that can be offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Mechanism {
    /// RFC 4616.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Never standardised, still what many clients speak.
    #[serde(rename = "LOGIN")]
    Login,
    /// RFC 7677.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// RFC 7677, bound to the TLS connection (RFC 9266).
    #[serde(rename = "SCRAM-SHA-256-PLUS")]
    ScramSha256Plus,
}

impl Mechanism {
    /// All of them, the strongest first.
    pub const ALL: [Self; 4] = [Self::ScramSha256Plus, Self::ScramSha256, Self::Plain, Self::Login];

    /// As it is written in EHLO and AUTH.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
        }
    }
}

/// What SCRAM has to know about the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Binding {
    /// The `tls-exporter` value.
    pub(crate) exporter: Option<[u8; 32]>,
    /// SCRAM-SHA-256-PLUS was offered: a client that says it saw none was lied to.
    pub(crate) plus_offered: bool,
}

/// An exchange that waits for the client's next message, or for an answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) mechanism: Mechanism,
    step: Step,
}

/// How far it has come.
#[derive(Debug)]
enum Step {
    Plain,
    LoginName,
    LoginPassword {
        name: Vec<u8>,
    },
    /// [`Question::Password`] is open.
    Password,
    ScramFirst(Binding),
    /// [`Question::ScramKeys`] is open.
    ScramKeys {
        first: ClientFirst,
        binding: Binding,
    },
    ScramFinal(Box<Proof>),
    /// [`Question::ScramDone`] is open.
    ScramVerdict {
        server_final: Option<Vec<u8>>,
    },
    /// The server's last message is out; the client owes an empty one (RFC 4954 §4).
    ScramEnd {
        account: String,
        reply: Reply,
    },
}

/// What comes next in an exchange.
#[derive(Debug)]
pub(crate) enum Next {
    /// Send this and wait for the client.
    Challenge(Exchange, Vec<u8>),
    /// Ask this and wait for the answer.
    Ask(Exchange, Question),
    /// Logged in.
    Done { account: String, mechanism: Mechanism, reply: Reply },
    /// Not logged in, in the words of whoever decided that.
    Refused(Reply),
    /// Not logged in.
    Failed,
}

impl Exchange {
    pub(crate) fn new(mechanism: Mechanism, binding: Binding) -> Self {
        let step = match mechanism {
            Mechanism::Plain => Step::Plain,
            Mechanism::Login => Step::LoginName,
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => Step::ScramFirst(binding),
        };
        Self { mechanism, step }
    }

    /// What the server says first when the client sent no initial response (RFC 4954 §4).
    pub(crate) fn prompt(&self) -> Vec<u8> {
        match self.step {
            // Clients look for these very words.
            Step::LoginName => b"Username:".to_vec(),
            _ => Vec::new(),
        }
    }

    /// The client's next message, decoded.
    pub(crate) fn response(self, message: &[u8]) -> Next {
        let mechanism = self.mechanism;
        match self.step {
            Step::Plain => password_question(mechanism, message),
            Step::LoginName => Self { mechanism, step: Step::LoginPassword { name: message.to_vec() } }
                .challenge(b"Password:".to_vec()),
            // The same preparation and the same rules for both: LOGIN is PLAIN in two parts.
            Step::LoginPassword { name } => {
                password_question(mechanism, &[b"\0", name.as_slice(), b"\0", message].concat())
            }
            Step::ScramFirst(binding) => match ClientFirst::parse(message) {
                Some(first) if first.may_be_used(mechanism, binding) => {
                    let question = Question::ScramKeys { authcid: first.authcid.clone() };
                    Next::Ask(Self { mechanism, step: Step::ScramKeys { first, binding } }, question)
                }
                _ => Next::Failed,
            },
            Step::ScramFinal(proof) => {
                let (authcid, authzid) = proof.names();
                let server_final = proof.verify(message);
                let question =
                    Question::ScramDone { mechanism, authcid, authzid, ok: server_final.is_some() };
                Next::Ask(Self { mechanism, step: Step::ScramVerdict { server_final } }, question)
            }
            Step::ScramEnd { account, reply } if message.is_empty() => {
                Next::Done { account, mechanism, reply }
            }
            // Nothing else waits for the client.
            Step::ScramEnd { .. } | Step::Password | Step::ScramKeys { .. } | Step::ScramVerdict { .. } => {
                Next::Failed
            }
        }
    }

    /// The answer to the question that was asked last.
    pub(crate) fn answered(self, answer: Answer) -> Next {
        let mechanism = self.mechanism;
        match (self.step, answer) {
            (Step::Password, Answer::Authenticated { account, reply }) => {
                Next::Done { account, mechanism, reply }
            }
            (
                Step::ScramKeys { first, binding },
                Answer::ScramKeys { iterations, salt, stored_key, server_key },
            ) => {
                let keys = scram::Keys { iterations, salt, stored_key, server_key };
                match Proof::begin(first, binding, keys) {
                    Some((proof, server_first)) => {
                        Self { mechanism, step: Step::ScramFinal(Box::new(proof)) }.challenge(server_first)
                    }
                    None => Next::Refused(temporary()),
                }
            }
            // Only a right proof logs anyone in, whatever is answered.
            (
                Step::ScramVerdict { server_final: Some(server_final) },
                Answer::Authenticated { account, reply },
            ) => Self { mechanism, step: Step::ScramEnd { account, reply } }.challenge(server_final),
            (Step::ScramVerdict { server_final: None }, Answer::Authenticated { .. }) => Next::Failed,
            (_, Answer::Reply(reply)) if !reply.is_positive() => Next::Refused(reply),
            _ => Next::Refused(temporary()),
        }
    }

    fn challenge(self, words: Vec<u8>) -> Next {
        Next::Challenge(self, words)
    }
}

fn password_question(mechanism: Mechanism, message: &[u8]) -> Next {
    match plain::credentials(message) {
        Some(plain::Credentials { authzid, authcid, password }) => {
            let question =
                Question::Password { mechanism, authcid, authzid, password: Secret::new(password) };
            Next::Ask(Exchange { mechanism, step: Step::Password }, question)
        }
        None => Next::Failed,
    }
}

/// RFC 4954 §6.
fn temporary() -> Reply {
    Reply::new(454, (4, 7, 0), "Temporary authentication failure")
}
