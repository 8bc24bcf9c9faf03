//! To whom our users have written lately, and in which threads: their answers are expected.
//!
//! Known are pairs: a domain of ours and an address elsewhere, for answers; an account and that address, for telling
//! whether an account suddenly writes to people whom it has never written to. Only hashes are kept, for as many days as the
//! settings say, and renewed when a day of them is used up. Addresses are compared without their tags and in lower case.
//! Letters that answer what our users have written are known by Message-IDs: [`letters`].
//!
//! Never decides anything, reads no clock. A memory that does not answer is an error, never "not known" (I9).

pub mod acquaintance;
mod lately;
pub mod letters;
pub mod threads;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use mail::{Address, Domain, Timestamp};
use store::{StateKey, StateStore, StoreError, Write};

use self::lately::Lately;
use self::letters::Letters;
use self::threads::Sent;
use crate::rcpt::greylist::sender;

/// Exported every hour: it cannot be learnt again.
pub const NAMESPACE: &str = "correspondents";
/// Recipients of one message that are remembered, and addresses and domains that are asked for at once.
pub const AT_ONCE_MAX: usize = 1_000;
const DAY_SECONDS: u64 = 86_400;
/// Octets of the hash that stands for a pair.
const HASH_BYTES: usize = 16;

/// Who writes.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// The domain of ours that answers go to; none when no answer is expected, as of what programs write by themselves.
    pub domain: Option<&'a Domain>,
    /// The account that has logged in.
    pub account: Option<&'a str>,
}

/// What is asked about a letter.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who it may be from.
    pub theirs: &'a [&'a Address],
    /// The domains of ours it is to, none twice.
    pub ours: &'a [&'a Domain],
    /// The Message-IDs it answers, without brackets.
    pub answers: &'a [String],
    /// The domains that are proven to have written it.
    pub proven: &'a [&'a Domain],
}

/// What is remembered of those.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// Who of `theirs` was written to, by which of `ours`: their places.
    pub written_to: Vec<(usize, usize)>,
    /// Letters that somebody of one of `ours` has sent or answered: which of `ours`, which of `answers`.
    pub answers: Vec<(usize, usize)>,
    /// The same of those that have gone to the organisation of a domain that is proven.
    pub expected: Vec<(usize, usize)>,
}

/// The memory.
#[derive(Clone)]
pub struct Correspondents {
    days: u32,
    state: Arc<dyn StateStore>,
    letters: Letters,
    lately: Arc<Mutex<Lately>>,
}

impl Correspondents {
    /// Remembers for so many days, people there, and letters among these; 0 days: not at all.
    #[must_use]
    pub fn new(days: u32, state: Arc<dyn StateStore>, letters: Letters) -> Self {
        Self { days, state, letters, lately: Arc::default() }
    }

    fn lately(&self) -> MutexGuard<'_, Lately> {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that a user of ours has written to these addresses elsewhere, and by what answers will be known. Gives the
    /// number of those to whom the account has not written before; none of them without an account. At most one look and one
    /// write; none for those who were written to a moment ago.
    ///
    /// # Errors
    /// [`StoreError`] when the state store does not answer.
    pub async fn remember(
        &self,
        writer: Writer<'_>,
        recipients: impl IntoIterator<Item = &Address>,
        sent: &Sent,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        if self.days == 0 || (writer.domain.is_none() && writer.account.is_none()) {
            return Ok(0);
        }
        let recipients: Vec<&Address> = recipients.into_iter().take(AT_ONCE_MAX).collect();
        let all: BTreeSet<String> = recipients.iter().map(|to| sender::correspondent(to)).collect();
        let mut keys: Vec<StateKey> = Vec::with_capacity(2 * all.len());
        keys.extend(writer.account.iter().flat_map(|account| all.iter().map(|to| pair("a", account, to))));
        let of_account = keys.len();
        keys.extend(
            writer.domain.iter().flat_map(|domain| all.iter().map(|to| pair("d", domain.as_str(), to))),
        );
        if keys.is_empty() {
            return Ok(0);
        }
        let ttl = u64::from(self.days) * DAY_SECONDS;
        if let Some(ours) = writer.domain {
            self.letters.note((ours, sent), recipients.into_iter(), ttl, now);
        }
        if self.lately().has_all(&keys, now) {
            return Ok(0);
        }
        let fresh = now.seconds() + ttl.saturating_sub(DAY_SECONDS);
        let (mut new, mut writes) = (0, Vec::new());
        for (place, (key, found)) in keys.iter().zip(self.state.get(keys.clone(), now).await?).enumerate() {
            let found = found?;
            new += u64::from(place < of_account && found.is_none());
            if found.and_then(|entry| entry.expires).is_none_or(|expires| expires.seconds() < fresh) {
                writes.push(Write::put(key.clone(), Vec::new(), ttl));
            }
        }
        if !writes.is_empty() {
            for written in self.state.write(writes, now).await? {
                written?;
            }
        }
        self.lately().note(&keys, now);
        Ok(new)
    }

    /// The places of those of `theirs` to whom somebody of one of the domains `ours` has written lately.
    ///
    /// # Errors
    /// [`StoreError`] when the state store does not answer.
    pub async fn known(
        &self,
        theirs: &[&Address],
        ours: impl IntoIterator<Item = &Domain>,
        now: Timestamp,
    ) -> Result<Vec<usize>, StoreError> {
        let ours: BTreeSet<&Domain> = ours.into_iter().collect();
        let ours: Vec<&Domain> = ours.into_iter().collect();
        let known = self.ask(Question { theirs, ours: &ours, answers: &[], proven: &[] }, now).await?;
        let places: BTreeSet<usize> = known.written_to.into_iter().map(|(their, _)| their).collect();
        Ok(places.into_iter().collect())
    }

    /// What is remembered of a letter's senders, and of the letters that it answers. At most one look at the store.
    ///
    /// # Errors
    /// [`StoreError`] when the state store does not answer.
    pub async fn ask(&self, question: Question<'_>, now: Timestamp) -> Result<Known, StoreError> {
        if self.days == 0 {
            return Ok(Known::default());
        }
        let mut known = Known::default();
        self.letters.ask(question, &mut known, now).await?;
        let (mut keys, mut places) = (Vec::new(), Vec::new());
        for (place, address) in question.theirs.iter().enumerate() {
            let their = sender::correspondent(address);
            for (ours, domain) in question.ours.iter().enumerate().take(AT_ONCE_MAX) {
                keys.push(pair("d", domain.as_str(), &their));
                places.push((place, ours));
            }
        }
        keys.truncate(AT_ONCE_MAX);
        if keys.is_empty() {
            return Ok(known);
        }
        for (place, found) in places.into_iter().zip(self.state.get(keys, now).await?) {
            if found?.is_some() {
                known.written_to.push(place);
            }
        }
        Ok(known)
    }
}

fn pair(kind: &str, ours: &str, theirs: &str) -> StateKey {
    StateKey::new(NAMESPACE, [kind.as_bytes(), b"/", &hash(ours, theirs)].concat())
}

fn hash(ours: &str, theirs: &str) -> [u8; HASH_BYTES] {
    let hash = digest::digest(&digest::SHA256, format!("{ours}\0{theirs}").as_bytes());
    hash.as_ref().first_chunk().copied().unwrap_or([0; HASH_BYTES])
}

#[cfg(test)]
mod tests {
    use store::MemoryState;

    use super::*;
    use crate::testing::{NOW, address, correspondents};

    fn memory(days: u32) -> (Correspondents, Arc<MemoryState>) {
        let state = Arc::new(MemoryState::default());
        (correspondents(days, &state), state)
    }

    fn ours() -> Domain {
        Domain::parse("example.test").unwrap()
    }

    fn none() -> Sent {
        Sent::default()
    }

    fn days_later(days: u64) -> Timestamp {
        Timestamp(NOW.0 + days * DAY_SECONDS * 1000)
    }

    #[tokio::test]
    async fn whom_a_domain_wrote_to_is_known_to_it_for_as_long_as_is_set() {
        let (memory, _) = memory(30);
        let domain = ours();
        let joe = address("Joe+shop@Away.test");
        let writer = Writer { domain: Some(&domain), account: Some("mara") };
        assert_eq!(memory.remember(writer, [&joe, &joe], &none(), NOW).await.unwrap(), 1);
        let knows = |text: &'static str, ours: &'static str, at| {
            let memory = memory.clone();
            async move {
                let (theirs, ours) = (address(text), Domain::parse(ours).unwrap());
                !memory.known(&[&theirs], [&ours], at).await.unwrap().is_empty()
            }
        };
        assert!(knows("joe@away.test", "example.test", days_later(29)).await);
        assert!(knows("prvs=1234abcdef=joe@away.test", "example.test", NOW).await);
        assert!(!knows("joe@away.test", "example.test", days_later(31)).await);
        assert!(!knows("joe@away.test", "other.test", NOW).await, "another domain of ours has not written");
        assert!(!knows("jim@away.test", "example.test", NOW).await);
        // Written to again after three weeks: known for another thirty days.
        assert_eq!(memory.remember(writer, [&joe], &none(), days_later(21)).await.unwrap(), 0);
        assert!(knows("joe@away.test", "example.test", days_later(50)).await);
    }

    #[tokio::test]
    async fn new_is_what_the_account_itself_has_not_written_to() {
        let (memory, _) = memory(30);
        let domain = ours();
        let all = [address("a1@away.test"), address("a2@away.test")];
        for (account, count, new) in [("mara", 2, 2), ("mara", 2, 0), ("john", 1, 1), ("john", 2, 1)] {
            let writer = Writer { domain: Some(&domain), account: Some(account) };
            assert_eq!(memory.remember(writer, &all[..count], &none(), NOW).await.unwrap(), new, "{account}");
        }
        let nobody = Writer { domain: Some(&domain), account: None };
        assert_eq!(memory.remember(nobody, &all, &none(), NOW).await.unwrap(), 0);
        let program = Writer { domain: None, account: Some("mara") };
        let third = address("a3@away.test");
        assert_eq!(memory.remember(program, [&third], &none(), NOW).await.unwrap(), 1);
        assert!(memory.known(&[&third], [&domain], NOW).await.unwrap().is_empty(), "no answer is expected");
    }

    #[tokio::test]
    async fn answers_are_known_by_what_was_sent_and_what_it_answered() {
        let (memory, _) = memory(30);
        let domain = ours();
        let writer = Writer { domain: Some(&domain), account: None };
        let sent = |head: &str| Sent::of(head.as_bytes());
        let (shop, far) = (address("info@shop.com"), address("joe@far.org"));
        let head = "Message-ID: <2@ours>\r\nIn-Reply-To: <1@shop>\r\n\r\n";
        memory.remember(writer, [&shop], &sent(head), NOW).await.unwrap();
        let again = "Message-ID: <3@ours>\r\nIn-Reply-To: <1@shop>\r\n\r\n";
        memory.remember(writer, [&far], &sent(again), NOW).await.unwrap();
        let ask = |id: &'static str, ours: &'static str, author: &'static str, at| {
            let memory = memory.clone();
            async move {
                let (ours, author) = (Domain::parse(ours).unwrap(), Domain::parse(author).unwrap());
                let answers = &[id.to_owned()];
                let question = Question { theirs: &[], ours: &[&ours], answers, proven: &[&author] };
                let known = memory.ask(question, at).await.unwrap();
                (known.answers.len(), known.expected.len())
            }
        };
        assert_eq!(ask("2@ours", "example.test", "mail.shop.com", NOW).await, (1, 1));
        assert_eq!(ask("2@ours", "example.test", "far.org", NOW).await, (1, 0), "it did not go there");
        assert_eq!(ask("1@shop", "example.test", "shop.com", NOW).await, (1, 1));
        assert_eq!(ask("1@shop", "example.test", "far.org", NOW).await, (1, 1), "the second answer did");
        assert_eq!(ask("2@ours", "other.test", "shop.com", NOW).await, (0, 0));
        assert_eq!(ask("9@ours", "example.test", "shop.com", NOW).await, (0, 0));
        assert_eq!(ask("2@ours", "example.test", "shop.com", days_later(31)).await, (0, 0));
    }

    #[tokio::test]
    async fn a_memory_that_does_not_answer_is_an_error_and_no_days_remember_nothing() {
        let (memory, state) = memory(30);
        let domain = ours();
        let writer = Writer { domain: Some(&domain), account: None };
        let joe = address("joe@away.test");
        memory.remember(writer, [&joe], &none(), NOW).await.unwrap();
        state.close().await.unwrap();
        let ann = address("ann@away.test");
        assert!(memory.remember(writer, [&ann], &none(), NOW).await.is_err(), "not answered is not unknown");
        assert_eq!(memory.remember(writer, [&joe], &none(), NOW).await.unwrap(), 0, "he is known");
        assert!(memory.known(&[&joe], [&domain], NOW).await.is_err());
        let off = correspondents(0, &state);
        assert_eq!(off.remember(writer, [&joe], &none(), NOW).await.unwrap(), 0);
        assert!(off.known(&[&joe], [&domain], NOW).await.unwrap().is_empty());
    }
}
