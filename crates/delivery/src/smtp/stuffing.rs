//! Dot-stuffing without copying: a message becomes slices of itself with dots between them (RFC 5321 §4.5.2).
//!
//! What leaves here has CRLF line ends only, whatever came in (RFC 5321 §2.3.8): stored messages have no bare CR or LF, but
//! a receiver that took one for a line end would see another message than its neighbour, so that the rule is enforced at
//! the last place too. Lines are found sixteen or more octets at a time (memchr).

use std::io::IoSlice;

const DOT: &[u8] = b".";
const CR: &[u8] = b"\r";
const LF: &[u8] = b"\n";

/// The state between two parts of one message.
#[derive(Debug)]
pub(crate) struct Stuffer {
    at_line_start: bool,
    /// The last octet was a CR whose LF is still to come.
    after_cr: bool,
}

impl Stuffer {
    /// At the start of a message, which is the start of a line: a dot there is doubled too.
    pub(crate) fn new() -> Self {
        Self { at_line_start: true, after_cr: false }
    }

    /// Appends a part's slices.
    pub(crate) fn push<'a>(&mut self, part: &'a [u8], out: &mut Vec<IoSlice<'a>>) {
        let (Some(&first), Some(&last)) = (part.first(), part.last()) else { return };
        if std::mem::take(&mut self.after_cr) {
            if first == b'\n' {
                self.after_cr = true;
            } else {
                // The CR before this part stood alone.
                out.push(IoSlice::new(LF));
                self.at_line_start = true;
            }
        }
        if self.at_line_start && first == b'.' {
            out.push(IoSlice::new(DOT));
        }
        let mark = out.len();
        if !self.push_clean(part, out) {
            out.truncate(mark);
            self.push_mended(part, out);
        }
        self.at_line_start = last == b'\n';
        self.after_cr = last == b'\r';
    }

    /// The ordinary case: every CR is followed by LF and every LF follows a CR. `false`: it is not so, and what was
    /// appended must go.
    fn push_clean<'a>(&self, part: &'a [u8], out: &mut Vec<IoSlice<'a>>) -> bool {
        let mut line_ends = 0;
        let mut start = 0;
        for at in memchr::memchr_iter(b'\n', part) {
            let cr_before = match at.checked_sub(1) {
                Some(before) => part.get(before) == Some(&b'\r'),
                None => self.after_cr,
            };
            if !cr_before {
                return false;
            }
            line_ends += 1;
            if part.get(at + 1) == Some(&b'.') {
                out.push(IoSlice::new(part.get(start..=at).unwrap_or_default()));
                out.push(IoSlice::new(DOT));
                start = at + 1;
            }
        }
        out.push(IoSlice::new(part.get(start..).unwrap_or_default()));
        let crs = memchr::memchr_iter(b'\r', part).count() + usize::from(self.after_cr);
        crs == line_ends + usize::from(part.last() == Some(&b'\r'))
    }

    /// The rare case: bare CR and bare LF become CRLF.
    fn push_mended<'a>(&self, part: &'a [u8], out: &mut Vec<IoSlice<'a>>) {
        let mut start = 0;
        for at in memchr::memchr2_iter(b'\r', b'\n', part) {
            let next = part.get(at + 1);
            let is_cr = part.get(at) == Some(&b'\r');
            if is_cr && (next.is_none() || next == Some(&b'\n')) {
                // The LF decides; or the next part does.
                continue;
            }
            let cr_before = match at.checked_sub(1) {
                Some(before) => part.get(before) == Some(&b'\r'),
                None => self.after_cr,
            };
            if is_cr {
                out.push(IoSlice::new(part.get(start..=at).unwrap_or_default()));
                out.push(IoSlice::new(LF));
                start = at + 1;
            } else if !cr_before {
                out.push(IoSlice::new(part.get(start..at).unwrap_or_default()));
                out.push(IoSlice::new(CR));
                start = at;
            }
            if next == Some(&b'.') {
                out.push(IoSlice::new(part.get(start..=at).unwrap_or_default()));
                out.push(IoSlice::new(DOT));
                start = at + 1;
            }
        }
        out.push(IoSlice::new(part.get(start..).unwrap_or_default()));
    }

    /// What ends the message: the dot on a line of its own, after ending a line that is open.
    pub(crate) fn finish(self) -> &'static [u8] {
        match (self.after_cr, self.at_line_start) {
            (true, _) => b"\n.\r\n",
            (false, true) => b".\r\n",
            (false, false) => b"\r\n.\r\n",
        }
    }
}

/// True when a message can go out as it is, without stuffing (BDAT): CRLF line ends only, the last line ended.
pub(crate) fn is_canonical(parts: &[bytes::Bytes]) -> bool {
    let stuffer_sees = |(mut stuffer, clean): (Stuffer, bool), part: &bytes::Bytes| {
        let mut slices = Vec::new();
        let joined = !stuffer.after_cr || part.first().is_none_or(|first| *first == b'\n');
        let part_clean = part.is_empty() || stuffer.push_clean(part, &mut slices);
        if let Some(last) = part.last() {
            (stuffer.at_line_start, stuffer.after_cr) = (*last == b'\n', *last == b'\r');
        }
        (stuffer, clean && joined && part_clean)
    };
    let (stuffer, clean) = parts.iter().fold((Stuffer::new(), true), stuffer_sees);
    clean && stuffer.at_line_start
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn sent(parts: &[&[u8]]) -> Vec<u8> {
        let mut stuffer = Stuffer::new();
        let mut out = Vec::new();
        for part in parts {
            let mut slices = Vec::new();
            stuffer.push(part, &mut slices);
            out.extend(slices.iter().flat_map(|slice| slice.iter().copied()));
        }
        out.extend_from_slice(stuffer.finish());
        out
    }

    /// What a receiver makes of it (RFC 5321 §4.5.2), a line at a time.
    fn received(wire: &[u8]) -> Vec<u8> {
        let body = wire.strip_suffix(b".\r\n").unwrap();
        assert!(body.is_empty() || body.ends_with(b"\r\n"));
        let mut out = Vec::new();
        for line in body.split_inclusive(|&b| b == b'\n') {
            assert_ne!(line, b".\r\n", "the message would end here");
            out.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
        out
    }

    #[test]
    fn dots_are_doubled_at_line_starts_only() {
        for (text, wire) in [
            (&b"a\r\n"[..], &b"a\r\n.\r\n"[..]),
            (b".\r\n", b"..\r\n.\r\n"),
            (b"..x\r\n.\r\na.b\r\n", b"...x\r\n..\r\na.b\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b"a\r", b"a\r\n.\r\n"),
            (b"", b".\r\n"),
            (b"a\n.\nb", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"a\r.\rb\r\r\n", b"a\r\n..\r\nb\r\n\r\n.\r\n"),
        ] {
            assert_eq!(sent(&[text]), wire, "{:?}", String::from_utf8_lossy(text));
        }
    }

    /// Every text of up to six octets over the alphabet that matters, parted everywhere.
    #[test]
    fn no_text_ends_early_and_parts_do_not_matter() {
        let mut texts: Vec<Vec<u8>> = vec![Vec::new()];
        for _ in 0..6 {
            let longer: Vec<Vec<u8>> = texts
                .iter()
                .flat_map(|t| b"\r\n.a".iter().map(move |&b| [t.as_slice(), &[b]].concat()))
                .collect();
            for text in &longer {
                let whole = sent(&[text]);
                let canonical = received(&whole);
                assert!(
                    !String::from_utf8(canonical.clone()).unwrap().replace("\r\n", "").contains(['\r', '\n'])
                );
                for at in 0..=text.len() {
                    let (one, other) = text.split_at(at);
                    assert_eq!(sent(&[one, other]), whole, "{text:?} parted at {at}");
                    let parts = [Bytes::copy_from_slice(one), Bytes::copy_from_slice(other)];
                    assert_eq!(is_canonical(&parts), canonical == *text, "{text:?} parted at {at}");
                }
            }
            texts = longer;
        }
    }

    #[test]
    fn ordinary_text_is_one_slice() {
        let text = b"Subject: x\r\n\r\nline\r\nline two\r\n".repeat(100);
        let mut slices = Vec::new();
        Stuffer::new().push(&text, &mut slices);
        assert_eq!((slices.len(), slices[0].as_ptr()), (1, text.as_ptr()));
    }
}
