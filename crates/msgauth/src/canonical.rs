//! Canonical forms of header fields and bodies (RFC 6376 §3.4), for DKIM and ARC. Pure.
//!
//! The body is read in chunks of any size. Lines end in CRLF; a CR or LF by itself is a character like others.
//! mail-auth 0.13.3 keeps lines at the end of a `relaxed` body that hold nothing but white space, which §3.4.4 wants
//! away, so it is given bodies that have been through here.

/// How a part is brought into one form before it is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Canonical {
    /// RFC 6376 §3.4.1, §3.4.3.
    Simple,
    /// RFC 6376 §3.4.2, §3.4.4.
    Relaxed,
}

impl Canonical {
    /// A field, with its CRLF.
    pub(crate) fn field(self, name: &str, raw: &[u8], value: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Simple => out.extend_from_slice(without_line_end(raw)),
            Self::Relaxed => {
                out.extend(name.bytes().map(|octet| octet.to_ascii_lowercase()));
                out.push(b':');
                relaxed_value(value, out);
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn without_line_end(raw: &[u8]) -> &[u8] {
    let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
    raw.strip_suffix(b"\r").unwrap_or(raw)
}

/// RFC 6376 §3.4.2: unfolded, every run of white space one space, none at the ends.
fn relaxed_value(value: &[u8], out: &mut Vec<u8>) {
    let words = value.split(|octet| crate::tags::is_space(*octet)).filter(|word| !word.is_empty());
    for (count, word) in words.enumerate() {
        if count > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}

/// Brings a body into its canonical form, chunk by chunk.
#[derive(Debug)]
pub(crate) struct Body {
    form: Canonical,
    /// A CR that ended the last chunk.
    cr: bool,
    /// White space that waits for something to stand after it; always false in the simple form.
    space: bool,
    /// Line ends that wait for another line.
    lines: usize,
    /// Something was given out.
    begun: bool,
}

impl Body {
    pub(crate) fn new(form: Canonical) -> Self {
        Self { form, cr: false, space: false, lines: 0, begun: false }
    }

    /// Takes a chunk; what is certain of its canonical form goes to `out`.
    pub(crate) fn update(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let mut rest = chunk;
        if self.cr && !rest.is_empty() {
            self.cr = false;
            rest = match rest.strip_prefix(b"\n") {
                Some(after) => {
                    self.line_end();
                    after
                }
                None => {
                    self.text(b"\r", out);
                    rest
                }
            };
        }
        while let Some(first) = rest.first() {
            let used = match first {
                b'\r' => match rest.get(1) {
                    Some(b'\n') => {
                        self.line_end();
                        2
                    }
                    Some(_) => {
                        self.text(b"\r", out);
                        1
                    }
                    None => {
                        self.cr = true;
                        1
                    }
                },
                b' ' | b'\t' if self.form == Canonical::Relaxed => {
                    self.space = true;
                    1
                }
                _ => {
                    let end = rest.iter().position(|octet| self.stops(*octet)).unwrap_or(rest.len());
                    self.text(rest.get(..end).unwrap_or_default(), out);
                    end
                }
            };
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// The end of the body.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) {
        if self.cr {
            self.text(b"\r", out);
        }
        // §3.4.3: an empty body is one CRLF; §3.4.4: an empty body is empty. Either ends in a line end otherwise.
        if self.begun || self.form == Canonical::Simple {
            out.extend_from_slice(b"\r\n");
        }
    }

    fn stops(&self, octet: u8) -> bool {
        octet == b'\r' || (self.form == Canonical::Relaxed && matches!(octet, b' ' | b'\t'))
    }

    fn line_end(&mut self) {
        self.space = false;
        self.lines += 1;
    }

    fn text(&mut self, text: &[u8], out: &mut Vec<u8>) {
        out.reserve(text.len() + 2 * self.lines + 1);
        for _ in 0..std::mem::take(&mut self.lines) {
            out.extend_from_slice(b"\r\n");
        }
        if std::mem::take(&mut self.space) {
            out.push(b' ');
        }
        out.extend_from_slice(text);
        self.begun = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(form: Canonical, chunks: &[&[u8]]) -> String {
        let (mut out, mut body) = (Vec::new(), Body::new(form));
        chunks.iter().for_each(|chunk| body.update(chunk, &mut out));
        body.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn field(form: Canonical, raw: &str) -> String {
        let (name, value) = raw.split_once(':').unwrap();
        let mut out = Vec::new();
        form.field(name.trim_end(), raw.as_bytes(), value.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    /// RFC 6376 §3.4.5.
    #[test]
    fn the_rfc_s_examples() {
        let message = b" C \r\nD \t E\r\n\r\n\r\n";
        assert_eq!(body(Canonical::Relaxed, &[message]), " C\r\nD E\r\n");
        assert_eq!(body(Canonical::Simple, &[message]), " C \r\nD \t E\r\n");
        assert_eq!(field(Canonical::Relaxed, "A: X\r\n"), "a:X\r\n");
        assert_eq!(field(Canonical::Relaxed, "B : Y\t\r\n\tZ  \r\n"), "b:Y Z\r\n");
        assert_eq!(field(Canonical::Simple, "B : Y\t\r\n\tZ  \r\n"), "B : Y\t\r\n\tZ  \r\n");
    }

    #[test]
    fn empty_lines_at_the_end_and_bodies_without_one() {
        for (given, relaxed, simple) in [
            ("", "", "\r\n"),
            ("\r\n\r\n", "", "\r\n"),
            (" \r\n\t\r\n", "", " \r\n\t\r\n"),
            ("a\r\n \r\n\r\n", "a\r\n", "a\r\n \r\n"),
            ("a", "a\r\n", "a\r\n"),
            ("a \t", "a\r\n", "a \t\r\n"),
            ("\r\n\r\na\r\n", "\r\n\r\na\r\n", "\r\n\r\na\r\n"),
            ("a\rb\nc\r", "a\rb\nc\r\r\n", "a\rb\nc\r\r\n"),
        ] {
            assert_eq!(body(Canonical::Relaxed, &[given.as_bytes()]), relaxed, "{given:?}");
            assert_eq!(body(Canonical::Simple, &[given.as_bytes()]), simple, "{given:?}");
        }
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference_and_twice_is_once(text in "[ab \t\r\n]{0,40}", cut in 0usize..40) {
            for form in [Canonical::Relaxed, Canonical::Simple] {
                let (one, two) = text.as_bytes().split_at(cut.min(text.len()));
                let whole = body(form, &[text.as_bytes()]);
                prop_assert_eq!(&body(form, &[one, two]), &whole);
                prop_assert_eq!(&body(form, &[whole.as_bytes()]), &whole);
            }
        }
    }
}
