//! The bounds of a session, each with its unit in its name. Composed into the configuration as `[limits]`.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sasl::Mechanism;

/// Bounds on what one SMTP session may send, and for how long.
///
/// The defaults let every sender through that follows the standards, and most that do not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Our name in greetings and replies. Set from the top-level `hostname`.
    #[serde(skip)]
    pub hostname: Arc<str>,
    /// Largest message in bytes, announced with SIZE (RFC 1870). Set from the top-level `message_bytes_max`.
    #[serde(skip)]
    pub message_bytes_max: u64,
    /// Words after our name in the greeting. Empty says no more than the protocol.
    pub banner: String,
    /// Longest command line in bytes, with its CRLF. RFC 5321 §4.5.3.1.4 asks for 512; extensions add up to about 2,000.
    pub command_line_bytes_max: usize,
    /// Longest line of an authentication exchange in bytes, with its CRLF. RFC 4954 §4 asks for 12,288.
    pub auth_line_bytes_max: usize,
    /// Longest line of a message in bytes, without its CRLF. RFC 5321 §4.5.3.1.6 asks for 998; many programs write
    /// longer ones.
    pub text_line_bytes_max: usize,
    /// Largest message header in bytes, all fields together.
    pub header_bytes_max: usize,
    /// Most `Received` fields; more is a loop (RFC 5321 §6.3), refused with `554 5.4.6`.
    pub received_lines_max: usize,
    /// Most recipients of one message, announced with LIMITS; the rest hear `452 4.5.3` and are sent again by the
    /// client. RFC 5321 §4.5.3.1.8 asks for 100 at least.
    pub recipients_max: usize,
    /// Most messages of one session, announced with LIMITS (RFC 9422); then the session ends with 421.
    pub messages_max: usize,
    /// Most errors (malformed or misplaced commands, refusals) without an accepted message between them; then the
    /// session ends with `421 4.7.0`.
    pub errors_max: usize,
    /// Most refused recipients of one session from strangers, who may be guessing names; then `421 4.7.0`.
    pub refused_recipients_max: usize,
    /// Most commands that bring no message nearer (NOOP, RSET, VRFY, EHLO, MAIL and the like) without an accepted
    /// message between them; then `421 4.7.0`.
    pub idle_commands_max: usize,
    /// Most failed authentications of one session; then `421 4.7.0`.
    pub auth_failures_max: usize,
    /// Most bytes of a message that are read and thrown away after it was refused, so that the refusal can be spoken
    /// in its place; then the session ends.
    pub refused_bytes_max: u64,
    /// Most bytes that may wait unread while a decision is pending.
    pub pipeline_bytes_max: usize,
    /// Seconds a client has for one command. RFC 5321 §4.5.3.2.7 asks for 300.
    pub command_seconds_max: u64,
    /// Seconds without a byte of a message. RFC 5321 §4.5.3.2.5 lets clients wait 180.
    pub data_idle_seconds_max: u64,
    /// Seconds for one whole message, however it trickles.
    pub message_seconds_max: u64,
    /// Seconds for one whole session; it ends after the message in hand.
    pub session_seconds_max: u64,
    /// Seconds for a TLS handshake after STARTTLS.
    pub handshake_seconds_max: u64,
    /// The authentication mechanisms offered, under TLS only. `SCRAM-SHA-256-PLUS` is offered where the connection has
    /// a channel binding.
    pub auth_mechanisms: Vec<Mechanism>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hostname: Arc::from("localhost"),
            message_bytes_max: 52_428_800,
            banner: "Staffetta".to_owned(),
            command_line_bytes_max: 4_096,
            auth_line_bytes_max: 12_288,
            text_line_bytes_max: 65_536,
            header_bytes_max: 524_288,
            received_lines_max: 100,
            recipients_max: 1_000,
            messages_max: 10_000,
            errors_max: 20,
            refused_recipients_max: 100,
            idle_commands_max: 100,
            auth_failures_max: 5,
            refused_bytes_max: 1_073_741_824,
            pipeline_bytes_max: 1_048_576,
            command_seconds_max: 300,
            data_idle_seconds_max: 300,
            message_seconds_max: 3_600,
            session_seconds_max: 7_200,
            handshake_seconds_max: 60,
            auth_mechanisms: Mechanism::ALL.to_vec(),
        }
    }
}

impl Settings {
    pub(crate) fn command_time(&self) -> Duration {
        Duration::from_secs(self.command_seconds_max)
    }

    pub(crate) fn data_idle_time(&self) -> Duration {
        Duration::from_secs(self.data_idle_seconds_max)
    }

    pub(crate) fn message_time(&self) -> Duration {
        Duration::from_secs(self.message_seconds_max)
    }

    pub(crate) fn session_time(&self) -> Duration {
        Duration::from_secs(self.session_seconds_max)
    }

    pub(crate) fn handshake_time(&self) -> Duration {
        Duration::from_secs(self.handshake_seconds_max)
    }
}
