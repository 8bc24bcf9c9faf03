//! The message as a milter sees it, what it wants changed, and both brought together.
//!
//! Pure. Numbers of fields are as Postfix has them, our own Received being the first; it stays where it is, on top, and is
//! never shown. Bounded: more changes than [`CHANGES_MAX`], or longer ones, are no answer.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use mail::{Address, Notify, OriginalRecipient, ReversePath};
use store::{BodyPiece, Draft, Edit, body_pieces};

use super::super::Failure;
use super::codec::{Change, Field};

/// Changes of one milter to one message.
const CHANGES_MAX: usize = 4096;
/// Octets of fields that one milter may write into one message.
const FIELD_BYTES_MAX: usize = 1 << 20;
/// Recipients that all milters may add to one message.
const RECIPIENTS_MAX: usize = 1000;

/// Pieces of a body are joined up to so many octets.
const PIECE_BYTES: usize = 64 << 10;

/// Room for a body that takes the place of another: true when there is some for so many octets more.
pub type Room<'a> = &'a mut (dyn FnMut(usize) -> bool + Send);

/// A message, with the changes made so far.
#[derive(Debug)]
pub struct Draught {
    header: Draft,
    /// How many fields stand above our own Received, which is not among them.
    above: usize,
    /// The body in pieces.
    body: Vec<Bytes>,
    quarantine: Option<String>,
    changes: Changes,
}

/// What milters have made of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Its header, as edits of the header as received; none: nobody has changed it.
    pub header: Option<Vec<Edit>>,
    /// Its whole body; none: nobody has changed it.
    pub body: Option<Bytes>,
    /// Its sender.
    pub sender: Option<ReversePath>,
    /// Further recipients.
    pub added: Vec<AddedRecipient>,
    /// Recipients that are not to get it.
    pub deleted: Vec<Address>,
}

/// A recipient that a milter has added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedRecipient {
    /// Who.
    pub address: Address,
    /// NOTIFY= among its parameters (RFC 3461 §4.1).
    pub notify: Notify,
    /// ORCPT= among them (RFC 3461 §4.2).
    pub original: Option<OriginalRecipient>,
}

impl AddedRecipient {
    /// With its parameters as Postfix reads them: NOTIFY and ORCPT, the first of each that is well-formed. The second: those
    /// that are passed over.
    fn new(address: Address, parameters: &str) -> (Self, Vec<String>) {
        let (mut notify, mut original, mut odd) = (None, None, Vec::new());
        for parameter in parameters.split_ascii_whitespace() {
            let (keyword, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let taken = match keyword.to_ascii_uppercase().as_str() {
                "NOTIFY" if notify.is_none() => {
                    notify = Notify::read(value.as_bytes());
                    notify.is_some()
                }
                "ORCPT" if original.is_none() => {
                    original = OriginalRecipient::read(value.as_bytes());
                    original.is_some()
                }
                _ => false,
            };
            if !taken {
                odd.push(parameter.to_owned());
            }
        }
        (Self { address, notify: notify.unwrap_or_default(), original }, odd)
    }
}

impl Changes {
    /// Nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Draught {
    /// A message as received, whole, with these edits made; its body begins at `body_start`.
    #[must_use]
    pub fn new(message: &Bytes, body_start: usize, edits: &[Edit]) -> Self {
        let start = body_start.min(message.len());
        let octet = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(message.len());
        let piece = |piece| match piece {
            BodyPiece::Received(Range { start, end }) => message.slice(octet(start)..octet(end)),
            BodyPiece::New(bytes) => bytes,
        };
        let body = body_pieces(start as u64..message.len() as u64, edits).into_iter().map(piece).collect();
        let header = Draft::new(&message.slice(..start), edits);
        Self { header, above: 0, body, quarantine: None, changes: Changes::default() }
    }

    /// The fields, raw.
    pub(super) fn fields(&self) -> impl Iterator<Item = &Bytes> {
        self.header.fields()
    }

    /// The body, in chunks of so many octets at most.
    pub(super) fn chunks(&self, octets_max: usize) -> impl Iterator<Item = &[u8]> {
        self.body.iter().flat_map(move |piece| piece.chunks(octets_max))
    }

    /// Why the last one wants it kept, said once.
    pub(super) fn quarantined(&mut self) -> Option<String> {
        self.quarantine.take()
    }

    /// What has become of it.
    #[must_use]
    pub fn finish(self) -> Changes {
        self.changes
    }

    /// Makes the changes of one milter, and tells in words what they were. Addresses that cannot be read are told and left
    /// out.
    pub(super) fn apply(&mut self, changes: Vec<Change>, leading_space: bool) -> String {
        let mut told = Tally::default();
        let mut body: Option<BytesMut> = None;
        for change in changes {
            match change {
                Change::AddHeader(field) => {
                    self.header.insert(usize::MAX, written(&field, leading_space));
                    told.headers += 1;
                }
                Change::InsertHeader(before, field) => {
                    self.insert(
                        usize::try_from(before).unwrap_or(usize::MAX),
                        written(&field, leading_space),
                    );
                    told.headers += 1;
                }
                Change::ChangeHeader(occurrence, field) => {
                    told.headers += usize::from(self.change(occurrence, &field, leading_space));
                }
                Change::Body(piece) => body.get_or_insert_default().extend_from_slice(&piece),
                Change::AddRecipient(path, parameters) => match address(&path) {
                    Some(address) if self.changes.added.len() < RECIPIENTS_MAX => {
                        told.added += 1;
                        let (added, odd) = AddedRecipient::new(address, &parameters);
                        self.changes.added.push(added);
                        told.passed_over.extend(odd);
                    }
                    _ => told.odd.push(path),
                },
                Change::DeleteRecipient(path) => match address(&path) {
                    Some(address) => {
                        told.deleted += 1;
                        self.changes.added.retain(|added| added.address != address);
                        self.changes.deleted.push(address);
                    }
                    None => told.odd.push(path),
                },
                Change::Sender(path, _) => match sender(&path) {
                    Some(sender) => {
                        told.sender = true;
                        self.changes.sender = Some(sender);
                    }
                    None => told.odd.push(path),
                },
                Change::Quarantine(why) => self.quarantine = Some(why),
            }
        }
        if told.headers > 0 {
            self.changes.header = Some(self.header.edits());
        }
        if let Some(body) = body.map(BytesMut::freeze) {
            told.body = true;
            self.body = vec![body.clone()];
            self.changes.body = Some(body);
        }
        told.words()
    }

    /// Puts a field where so many stand before it, our own Received counted.
    fn insert(&mut self, before: usize, raw: Vec<u8>) {
        if before <= self.above {
            self.header.insert(before, raw);
            self.above += 1;
        } else {
            self.header.insert(before - 1, raw);
        }
    }

    /// Changes a field, or takes it out. One that is not there is added, as Postfix and Sendmail do. True: something has
    /// changed.
    fn change(&mut self, occurrence: u32, field: &Field, leading_space: bool) -> bool {
        let occurrence = usize::try_from(occurrence).unwrap_or(usize::MAX).saturating_sub(1);
        match (self.header.find(&field.name, occurrence), field.value.is_empty()) {
            (Some(at), true) => {
                self.header.remove(at);
                self.above -= usize::from(at < self.above);
            }
            (Some(at), false) => self.header.replace(at, written(field, leading_space)),
            (None, true) => return false,
            (None, false) => self.header.insert(usize::MAX, written(field, leading_space)),
        }
        true
    }
}

/// What one milter has changed, in figures.
#[derive(Debug, Default)]
struct Tally {
    headers: usize,
    body: bool,
    sender: bool,
    added: usize,
    deleted: usize,
    odd: Vec<String>,
    /// Parameters of added recipients.
    passed_over: Vec<String>,
}

impl Tally {
    fn words(&self) -> String {
        let mut words = Vec::new();
        let counted = [
            (self.headers, "changes to the header"),
            (self.added, "recipients added"),
            (self.deleted, "recipients deleted"),
        ];
        words.extend(
            counted.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")),
        );
        words.extend(self.body.then(|| "another body".to_owned()));
        words.extend(self.sender.then(|| "another sender".to_owned()));
        words.extend(self.odd.first().map(|odd| format!("`{odd}` is no address that can be used")));
        words.extend(self.passed_over.first().map(|odd| format!("`{odd}` is passed over")));
        words.join(", ")
    }
}

/// What a milter may still change in one message.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) changes: Vec<Change>,
    octets: usize,
}

impl Gathered {
    /// One more change.
    pub(super) fn push(&mut self, change: Change, room: Room<'_>) -> Result<(), Failure> {
        match &change {
            Change::Body(piece) if !room(piece.len()) => {
                return Err(Failure::garbled("it writes a longer body than there is room for"));
            }
            // Pieces of a body are counted by their octets.
            Change::Body(_) => {}
            Change::AddHeader(field) | Change::InsertHeader(_, field) | Change::ChangeHeader(_, field) => {
                self.octets += field.name.len() + field.value.len();
            }
            _ => {}
        }
        let is_body = matches!(change, Change::Body(_));
        if self.octets > FIELD_BYTES_MAX || (!is_body && self.changes.len() >= CHANGES_MAX) {
            return Err(Failure::garbled("it changes too much"));
        }
        self.join(change);
        Ok(())
    }

    /// Small pieces of a body become one, so that many take no more than their octets.
    fn join(&mut self, change: Change) {
        if let (Some(Change::Body(before)), Change::Body(piece)) = (self.changes.last_mut(), &change)
            && before.len() + piece.len() <= PIECE_BYTES
        {
            *before = [&before[..], piece].concat().into();
            return;
        }
        self.changes.push(change);
    }
}

/// A field with its line ends. Lines that do not continue it are made to, so that no value can bring a field of its own.
fn written(field: &Field, leading_space: bool) -> Vec<u8> {
    let mut raw = field.name.clone().into_bytes();
    raw.push(b':');
    if !leading_space {
        raw.push(b' ');
    }
    let text: Vec<u8> = field.value.iter().copied().filter(|octet| *octet != b'\r').collect();
    let lines = text.split(|octet| *octet == b'\n').filter(|line| !line.trim_ascii().is_empty());
    for (number, line) in lines.enumerate() {
        if number > 0 {
            raw.extend_from_slice(b"\r\n");
            if !matches!(line.first(), Some(b' ' | b'\t')) {
                raw.push(b'\t');
            }
        }
        raw.extend_from_slice(line);
    }
    raw.extend_from_slice(b"\r\n");
    raw
}

/// An address, with or without its brackets.
fn address(path: &str) -> Option<Address> {
    let path = path.trim();
    let inside = path.strip_prefix('<').and_then(|path| path.strip_suffix('>')).unwrap_or(path);
    Address::parse(inside).ok()
}

fn sender(path: &str) -> Option<ReversePath> {
    if matches!(path.trim(), "" | "<>") {
        Some(ReversePath::Null)
    } else {
        address(path).map(ReversePath::Mailbox)
    }
}

#[cfg(test)]
mod tests;
