//! AUTH (RFC 4954): lines, base64, abort, and what is said at the end. The mechanisms are in `sasl`.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use mail::Reply;

use super::Session;
use super::state::{State, Waiting};
use crate::dialogue::{Answer, CloseReason};
use crate::line::Line;
use crate::peer::AuthPolicy;
use crate::replies;
use crate::sasl::{Binding, Exchange, Mechanism, Next};

/// RFC 4648 §4, the padding forgiven where it is missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Session {
    /// RFC 4954 §4: `AUTH mechanism [initial-response]`.
    pub(super) fn auth(&mut self, state: State, argument: &[u8]) -> State {
        if let Some(reply) = self.auth_barred(&state) {
            return self.remain(state, &reply);
        }
        let mut words = argument.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let (Some(name), initial, None) = (words.next(), words.next(), words.next()) else {
            return self
                .remain(state, &replies::bad_argument("The form is AUTH mechanism [initial-response]"));
        };
        let known =
            self.mechanisms().find(|mechanism| mechanism.name().as_bytes().eq_ignore_ascii_case(name));
        let Some(mechanism) = known else {
            return self.remain(state, &replies::unknown_mechanism());
        };
        let binding = Binding {
            exporter: self.summary.tls.as_ref().and_then(|tls| tls.channel_binding),
            plus_offered: self.mechanisms().any(|mechanism| mechanism == Mechanism::ScramSha256Plus),
        };
        let exchange = Exchange::new(mechanism, binding);
        match initial {
            None => {
                let prompt = exchange.prompt();
                self.challenge(exchange, &prompt)
            }
            // RFC 4954 §4: "=" is a response of no length.
            Some(text) => self.auth_response(exchange, if text == b"=" { b"" } else { text }),
        }
    }

    /// Why AUTH may not stand here.
    fn auth_barred(&self, state: &State) -> Option<Reply> {
        match state {
            _ if self.peer.auth == AuthPolicy::Off => Some(replies::not_implemented()),
            // RFC 4954 §4: once, and not inside a transaction.
            _ if self.summary.account.is_some() => Some(replies::bad_sequence("Authenticated already")),
            // RFC 4954 §6.
            _ if self.summary.tls.is_none() => Some(replies::auth_needs_tls()),
            State::Greeted => None,
            _ => Some(replies::bad_sequence("AUTH has no place in a transaction")),
        }
    }

    /// A line of the exchange.
    pub(super) fn auth_line(&mut self, exchange: Exchange, line: Line) -> State {
        let (reply, reason) = match line {
            // RFC 4954 §4: "*" aborts.
            Line::Whole(text) if text == b"*" => (replies::auth_aborted(), None),
            Line::Whole(text) => return self.auth_response(exchange, &text),
            Line::Malformed | Line::Incomplete => (replies::bad_base64(), None),
            Line::TooLong => (replies::auth_line_too_long(), None),
            Line::Endless => (replies::auth_line_too_long(), Some(CloseReason::TooMuchInput)),
            Line::BareLineFeed => (replies::bare_line_feed(), Some(CloseReason::BareNewline)),
        };
        self.fault(&reply);
        self.closing = self.closing.or(reason);
        State::Greeted
    }

    fn auth_response(&mut self, exchange: Exchange, text: &[u8]) -> State {
        match BASE64.decode(text) {
            Ok(message) => {
                let message = zeroize::Zeroizing::new(message);
                let next = exchange.response(&message);
                self.auth_next(next)
            }
            Err(_) => self.remain(State::Greeted, &replies::bad_base64()),
        }
    }

    pub(super) fn auth_answered(&mut self, exchange: Exchange, answer: Answer) -> State {
        let next = exchange.answered(answer);
        self.auth_next(next)
    }

    fn auth_next(&mut self, next: Next) -> State {
        match next {
            Next::Challenge(exchange, words) => self.challenge(exchange, &words),
            Next::Ask(exchange, question) => self.ask(question, Waiting::Auth(Box::new(exchange))),
            Next::Done { account, mechanism, reply } => {
                (self.summary.account, self.summary.mechanism) = (Some(account), Some(mechanism));
                self.idle_commands = 0;
                self.spoken(State::Greeted, &reply)
            }
            Next::Refused(reply) => self.auth_failed(&reply),
            Next::Failed => self.auth_failed(&replies::auth_failed()),
        }
    }

    /// A failure that is not final is nobody's guess at a password, and not counted.
    fn auth_failed(&mut self, reply: &Reply) -> State {
        self.refused_by_policy(reply);
        if reply.is_permanent() {
            self.summary.auth_failures += 1;
            if self.summary.auth_failures >= self.settings.auth_failures_max as u64 {
                self.give_up("too many failed authentications, closing");
            }
        }
        State::Greeted
    }

    /// RFC 4954 §4: 334 and base64.
    fn challenge(&mut self, exchange: Exchange, words: &[u8]) -> State {
        self.replies_since.get_or_insert(self.now);
        self.replies.extend_from_slice(b"334 ");
        self.replies.extend_from_slice(BASE64.encode(words).as_bytes());
        self.replies.extend_from_slice(b"\r\n");
        State::Authenticating(Box::new(exchange))
    }
}
