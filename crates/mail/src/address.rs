//! A mailbox address: local part and domain, kept by meaning rather than by spelling.
//!
//! `"joe"@a.test` and `joe@a.test` are the same mailbox (RFC 5321 §4.1.2: quoting that is not needed is dropped), so the
//! local part is stored unquoted and quoted again, where it must be, on printing.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::{Domain, DomainError};

/// Longest local part that is *accepted*, in octets. RFC 5321 §4.5.3.1.1 requires 64; VERP and SRS make longer ones.
pub const LOCAL_PART_BYTES_MAX: usize = 255;

/// The part of an address before the `@`, unquoted: its meaning, not its spelling. Case is kept (RFC 5321 §2.4).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalPart(Box<str>);

/// A mailbox: `local-part@domain` (RFC 5321 §4.1.2 `Mailbox`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    /// Before the `@`, unquoted.
    pub local: LocalPart,
    /// After the `@`, canonical.
    pub domain: Domain,
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@` outside quotes.
    #[error("the address has no @domain")]
    NoDomain,
    /// Empty, too long, or with characters that need quotes and have none (RFC 5321 §4.1.2).
    #[error("the part before the @ is malformed")]
    LocalPart,
    /// The domain is none.
    #[error("{0}")]
    Domain(#[from] DomainError),
}

impl LocalPart {
    /// A local part from its unquoted text.
    ///
    /// # Errors
    /// [`AddressError::LocalPart`] when it is empty, over [`LOCAL_PART_BYTES_MAX`] or has control characters, which
    /// could not be printed back even in quotes.
    pub fn from_unquoted(text: &str) -> Result<Self, AddressError> {
        let fine =
            !text.is_empty() && text.len() <= LOCAL_PART_BYTES_MAX && !text.chars().any(char::is_control);
        if fine { Ok(Self(text.into())) } else { Err(AddressError::LocalPart) }
    }

    /// Parses the wire form: dot-string or quoted string (RFC 5321 §4.1.2; RFC 6531 §3.3 for non-ASCII).
    ///
    /// # Errors
    /// [`AddressError::LocalPart`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if let Some(rest) = text.strip_prefix('"') {
            let inner = rest.strip_suffix('"').ok_or(AddressError::LocalPart)?;
            return Self::from_unquoted(&unquote(inner)?);
        }
        if is_dot_string(text) { Self::from_unquoted(text) } else { Err(AddressError::LocalPart) }
    }

    /// The unquoted text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when every character is ASCII, so that no SMTPUTF8 is needed for it.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.0.is_ascii()
    }
}

/// Undoes quoted pairs; a bare quote or a dangling backslash is malformed.
fn unquote(inner: &str) -> Result<String, AddressError> {
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Err(AddressError::LocalPart),
            '\\' => out.push(chars.next().ok_or(AddressError::LocalPart)?),
            c => out.push(c),
        }
    }
    Ok(out)
}

/// RFC 5321 §4.1.2 `Dot-string`, with RFC 6531's UTF-8 atoms.
fn is_dot_string(text: &str) -> bool {
    !text.is_empty() && text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// RFC 5322 §3.2.3 `atext`, or any non-ASCII character that is not a control (RFC 6531 §3.3).
fn is_atext(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c)
    } else {
        !c.is_control()
    }
}

impl fmt::Display for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.0) {
            return f.write_str(&self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            if c == '"' || c == '\\' {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

impl Address {
    /// Parses `local@domain` without angle brackets.
    ///
    /// # Errors
    /// [`AddressError`] when it is none.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let at = split_at_sign(text).ok_or(AddressError::NoDomain)?;
        let (local, domain) = text.split_at(at);
        let domain = domain.get(1..).unwrap_or_default();
        Ok(Self { local: LocalPart::parse(local)?, domain: Domain::parse(domain)? })
    }

    /// An address from an unquoted local part and a domain.
    ///
    /// # Errors
    /// [`AddressError::LocalPart`].
    pub fn new(local: &str, domain: Domain) -> Result<Self, AddressError> {
        Ok(Self { local: LocalPart::from_unquoted(local)?, domain })
    }

    /// True when it can be sent to a peer without SMTPUTF8 (RFC 6531 §3.2): domains are A-labels here.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.local.is_ascii()
    }

    /// The key for look-ups: all in lower case, unquoted. Not for the wire.
    #[must_use]
    pub fn lookup_key(&self) -> String {
        format!("{}@{}", self.local.as_str().to_lowercase(), self.domain)
    }
}

/// Index of the `@` that ends the local part: the first one outside the leading quoted string.
fn split_at_sign(text: &str) -> Option<usize> {
    if !text.starts_with('"') {
        return text.find('@');
    }
    let mut escaped = false;
    for (i, b) in text.bytes().enumerate().skip(1) {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return (text.as_bytes().get(i + 1) == Some(&b'@')).then_some(i + 1),
            _ => {}
        }
    }
    None
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        Self::parse(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quoting_that_is_not_needed_is_no_difference() {
        assert_eq!(Address::parse("\"joe\"@a.test"), Address::parse("joe@A.test"));
        assert_eq!(Address::parse(r#""a\ b"@c.test"#).unwrap().to_string(), r#""a b"@c.test"#);
        assert_eq!(Address::parse(r#""a@b"@c.test"#).unwrap().domain.as_str(), "c.test");
    }

    #[test]
    fn malformed_addresses_are_refused() {
        for text in [
            "", "a", "@b", "a@", "a b@c", ".a@b", "a.@b", "a..b@c", "\"a@b", "\"a\"b@c", "a@b@c", "a\"@b",
            "a@b c",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn unicode_local_parts_need_smtputf8() {
        assert!(!Address::parse("jörg@a.test").unwrap().is_ascii());
        assert!(Address::parse("joerg@bücher.example").unwrap().is_ascii());
    }

    proptest! {
        #[test]
        fn what_prints_parses_back(local in "\\PC{1,40}", host in "[a-z0-9]{1,20}(\\.[a-z0-9]{1,20}){0,3}") {
            let address = Address::new(&local, Domain::parse(&host).unwrap()).unwrap();
            prop_assert_eq!(Address::parse(&address.to_string()), Ok(address));
        }
    }
}
