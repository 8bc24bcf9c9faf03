//! The header of a message as raw fields: found, counted, left out and folded, never decoded.
//!
//! Works on the bytes as received and borrows from them: nothing is copied except by [`Field::unfolded`] when a field is
//! really folded. Never decodes encoded words, never parses addresses or MIME; that is a MIME parser's work.
//!
//! RFC 5322 §2.1, §2.2 and §4.5. What is malformed is tolerated, so that no message can make it fail:
//! * CRLF and bare LF both end a line.
//! * The first line that is neither a field nor a continuation ends the header, and **it belongs to the body**, as if an
//!   empty line stood before it. Fields below it are body text to us; whoever judges a `From:` must refuse a message that
//!   has none, or a more lenient reader would show one that nobody checked.
//! * White space between name and colon is permitted (RFC 5322 §4.5.8 `obs-optional`).
//! * A line of white space only continues the field above it; at the very top it is body.

use std::borrow::Cow;
use std::ops::Range;

/// Where lines are folded, in octets without the line end (RFC 5322 §2.1.1: SHOULD be no more than 78).
pub const FOLD_BYTES: usize = 78;

/// One field, raw: its name, its value with all folding, and its line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    raw: &'a [u8],
    offset: usize,
    name_end: usize,
    value_start: usize,
}

/// Iterates the fields from the top. Made by [`fields`].
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Field<'a> {
    /// All of it, from the first letter of the name to its last line end.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Where it stands in the message.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.raw.len()
    }

    /// The name as written, without the colon. Always printable ASCII.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.raw.get(..self.name_end).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
    }

    /// True when it has this name, in any case (RFC 5322 §1.2.2).
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name)
    }

    /// What follows the colon, folded as it came, without the last line end.
    #[must_use]
    pub fn value(&self) -> &'a [u8] {
        without_line_end(self.raw.get(self.value_start..).unwrap_or_default())
    }

    /// The value on one line: line ends taken out (RFC 5322 §2.2.3), white space around it trimmed. Copies only if folded.
    #[must_use]
    pub fn unfolded(&self) -> Cow<'a, [u8]> {
        let value = self.value().trim_ascii();
        if value.contains(&b'\n') {
            Cow::Owned(value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect())
        } else {
            Cow::Borrowed(value)
        }
    }

    /// [`Self::unfolded`] as text; octets that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn text(&self) -> Cow<'a, str> {
        match self.unfolded() {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }
}

/// The fields of a message, or of a header alone, from the top.
#[must_use]
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { message, at: 0 }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let rest = self.message.get(self.at..)?;
        let (name_end, value_start) = name_of(rest)?;
        let raw = rest.get(..field_length(rest))?;
        let field = Field { raw, offset: self.at, name_end, value_start };
        self.at += raw.len();
        Some(field)
    }
}

/// The first field of that name, in any case.
#[must_use]
pub fn find<'a>(message: &'a [u8], name: &str) -> Option<Field<'a>> {
    fields(message).find(|field| field.is(name))
}

/// How many fields have that name, in any case.
#[must_use]
pub fn count(message: &[u8], name: &str) -> usize {
    fields(message).filter(|field| field.is(name)).count()
}

/// Where the fields end: the offset of the empty line, or of what stands in its place.
#[must_use]
pub fn fields_end(message: &[u8]) -> usize {
    let mut all = fields(message);
    all.by_ref().for_each(drop);
    all.at
}

/// Where the body begins: after the empty line; where a malformed line ended the header, at that line.
///
/// Equal to [`fields_end`] exactly when no empty line parts header and body: whoever adds fields at the end of such a
/// header must add the empty line too.
#[must_use]
pub fn body_offset(message: &[u8]) -> usize {
    let end = fields_end(message);
    match message.get(end..) {
        Some([b'\r', b'\n', ..]) => end + 2,
        Some([b'\n', ..]) => end + 1,
        _ => end,
    }
}

/// What stays of the header when some fields are removed: ranges of `message`, neighbours joined, without the empty line.
#[must_use]
pub fn kept_ranges(message: &[u8], mut remove: impl FnMut(&Field<'_>) -> bool) -> Vec<Range<usize>> {
    let mut kept: Vec<Range<usize>> = Vec::new();
    for field in fields(message).filter(|field| !remove(field)) {
        let range = field.range();
        match kept.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => kept.push(range),
        }
    }
    kept
}

/// Writes a field from clauses that belong together, folded before a clause where the line would pass [`FOLD_BYTES`].
///
/// A clause that is too long for a line by itself is folded at its spaces; one word is never broken. Control characters
/// become `?`, so that no value can forge a field.
pub fn write_field(out: &mut Vec<u8>, name: &str, clauses: &[&str]) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    let mut line = Line { column: name.len() + 1, first: true };
    for clause in clauses.iter().filter(|clause| !clause.is_empty()) {
        let indent = if line.first { line.column + 1 } else { 1 };
        if indent + clause.len() <= FOLD_BYTES {
            line.push(out, clause);
        } else {
            clause.split(' ').filter(|word| !word.is_empty()).for_each(|word| line.push(out, word));
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// The line being written.
struct Line {
    column: usize,
    first: bool,
}

impl Line {
    /// Puts one piece behind a space, or on a new line behind a tab.
    fn push(&mut self, out: &mut Vec<u8>, piece: &str) {
        // The first piece stays beside the name: a first line without a value breaks old readers.
        if self.column + 1 + piece.len() > FOLD_BYTES && !self.first {
            out.extend_from_slice(b"\r\n\t");
            self.column = 1;
        } else {
            out.push(b' ');
            self.column += 1;
        }
        self.first = false;
        out.extend(piece.bytes().map(|b| if b.is_ascii_control() { b'?' } else { b }));
        self.column += piece.len();
    }
}

/// End of the name and start of the value, when a field starts here.
fn name_of(rest: &[u8]) -> Option<(usize, usize)> {
    // RFC 5322 §2.2: a field name is printable US-ASCII except colon.
    let name_end = rest.iter().position(|b| !b.is_ascii_graphic() || *b == b':')?;
    if name_end == 0 {
        return None;
    }
    let after = rest.get(name_end..)?;
    // RFC 5322 §4.5.8: white space before the colon, in the obsolete syntax.
    let colon = after.iter().position(|b| !matches!(b, b' ' | b'\t'))?;
    (after.get(colon) == Some(&b':')).then_some((name_end, name_end + colon + 1))
}

/// Octets of the field that starts here: its line and all lines that continue it (RFC 5322 §2.2.3).
fn field_length(rest: &[u8]) -> usize {
    let mut end = 0;
    loop {
        let line = rest.get(end..).unwrap_or_default();
        match line.iter().position(|&b| b == b'\n') {
            None => return rest.len(),
            Some(newline) => end += newline + 1,
        }
        if !matches!(rest.get(end), Some(b' ' | b'\t')) {
            return end;
        }
    }
}

fn without_line_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MESSAGE: &[u8] =
        b"Received: from a\r\n\tby b;\r\n date\r\nSubject : one\r\nreceived: x\r\nEmpty:\r\n\r\nNot-A: field\r\n";

    #[test]
    fn fields_are_found_with_their_folding() {
        let names: Vec<&str> = fields(MESSAGE).map(|f| f.name()).collect();
        assert_eq!(names, ["Received", "Subject", "received", "Empty"]);
        assert_eq!(find(MESSAGE, "RECEIVED").unwrap().unfolded().as_ref(), b"from a\tby b; date");
        assert_eq!(find(MESSAGE, "subject").unwrap().value(), b" one");
        assert_eq!(find(MESSAGE, "empty").unwrap().text(), "");
        assert_eq!(count(MESSAGE, "Received"), 2);
        assert!(find(MESSAGE, "Not-A").is_none());
    }

    #[test]
    fn the_body_begins_after_the_empty_line_or_at_the_line_that_is_no_field() {
        for (message, end, body) in [
            ("A: b\r\n\r\nbody", 6, 8),
            ("A: b\n\nbody", 5, 6),
            ("A: b\r\nno field here\r\nB: c\r\n", 6, 6),
            ("A: b\r\nno field: here\r\n", 6, 6),
            ("A: b\r\n: c\r\n", 6, 6),
            ("\r\nbody", 0, 2),
            (" continued\r\nA: b\r\n", 0, 0),
            ("A: b\r\n \r\nB: c\r\n\r\n", 15, 17),
            ("A: b", 4, 4),
            ("A: b\r\n", 6, 6),
            ("From joe Mon\r\nA: b\r\n", 0, 0),
            ("", 0, 0),
        ] {
            let bytes = message.as_bytes();
            assert_eq!((fields_end(bytes), body_offset(bytes)), (end, body), "{message:?}");
        }
    }

    #[test]
    fn removal_keeps_the_rest_in_ranges() {
        let kept = kept_ranges(MESSAGE, |f| f.is("subject"));
        let texts: Vec<&[u8]> = kept.into_iter().map(|r| &MESSAGE[r]).collect();
        assert_eq!(texts, [&b"Received: from a\r\n\tby b;\r\n date\r\n"[..], b"received: x\r\nEmpty:\r\n"]);
        assert_eq!(kept_ranges(MESSAGE, |_| false).first(), Some(&(0..fields_end(MESSAGE))));
        assert!(kept_ranges(MESSAGE, |_| true).is_empty());
    }

    #[test]
    fn written_fields_fold_and_cannot_forge() {
        let mut out = Vec::new();
        let long = "w".repeat(40);
        write_field(&mut out, "X-Test", &[&long, &long, "a\r\nForged: yes"]);
        let text = String::from_utf8(out.clone()).unwrap();
        assert_eq!(text, format!("X-Test: {long}\r\n\t{long} a??Forged: yes\r\n"));
        assert_eq!(fields(&out).count(), 1);

        out.clear();
        write_field(&mut out, "X", &[&"word ".repeat(40)]);
        assert!(out.split(|&b| b == b'\n').all(|line| line.len() <= FOLD_BYTES + 1));
        assert_eq!(fields(&out).next().unwrap().text().split_whitespace().count(), 40);
    }

    #[test]
    fn a_word_longer_than_a_line_stays_whole_beside_its_name() {
        let mut out = Vec::new();
        write_field(&mut out, "X", &[&"w".repeat(100)]);
        assert_eq!(out, format!("X: {}\r\n", "w".repeat(100)).into_bytes());
    }

    proptest! {
        #[test]
        fn any_bytes_are_split_without_loss(message in proptest::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b':'), Just(b' '), Just(b'\t'), any::<u8>()], 0..200)) {
            let mut at = 0;
            for field in fields(&message) {
                prop_assert_eq!(field.range().start, at);
                prop_assert!(!field.name().is_empty());
                at = field.range().end;
            }
            prop_assert_eq!(at, fields_end(&message));
            prop_assert!(body_offset(&message) <= message.len());
        }

        #[test]
        fn what_is_written_is_read_back(words in proptest::collection::vec("[!-~]{1,90}", 1..20)) {
            let mut out = Vec::new();
            let clauses: Vec<&str> = words.iter().map(String::as_str).collect();
            write_field(&mut out, "Name", &clauses);
            let field = fields(&out).next().unwrap();
            prop_assert_eq!(field.range(), 0..out.len());
            let text = field.text().into_owned();
            prop_assert_eq!(text.split_whitespace().collect::<Vec<_>>(), clauses);
        }
    }
}
