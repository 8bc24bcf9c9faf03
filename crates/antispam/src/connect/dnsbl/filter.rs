//! Which answers of a list a rule is about: `127.0.0.[2..11]`, `127.0.[0;2..4].3`, as postscreen_dnsbl_sites(5) has it.
//!
//! Four parts; each is a number, in brackets numbers and ranges with `;` between, or `&` and a number: all that have a bit
//! of it, for lists whose answers are sums (SURBL, URIBL). Pure.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest text of a filter, in octets.
const FILTER_BYTES_MAX: usize = 256;

/// A set of addresses, as a product of sets of octets. Prints as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ReplyFilter {
    text: String,
    octets: [Vec<(u8, u8)>; 4],
}

/// The text is no filter of replies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no reply of a DNS list: write four parts, each a number or numbers and ranges in brackets, such as \
     127.0.0.[2;4..11], or & and a number for its bits"
)]
pub struct FilterError(String);

impl ReplyFilter {
    /// True when the rule is about this address.
    #[must_use]
    pub fn matches(&self, address: Ipv4Addr) -> bool {
        self.octets
            .iter()
            .zip(address.octets())
            .all(|(ranges, octet)| ranges.iter().any(|(first, last)| (*first..=*last).contains(&octet)))
    }
}

impl Default for ReplyFilter {
    /// Every answer a list may give (RFC 5782 §2.1).
    fn default() -> Self {
        let any = || vec![(0, u8::MAX)];
        Self {
            text: "127.[0..255].[0..255].[0..255]".to_owned(),
            octets: [vec![(127, 127)], any(), any(), any()],
        }
    }
}

impl FromStr for ReplyFilter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let error = || FilterError(text.chars().take(FILTER_BYTES_MAX).collect());
        if text.len() > FILTER_BYTES_MAX {
            return Err(error());
        }
        let mut rest = text;
        let mut octets: [Vec<(u8, u8)>; 4] = Default::default();
        for (at, ranges) in octets.iter_mut().enumerate() {
            if at > 0 {
                rest = rest.strip_prefix('.').ok_or_else(error)?;
            }
            (*ranges, rest) = part(rest).ok_or_else(error)?;
        }
        if rest.is_empty() { Ok(Self { text: text.to_owned(), octets }) } else { Err(error()) }
    }
}

/// One of the four parts, and what follows it.
fn part(text: &str) -> Option<(Vec<(u8, u8)>, &str)> {
    if let Some(open) = text.strip_prefix('[') {
        let (inner, rest) = open.split_once(']')?;
        let ranges = inner.split(';').map(range).collect::<Option<Vec<_>>>()?;
        return Some((ranges, rest));
    }
    let digits = text.strip_prefix('&');
    let end_of = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if let Some(bits) = digits {
        let (digits, rest) = bits.split_at_checked(end_of(bits))?;
        let bits = number(digits).filter(|bits| *bits > 0)?;
        return Some((
            (0..=u8::MAX).filter(|octet| octet & bits != 0).map(|octet| (octet, octet)).collect(),
            rest,
        ));
    }
    let (digits, rest) = text.split_at_checked(end_of(text))?;
    let octet = number(digits)?;
    Some((vec![(octet, octet)], rest))
}

fn range(text: &str) -> Option<(u8, u8)> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

fn number(digits: &str) -> Option<u8> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

impl fmt::Display for ReplyFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for ReplyFilter {
    type Error = FilterError;
    fn try_from(text: String) -> Result<Self, FilterError> {
        text.parse()
    }
}

impl From<ReplyFilter> for String {
    fn from(filter: ReplyFilter) -> Self {
        filter.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(filter: &str, address: &str) -> bool {
        filter.parse::<ReplyFilter>().unwrap().matches(address.parse().unwrap())
    }

    #[test]
    fn filters_are_numbers_lists_and_ranges() {
        for (filter, yes, no) in [
            ("127.0.0.2", vec!["127.0.0.2"], vec!["127.0.0.3", "127.0.1.2"]),
            ("127.0.0.[2..11]", vec!["127.0.0.2", "127.0.0.11"], vec!["127.0.0.1", "127.0.0.12"]),
            ("127.0.0.[10;11]", vec!["127.0.0.10", "127.0.0.11"], vec!["127.0.0.12", "127.0.0.9"]),
            ("127.0.0.[2;4..7;9]", vec!["127.0.0.2", "127.0.0.5"], vec!["127.0.0.3", "127.0.0.8"]),
            ("127.0.[0..255].3", vec!["127.0.0.3", "127.0.77.3"], vec!["127.1.0.3", "127.0.77.2"]),
            ("127.[0;1].[0..1].[0..255]", vec!["127.1.0.9"], vec!["127.2.0.9"]),
            ("127.0.0.&8", vec!["127.0.0.8", "127.0.0.72"], vec!["127.0.0.2", "127.0.0.64", "127.0.1.8"]),
        ] {
            for address in yes {
                assert!(matches(filter, address), "{filter} {address}");
            }
            for address in no {
                assert!(!matches(filter, address), "{filter} {address}");
            }
        }
        assert!(ReplyFilter::default().matches(Ipv4Addr::new(127, 9, 9, 9)));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for bad in [
            "",
            "127",
            "127.0.0",
            "127.0.0.256",
            "127.0.0.2.3",
            "127.0.0.[",
            "127.0.0.[]",
            "127.0.0.[3..2]",
            "127.0.0.[2;]",
            "127.0.0.+2",
            "127.0.0.[2..]",
            "127..0.2",
            "127.0.0.2 ",
            "127.0.0.[2]3",
            "127.0.0.&",
            "127.0.0.&0",
            "a.b.c.d",
        ] {
            assert!(bad.parse::<ReplyFilter>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9.;&\\[\\]]{0,24}") {
            if let Ok(filter) = text.parse::<ReplyFilter>() {
                prop_assert_eq!(filter.to_string(), text);
            }
        }

        #[test]
        fn an_address_is_its_own_filter(octets: [u8; 4]) {
            let address = Ipv4Addr::from(octets);
            prop_assert!(address.to_string().parse::<ReplyFilter>().unwrap().matches(address));
        }
    }
}
