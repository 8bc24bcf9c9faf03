//! One mail transaction on an open connection: MAIL, RCPT, DATA or BDAT, and a verdict for every recipient.
//!
//! With PIPELINING (RFC 2920) the envelope goes out in one write; the message and its final dot in another. Where the peer
//! has CHUNKING too (RFC 3030) a small message goes out together with its envelope, in a single write. The same code
//! speaks LMTP (RFC 2033), whose end of data is answered once per recipient. Every recipient gets a verdict, whatever
//! the peer does. A connection that is lost after the final dot leaves the message untold: it is deferred, and at most
//! comes twice (RFC 1047).

use std::io::IoSlice;

use mail::{Address, Reply};
use store::{MessageRecord, RecipientRecord};

use super::capabilities::Capabilities;
use super::command::{self, Nature};
use super::connection::{Connection, WireError};
use super::stuffing::{self, Stuffer};
use crate::content::Content;
use crate::settings::Timeouts;

/// Slices that are gathered before they are written; the kernel takes 1,024 at once.
const SLICES_MAX: usize = 512;
/// Octets of one part that are looked through for dots at a time.
const SCAN_BYTES: usize = 64 * 1024;
/// A message up to this size is sent along with its envelope where the peer has CHUNKING: what is lost when every
/// recipient is refused is little.
const EAGER_BYTES_MAX: u64 = 64 * 1024;

/// A message for some recipients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transaction<'a> {
    pub(crate) record: &'a MessageRecord,
    /// None: the null reverse-path.
    pub(crate) sender: Option<&'a Address>,
    pub(crate) recipients: &'a [&'a RecipientRecord],
    pub(crate) content: &'a Content,
    pub(crate) nature: Nature,
    /// LMTP instead of SMTP.
    pub(crate) lmtp: bool,
    /// BDAT is used where the peer has it.
    pub(crate) chunking: bool,
    pub(crate) timeouts: &'a Timeouts,
}

/// How far a dialogue had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// MAIL.
    Mail,
    /// RCPT of this recipient.
    Rcpt,
    /// DATA, before the message.
    Data,
    /// The message is, or may be, in the peer's hands.
    End,
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The peer has taken responsibility (RFC 5321 §4.2.5).
    Taken(Reply),
    /// The peer said 4xx or 5xx.
    Refused(Stage, Reply),
    /// 452 to one recipient among others that were taken: again, in a transaction of its own (RFC 5321 §4.5.3.1.10).
    TooMany(Reply),
    /// The connection failed.
    Broken(Stage, String),
    /// The stored message could not be read.
    Unreadable(String),
    /// The peer cannot be sent this message: refused on its behalf, without asking.
    Unfit(Reply),
}

impl Transaction<'_> {
    /// Runs it. There are as many verdicts as recipients, in their order.
    pub(crate) async fn run(&self, connection: &mut Connection) -> Vec<Verdict> {
        if let Some(reply) = unfit(self.nature, &connection.capabilities) {
            return vec![Verdict::Unfit(reply); self.recipients.len()];
        }
        let mut course = Course { verdicts: vec![None; self.recipients.len()] };
        let way = self.way(&connection.capabilities);
        let gone_through = if connection.capabilities.pipelining {
            self.pipelined(connection, &mut course, way).await
        } else {
            self.stepwise(connection, &mut course, way).await
        };
        let rest = match gone_through {
            Ok(()) => Verdict::Broken(Stage::End, "the peer gave no answer for this recipient".into()),
            Err(failure) => {
                connection.is_broken = true;
                failure.verdict()
            }
        };
        course.verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(|| rest.clone())).collect()
    }

    fn way(&self, peer: &Capabilities) -> Way {
        let fits = self.chunking && peer.chunking && !self.lmtp && self.content.tail().is_none();
        if !fits || !stuffing::is_canonical(self.content.parts()) {
            Way::Data
        } else if self.content.size() <= EAGER_BYTES_MAX {
            Way::EagerBdat
        } else {
            Way::Bdat
        }
    }

    /// All commands in one write (RFC 2920 §3.1), then all their replies.
    async fn pipelined(
        &self,
        connection: &mut Connection,
        course: &mut Course,
        way: Way,
    ) -> Result<(), Failure> {
        let reset = std::mem::replace(&mut connection.needs_reset, true);
        let mut commands = Vec::with_capacity(128 * (1 + self.recipients.len()));
        if reset {
            commands.extend_from_slice(b"RSET\r\n");
        }
        command::mail(&mut commands, (self.record, self.sender), self.nature, &connection.capabilities);
        for recipient in self.recipients {
            command::rcpt(&mut commands, recipient, &connection.capabilities);
        }
        match way {
            Way::Data => commands.extend_from_slice(b"DATA\r\n"),
            Way::EagerBdat => commands.extend_from_slice(self.bdat().as_bytes()),
            Way::Bdat => {}
        }
        let mut slices = Vec::with_capacity(1 + self.content.parts().len());
        slices.push(IoSlice::new(&commands));
        if way == Way::EagerBdat {
            slices.extend(self.content.parts().iter().map(|part| IoSlice::new(part)));
        }
        let sent = connection.send(&mut slices, self.timeouts.block()).await;
        self.check_sent(connection, course, Stage::Mail, sent).await?;
        if reset {
            let answered = connection.reply(self.timeouts.command()).await;
            answered.map_err(|error| failure(Stage::Mail, &error))?;
        }
        self.envelope_replies(connection, course).await?;
        match way {
            Way::Data => self.data(connection, course, false).await,
            Way::EagerBdat => self.end(connection, course).await,
            Way::Bdat => self.late_bdat(connection, course).await,
        }
    }

    async fn envelope_replies(
        &self,
        connection: &mut Connection,
        course: &mut Course,
    ) -> Result<(), Failure> {
        let limit = self.timeouts.command();
        let answer = connection.reply(limit).await.map_err(|error| failure(Stage::Mail, &error))?;
        course.mail_answered(answer);
        for index in 0..self.recipients.len() {
            if connection.is_broken {
                break;
            }
            let answer = connection.reply(limit).await.map_err(|error| failure(Stage::Rcpt, &error))?;
            course.rcpt_answered(index, answer);
        }
        course.closing(connection)
    }

    /// A command and its reply at a time, for peers without PIPELINING.
    async fn stepwise(
        &self,
        connection: &mut Connection,
        course: &mut Course,
        way: Way,
    ) -> Result<(), Failure> {
        if std::mem::replace(&mut connection.needs_reset, true) {
            self.ask(connection, b"RSET\r\n").await.map_err(|error| failure(Stage::Mail, &error))?;
        }
        let mut command = Vec::with_capacity(256);
        command::mail(&mut command, (self.record, self.sender), self.nature, &connection.capabilities);
        let answer = self.ask(connection, &command).await.map_err(|error| failure(Stage::Mail, &error))?;
        course.mail_answered(answer);
        course.closing(connection)?;
        for (index, recipient) in self.recipients.iter().enumerate() {
            if !course.is_open() {
                break;
            }
            command.clear();
            command::rcpt(&mut command, recipient, &connection.capabilities);
            let answer =
                self.ask(connection, &command).await.map_err(|error| failure(Stage::Rcpt, &error))?;
            course.rcpt_answered(index, answer);
            course.closing(connection)?;
        }
        if !course.is_open() {
            return Ok(());
        }
        match way {
            Way::Data => self.data(connection, course, true).await,
            Way::EagerBdat | Way::Bdat => self.late_bdat(connection, course).await,
        }
    }

    async fn ask(&self, connection: &mut Connection, command: &[u8]) -> Result<Reply, WireError> {
        connection.say(command, self.timeouts.block()).await?;
        connection.reply(self.timeouts.command()).await
    }

    /// The reply to DATA, the message, and its end.
    async fn data(
        &self,
        connection: &mut Connection,
        course: &mut Course,
        say_it: bool,
    ) -> Result<(), Failure> {
        if say_it {
            let said = connection.say(b"DATA\r\n", self.timeouts.block()).await;
            said.map_err(|error| failure(Stage::Data, &error))?;
        }
        let answer = connection.reply(self.timeouts.data()).await;
        let answer = answer.map_err(|error| failure(Stage::Data, &error))?;
        if answer.code != 354 {
            // A 2xx is out of place here (RFC 5321 §4.3.2), and promises nothing.
            let answer = if answer.code >= 400 { answer } else { out_of_place(&answer) };
            course.refuse_open(Stage::Data, &answer);
            return course.closing(connection);
        }
        if !course.is_open() {
            // RFC 2920 §3.1: no recipient was taken and DATA was all the same: an empty message ends it.
            let said = connection.say(b".\r\n", self.timeouts.block()).await;
            said.map_err(|error| failure(Stage::Data, &error))?;
            let answer = connection.reply(self.timeouts.end_of_data()).await;
            connection.needs_reset = false;
            return answer.map(drop).map_err(|error| failure(Stage::Data, &error));
        }
        let sent = self.stuffed(connection).await;
        self.check_sent(connection, course, Stage::Data, sent).await?;
        self.end(connection, course).await
    }

    /// The message with its dots doubled, and the final dot in the last write.
    async fn stuffed(&self, connection: &mut Connection) -> Result<(), WireError> {
        let limit = self.timeouts.block();
        let mut stuffer = Stuffer::new();
        let mut slices = Vec::with_capacity(16);
        for block in self.content.parts().iter().flat_map(|part| part.chunks(SCAN_BYTES)) {
            stuffer.push(block, &mut slices);
            if slices.len() >= SLICES_MAX {
                connection.send(&mut slices, limit).await?;
                slices.clear();
            }
        }
        let Some(tail) = self.content.tail() else {
            slices.push(IoSlice::new(stuffer.finish()));
            return connection.send(&mut slices, limit).await;
        };
        connection.send(&mut slices, limit).await?;
        let mut at = 0;
        while at < tail.len() {
            let block = tail.read_async(at).await.map_err(WireError::Body)?;
            at += block.len() as u64;
            let mut slices = Vec::with_capacity(16);
            stuffer.push(&block, &mut slices);
            connection.send(&mut slices, limit).await?;
        }
        connection.say(stuffer.finish(), limit).await
    }

    fn bdat(&self) -> String {
        format!("BDAT {} LAST\r\n", self.content.size())
    }

    /// BDAT once some recipient was taken; the command and the message in one write.
    async fn late_bdat(&self, connection: &mut Connection, course: &mut Course) -> Result<(), Failure> {
        if !course.is_open() {
            return Ok(());
        }
        let command = self.bdat();
        let mut slices = vec![IoSlice::new(command.as_bytes())];
        slices.extend(self.content.parts().iter().map(|part| IoSlice::new(part)));
        let sent = connection.send(&mut slices, self.timeouts.block()).await;
        self.check_sent(connection, course, Stage::Data, sent).await?;
        self.end(connection, course).await
    }

    /// What the peer says to the message: once, or with LMTP once for every recipient that is left (RFC 2033 §4.2).
    async fn end(&self, connection: &mut Connection, course: &mut Course) -> Result<(), Failure> {
        let limit = self.timeouts.end_of_data();
        let failed = |error| failure(Stage::End, &error);
        if !self.lmtp || !course.is_open() {
            let answer = connection.reply(limit).await.map_err(failed)?;
            for slot in course.verdicts.iter_mut().filter(|slot| slot.is_none()) {
                *slot = Some(ended(answer.clone()));
            }
            connection.needs_reset = false;
            return Ok(());
        }
        for slot in course.verdicts.iter_mut().filter(|slot| slot.is_none()) {
            let answer = connection.reply(limit).await.map_err(failed)?;
            let gone = answer.code == 421;
            *slot = Some(ended(answer));
            if gone {
                return Err(Failure::closed(Stage::End));
            }
        }
        connection.needs_reset = false;
        Ok(())
    }

    /// After a write that failed, the peer's last words count, if there are any.
    async fn check_sent(
        &self,
        connection: &mut Connection,
        course: &mut Course,
        stage: Stage,
        sent: Result<(), WireError>,
    ) -> Result<(), Failure> {
        let Err(error) = sent else { return Ok(()) };
        if matches!(error, WireError::Io(_) | WireError::Closed)
            && let Some(reply) = connection.last_words().await
            && reply.code >= 400
        {
            course.refuse_open(stage, &reply);
        }
        Err(failure(stage, &error))
    }
}

/// How the message itself is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// DATA and dots.
    Data,
    /// BDAT after the recipients' replies.
    Bdat,
    /// BDAT in one write with the envelope.
    EagerBdat,
}

/// The verdicts as far as they are known; none: the recipient was taken so far, or not asked for yet.
struct Course {
    verdicts: Vec<Option<Verdict>>,
}

impl Course {
    fn is_open(&self) -> bool {
        self.verdicts.iter().any(Option::is_none)
    }

    fn refuse_open(&mut self, stage: Stage, reply: &Reply) {
        for slot in self.verdicts.iter_mut().filter(|slot| slot.is_none()) {
            *slot = Some(Verdict::Refused(stage, reply.clone()));
        }
    }

    fn mail_answered(&mut self, reply: Reply) {
        if reply.code >= 300 {
            let reply = if reply.code >= 400 { reply } else { out_of_place(&reply) };
            self.refuse_open(Stage::Mail, &reply);
        }
    }

    fn rcpt_answered(&mut self, index: usize, reply: Reply) {
        let others = index > 0 && self.verdicts.iter().take(index).any(Option::is_none);
        let Some(slot) = self.verdicts.get_mut(index).filter(|slot| slot.is_none()) else { return };
        *slot = match reply.code {
            0..300 => None,
            300..400 => Some(Verdict::Refused(Stage::Rcpt, out_of_place(&reply))),
            // RFC 5321 §4.5.3.1.10: 452 is too many recipients, and some say 552 for it.
            452 | 552 if others => Some(Verdict::TooMany(reply)),
            _ => Some(Verdict::Refused(Stage::Rcpt, reply)),
        };
    }

    /// After a 421 nothing further is heard; it is the answer to all that was not answered.
    fn closing(&mut self, connection: &Connection) -> Result<(), Failure> {
        if !connection.is_broken {
            return Ok(());
        }
        let said = self.verdicts.iter().rev().flatten().find_map(|verdict| match verdict {
            Verdict::Refused(stage, reply) if reply.code == 421 => Some((*stage, reply.clone())),
            _ => None,
        });
        if let Some((_, reply)) = said {
            self.refuse_open(Stage::Mail, &reply);
        }
        Err(Failure::closed(Stage::Data))
    }
}

fn ended(reply: Reply) -> Verdict {
    match reply.code {
        0..300 => Verdict::Taken(reply),
        300..400 => Verdict::Refused(Stage::End, out_of_place(&reply)),
        _ => Verdict::Refused(Stage::End, reply),
    }
}

/// A reply that makes no sense where it came; it is not believed either way (RFC 5321 §4.3.2).
fn out_of_place(reply: &Reply) -> Reply {
    Reply::new(451, (4, 5, 0), format!("the peer gave a reply out of place: {reply}"))
}

/// Why a transaction could not go on.
struct Failure {
    stage: Stage,
    words: String,
    /// Our own fault: the message could not be read.
    ours: bool,
}

impl Failure {
    fn closed(stage: Stage) -> Self {
        Self { stage, words: "the peer closed the connection".into(), ours: false }
    }

    /// For every recipient that has no other.
    fn verdict(self) -> Verdict {
        if self.ours { Verdict::Unreadable(self.words) } else { Verdict::Broken(self.stage, self.words) }
    }
}

fn failure(stage: Stage, error: &WireError) -> Failure {
    let doing = match stage {
        Stage::Mail => "after MAIL",
        Stage::Rcpt => "after RCPT",
        Stage::Data => "while sending the message",
        Stage::End => "after the end of the message, so that it may come twice",
    };
    Failure { stage, words: format!("{error} {doing}"), ours: matches!(error, WireError::Body(_)) }
}

/// Whether the peer can take such a message at all; if not, what it would have said.
fn unfit(nature: Nature, peer: &Capabilities) -> Option<Reply> {
    // RFC 1870 §6.2: a fixed limit in EHLO spares the attempt.
    if let Some(max) = peer.size.filter(|max| *max > 0 && *max < nature.size) {
        let words =
            format!("the message has {} octets; the receiving server takes at most {max}", nature.size);
        return Some(Reply::new(552, (5, 3, 4), words));
    }
    // RFC 6531 §3.3: without SMTPUTF8 there the message cannot be sent.
    if nature.international && !peer.smtputf8 {
        let words = "the message has internationalized addresses or header fields, which the receiving server does \
                     not support (SMTPUTF8)";
        return Some(Reply::new(553, (5, 6, 7), words));
    }
    // RFC 6152 §3: it must be converted or returned; 8-bit text is never sent to a host that did not offer to take it.
    if nature.eight_bit && !peer.eight_bit_mime {
        let words = "the message has 8-bit text, which the receiving server does not support (8BITMIME)";
        return Some(Reply::new(554, (5, 6, 3), words));
    }
    None
}
