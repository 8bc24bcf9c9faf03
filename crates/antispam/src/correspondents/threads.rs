//! Threads that our users take part in: by which letters an answer is known, and from whom answers are expected.
//!
//! A letter that leaves is remembered by its Message-ID, and so is the one that it answers (RFC 5322 §3.6.4); for the domain of
//! ours that wrote it, with the organisations that it went to. Whoever has seen a Message-ID can name it: a list's archive
//! shows thousands. So a name alone says little, and only an answer whose author is proven to be of an organisation that the
//! letter went to is an expected one. Kept are hashes.
//!
//! Pure: reads octets, makes keys and values. Nothing a peer writes makes it fail, and all is bounded.

use std::collections::BTreeSet;

use mail::{Address, Domain, header};
use store::StateKey;

use super::{NAMESPACE, hash};
use crate::rcpt::greylist::organisation;

/// Message-IDs of one message that are looked up, and of one that leaves that are remembered.
pub const REFERENCES_MAX: usize = 8;
/// Organisations that are remembered of one message.
pub const ORGANISATIONS_MAX: usize = 32;
/// Octets of the longest Message-ID: a line of RFC 5322 §2.1.1.
const ID_BYTES_MAX: usize = 998;
/// Octets of a field that are read; of a longer one the end is, where the latest letters are named.
const FIELD_BYTES_MAX: usize = 16 << 10;
/// Octets of the hash that stands for an organisation among those of one letter.
const ORGANISATION_BYTES: usize = 8;

type Short = [u8; ORGANISATION_BYTES];

/// A letter that leaves, as its answers will name it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sent {
    /// Its own Message-ID and those that it answers, without brackets.
    pub ids: Vec<String>,
}

impl Sent {
    /// The letter with this header, as it leaves.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        let mut ids = named(head, "Message-ID");
        ids.truncate(1);
        for id in answered(head) {
            if ids.len() < REFERENCES_MAX && !ids.contains(&id) {
                ids.push(id);
            }
        }
        Self { ids }
    }
}

/// What is remembered of a letter: the organisations it went to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Thread(BTreeSet<Short>);

impl Thread {
    pub(super) fn to<'a>(addresses: impl Iterator<Item = &'a Address>) -> Self {
        let shorts: BTreeSet<Short> = addresses.map(|address| short(&address.domain)).collect();
        Self(shorts.into_iter().take(ORGANISATIONS_MAX).collect())
    }

    pub(super) fn parse(value: &[u8]) -> Self {
        let (shorts, _) = value.as_chunks();
        Self(shorts.iter().copied().take(ORGANISATIONS_MAX).collect())
    }

    pub(super) fn value(&self) -> Vec<u8> {
        self.0.iter().flatten().copied().collect()
    }

    /// With what an earlier answer to the same letter was remembered by.
    pub(super) fn with(mut self, other: &Self) -> Self {
        for short in &other.0 {
            if self.0.len() < ORGANISATIONS_MAX {
                self.0.insert(*short);
            }
        }
        self
    }

    /// True when it went to the organisation of this domain.
    pub(super) fn went_to(&self, domain: &Domain) -> bool {
        self.0.contains(&short(domain))
    }
}

/// The letters that this one answers, without brackets, the nearest first: `In-Reply-To`, then the end of `References`.
#[must_use]
pub fn answered(head: &[u8]) -> Vec<String> {
    let mut ids = named(head, "In-Reply-To");
    for id in named(head, "References").into_iter().rev() {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids.truncate(REFERENCES_MAX);
    ids
}

pub(super) fn key(ours: &str, id: &str) -> StateKey {
    StateKey::new(NAMESPACE, [b"t/".as_slice(), &hash::<16>(ours, id)].concat())
}

fn short(domain: &Domain) -> Short {
    let organisation = organisation(domain);
    hash("organisation", organisation.as_ref().unwrap_or(domain).as_str())
}

/// The Message-IDs in a field, none twice.
fn named(head: &[u8], name: &str) -> Vec<String> {
    let Some(field) = header::find(head, name) else { return Vec::new() };
    let value = field.unfolded();
    let start = value.len().saturating_sub(FIELD_BYTES_MAX);
    let mut ids: Vec<String> = Vec::new();
    for piece in value.get(start..).unwrap_or_default().split(|octet| *octet == b'<').skip(1) {
        let mut parts = piece.splitn(2, |octet| *octet == b'>');
        let (Some(id), Some(_)) = (parts.next(), parts.next()) else { continue };
        let Ok(id) = std::str::from_utf8(id) else { continue };
        let id = id.trim();
        if id.len() <= ID_BYTES_MAX && id.contains('@') && !ids.iter().any(|known| known == id) {
            ids.push(id.to_owned());
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_nearest_letters_are_named_first_and_each_once() {
        let head = b"Message-ID: <own@a.test>\r\nIn-Reply-To: (his) <3@b.test>\r\n\
                     References: <1@b.test>\r\n <2@a.test>\r\n\t<3@b.test> <none> <open@b.test\r\n\r\n";
        assert_eq!(answered(head), ["3@b.test", "2@a.test", "1@b.test"]);
        assert_eq!(Sent::of(head).ids, ["own@a.test", "3@b.test", "2@a.test", "1@b.test"]);
        assert!(answered(b"Message-ID: <own@a.test>\r\n\r\n").is_empty());
        let long: String = (0..5000).map(|n| format!(" <{n}@b.test>\r\n")).collect();
        let ids = answered(format!("References:{long}\r\n").as_bytes());
        assert_eq!((ids.len(), ids[0].as_str()), (REFERENCES_MAX, "4999@b.test"));
    }

    #[test]
    fn organisations_are_known_by_any_name_of_theirs() {
        let address = |text| Address::parse(text).unwrap();
        let domain = |text| Domain::parse(text).unwrap();
        let (ann, bob) = (address("ann@shop.example.com"), address("bob@far.example.org"));
        let thread = Thread::to([&ann, &bob].into_iter());
        let thread = Thread::parse(&thread.value()).with(&Thread::to([&address("c@third.org")].into_iter()));
        for (name, expected) in [
            ("example.com", true),
            ("mail.example.com", true),
            ("example.org", true),
            ("third.org", true),
            ("example.net", false),
            ("com", false),
        ] {
            assert_eq!(thread.went_to(&domain(name)), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_fail(head in prop::collection::vec(any::<u8>(), 0..400), value in any::<Vec<u8>>()) {
            let head = [b"References: <a@b> ".as_slice(), &head, b"\r\n\r\n"].concat();
            prop_assert!(Sent::of(&head).ids.len() <= REFERENCES_MAX);
            prop_assert!(Thread::parse(&value).value().len() <= ORGANISATIONS_MAX * ORGANISATION_BYTES);
        }
    }
}
