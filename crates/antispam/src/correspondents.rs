//! To whom our users have written lately: their answers are expected.
//!
//! Known are pairs: a domain of ours and an address elsewhere, for answers; an account and that address, for telling
//! whether an account suddenly writes to people whom it has never written to. Only hashes are kept, for as many days as the
//! settings say, and renewed when a day of them is used up. Addresses are compared without their tags and in lower case.
//!
//! Never decides anything, reads no clock. A memory that does not answer is an error, never "not known" (I9).

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_lc_rs::digest;
use mail::{Address, Domain, Timestamp};
use store::{StateKey, StateStore, StoreError, Write};

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

/// The memory.
#[derive(Clone)]
pub struct Correspondents {
    days: u32,
    state: Arc<dyn StateStore>,
}

impl Correspondents {
    /// Remembers for so many days, there; 0 days: not at all.
    #[must_use]
    pub fn new(days: u32, state: Arc<dyn StateStore>) -> Self {
        Self { days, state }
    }

    /// Remembers that a user of ours has written to these addresses elsewhere. Gives the number of those to whom the account
    /// has not written before; none of them without an account. One look and at most one write.
    ///
    /// # Errors
    /// [`StoreError`] when the state store does not answer.
    pub async fn remember(
        &self,
        writer: Writer<'_>,
        recipients: impl IntoIterator<Item = &Address>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        if self.days == 0 || (writer.domain.is_none() && writer.account.is_none()) {
            return Ok(0);
        }
        let all: BTreeSet<String> =
            recipients.into_iter().take(AT_ONCE_MAX).map(sender::correspondent).collect();
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
        let fresh = now.seconds() + ttl.saturating_sub(DAY_SECONDS);
        let (mut new, mut writes) = (0, Vec::new());
        for (place, (key, found)) in
            keys.clone().into_iter().zip(self.state.get(keys, now).await?).enumerate()
        {
            let found = found?;
            new += u64::from(place < of_account && found.is_none());
            if found.and_then(|entry| entry.expires).is_none_or(|expires| expires.seconds() < fresh) {
                writes.push(Write::put(key, Vec::new(), ttl));
            }
        }
        if !writes.is_empty() {
            for written in self.state.write(writes, now).await? {
                written?;
            }
        }
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
        let domains: BTreeSet<&str> = ours.into_iter().map(Domain::as_str).collect();
        let (mut keys, mut places) = (Vec::new(), Vec::new());
        if self.days > 0 {
            for (place, address) in theirs.iter().enumerate() {
                let their = sender::correspondent(address);
                keys.extend(domains.iter().map(|domain| pair("d", domain, &their)));
                places.resize(keys.len(), place);
            }
        }
        keys.truncate(AT_ONCE_MAX);
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut known = Vec::new();
        for (place, found) in places.into_iter().zip(self.state.get(keys, now).await?) {
            if found?.is_some() && known.last() != Some(&place) {
                known.push(place);
            }
        }
        Ok(known)
    }
}

fn pair(kind: &str, ours: &str, theirs: &str) -> StateKey {
    let hash = digest::digest(&digest::SHA256, format!("{ours}\0{theirs}").as_bytes());
    let short = hash.as_ref().get(..HASH_BYTES).unwrap_or_default();
    StateKey::new(NAMESPACE, [kind.as_bytes(), b"/", short].concat())
}

#[cfg(test)]
mod tests {
    use store::MemoryState;

    use super::*;
    use crate::testing::{NOW, address};

    fn memory(days: u32) -> (Correspondents, Arc<MemoryState>) {
        let state = Arc::new(MemoryState::default());
        (Correspondents::new(days, state.clone()), state)
    }

    fn ours() -> Domain {
        Domain::parse("example.test").unwrap()
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
        assert_eq!(memory.remember(writer, [&joe, &joe], NOW).await.unwrap(), 1);
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
        assert_eq!(memory.remember(writer, [&joe], days_later(21)).await.unwrap(), 0);
        assert!(knows("joe@away.test", "example.test", days_later(50)).await);
    }

    #[tokio::test]
    async fn new_is_what_the_account_itself_has_not_written_to() {
        let (memory, _) = memory(30);
        let domain = ours();
        let all = [address("a1@away.test"), address("a2@away.test")];
        for (account, count, new) in [("mara", 2, 2), ("mara", 2, 0), ("john", 1, 1), ("john", 2, 1)] {
            let writer = Writer { domain: Some(&domain), account: Some(account) };
            assert_eq!(memory.remember(writer, &all[..count], NOW).await.unwrap(), new, "{account}");
        }
        let nobody = Writer { domain: Some(&domain), account: None };
        assert_eq!(memory.remember(nobody, &all, NOW).await.unwrap(), 0);
        let program = Writer { domain: None, account: Some("mara") };
        let third = address("a3@away.test");
        assert_eq!(memory.remember(program, [&third], NOW).await.unwrap(), 1);
        assert!(memory.known(&[&third], [&domain], NOW).await.unwrap().is_empty(), "no answer is expected");
    }

    #[tokio::test]
    async fn a_memory_that_does_not_answer_is_an_error_and_no_days_remember_nothing() {
        let (memory, state) = memory(30);
        let domain = ours();
        let writer = Writer { domain: Some(&domain), account: None };
        let joe = address("joe@away.test");
        memory.remember(writer, [&joe], NOW).await.unwrap();
        state.close().await.unwrap();
        assert!(memory.remember(writer, [&joe], NOW).await.is_err(), "not answered is not unknown");
        assert!(memory.known(&[&joe], [&domain], NOW).await.is_err());
        let off = Correspondents::new(0, state);
        assert_eq!(off.remember(writer, [&joe], NOW).await.unwrap(), 0);
        assert!(off.known(&[&joe], [&domain], NOW).await.unwrap().is_empty());
    }
}
