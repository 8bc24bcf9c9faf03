//! Letters that our users have sent or answered: by which an answer is known, and from whom answers are expected.
//!
//! A letter that leaves is remembered by its Message-ID, and so are those that it answers; for the domain of ours that wrote it,
//! with the organisations that it went to. Whoever has seen a Message-ID can name it: a list's archive shows thousands. So
//! a name alone says little, and only an answer whose author is proven to be of an organisation that the letter went to is
//! an expected one.
//!
//! Kept are hashes, in [`crate::hashes`]: one of the domain and the Message-ID, and one of these and the organisation for each
//! that it went to. They are keyed by the keys of [`crate::backscatter`], so that nobody finds a domain, or a Message-ID, whose
//! hash is that of another. What a key that was deleted has hashed is not known any more; without keys nothing is remembered.
//! Rows of `t/`, one for each letter, were kept before and are passed over until they expire.

use std::collections::BTreeSet;
use std::sync::Arc;

use mail::{Address, Domain, Timestamp};
use store::StoreError;

use super::threads::{REFERENCES_MAX, Sent};
use super::{AT_ONCE_MAX, Known, Question};
use crate::backscatter::Keys;
use crate::backscatter::keys::Key;
use crate::hashes::{Hash, Hashes};
use crate::rcpt::greylist::organisation;

/// Organisations that are remembered of one letter.
pub const ORGANISATIONS_MAX: usize = 32;

/// The memory.
#[derive(Clone)]
pub struct Letters {
    /// What it consists of.
    pub hashes: Hashes,
    /// By which they are keyed.
    pub keys: Arc<Keys>,
}

impl Letters {
    /// Remembers a letter of ours that goes to these addresses, for so many seconds.
    pub(super) fn note<'a>(
        &self,
        (ours, sent): (&Domain, &Sent),
        recipients: impl Iterator<Item = &'a Address>,
        ttl_seconds: u64,
        now: Timestamp,
    ) {
        self.note_to((ours, sent), recipients.map(|address| &address.domain), ttl_seconds, now);
    }

    /// The same of one that goes to somebody in each of these domains.
    pub(super) fn note_to<'a>(
        &self,
        (ours, sent): (&Domain, &Sent),
        domains: impl Iterator<Item = &'a Domain>,
        ttl_seconds: u64,
        now: Timestamp,
    ) {
        let Some(key) = self.keys.newest() else { return };
        let went_to: BTreeSet<Domain> = domains.map(organisation_of).collect();
        let went_to: Vec<Domain> = went_to.into_iter().take(ORGANISATIONS_MAX).collect();
        let ids = sent.ids.iter().take(REFERENCES_MAX);
        let hashes: Vec<Hash> = ids.flat_map(|id| of_letter(key, (ours, id), &went_to)).collect();
        self.hashes.note(hashes, ttl_seconds, now);
    }

    /// Which of the letters that are asked about are known, and of which of them an answer is expected.
    ///
    /// # Errors
    /// [`StoreError`] when the state store does not answer.
    pub(super) async fn ask(
        &self,
        question: Question<'_>,
        known: &mut Known,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let authors: Vec<Domain> = question.proven.iter().map(|domain| organisation_of(domain)).collect();
        let (mut hashes, mut places) = (Vec::new(), Vec::new());
        for (answer, id) in question.answers.iter().enumerate() {
            for (ours, domain) in question.ours.iter().enumerate() {
                for key in self.keys.iter() {
                    if places.len() == AT_ONCE_MAX {
                        break;
                    }
                    let before = hashes.len();
                    hashes.extend(of_letter(key, (domain, id), &authors));
                    places.push((ours, answer, before..hashes.len()));
                }
            }
        }
        if hashes.is_empty() {
            return Ok(());
        }
        let found = self.hashes.look(&hashes, now).await?;
        for (ours, answer, of_it) in places {
            let mut of_it = found.get(of_it).unwrap_or_default().iter();
            if of_it.next() == Some(&true) {
                known.answers.push((ours, answer));
                known.expected.extend(of_it.any(|is_there| *is_there).then_some((ours, answer)));
            }
        }
        // One letter may be known by two keys.
        for places in [&mut known.answers, &mut known.expected] {
            places.sort_unstable();
            places.dedup();
        }
        Ok(())
    }
}

/// The hash of a letter of ours, then those of it and each organisation.
fn of_letter(key: &Key, (ours, id): (&Domain, &str), organisations: &[Domain]) -> Vec<Hash> {
    // An id is the last: it may hold anything.
    let hash = |organisation: &str| -> Hash { key.id("thread", &format!("{ours}\0{organisation}\0{id}")) };
    std::iter::once("").chain(organisations.iter().map(Domain::as_str)).map(hash).collect()
}

fn organisation_of(domain: &Domain) -> Domain {
    organisation(domain).unwrap_or_else(|| domain.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, NOW};

    #[tokio::test]
    async fn organisations_are_known_by_any_name_of_theirs() {
        let domain = |text: &str| Domain::parse(text).unwrap();
        let letters = testing::letters(&Arc::default());
        let all = ["ann@shop.example.com", "joe@example.com", "bob@far.example.org"].map(testing::address);
        let (ours, sent) = (domain("our.test"), Sent { ids: vec!["1@our.test".into(), "2@a.test".into()] });
        letters.note((&ours, &sent), all.iter(), 86_400, NOW);
        assert_eq!(letters.hashes.len(), 2 * (1 + 2));
        for (name, is_expected) in [
            ("example.com", true),
            ("mail.example.com", true),
            ("example.org", true),
            ("example.net", false),
            ("com", false),
        ] {
            let (author, mut known) = (domain(name), Known::default());
            let answers = ["3@our.test", "2@a.test"].map(str::to_owned);
            let others = domain("other.test");
            let question =
                Question { theirs: &[], ours: &[&others, &ours], answers: &answers, proven: &[&author] };
            letters.ask(question, &mut known, NOW).await.unwrap();
            assert_eq!(known.answers, [(1, 1)]);
            assert_eq!(known.expected == known.answers, is_expected, "{name}");
        }
        let many: Vec<Address> = (0..100).map(|n| testing::address(&format!("a@d{n}.test"))).collect();
        letters.note((&domain("many.test"), &sent), many.iter(), 86_400, NOW);
        assert_eq!(letters.hashes.len(), 6 + 2 * (1 + ORGANISATIONS_MAX));
    }

    #[tokio::test]
    async fn a_former_key_is_good_and_another_is_not() {
        let at = |seconds| Timestamp::from_seconds(seconds);
        let (one, two) = (Key::new(0, at(1), b"one"), Key::new(1, at(2), b"two"));
        let letters = testing::letters(&Arc::default());
        let with = |keys: &[&Key]| Letters {
            keys: Arc::new(Keys::new(keys.iter().map(|key| (*key).clone()).collect())),
            ..letters.clone()
        };
        let (ours, sent) = (Domain::parse("our.test").unwrap(), Sent { ids: vec!["1@our.test".into()] });
        let to = testing::address("ann@far.test");
        with(&[]).note((&ours, &sent), [&to].into_iter(), 86_400, NOW);
        assert!(letters.hashes.is_empty(), "without keys nothing is remembered");
        with(&[&one]).note((&ours, &sent), [&to].into_iter(), 86_400, NOW);
        for (keys, expected) in [(&[&one][..], 1), (&[&one, &two], 1), (&[&two], 0), (&[], 0)] {
            let (proven, mut known) = ([&to.domain], Known::default());
            let question = Question { theirs: &[], ours: &[&ours], answers: &sent.ids, proven: &proven };
            with(keys).ask(question, &mut known, NOW).await.unwrap();
            assert_eq!((known.answers.len(), known.expected.len()), (expected, expected));
        }
        // Named again after another key came: one letter all the same.
        with(&[&two]).note((&ours, &sent), [&to].into_iter(), 86_400, NOW);
        let (proven, mut known) = ([&to.domain], Known::default());
        let question = Question { theirs: &[], ours: &[&ours], answers: &sent.ids, proven: &proven };
        with(&[&one, &two]).ask(question, &mut known, NOW).await.unwrap();
        assert_eq!((known.answers, known.expected), (vec![(0, 0)], vec![(0, 0)]));
    }
}
