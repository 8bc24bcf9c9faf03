//! Letters from which the classifier learns by itself: those about which the verdict is sure without it.
//!
//! What the classifier itself has said never counts: it would believe itself ever more. Only strangers' letters are
//! judged, and so only they teach. A letter is read on the threads for such work, after its sender was answered;
//! when many come at once some teach nothing. Kept until the next round are numbers, never the letter.

use std::sync::{Arc, Mutex, PoisonError};

use antispam::learn::LearnSettings;
use antispam::work;
use policy::tally::{Note, Tally};
use policy::{Content, MessageFacts, Score};
use tokio::sync::Semaphore;

use super::{Class, READ_BYTES_MAX, Read, read};

/// Letters that are read at once, or wait for it; others teach nothing.
const READING_MAX: usize = 16;
/// Letters that were read and wait for the next round.
const READ_MAX: usize = 500;
/// How the classifier's symbols begin.
const OWN: &str = "BAYES_";

/// Takes letters, and gives them to whoever learns. Clones share it.
#[derive(Debug, Clone)]
pub struct Teacher {
    read: Arc<Mutex<Vec<(Read, Class)>>>,
    places: Arc<Semaphore>,
}

impl Default for Teacher {
    fn default() -> Self {
        Self { read: Arc::default(), places: Arc::new(Semaphore::new(READING_MAX)) }
    }
}

impl Teacher {
    /// Takes a letter, as it will be in its mailbox: what is said of it there is about the same letter. Returns at once; must be
    /// called within a runtime.
    pub fn take(&self, facts: &MessageFacts, class: Class) {
        let Content::Memory(octets) = &facts.content else { return };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        // A copy of what is read: the rest is not kept for it.
        let octets = octets.get(..READ_BYTES_MAX).unwrap_or(octets);
        let octets = [&facts.received[..], octets].concat();
        let all = Arc::clone(&self.read);
        tokio::spawn(async move {
            let message = work::heavy(move || read(&octets)).await;
            drop(place);
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(message) = message.ok().filter(|_| all.len() < READ_MAX) {
                all.push((message, class));
            }
        });
    }

    /// Gives what was read so far.
    #[must_use]
    pub fn drain(&self) -> Vec<(Read, Class)> {
        std::mem::take(&mut *self.read.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a letter is for sure, by what was thought of it for each recipient; none when it is not sure, or nothing is to be
/// learnt so.
#[must_use]
pub fn sure<'a>(settings: &LearnSettings, tallies: impl IntoIterator<Item = &'a Tally>) -> Option<Class> {
    if !settings.automatic {
        return None;
    }
    let scores: Vec<Score> = tallies.into_iter().map(without_own).collect();
    let (least, most) = (scores.iter().min()?, scores.iter().max()?);
    if *least >= settings.automatic_spam_score {
        Some(Class::Spam)
    } else if *most <= settings.automatic_ham_score {
        Some(Class::Ham)
    } else {
        None
    }
}

/// The score as if the classifier had said nothing.
fn without_own(tally: &Tally) -> Score {
    let own = tally.lines.iter().filter(|line| line.symbol.as_str().starts_with(OWN));
    tally.total - own.filter(|line| line.note != Note::Observed).map(|line| line.points).sum()
}

#[cfg(test)]
mod tests {
    use policy::{Definitions, Finding, ScoreBook, SymbolDef};

    use super::*;

    fn tally(symbols: &[&'static str]) -> Tally {
        let worth = [("BAYES_99", 35), ("BAYES_00", -19), ("ZEN_SBL", 90), ("URI_BAD", 70), ("KNOWN", -35)];
        let symbols_of = worth.map(|(name, tenths)| SymbolDef::new(name, Score::tenths(tenths), "x"));
        let book = ScoreBook::new(Definitions { symbols: symbols_of.to_vec(), ..Definitions::default() });
        let found: Vec<Finding> = symbols.iter().map(|name| Finding::new(*name)).collect();
        Tally::of(&book.unwrap(), &found)
    }

    #[test]
    fn only_what_is_sure_without_the_classifier_teaches() {
        let on = LearnSettings { automatic: true, ..LearnSettings::default() };
        let is = |all: &[&[&'static str]]| {
            let tallies: Vec<Tally> = all.iter().map(|symbols| tally(symbols)).collect();
            sure(&on, &tallies)
        };
        assert_eq!(is(&[&["ZEN_SBL", "URI_BAD"]]), Some(Class::Spam));
        assert_eq!(is(&[&["ZEN_SBL", "URI_BAD", "BAYES_00"]]), Some(Class::Spam), "it is told where it errs");
        assert_eq!(is(&[&["ZEN_SBL", "BAYES_99"]]), None);
        assert_eq!(is(&[&["BAYES_00"]]), None);
        assert_eq!(is(&[&["KNOWN"]]), Some(Class::Ham));
        assert_eq!(is(&[&["KNOWN", "BAYES_99"]]), Some(Class::Ham));
        assert_eq!(is(&[&["KNOWN"], &[]]), None, "not for everybody");
        assert_eq!(is(&[&["ZEN_SBL", "URI_BAD"], &["ZEN_SBL"]]), None);
        assert_eq!(is(&[]), None);
        assert_eq!(sure(&LearnSettings::default(), &[tally(&["ZEN_SBL", "URI_BAD"])]), None);
    }

    #[tokio::test]
    async fn letters_are_read_apart_and_given_once() {
        let teacher = Teacher::default();
        let letter = "Subject: x\r\n\r\nsome words\r\n";
        let facts = crate::scoring::facts(letter.into(), crate::clock::now());
        let received = "Received: from a.test by b.test; Sun, 22 Nov 2026 02:00:00 +0000\r\n";
        let facts = MessageFacts { received: received.into(), ..facts };
        for _ in 0..3 {
            teacher.take(&facts, Class::Spam);
        }
        while teacher.places.available_permits() < READING_MAX {
            tokio::task::yield_now().await;
        }
        let all = Arc::clone(&teacher.read);
        while all.lock().unwrap().len() < 3 {
            tokio::task::yield_now().await;
        }
        let read = teacher.drain();
        let delivered = super::read(format!("{received}{letter}").as_bytes());
        assert!(read.len() == 3 && read.iter().all(|(message, _)| *message == delivered));
        assert!(teacher.drain().is_empty());
    }
}
