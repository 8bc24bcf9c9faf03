//! What a domain publishes for a key, as text for a zone file, and whether it has been published.

use std::fmt;

use mail::Domain;
use net::{DnsAnswer, Resolver};

/// Longest string inside a TXT record, in octets (RFC 1035 §3.3).
const STRING_BYTES_MAX: usize = 255;

/// A TXT record. Prints as a line of a zone file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `selector._domainkey.domain` (RFC 6376 §3.6.2.1).
    pub name: Domain,
    /// Its text, whole.
    pub value: String,
}

/// Whether a key can be found by those who verify signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publication {
    /// It is there.
    Published,
    /// There is another key under this name: verification will fail.
    Different,
    /// There is none under this name: verification will fail.
    Missing,
    /// DNS did not answer: the text says why.
    Unknown(String),
}

impl Record {
    /// Asks DNS whether the record is there.
    pub async fn check(&self, resolver: &Resolver) -> Publication {
        match resolver.txt(&self.name).await {
            DnsAnswer::Found(texts)
                if texts.iter().any(|text| public_key(text) == public_key(&self.value)) =>
            {
                Publication::Published
            }
            DnsAnswer::Found(_) => Publication::Different,
            DnsAnswer::NoName | DnsAnswer::NoData => Publication::Missing,
            DnsAnswer::Failed(why) => Publication::Unknown(why),
        }
    }
}

/// The `p=` of a record, without the white space that may stand in it (RFC 6376 §3.6.1).
fn public_key(text: &str) -> Option<String> {
    let tags = text.split(';').filter_map(|tag| tag.split_once('='));
    let value = tags.filter(|(name, _)| name.trim() == "p").map(|(_, value)| value).next()?;
    Some(value.chars().filter(|c| !c.is_whitespace()).collect())
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. IN TXT", self.name)?;
        let mut rest = self.value.as_str();
        while !rest.is_empty() {
            // The value is ASCII: any place is between two characters.
            let (string, after) = rest.split_at_checked(STRING_BYTES_MAX).unwrap_or((rest, ""));
            write!(f, " \"{string}\"")?;
            rest = after;
        }
        Ok(())
    }
}
