//! A message as lines, the longest in pieces.
//!
//! CRLF and bare LF both end a line; its end is not part of it. What is longer than [`LINE_BYTES_MAX`] comes in pieces of
//! that size, as Postfix's `line_length_limit` cuts it. Holds one piece at a time.

use std::io::{self, BufRead};

/// Longest piece of a line, in octets, its end counted.
pub const LINE_BYTES_MAX: usize = 2048;

/// Reads pieces of lines.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    piece: Vec<u8>,
}

/// A line, or a piece of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// Its octets.
    pub text: &'a [u8],
    /// The line ends here.
    pub is_last: bool,
    /// Octets in the message, the end of the line counted.
    pub octets: usize,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, piece: Vec::with_capacity(LINE_BYTES_MAX) }
    }

    /// The next piece; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Piece<'_>>> {
        self.piece.clear();
        loop {
            let room = LINE_BYTES_MAX - self.piece.len();
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                let text = self.piece.as_slice();
                let piece = Piece { text, is_last: true, octets: text.len() };
                return Ok((!text.is_empty()).then_some(piece));
            }
            let within = buffer.get(..room.min(buffer.len())).unwrap_or_default();
            let end = within.iter().position(|b| *b == b'\n');
            let taken = end.map_or(within.len(), |end| end + 1);
            self.piece.extend_from_slice(within.get(..taken).unwrap_or_default());
            self.reader.consume(taken);
            if end.is_some() {
                let octets = self.piece.len();
                let text = self.piece.strip_suffix(b"\n").unwrap_or(&self.piece);
                let text = text.strip_suffix(b"\r").unwrap_or(text);
                return Ok(Some(Piece { text, is_last: true, octets }));
            }
            if self.piece.len() < LINE_BYTES_MAX {
                continue;
            }
            // The line may end exactly here, its CR in this piece.
            if self.piece.ends_with(b"\r") && self.reader.fill_buf()?.first() == Some(&b'\n') {
                self.reader.consume(1);
                let octets = self.piece.len() + 1;
                self.piece.pop();
                return Ok(Some(Piece { text: &self.piece, is_last: true, octets }));
            }
            return Ok(Some(Piece { text: &self.piece, is_last: false, octets: self.piece.len() }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(message: &[u8], buffer: usize) -> Vec<(usize, bool)> {
        let mut lines = Lines::new(io::BufReader::with_capacity(buffer, message));
        let (mut all, mut octets) = (Vec::new(), 0);
        while let Some(piece) = lines.next().unwrap() {
            all.push((piece.text.len(), piece.is_last));
            octets += piece.octets;
        }
        assert_eq!(octets, message.len());
        all
    }

    #[test]
    fn lines_end_in_crlf_or_lf_and_long_ones_come_in_pieces() {
        assert_eq!(pieces(b"a\r\n\r\nbc\nd", 3), [(1, true), (0, true), (2, true), (1, true)]);
        assert_eq!(pieces(b"", 3), []);
        for (length, want) in [
            (2046, vec![(2046, true)]),
            (2047, vec![(2047, true)]),
            (2048, vec![(2048, false), (0, true)]),
            (5000, vec![(2048, false), (2048, false), (904, true)]),
        ] {
            let line = format!("{}\r\n", "x".repeat(length));
            for buffer in [1, 2048, 2049, 9000] {
                assert_eq!(pieces(line.as_bytes(), buffer), want, "{length} {buffer}");
            }
        }
    }
}
