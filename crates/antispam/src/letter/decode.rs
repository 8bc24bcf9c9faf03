//! Takes transfer encodings and charsets off: RFC 2045 §6, and as tolerantly as mail programs do.
//!
//! What cannot be decoded stays as it is, or is left out: people see the rest.

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode_char;

use super::{Encoding, Fault, Letter, Part};

/// The octets behind a transfer encoding, at most so many; whether something was wrong; how many were read.
pub(super) fn octets(encoding: Encoding, raw: &[u8], bytes_max: usize) -> (Vec<u8>, bool, usize) {
    // Four characters are three octets; lines of 76 and longer ends of lines, generously.
    let read = match encoding {
        Encoding::None => bytes_max,
        Encoding::QuotedPrintable => bytes_max.saturating_mul(3),
        Encoding::Base64 => bytes_max.saturating_mul(3) / 2,
    };
    let raw = raw.get(..read).unwrap_or(raw);
    let (mut out, is_broken) = match encoding {
        Encoding::None => (raw.to_vec(), false),
        Encoding::QuotedPrintable => (quoted_printable(raw), false),
        Encoding::Base64 => match base64_decode(raw) {
            Some(out) => (out, false),
            None => (broken_base64(raw), true),
        },
    };
    out.truncate(bytes_max);
    (out, is_broken, raw.len())
}

/// The text of a part, at most `bytes_max` octets of it.
pub(super) fn text(part: &Part, raw: &[u8], bytes_max: usize, letter: &mut Letter) -> String {
    let (out, is_broken, read) = octets(part.encoding, raw, bytes_max);
    letter.units += (read + out.len()) as u64;
    if is_broken {
        letter.fault(Fault::BadBase64);
    }
    if read < raw.len() || out.len() == bytes_max {
        letter.fault(Fault::TextCut);
    }
    if memchr::memchr(0, &out).is_some() {
        letter.fault(Fault::Nul);
    }
    let mut text = in_charset(part.charset.as_deref(), out);
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
    text
}

fn in_charset(charset: Option<&str>, octets: Vec<u8>) -> String {
    match String::from_utf8(octets) {
        // Most charsets agree about ASCII; those of seven bits that do not are told by their escapes.
        Ok(text) if !text.contains('\x1b') && !charset.is_some_and(is_seven_bit) => text,
        Ok(text) => decoded(charset, text.as_bytes()).unwrap_or(text),
        Err(error) => {
            let octets = error.into_bytes();
            decoded(charset, &octets).unwrap_or_else(|| String::from_utf8_lossy(&octets).into_owned())
        }
    }
}

fn is_seven_bit(charset: &str) -> bool {
    charset.to_ascii_lowercase().starts_with("utf-7") || charset.to_ascii_lowercase().starts_with("utf-16")
}

fn decoded(charset: Option<&str>, octets: &[u8]) -> Option<String> {
    Some(charset_decoder(charset?.as_bytes())?(octets))
}

/// Broken sequences stay as they are (RFC 2045 §6.7).
fn quoted_printable(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'=', rest) {
        let (before, behind) = rest.split_at_checked(at).unwrap_or((rest, b""));
        out.extend_from_slice(before);
        rest = match behind {
            [b'=', b'\r', b'\n', behind @ ..] | [b'=', b'\n', behind @ ..] => behind,
            [b'=', first, second, behind @ ..] => match quoted_printable_decode_char(*first, *second) {
                Some(octet) => {
                    out.push(octet);
                    behind
                }
                None => {
                    out.push(b'=');
                    behind_one(rest, at)
                }
            },
            _ => {
                out.push(b'=');
                behind_one(rest, at)
            }
        };
    }
    out.extend_from_slice(rest);
    out
}

fn behind_one(rest: &[u8], at: usize) -> &[u8] {
    rest.get(at + 1..).unwrap_or_default()
}

/// Pieces of base64 with other things between them: what is no digit of it is passed over, padding ends a piece.
fn broken_base64(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() / 4 * 3);
    let mut digits = Vec::new();
    for piece in raw.split(|octet| *octet == b'=') {
        digits.clear();
        digits
            .extend(piece.iter().copied().filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/')));
        out.extend(base64_decode(&digits).unwrap_or_default());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_encodings_are_read_as_far_as_they_go() {
        let (out, broken, _) = octets(Encoding::Base64, b"aGVsbG8=\r\n!!d29ybGQ=", 100);
        assert_eq!((out.as_slice(), broken), (b"helloworld".as_slice(), true));
        let (out, broken, _) = octets(Encoding::Base64, b"aGVs\r\nbG8=\r\n", 100);
        assert_eq!((out.as_slice(), broken), (b"hello".as_slice(), false));
        let text = b"a=3Db =\r\nc=ZZ=";
        assert_eq!(octets(Encoding::QuotedPrintable, text, 100).0, b"a=b c=ZZ=");
        assert_eq!(octets(Encoding::QuotedPrintable, text, 2).0, b"a=");
    }

    proptest::proptest! {
        #[test]
        fn anything_is_decoded_within_its_bound(raw: Vec<u8>, max in 0_usize..64) {
            for encoding in [Encoding::None, Encoding::QuotedPrintable, Encoding::Base64] {
                proptest::prop_assert!(octets(encoding, &raw, max).0.len() <= max);
            }
        }
    }
}
