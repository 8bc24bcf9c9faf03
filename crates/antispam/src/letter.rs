//! One bounded look at a message, which all checks of contents share: its parts, what people read in them, its links.
//!
//! Parts are found as MIME has them (RFC 2045 to 2047, 2231), and tolerantly: what is broken is a [`Fault`] and never an
//! error. Transfer encodings and charsets are decoded, HTML becomes what a reader sees ([`html`]). Never follows a link,
//! never unpacks an archive, never changes an octet. All work is counted in [`Letter::units`] and bounded by the limits
//! below; what lies behind one of them is not looked at, and that is a fault too. It is read once for each message and on
//! the threads of [`crate::work`], unless it is short.

mod decode;
pub mod html;
pub mod links;
#[cfg(test)]
mod tests;
mod walk;

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use policy::{Content, MessageFacts};

use crate::work;
pub use html::Html;
pub use links::Link;

/// Parts of a message.
pub const PARTS_MAX: usize = 1_000;
/// Parts within parts.
pub const DEPTH_MAX: usize = 32;
/// Octets of text that are decoded, in all parts together.
pub const TEXT_BYTES_MAX: usize = 512 << 10;
/// Octets that are read of a message that is not in memory.
pub const FILE_BYTES_MAX: u64 = 64 << 20;
/// Longest name of a part, in characters.
pub const NAME_CHARS_MAX: usize = 255;
/// Longest field of a part that is read, in octets; RFC 2231 parts names over several lines.
const FIELD_BYTES_MAX: usize = 8 << 10;

/// What is wrong with a message, or with our view of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Parts lie deeper than [`DEPTH_MAX`].
    TooDeep,
    /// There are more parts than [`PARTS_MAX`].
    TooManyParts,
    /// There is more text than [`TEXT_BYTES_MAX`].
    TextCut,
    /// There are more links than are looked at.
    LinksCut,
    /// A multipart names no boundary, or an impossible one.
    NoBoundary,
    /// The boundary that was named never comes.
    NoParts,
    /// A multipart is not ended.
    Unclosed,
    /// A field that may be there once is there twice in a part: readers differ in which one they believe.
    FieldTwice,
    /// A multipart or an attached message is encoded as a whole, which RFC 2045 §6.4 forbids.
    EncodedParts,
    /// What should be base64 is not.
    BadBase64,
    /// The transfer encoding is none that there is.
    UnknownEncoding,
    /// There are NUL octets in text.
    Nul,
}

/// How octets of a part are encoded (RFC 2045 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// As they are.
    #[default]
    None,
    /// `quoted-printable`.
    QuotedPrintable,
    /// `base64`.
    Base64,
}

/// What people read in a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// Plain text.
    Plain(String),
    /// HTML: as it was written, and as it is read.
    Html(String, Html),
}

impl Text {
    /// As it is read.
    #[must_use]
    pub fn shown(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Html(_, html) => &html.text,
        }
    }

    /// As it was written: HTML with its tags.
    #[must_use]
    pub fn source(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Html(text, _) => text,
        }
    }
}

/// A part of a message; what holds other parts is one too.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// Parts that it is within.
    pub depth: usize,
    /// `text/plain`, in lower case; what RFC 2045 §5.2 says when it says nothing itself.
    pub media: String,
    /// What it is called: in Content-Disposition, and in Content-Type if that is something else. Decoded.
    pub names: Vec<String>,
    /// Its charset.
    pub charset: Option<String>,
    /// It is not meant to be shown within the text.
    pub is_attachment: bool,
    /// How it is encoded.
    pub encoding: Encoding,
    /// The same in the words of its field, in lower case; empty when there is none.
    pub transfer_encoding: String,
    /// Where its own header is.
    pub header: Range<usize>,
    /// Where its body is, as it came.
    pub body: Range<usize>,
    /// What people read in it; not for what is no text, and not behind the bound.
    pub text: Option<Text>,
}

impl Part {
    /// True for what holds other parts, which are in the list behind it.
    #[must_use]
    pub fn is_container(&self) -> bool {
        self.media.starts_with("multipart/") || self.is_message()
    }

    /// True for an attached message, which is the next part in the list.
    #[must_use]
    pub fn is_message(&self) -> bool {
        matches!(self.media.as_str(), "message/rfc822" | "message/global")
    }
}

/// See above.
#[derive(Debug, Clone, Default)]
pub struct Letter {
    octets: Bytes,
    /// Its parts, each before those that it holds. The first is the message itself.
    pub parts: Vec<Part>,
    /// Links of all texts, each once.
    pub links: Vec<Link>,
    /// What is wrong, each once, in ascending order.
    pub faults: Vec<Fault>,
    /// What reading it has cost: octets looked at, each time, and comparisons with boundaries.
    pub units: u64,
}

impl Letter {
    /// Reads a message. Pure; every sequence of octets is one.
    #[must_use]
    pub fn read(octets: &Bytes) -> Self {
        let mut letter = Self { octets: octets.clone(), ..Self::default() };
        walk::walk(octets, &mut letter);
        let mut left = TEXT_BYTES_MAX;
        let mut links = links::Gathering::default();
        let mut parts = std::mem::take(&mut letter.parts);
        for part in parts.iter_mut().filter(|part| part.media.starts_with("text/")) {
            let raw = octets.get(part.body.clone()).unwrap_or_default();
            if raw.is_empty() {
                continue;
            }
            if left == 0 {
                letter.fault(Fault::TextCut);
                break;
            }
            let decoded = decode::text(part, raw, left, &mut letter);
            left = left.saturating_sub(decoded.len());
            let is_html =
                part.media == "text/html" || (part.media == "text/plain" && html::looks_like(&decoded));
            letter.units += decoded.len() as u64;
            if is_html {
                let html = html::read(&decoded);
                links.html(&html);
                part.text = Some(Text::Html(decoded, html));
            } else {
                links.text(&decoded);
                part.text = Some(Text::Plain(decoded));
            }
        }
        letter.parts = parts;
        if links.is_cut() {
            letter.fault(Fault::LinksCut);
        }
        letter.links = links.finish();
        letter.faults.sort_unstable();
        letter.faults.dedup();
        letter
    }

    /// The octets of a part as they came.
    #[must_use]
    pub fn raw(&self, part: &Part) -> &[u8] {
        self.octets.get(part.body.clone()).unwrap_or_default()
    }

    /// The whole message as it came.
    #[must_use]
    pub fn octets(&self) -> &Bytes {
        &self.octets
    }

    /// The octets of a part, decoded, at most the first `bytes_max`.
    #[must_use]
    pub fn decoded(&self, part: &Part, bytes_max: usize) -> Vec<u8> {
        decode::octets(part.encoding, self.raw(part), bytes_max).0
    }

    /// The part's own header.
    #[must_use]
    pub fn header(&self, part: &Part) -> &[u8] {
        self.octets.get(part.header.clone()).unwrap_or_default()
    }

    /// True when this is wrong.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    fn fault(&mut self, fault: Fault) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}

/// The message that is judged, read once for all checks that ask.
///
/// # Errors
/// In words: it cannot be read from its file, or reading it broke down.
pub async fn of(facts: &MessageFacts) -> Result<Arc<Letter>, String> {
    let content = facts.content.clone();
    let length = usize::try_from(content.len()).unwrap_or(usize::MAX);
    let reading = async move {
        let read = work::hashing(length, move || whole(&content).map(|octets| Letter::read(&octets))).await;
        read.map_err(|broken| broken.to_string())?.map_err(|error| error.to_string())
    };
    facts
        .shared
        .get_or_make(reading)
        .await?
        .ok_or_else(|| "something else is kept of this message".to_owned())
}

fn whole(content: &Content) -> io::Result<Bytes> {
    match content {
        Content::Memory(octets) => Ok(octets.clone()),
        Content::File { path, .. } => {
            let mut octets = Vec::new();
            File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut octets)?;
            Ok(octets.into())
        }
    }
}
