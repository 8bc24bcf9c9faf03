//! The authors of a message: the domains in its From fields. Pure.

use mail::Domain;
use mail::header::Field;
use mail_parser::parsers::MessageStream;
use mail_parser::{Address, HeaderValue};

use super::walk::is_within;
use crate::examine::Header;

/// Authors that are looked at; a From names one, or a handful.
const AUTHORS_MAX: usize = 50;
/// Longest From field that is read, in octets.
const FROM_BYTES_MAX: usize = 64 * 1024;

/// Who wrote a message, by its own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authors {
    fields: usize,
    domains: Vec<Domain>,
    unreadable: bool,
}

impl Authors {
    pub(crate) fn of(header: &Header<'_>) -> Self {
        let mut authors = Self::default();
        for field in header.all("from") {
            authors.fields += 1;
            if authors.fields <= AUTHORS_MAX {
                authors.read(field);
            }
        }
        authors
    }

    /// How many From fields there are: one is right (RFC 5322 §3.6).
    #[must_use]
    pub fn fields(&self) -> usize {
        self.fields
    }

    /// Their domains, each once, in the order of the header.
    #[must_use]
    pub fn domains(&self) -> &[Domain] {
        &self.domains
    }

    /// Some author's address is none, or has a domain that is none; or there are too many.
    #[must_use]
    pub fn unreadable(&self) -> bool {
        self.unreadable
    }

    /// Whether a domain is an author's, above it or below it.
    pub(crate) fn are_of(&self, domain: &Domain) -> bool {
        let related = |author: &Domain| {
            is_within(author.as_str(), domain.as_str()) || is_within(domain.as_str(), author.as_str())
        };
        self.domains.iter().any(related)
    }

    fn read(&mut self, field: &Field<'_>) {
        if field.value().len() > FROM_BYTES_MAX {
            self.unreadable = true;
            return;
        }
        let line = [field.value(), b"\r\n"].concat();
        let value = MessageStream::new(&line).parse_address();
        let HeaderValue::Address(address) = value else {
            self.unreadable = true;
            return;
        };
        let lists: Vec<_> = match &address {
            Address::List(list) => vec![list],
            Address::Group(groups) => groups.iter().map(|group| &group.addresses).collect(),
        };
        let all: Vec<_> = lists.into_iter().flatten().collect();
        self.unreadable |= all.is_empty() || all.len() > AUTHORS_MAX;
        for author in all.into_iter().take(AUTHORS_MAX) {
            let domain = author.address.as_deref().and_then(|text| text.rsplit_once('@'));
            match domain.and_then(|(_, domain)| Domain::parse(domain.trim()).ok()) {
                Some(domain) if domain.literal().is_none() => {
                    if !self.domains.contains(&domain) {
                        self.domains.push(domain);
                    }
                }
                _ => self.unreadable = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authors(header: &str) -> (usize, Vec<String>, bool) {
        let authors = Authors::of(&Header::new(header.as_bytes()));
        let domains = authors.domains.iter().map(|domain| domain.as_str().to_owned()).collect();
        (authors.fields, domains, authors.unreadable)
    }

    #[test]
    fn domains_are_read_from_whatever_stands_there() {
        for (header, fields, domains, unreadable) in [
            ("From: Joe <joe@Example.Test>\r\n", 1, vec!["example.test"], false),
            ("From: joe@example.test", 1, vec!["example.test"], false),
            ("From: \"a@evil.test\" <joe@example.test>\r\n", 1, vec!["example.test"], false),
            ("From: a@one.test, b@one.test,\r\n c@two.test\r\n", 1, vec!["one.test", "two.test"], false),
            ("From: a@one.test\r\nfrom: b@two.test\r\n", 2, vec!["one.test", "two.test"], false),
            ("From: joe@b\u{fc}cher.test\r\n", 1, vec!["xn--bcher-kva.test"], false),
            ("Subject: x\r\n", 0, vec![], false),
            ("From: \r\n", 1, vec![], true),
            ("From: joe\r\n", 1, vec![], true),
            ("From: joe@[192.0.2.1]\r\n", 1, vec![], true),
            ("From: joe@\r\n", 1, vec![], true),
        ] {
            let meant = (fields, domains.into_iter().map(str::to_owned).collect::<Vec<_>>(), unreadable);
            assert_eq!(authors(header), meant, "{header:?}");
        }
    }
}
