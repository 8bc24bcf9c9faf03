//! `cidr:`: networks and values in order, the first network that contains the address wins (cidr_table(5)).
//!
//! `!network` matches what it does not contain of the same family; `if network` … `endif` blocks nest. A key that is no IP address matches
//! nothing. IPv4-mapped IPv6 keys are IPv4 keys here, as addresses are everywhere in this program.

use std::convert::Infallible;
use std::net::IpAddr;
use std::path::Path;

use net::Network;

use crate::rules::{self, Rule};
use crate::{Answer, Contents, Entry, TableError};

/// A file of networks.
#[derive(Debug)]
pub(crate) struct Cidr(Vec<Rule<Pattern, String>>);

#[derive(Debug)]
struct Pattern {
    network: Network,
    negated: bool,
}

/// Parses a file.
///
/// # Errors
/// The first line that is wrong.
pub(crate) fn parse(file: &Path, text: &str) -> Result<Cidr, TableError> {
    rules::parse(file, text).map(Cidr)
}

impl rules::Pattern for Pattern {
    type Result = String;

    fn parse(text: &str) -> Result<(Self, &str), String> {
        let bare = text.trim_start_matches(|c: char| c == '!' || c.is_whitespace());
        let negated = text.strip_suffix(bare).unwrap_or_default().matches('!').count() % 2 == 1;
        let (network, rest) = bare.split_at(bare.find(char::is_whitespace).unwrap_or(bare.len()));
        let network = network.parse().map_err(|error: net::NetworkError| error.to_string())?;
        Ok((Self { network, negated }, rest))
    }

    fn result(&self, text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }
}

impl Pattern {
    /// A negated network matches the rest of its own family, not the other one.
    fn matches(&self, address: IpAddr) -> bool {
        let same_family = self.network.address().is_ipv4() == address.is_ipv4();
        same_family && self.network.contains(address) != self.negated
    }
}

impl Cidr {
    fn rule_for(&self, key: &str) -> Option<(usize, &String)> {
        let address = key.trim().parse().map(mail::canonical_ip).ok()?;
        let matches = |pattern: &Pattern| Ok::<_, Infallible>(pattern.matches(address).then_some(()));
        let Ok(found) = rules::first_match(&self.0, matches);
        found.map(|(line, value, ())| (line, value))
    }
}

impl Contents for Cidr {
    fn find(&self, key: &str) -> Answer {
        self.rule_for(key).map_or(Answer::Absent, |(_, value)| Answer::Found(value.clone()))
    }

    fn line_of(&self, key: &[u8]) -> Option<usize> {
        self.rule_for(std::str::from_utf8(key).ok()?).map(|(line, _)| line)
    }

    fn entries(&self) -> Vec<Entry> {
        let entry = |(line, value): (usize, &String)| Entry {
            line: Some(line),
            value: value.clone(),
            has_groups: false,
        };
        rules::results(&self.0).map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_network_that_contains_the_address_wins() {
        let table = "192.0.2.7 host\n192.0.2.0/24 net\nif 10.0.0.0/8\n10.1.0.0/16 inner\n!10.2.0.0/16 not two\n\
                     endif\n2001:db8::/32 six\n[2001:db9::]/32 nine\n0.0.0.0/0 four\n";
        let table = parse(Path::new("c"), table).unwrap();
        for (key, value) in [
            ("192.0.2.7", Some("host")),
            ("::ffff:192.0.2.7", Some("host")),
            ("192.0.2.8", Some("net")),
            ("10.1.2.3", Some("inner")),
            ("10.2.2.3", Some("four")),
            ("10.3.2.3", Some("not two")),
            ("2001:db8::1", Some("six")),
            ("2001:db9::1", Some("nine")),
            ("2001:dba::1", None),
            ("mail.example.test", None),
            ("", None),
        ] {
            let expected = value.map_or(Answer::Absent, |value| Answer::Found(value.to_owned()));
            assert_eq!(table.find(key), expected, "{key}");
        }
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, words) in [
            ("10.0.0.0/8 a\n10.1.1.1/8 b\n", "c:2: "),
            ("10.1.1.1/8 b\n", "write 10.0.0.0/8"),
            ("example.test b\n", "not an IP network"),
            ("10.0.0.0/8\n", "no result"),
            ("if 10.0.0.0/8\n10.0.0.1 a\n", "no `endif`"),
            ("10.0.0.1 a\nendif\n", "no `if`"),
            ("if 10.0.0.0/8\n 10.0.0.1 a\nendif\n", "do not indent"),
            ("if 10.0.0.0/8\nendif now\n", "behind `endif`"),
        ] {
            let error = parse(Path::new("c"), text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
