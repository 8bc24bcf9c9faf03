//! One log line: fields in order, written as text or as JSON. Bounds and cleans every value that a peer has chosen.

use std::fmt::Write as _;
use std::time::Duration;

use mail::{QueueId, Reply, Timestamp};

use super::{Client, Format};

/// A value is cut after so many characters.
pub const VALUE_CHARS_MAX: usize = 512;

/// A value of a field.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    /// One of our own words.
    Word(&'a str),
    /// Someone else's words. Commas become blanks in text, so that they cannot look like the next field.
    Text(&'a str),
    /// An address, a host's or a message's name: in angle brackets.
    Path(&'a str),
    /// The rest of the line: must be the last field.
    Sentence(&'a str),
    /// A reply: must be the last field; in parentheses, as Postfix does it.
    Reply(&'a Reply),
    /// A number.
    Number(u64),
    /// A duration, in seconds with three decimals.
    Seconds(Duration),
    /// `name[address]`.
    Client(Client<'a>),
}

/// A line being made.
pub(super) struct Line {
    format: Format,
    out: String,
    first: bool,
}

impl Line {
    pub(super) fn new(format: Format, at: Timestamp, event: &'static str, id: Option<QueueId>) -> Self {
        let mut out = String::with_capacity(256);
        // Writing to a String cannot fail.
        let _ = match (format, id) {
            (Format::Text, None) => write!(out, "{at} staffetta/{event}: "),
            (Format::Text, Some(id)) => write!(out, "{at} staffetta/{event}: {id}: "),
            (Format::Json, None) => write!(out, r#"{{"time":"{at}","event":"{event}""#),
            (Format::Json, Some(id)) => write!(out, r#"{{"time":"{at}","event":"{event}","queue_id":"{id}""#),
        };
        Self { format, out, first: true }
    }

    /// Adds a field.
    pub(super) fn add(&mut self, key: &str, value: Value<'_>) {
        match self.format {
            Format::Text => self.add_text(key, value),
            Format::Json => self.add_json(key, value),
        }
        self.first = false;
    }

    /// Adds a field, if there is a value.
    pub(super) fn some(&mut self, key: &str, value: Option<Value<'_>>) {
        if let Some(value) = value {
            self.add(key, value);
        }
    }

    /// The line with its line end.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out.push_str(if self.format == Format::Json { "}\n" } else { "\n" });
        self.out.into_bytes()
    }

    fn add_text(&mut self, key: &str, value: Value<'_>) {
        match value {
            // As in Postfix: `status=sent (250 2.0.0 Ok)`. Where nothing precedes, the key is needed.
            Value::Reply(reply) if key == "reply" => {
                self.out.push_str(" (");
                push_clean(&mut self.out, &reply.to_string(), &[]);
                self.out.push(')');
                return;
            }
            Value::Sentence(text) => {
                self.separate();
                push_clean(&mut self.out, text, &[]);
                return;
            }
            _ => {}
        }
        self.separate();
        self.out.push_str(key);
        self.out.push('=');
        match value {
            Value::Word(word) => self.out.push_str(word),
            Value::Text(text) => push_clean(&mut self.out, text, &[',', '=']),
            Value::Path(text) => {
                self.out.push('<');
                push_clean(&mut self.out, text, &['<', '>']);
                self.out.push('>');
            }
            Value::Number(number) => drop(write!(self.out, "{number}")),
            Value::Seconds(duration) => drop(write!(self.out, "{:.3}", duration.as_secs_f64())),
            Value::Client(client) => self.push_client(client),
            Value::Reply(_) | Value::Sentence(_) => {}
        }
    }

    fn add_json(&mut self, key: &str, value: Value<'_>) {
        let _ = write!(self.out, r#","{key}":"#);
        match value {
            Value::Word(text) | Value::Text(text) | Value::Path(text) | Value::Sentence(text) => {
                push_json(&mut self.out, text);
            }
            Value::Reply(reply) => push_json(&mut self.out, &reply.to_string()),
            Value::Number(number) => drop(write!(self.out, "{number}")),
            Value::Seconds(duration) => drop(write!(self.out, "{:.3}", duration.as_secs_f64())),
            Value::Client(client) => {
                let ip = client.ip.map(|ip| ip.to_string());
                push_json(&mut self.out, ip.as_deref().unwrap_or("local"));
                if let Some(name) = client.name {
                    self.out.push_str(r#","client_name":"#);
                    push_json(&mut self.out, name);
                }
            }
        }
    }

    fn separate(&mut self) {
        if !self.first {
            self.out.push_str(", ");
        }
    }

    fn push_client(&mut self, client: Client<'_>) {
        let Some(ip) = client.ip else { return self.out.push_str("local") };
        push_clean(&mut self.out, client.name.unwrap_or("unknown"), &['[', ']', ',', '=', ' ']);
        let _ = write!(self.out, "[{ip}]");
    }
}

/// Appends `text`, cut at [`VALUE_CHARS_MAX`], with controls and the `unwanted` characters as `?`.
fn push_clean(out: &mut String, text: &str, unwanted: &[char]) {
    let mut chars = text.chars();
    out.extend(
        chars
            .by_ref()
            .take(VALUE_CHARS_MAX)
            .map(|c| if is_unsafe(c) || unwanted.contains(&c) { '?' } else { c }),
    );
    if chars.next().is_some() {
        out.push_str("...");
    }
}

/// Appends a JSON string, cut and cleaned alike.
fn push_json(out: &mut String, text: &str) {
    let mut clean = String::new();
    push_clean(&mut clean, text, &[]);
    out.push_str(&serde_json::Value::String(clean).to_string());
}

/// Controls, and the marks that turn the direction of writing: both would let a peer disguise a line on a terminal.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
