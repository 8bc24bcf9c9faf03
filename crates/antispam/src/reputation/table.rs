//! The numbers: weights and sums that decay, in a bounded table.
//!
//! Pure; time is passed in, and what has decayed is worked out when it is asked for.

use std::collections::{HashMap, HashSet};

use mail::Timestamp;
use policy::Score;

use super::Subject;

/// Who is remembered at most; then those with the fewest letters are forgotten. About 10 MB.
pub const SUBJECTS_MAX: usize = 50_000;
/// Letters, as [`Standing::letters`] counts them, below which a reputation says nothing, and is not written down.
const LETTERS_MIN: u64 = 2;
/// The most that earlier letters count for together: a sender who changes is known for it after some dozens.
const LETTERS_MAX: f64 = 200.0;
/// With so many letters a reputation counts for half of what it would with ever so many.
const LETTERS_HALF: f64 = 8.0;
/// Below this weight nothing is worth remembering.
const LETTERS_GONE: f64 = 0.5;
/// Scores between which letters differ, in points: one that is refused twice over says no more.
const SCORES: (f64, f64) = (-5.0, 15.0);
/// From which mean on a reputation is bad, and from where it is as bad as can be.
const BAD: (f64, f64) = (2.0, 6.0);
/// From which mean on, downwards, it is good, and from where it is as good as can be.
const GOOD: (f64, f64) = (1.0, -1.0);
const DAY_SECONDS: u64 = 86_400;
/// Octets of a standing as it is written down: a version, weight, sum, time.
const ENCODED_BYTES: usize = 25;
const VERSION: u8 = 1;

/// What is remembered of somebody.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// How many letters, each with what time has left of it.
    weight: f64,
    /// Their scores in points, likewise.
    sum: f64,
    /// The time of the last letter, in seconds.
    at: u64,
}

impl Standing {
    const NOTHING: Self = Self { weight: 0.0, sum: 0.0, at: 0 };

    /// So many letters with this mean, by now.
    #[allow(clippy::cast_precision_loss, reason = "no more than some hundreds")]
    pub(super) fn of(letters: u64, average: Score, now: Timestamp) -> Self {
        let weight = (letters as f64).min(LETTERS_MAX);
        Self { weight, sum: weight * average.as_f64(), at: now.seconds() }
    }

    /// What time has left of it.
    pub(super) fn at(self, now: Timestamp, half_life_seconds: u64) -> Self {
        let age = now.seconds().saturating_sub(self.at);
        #[allow(clippy::cast_precision_loss, reason = "seconds of some years are exact")]
        let left = (-(age as f64) / half_life_seconds as f64).exp2();
        Self { weight: self.weight * left, sum: self.sum * left, at: self.at.max(now.seconds()) }
    }

    /// With one letter more, at its time.
    fn with(self, score: Score) -> Self {
        let (least, most) = SCORES;
        let (weight, sum) = (self.weight + 1.0, self.sum + score.as_f64().clamp(least, most));
        // Only the mean is kept of what came before.
        let fit = (LETTERS_MAX / weight).min(1.0);
        Self { weight: weight * fit, sum: sum * fit, at: self.at }
    }

    /// How many letters it is made of, rounded.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and some hundreds")]
    pub fn letters(&self) -> u64 {
        self.weight.round() as u64
    }

    /// True when there are enough of them to say something.
    #[must_use]
    pub fn says_something(&self) -> bool {
        self.letters() >= LETTERS_MIN
    }

    /// The mean of their scores, to a tenth.
    #[must_use]
    pub fn average(&self) -> Score {
        Score::from_f64((self.mean() * 10.0).round() / 10.0).unwrap_or_default()
    }

    /// How much it is worth of what such a reputation is worth at most, in thousandths: above zero it is bad, below good.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "within a thousand either way")]
    pub fn worth_thousandths(&self) -> i32 {
        if !self.says_something() {
            return 0;
        }
        let part = |(from, to): (f64, f64)| ((self.mean() - from) / (to - from)).clamp(0.0, 1.0);
        let sure = self.weight / (self.weight + LETTERS_HALF);
        ((part(BAD) - part(GOOD)) * sure * 1000.0).round() as i32
    }

    /// When the last letter came.
    #[must_use]
    pub fn last(&self) -> Timestamp {
        Timestamp::from_seconds(self.at)
    }

    /// For how many seconds it is worth keeping.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "no more than ten half-lives")]
    pub(super) fn lasts_seconds(&self, half_life_seconds: u64) -> u64 {
        let half_lives = (self.weight / LETTERS_GONE).log2().clamp(0.0, 10.0).ceil() as u64;
        half_lives.saturating_mul(half_life_seconds).max(DAY_SECONDS)
    }

    fn mean(&self) -> f64 {
        if self.weight > 0.0 { self.sum / self.weight } else { 0.0 }
    }

    pub(super) fn encode(&self) -> [u8; ENCODED_BYTES] {
        let mut out = [VERSION; ENCODED_BYTES];
        let parts = [self.weight.to_be_bytes(), self.sum.to_be_bytes(), self.at.to_be_bytes()];
        out.iter_mut().skip(1).zip(parts.iter().flatten()).for_each(|(place, octet)| *place = *octet);
        out
    }

    /// What was written down; none of another version, or of nonsense.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (VERSION, rest) = value.split_first().map(|(version, rest)| (*version, rest))? else {
            return None;
        };
        let ([weight, sum, at], []) = rest.as_chunks::<8>() else { return None };
        let (weight, sum) = (f64::from_be_bytes(*weight), f64::from_be_bytes(*sum));
        let is_sound = weight > 0.0 && weight <= LETTERS_MAX && sum.abs() <= LETTERS_MAX * SCORES.1;
        is_sound.then(|| Self { weight, sum, at: u64::from_be_bytes(*at) })
    }
}

#[derive(Debug, Clone, Copy)]
struct Row {
    standing: Standing,
    /// It was written down, and is there.
    is_kept: bool,
}

/// All that are remembered.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: HashMap<Subject, Row>,
    /// Those that have changed since they were written down.
    unsaved: HashSet<Subject>,
    /// Those that were written down and are forgotten.
    gone: Vec<Subject>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn get(&self, subject: &Subject) -> Option<Standing> {
        self.rows.get(subject).map(|row| row.standing)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Subject, Standing)> + '_ {
        self.rows.iter().map(|(subject, row)| (subject.clone(), row.standing))
    }

    pub(super) fn load(&mut self, subject: Subject, standing: Standing) {
        if self.rows.len() < SUBJECTS_MAX {
            self.rows.entry(subject).or_insert(Row { standing, is_kept: true });
        }
    }

    pub(super) fn count(&mut self, subject: &Subject, score: Score, (now, half_life): (Timestamp, u64)) {
        if self.rows.len() >= SUBJECTS_MAX && !self.rows.contains_key(subject) {
            self.make_room(now, half_life);
        }
        let fresh = Row { standing: Standing::NOTHING, is_kept: false };
        let row = self.rows.entry(subject.clone()).or_insert(fresh);
        row.standing = row.standing.at(now, half_life).with(score);
        if row.standing.says_something() || row.is_kept {
            self.unsaved.insert(subject.clone());
        }
    }

    pub(super) fn remove(&mut self, subject: &Subject) -> bool {
        self.unsaved.remove(subject);
        self.rows.remove(subject).is_some()
    }

    /// What is to be written down, and whose entries are to be removed.
    pub(super) fn take_unsaved(
        &mut self,
        now: Timestamp,
        half_life: u64,
    ) -> (Vec<(Subject, Standing)>, Vec<Subject>) {
        let mut changed = Vec::with_capacity(self.unsaved.len());
        for subject in self.unsaved.drain() {
            if let Some(row) = self.rows.get_mut(&subject) {
                row.is_kept = true;
                changed.push((subject, row.standing.at(now, half_life)));
            }
        }
        (changed, std::mem::take(&mut self.gone))
    }

    /// Takes back what could not be written down.
    pub(super) fn give_back<'a>(&mut self, changed: impl Iterator<Item = &'a Subject>, gone: Vec<Subject>) {
        self.unsaved.extend(changed.filter(|subject| self.rows.contains_key(*subject)).cloned());
        let room = SUBJECTS_MAX.saturating_sub(self.gone.len());
        // What has no room here goes when its time is over.
        self.gone.extend(gone.into_iter().take(room));
    }

    /// Forgets those of whom least is left, a quarter at least.
    fn make_room(&mut self, now: Timestamp, half_life: u64) {
        let mut least = LETTERS_GONE;
        while self.rows.len() > SUBJECTS_MAX / 4 * 3 {
            for (subject, row) in
                self.rows.extract_if(|_, row| row.standing.at(now, half_life).weight <= least)
            {
                self.unsaved.remove(&subject);
                if row.is_kept && self.gone.len() < SUBJECTS_MAX {
                    self.gone.push(subject);
                }
            }
            least *= 2.0;
        }
    }
}
