//! The message as it comes: from bytes to body outputs, and what is said at its end.

use super::Session;
use super::state::{Chunk, Message, Receiving, State, Waiting};
use crate::dialogue::{BodyAbort, CloseReason, Output, Question};
use crate::peer::Role;
use crate::replies;

impl Session {
    /// Feeds the message in hand; gives how many bytes belonged to it. In other states none do.
    pub(super) fn receive_body(&mut self, bytes: &[u8]) -> usize {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Receiving(receiving) => {
                let (state, consumed) = match receiving {
                    Receiving::Data(message) => self.receive_data(message, bytes),
                    Receiving::Chunk { message, chunk } => self.receive_chunk(message, chunk, bytes),
                    Receiving::Unwanted { chunk, reply, then } => {
                        let (chunk, taken) = take(chunk, bytes);
                        if chunk.left > 0 {
                            (State::Receiving(Receiving::Unwanted { chunk, reply, then }), taken.len())
                        } else {
                            (self.remain(*then, &reply), taken.len())
                        }
                    }
                };
                self.state = state;
                consumed
            }
            other => {
                self.state = other;
                0
            }
        }
    }

    fn receive_data(&mut self, mut message: Message, bytes: &[u8]) -> (State, usize) {
        let progress = message.reader.read_data(bytes);
        self.hand_out(&mut message, progress.ended);
        let state = if progress.ended {
            self.end_of_message(&message)
        } else {
            self.bound_waste(&message);
            State::Receiving(Receiving::Data(message))
        };
        (state, progress.consumed)
    }

    fn receive_chunk(&mut self, mut message: Message, chunk: Chunk, bytes: &[u8]) -> (State, usize) {
        let (chunk, taken) = take(chunk, bytes);
        message.reader.read_chunk(taken);
        let state = if chunk.left > 0 {
            self.hand_out(&mut message, false);
            self.bound_waste(&message);
            State::Receiving(Receiving::Chunk { message, chunk })
        } else {
            self.end_of_chunk(message, chunk)
        };
        (state, taken.len())
    }

    /// RFC 3030 §2: each chunk has its reply; after a refusal the transaction is over.
    fn end_of_chunk(&mut self, mut message: Message, chunk: Chunk) -> State {
        if chunk.last {
            message.reader.end_chunks();
            self.hand_out(&mut message, true);
            return self.end_of_message(&message);
        }
        self.hand_out(&mut message, false);
        match message.reader.refused() {
            Some(why) => {
                self.summary.messages_refused += 1;
                self.remain(State::Greeted, &replies::message_refused(why, &self.settings))
            }
            None => self.spoken(State::BetweenChunks(message), &replies::chunk(chunk.size)),
        }
    }

    /// A chunk after the first.
    pub(super) fn next_chunk(&mut self, mut message: Message, chunk: Chunk) -> State {
        // RFC 3030 §2 with RFC 1870 §6.3: its size tells before its bytes do.
        if message.reader.bytes().saturating_add(chunk.size) > self.settings.message_bytes_max {
            message.reader.refuse(BodyAbort::TooLarge);
            self.hand_out(&mut message, false);
            let reply = replies::too_large(&self.settings);
            if chunk.size > self.settings.refused_bytes_max {
                self.summary.messages_refused += 1;
                return self.unwanted(chunk, reply, State::Greeted);
            }
        }
        self.progress_at = self.now;
        State::Receiving(Receiving::Chunk { message, chunk })
    }

    /// The answer to [`Question::Data`] was positive.
    pub(super) fn begin_message(&mut self, recipients: usize, chunk: Option<Chunk>) -> State {
        (self.message_since, self.progress_at) = (self.now, self.now);
        let message = Message { recipients, reader: Box::new(self.new_body()), aborted: false };
        match chunk {
            Some(chunk) => self.next_chunk(message, chunk),
            None => {
                self.say(&replies::start_mail());
                State::Receiving(Receiving::Data(message))
            }
        }
    }

    /// Hands out what is ready, or tells that nothing more will come.
    fn hand_out(&mut self, message: &mut Message, ended: bool) {
        match message.reader.refused() {
            Some(why) if !message.aborted => {
                message.aborted = true;
                self.outputs.push_back(Output::BodyAborted(why));
            }
            Some(_) => {}
            None => self.outputs.extend(message.reader.take(ended).map(Output::Body)),
        }
    }

    /// A refused message is read to its end to be answered in its place, but not for ever.
    fn bound_waste(&mut self, message: &Message) {
        if let Some(why) = message.reader.refused()
            && message.reader.thrown_away() > self.settings.refused_bytes_max
        {
            self.summary.messages_refused += 1;
            self.say(&replies::message_refused(why, &self.settings));
            self.closing = Some(CloseReason::TooMuchInput);
        }
    }

    /// The true end of data. Only who makes the message durable may say 250 (RFC 5321 §4.2.5); a refusal by size, loop or
    /// bare newline is spoken here, now and not earlier, so that the peer never takes text for commands.
    fn end_of_message(&mut self, message: &Message) -> State {
        let reader = &message.reader;
        if let Some(why) = reader.refused() {
            self.summary.messages_refused += 1;
            let reply = replies::message_refused(why, &self.settings);
            // RFC 2033 §4.2: LMTP has a reply for each recipient, refused messages included.
            for _ in 1..self.reply_count(message.recipients) {
                self.say(&reply);
            }
            return self.remain(State::Greeted, &reply);
        }
        let question = Question::EndOfData {
            bytes: reader.bytes(),
            header_bytes: reader.header_bytes(),
            received_lines: reader.received_lines(),
            eight_bit: reader.eight_bit(),
            bare_newlines: reader.bare_newlines(),
        };
        self.ask(question, Waiting::EndOfData { recipients: message.recipients })
    }

    /// How many replies follow the end of data.
    pub(super) fn reply_count(&self, recipients: usize) -> usize {
        if self.role == Role::Lmtp { recipients } else { 1 }
    }
}

/// Splits off what belongs to the chunk.
fn take(chunk: Chunk, bytes: &[u8]) -> (Chunk, &[u8]) {
    let count = usize::try_from(chunk.left).unwrap_or(usize::MAX).min(bytes.len());
    let taken = bytes.get(..count).unwrap_or_default();
    (Chunk { left: chunk.left - count as u64, ..chunk }, taken)
}
