//! What senders and networks have sent lately: a decaying mean of the scores of their letters.
//!
//! Remembered are people and organisations who are *proven* to be the sender, and networks of clients (/24, or /64 of IPv6).
//! A name that nobody has proven has no reputation, so that a forged one gains nothing and harms nobody. A mean counts for
//! little until it is made of several letters, and letters lose half of their weight in every half-life. What reputation
//! itself has added to a score is not part of what is remembered, so that it never feeds itself.
//!
//! All is counted in memory, within bounds, and written down now and then ([`Reputation::save`]): to judge a letter costs no
//! waiting, and a crash forgets some minutes. Who was seen once is not written down at all. Decides nothing, reads no clock.

mod settings;
mod subject;
mod table;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mail::Timestamp;
use policy::Score;
use serde::{Deserialize, Serialize};
use store::{StateKey, StateStore, StoreError, Write};

pub use self::settings::ReputationSettings;
pub use self::subject::Subject;
use self::table::Table;
pub use self::table::{SUBJECTS_MAX, Standing};

/// Where it is kept.
pub const NAMESPACE: &str = "reputation";
/// Entries that are read from the store at once.
const PAGE: usize = 500;
/// Writes that go to the store at once.
const WRITES_MAX: usize = 200;

/// What is remembered, shared by all that ask; a reload changes no more than the half-life.
#[derive(Clone)]
pub struct Memory {
    state: Arc<dyn StateStore>,
    table: Arc<Mutex<Table>>,
}

/// The memory with the settings of one configuration.
#[derive(Clone)]
pub struct Reputation {
    settings: ReputationSettings,
    memory: Memory,
}

/// One line of what is remembered, for operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// `address:joe@example.org`, `domain:example.org`, `net:192.0.2.0/24`.
    pub subject: String,
    /// How many letters it is made of by now, rounded: old ones count for less.
    pub letters: u64,
    /// The mean of their scores.
    pub average: Score,
    /// How much it is worth of what such a reputation is worth at most, in thousandths: above zero speaks against it.
    pub worth_thousandths: i32,
    /// When the last letter came.
    pub last: Timestamp,
}

impl Memory {
    /// Remembers nothing so far; kept there.
    #[must_use]
    pub fn new(state: Arc<dyn StateStore>) -> Self {
        Self { state, table: Arc::default() }
    }

    /// Reads what was written down before a restart. To be called once, before clients come.
    ///
    /// # Errors
    /// [`StoreError`] when the state store does not answer.
    pub async fn load(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.state.scan(StateKey::new(NAMESPACE, ""), after, PAGE, now).await?;
            for entry in &page.entries {
                let subject = std::str::from_utf8(entry.key.rest()).ok().and_then(Subject::parse);
                if let (Some(subject), Some(standing)) = (subject, Standing::decode(&entry.value)) {
                    self.table().load(subject, standing);
                }
            }
            after = page.next.filter(|_| self.table().len() < SUBJECTS_MAX);
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Takes over what another memory has told, as it counts at `now`; what is remembered already stays as it is.
    pub fn learn(&self, lines: &[Line], now: Timestamp) {
        for line in lines {
            if let Some(subject) = Subject::parse(&line.subject) {
                self.table().load(subject, Standing::of(line.letters, line.average, now));
            }
        }
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table().len()
    }

    /// True when nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reputation {
    /// The memory by these settings.
    #[must_use]
    pub const fn new(settings: ReputationSettings, memory: Memory) -> Self {
        Self { settings, memory }
    }

    /// True when reputations are kept at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.settings.half_life_days > 0
    }

    /// What is remembered of somebody, as it counts at `now`.
    #[must_use]
    pub fn of(&self, subject: &Subject, now: Timestamp) -> Option<Standing> {
        let standing = self.memory.table().get(subject)?;
        self.is_on().then(|| standing.at(now, self.settings.half_life_seconds()))
    }

    /// A letter of theirs had this score, what their reputation added left out.
    pub fn count(&self, subjects: &[Subject], score: Score, now: Timestamp) {
        if self.is_on() {
            let mut table = self.memory.table();
            for subject in subjects {
                table.count(subject, score, (now, self.settings.half_life_seconds()));
            }
        }
    }

    /// Writes down what has changed, and removes what was forgotten for want of room. What cannot be written is tried again.
    ///
    /// # Errors
    /// [`StoreError`] when the state store does not answer.
    pub async fn save(&self, now: Timestamp) -> Result<(), StoreError> {
        let half_life = self.settings.half_life_seconds();
        let (changed, gone) = self.memory.table().take_unsaved(now, half_life);
        // Who was forgotten and has come again is there in the end.
        let mut writes: Vec<Write> = gone.iter().map(|subject| Write::delete(key(subject))).collect();
        writes.extend(changed.iter().map(|(subject, standing)| {
            Write::put(key(subject), standing.encode().to_vec(), standing.lasts_seconds(half_life))
        }));
        for some in writes.chunks(WRITES_MAX) {
            let written = self.memory.state.write(some.to_vec(), now).await;
            if let Err(error) = written.and_then(|all| all.into_iter().try_for_each(|one| one.map(drop))) {
                self.memory.table().give_back(changed.iter().map(|(subject, _)| subject), gone);
                return Err(error);
            }
        }
        Ok(())
    }

    /// What is remembered of these; of nobody in particular, of all, the worst first.
    #[must_use]
    pub fn lines(&self, of: &[Subject], now: Timestamp) -> Vec<Line> {
        let half_life = self.settings.half_life_seconds();
        let all: Vec<(Subject, Standing)> = {
            let table = self.memory.table();
            if of.is_empty() {
                table.all().collect()
            } else {
                of.iter().filter_map(|subject| Some((subject.clone(), table.get(subject)?))).collect()
            }
        };
        let mut lines: Vec<Line> = all
            .into_iter()
            .map(|(subject, standing)| {
                let now = standing.at(now, half_life);
                Line {
                    subject: subject.to_string(),
                    letters: now.letters(),
                    average: now.average(),
                    worth_thousandths: now.worth_thousandths(),
                    last: standing.last(),
                }
            })
            .collect();
        if of.is_empty() {
            let rank = |line: &Line| (line.worth_thousandths, line.average, line.letters);
            lines.sort_by(|a, b| rank(b).cmp(&rank(a)).then_with(|| a.subject.cmp(&b.subject)));
        }
        lines
    }

    /// Forgets somebody. True when something was remembered.
    ///
    /// # Errors
    /// [`StoreError`] when it is still written down.
    pub async fn forget(&self, subject: &Subject, now: Timestamp) -> Result<bool, StoreError> {
        let known = self.memory.table().remove(subject);
        let written = self.memory.state.write(vec![Write::delete(key(subject))], now).await?;
        written.into_iter().try_for_each(|one| one.map(drop))?;
        Ok(known)
    }
}

fn key(subject: &Subject) -> StateKey {
    StateKey::new(NAMESPACE, subject.to_string())
}

#[cfg(test)]
mod tests;
