//! The mail log: every line that Staffetta writes about mail is defined here, and nowhere else.
//!
//! One line for each session end, recipient or sender refused, verdict, message accepted, delivery attempt, report,
//! operator's order, and authentication; plus notices of the server itself. `text` uses the words that Postfix made known (`client=`,
//! `from=<>`, `to=<>`, `relay=`, `delay=`, `dsn=`, `status=`); `json` has the same fields under the same names.
//! Nothing secret can get in: no method takes a password, a body or a challenge. What peers say is cut at
//! [`VALUE_CHARS_MAX`] and stripped of control characters, and cannot forge a line.
//!
//! Lines go through a bounded buffer to one writer thread (`writer`), so that a slow terminal or pipe never holds up
//! a session: when the buffer is full, lines are dropped and counted, and the next line that fits says how many.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mail::{QueueId, Reply, ReversePath, Timestamp};
use policy::{DecidedBy, Score, VerdictRecord};
use serde::{Deserialize, Serialize};

mod line;
mod writer;

pub use line::VALUE_CHARS_MAX;
use line::{Line, Value};
use writer::Writer;

/// Form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `TIME staffetta/EVENT: QUEUEID: key=value, key=value`.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// A client as lines name it: `name[address]`, or `unknown[address]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client<'a> {
    /// Its verified name, if it has one.
    pub name: Option<&'a str>,
    /// Its canonical address; none for local callers.
    pub ip: Option<IpAddr>,
}

/// Symbols that a verdict's line names, the heaviest first; the others are counted.
pub const SYMBOLS_MAX: usize = 24;

/// A session has ended.
#[derive(Debug, Clone)]
pub struct SessionLine<'a> {
    /// Its name, as `staffetta explain` takes it.
    pub session: &'a str,
    /// Kind of the listener, such as `mx`.
    pub listener: &'a str,
    /// Who.
    pub client: Client<'a>,
    /// What it called itself.
    pub helo: Option<&'a str>,
    /// The authenticated account, or local user.
    pub account: Option<&'a str>,
    /// TLS version and cipher, such as `TLSv1.3 TLS_AES_256_GCM_SHA384`.
    pub tls: Option<&'a str>,
    /// Commands received.
    pub commands: u64,
    /// Messages accepted.
    pub messages: u64,
    /// Recipients accepted.
    pub recipients: u64,
    /// Octets of accepted messages.
    pub bytes: u64,
    /// Commands that were answered with 5xx.
    pub errors: u64,
    /// How it ended, such as `quit`, `lost`, `timed_out`.
    pub end: &'a str,
    /// How long it lasted.
    pub lasted: Duration,
}

/// A sender, recipient or message was refused.
#[derive(Debug, Clone)]
pub struct RefusedLine<'a> {
    /// The session's name.
    pub session: &'a str,
    /// Where: `connect`, `helo`, `mail`, `rcpt`, `data`.
    pub stage: &'a str,
    /// Kind of the listener.
    pub listener: &'a str,
    /// Who.
    pub client: Client<'a>,
    /// What it called itself.
    pub helo: Option<&'a str>,
    /// MAIL FROM, once known.
    pub from: Option<&'a ReversePath>,
    /// The recipient at RCPT, as it was written.
    pub to: Option<&'a str>,
    /// What it was told.
    pub reply: &'a Reply,
}

/// The judge has decided about a recipient that is refused, or about a message.
#[derive(Debug, Clone)]
pub struct VerdictLine<'a> {
    /// The message, when there is one.
    pub id: Option<QueueId>,
    /// What was decided, and why.
    pub record: &'a VerdictRecord,
    /// From which score on a message is marked.
    pub required: Score,
}

/// A message is in the queue.
#[derive(Debug, Clone)]
pub struct AcceptedLine<'a> {
    /// Its name.
    pub id: QueueId,
    /// Kind of the listener; `report` for our own.
    pub listener: &'a str,
    /// Who sent it.
    pub client: Client<'a>,
    /// What it called itself.
    pub helo: Option<&'a str>,
    /// The authenticated account, or local user.
    pub account: Option<&'a str>,
    /// TLS version and cipher.
    pub tls: Option<&'a str>,
    /// MAIL FROM.
    pub from: &'a ReversePath,
    /// Recipients after aliases.
    pub recipients: usize,
    /// Octets as received.
    pub size: u64,
    /// The Message-ID, without angle brackets.
    pub message_id: Option<&'a str>,
}

/// An attempt ended for one recipient.
#[derive(Debug, Clone)]
pub struct DeliveryLine<'a> {
    /// The message.
    pub id: QueueId,
    /// The final recipient.
    pub to: &'a str,
    /// What RCPT said, when that was another.
    pub accepted_as: Option<&'a str>,
    /// Which agent: `maildir`, `lmtp`, `smtp`.
    pub agent: &'a str,
    /// The peer, such as `mx.a.test[192.0.2.1]:25`; none where no peer was reached.
    pub relay: Option<&'a str>,
    /// Since the message was accepted.
    pub delay: Duration,
    /// What became of it.
    pub result: queue::DeliveryResult,
    /// The peer's reply verbatim, or our own words.
    pub reply: &'a Reply,
}

/// A report (RFC 3464) was made, or nobody may be told.
#[derive(Debug, Clone)]
pub struct ReportLine<'a> {
    /// The message that it is about.
    pub id: QueueId,
    /// `failed`, `delayed`, `delivered` or `relayed`.
    pub kind: &'a str,
    /// To whom; the null reverse-path when suppressed for that.
    pub to: &'a ReversePath,
    /// The report's own queue id.
    pub report: Option<QueueId>,
    /// Why there is none, in a word or two.
    pub suppressed: Option<&'a str>,
}

/// An authentication ended.
#[derive(Debug, Clone)]
pub struct AuthLine<'a> {
    /// Who.
    pub client: Client<'a>,
    /// Kind of the listener.
    pub listener: &'a str,
    /// Such as `PLAIN`.
    pub mechanism: &'a str,
    /// The account. For a failure give only names of accounts that exist: people type passwords into the name's field.
    pub account: Option<&'a str>,
    /// `success`, `failure`, `busy`, `blocked` or `broken`.
    pub result: &'a str,
}

/// An operator, or its age, did something to a message.
#[derive(Debug, Clone)]
pub struct SteeredLine<'a> {
    /// The message.
    pub id: QueueId,
    /// `hold`, `release`, `retry`, `delete`; `expire` for what was in quarantine for too long.
    pub order: &'a str,
    /// Its sender.
    pub from: &'a ReversePath,
    /// Recipients that were still waiting.
    pub waiting: usize,
}

/// How grave a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the record.
    Info,
    /// Should be looked at.
    Warning,
    /// Does not work.
    Error,
}

/// How the log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Form of a line.
    pub format: Format,
    /// Lines that wait to be written take at most so many octets; further ones are dropped and counted.
    pub buffer_bytes_max: usize,
    /// Lines are collected for so long before they are written together.
    pub linger: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { format: Format::Text, buffer_bytes_max: 4 << 20, linger: Duration::from_millis(10) }
    }
}

/// The log. Clones write to the same one.
#[derive(Debug, Clone)]
pub struct MailLog {
    format: Format,
    clock: fn() -> Timestamp,
    writer: Arc<Writer>,
}

impl MailLog {
    /// Starts the writer thread over `sink`, normally standard output. `clock` gives the time of a line.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        settings: Settings,
        clock: fn() -> Timestamp,
        sink: Box<dyn std::io::Write + Send>,
    ) -> std::io::Result<Self> {
        let writer = Arc::new(Writer::start(settings.buffer_bytes_max, settings.linger, sink)?);
        Ok(Self { format: settings.format, clock, writer })
    }

    /// A session has ended.
    pub fn session(&self, s: &SessionLine<'_>) {
        let mut line = self.line("session", None);
        line.add("session", Value::Word(s.session));
        line.add("listener", Value::Word(s.listener));
        line.add("client", Value::Client(s.client));
        line.some("helo", s.helo.map(Value::Path));
        line.some("account", s.account.map(Value::Text));
        line.some("tls", s.tls.map(Value::Text));
        line.add("commands", Value::Number(s.commands));
        line.add("messages", Value::Number(s.messages));
        line.add("nrcpt", Value::Number(s.recipients));
        line.add("size", Value::Number(s.bytes));
        line.add("errors", Value::Number(s.errors));
        line.add("end", Value::Word(s.end));
        line.add("seconds", Value::Seconds(s.lasted));
        self.put(line);
    }

    /// A sender, recipient or message was refused.
    pub fn refused(&self, r: &RefusedLine<'_>) {
        let mut line = self.line("refuse", None);
        line.add("session", Value::Word(r.session));
        line.add("stage", Value::Word(r.stage));
        line.add("listener", Value::Word(r.listener));
        line.add("client", Value::Client(r.client));
        line.some("helo", r.helo.map(Value::Path));
        let from = r.from.map(ToString::to_string);
        line.some("from", from.as_deref().map(Value::Path));
        line.some("to", r.to.map(Value::Path));
        line.add("reply", Value::Reply(r.reply));
        self.put(line);
    }

    /// The judge has decided. `staffetta explain` tells more, under the name that `session=` gives.
    pub fn verdict(&self, v: &VerdictLine<'_>) {
        let (record, about) = (v.record, &v.record.about);
        let mut line = self.line("verdict", v.id);
        line.add("session", Value::Word(&about.session));
        let client = Client { name: about.client_name.as_deref(), ip: Some(about.client) };
        line.add("client", Value::Client(client));
        line.some("from", about.sender.as_deref().map(Value::Path));
        match record.recipients.as_slice() {
            [one] => line.add("to", Value::Path(&one.address)),
            several => line.add("nrcpt", Value::Number(several.len() as u64)),
        }
        line.add("stage", Value::Word(about.stage.as_str()));
        line.add("action", Value::Word(record.action.as_str()));
        line.add("score", Value::Word(&record.points.total.to_string()));
        line.add("required", Value::Word(&v.required.to_string()));
        line.add("symbols", Value::Word(&symbols(record)));
        line.some("decided", decided(&record.decided).as_deref().map(Value::Text));
        self.put(line);
    }

    /// A message is in the queue.
    pub fn accepted(&self, a: &AcceptedLine<'_>) {
        let mut line = self.line("accept", Some(a.id));
        line.add("listener", Value::Word(a.listener));
        line.add("client", Value::Client(a.client));
        line.some("helo", a.helo.map(Value::Path));
        line.some("account", a.account.map(Value::Text));
        line.some("tls", a.tls.map(Value::Text));
        line.some("message-id", a.message_id.map(Value::Path));
        line.add("from", Value::Path(&a.from.to_string()));
        line.add("size", Value::Number(a.size));
        line.add("nrcpt", Value::Number(u64::try_from(a.recipients).unwrap_or(u64::MAX)));
        self.put(line);
    }

    /// An attempt ended for one recipient.
    pub fn delivery(&self, d: &DeliveryLine<'_>) {
        let mut line = self.line("deliver", Some(d.id));
        line.add("to", Value::Path(d.to));
        line.some("orig_to", d.accepted_as.map(Value::Path));
        line.add("agent", Value::Word(d.agent));
        line.add("relay", Value::Text(d.relay.unwrap_or("none")));
        line.add("delay", Value::Seconds(d.delay));
        let dsn = d.reply.enhanced.map(|e| e.to_string());
        line.some("dsn", dsn.as_deref().map(Value::Word));
        line.add("status", Value::Word(status(d.result)));
        line.add("reply", Value::Reply(d.reply));
        self.put(line);
    }

    /// A report was made, or nobody may be told.
    pub fn report(&self, r: &ReportLine<'_>) {
        let mut line = self.line("report", Some(r.id));
        line.add("kind", Value::Word(r.kind));
        line.add("to", Value::Path(&r.to.to_string()));
        let report = r.report.map(|id| id.to_string());
        line.some("report", report.as_deref().map(Value::Word));
        line.some("suppressed", r.suppressed.map(Value::Text));
        self.put(line);
    }

    /// An authentication ended.
    pub fn auth(&self, a: &AuthLine<'_>) {
        let mut line = self.line("auth", None);
        line.add("listener", Value::Word(a.listener));
        line.add("client", Value::Client(a.client));
        line.add("sasl_method", Value::Word(a.mechanism));
        line.some("account", a.account.map(Value::Text));
        line.add("result", Value::Word(a.result));
        self.put(line);
    }

    /// An operator did something to a message. What is deleted ends with this line and no other (I2).
    pub fn steered(&self, s: &SteeredLine<'_>) {
        self.order("operator", s);
    }

    /// A recipient has had its copy of a message released.
    pub fn released(&self, s: &SteeredLine<'_>) {
        self.order("recipient", s);
    }

    /// A message has been in quarantine for too long. It ends with this line and no other (I2).
    pub fn aged_out(&self, s: &SteeredLine<'_>) {
        self.order("quarantine", s);
    }

    /// Something about the server itself.
    pub fn notice(&self, level: Level, text: &str) {
        let mut line = self.line("notice", None);
        let level = match level {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        line.add("level", Value::Word(level));
        line.add("text", Value::Sentence(text));
        self.put(line);
    }

    /// How many lines were dropped so far.
    #[must_use]
    pub fn lines_lost(&self) -> u64 {
        self.writer.lost()
    }

    /// Waits until all lines so far are written, or could not be. Blocks: for the end of the process and for tests.
    pub fn flush(&self) {
        self.writer.flush();
    }

    fn order(&self, event: &'static str, s: &SteeredLine<'_>) {
        let mut line = self.line(event, Some(s.id));
        line.add("order", Value::Word(s.order));
        line.add("from", Value::Path(&s.from.to_string()));
        line.add("nrcpt", Value::Number(u64::try_from(s.waiting).unwrap_or(u64::MAX)));
        self.put(line);
    }

    fn line(&self, event: &'static str, id: Option<QueueId>) -> Line {
        Line::new(self.format, (self.clock)(), event, id)
    }

    fn put(&self, line: Line) {
        self.writer.put(&line.finish());
    }
}

/// `ZEN_SBL(4.0),SPF_FAIL(2.5)`: names that are ours, and numbers. `none` where there are none.
fn symbols(record: &VerdictRecord) -> String {
    let lines = &record.points.lines;
    let mut named: Vec<String> =
        lines.iter().take(SYMBOLS_MAX).map(|line| format!("{}({})", line.symbol, line.points)).collect();
    if lines.len() > SYMBOLS_MAX {
        named.push(format!("+{}", lines.len() - SYMBOLS_MAX));
    }
    if named.is_empty() { "none".to_owned() } else { named.join(",") }
}

/// The line of the configuration, or the check, that decided.
fn decided(by: &DecidedBy) -> Option<String> {
    Some(match by {
        DecidedBy::Nothing => return None,
        DecidedBy::Threshold { key, .. } | DecidedBy::Mode { key, .. } => key.clone(),
        DecidedBy::GreylistAlways => "antispam.greylist.mode".to_owned(),
        DecidedBy::Ruling { source, key, .. } if key.is_empty() => source.to_string(),
        DecidedBy::Ruling { source, key, .. } => format!("{source} {key}"),
        DecidedBy::Unfinished { check } => format!("unfinished {check}"),
    })
}

/// Postfix's word for what became of a recipient.
fn status(result: queue::DeliveryResult) -> &'static str {
    use queue::DeliveryResult as R;
    match result {
        R::Delivered | R::Relayed | R::RelayedWithDsn => "sent",
        R::Deferred(_) => "deferred",
        R::Failed => "bounced",
        R::Discarded => "discarded",
    }
}

#[cfg(test)]
mod tests;
