//! Reads a message into features.
//!
//! Looks at the first [`READ_BYTES_MAX`] octets, decodes what MIME and RFC 2047 have encoded, and takes what people read:
//! subject and text, the text of HTML apart from what it hides; and what their programs write: fields, addresses, links,
//! names of attachments. What a mailbox, a mail program or a filter adds after the message was delivered is left out: it
//! tells where mail was collected, not whether it is wanted. So are the footers and subject tags of lists. Everything is
//! bounded; nothing fails: what cannot be parsed has no features. RFC 5322, RFC 2045 to 2047.

mod body;
mod header;
#[cfg(test)]
mod tests;
mod words;

use mail_parser::{Message, MessageParser};

use super::feature::{Features, Gathering, Group, Names, joined};
use super::samples::Digest;
use crate::normalised::normalised;

/// Octets of a message that are read.
pub const READ_BYTES_MAX: usize = 256 << 10;
/// Attached messages that are read, one in the other.
const DEPTH_MAX: usize = 4;

/// A message as it is learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// By what it is known again.
    pub digest: Digest,
    /// When it came, in seconds since 1970, as its topmost Received field has it, or its Date; 0 when neither does.
    pub seconds: u64,
    /// What it is made of.
    pub features: Features,
}

/// Reads a message.
#[must_use]
pub fn read(message: &[u8]) -> Read {
    let (features, _, seconds) = gather(message, false);
    let (mut first, mut second) = (0, 1);
    for id in Group::ALL.into_iter().flat_map(|group| features.group(group).iter().chain([&u32::MAX])) {
        first = joined(first, u64::from(*id));
        second = joined(second, first ^ u64::from(*id).rotate_left(32));
    }
    let mut digest = Digest::default();
    let octets = first.to_le_bytes().into_iter().chain(second.to_le_bytes());
    digest.iter_mut().zip(octets).for_each(|(to, from)| *to = from);
    Read { digest, seconds, features }
}

/// The features of a message.
#[must_use]
pub fn features(message: &[u8]) -> Features {
    gather(message, false).0
}

/// The features of a message, and what they are called.
#[must_use]
pub fn named(message: &[u8]) -> (Features, Names) {
    let (features, names, _) = gather(message, true);
    (features, names)
}

fn gather(message: &[u8], named: bool) -> (Features, Names, u64) {
    let mut seconds = 0;
    let octets = normalised(message, READ_BYTES_MAX);
    let mut out = Gathering::new(named);
    let parser = MessageParser::new().with_mime_headers().default_header_text();
    if let Some(parsed) = parser.parse(&octets) {
        let subject = header::read(&parsed, &mut out);
        seconds = header::seconds(&parsed);
        let mut text = body::Text::new(&subject);
        read_parts(&parsed, &mut text, &mut out, DEPTH_MAX);
        text.finish(&mut out);
    }
    let (features, names) = out.finish();
    (features, names, seconds)
}

fn read_parts(message: &Message<'_>, text: &mut body::Text, out: &mut Gathering, depth: usize) {
    for part in message.parts.iter().take(body::PARTS_MAX) {
        if let (Some(inner), Some(depth)) = (part.message(), depth.checked_sub(1)) {
            header::read_inner(inner, out);
            read_parts(inner, text, out, depth);
        }
        text.part(part, out);
    }
}
