//! The milter protocol on the wire, version 6 as Sendmail's libmilter has it: commands to octets, octets to answers.
//!
//! Pure: no socket and no clock. A frame is a length of four octets, one letter and data. Nothing is ever set aside for a
//! length that is only announced, so that memory grows with what has come and no further than [`FRAME_BYTES_MAX`] and one
//! read. What cannot be is an error, after which nothing more is read from who said it.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use mail::{EnhancedStatus, Reply as Words};

/// Octets of one frame from a milter: the largest packets that the protocol knows.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Octets of one chunk of a body.
pub const CHUNK_BYTES_MAX: usize = 65_535;
/// The version that is spoken.
const VERSION: u32 = 6;
/// The oldest that is understood.
const VERSION_MIN: u32 = 2;
/// Characters of a reason that are kept.
const REASON_CHARS_MAX: usize = 200;
/// Octets of a reply's words that are kept.
const WORDS_BYTES_MAX: usize = 2_000;

/// What a milter may do to a message: the flags `SMFIF_*`. All of them are granted.
pub const ACTIONS: u32 = 0x1ff;
/// All flags `SMFIP_*` of version 6: what a milter may ask not to be sent or to answer, and more.
pub const STEPS: u32 = 0x001f_ffff;

/// It understands being told which rejected recipients there were.
pub const REJECTED_RECIPIENTS: u32 = 0x0800;
/// Values of fields keep the white space that follows their colon.
pub const LEADING_SPACE: u32 = 0x0010_0000;

/// What is told to a milter, in the order of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Who has connected.
    Connect,
    /// HELO.
    Helo,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// A field of the header.
    Header,
    /// The end of the header.
    EndOfHeader,
    /// A chunk of the body.
    Body,
    /// The end of the message. Never left out, and always answered.
    EndOfMessage,
    /// A command that we do not know; anywhere between the others.
    Unknown,
}

impl Step {
    /// Its letter.
    #[must_use]
    pub const fn letter(self) -> u8 {
        match self {
            Self::Connect => b'C',
            Self::Helo => b'H',
            Self::Mail => b'M',
            Self::Rcpt => b'R',
            Self::Data => b'T',
            Self::Header => b'L',
            Self::EndOfHeader => b'N',
            Self::Body => b'B',
            Self::EndOfMessage => b'E',
            Self::Unknown => b'U',
        }
    }

    /// The flags by which a milter does not want it, and does not answer it.
    const fn flags(self) -> (u32, u32) {
        match self {
            Self::Connect => (0x0001, 0x1000),
            Self::Helo => (0x0002, 0x2000),
            Self::Mail => (0x0004, 0x4000),
            Self::Rcpt => (0x0008, 0x8000),
            Self::Body => (0x0010, 0x0008_0000),
            Self::Header => (0x0020, 0x0080),
            Self::EndOfHeader => (0x0040, 0x0004_0000),
            Self::Data => (0x0200, 0x0001_0000),
            Self::Unknown => (0x0100, 0x0002_0000),
            Self::EndOfMessage => (0, 0),
        }
    }

    /// Its number in lists of macros that a milter asks for; none where it has no list of its own.
    const fn list(self) -> Option<usize> {
        match self {
            Self::Connect => Some(0),
            Self::Helo => Some(1),
            Self::Mail => Some(2),
            Self::Rcpt => Some(3),
            Self::Data => Some(4),
            Self::EndOfMessage => Some(5),
            Self::EndOfHeader => Some(6),
            Self::Header | Self::Body | Self::Unknown => None,
        }
    }
}

/// Lists of macros there are.
const LISTS: usize = 7;
/// Names of one list that are read.
const LIST_NAMES_MAX: usize = 64;

/// What was agreed on with a milter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    steps: u32,
    lists: [Option<Vec<String>>; LISTS],
}

impl Terms {
    /// It wants to be told of this.
    #[must_use]
    pub const fn wants(&self, step: Step) -> bool {
        self.steps & step.flags().0 == 0
    }

    /// It answers when it is told of this.
    #[must_use]
    pub const fn answers(&self, step: Step) -> bool {
        self.steps & step.flags().1 == 0
    }

    /// It has this flag of the protocol.
    #[must_use]
    pub const fn has(&self, flag: u32) -> bool {
        self.steps & flag != 0
    }

    /// The macros that it has asked for at this step, without braces; none: those that are always sent.
    #[must_use]
    pub fn list(&self, step: Step) -> Option<&[String]> {
        self.lists.get(step.list()?)?.as_deref()
    }

    /// What a milter answers to an offer.
    fn read(data: &[u8]) -> Result<Self, Garbled> {
        let mut data = data;
        let (version, actions, steps) = (number(&mut data)?, number(&mut data)?, number(&mut data)?);
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Err(garbled(format!("it speaks version {version} of the protocol")));
        }
        if actions & !ACTIONS != 0 || steps & !STEPS != 0 {
            return Err(garbled("it wants what was not offered"));
        }
        // Earlier versions know nothing of these, and so could not say that they do not want them.
        let unknown_to =
            |version_min: u32, step: Step| if version < version_min { step.flags().0 } else { 0 };
        let steps = steps | unknown_to(3, Step::Unknown) | unknown_to(4, Step::Data);
        let mut terms = Self { steps, ..Self::default() };
        while !data.is_empty() {
            let place = usize::try_from(number(&mut data)?).unwrap_or(usize::MAX);
            let names = string(&mut data)?;
            // Stages of later versions are none of ours.
            if let Some(list) = terms.lists.get_mut(place) {
                let names = names.split([' ', ',', '\t']).filter(|name| !name.is_empty());
                *list = Some(names.take(LIST_NAMES_MAX).map(|name| bare(name).to_owned()).collect());
            }
        }
        Ok(terms)
    }
}

/// The name of a macro without its braces.
#[must_use]
pub fn bare(name: &str) -> &str {
    name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name)
}

/// What is said to a milter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// The offer that begins a connection.
    Negotiate,
    /// Macros for the step that follows: names without braces, and values.
    Macros(Step, &'a [(&'a str, &'a str)]),
    /// A client: its name, and its address with port when it has one.
    Connect {
        /// Its name, or its address in brackets.
        name: &'a str,
        /// None for who has no address.
        address: Option<(std::net::IpAddr, u16)>,
    },
    /// HELO, or EHLO.
    Helo(&'a str),
    /// MAIL or RCPT: the path with its brackets, then the parameters.
    Path(Step, &'a [String]),
    /// DATA.
    Data,
    /// A field: its name, and its value with line feeds between its lines.
    Header(&'a [u8], &'a [u8]),
    /// The end of the header.
    EndOfHeader,
    /// The beginning of a chunk of so many octets, at most [`CHUNK_BYTES_MAX`]: they follow as they are.
    Chunk(usize),
    /// The end of the message.
    EndOfMessage,
    /// A command that we do not know, as it was said.
    Unknown(&'a str),
    /// The message will not be completed; another may follow.
    Abort,
    /// The connection ends.
    Quit,
}

impl Command<'_> {
    /// Writes its octets behind what is there.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        let mut following = 0;
        match self {
            Self::Negotiate => {
                out.push(b'O');
                for number in [VERSION, ACTIONS, STEPS] {
                    out.extend_from_slice(&number.to_be_bytes());
                }
            }
            Self::Macros(step, pairs) => {
                out.extend_from_slice(&[b'D', step.letter()]);
                for (name, value) in *pairs {
                    // Single letters stand bare, as every MTA sends them.
                    let name = if name.len() == 1 { (*name).to_owned() } else { format!("{{{name}}}") };
                    put(out, name.as_bytes());
                    put(out, value.as_bytes());
                }
            }
            Self::Connect { name, address } => connect(out, name, *address),
            Self::Helo(name) => {
                out.push(b'H');
                put(out, name.as_bytes());
            }
            Self::Path(step, words) => {
                out.push(step.letter());
                words.iter().for_each(|word| put(out, word.as_bytes()));
            }
            Self::Header(name, value) => {
                out.push(b'L');
                put(out, name);
                put(out, value);
            }
            Self::Chunk(octets) => {
                out.push(b'B');
                following = *octets;
            }
            Self::Unknown(line) => {
                out.push(b'U');
                put(out, line.as_bytes());
            }
            Self::Data => out.push(b'T'),
            Self::EndOfHeader => out.push(b'N'),
            Self::EndOfMessage => out.push(b'E'),
            Self::Abort => out.push(b'A'),
            Self::Quit => out.push(b'Q'),
        }
        let length = u32::try_from(out.len() - start - 4 + following).unwrap_or(u32::MAX);
        if let Some(place) = out.get_mut(start..start + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }
}

fn connect(out: &mut Vec<u8>, name: &str, address: Option<(std::net::IpAddr, u16)>) {
    out.push(b'C');
    put(out, name.as_bytes());
    let Some((ip, port)) = address else {
        out.push(b'U');
        return;
    };
    out.push(if ip.is_ipv4() { b'4' } else { b'6' });
    out.extend_from_slice(&port.to_be_bytes());
    put(out, ip.to_string().as_bytes());
}

/// A string; the octet that ends strings cannot be in one.
fn put(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().map(|octet| if *octet == 0 { b'?' } else { *octet }));
    out.push(0);
}

/// What a milter says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// What it wants of what was offered.
    Negotiated(Box<Terms>),
    /// Go on.
    Continue,
    /// Take it, and ask me no more about it.
    Accept,
    /// Refuse it.
    Reject,
    /// Refuse it for now.
    Tempfail,
    /// Take it and throw it away.
    Discard,
    /// No more of the body.
    Skip,
    /// I am still at work.
    Progress,
    /// Refuse it in these words: 4xx or 5xx.
    Code(Words),
    /// Change something.
    Change(Change),
}

/// A change that a milter wants made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Put a field behind all others.
    AddHeader(Field),
    /// Put a field before the one that has so many before it, our own Received being the first.
    InsertHeader(u32, Field),
    /// Put this in the place of the so many'th field of its name, from 1; without a value, take that out.
    ChangeHeader(u32, Field),
    /// Another piece of a body that takes the place of the one there is.
    Body(Bytes),
    /// One more recipient: path, and parameters as in RCPT.
    AddRecipient(String, String),
    /// One recipient less.
    DeleteRecipient(String),
    /// Another sender: path, and parameters as in MAIL.
    Sender(String, String),
    /// Keep it until an operator releases it.
    Quarantine(String),
}

/// A field as a milter writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name: printable ASCII without a colon.
    pub name: String,
    /// Its value, lines parted by line feeds or CRLF.
    pub value: Vec<u8>,
}

/// What a milter says is none of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbled(pub String);

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn garbled(why: impl Into<String>) -> Garbled {
    Garbled(why.into())
}

/// What comes from a milter, put together to replies.
#[derive(Debug, Default)]
pub struct Replies {
    buffer: BytesMut,
}

impl Replies {
    /// Octets that have come.
    pub fn feed(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Octets that are kept.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// The next reply, when all of it is there.
    ///
    /// # Errors
    /// [`Garbled`].
    pub fn poll(&mut self) -> Result<Option<Reply>, Garbled> {
        let Some(length) = self.buffer.get(..4) else { return Ok(None) };
        let length = number(&mut &*length).map(|length| usize::try_from(length).unwrap_or(usize::MAX))?;
        if length == 0 || length > FRAME_BYTES_MAX {
            return Err(garbled(format!("a frame of {length} octets")));
        }
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        self.buffer.advance(4);
        let mut frame = self.buffer.split_to(length).freeze();
        let letter = frame.get_u8();
        read(letter, frame).map(Some)
    }
}

fn read(letter: u8, data: Bytes) -> Result<Reply, Garbled> {
    let mut rest: &[u8] = &data;
    let reply = match letter {
        b'O' => return Terms::read(rest).map(|terms| Reply::Negotiated(Box::new(terms))),
        b'c' => Reply::Continue,
        b'a' => Reply::Accept,
        b'r' => Reply::Reject,
        // A milter that ends, or that wants the connection dropped, refuses for now: who sends comes back.
        b't' | b'4' | b'f' => Reply::Tempfail,
        b'd' => Reply::Discard,
        b's' => Reply::Skip,
        b'p' => Reply::Progress,
        b'y' => return code(rest).map(Reply::Code),
        b'b' => Reply::Change(Change::Body(data)),
        b'h' => Reply::Change(Change::AddHeader(field(&mut rest)?)),
        b'i' => {
            let before = number(&mut rest)?;
            Reply::Change(Change::InsertHeader(before, field(&mut rest)?))
        }
        b'm' => {
            let occurrence = number(&mut rest)?;
            Reply::Change(Change::ChangeHeader(occurrence, field(&mut rest)?))
        }
        b'+' => Reply::Change(Change::AddRecipient(string(&mut rest)?, String::new())),
        b'2' => Reply::Change(Change::AddRecipient(string(&mut rest)?, optional(&mut rest)?)),
        b'-' => Reply::Change(Change::DeleteRecipient(string(&mut rest)?)),
        b'e' => Reply::Change(Change::Sender(string(&mut rest)?, optional(&mut rest)?)),
        b'q' => {
            let reason = optional(&mut rest)?;
            Reply::Change(Change::Quarantine(reason.chars().take(REASON_CHARS_MAX).collect()))
        }
        other => return Err(garbled(format!("the answer {:?}", char::from(other)))),
    };
    Ok(reply)
}

fn number(data: &mut &[u8]) -> Result<u32, Garbled> {
    let (octets, rest) = data.split_first_chunk().ok_or_else(|| garbled("a number is cut off"))?;
    *data = rest;
    Ok(u32::from_be_bytes(*octets))
}

/// The octets before the next end of a string.
fn octets<'a>(data: &mut &'a [u8]) -> Result<&'a [u8], Garbled> {
    let end = memchr::memchr(0, data).ok_or_else(|| garbled("a string has no end"))?;
    let (text, rest) = data.split_at_checked(end).unwrap_or_default();
    *data = rest.get(1..).unwrap_or_default();
    Ok(text)
}

fn string(data: &mut &[u8]) -> Result<String, Garbled> {
    octets(data).map(|text| String::from_utf8_lossy(text).into_owned())
}

fn optional(data: &mut &[u8]) -> Result<String, Garbled> {
    if data.is_empty() { Ok(String::new()) } else { string(data) }
}

fn field(data: &mut &[u8]) -> Result<Field, Garbled> {
    let name = octets(data)?;
    // RFC 5322 §2.2.
    if name.is_empty() || !name.iter().all(|octet| octet.is_ascii_graphic() && *octet != b':') {
        return Err(garbled("a field without a name that can be one"));
    }
    let name = String::from_utf8_lossy(name).into_owned();
    Ok(Field { name, value: octets(data)?.to_vec() })
}

/// `550 5.7.1 words`, of several lines perhaps, each `%` of the words doubled.
fn code(data: &[u8]) -> Result<Words, Garbled> {
    let text = data.strip_suffix(b"\0").unwrap_or(data);
    let text = String::from_utf8_lossy(text.get(..WORDS_BYTES_MAX).unwrap_or(text)).replace("%%", "%");
    let wrong = || garbled(format!("the reply `{}`", text.chars().take(40).collect::<String>()));
    let code: u16 = text.get(..3).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    if !(400..600).contains(&code) {
        return Err(wrong());
    }
    let mut enhanced = None;
    let mut lines = Vec::new();
    for line in text.split(['\r', '\n']).filter(|line| !line.is_empty()) {
        // Each line of several has the code again.
        let digits = line.get(..3).and_then(|digits| digits.parse::<u16>().ok()) == Some(code);
        let words = if digits { line.get(3..).unwrap_or_default() } else { line };
        let words = words.strip_prefix(['-', ' ']).unwrap_or(words).trim();
        let (first, rest) = words.split_once(' ').unwrap_or((words, ""));
        match first.parse::<EnhancedStatus>() {
            // RFC 2034 §4: of the same class as the code.
            Ok(status) if u16::from(status.0) == code / 100 => {
                enhanced = Some(status);
                lines.push(rest.to_owned());
            }
            _ => lines.push(words.to_owned()),
        }
    }
    let words = lines.join("\n");
    let words = if words.trim().is_empty() { "Refused by a filter".to_owned() } else { words };
    Ok(Words { code, enhanced, text: words.into() })
}

#[cfg(test)]
mod tests;
