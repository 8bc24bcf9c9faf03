//! A message as received with its edits made: for delivery, and for whoever signs what will be delivered.
//!
//! Parts of header and body are shared; only new lines are copied. RFC 5322 §2.2. Nothing can fail: an edit that finds
//! nothing changes nothing.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use mail::header;

use crate::model::Edit;

/// Makes the edits. Those of single fields, by number, come first wherever they stand in the list; the rest follow in its
/// order. Of several for one field the last counts. What follows the fields (the empty line) stays behind them.
#[must_use]
pub fn edited(head: &Bytes, edits: &[Edit]) -> Vec<Bytes> {
    let end = header::fields_end(head).min(head.len());
    let mut parts = by_number(&head.slice(..end), edits);
    for edit in edits {
        match edit {
            Edit::Prepend(lines) => parts.insert(0, Bytes::copy_from_slice(lines)),
            Edit::Append(lines) => parts.push(Bytes::copy_from_slice(lines)),
            Edit::Remove(name) => parts = without_field(&parts, name),
            Edit::Field { .. } | Edit::Body { .. } => {}
        }
    }
    parts.push(head.slice(end..));
    parts.retain(|part| !part.is_empty());
    parts
}

/// The parts of a header without the fields of this name, in any case.
#[must_use]
pub fn without_field(parts: &[Bytes], name: &str) -> Vec<Bytes> {
    let kept = |part: &Bytes| -> Vec<Bytes> {
        header::kept_ranges(part, |field| field.is(name)).into_iter().map(|range| part.slice(range)).collect()
    };
    parts.iter().flat_map(kept).collect()
}

/// A stretch of a body with its edits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyPiece {
    /// These octets of the message as received.
    Received(Range<u64>),
    /// Others.
    New(Bytes),
}

/// What the octets in `range` of a message come to with the edits of its body, in order. Of edits that overlap the later
/// one counts for what the earlier one left; those that begin outside are not made.
#[must_use]
pub fn body_pieces(range: Range<u64>, edits: &[Edit]) -> Vec<BodyPiece> {
    let mut wanted: Vec<(u64, u64, &[u8])> = edits
        .iter()
        .filter_map(|edit| match edit {
            Edit::Body { offset, length, with } => Some((*offset, *length, with.as_slice())),
            _ => None,
        })
        .filter(|(offset, ..)| (range.start..=range.end).contains(offset))
        .collect();
    wanted.sort_by_key(|(offset, ..)| *offset);
    let (mut pieces, mut at) = (Vec::new(), range.start);
    for (offset, length, with) in wanted {
        if offset > at {
            pieces.push(BodyPiece::Received(at..offset));
        }
        if !with.is_empty() {
            pieces.push(BodyPiece::New(Bytes::copy_from_slice(with)));
        }
        at = at.max(offset.saturating_add(length)).min(range.end);
    }
    if at < range.end {
        pieces.push(BodyPiece::Received(at..range.end));
    }
    pieces
}

/// Makes the edits of a body while it is read, chunk by chunk.
#[derive(Debug)]
pub struct BodyEditor {
    pieces: VecDeque<BodyPiece>,
    at: u64,
}

impl BodyEditor {
    /// For the octets in `range` of a message, which are given in order.
    #[must_use]
    pub fn new(range: Range<u64>, edits: &[Edit]) -> Self {
        Self { at: range.start, pieces: body_pieces(range, edits).into() }
    }

    /// What the next octets as received come to.
    pub fn feed(&mut self, mut chunk: Bytes) -> Vec<Bytes> {
        let mut out = Vec::new();
        while !chunk.is_empty() {
            let range = match self.pieces.front_mut() {
                // The rest is left out.
                None => break,
                Some(BodyPiece::New(bytes)) => {
                    out.push(std::mem::take(bytes));
                    self.pieces.pop_front();
                    continue;
                }
                Some(BodyPiece::Received(range)) => range.clone(),
            };
            let is_wanted = self.at >= range.start;
            let goal = if is_wanted { range.end } else { range.start };
            let length = usize::try_from(goal.saturating_sub(self.at)).unwrap_or(usize::MAX).min(chunk.len());
            let part = chunk.split_to(length);
            self.at += length as u64;
            if is_wanted {
                out.push(part);
            }
            if self.at >= range.end {
                self.pieces.pop_front();
            }
        }
        out
    }

    /// What stands behind all octets.
    pub fn finish(&mut self) -> Vec<Bytes> {
        let left = self.pieces.drain(..).filter_map(|piece| match piece {
            BodyPiece::New(bytes) => Some(bytes),
            BodyPiece::Received(_) => None,
        });
        left.collect()
    }
}

fn by_number(fields: &Bytes, edits: &[Edit]) -> Vec<Bytes> {
    let numbered = edits.iter().filter_map(|edit| match edit {
        Edit::Field { number, with } => Some((usize::try_from(*number).ok()?, with)),
        _ => None,
    });
    let numbered: BTreeMap<usize, &Vec<u8>> = numbered.collect();
    let mut parts = Vec::new();
    let mut from = 0;
    for (number, field) in header::fields(fields).enumerate() {
        let Some(with) = numbered.get(&number) else { continue };
        let range = field.range();
        parts.push(fields.slice(from..range.start));
        parts.push(Bytes::copy_from_slice(with));
        from = range.end;
    }
    parts.push(fields.slice(from..));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(head: &str, edits: &[Edit]) -> String {
        String::from_utf8(edited(&Bytes::copy_from_slice(head.as_bytes()), edits).concat()).unwrap()
    }

    fn field(number: u32, with: &str) -> Edit {
        Edit::Field { number, with: with.as_bytes().to_vec() }
    }

    const HEAD: &str = "A: 1\r\nB: 2\r\n 2\r\nA: 3\r\n\r\n";

    #[test]
    fn single_fields_are_changed_by_their_number_as_received() {
        let all = [
            Edit::Prepend(b"P: 0\r\n".to_vec()),
            field(1, "X: y\r\nB: 2\r\n"),
            field(2, ""),
            Edit::Append(b"Z: 9\r\n".to_vec()),
        ];
        assert_eq!(flat(HEAD, &all), "P: 0\r\nA: 1\r\nX: y\r\nB: 2\r\nZ: 9\r\n\r\n");
        assert_eq!(
            flat(HEAD, &[field(0, "C: 1\r\n"), Edit::Remove("a".into())]),
            "C: 1\r\nB: 2\r\n 2\r\n\r\n"
        );
        assert_eq!(
            flat(HEAD, &[field(0, "x\r\n"), field(0, "C: 2\r\n")]),
            "C: 2\r\nB: 2\r\n 2\r\nA: 3\r\n\r\n"
        );
        assert_eq!(flat(HEAD, &[field(7, "C: 1\r\n")]), HEAD);
        assert_eq!(flat(HEAD, &[]), HEAD);
    }

    fn change(offset: u64, length: u64, with: &str) -> Edit {
        Edit::Body { offset, length, with: with.as_bytes().to_vec() }
    }

    #[test]
    fn stretches_of_the_body_are_changed_however_it_comes() {
        let message = b"0123456789";
        for (edits, want) in [
            (vec![], "23456789"),
            (vec![change(4, 2, "xyz")], "23xyz6789"),
            (vec![change(4, 0, "x")], "23x456789"),
            (vec![change(2, 1, ""), change(9, 1, "")], "345678"),
            (vec![change(2, 8, "")], ""),
            (vec![change(10, 0, "end")], "23456789end"),
            (vec![change(8, 9, "cut")], "234567cut"),
            (vec![change(6, 1, "b"), change(3, 1, "a"), change(6, 0, "c")], "2a45bc789"),
            // Overlapping, and outside.
            (vec![change(3, 4, "a"), change(5, 4, "b")], "2ab9"),
            (vec![change(0, 4, "a"), change(11, 1, "b"), Edit::Prepend(b"A: 1\r\n".to_vec())], "23456789"),
        ] {
            for size in [1, 3, 8] {
                let mut editor = BodyEditor::new(2..10, &edits);
                let chunks = message[2..].chunks(size).map(Bytes::copy_from_slice);
                let mut got: Vec<Bytes> = chunks.flat_map(|chunk| editor.feed(chunk)).collect();
                got.extend(editor.finish());
                assert_eq!(got.concat(), want.as_bytes(), "{edits:?} {size}");
            }
        }
    }

    #[test]
    fn nothing_is_copied_but_new_lines() {
        let head = Bytes::from(HEAD);
        let parts = edited(&head, &[field(1, "N: 1\r\n")]);
        let within = |part: &Bytes| head.as_ptr_range().contains(&part.as_ptr());
        assert_eq!(parts.iter().filter(|part| !within(part)).count(), 1);
    }
}
