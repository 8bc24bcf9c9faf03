//! As much of Content-Type as finds the headers inside of a body: RFC 2045 §5.1, RFC 2046 §5.
//!
//! Tolerant: what cannot be read is "something else". Several boundaries, which RFC 2046 forbids, are all taken, so that
//! parts cannot be hidden behind one that another reader would choose.

/// What a field says of the part below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A message with its own header: `message/rfc822`, `message/global`.
    Message,
    /// Parts; these are their boundaries.
    Multipart {
        /// Each at most [`BOUNDARY_BYTES_MAX`] octets.
        boundaries: Vec<Vec<u8>>,
        /// `multipart/digest`: parts without a Content-Type are messages (RFC 2046 §5.1.5).
        digest: bool,
    },
    /// Anything else, which has no header inside.
    Leaf,
}

/// What is compared of a boundary, in octets; RFC 2046 §5.1.1 permits 70.
pub(super) const BOUNDARY_BYTES_MAX: usize = 2048;
/// Parameters that are looked at.
const PARAMETERS_MAX: usize = 64;

/// Reads a field's value, folded or not.
pub(super) fn parse(value: &[u8]) -> Kind {
    let mut tokens = Tokens(value);
    let (Some(Token::Word(main)), Some(Token::Special(b'/')), Some(Token::Word(sub))) =
        (tokens.next(), tokens.next(), tokens.next())
    else {
        return main_type_alone(value);
    };
    match (main.to_ascii_lowercase().as_slice(), sub.to_ascii_lowercase().as_slice()) {
        (b"message", b"rfc822" | b"global") => Kind::Message,
        (b"multipart", sub) => Kind::Multipart { boundaries: boundaries(tokens), digest: sub == b"digest" },
        _ => Kind::Leaf,
    }
}

/// `multipart; boundary=x`, without a subtype, still has parts.
fn main_type_alone(value: &[u8]) -> Kind {
    let mut tokens = Tokens(value);
    match tokens.next() {
        Some(Token::Word(main)) if main.eq_ignore_ascii_case(b"multipart") => {
            Kind::Multipart { boundaries: boundaries(tokens), digest: false }
        }
        _ => Kind::Leaf,
    }
}

fn boundaries(mut tokens: Tokens<'_>) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut seen = 0;
    while let Some(token) = tokens.next() {
        if token != Token::Special(b';') {
            continue;
        }
        seen += 1;
        if seen > PARAMETERS_MAX {
            break;
        }
        let mut ahead = tokens.clone();
        let (name, equals, value) = (ahead.next(), ahead.next(), ahead.next());
        let named = matches!(name, Some(Token::Word(name)) if name.eq_ignore_ascii_case(b"boundary"));
        let (true, Some(Token::Special(b'='))) = (named, equals) else { continue };
        let mut boundary = match value {
            Some(Token::Word(word)) => word.to_vec(),
            Some(Token::Quoted(text)) => text,
            _ => continue,
        };
        boundary.truncate(BOUNDARY_BYTES_MAX);
        found.push(boundary);
        tokens = ahead;
    }
    found
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a [u8]),
    Quoted(Vec<u8>),
    Special(u8),
}

/// The tokens of RFC 2045 §5.1; comments and white space are passed over.
#[derive(Debug, Clone)]
struct Tokens<'a>(&'a [u8]);

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let (first, rest) = self.0.split_first()?;
            match first {
                b' ' | b'\t' | b'\r' | b'\n' => self.0 = rest,
                b'(' => self.0 = behind_comment(rest),
                b'"' => return Some(Token::Quoted(self.quoted(rest))),
                special if is_special(*special) => {
                    self.0 = rest;
                    return Some(Token::Special(*special));
                }
                _ => {
                    let ends = |b: &u8| is_special(*b) || b.is_ascii_whitespace() || *b == b'"';
                    let length = self.0.iter().position(ends).unwrap_or(self.0.len());
                    let (word, rest) = self.0.split_at(length);
                    self.0 = rest;
                    return Some(Token::Word(word));
                }
            }
        }
    }

    fn quoted(&mut self, mut rest: &'a [u8]) -> Vec<u8> {
        let mut text = Vec::new();
        while let Some((first, behind)) = rest.split_first() {
            rest = behind;
            match first {
                b'"' => break,
                b'\\' => {
                    if let Some((escaped, behind)) = rest.split_first() {
                        text.push(*escaped);
                        rest = behind;
                    }
                }
                b'\r' | b'\n' => {}
                plain => text.push(*plain),
            }
        }
        self.0 = rest;
        text
    }
}

const fn is_special(octet: u8) -> bool {
    matches!(
        octet,
        b'(' | b')' | b'<' | b'>' | b'@' | b',' | b';' | b':' | b'\\' | b'/' | b'[' | b']' | b'?' | b'='
    )
}

/// What follows a comment, behind its first parenthesis; comments nest (RFC 5322 §3.2.2).
fn behind_comment(mut rest: &[u8]) -> &[u8] {
    let mut depth = 1_usize;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'\\' => rest = rest.get(1..).unwrap_or_default(),
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn multipart(boundaries: &[&str], digest: bool) -> Kind {
        Kind::Multipart { boundaries: boundaries.iter().map(|b| b.as_bytes().to_vec()).collect(), digest }
    }

    #[test]
    fn what_has_headers_inside_is_found() {
        for (value, want) in [
            ("text/plain", Kind::Leaf),
            (" Message/RFC822; x=y", Kind::Message),
            ("message/global", Kind::Message),
            ("message/delivery-status", Kind::Leaf),
            ("multipart/mixed; boundary=abc", multipart(&["abc"], false)),
            ("multipart/digest;\n boundary=\"a \\\"b\"", multipart(&["a \"b"], true)),
            (
                "multipart (a (nested) comment) / mixed ; charset=x; Boundary = x'y",
                multipart(&["x'y"], false),
            ),
            ("multipart/mixed; boundary=a; boundary=\"b\"", multipart(&["a", "b"], false)),
            ("multipart; boundary=a", multipart(&["a"], false)),
            ("multipart/mixed", multipart(&[], false)),
            ("", Kind::Leaf),
            ("\"", Kind::Leaf),
        ] {
            assert_eq!(parse(value.as_bytes()), want, "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn anything_is_read(value: Vec<u8>) {
            let _ = parse(&value);
        }
    }
}
