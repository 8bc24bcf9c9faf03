//! What tables have changed in one message, as edits to be stored beside it.
//!
//! A field of the message's own header is changed by its number, anything else by its place. Neighbours become one edit, so
//! that leaving out all of a long quotation is as short as leaving out a line. Bounded: what would be more is not made, and
//! whoever asks is told.

use mail::header;
use store::Edit;

use super::walk::{Field, Line};

/// Changes of one message.
const EDITS_MAX: usize = 4096;
/// Octets that changes of one message may bring.
const EDIT_BYTES_MAX: usize = 1 << 20;

/// What becomes of a field or line.
#[derive(Debug)]
pub(super) enum Fate {
    /// As it is.
    Kept,
    /// This in its place; its lines are parted by line feeds.
    Replaced(Vec<u8>),
    /// Gone.
    Removed,
}

/// The changes so far.
#[derive(Debug)]
pub(super) struct Edits<'a> {
    head: &'a [u8],
    all: Vec<Edit>,
    octets: usize,
}

impl<'a> Edits<'a> {
    /// Of a message with this header.
    pub(super) fn of(head: &'a [u8]) -> Self {
        Self { head, all: Vec::new(), octets: 0 }
    }

    pub(super) fn all(self) -> Vec<Edit> {
        self.all
    }

    /// Writes down what becomes of a field; `before` are lines to stand before it, with their ends. False: it is too much.
    pub(super) fn field(&mut self, field: &Field<'_>, before: Vec<u8>, fate: Fate) -> bool {
        let mut with = before;
        let length = field.span.end.saturating_sub(field.span.start);
        let (length, number) = match (fate, field.number) {
            (Fate::Kept, _) if with.is_empty() => return true,
            (Fate::Kept, None) => (0, None),
            (Fate::Kept, Some(number)) => {
                with.extend_from_slice(raw(self.head, number));
                (length, Some(number))
            }
            (Fate::Replaced(text), number) => {
                with.extend_from_slice(&as_received(&text));
                (length, number)
            }
            (Fate::Removed, number) => (length, number),
        };
        match number {
            Some(number) => self.push(Edit::Field { number, with }),
            None => self.change(field.span.start, length, with),
        }
    }

    /// The same for a line of the body. Its end stays when something is put in its place.
    pub(super) fn line(&mut self, line: &Line<'_>, before: Vec<u8>, fate: Fate) -> bool {
        let mut with = before;
        let length = match fate {
            Fate::Kept if with.is_empty() => return true,
            Fate::Kept => 0,
            Fate::Replaced(text) => {
                let lines = as_received(&text);
                with.extend_from_slice(lines.strip_suffix(b"\r\n").unwrap_or(&lines));
                line.text.len() as u64
            }
            Fate::Removed => line.span.end.saturating_sub(line.span.start),
        };
        self.change(line.span.start, length, with)
    }

    fn change(&mut self, offset: u64, length: u64, with: Vec<u8>) -> bool {
        let room = EDIT_BYTES_MAX - self.octets.min(EDIT_BYTES_MAX);
        if let Some(Edit::Body { offset: from, length: before, with: words }) = self.all.last_mut()
            && *from + *before == offset
            && with.len() <= room
        {
            *before += length;
            self.octets += with.len();
            words.extend(with);
            return true;
        }
        self.push(Edit::Body { offset, length, with })
    }

    fn push(&mut self, edit: Edit) -> bool {
        if let Edit::Field { with, .. } | Edit::Body { with, .. } = &edit {
            self.octets += with.len();
        }
        let fits = self.all.len() < EDITS_MAX && self.octets <= EDIT_BYTES_MAX;
        if fits {
            self.all.push(edit);
        }
        fits
    }
}

/// Lines with the ends that they have in a message; in look-ups there are line feeds between them.
pub(super) fn as_received(lines: &[u8]) -> Vec<u8> {
    lines.split(|octet| *octet == b'\n').flat_map(|line| [line, b"\r\n"].concat()).collect()
}

/// A field as it was received, with its line ends.
fn raw(head: &[u8], number: u32) -> &[u8] {
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    header::fields(head).nth(number).map(|field| field.raw()).unwrap_or_default()
}
