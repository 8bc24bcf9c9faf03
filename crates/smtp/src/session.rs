//! The session itself: what goes in, what comes out, when it ends. Commands, transactions, the message, authentication
//! and answers each have a file below this one.
//!
//! A state is an enum of structs and every step consumes it, so that an illegal transition cannot be written. While a
//! question is open nothing is read; what the peer pipelines meanwhile waits, bounded by `pipeline_bytes_max`.
//!
//! Never reads a clock: the time is that of the last call.

mod answers;
mod auth;
mod commands;
mod greet;
mod receive;
mod state;
mod transaction;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mail::Reply;

use crate::body::BodyReader;
use crate::dialogue::{Answer, BodyAbort, CloseReason, Output, Question};
use crate::line::{Input, Line};
use crate::peer::{AuthPolicy, PeerInfo, Role, TlsInfo};
use crate::replies;
use crate::settings::Settings;
use crate::summary::SessionSummary;
use state::{State, Waiting};

/// Replies to a pipelined group are held back this long at most while its later commands are being decided, so that no
/// client times out on an early one (RFC 2920 §3.2 wants them together; RFC 5321 §4.5.3.2 gives a client 5 minutes).
const HOLD: Duration = Duration::from_secs(5);

/// Replies are held back up to this many bytes.
const HOLD_BYTES_MAX: usize = 4_096;

/// One SMTP or LMTP session, from connection to close.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    role: Role,
    peer: PeerInfo,
    state: State,
    input: Input,
    outputs: VecDeque<Output>,
    /// Replies that are not in `outputs` yet, and when the first of them was made.
    replies: Vec<u8>,
    replies_since: Option<Instant>,
    /// Set when the session has to end after what was just said.
    closing: Option<CloseReason>,
    shutting_down: bool,
    eof: bool,
    summary: SessionSummary,
    /// Errors and idle commands since the last accepted message.
    errors: usize,
    idle_commands: usize,
    refused_recipients: usize,
    now: Instant,
    started: Instant,
    /// Since when a command is awaited.
    waiting_since: Instant,
    /// When the message in hand began, and when its last byte came.
    message_since: Instant,
    progress_at: Instant,
}

impl Session {
    /// A session at the moment of its connection; the first output is [`Question::Connect`].
    #[must_use]
    pub fn new(settings: Arc<Settings>, role: Role, peer: PeerInfo, now: Instant) -> Self {
        let summary = SessionSummary { tls: peer.tls.clone(), ..SessionSummary::default() };
        Self {
            settings,
            role,
            peer,
            state: State::Waiting(Waiting::Connect),
            input: Input::default(),
            outputs: VecDeque::from([Output::Ask(Question::Connect)]),
            replies: Vec::new(),
            replies_since: None,
            closing: None,
            shutting_down: false,
            eof: false,
            summary,
            errors: 0,
            idle_commands: 0,
            refused_recipients: 0,
            now,
            started: now,
            waiting_since: now,
            message_since: now,
            progress_at: now,
        }
    }

    /// Takes bytes from the peer. Call it when [`Self::wants_input`]; what comes else is kept up to
    /// `pipeline_bytes_max`, beyond which the session ends.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        self.now = now;
        self.summary.bytes_in += bytes.len() as u64;
        let mut rest = bytes;
        match &self.state {
            // RFC 3207 §4.2: what came in clear after STARTTLS is not for the session.
            State::Closed | State::Handshaking => return,
            State::Waiting(waiting) => self.summary.spoke_first |= matches!(waiting, Waiting::Connect),
            // The usual way of a message: not through the input buffer.
            State::Receiving(_) if self.input.is_empty() => {
                self.progress_at = now;
                let consumed = self.receive_body(bytes);
                rest = bytes.get(consumed..).unwrap_or_default();
            }
            _ => self.progress_at = now,
        }
        if !rest.is_empty() {
            self.input.push(rest);
        }
        self.advance();
        if self.input.unread().len() > self.settings.pipeline_bytes_max {
            self.close(CloseReason::TooMuchInput);
        }
    }

    /// False while a question is open, a handshake runs, outputs wait, or the session is over.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        let reading = !matches!(self.state, State::Waiting(_) | State::Handshaking | State::Closed);
        reading && !self.eof && self.outputs.is_empty()
    }

    /// The next output; call it until it gives nothing, after every other call.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Answers the open question. Without one, or after the end, it has no effect.
    pub fn answer(&mut self, answer: Answer, now: Instant) {
        self.now = now;
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Waiting(waiting) => {
                self.waiting_since = now;
                self.state = self.answered(waiting, answer);
                self.advance();
            }
            other => self.state = other,
        }
    }

    /// Lets time pass: a limit that has come ends the session with 421.
    pub fn wake(&mut self, now: Instant) {
        self.now = now;
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            // RFC 5321 §4.2.3: 421 may be said at any time before closing.
            self.say(&replies::closing(&self.settings, (4, 4, 2), "time limit reached, closing"));
            self.close(CloseReason::Timeout);
        }
    }

    /// When [`Self::wake`] has something to do; nothing while a question is open or a handshake runs, whose time is the
    /// caller's.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let limits = &self.settings;
        match self.state {
            State::Closed | State::Waiting(_) | State::Handshaking => None,
            // RFC 5321 §4.5.3.2.5 and .6.
            State::Receiving(_) => Some(
                (self.progress_at + limits.data_idle_time()).min(self.message_since + limits.message_time()),
            ),
            // RFC 5321 §4.5.3.2.7.
            _ => Some((self.waiting_since + limits.command_time()).min(self.started + limits.session_time())),
        }
    }

    /// The handshake that [`Output::StartTls`] asked for is done.
    pub fn tls_established(&mut self, tls: TlsInfo, now: Instant) {
        if !matches!(self.state, State::Handshaking) {
            return;
        }
        (self.now, self.waiting_since) = (now, now);
        // RFC 3207 §4.2: all that was learnt before is forgotten, the EHLO too.
        (self.summary.tls, self.summary.helo, self.summary.esmtp) = (Some(tls), None, false);
        self.state = State::Idle;
        self.advance();
    }

    /// The handshake failed; nothing can be said any more.
    pub fn tls_failed(&mut self, now: Instant) {
        self.now = now;
        self.close(CloseReason::TlsFailed);
    }

    /// The peer has closed its side. What it sent before is still carried out.
    pub fn eof(&mut self, now: Instant) {
        self.now = now;
        self.eof = true;
        self.advance();
    }

    /// We are stopping: 421 at the next point where nothing is lost (RFC 5321 §3.8); a message in hand is finished.
    pub fn shut_down(&mut self, now: Instant) {
        self.now = now;
        self.shutting_down = true;
        self.advance();
    }

    /// What the session has come to so far.
    #[must_use]
    pub fn summary(&self) -> &SessionSummary {
        &self.summary
    }

    /// Whom the session is with.
    #[must_use]
    pub fn peer(&self) -> &PeerInfo {
        &self.peer
    }

    /// In which role we stand.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Carries out all that can be carried out, then hands the replies over.
    fn advance(&mut self) {
        loop {
            if let Some(reason) = self.closing.take() {
                self.close(reason);
            }
            if self.shutting_down && self.state.may_shut_down() {
                self.say(&replies::closing(&self.settings, (4, 3, 2), "is shutting down, closing"));
                self.close(CloseReason::ShuttingDown);
            }
            if !self.step() {
                break;
            }
        }
        if self.eof && !matches!(self.state, State::Waiting(_) | State::Closed) {
            self.close(CloseReason::Eof);
        }
        if !matches!(self.state, State::Waiting(_)) {
            self.flush();
        }
    }

    /// One command, one line of an exchange, or some of a message; false when there is nothing to do.
    fn step(&mut self) -> bool {
        match self.state {
            State::Closed | State::Waiting(_) | State::Handshaking => false,
            State::Receiving(_) => {
                let mut input = std::mem::take(&mut self.input);
                let consumed = self.receive_body(input.unread());
                input.consume(consumed);
                self.input = input;
                consumed > 0 || !matches!(self.state, State::Receiving(_))
            }
            State::Authenticating(_) => self.step_line(self.settings.auth_line_bytes_max),
            _ => self.step_line(self.settings.command_line_bytes_max),
        }
    }

    fn step_line(&mut self, bytes_max: usize) -> bool {
        // RFC 8446 §5.1: a handshake record starts 0x16 0x03, which no command does.
        let line = if self.input.unread().starts_with(b"\x16\x03") {
            self.say(&replies::tls_without_starttls());
            self.closing = Some(CloseReason::TlsWithoutStartTls);
            return true;
        } else {
            self.input.next_line(bytes_max)
        };
        if line == Line::Incomplete {
            return false;
        }
        self.waiting_since = self.now;
        self.state = match std::mem::replace(&mut self.state, State::Closed) {
            State::Authenticating(exchange) => self.auth_line(*exchange, line),
            state => self.command_line(state, line),
        };
        true
    }

    /// Queues a reply. 421 ends the session, whoever says it (RFC 5321 §4.2.3), and so does 521: this host takes no mail
    /// from there (RFC 7504 §3).
    fn say(&mut self, reply: &Reply) {
        reply.write_to(&mut self.replies);
        self.replies_since.get_or_insert(self.now);
        if matches!(reply.code, 421 | 521) {
            self.closing.get_or_insert(CloseReason::Refused);
        }
    }

    /// Queues a reply to something the client did wrong, and counts it.
    fn fault(&mut self, reply: &Reply) {
        self.say(reply);
        self.count_error();
    }

    fn count_error(&mut self) {
        self.summary.errors += 1;
        self.errors += 1;
        if self.errors >= self.settings.errors_max {
            self.give_up("too many errors, closing");
        }
    }

    /// `421 4.7.0`, after which nothing more is read.
    fn give_up(&mut self, words: &str) {
        if self.closing.is_none() {
            self.closing = Some(CloseReason::TooManyErrors);
            self.say(&replies::closing(&self.settings, (4, 7, 0), words));
        }
    }

    /// Opens a question. Replies made so far go along with the one to come, unless they have waited long.
    fn ask(&mut self, question: Question, waiting: Waiting) -> State {
        let waited = self.replies_since.is_some_and(|since| self.now.duration_since(since) >= HOLD);
        if waited || self.replies.len() > HOLD_BYTES_MAX {
            self.flush();
        }
        self.outputs.push_back(Output::Ask(question));
        State::Waiting(waiting)
    }

    fn flush(&mut self) {
        self.replies_since = None;
        if !self.replies.is_empty() {
            self.summary.bytes_out += self.replies.len() as u64;
            self.outputs.push_back(Output::Send(std::mem::take(&mut self.replies)));
        }
    }

    fn close(&mut self, reason: CloseReason) {
        let state = std::mem::replace(&mut self.state, State::Closed);
        if matches!(state, State::Closed) {
            return;
        }
        self.abandon(&state, BodyAbort::Ended);
        self.closing = None;
        self.input.clear();
        self.flush();
        self.summary.closed = Some(reason);
        self.outputs.push_back(Output::Close(reason));
    }

    /// Tells that a message begun in this state will not be completed.
    fn abandon(&mut self, state: &State, why: BodyAbort) {
        if let Some(message) = state.message()
            && !message.aborted
        {
            self.outputs.push_back(Output::BodyAborted(why));
        }
    }

    /// True for who is neither logged in nor otherwise known.
    fn is_stranger(&self) -> bool {
        !self.peer.trusted && self.summary.account.is_none() && self.role != Role::Local
    }

    /// TLS must come first here and has not.
    fn lacks_tls(&self) -> bool {
        self.peer.auth == AuthPolicy::Required && self.summary.tls.is_none()
    }

    /// AUTH must come first here and has not.
    fn lacks_auth(&self) -> bool {
        self.peer.auth == AuthPolicy::Required && self.summary.account.is_none()
    }

    fn new_body(&self) -> BodyReader {
        BodyReader::new(&self.settings, !self.is_stranger())
    }
}

#[cfg(test)]
mod tests;
