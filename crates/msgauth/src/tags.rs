//! Tag lists (RFC 6376 §3.2), as DKIM, ARC and DMARC write their fields and records. Pure.
//!
//! A tag that stands twice, an empty one, or a name that is none makes the whole list unusable, as the RFC has it.

use std::ops::Range;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Most tags that one list may have; the fields of DKIM know fifteen.
pub(crate) const TAGS_MAX: usize = 64;

/// Signers leave the padding away, or leave bits in it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A tag list.
#[derive(Debug)]
pub(crate) struct Tags<'a>(Vec<Tag<'a>>);

/// One `name=value`.
#[derive(Debug)]
struct Tag<'a> {
    name: &'a str,
    /// Without the white space around it.
    value: &'a [u8],
    /// Where the value stands, with the white space around it.
    place: Range<usize>,
}

impl<'a> Tags<'a> {
    /// Reads a list; folding white space may stand around names and values.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, &'static str> {
        let mut tags: Vec<Tag<'a>> = Vec::new();
        let mut start = 0;
        for part in text.split(|octet| *octet == b';') {
            let end = start + part.len();
            // One semicolon may end the list.
            if end == text.len() && trim(part).is_empty() && !tags.is_empty() {
                break;
            }
            let tag = Tag::parse(part, start)?;
            if tags.iter().any(|other| other.name == tag.name) {
                return Err("a tag stands twice");
            }
            if tags.len() == TAGS_MAX {
                return Err("too many tags");
            }
            tags.push(tag);
            start = end + 1;
        }
        Ok(Self(tags))
    }

    /// The value of a tag; names are compared with their case.
    pub(crate) fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.0.iter().find(|tag| tag.name == name).map(|tag| tag.value)
    }

    /// Where in the text the value of a tag stands, with all white space around it.
    pub(crate) fn place(&self, name: &str) -> Option<Range<usize>> {
        self.0.iter().find(|tag| tag.name == name).map(|tag| tag.place.clone())
    }

    /// The value of a tag as text, when it is UTF-8 without white space inside.
    pub(crate) fn word(&self, name: &str) -> Option<&'a str> {
        let value = std::str::from_utf8(self.get(name)?).ok()?;
        (!value.contains(|c: char| c.is_ascii_whitespace())).then_some(value)
    }

    /// The names of the tags, in their order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(|tag| tag.name)
    }

    /// A number; `Some(None)` where the tag is there and holds none.
    pub(crate) fn number(&self, name: &str) -> Option<Option<u64>> {
        self.get(name)?;
        let digits = self.word(name).filter(|word| word.bytes().all(|octet| octet.is_ascii_digit()));
        Some(digits.and_then(|digits| digits.parse().ok()))
    }

    /// The octets that base64 stands for; white space in it is ignored (RFC 6376 §2.10).
    pub(crate) fn base64(&self, name: &str) -> Option<Vec<u8>> {
        let letters: Vec<u8> = self.get(name)?.iter().copied().filter(|octet| !is_space(*octet)).collect();
        LENIENT.decode(letters).ok()
    }

    /// A list parted by colons, each item without the white space around it (RFC 6376 §3.2).
    pub(crate) fn items(&self, name: &str) -> Option<impl Iterator<Item = &'a [u8]>> {
        self.get(name).map(|value| value.split(|octet| *octet == b':').map(trim))
    }
}

impl<'a> Tag<'a> {
    fn parse(part: &'a [u8], start: usize) -> Result<Self, &'static str> {
        let equals = part.iter().position(|octet| *octet == b'=').ok_or("a tag has no value")?;
        let (name, value) = part.split_at_checked(equals).unwrap_or((part, &[]));
        let value = value.get(1..).unwrap_or_default();
        let name = std::str::from_utf8(trim(name)).ok().filter(|name| is_name(name));
        let place = start + equals + 1..start + part.len();
        Ok(Self { name: name.ok_or("a tag has no name")?, value: trim(value), place })
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_')
}

pub(crate) fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

/// Without folding white space at both ends.
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|octet| !is_space(*octet)).unwrap_or(text.len());
    let end = text.iter().rposition(|octet| !is_space(*octet)).map_or(start, |last| last + 1);
    text.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_with_their_places() {
        let text = b" v=1; b = aGk=\r\n\t ;h=from : to:;  x=;e=a=b ; ";
        let tags = Tags::parse(text).unwrap();
        assert_eq!(tags.names().collect::<Vec<_>>(), ["v", "b", "h", "x", "e"]);
        assert_eq!(tags.number("v"), Some(Some(1)));
        assert_eq!((tags.number("x"), tags.number("y")), (Some(None), None));
        assert_eq!(tags.base64("b").unwrap(), b"hi");
        assert_eq!(&text[tags.place("b").unwrap()], b" aGk=\r\n\t ");
        assert_eq!(tags.items("h").unwrap().collect::<Vec<_>>(), [b"from".as_slice(), b"to", b""]);
        assert_eq!(tags.word("e"), Some("a=b"));
        assert_eq!(tags.get("V"), None);
    }

    #[test]
    fn lists_that_are_none() {
        for bad in ["", ";", "a", "a=1;;", "a=1;;b=2", "a=1;a=2", "=1", "1=1", "a b=1", "a=1; b", ";a=1"] {
            assert!(Tags::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let many: String = (0..=TAGS_MAX).map(|n| format!("a{n}=1;")).collect();
        assert!(Tags::parse(many.as_bytes()).is_err());
    }
}
