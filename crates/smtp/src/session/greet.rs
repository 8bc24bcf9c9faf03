//! HELO, EHLO, LHLO: the name, and the list of extensions.

use mail::Reply;

use super::Session;
use super::state::{State, Waiting};
use crate::dialogue::{BodyAbort, Question};
use crate::peer::AuthPolicy;
use crate::replies;
use crate::sasl::Mechanism;

/// Longest name that is taken. RFC 5321 §4.5.3.1.2 asks for 255.
const NAME_BYTES_MAX: usize = 255;

impl Session {
    /// RFC 5321 §4.1.1.1. Any text without blanks is a name here: what to think of it is policy's business.
    pub(super) fn hello(&mut self, state: State, argument: &[u8], esmtp: bool) -> State {
        let name = argument.split(|byte| *byte == b' ').next().unwrap_or_default();
        if name.is_empty() {
            return self.remain(state, &replies::bad_argument("A host name or address literal must follow"));
        }
        let name = match std::str::from_utf8(name) {
            Ok(name) if name.len() <= NAME_BYTES_MAX => name.to_owned(),
            _ => return self.remain(state, &replies::bad_argument("The name is too long or not UTF-8")),
        };
        let waiting = Waiting::Helo { before: Box::new(state), name: name.clone(), esmtp };
        self.ask(Question::Helo { name, esmtp }, waiting)
    }

    pub(super) fn hello_answered(
        &mut self,
        before: State,
        name: String,
        esmtp: bool,
        reply: &Reply,
    ) -> State {
        // RFC 5321 §4.1.4: a refused EHLO leaves everything as it was.
        if !reply.is_positive() {
            self.refused_by_policy(reply);
            return before;
        }
        // RFC 5321 §4.1.4: an accepted one ends the transaction.
        self.abandon(&before, BodyAbort::Reset);
        (self.summary.helo, self.summary.esmtp) = (Some(name), esmtp);
        let text = if esmtp { self.extensions() } else { self.settings.hostname.to_string() };
        self.spoken(State::Greeted, &Reply::plain(250, text))
    }

    /// Our name, then one extension a line (RFC 5321 §4.1.1.1).
    fn extensions(&self) -> String {
        let limits = &self.settings;
        let mut lines = vec![
            limits.hostname.to_string(),
            "PIPELINING".to_owned(),
            format!("SIZE {}", limits.message_bytes_max),
            "8BITMIME".to_owned(),
            "SMTPUTF8".to_owned(),
            "ENHANCEDSTATUSCODES".to_owned(),
            "DSN".to_owned(),
            "CHUNKING".to_owned(),
        ];
        // RFC 3207 §4.2: not offered again under TLS.
        if self.peer.starttls && self.summary.tls.is_none() {
            lines.push("STARTTLS".to_owned());
        }
        let mechanisms: Vec<&str> = self.mechanisms().map(Mechanism::name).collect();
        if !mechanisms.is_empty() {
            lines.push(format!("AUTH {}", mechanisms.join(" ")));
        }
        // RFC 9422 §4: numbers of up to six digits.
        let [messages, recipients] = [limits.messages_max, limits.recipients_max].map(|n| n.min(999_999));
        lines.push(format!("LIMITS MAILMAX={messages} RCPTMAX={recipients}"));
        lines.push("HELP".to_owned());
        lines.join("\n")
    }

    /// The mechanisms on offer now. RFC 4954 §4: none without TLS, so that no password crosses in clear.
    pub(super) fn mechanisms(&self) -> impl Iterator<Item = Mechanism> + '_ {
        let offered = self.peer.auth != AuthPolicy::Off && self.summary.account.is_none();
        let binding = self.summary.tls.as_ref().map(|tls| tls.channel_binding.is_some());
        self.settings.auth_mechanisms.iter().copied().filter(move |mechanism| {
            offered && binding.is_some_and(|bound| bound || *mechanism != Mechanism::ScramSha256Plus)
        })
    }
}
