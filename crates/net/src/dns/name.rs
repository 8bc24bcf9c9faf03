//! Names of DNS that need not be those of hosts: what SPF's macros make, and the keys of DKIM.
//!
//! A label may hold any octet (RFC 2181 §11), so nothing is mapped, escaped or refused but for its length. Names are
//! always fully qualified.

use std::fmt;
use std::net::IpAddr;

use hickory_resolver::proto::rr::Name;
use mail::Domain;

/// A name to ask DNS for. Compared without regard to case (RFC 4343).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DnsName(pub(super) Name);

/// The kind of address that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// A records (RFC 1035 §3.4.1).
    V4,
    /// AAAA records (RFC 3596 §2.1).
    V6,
}

impl DnsName {
    /// Cuts a text into labels at its dots; one trailing dot is forgiven.
    ///
    /// `None` when no name of DNS is like this: an empty label, one of more than 63 octets, or more than 253 in all
    /// (RFC 1035 §2.3.4). The root is none either.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.split('.').any(str::is_empty) {
            return None;
        }
        let mut name = Name::from_labels(text.split('.').map(str::as_bytes)).ok()?;
        name.set_fqdn(true);
        Some(Self(name))
    }

    /// Whether it is the root, which is no host: a null MX names it (RFC 7505 §3).
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_root()
    }

    /// The name of a domain; `None` for an address literal.
    #[must_use]
    pub fn of(domain: &Domain) -> Option<Self> {
        if domain.literal().is_some() { None } else { Self::parse(domain.as_str()) }
    }
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_octet_may_stand_in_a_label_and_lengths_are_those_of_dns() {
        for good in ["example.test", "example.test.", "_spf.a b.test", "weird/:=\\\"(%.test", "söme.test"] {
            assert!(DnsName::parse(good).is_some(), "{good}");
        }
        let long = format!("{}.test", "a".repeat(64));
        let many = "abcdefg.".repeat(40);
        for bad in ["", ".", "a..b", ".a", &long, &many] {
            assert!(DnsName::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(DnsName::parse("A.Test"), DnsName::parse("a.test."));
        assert_eq!(DnsName::of(&Domain::parse("[192.0.2.1]").unwrap()), None);
    }
}
