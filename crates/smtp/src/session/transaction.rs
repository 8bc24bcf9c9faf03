//! MAIL, RCPT, DATA, BDAT: form, sequence and limits; then the question.

use mail::path::{self, PathError};
use mail::{AddressError, Reply};

use super::Session;
use super::state::{Chunk, Receiving, State, Waiting};
use crate::dialogue::{CloseReason, Question};
use crate::parameters;
use crate::peer::Role;
use crate::replies;
use crate::summary::NotAsked;

impl Session {
    /// RFC 5321 §4.1.1.2.
    pub(super) fn mail(&mut self, state: State, argument: &[u8]) -> State {
        if !matches!(state, State::Greeted) {
            return self.remain(state, &replies::bad_sequence("A transaction is open; RSET ends it"));
        }
        if self.summary.transactions >= self.settings.messages_max as u64 {
            self.closing = Some(CloseReason::TooManyMessages);
            let words = "has taken as many messages as fit one session, closing";
            return self.spoken(state, &replies::closing(&self.settings, (4, 5, 3), words));
        }
        let Some(text) = after_keyword(argument, b"FROM:") else {
            return self.remain(state, &replies::bad_syntax("The form is MAIL FROM:<address>"));
        };
        let (reverse_path, rest) = match path::reverse_path(text) {
            Ok(read) => read,
            Err(error) => return self.remain(state, &bad_path(&error, (5, 1, 7))),
        };
        let params = match parameters::mail(rest) {
            Ok(params) => params,
            Err(error) => return self.remain(state, &replies::bad_parameter(error)),
        };
        // RFC 1870 §6.1: too large is told before the message is sent.
        if params.size.is_some_and(|size| size > self.settings.message_bytes_max) {
            return self.remain(state, &replies::too_large(&self.settings));
        }
        // RFC 6531 §3.4: without SMTPUTF8 a path is ASCII.
        if !params.smtputf8 && !is_ascii_before(text, rest) {
            return self.remain(state, &replies::needs_smtputf8());
        }
        let waiting = Waiting::Mail { smtputf8: params.smtputf8 };
        self.ask(Question::Mail { reverse_path, params }, waiting)
    }

    /// RFC 5321 §4.1.1.3.
    pub(super) fn rcpt(&mut self, state: State, argument: &[u8]) -> State {
        let State::InTransaction(mut transaction) = state else {
            let words = match state {
                State::BetweenChunks(_) => "The message has begun; no more recipients",
                _ => "Send MAIL first",
            };
            self.not_asked(|count| &mut count.protocol);
            return self.remain(state, &replies::bad_sequence(words));
        };
        // Refusals for now are no errors, but even they are not given for ever.
        transaction.attempts += 1;
        if transaction.attempts > self.settings.recipients_max.saturating_mul(2) {
            self.not_asked(|count| &mut count.too_many);
            self.give_up("too many recipients, closing");
            return State::InTransaction(transaction);
        }
        if transaction.recipients >= self.settings.recipients_max {
            self.not_asked(|count| &mut count.too_many);
            let reply = replies::too_many_recipients(&self.settings);
            return self.spoken(State::InTransaction(transaction), &reply);
        }
        match recipient(argument, transaction.smtputf8) {
            Ok(question) => self.ask(question, Waiting::Recipient(transaction)),
            Err((reply, relaying)) => {
                self.not_asked(|count| if relaying { &mut count.relaying } else { &mut count.protocol });
                self.remain(State::InTransaction(transaction), &reply)
            }
        }
    }

    /// Counts a recipient that is refused here, without a question.
    pub(super) fn not_asked(&mut self, reason: impl FnOnce(&mut NotAsked) -> &mut u64) {
        self.summary.recipients_refused += 1;
        *reason(&mut self.summary.recipients_not_asked) += 1;
    }

    /// RFC 5321 §4.1.1.4.
    pub(super) fn data(&mut self, state: State, argument: &[u8]) -> State {
        if !argument.is_empty() {
            return self.remain(state, &replies::bad_argument("DATA has no argument"));
        }
        match state {
            State::InTransaction(transaction) if transaction.recipients > 0 => {
                let waiting = Waiting::Data { recipients: transaction.recipients, chunk: None };
                self.ask(Question::Data, waiting)
            }
            state => {
                let reply = self.no_message_yet(&state);
                self.remain(state, &reply)
            }
        }
    }

    /// RFC 3030 §2. `gate` is why the verb may not stand here at all; the chunk's bytes are read all the same.
    pub(super) fn bdat(&mut self, state: State, argument: &[u8], gate: Option<Reply>) -> State {
        let Some(chunk) = chunk(argument) else {
            return self
                .remain(state, &replies::bad_syntax("The form is BDAT bytes, with LAST for the last chunk"));
        };
        match (gate, state) {
            (Some(reply), state) => self.unwanted(chunk, reply, state),
            (None, State::InTransaction(transaction)) if transaction.recipients > 0 => {
                let waiting = Waiting::Data { recipients: transaction.recipients, chunk: Some(chunk) };
                self.ask(Question::Data, waiting)
            }
            (None, State::BetweenChunks(message)) => {
                // An empty chunk brings no message nearer.
                if chunk.size == 0 && !chunk.last && self.too_idle() {
                    return State::BetweenChunks(message);
                }
                self.next_chunk(message, chunk)
            }
            (None, state) => {
                let reply = self.no_message_yet(&state);
                self.unwanted(chunk, reply, state)
            }
        }
    }

    /// A chunk whose bytes are thrown away before the refusal is spoken (RFC 3030 §2); too much of it ends the session.
    pub(super) fn unwanted(&mut self, chunk: Chunk, reply: Reply, then: State) -> State {
        if chunk.size > self.settings.refused_bytes_max {
            self.closing = Some(CloseReason::TooMuchInput);
            return self.remain(then, &reply);
        }
        (self.message_since, self.progress_at) = (self.now, self.now);
        State::Receiving(Receiving::Unwanted { chunk, reply, then: Box::new(then) })
    }

    /// RFC 5321 §3.3; RFC 2033 §4.2 wants 503 where no RCPT succeeded.
    fn no_message_yet(&self, state: &State) -> Reply {
        match state {
            State::InTransaction(_) if self.role != Role::Lmtp => replies::no_recipients(),
            State::InTransaction(_) => replies::bad_sequence("No valid recipients"),
            State::BetweenChunks(_) => replies::bad_sequence("The message has begun with BDAT"),
            _ => replies::bad_sequence("Send MAIL and RCPT first"),
        }
    }

    /// A refusal that the protocol knows nothing about: said as it is, and counted when it is final.
    pub(super) fn refused_by_policy(&mut self, reply: &Reply) {
        self.say(reply);
        if reply.is_permanent() {
            self.count_error();
        }
    }
}

/// Reads the argument of RCPT, or says what is wrong with it, and whether that was a wish to relay.
fn recipient(argument: &[u8], smtputf8: bool) -> Result<Question, (Reply, bool)> {
    let text = after_keyword(argument, b"TO:")
        .ok_or_else(|| (replies::bad_syntax("The form is RCPT TO:<address>"), false))?;
    let (path, rest) = path::forward_path(text).map_err(|error| match error {
        PathError::Address(AddressError::Domain(_)) if has_second_at(text) => (replies::second_at(), true),
        error => (bad_path(&error, (5, 1, 3)), false),
    })?;
    let params = parameters::recipient(rest).map_err(|error| (replies::bad_parameter(error), false))?;
    // RFC 6531 §3.4.
    if !smtputf8 && !is_ascii_before(text, rest) {
        return Err((replies::needs_smtputf8(), false));
    }
    let written = text.get(..text.len() - rest.len()).unwrap_or_default();
    Ok(Question::Recipient { path, params, bare: String::from_utf8_lossy(written).into_owned() })
}

/// What follows `FROM:` or `TO:`, in any case; blanks after the colon are forgiven, being so common.
fn after_keyword<'a>(argument: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = argument.split_at_checked(keyword.len())?;
    start.eq_ignore_ascii_case(keyword).then(|| rest.trim_ascii_start())
}

/// True when the part of `text` before its tail `rest` is ASCII.
fn is_ascii_before(text: &[u8], rest: &[u8]) -> bool {
    text.get(..text.len() - rest.len()).unwrap_or_default().is_ascii()
}

/// True for `user@one@two`, source route apart.
fn has_second_at(text: &[u8]) -> bool {
    let inner = text.strip_prefix(b"<").unwrap_or(text);
    let mailbox = match inner.iter().position(|byte| *byte == b':') {
        Some(colon) if inner.first() == Some(&b'@') => inner.get(colon..).unwrap_or_default(),
        _ => inner,
    };
    mailbox.iter().filter(|byte| **byte == b'@').count() > 1
}

/// RFC 3463 §3.2: 5.1.7 for a sender's address, 5.1.3 for a recipient's.
fn bad_path(error: &PathError, enhanced: (u8, u16, u16)) -> Reply {
    match error {
        PathError::Brackets => replies::bad_syntax("The address must stand in angle brackets"),
        error => Reply::new(501, enhanced, error.to_string()),
    }
}

/// RFC 3030 §2: `chunk-size [SP "LAST"]`.
fn chunk(argument: &[u8]) -> Option<Chunk> {
    let mut words = argument.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let digits = words.next().filter(|word| word.iter().all(u8::is_ascii_digit))?;
    let size: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return None,
    };
    words.next().is_none().then_some(Chunk { size, left: size, last })
}
