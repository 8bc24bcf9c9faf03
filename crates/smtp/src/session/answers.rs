//! What an answer does: the transition it decides, and the words it brings.

use mail::Reply;

use super::Session;
use super::state::{State, Transaction, Waiting};
use crate::dialogue::{Answer, CloseReason};
use crate::replies;

impl Session {
    pub(super) fn answered(&mut self, waiting: Waiting, answer: Answer) -> State {
        match waiting {
            Waiting::Auth(exchange) => self.auth_answered(*exchange, answer),
            Waiting::EndOfData { recipients } => self.message_answered(recipients, answer),
            waiting => {
                let reply = match answer {
                    Answer::Reply(reply) => reply,
                    // An answer to some other question: the client is not to blame.
                    _ => replies::local_error(),
                };
                self.decided(waiting, &reply)
            }
        }
    }

    fn decided(&mut self, waiting: Waiting, reply: &Reply) -> State {
        match waiting {
            Waiting::Connect => self.connect_answered(reply),
            Waiting::Helo { before, name, esmtp } => self.hello_answered(*before, name, esmtp, reply),
            Waiting::Mail { smtputf8 } if reply.is_positive() => {
                self.summary.transactions += 1;
                self.spoken(State::InTransaction(Transaction { recipients: 0, attempts: 0, smtputf8 }), reply)
            }
            Waiting::Recipient(transaction) => self.recipient_answered(transaction, reply),
            Waiting::Unknown { before, reply: ours } => {
                let is_transient = !reply.is_positive() && !reply.is_permanent();
                self.remain(*before, if is_transient { reply } else { &ours })
            }
            Waiting::Data { recipients, chunk } if reply.is_positive() => {
                self.begin_message(recipients, chunk)
            }
            Waiting::Data { chunk: Some(chunk), .. } => self.unwanted(chunk, reply.clone(), State::Greeted),
            Waiting::Mail { .. } | Waiting::Data { .. } | Waiting::EndOfData { .. } | Waiting::Auth(_) => {
                self.refused_by_policy(reply);
                State::Greeted
            }
        }
    }

    /// RFC 5321 §3.1: 220, or 554 after which QUIT is awaited, or 421 and the end.
    fn connect_answered(&mut self, reply: &Reply) -> State {
        if reply.is_positive() {
            let greeting = replies::greeting(&self.settings, self.role);
            return self.spoken(State::Idle, &greeting);
        }
        self.say(reply);
        if reply.code != 554 {
            self.closing = Some(CloseReason::Refused);
        }
        State::Refused
    }

    fn recipient_answered(&mut self, mut transaction: Transaction, reply: &Reply) -> State {
        self.say(reply);
        if reply.is_positive() {
            transaction.recipients += 1;
            self.summary.recipients += 1;
        } else {
            self.summary.recipients_refused += 1;
        }
        if reply.is_permanent() && self.is_stranger() {
            self.refused_recipients += 1;
            if self.refused_recipients >= self.settings.refused_recipients_max {
                self.give_up("too many unknown recipients, closing");
            }
        }
        State::InTransaction(transaction)
    }

    /// RFC 5321 §4.1.1.4: one reply; RFC 2033 §4.2: with LMTP one for each recipient.
    fn message_answered(&mut self, recipients: usize, answer: Answer) -> State {
        let count = self.reply_count(recipients);
        let replies = match answer {
            Answer::Reply(reply) => vec![reply; count],
            Answer::Replies(mut given) => {
                given.resize(count, replies::local_error());
                given
            }
            _ => vec![replies::local_error(); count],
        };
        for reply in &replies {
            self.say(reply);
        }
        if replies.iter().any(Reply::is_positive) {
            self.summary.messages += 1;
            (self.errors, self.idle_commands) = (0, 0);
        } else {
            self.summary.messages_refused += 1;
            if replies.iter().any(Reply::is_permanent) {
                self.count_error();
            }
        }
        State::Greeted
    }
}
