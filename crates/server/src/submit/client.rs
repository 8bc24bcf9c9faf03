//! The client's end of a local submission: SMTP over `submit.sock`, or over a pipe within the server for the maildrop.
//!
//! Used by the `sendmail` face and by the maildrop's pick-up, so that both behave alike. Every recipient gets its own
//! answer; a refusal of one does not stop the others. RFC 5321, RFC 3461 (DSN), RFC 6152, RFC 6531.

use mail::{Notify, Reply, Ret};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};

use super::Stream;
use super::addresses::is_bare;

/// A reply line, or a whole reply, longer than this is an error (RFC 5321 §4.5.3.1.5 says 512 octets a line).
const REPLY_BYTES_MAX: usize = 64 << 10;

/// Who sends to whom, and what the sender wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Envelope {
    /// The reverse-path: an address, empty for the null one; none for the caller's own address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// The recipients; a name without a domain is somebody here.
    pub recipients: Vec<String>,
    /// NOTIFY (RFC 3461 §4.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// RET (RFC 3461 §4.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ret: Option<Ret>,
    /// ENVID (RFC 3461 §4.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sent {
    /// The reply to the message: none when it was not sent because no recipient was left.
    pub accepted: Option<Reply>,
    /// Recipients that were refused, and with which words.
    pub refused: Vec<(String, Reply)>,
    /// The message, or the sender, was refused for all.
    pub refusal: Option<Reply>,
}

/// The dialogue broke: nothing is known of the message.
#[derive(Debug, thiserror::Error)]
pub enum DialogueError {
    /// The connection failed.
    #[error("the connection to the server broke: {0}")]
    Io(#[from] std::io::Error),
    /// What came was no SMTP.
    #[error("the server spoke no SMTP: {0}")]
    Protocol(String),
}

/// A dialogue that has been greeted.
pub struct Dialogue<S: Stream> {
    stream: BufReader<S>,
    host: String,
    user: String,
}

impl<S: Stream> Dialogue<S> {
    /// Reads the greeting and says EHLO as `user`.
    ///
    /// # Errors
    /// [`DialogueError`]; a greeting other than 220 is in `Ok(Err(reply))`.
    pub async fn begin(stream: S, user: &str) -> Result<Result<Self, Reply>, DialogueError> {
        let mut this = Self { stream: BufReader::new(stream), host: String::new(), user: user.to_owned() };
        let greeting = this.reply().await?;
        if greeting.code != 220 {
            return Ok(Err(greeting));
        }
        this.host = greeting.text.split_whitespace().next().unwrap_or_default().to_owned();
        let hello = this.say(&format!("EHLO {}", this.host)).await?;
        Ok(if hello.is_positive() { Ok(this) } else { Err(hello) })
    }

    /// The server's name, from its greeting (RFC 5321 §4.2): what names without a domain get.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The address with this host's name where it has no domain.
    #[must_use]
    pub fn qualified(&self, address: &str) -> String {
        if is_bare(address) { format!("{address}@{}", self.host) } else { address.to_owned() }
    }

    /// The reverse-path: as given, or the user's own address.
    #[must_use]
    pub fn sender(&self, envelope: &Envelope) -> String {
        match envelope.sender.as_deref() {
            Some("") => String::new(),
            Some(sender) => self.qualified(sender),
            None => self.qualified(&self.user),
        }
    }

    /// Sends one message. `message` has CRLF line ends.
    ///
    /// # Errors
    /// [`DialogueError`] when the connection breaks.
    pub async fn send(&mut self, envelope: &Envelope, message: &[u8]) -> Result<Sent, DialogueError> {
        let mut sent = Sent::default();
        let mail = self.mail_command(envelope, message);
        let reply = self.say(&mail).await?;
        if !reply.is_positive() {
            sent.refusal = Some(reply);
            return Ok(sent);
        }
        let mut accepted = 0_usize;
        for recipient in &envelope.recipients {
            let reply = self.say(&self.rcpt_command(envelope, recipient)).await?;
            if reply.is_positive() { accepted += 1 } else { sent.refused.push((recipient.clone(), reply)) }
        }
        if accepted == 0 {
            self.say("RSET").await?;
            return Ok(sent);
        }
        let reply = self.say("DATA").await?;
        if reply.code != 354 {
            sent.refusal = Some(reply);
            return Ok(sent);
        }
        write_message(self.stream.get_mut(), message).await?;
        let reply = self.reply().await?;
        if reply.is_positive() {
            sent.accepted = Some(reply);
        } else {
            sent.refusal = Some(reply);
        }
        Ok(sent)
    }

    /// Says QUIT. Whether it was heard does not matter any more.
    pub async fn quit(mut self) {
        drop(self.say("QUIT").await);
    }

    fn mail_command(&self, envelope: &Envelope, message: &[u8]) -> String {
        let sender = self.sender(envelope);
        let mut line = format!("MAIL FROM:<{sender}> SIZE={}", message.len());
        // RFC 6152 §2: what has octets above 127 must be declared.
        if !message.is_ascii() {
            line.push_str(" BODY=8BITMIME");
        }
        // RFC 6531 §3.4: an address beyond ASCII, or a header that has such characters.
        let header = message.get(..mail::header::fields_end(message)).unwrap_or_default();
        if !sender.is_ascii() || envelope.recipients.iter().any(|r| !r.is_ascii()) || !header.is_ascii() {
            line.push_str(" SMTPUTF8");
        }
        match envelope.ret {
            Some(Ret::Full) => line.push_str(" RET=FULL"),
            Some(Ret::Headers) => line.push_str(" RET=HDRS"),
            None => {}
        }
        if let Some(envid) = &envelope.envid {
            line.push_str(&format!(" ENVID={}", xtext(envid)));
        }
        line
    }

    fn rcpt_command(&self, envelope: &Envelope, recipient: &str) -> String {
        let notify = envelope.notify.map(|notify| format!(" NOTIFY={notify}")).unwrap_or_default();
        format!("RCPT TO:<{}>{notify}", self.qualified(recipient))
    }

    async fn say(&mut self, line: &str) -> Result<Reply, DialogueError> {
        // A line end inside would be another command.
        let clean: String = line.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        self.stream.get_mut().write_all(format!("{clean}\r\n").as_bytes()).await?;
        self.reply().await
    }

    async fn reply(&mut self) -> Result<Reply, DialogueError> {
        read_reply(&mut self.stream).await
    }
}

/// Reads one reply, all its lines (RFC 5321 §4.2.1).
async fn read_reply(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<Reply, DialogueError> {
    let mut words: Vec<String> = Vec::new();
    let mut enhanced = None;
    let mut read = 0;
    loop {
        let mut line = Vec::new();
        let mut limited = tokio::io::AsyncReadExt::take(&mut *stream, REPLY_BYTES_MAX as u64);
        read += limited.read_until(b'\n', &mut line).await?;
        if line.last() != Some(&b'\n') || read > REPLY_BYTES_MAX {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let wrong = || DialogueError::Protocol(text.clone());
        let code: u16 = text.get(..3).and_then(|c| c.parse().ok()).ok_or_else(wrong)?;
        let rest = text.get(4..).unwrap_or_default();
        let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
        match first.parse() {
            Ok(status) => {
                enhanced = Some(status);
                words.push(after.to_owned());
            }
            Err(_) => words.push(rest.to_owned()),
        }
        if text.as_bytes().get(3) != Some(&b'-') {
            return Ok(Reply { code, enhanced, text: words.join("\n").into() });
        }
    }
}

/// Writes the message with its dots doubled, and the end of data (RFC 5321 §4.5.2).
async fn write_message(out: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> std::io::Result<()> {
    let mut stuffed = Vec::with_capacity(message.len() + message.len() / 64 + 8);
    for line in message.split_inclusive(|&b| b == b'\n') {
        if line.first() == Some(&b'.') {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    if !stuffed.is_empty() && !stuffed.ends_with(b"\r\n") {
        stuffed.extend_from_slice(b"\r\n");
    }
    stuffed.extend_from_slice(b".\r\n");
    out.write_all(&stuffed).await?;
    out.flush().await
}

/// RFC 3461 §4: `xtext`. What is not printable ASCII cannot be said in it, and becomes `?`.
fn xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '+' | '=' | ' ' => out.push_str(&format!("+{:02X}", u32::from(c))),
            c if c.is_ascii_graphic() => out.push(c),
            _ => out.push('?'),
        }
    }
    out
}
