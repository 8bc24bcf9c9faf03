//! Command lines: strictly ended by CRLF, strictly bounded.
//!
//! A line ends at CRLF and nowhere else (RFC 5321 §2.3.8): what a bare LF would part stays together and is refused, so
//! that nothing smuggled into an argument becomes a command. Never holds more than one line limit of an unfinished line.

use std::fmt;

use memchr::memchr;

/// A line this many times over its limit ends the session instead of being read to its end.
const ENDLESS_FACTOR: usize = 64;

/// One step of reading.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// No whole line yet.
    Incomplete,
    /// A line, without its CRLF.
    Whole(Vec<u8>),
    /// A line with a control character in it, a bare CR among them.
    Malformed,
    /// A line over its limit; it has been read to its end.
    TooLong,
    /// An LF without its CR.
    BareLineFeed,
    /// So long that reading on is of no use.
    Endless,
}

/// Bytes that were received and not yet understood.
#[derive(Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    /// Where the unread part begins.
    start: usize,
    /// How much of it has been searched for LF.
    searched: usize,
    /// How much of the present line has been thrown away because it is over its limit.
    dropped: usize,
    /// The last byte thrown away was CR.
    dropped_cr: bool,
}

/// Without the bytes: a password may be among them.
impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("unread", &self.unread().len()).finish_non_exhaustive()
    }
}

impl Input {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > 0 && self.bytes.len() + bytes.len() > self.bytes.capacity() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start >= self.bytes.len()
    }

    /// Marks `count` bytes as read.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
        self.searched = 0;
        if self.is_empty() {
            // An idle session keeps no buffer.
            self.bytes = Vec::new();
            self.start = 0;
        }
    }

    /// Forgets everything unread.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next command line of at most `max` bytes, CRLF included.
    pub(crate) fn next_line(&mut self, max: usize) -> Line {
        let searched = self.searched;
        let Some(found) = memchr(b'\n', self.unread().get(searched..).unwrap_or_default()) else {
            return self.incomplete(max);
        };
        let end = searched + found;
        let total = self.dropped + end + 1;
        let line = self.unread().get(..end).unwrap_or_default();
        let (text, cr) = match line.split_last() {
            Some((b'\r', text)) => (text, true),
            Some(_) => (line, false),
            None => (line, self.dropped_cr),
        };
        let read = if total > max.saturating_mul(ENDLESS_FACTOR) {
            Line::Endless
        } else if !cr {
            Line::BareLineFeed
        } else if total > max {
            Line::TooLong
        } else if text.iter().any(u8::is_ascii_control) {
            Line::Malformed
        } else {
            Line::Whole(text.to_vec())
        };
        self.dropped = 0;
        self.dropped_cr = false;
        self.consume(end + 1);
        read
    }

    /// No LF in sight: remembers that, and lets go of a line that is over its limit already.
    fn incomplete(&mut self, max: usize) -> Line {
        let unread = self.unread();
        let (length, last) = (unread.len(), unread.last().copied());
        self.searched = length;
        let total = self.dropped + length;
        if total > max.saturating_mul(ENDLESS_FACTOR) {
            return Line::Endless;
        }
        if total > max && length > 0 {
            self.dropped = total;
            self.dropped_cr = last == Some(b'\r');
            self.consume(length);
        }
        Line::Incomplete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], max: usize, step: usize) -> Vec<Line> {
        let (mut reader, mut out) = (Input::default(), Vec::new());
        for part in input.chunks(step) {
            reader.push(part);
            loop {
                match reader.next_line(max) {
                    Line::Incomplete => break,
                    Line::Endless => {
                        out.push(Line::Endless);
                        return out;
                    }
                    line => out.push(line),
                }
            }
            assert!(reader.unread().len() <= max.max(step), "an unfinished line is bounded");
        }
        out
    }

    #[test]
    fn only_crlf_ends_a_line() {
        use Line::{BareLineFeed, Endless, Malformed, TooLong, Whole};
        let long = [b"x".repeat(9), b"\r\nok\r\n".to_vec()].concat();
        let endless = b"x".repeat(10 * 64 + 1);
        let cases: [(&[u8], Vec<Line>); 8] = [
            (b"NOOP\r\nQUIT\r\n", vec![Whole(b"NOOP".to_vec()), Whole(b"QUIT".to_vec())]),
            (b"\r\n", vec![Whole(Vec::new())]),
            (b"a\nb\r\n", vec![BareLineFeed, Whole(b"b".to_vec())]),
            (b"\n", vec![BareLineFeed]),
            (b"a\rb\r\n", vec![Malformed]),
            (b"a\r\r\n", vec![Malformed]),
            (&long, vec![TooLong, Whole(b"ok".to_vec())]),
            (&endless, vec![Endless]),
        ];
        for (input, want) in cases {
            for step in [1, 2, 3, input.len()] {
                assert_eq!(lines(input, 10, step), want, "{input:?} by {step}");
            }
        }
    }
}
