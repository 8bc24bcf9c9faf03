//! What one memory tells another of a letter: for a rehearsal, which has a memory of its own and asks the running server.
//!
//! Told is what would be said of these people and these Message-IDs, whoever proves to have written the letter, and nothing else
//! of what is remembered. A memory that does not answer is an error, never "not known" (I9).

use std::collections::BTreeSet;

use mail::{Address, Domain, Timestamp};
use serde::{Deserialize, Serialize};
use store::StoreError;

use super::threads::{Sent, answered};
use super::{Correspondents, DAY_SECONDS, Question, Writer};
use crate::end_of_data::author::authors;

/// What a letter claims: whom it may be from, and what it may answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Claims {
    /// Its authors, and its sender.
    pub theirs: Vec<Address>,
    /// Of which domains its recipients are.
    pub ours: Vec<Domain>,
    /// The Message-IDs that it answers, without brackets.
    pub answers: Vec<String>,
}

impl Claims {
    /// Those of a letter with this header, from this sender, to these recipients.
    #[must_use]
    pub fn of<'a>(
        head: &[u8],
        sender: Option<&Address>,
        recipients: impl IntoIterator<Item = &'a Address>,
    ) -> Self {
        let mut theirs = authors(head);
        theirs.extend(sender.cloned());
        let ours: BTreeSet<Domain> = recipients.into_iter().map(|address| address.domain.clone()).collect();
        Self { theirs, ours: ours.into_iter().collect(), answers: answered(head) }
    }
}

/// What is remembered of that for one of our domains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acquaintance {
    /// For which.
    pub ours: Domain,
    /// To whom it has written.
    pub written_to: Vec<Address>,
    /// The letters that it has sent or answered.
    pub letters: Vec<Letter>,
}

/// A letter that somebody of ours has sent or answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Its Message-ID.
    pub id: String,
    /// To whose organisations it went, of those that were claimed.
    pub went_to: Vec<Domain>,
}

impl Correspondents {
    /// What is remembered of these claims; a line for each domain of ours that remembers anything.
    ///
    /// # Errors
    /// [`StoreError`] when the state store does not answer.
    pub async fn tell(&self, claims: &Claims, now: Timestamp) -> Result<Vec<Acquaintance>, StoreError> {
        let theirs: Vec<&Address> = claims.theirs.iter().collect();
        let ours: BTreeSet<&Domain> = claims.ours.iter().collect();
        let ours: Vec<&Domain> = ours.into_iter().collect();
        let question = Question { theirs: &theirs, ours: &ours, answers: &claims.answers, proven: &[] };
        let known = self.ask(question, now).await?;
        let nothing =
            |ours: &&Domain| Acquaintance { ours: (*ours).clone(), written_to: vec![], letters: vec![] };
        let mut all: Vec<Acquaintance> = ours.iter().map(nothing).collect();
        for (their, our) in known.written_to {
            if let (Some(one), Some(their)) = (all.get_mut(our), theirs.get(their)) {
                one.written_to.push((*their).clone());
            }
        }
        for (our, answer) in known.answers {
            if let (Some(one), Some(id)) = (all.get_mut(our), claims.answers.get(answer)) {
                one.letters.push(Letter { id: id.clone(), went_to: Vec::new() });
            }
        }
        let domains: BTreeSet<&Domain> = theirs.iter().map(|address| &address.domain).collect();
        for domain in domains {
            let proven = [domain];
            for (our, answer) in
                self.ask(Question { theirs: &[], proven: &proven, ..question }, now).await?.expected
            {
                let id = claims.answers.get(answer);
                let letters = all.get_mut(our).into_iter().flat_map(|one| one.letters.iter_mut());
                letters
                    .filter(|letter| Some(&letter.id) == id)
                    .for_each(|letter| letter.went_to.push(domain.clone()));
            }
        }
        all.retain(|one| !one.written_to.is_empty() || !one.letters.is_empty());
        Ok(all)
    }

    /// Remembers what another memory has told, as if it had happened now.
    ///
    /// # Errors
    /// [`StoreError`] when the state store does not answer.
    pub async fn learn(&self, told: &[Acquaintance], now: Timestamp) -> Result<(), StoreError> {
        if self.days == 0 {
            return Ok(());
        }
        for one in told {
            let writer = Writer { domain: Some(&one.ours), account: None };
            self.remember(writer, &one.written_to, &Sent::default(), now).await?;
            for letter in &one.letters {
                let sent = Sent { ids: vec![letter.id.clone()] };
                let ttl = u64::from(self.days) * DAY_SECONDS;
                self.letters.note_to((&one.ours, &sent), letter.went_to.iter(), ttl, now);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use store::MemoryState;

    use super::*;
    use crate::testing::{self, NOW, address};

    fn memory() -> Correspondents {
        let state = Arc::new(MemoryState::default());
        let letters = testing::letters(&state);
        Correspondents::new(30, state, letters)
    }

    #[tokio::test]
    async fn one_memory_says_of_a_letter_what_another_has_told_it() {
        let (one, other) = (memory(), memory());
        let domain = |text: &str| Domain::parse(text).unwrap();
        let (ours, far) = (domain("example.test"), domain("far.test"));
        let writer = Writer { domain: Some(&ours), account: None };
        let sent = Sent { ids: vec!["1@example.test".into()] };
        one.remember(writer, [&address("info@far.test")], &sent, NOW).await.unwrap();
        one.remember(writer, [&address("joe@away.test")], &Sent::default(), NOW).await.unwrap();

        let head = b"From: ann@far.test, joe@away.test\r\nIn-Reply-To: <1@example.test>\r\n\
                     References: <2@example.test>\r\n\r\n";
        let recipients = [address("x@example.test"), address("y@example.test"), address("z@other.test")];
        let claims = Claims::of(head, Some(&address("bounces@far.test")), &recipients);
        assert_eq!((claims.theirs.len(), claims.ours.len(), claims.answers.len()), (3, 2, 2));
        let told = one.tell(&claims, NOW).await.unwrap();
        let letter = Letter { id: "1@example.test".into(), went_to: vec![far.clone()] };
        let known = Acquaintance {
            ours: ours.clone(),
            written_to: vec![address("joe@away.test")],
            letters: vec![letter],
        };
        assert_eq!(told, [known]);
        assert_eq!(other.tell(&claims, NOW).await.unwrap(), []);
        other.learn(&told, NOW).await.unwrap();
        assert_eq!(other.tell(&claims, NOW).await.unwrap(), told);
        // The colleague to whom it went is nobody to whom anybody has written.
        let (ann, theirs) = (address("ann@far.test"), domain("away.test"));
        for (proven, is_expected) in [(&far, true), (&theirs, false)] {
            let question =
                Question { theirs: &[&ann], ours: &[&ours], answers: &claims.answers, proven: &[proven] };
            let known = other.ask(question, NOW).await.unwrap();
            assert_eq!((known.written_to.len(), known.answers.len()), (0, 1));
            assert_eq!(!known.expected.is_empty(), is_expected, "{proven}");
        }
    }
}
