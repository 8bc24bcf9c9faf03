//! Reads a message into features.
//!
//! Looks at the first [`READ_BYTES_MAX`] octets as [`crate::letter`] has opened and decoded them, once for all checks, and
//! takes what people read: subject and text, the text of HTML apart from what it hides; and what their programs write:
//! fields, addresses, links, names of attachments. What a mailbox, a mail program or a filter adds after the message was delivered is left out: it
//! tells where mail was collected, not whether it is wanted. So are the footers and subject tags of lists. Everything is
//! bounded; nothing fails: what cannot be parsed has no features. RFC 5322, RFC 2047.

mod body;
mod header;
mod signs;
#[cfg(test)]
mod tests;
mod words;

use std::borrow::Cow;

use bytes::Bytes;

use super::feature::{Features, Gathering, Group, Names, joined};
use super::samples::Digest;
use crate::letter::Letter;

/// Octets of a message that are read.
pub const READ_BYTES_MAX: usize = 256 << 10;

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
    read_letter(&opened(message))
}

/// Reads a message that was opened already: the same as [`read`] of its octets.
#[must_use]
pub fn read_letter(letter: &Letter) -> Read {
    let letter = within_bounds(letter);
    let features = gather(&letter, false).0;
    let (mut first, mut second) = (0, 1);
    for id in Group::ALL.into_iter().flat_map(|group| features.group(group).iter().chain([&u32::MAX])) {
        first = joined(first, u64::from(*id));
        second = joined(second, first ^ u64::from(*id).rotate_left(32));
    }
    let mut digest = Digest::default();
    let octets = first.to_le_bytes().into_iter().chain(second.to_le_bytes());
    digest.iter_mut().zip(octets).for_each(|(to, from)| *to = from);
    Read { digest, seconds: seconds(letter.octets()), features }
}

/// The features of a message.
#[must_use]
pub fn features(message: &[u8]) -> Features {
    gather(&opened(message), false).0
}

/// The features of a message that was opened already, with this Received field on top, as it will have one in its mailbox; or none.
/// The same as [`features`] of both together.
#[must_use]
pub fn features_below(received: &[u8], letter: &Letter) -> Features {
    gather_below(received, &within_bounds(letter), false).0
}

/// The features of a message, and what they are called.
#[must_use]
pub fn named(message: &[u8]) -> (Features, Names) {
    gather(&opened(message), true)
}

/// When a message came, as [`Read::seconds`] has it.
#[must_use]
pub fn seconds(message: &[u8]) -> u64 {
    header::seconds(behind_separator(message))
}

fn opened(message: &[u8]) -> Letter {
    let message = message.get(..READ_BYTES_MAX).unwrap_or(message);
    Letter::read(&Bytes::copy_from_slice(behind_separator(message)))
}

/// The letter as [`opened`] would have it, whoever opened it.
fn within_bounds(letter: &Letter) -> Cow<'_, Letter> {
    let octets = letter.octets();
    if octets.len() <= READ_BYTES_MAX && behind_separator(octets).len() == octets.len() {
        return Cow::Borrowed(letter);
    }
    let start = octets.get(..READ_BYTES_MAX).unwrap_or(octets);
    Cow::Owned(Letter::read(&octets.slice_ref(behind_separator(start))))
}

/// A message without the line that parts messages in a mailbox file: it is no field, and some hand it on.
fn behind_separator(message: &[u8]) -> &[u8] {
    let line = message.starts_with(b"From ").then(|| memchr::memchr(b'\n', message)).flatten();
    message.get(line.map_or(0, |end| end + 1)..).unwrap_or_default()
}

fn gather(letter: &Letter, named: bool) -> (Features, Names) {
    gather_below(&[], letter, named)
}

fn gather_below(received: &[u8], letter: &Letter, named: bool) -> (Features, Names) {
    let mut out = Gathering::new(named);
    let head = letter.parts.first().map_or(&[][..], |message| letter.header(message));
    let head = &*match received {
        [] => Cow::Borrowed(head),
        received => Cow::Owned([received, head].concat()),
    };
    let subject = header::read(head, &mut out);
    let mut text = body::Text::new(&subject);
    let mut holder: Option<usize> = None;
    for part in letter.parts.iter().take(body::PARTS_MAX) {
        if holder.is_some_and(|depth| part.depth == depth + 1) {
            header::read_inner(letter.header(part), &mut out);
        }
        holder = part.is_message().then_some(part.depth);
        text.part(part, &mut out);
    }
    body::links(&letter.links, &mut out);
    signs::read(letter, head, &mut out);
    text.finish(&mut out);
    out.finish()
}
