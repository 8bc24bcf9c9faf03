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
            auth_mechanisms: Mechanism::ALL.to_vec(),
        }
    }
}

/// A bound under which no mail server could work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limits.{key} is {value}, so that {consequence}; give it {least} or more")]
pub struct SettingsError {
    /// The key in `[limits]`.
    pub key: &'static str,
    /// What it is.
    pub value: u64,
    /// The least that works.
    pub least: u64,
    /// What less would do.
    pub consequence: &'static str,
}

impl Settings {
    /// Checks what types cannot say: minima of the standards, and zeros that would stop everything.
    ///
    /// # Errors
    /// [`SettingsError`], the first one found.
    pub fn check(&self) -> Result<(), SettingsError> {
        let size = |n: usize| n as u64;
        let bounds = [
            // RFC 5321 §4.5.3.1.4, .6, .8 and §4.5.3.2.7; RFC 4954 §4 for a line of an exchange.
            (
                "command_line_bytes_max",
                size(self.command_line_bytes_max),
                512,
                "ordinary commands would be refused",
            ),
            ("text_line_bytes_max", size(self.text_line_bytes_max), 998, "ordinary mail would be refused"),
            ("auth_line_bytes_max", size(self.auth_line_bytes_max), 512, "some could not log in"),
            ("header_bytes_max", size(self.header_bytes_max), 16_384, "ordinary mail would be refused"),
            ("received_lines_max", size(self.received_lines_max), 10, "forwarded mail would be refused"),
            ("recipients_max", size(self.recipients_max), 1, "nobody could receive mail"),
            ("messages_max", size(self.messages_max), 1, "nobody could send mail"),
            ("errors_max", size(self.errors_max), 1, "every session would end at once"),
            (
                "refused_recipients_max",
                size(self.refused_recipients_max),
                1,
                "every session would end at once",
            ),
            ("idle_commands_max", size(self.idle_commands_max), 10, "ordinary sessions would end early"),
            ("auth_failures_max", size(self.auth_failures_max), 1, "nobody could mistype a password"),
            (
                "pipeline_bytes_max",
                size(self.pipeline_bytes_max),
                131_072,
                "pipelining clients would be cut off",
            ),
            ("command_seconds_max", self.command_seconds_max, 5, "slow clients would be cut off"),
            ("data_idle_seconds_max", self.data_idle_seconds_max, 5, "slow clients would be cut off"),
            ("message_seconds_max", self.message_seconds_max, 30, "large messages would never arrive"),
            ("session_seconds_max", self.session_seconds_max, 30, "slow clients would be cut off"),
        ];
        match bounds.into_iter().find(|(_, value, least, _)| value < least) {
            Some((key, value, least, consequence)) => Err(SettingsError { key, value, least, consequence }),
            None => Ok(()),
        }
    }

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_work_and_zeros_are_told() {
        assert_eq!(Settings::default().check(), Ok(()));
        let wrong = Settings { command_line_bytes_max: 100, ..Settings::default() };
        let words = wrong.check().unwrap_err().to_string();
        assert!(
            words.contains("limits.command_line_bytes_max is 100") && words.contains("512 or more"),
            "{words}"
        );
        assert_eq!(Settings { errors_max: 0, ..Settings::default() }.check().unwrap_err().key, "errors_max");
    }
}
