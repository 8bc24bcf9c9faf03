//! The right-hand side of an address: a DNS name or an address literal, in one canonical form.
//!
//! U-labels and A-labels are one domain: everything is kept as lower-case A-labels (RFC 5890 §2.3.2.1, RFC 5891 §5),
//! so that two spellings can be compared, hashed and looked up as bytes. Never touches DNS.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Longest domain in octets. RFC 5321 §4.5.3.1.2 asks for 255; RFC 1035 §2.3.4 leaves 253 visible ones.
pub const DOMAIN_BYTES_MAX: usize = 253;

/// A domain in canonical form: lower-case A-labels without a trailing dot, or an address literal in brackets.
///
/// Literals are canonical too: `[IPv6:2001:DB8::1]` and `[IPv6:2001:db8:0::1]` are one value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(Box<str>);

/// Why a text is not a domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// Nothing there.
    #[error("the domain is empty")]
    Empty,
    /// Longer than [`DOMAIN_BYTES_MAX`], or a label longer than 63 octets (RFC 1035 §2.3.4).
    #[error("the domain or one of its labels is too long")]
    TooLong,
    /// A character or an empty label that no host name has (RFC 5321 §4.1.2, RFC 5891 §5).
    #[error("the domain has a character or label that is not allowed")]
    Malformed,
    /// Brackets around something that is neither IPv4 nor `IPv6:` and an address (RFC 5321 §4.1.3).
    #[error("the address literal is not an IP address")]
    Literal,
}

impl Domain {
    /// Parses a domain or address literal, in any case and in A-labels or U-labels.
    ///
    /// One trailing dot is forgiven. Underscores are accepted: real names have them.
    ///
    /// # Errors
    /// [`DomainError`] when the text is none.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(DomainError::Literal)?;
            return Self::parse_literal(inner);
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(DomainError::Empty);
        }
        let ascii = if text.is_ascii() && !has_a_label(text) {
            text.to_ascii_lowercase()
        } else {
            // RFC 5891 §5: map, normalise, convert; also checks A-labels that arrive ready-made.
            idna::domain_to_ascii(text).map_err(|_| DomainError::Malformed)?
        };
        check_labels(&ascii)?;
        Ok(Self(ascii.into_boxed_str()))
    }

    /// RFC 5321 §4.1.3: `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
    fn parse_literal(inner: &str) -> Result<Self, DomainError> {
        let address = match inner.get(..5) {
            Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => {
                let rest = inner.get(5..).unwrap_or_default();
                IpAddr::V6(rest.parse::<Ipv6Addr>().map_err(|_| DomainError::Literal)?)
            }
            _ => IpAddr::V4(inner.parse::<Ipv4Addr>().map_err(|_| DomainError::Literal)?),
        };
        Ok(Self::from_ip(address))
    }

    /// The address literal for an IP address.
    #[must_use]
    pub fn from_ip(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self(format!("[{v4}]").into_boxed_str()),
            IpAddr::V6(v6) => Self(format!("[IPv6:{v6}]").into_boxed_str()),
        }
    }

    /// The canonical text: lower-case A-labels, or the literal with its brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The IP address, when this is an address literal.
    #[must_use]
    pub fn literal(&self) -> Option<IpAddr> {
        let inner = self.0.strip_prefix('[')?.strip_suffix(']')?;
        match inner.strip_prefix("IPv6:") {
            Some(v6) => v6.parse().ok().map(IpAddr::V6),
            None => inner.parse().ok().map(IpAddr::V4),
        }
    }

    /// The U-label form, for people; equal to [`Self::as_str`] where there is none.
    #[must_use]
    pub fn to_unicode(&self) -> String {
        if self.0.contains("xn--") { idna::domain_to_unicode(&self.0).0 } else { self.0.to_string() }
    }

    /// The domain one label up (`b.c` for `a.b.c`), if there is one; never for literals.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        if self.0.starts_with('[') { None } else { self.0.split_once('.').map(|(_, rest)| rest) }
    }
}

fn has_a_label(text: &str) -> bool {
    text.split('.').any(|label| label.get(..4).is_some_and(|tag| tag.eq_ignore_ascii_case("xn--")))
}

fn check_labels(ascii: &str) -> Result<(), DomainError> {
    if ascii.is_empty() {
        return Err(DomainError::Empty);
    }
    if ascii.len() > DOMAIN_BYTES_MAX {
        return Err(DomainError::TooLong);
    }
    for label in ascii.split('.') {
        if label.len() > 63 {
            return Err(DomainError::TooLong);
        }
        let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if label.is_empty() || !plain || label.starts_with('-') || label.ends_with('-') {
            return Err(DomainError::Malformed);
        }
    }
    Ok(())
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Domain {
    type Error = DomainError;
    fn try_from(text: String) -> Result<Self, DomainError> {
        Self::parse(&text)
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> Self {
        domain.0.into()
    }
}

impl std::str::FromStr for Domain {
    type Err = DomainError;
    fn from_str(text: &str) -> Result<Self, DomainError> {
        Self::parse(text)
    }
}

impl std::borrow::Borrow<str> for Domain {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_domain_are_one_value() {
        for (one, other) in [
            ("Example.TEST", "example.test."),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "XN--BCHER-KVA.Example"),
            ("[IPv6:2001:DB8:0::1]", "[ipv6:2001:db8::1]"),
        ] {
            assert_eq!(Domain::parse(one), Domain::parse(other), "{one} {other}");
            assert!(Domain::parse(one).is_ok(), "{one}");
        }
        assert_eq!(Domain::parse("xn--bcher-kva.example").unwrap().to_unicode(), "bücher.example");
    }

    #[test]
    fn what_is_no_domain_says_why() {
        use DomainError as E;
        for (text, why) in [
            ("", E::Empty),
            (".", E::Empty),
            ("a..b", E::Malformed),
            ("-a.test", E::Malformed),
            ("a b.test", E::Malformed),
            ("a@b", E::Malformed),
            ("[1.2.3]", E::Literal),
            ("[2001:db8::1]", E::Literal),
            ("[1.2.3.4", E::Literal),
            (&"a".repeat(64), E::TooLong),
            (&"a.".repeat(127), E::TooLong),
        ] {
            let text = if text == "a.".repeat(127) { "a.".repeat(127) + "a" } else { text.to_owned() };
            assert_eq!(Domain::parse(&text), Err(why), "{text}");
        }
    }

    #[test]
    fn literals_give_their_address() {
        assert_eq!(Domain::parse("[192.0.2.1]").unwrap().literal(), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(Domain::parse("[IPv6:::1]").unwrap().literal(), Some("::1".parse().unwrap()));
        assert_eq!(Domain::parse("a.test").unwrap().literal(), None);
    }
}
