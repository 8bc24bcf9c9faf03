//! Who has a reputation, and how that is written in keys, lists and commands.
//!
//! Pure. What a peer writes is bounded before: names are those of [`mail::Address`] and [`mail::Domain`].

use std::fmt;
use std::net::IpAddr;

use mail::{Address, ClientNetwork, Domain};
use policy::MessageFacts;

use crate::end_of_data::author;
use crate::rcpt::greylist::{organisation, sender};

/// Who has a reputation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// An author who is proven to be one, without tags and in lower case.
    Address(Box<str>),
    /// An organisation that is proven to be the sender.
    Domain(Domain),
    /// The network of a client.
    Network(ClientNetwork),
}

impl Subject {
    /// Those of a message: the network, and who is proven to be the sender, the narrowest first. Of several authors
    /// nobody can say who has written.
    #[must_use]
    pub fn all(facts: &MessageFacts) -> Vec<Self> {
        let mut all = Vec::with_capacity(3);
        let authors = author::authors(&facts.header);
        let proven = match authors.as_slice() {
            [one] if author::is_proven(facts, &one.domain) => Some(one),
            _ => None,
        };
        let sender = facts.mail.reverse_path.mailbox().map(|sender| &sender.domain);
        if let Some(author) = proven {
            all.extend([Self::address(author), Self::domain(&author.domain)]);
        } else if let Some(domain) = sender.filter(|domain| author::sender_is_proven(facts, domain)) {
            all.push(Self::domain(domain));
        }
        all.push(Self::Network(ClientNetwork::of(facts.mail.helo.connect.client)));
        all
    }

    /// Those that a message might have, were all proven that it says.
    #[must_use]
    pub fn claimed(client: IpAddr, sender: Option<&Address>, head: &[u8]) -> Vec<Self> {
        let authors = author::authors(head);
        let mut all: Vec<Self> = authors.iter().map(Self::address).collect();
        all.extend(authors.iter().chain(sender).map(|address| Self::domain(&address.domain)));
        all.push(Self::Network(ClientNetwork::of(client)));
        all.sort();
        all.dedup();
        all
    }

    /// An author's.
    #[must_use]
    pub fn address(address: &Address) -> Self {
        Self::Address(sender::correspondent(address).into())
    }

    /// The organisation's that a domain belongs to.
    #[must_use]
    pub fn domain(domain: &Domain) -> Self {
        Self::Domain(organisation(domain).unwrap_or_else(|| domain.clone()))
    }

    /// As it is written here.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("address", address) => Some(Self::address(&Address::parse(address).ok()?)),
            ("domain", domain) => Some(Self::Domain(Domain::parse(domain).ok()?)),
            ("net", network) => {
                let address: IpAddr = network.rsplit_once('/')?.0.parse().ok()?;
                Some(Self::Network(ClientNetwork::of(address))).filter(|found| found.to_string() == text)
            }
            _ => None,
        }
    }

    /// Whom an operator means: as it is written here, or an address, a domain, a client or a network.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let client = || text.parse().ok().map(|client: IpAddr| Self::Network(ClientNetwork::of(client)));
        let person = || Some(Self::address(&Address::parse(text).ok()?));
        let domain = || Some(Self::domain(&Domain::parse(text).ok()?));
        Self::parse(text)
            .or_else(client)
            .or_else(|| Self::parse(&format!("net:{text}")))
            .or_else(person)
            .or_else(domain)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "address:{address}"),
            Self::Domain(domain) => write!(f, "domain:{domain}"),
            Self::Network(network) => write!(f, "net:{network}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_claims_is_named_once() {
        let (client, sender) =
            ("192.0.2.9".parse().unwrap(), Address::parse("bounces@mail.far.org").unwrap());
        let names = |head: &[u8]| -> Vec<String> {
            Subject::claimed(client, Some(&sender), head).iter().map(ToString::to_string).collect()
        };
        let all = ["address:ann@far.org", "domain:far.org", "net:192.0.2.0/24"];
        assert_eq!(names(b"From: Ann <ann+x@far.org>\r\n\r\n"), all);
        assert_eq!(names(b""), all[1..]);
    }

    #[test]
    fn subjects_are_read_back_and_named_in_plain_words() {
        for (text, subject) in [
            ("Joe+shop@Example.org", "address:joe@example.org"),
            ("mail.example.org", "domain:example.org"),
            ("192.0.2.77", "net:192.0.2.0/24"),
            ("192.0.2.0/24", "net:192.0.2.0/24"),
            ("2001:db8::1", "net:2001:db8::/64"),
            ("domain:mail.example.org", "domain:mail.example.org"),
        ] {
            let named = Subject::named(text).unwrap();
            assert_eq!(named.to_string(), subject, "{text}");
            assert_eq!(Subject::parse(subject), Some(named));
        }
        for text in ["", "a b", "net:192.0.2.0/25", "address:x", "what:x"] {
            assert_eq!(Subject::named(text), None, "{text}");
        }
    }
}
