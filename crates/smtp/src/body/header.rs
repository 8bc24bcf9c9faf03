//! Watches the header go by: its length, and how many Received fields it has. Keeps nine bytes, whatever comes.

use memchr::memchr;

const RECEIVED: &[u8; 9] = b"received:";

/// Reads a message in pieces, up to the empty line that ends its header (RFC 5322 §2.1).
#[derive(Debug, Default)]
pub(super) struct HeaderScan {
    /// The first bytes of the present line.
    prefix: [u8; 9],
    /// Length of the present line so far.
    line_bytes: usize,
    bytes: u64,
    received_lines: usize,
    ended: bool,
}

impl HeaderScan {
    /// The next piece; lines end in CRLF.
    pub(super) fn read(&mut self, mut piece: &[u8]) {
        while !self.ended && !piece.is_empty() {
            let end = memchr(b'\n', piece).map(|at| at + 1);
            let (line, rest) = piece.split_at(end.unwrap_or(piece.len()));
            self.keep(line);
            self.bytes += line.len() as u64;
            if end.is_some() {
                self.end_line();
            }
            piece = rest;
        }
    }

    fn keep(&mut self, line: &[u8]) {
        let room = self.prefix.get_mut(self.line_bytes..).unwrap_or_default();
        for (slot, byte) in room.iter_mut().zip(line) {
            *slot = byte.to_ascii_lowercase();
        }
        self.line_bytes += line.len();
    }

    fn end_line(&mut self) {
        if self.line_bytes >= RECEIVED.len() && &self.prefix == RECEIVED {
            self.received_lines += 1;
        }
        self.ended = self.line_bytes == 2;
        self.line_bytes = 0;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn received_lines(&self) -> usize {
        self.received_lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_fields_are_counted_to_the_end_of_the_header() {
        let message = b"Received: a\r\n\tfolded\r\nreceived:b\r\nReceived-SPF: pass\r\nX: Received: c\r\n\r\nReceived: no\r\n";
        for step in 1..message.len() {
            let mut scan = HeaderScan::default();
            message.chunks(step).for_each(|piece| scan.read(piece));
            assert_eq!((scan.received_lines(), scan.bytes()), (2, 72), "by {step}");
        }
    }
}
