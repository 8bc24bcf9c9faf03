//! One command line: which verb, whether it may stand here, and the verbs that need no more than a line of code.

use mail::Reply;

use super::Session;
use super::state::{State, Waiting};
use crate::dialogue::{BodyAbort, CloseReason, Output, Question};
use crate::line::Line;
use crate::peer::AuthPolicy;
use crate::replies;
use crate::verb::{self, Facts, Needs, Verb, Word};

impl Session {
    pub(super) fn command_line(&mut self, state: State, line: Line) -> State {
        self.summary.commands += 1;
        let max = self.settings.command_line_bytes_max;
        let (reply, reason) = match line {
            Line::Whole(text) => return self.command(state, text.trim_ascii_end()),
            Line::Malformed | Line::Incomplete => (replies::control_character(), None),
            Line::TooLong => (replies::line_too_long(max), None),
            Line::Endless => (replies::line_too_long(max), Some(CloseReason::TooMuchInput)),
            // RFC 5321 §2.3.8. Reading on would wait for a CR LF that such a client never sends.
            Line::BareLineFeed => (replies::bare_line_feed(), Some(CloseReason::BareNewline)),
        };
        self.fault(&reply);
        self.closing = self.closing.or(reason);
        state
    }

    fn command(&mut self, state: State, line: &[u8]) -> State {
        let blank = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let (word, argument) = line.split_at(blank);
        let argument = argument.trim_ascii_start();
        match verb::look_up(word, self.role) {
            Word::Known(facts) => self.known(state, facts, argument),
            Word::Http => {
                self.closing = Some(CloseReason::Http);
                self.remain(state, &replies::http())
            }
            Word::NotImplemented => self.unknown(state, line, replies::not_implemented()),
            Word::Unknown => self.unknown(state, line, replies::unknown_verb()),
        }
    }

    /// Refused in any case; but somebody may want to hear of it. Not in the middle of a message, which nobody else hears of yet.
    fn unknown(&mut self, state: State, line: &[u8], reply: Reply) -> State {
        if !self.peer.tells_unknown
            || !matches!(state, State::Idle | State::Greeted | State::InTransaction(_))
        {
            return self.remain(state, &reply);
        }
        let line = String::from_utf8_lossy(line).into_owned();
        self.ask(Question::Unknown { line }, Waiting::Unknown { before: Box::new(state), reply })
    }

    fn known(&mut self, state: State, facts: &'static Facts, argument: &[u8]) -> State {
        self.summary.count(facts.verb);
        if facts.ends_group && !self.input.is_empty() {
            self.summary.pipelined_early = true;
        }
        if facts.idle && self.too_idle() {
            return state;
        }
        let gate = self.gate(&state, facts);
        // RFC 3030 §2: the bytes of a chunk follow whatever becomes of its command.
        if facts.verb == Verb::Bdat {
            return self.bdat(state, argument, gate);
        }
        if let Some(reply) = gate {
            if facts.verb == Verb::Rcpt {
                self.not_asked(|count| &mut count.protocol);
            }
            return self.remain(state, &reply);
        }
        match facts.verb {
            Verb::Helo => self.hello(state, argument, false),
            Verb::Ehlo | Verb::Lhlo => self.hello(state, argument, true),
            Verb::Mail => self.mail(state, argument),
            Verb::Rcpt => self.rcpt(state, argument),
            Verb::Data | Verb::Bdat => self.data(state, argument),
            Verb::Rset => self.rset(state, argument),
            Verb::Noop => self.spoken(state, &replies::fine()),
            Verb::Quit => self.quit(&state),
            Verb::Help => self.help(state, argument),
            Verb::Vrfy => self.vrfy(state, argument),
            Verb::StartTls => self.starttls(state, argument),
            Verb::Auth => self.auth(state, argument),
        }
    }

    /// Why a verb may not stand here, by the table's facts about it.
    fn gate(&self, state: &State, facts: &Facts) -> Option<Reply> {
        let greeted = !matches!(state, State::Idle);
        match state {
            // RFC 5321 §3.1: after 554 in place of a greeting, all but QUIT is 503.
            State::Refused if facts.verb != Verb::Quit => {
                Some(replies::bad_sequence("No service here; QUIT is all that is left"))
            }
            // RFC 3207 §4: 530 to all that TLS must come before. RFC 4954 §6: 538 to AUTH, which auth.rs says.
            _ if facts.after_tls && facts.verb != Verb::Auth && self.lacks_tls() => {
                Some(replies::needs_tls())
            }
            // RFC 5321 §4.1.4.
            _ if facts.needs != Needs::Nothing && !greeted => {
                Some(replies::bad_sequence("Send EHLO, HELO or LHLO first"))
            }
            // RFC 4954 §6.
            _ if facts.needs == Needs::Leave && self.lacks_auth() => Some(replies::needs_auth()),
            _ => None,
        }
    }

    /// Counts a command that brings no message nearer; true when it was one too many.
    pub(super) fn too_idle(&mut self) -> bool {
        self.idle_commands += 1;
        let too_many = self.idle_commands > self.settings.idle_commands_max;
        if too_many {
            self.give_up("too many commands without a message, closing");
        }
        too_many
    }

    /// Says what the client did wrong; nothing changes.
    pub(super) fn remain(&mut self, state: State, reply: &Reply) -> State {
        self.fault(reply);
        state
    }

    /// Says something; nothing changes.
    pub(super) fn spoken(&mut self, state: State, reply: &Reply) -> State {
        self.say(reply);
        state
    }

    /// RFC 5321 §4.1.1.5: the transaction is over, the greeting stands.
    fn rset(&mut self, state: State, argument: &[u8]) -> State {
        if !argument.is_empty() {
            return self.remain(state, &replies::bad_argument("RSET has no argument"));
        }
        self.abandon(&state, BodyAbort::Reset);
        self.say(&replies::fine());
        match state {
            State::Idle | State::Refused => state,
            _ => State::Greeted,
        }
    }

    /// RFC 5321 §4.1.1.10: QUIT is answered at any time.
    fn quit(&mut self, state: &State) -> State {
        self.abandon(state, BodyAbort::Reset);
        self.say(&replies::goodbye(&self.settings));
        self.closing = Some(CloseReason::Quit);
        State::Idle
    }

    /// RFC 5321 §4.1.1.8.
    fn help(&mut self, state: State, argument: &[u8]) -> State {
        let spoken: Vec<&Facts> =
            verb::TABLE.iter().filter(|facts| verb::spoken_to(self.role, facts.verb)).collect();
        let one = spoken.iter().find(|facts| facts.word.as_bytes().eq_ignore_ascii_case(argument));
        let text = match one {
            Some(facts) => facts.help.to_owned(),
            None => {
                let words: Vec<&str> = spoken.iter().map(|facts| facts.word).collect();
                format!("{}\nHELP with one of them tells its form", words.join(" "))
            }
        };
        self.spoken(state, &Reply::new(214, (2, 0, 0), text))
    }

    /// RFC 5321 §3.5.3: 252 for who does not want to be asked who exists.
    fn vrfy(&mut self, state: State, argument: &[u8]) -> State {
        if argument.is_empty() {
            return self.remain(state, &replies::bad_argument("VRFY takes an address"));
        }
        self.spoken(state, &replies::cannot_verify())
    }

    /// RFC 3207 §4.
    fn starttls(&mut self, state: State, argument: &[u8]) -> State {
        if self.summary.tls.is_some() {
            return self.remain(state, &replies::bad_sequence("TLS is up already"));
        }
        if !self.peer.starttls {
            let reply = if self.peer.auth == AuthPolicy::Required {
                replies::tls_not_available()
            } else {
                replies::not_implemented()
            };
            return self.remain(state, &reply);
        }
        if !argument.is_empty() {
            return self.remain(state, &replies::bad_argument("STARTTLS has no argument"));
        }
        self.abandon(&state, BodyAbort::Reset);
        self.say(&replies::ready_for_tls());
        self.flush();
        self.outputs.push_back(Output::StartTls);
        // RFC 3207 §4.2, and CVE-2011-0411: plain text behind STARTTLS is never read as if it came under TLS.
        self.input.clear();
        State::Handshaking
    }
}
