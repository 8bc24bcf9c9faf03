//! A header as received with its edits made: for delivery, and for whoever signs what will be delivered.
//!
//! Parts of the header are shared; only new lines are copied. RFC 5322 §2.2. Nothing can fail: an edit that finds nothing
//! changes nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use mail::header;

use crate::model::HeaderEdit;

/// Makes the edits. Those of single fields, by number, come first wherever they stand in the list; the rest follow in its
/// order. Of several for one field the last counts. What follows the fields (the empty line) stays behind them.
#[must_use]
pub fn edited(head: &Bytes, edits: &[HeaderEdit]) -> Vec<Bytes> {
    let end = header::fields_end(head).min(head.len());
    let mut parts = by_number(&head.slice(..end), edits);
    for edit in edits {
        match edit {
            HeaderEdit::Prepend(lines) => parts.insert(0, Bytes::copy_from_slice(lines)),
            HeaderEdit::Append(lines) => parts.push(Bytes::copy_from_slice(lines)),
            HeaderEdit::Remove(name) => parts = without_field(&parts, name),
            HeaderEdit::Field { .. } => {}
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

fn by_number(fields: &Bytes, edits: &[HeaderEdit]) -> Vec<Bytes> {
    let numbered = edits.iter().filter_map(|edit| match edit {
        HeaderEdit::Field { number, with } => Some((usize::try_from(*number).ok()?, with)),
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

    fn flat(head: &str, edits: &[HeaderEdit]) -> String {
        String::from_utf8(edited(&Bytes::copy_from_slice(head.as_bytes()), edits).concat()).unwrap()
    }

    fn field(number: u32, with: &str) -> HeaderEdit {
        HeaderEdit::Field { number, with: with.as_bytes().to_vec() }
    }

    const HEAD: &str = "A: 1\r\nB: 2\r\n 2\r\nA: 3\r\n\r\n";

    #[test]
    fn single_fields_are_changed_by_their_number_as_received() {
        let all = [
            HeaderEdit::Prepend(b"P: 0\r\n".to_vec()),
            field(1, "X: y\r\nB: 2\r\n"),
            field(2, ""),
            HeaderEdit::Append(b"Z: 9\r\n".to_vec()),
        ];
        assert_eq!(flat(HEAD, &all), "P: 0\r\nA: 1\r\nX: y\r\nB: 2\r\nZ: 9\r\n\r\n");
        assert_eq!(
            flat(HEAD, &[field(0, "C: 1\r\n"), HeaderEdit::Remove("a".into())]),
            "C: 1\r\nB: 2\r\n 2\r\n\r\n"
        );
        assert_eq!(
            flat(HEAD, &[field(0, "x\r\n"), field(0, "C: 2\r\n")]),
            "C: 2\r\nB: 2\r\n 2\r\nA: 3\r\n\r\n"
        );
        assert_eq!(flat(HEAD, &[field(7, "C: 1\r\n")]), HEAD);
        assert_eq!(flat(HEAD, &[]), HEAD);
    }

    #[test]
    fn nothing_is_copied_but_new_lines() {
        let head = Bytes::from(HEAD);
        let parts = edited(&head, &[field(1, "N: 1\r\n")]);
        let within = |part: &Bytes| head.as_ptr_range().contains(&part.as_ptr());
        assert_eq!(parts.iter().filter(|part| !within(part)).count(), 1);
    }
}
