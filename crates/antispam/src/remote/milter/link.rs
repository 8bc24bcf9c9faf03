//! One milter in one session: its connection, what was agreed on, and how far it has been told.
//!
//! Every part of the dialogue has its time limit. After a failure the connection is dropped, and a new one made for the next
//! message. Decides nothing: what an answer leads to is the session's business.

use std::sync::Arc;
use std::time::Duration;

use mail::{Reply as Words, header};
use policy::OnUnknown;

use super::super::line::Line;
use super::super::station::Station;
use super::super::{End, Failure};
use super::Milter;
use super::codec::{
    CHUNK_BYTES_MAX, Change, Command, LEADING_SPACE, REJECTED_RECIPIENTS, Replies, Reply, Step, Terms,
};
use super::letter::{Draught, Gathered, Room};
use super::macros::Macros;
use super::session::Greeting;

/// Octets that are gathered before they are sent, while no answer is waited for.
const GATHER_BYTES: usize = 64 << 10;

/// What a milter says to a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Continue,
    /// It is content, and wants to hear no more of it.
    Accept,
    Discard,
    /// 4xx or 5xx.
    Refuse(Words),
}

impl Answer {
    /// For a record.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Continue => "goes on".to_owned(),
            Self::Accept => "accepts".to_owned(),
            Self::Discard => "discards".to_owned(),
            Self::Refuse(reply) => format!("refuses: {reply}"),
        }
    }
}

/// Where a milter stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Standing {
    /// It has not heard of a message, or the last one is over.
    #[default]
    Idle,
    /// It has heard of MAIL, and wants to hear more.
    Following,
    /// It has accepted the message before its end.
    Content,
    /// It has accepted, or refused, the client for the whole session.
    Settled(Answer),
    /// It does not answer: nothing is known until the next message.
    Unknown,
}

/// See above.
pub(super) struct Link {
    pub(super) milter: Arc<Milter>,
    pub(super) standing: Standing,
    talk: Option<Talk>,
}

impl Link {
    pub(super) fn new(milter: Arc<Milter>) -> Self {
        Self { milter, standing: Standing::Idle, talk: None }
    }

    /// Nothing passes without its word.
    pub(super) fn is_needed(&self) -> bool {
        self.milter.settings.on_unknown == OnUnknown::Tempfail
    }

    fn command_time(&self) -> Duration {
        Duration::from_secs(self.milter.settings.command_seconds_max)
    }

    /// A message begins. Connects, and tells of the client, where that is still to be done.
    pub(super) async fn mail(
        &mut self,
        greeting: &Greeting,
        (words, macros): (&[String], &Macros),
        left: Duration,
    ) -> Result<Answer, Failure> {
        let milter = Arc::clone(&self.milter);
        if self.talk.is_none() {
            milter.station.admit().inspect_err(|_| self.standing = Standing::Unknown)?;
            let opening = milter.station.attempts(|| Talk::open(&milter.station));
            let opened = milter.station.part((milter.station.time_max(), left), opening).await;
            self.talk = Some(opened.inspect_err(|_| self.standing = Standing::Unknown)?);
        }
        let (mut talk, limits) = (self.take()?, (self.command_time(), left));
        let begun = milter.station.part(limits, talk.begin(greeting, words, macros)).await;
        match self.keep(talk, begun)? {
            Begun::Client(answer @ (Answer::Accept | Answer::Refuse(_) | Answer::Discard)) => {
                self.standing = Standing::Settled(answer.clone());
                Ok(answer)
            }
            Begun::Client(answer) | Begun::Message(answer) => Ok(self.follow(answer)),
        }
    }

    /// RCPT. What it says of a recipient that is refused anyway does not matter, and only who wants to hear of it does.
    pub(super) async fn rcpt(
        &mut self,
        (words, macros): (&[String], &Macros),
        is_refused: bool,
        left: Duration,
    ) -> Result<Answer, Failure> {
        let (mut talk, limits) = (self.take()?, (self.command_time(), left));
        let told = if is_refused && !talk.terms.has(REJECTED_RECIPIENTS) {
            Ok(Answer::Continue)
        } else {
            let command = Command::Path(Step::Rcpt, words);
            self.milter.station.part(limits, talk.tell(Step::Rcpt, macros, &command)).await
        };
        let answer = self.keep(talk, told)?;
        Ok(if is_refused { Answer::Continue } else { self.follow(answer) })
    }

    /// A command that is not known, as it was said; where the milter has heard of the client, and goes on listening. What
    /// it says ends nothing.
    pub(super) async fn unknown(&mut self, line: &str, left: Duration) -> Result<Answer, Failure> {
        let listens = matches!(self.standing, Standing::Idle | Standing::Following);
        if !listens || self.talk.is_none() {
            return Ok(Answer::Continue);
        }
        let (mut talk, limits) = (self.take()?, (self.command_time(), left));
        let (command, macros) = (Command::Unknown(line), Macros::default());
        let told = talk.tell(Step::Unknown, &macros, &command);
        let told = self.milter.station.part(limits, told).await;
        self.keep(talk, told)
    }

    /// DATA.
    pub(super) async fn data(&mut self, macros: &Macros, left: Duration) -> Result<Answer, Failure> {
        let (mut talk, limits) = (self.take()?, (self.command_time(), left));
        let told = self.milter.station.part(limits, talk.tell(Step::Data, macros, &Command::Data)).await;
        let answer = self.keep(talk, told)?;
        Ok(self.follow(answer))
    }

    /// The message, and the changes that it wants. The second: values of fields are as they stand behind the colon.
    pub(super) async fn message(
        &mut self,
        (draught, macros): (&Draught, &Macros),
        room: Room<'_>,
        left: Duration,
    ) -> Result<(Answer, Vec<Change>, bool), Failure> {
        let limits = (Duration::from_secs(self.milter.settings.content_seconds_max), left);
        let mut talk = self.take()?;
        let told = self.milter.station.part(limits, talk.message(draught, macros, room)).await;
        let (answer, changes, leading_space) = self.keep(talk, told)?;
        self.standing = Standing::Idle;
        self.milter.station.count(End::Answered);
        Ok((answer, changes, leading_space))
    }

    /// It had accepted the message before it was there.
    pub(super) fn was_content(&self) {
        self.milter.station.count(End::Answered);
    }

    /// The message is over, for whatever reason.
    pub(super) fn end_message(&mut self) {
        if !matches!(self.standing, Standing::Settled(_)) {
            self.standing = Standing::Idle;
        }
    }

    /// The client is gone.
    pub(super) async fn quit(&mut self, left: Duration) {
        let Some(mut talk) = self.talk.take() else { return };
        let goodbye = async {
            if talk.in_message {
                Command::Abort.write_to(&mut talk.out);
            }
            Command::Quit.write_to(&mut talk.out);
            talk.flush().await
        };
        drop(tokio::time::timeout(left, goodbye).await);
    }

    fn follow(&mut self, answer: Answer) -> Answer {
        self.standing = match answer {
            Answer::Accept => Standing::Content,
            _ => Standing::Following,
        };
        answer
    }

    /// The connection, for one part of the dialogue.
    fn take(&mut self) -> Result<Talk, Failure> {
        self.talk.take().ok_or_else(|| Failure::Lost("there is no connection".to_owned()))
    }

    /// Puts it back; after a failure it is dropped.
    fn keep<A>(&mut self, talk: Talk, done: Result<A, Failure>) -> Result<A, Failure> {
        match &done {
            Ok(_) => self.talk = Some(talk),
            Err(_) => self.standing = Standing::Unknown,
        }
        done
    }
}

/// What the first answer that says something was about.
enum Begun {
    /// The client: connection or HELO.
    Client(Answer),
    /// The message: MAIL.
    Message(Answer),
}

/// A connection, and what was agreed on over it.
struct Talk {
    line: Line,
    replies: Replies,
    terms: Terms,
    out: Vec<u8>,
    /// What it was told of the client.
    greeted: Option<Greeting>,
    in_message: bool,
}

impl Talk {
    /// Connects and comes to terms.
    async fn open(station: &Station) -> Result<Self, Failure> {
        let line = station.connect().await?;
        let mut talk = Self {
            line,
            replies: Replies::default(),
            terms: Terms::default(),
            out: Vec::new(),
            greeted: None,
            in_message: false,
        };
        Command::Negotiate.write_to(&mut talk.out);
        talk.flush().await?;
        match talk.reply().await? {
            Reply::Negotiated(terms) => talk.terms = *terms,
            _ => return Err(Failure::garbled("it answers the offer with something else")),
        }
        Ok(talk)
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        self.line.send(&[&self.out]).await?;
        self.out.clear();
        Ok(())
    }

    async fn reply(&mut self) -> Result<Reply, Failure> {
        loop {
            match self.replies.poll() {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => self.line.some(|octets| self.replies.feed(octets)).await?,
                Err(garbled) => return Err(Failure::Garbled(garbled.0)),
            }
        }
    }

    /// Tells of a step, where that is wanted, and waits for the answer, where there is one.
    async fn tell(&mut self, step: Step, macros: &Macros, command: &Command<'_>) -> Result<Answer, Failure> {
        if !self.terms.wants(step) {
            return Ok(Answer::Continue);
        }
        macros.write_to(step, &self.terms, &mut self.out);
        command.write_to(&mut self.out);
        if self.terms.answers(step) {
            self.flush().await?;
            return match self.verdict().await? {
                Some(answer) => Ok(answer),
                None => Err(Failure::garbled("it skips what is no body")),
            };
        }
        if self.out.len() >= GATHER_BYTES {
            self.flush().await?;
        }
        Ok(Answer::Continue)
    }

    /// The answer to a step; none is a wish to see no more of the body.
    async fn verdict(&mut self) -> Result<Option<Answer>, Failure> {
        loop {
            return Ok(Some(match self.reply().await? {
                Reply::Progress => continue,
                Reply::Skip => return Ok(None),
                Reply::Negotiated(_) | Reply::Change(_) => {
                    return Err(Failure::garbled("it changes the message before it has seen it"));
                }
                other => answer(other),
            }));
        }
    }

    async fn begin(
        &mut self,
        greeting: &Greeting,
        words: &[String],
        macros: &Macros,
    ) -> Result<Begun, Failure> {
        if std::mem::take(&mut self.in_message) {
            Command::Abort.write_to(&mut self.out);
        }
        if self.greeted.is_none() {
            let connect = Command::Connect { name: &greeting.name, address: greeting.address };
            match self.tell(Step::Connect, macros, &connect).await? {
                Answer::Continue => {}
                other => return Ok(Begun::Client(other)),
            }
        }
        // Said again, after STARTTLS for example, it may be another.
        if self.greeted.as_ref() != Some(greeting) {
            self.greeted = Some(greeting.clone());
            match self.tell(Step::Helo, macros, &Command::Helo(&greeting.helo)).await? {
                Answer::Continue => {}
                other => return Ok(Begun::Client(other)),
            }
        }
        self.in_message = true;
        self.tell(Step::Mail, macros, &Command::Path(Step::Mail, words)).await.map(Begun::Message)
    }

    async fn message(
        &mut self,
        draught: &Draught,
        macros: &Macros,
        room: Room<'_>,
    ) -> Result<(Answer, Vec<Change>, bool), Failure> {
        let leading_space = self.terms.has(LEADING_SPACE);
        let told = self.header_and_body(draught, macros, leading_space).await?;
        self.in_message = false;
        if told != Answer::Continue {
            // It hears no more of this one.
            Command::Abort.write_to(&mut self.out);
            return Ok((told, Vec::new(), leading_space));
        }
        macros.write_to(Step::EndOfMessage, &self.terms, &mut self.out);
        Command::EndOfMessage.write_to(&mut self.out);
        self.flush().await?;
        let mut gathered = Gathered::default();
        loop {
            match self.reply().await? {
                Reply::Progress => {}
                Reply::Change(change) => gathered.push(change, room)?,
                Reply::Negotiated(_) | Reply::Skip => {
                    return Err(Failure::garbled("it ends the message with something else"));
                }
                last => return Ok((answer(last), gathered.changes, leading_space)),
            }
        }
    }

    async fn header_and_body(
        &mut self,
        draught: &Draught,
        macros: &Macros,
        leading_space: bool,
    ) -> Result<Answer, Failure> {
        if self.terms.wants(Step::Header) {
            for raw in draught.fields() {
                let Some(field) = header::fields(raw).next() else { continue };
                let value = shown(field.value(), leading_space);
                let command = Command::Header(field.name().as_bytes(), &value);
                match self.tell(Step::Header, macros, &command).await? {
                    Answer::Continue => {}
                    other => return Ok(other),
                }
            }
        }
        match self.tell(Step::EndOfHeader, macros, &Command::EndOfHeader).await? {
            Answer::Continue => {}
            other => return Ok(other),
        }
        if !self.terms.wants(Step::Body) {
            return Ok(Answer::Continue);
        }
        for chunk in draught.chunks(CHUNK_BYTES_MAX) {
            macros.write_to(Step::Body, &self.terms, &mut self.out);
            Command::Chunk(chunk.len()).write_to(&mut self.out);
            self.line.send(&[&self.out, chunk]).await?;
            self.out.clear();
            if !self.terms.answers(Step::Body) {
                continue;
            }
            match self.verdict().await? {
                Some(Answer::Continue) => {}
                Some(other) => return Ok(other),
                None => break,
            }
        }
        Ok(Answer::Continue)
    }
}

fn answer(reply: Reply) -> Answer {
    match reply {
        Reply::Accept => Answer::Accept,
        Reply::Discard => Answer::Discard,
        Reply::Reject => Answer::Refuse(Words::new(550, (5, 7, 1), "Refused by a filter of this server")),
        Reply::Tempfail => {
            Answer::Refuse(Words::new(451, (4, 7, 1), "A filter of this server asks to try again later"))
        }
        Reply::Code(words) => Answer::Refuse(words),
        Reply::Continue | Reply::Skip | Reply::Progress | Reply::Negotiated(_) | Reply::Change(_) => {
            Answer::Continue
        }
    }
}

/// The value of a field with line feeds between its lines, without the space behind the colon unless that is wanted.
fn shown(value: &[u8], leading_space: bool) -> Vec<u8> {
    let value = if leading_space { value } else { value.strip_prefix(b" ").unwrap_or(value) };
    value.iter().copied().filter(|octet| *octet != b'\r').collect()
}
