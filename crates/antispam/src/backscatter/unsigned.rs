//! To whom reverse-paths go as they are: lists, and whoever else knows people by the reverse-path.
//!
//! Pure. An entry is a domain, without those below it, or one address, in any case.

use std::fmt;
use std::str::FromStr;

use mail::{Address, AddressError, Domain};
use serde::{Deserialize, Serialize};

/// One entry of `[antispam.backscatter] unsigned_to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum UnsignedTo {
    /// All recipients of a domain.
    Domain(Domain),
    /// One recipient.
    Address(Address),
}

impl UnsignedTo {
    /// True when this recipient is meant.
    #[must_use]
    pub fn means(&self, recipient: &Address) -> bool {
        match self {
            Self::Domain(domain) => recipient.domain == *domain,
            Self::Address(address) => recipient.lookup_key() == address.lookup_key(),
        }
    }
}

impl FromStr for UnsignedTo {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.contains('@') {
            Address::parse(text).map(Self::Address)
        } else {
            Ok(Self::Domain(Domain::parse(text)?))
        }
    }
}

impl TryFrom<String> for UnsignedTo {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl fmt::Display for UnsignedTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => domain.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl From<UnsignedTo> for String {
    fn from(entry: UnsignedTo) -> Self {
        entry.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_means_all_of_it_and_an_address_one_of_it() {
        let means = |entry: &str, recipient: &str| {
            entry.parse::<UnsignedTo>().unwrap().means(&Address::parse(recipient).unwrap())
        };
        assert!(means("Lists.away.test", "people@lists.away.test"));
        assert!(!means("away.test", "people@lists.away.test"));
        assert!(means("people@away.test", "People@AWAY.test"));
        assert!(!means("people@away.test", "joe@away.test"));
    }

    #[test]
    fn entries_are_read_as_they_are_written() {
        for text in ["away.test", "people@away.test"] {
            assert_eq!(text.parse::<UnsignedTo>().unwrap().to_string(), text);
        }
        for wrong in ["", "@away.test", "joe@", "a b"] {
            assert!(wrong.parse::<UnsignedTo>().is_err(), "{wrong}");
        }
    }
}
