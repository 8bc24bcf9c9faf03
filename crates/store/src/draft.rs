//! A header that is being changed field by field, and what the changes come to as edits.
//!
//! For who is shown a header with its edits made and changes it further (milters do): fields are told apart by where they
//! stand, and what is left of the header as received is known by its number. Pure, and cannot fail. RFC 5322 §2.2.

use bytes::Bytes;
use mail::header;

use crate::model::Edit;

/// See above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Fields of the header as received.
    received: Vec<Bytes>,
    lines: Vec<Line>,
}

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    /// All of it, with its line ends.
    raw: Bytes,
    /// Which of the header as received it is, or stands in the place of.
    number: Option<usize>,
}

impl Line {
    fn new(raw: Bytes) -> Self {
        Self { raw, number: None }
    }
}

impl Draft {
    /// A header as received, with these edits made as [`crate::edited`] makes them. Edits of the body are none of its
    /// business.
    #[must_use]
    pub fn new(head: &Bytes, edits: &[Edit]) -> Self {
        let received: Vec<Bytes> = header::fields(head).map(|field| head.slice(field.range())).collect();
        let mut lines: Vec<Line> = Vec::with_capacity(received.len());
        for (number, raw) in received.iter().enumerate() {
            let with = edits.iter().rev().find_map(|edit| match edit {
                Edit::Field { number: of, with } if usize::try_from(*of) == Ok(number) => Some(with),
                _ => None,
            });
            match with {
                None => lines.push(Line { raw: raw.clone(), number: Some(number) }),
                Some(with) => lines.extend(fields(with)),
            }
        }
        for edit in edits {
            match edit {
                Edit::Prepend(with) => drop(lines.splice(0..0, fields(with))),
                Edit::Append(with) => lines.extend(fields(with)),
                Edit::Remove(name) => lines.retain(|line| !is(&line.raw, name)),
                Edit::Field { .. } | Edit::Body { .. } => {}
            }
        }
        Self { received, lines }
    }

    /// The fields as they are now, each with its line ends, from the top.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.lines.iter().map(|line| &line.raw)
    }

    /// Where the `occurrence`th field of this name stands, from 0, in any case.
    #[must_use]
    pub fn find(&self, name: &str, occurrence: usize) -> Option<usize> {
        let named = self.lines.iter().enumerate().filter(|(_, line)| is(&line.raw, name));
        named.map(|(at, _)| at).nth(occurrence)
    }

    /// Puts a field, with its line ends, before the one that stands at `at`; behind all where there are not so many.
    pub fn insert(&mut self, at: usize, raw: Vec<u8>) {
        self.lines.insert(at.min(self.lines.len()), Line::new(raw.into()));
    }

    /// Puts a field in the place of another. Where there is none nothing changes.
    pub fn replace(&mut self, at: usize, raw: Vec<u8>) {
        if let Some(line) = self.lines.get_mut(at) {
            line.raw = raw.into();
        }
    }

    /// Takes a field out. Where there is none nothing changes.
    pub fn remove(&mut self, at: usize) {
        if at < self.lines.len() {
            self.lines.remove(at);
        }
    }

    /// What makes this of the header as received: edits of single fields, and one before all.
    #[must_use]
    pub fn edits(&self) -> Vec<Edit> {
        let mut top = Vec::new();
        let mut after: Vec<Option<Vec<u8>>> = vec![None; self.received.len()];
        let mut above = None;
        for line in &self.lines {
            let slot = match line.number {
                Some(number) => {
                    above = Some(number);
                    after.get_mut(number).map(|slot| slot.insert(Vec::new()))
                }
                None => above.and_then(|number| after.get_mut(number)).and_then(Option::as_mut),
            };
            slot.unwrap_or(&mut top).extend_from_slice(&line.raw);
        }
        let changed = self.received.iter().zip(after).enumerate().filter_map(|(number, (raw, now))| {
            let with = now.unwrap_or_default();
            let number = u32::try_from(number).ok()?;
            (with != *raw).then_some(Edit::Field { number, with })
        });
        let mut edits: Vec<Edit> = changed.collect();
        if !top.is_empty() {
            edits.push(Edit::Prepend(top));
        }
        edits
    }
}

/// The fields in some lines. What is none stays with the one above it.
fn fields(with: &[u8]) -> Vec<Line> {
    let all = Bytes::copy_from_slice(with);
    let mut lines: Vec<Line> =
        header::fields(&all).map(|field| Line::new(all.slice(field.range()))).collect();
    let end = header::fields_end(&all);
    if end < all.len() {
        lines.push(Line::new(all.slice(end..)));
    }
    lines
}

fn is(raw: &[u8], name: &str) -> bool {
    header::fields(raw).next().is_some_and(|field| field.is(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::edited;

    const HEAD: &str = "A: 1\r\nB: 2\r\n 2\r\nA: 3\r\n\r\n";

    fn flat(draft: &Draft) -> Vec<u8> {
        [draft.fields().map(|raw| raw.to_vec()).collect::<Vec<_>>().concat(), b"\r\n".to_vec()].concat()
    }

    fn draft(edits: &[Edit]) -> Draft {
        Draft::new(&Bytes::from(HEAD), edits)
    }

    #[test]
    fn fields_are_found_put_in_changed_and_taken_out() {
        let mut one = draft(&[]);
        assert_eq!((one.find("a", 1), one.find("A", 2), one.find("C", 0)), (Some(2), None, None));
        assert_eq!(one.edits(), []);
        one.insert(0, b"Top: 0\r\n".to_vec());
        one.insert(99, b"End: 9\r\n".to_vec());
        one.replace(2, b"B: two\r\n".to_vec());
        one.remove(1);
        one.insert(1, b"New: 1\r\n".to_vec());
        one.remove(77);
        let want = "Top: 0\r\nNew: 1\r\nB: two\r\nA: 3\r\nEnd: 9\r\n\r\n";
        assert_eq!(String::from_utf8(flat(&one)).unwrap(), want);
        let edits = one.edits();
        assert_eq!(edited(&Bytes::from(HEAD), &edits).concat(), want.as_bytes());
        assert_eq!(edits.len(), 4, "{edits:?}");
    }

    fn raw() -> impl Strategy<Value = Vec<u8>> {
        "[A-C]: [a-z]{0,3}(\r\n [a-z])?\r\n".prop_map(String::into_bytes)
    }

    fn edit() -> impl Strategy<Value = Edit> {
        prop_oneof![
            raw().prop_map(Edit::Prepend),
            raw().prop_map(Edit::Append),
            "[a-c]".prop_map(Edit::Remove),
            (0..4_u32, proptest::collection::vec(raw(), 0..3))
                .prop_map(|(number, with)| Edit::Field { number, with: with.concat() }),
        ]
    }

    proptest! {
        #[test]
        fn it_is_what_the_edits_make_and_its_own_edits_make_it(
            edits in proptest::collection::vec(edit(), 0..6),
            changes in proptest::collection::vec((0..3_u8, 0..7_usize, raw()), 0..6),
        ) {
            let head = Bytes::from(HEAD);
            let mut one = Draft::new(&head, &edits);
            prop_assert_eq!(flat(&one), edited(&head, &edits).concat());
            for (what, at, raw) in changes {
                match what {
                    0 => one.insert(at, raw),
                    1 => one.replace(at, raw),
                    _ => one.remove(at),
                }
            }
            prop_assert_eq!(flat(&one), edited(&head, &one.edits()).concat());
        }
    }
}
