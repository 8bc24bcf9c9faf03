//! What DNS was asked and what it said, for those who explain a decision later.
//!
//! Bounded, and kept only where somebody listens ([`super::Resolver::overheard`]). The order is that of the answers.

use std::fmt::{Display, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use hickory_resolver::proto::rr::{Name, RecordType};

use super::DnsAnswer;

/// Answers that are kept; further ones are not.
const HEARD_MAX: usize = 32;
/// Octets of an answer that are kept, a few more or less.
const ANSWER_BYTES_MAX: usize = 128;

/// Questions with their answers. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<(String, String)>>>);

impl Heard {
    /// What was heard so far, as `example.test MX` and the records in words; taken out.
    #[must_use]
    pub fn take(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn note<T>(&self, name: &Name, kind: RecordType, answer: &DnsAnswer<T>, records: String) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() == HEARD_MAX {
            return;
        }
        let mut asked = name.to_ascii();
        if asked.len() > 1 && asked.ends_with('.') {
            asked.pop();
        }
        let answer = match answer {
            DnsAnswer::Found(_) => records,
            DnsAnswer::NoName => "no such name".to_owned(),
            DnsAnswer::NoData => "no such records".to_owned(),
            DnsAnswer::Failed(why) => why.clone(),
        };
        heard.push((format!("{asked} {kind}"), answer));
    }
}

/// Records in words, cut to bounds.
pub(super) fn in_words(records: impl Iterator<Item = impl Display>) -> String {
    let mut words = String::new();
    for record in records {
        if words.len() > ANSWER_BYTES_MAX {
            words.push_str(", ...");
            break;
        }
        let between = if words.is_empty() { "" } else { ", " };
        // Writing into memory cannot fail.
        let _ = write!(words, "{between}{record}");
    }
    if words.len() > 2 * ANSWER_BYTES_MAX {
        words.truncate(words.floor_char_boundary(ANSWER_BYTES_MAX));
        words.push_str("...");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_in_words_and_bounded() {
        let heard = Heard::default();
        let name = Name::from_ascii("Example.test.").unwrap_or_default();
        let found = DnsAnswer::Found(());
        heard.note(&name, RecordType::MX, &found, in_words(["10 a.test.", "20 b.test."].iter()));
        heard.note(&name, RecordType::TXT, &DnsAnswer::<()>::NoName, String::new());
        heard.note(&Name::root(), RecordType::A, &DnsAnswer::<()>::Failed("why".into()), String::new());
        let told = |question: &str, answer: &str| (question.to_owned(), answer.to_owned());
        let all = [
            told("Example.test MX", "10 a.test., 20 b.test."),
            told("Example.test TXT", "no such name"),
            told(". A", "why"),
        ];
        assert_eq!(heard.take(), all);
        for _ in 0..=HEARD_MAX {
            heard.note(&name, RecordType::A, &found, String::new());
        }
        assert_eq!(heard.take().len(), HEARD_MAX);
        assert_eq!(heard.take(), []);
        let long = "ä".repeat(1_000);
        assert!(in_words([&long].iter()).len() <= ANSWER_BYTES_MAX + 3);
        assert!(in_words((0..100).map(|n| format!("192.0.2.{n}"))).len() < 2 * ANSWER_BYTES_MAX);
    }
}
