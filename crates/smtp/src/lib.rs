//! The SMTP and LMTP server session without I/O: bytes and time go in, replies, questions and message bytes come out.
//!
//! [`Session`] knows the protocol and nothing else: syntax, sequence, sizes, framing, SASL exchanges. Whatever depends
//! on who is allowed what is a [`Question`], asked of the caller and answered with a reply that is spoken verbatim.
//!
//! Never touches a socket, a clock, a file or the environment, and never says 250 to a message by itself (RFC 5321
//! §4.2.5: that reply belongs to whoever made the message durable). Nothing that a peer sends makes it panic or hold
//! more memory than [`Settings`] allows.
//!
//! RFC 5321 (SMTP), 2033 (LMTP), 2920 (PIPELINING), 1870 (SIZE), 6152 (8BITMIME), 6531 (SMTPUTF8), 2034 and 3463
//! (ENHANCEDSTATUSCODES), 3461 (DSN), 3030 (CHUNKING), 3207 (STARTTLS), 4954 (AUTH), 5802 and 7677 (SCRAM), 9266
//! (tls-exporter), 9422 (LIMITS).
//!
//! A driver is a loop: feed [`Session::receive`], drain [`Session::poll`] until it gives nothing, answer the open
//! question, call [`Session::wake`] when [`Session::deadline`] has come.

mod body;
mod dialogue;
mod line;
mod parameters;
mod peer;
mod replies;
mod sasl;
mod session;
mod settings;
mod summary;
mod verb;

pub use body::BodyReader;
pub use dialogue::{Answer, BodyAbort, CloseReason, Output, Question, Secret};
pub use parameters::{MailParameters, RecipientParameters};
pub use peer::{AuthPolicy, PeerInfo, Role, TlsInfo};
pub use sasl::Mechanism;
pub use session::Session;
pub use settings::{Settings, SettingsError};
pub use summary::{NotAsked, SessionSummary};
