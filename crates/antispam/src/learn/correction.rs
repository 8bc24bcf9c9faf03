//! What somebody thinks otherwise than the shared filter: the model of a filter of a domain or an account.
//!
//! Not a classifier by itself, which some dozens of letters would make a bad one: a logistic regression over the same
//! features that starts from what the shared filter says of each letter, held small (L2), without a constant. Where both are
//! of one mind nothing is learnt; where they are not, exactly the difference is. So a few letters do,
//! and what has nothing in common with them is judged as before. Fitted by coordinate descent in the dual, like the experts
//! ([`super::train`]); the same letters and the same shared model give the same bits.
//!
//! In a file: a line that names the format, figures with the least significant octet first, a checksum (CRC-32C). A damaged
//! one is an error, never an opinion. Why so: `docs/decisions/0010-corrections-on-top-of-the-shared-filter.md`.

use super::feature::{Features, Group};
use super::files::{put_u64, sealed, unsealed};
use super::model::{Expert, Model, Opinion, Reason, Verdict};
use super::samples::{Class, Counts, Samples};

/// First line of the file.
const FORMAT: &[u8] = b"staffetta bayes correction 1\n";
/// How much the features of each group count, in the order of [`Group::ALL`]: chosen by measurement, and not as the shared
/// filter has it. Who is named and how it came say too much when few letters are known; what letters are like as a whole is
/// what everybody knows.
const SHARES: [f64; Group::COUNT] = [1.0, 1.0, 0.6, 0.2, 0.3, 0.0];
/// What wrong answers cost beside large weights, of a letter where both classes are as many: those of the smaller one cost
/// as much together as those of the larger.
const COST: f64 = 30.0;
/// How much more a letter of the smaller class may cost.
const BALANCE_MAX: f64 = 10.0;
/// With so many times as many letters of one class as of the other it counts fully; the more lopsided, the less. Who only ever
/// moves letters to Junk has not said what else is to go there.
const LOPSIDED: f64 = 2.0;
/// Passes over all letters.
const PASSES: usize = 20;
/// Halvings for one step: exact enough.
const HALVINGS: usize = 40;
/// Log-odds that the shared filter counts for at most beside a correction: 99.9 %. What it is certain of somebody may see
/// otherwise.
const SHARED_LOGIT_MAX: f64 = 7.0;
/// Log-odds that it counts for at most while a correction is fitted, where both are of one mind: it may change its mind, and
/// what was said shall still be known then.
const AGREED_LOGIT_MAX: f64 = 2.0;
/// Weights below this are left out.
const WEIGHT_MIN: f64 = 0.001;
/// From this probability on it is spam: that of the shared filter's threshold.
const SPAM_FROM: f64 = 0.99;

/// A fitted filter of somebody's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Correction {
    groups: [Expert; Group::COUNT],
    /// The messages it was fitted to.
    pub counts: Counts,
    /// Which messages those were, as [`Samples::state`] has it.
    pub state: u64,
    /// The state of the shared model that it corrects; 0 without one.
    pub shared_state: u64,
}

impl Correction {
    /// Fits one to what somebody has said of letters, and to what the shared filter says of them.
    #[must_use]
    pub fn fitted(samples: &Samples, shared: Option<&Model>) -> Self {
        let counts = samples.counts();
        let rows: Vec<Row<'_>> = samples
            .iter()
            .map(|(_, sample)| {
                let sign = if sample.class == Class::Spam { 1.0 } else { -1.0 };
                let said = shared.map_or(0.0, |model| logit(model.judge(&sample.features).cautious));
                let start = sign * (sign * said).min(AGREED_LOGIT_MAX);
                Row { features: &sample.features, sign, start, cost: cost(counts, sample.class) }
            })
            .collect();
        Self { groups: descend(&rows), counts, state: samples.state(), shared_state: state_of(shared) }
    }

    /// True when it was fitted to what another shared model said.
    #[must_use]
    pub fn is_outdated(&self, shared: Option<&Model>) -> bool {
        self.shared_state != state_of(shared)
    }

    /// By how much the log-odds of spam are other than the shared filter's.
    #[must_use]
    pub fn log_odds(&self, features: &Features) -> f64 {
        let all = self.groups.iter().zip(Group::ALL).zip(SHARES);
        let sum: f64 = all
            .map(|((known, group), share)| {
                let ids = features.group(group);
                let sum: f64 = ids.iter().filter_map(|id| known.weight(*id)).map(f64::from).sum();
                sum * value(share, ids.len())
            })
            .sum();
        sum * heard(self.counts)
    }

    /// By how much it moves the log-odds that this shared filter gives. One that was fitted to another is heard only where it
    /// speaks for a letter: of what it has against it the shared filter may have learnt the same since, and both together
    /// would cost mail that nobody has said anything about.
    #[must_use]
    pub fn moves(&self, shared: Option<&Model>, features: &Features) -> f64 {
        let own = self.log_odds(features);
        if self.is_outdated(shared) { own.min(0.0) } else { own }
    }

    /// What the shared filter, when it says anything, and this one say together.
    #[must_use]
    pub fn together(&self, shared: Option<(&Model, &Opinion)>, features: &Features) -> Opinion {
        let (model, shared) = shared.unzip();
        let own = self.moves(model, features);
        let sum = |of: fn(&Opinion) -> f64| probability(shared.map_or(0.0, |shared| logit(of(shared))) + own);
        let cautious = sum(|opinion| opinion.cautious);
        let says_ham = own < 0.0 || shared.is_some_and(|shared| shared.verdict == Verdict::Ham);
        let verdict = match cautious {
            likely if likely >= SPAM_FROM => Verdict::Spam,
            likely if likely < 0.5 && says_ham => Verdict::Ham,
            _ => Verdict::Unsure,
        };
        let coverage = shared.map_or(0.0, |shared| shared.coverage).max(self.coverage(features));
        Opinion { score: sum(|opinion| opinion.score), cautious, coverage, verdict }
    }

    /// The features that decided most, strongest first.
    #[must_use]
    pub fn reasons(&self, features: &Features, count_max: usize) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for ((known, group), share) in self.groups.iter().zip(Group::ALL).zip(SHARES) {
            let ids = features.group(group);
            let scale = value(share, ids.len()) * heard(self.counts);
            let weighed = ids.iter().filter_map(|id| Some((*id, f64::from(known.weight(*id)?))));
            reasons.extend(weighed.map(|(id, weight)| Reason { group, id, weight: weight * scale }));
        }
        reasons.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()).then(a.id.cmp(&b.id)));
        reasons.truncate(count_max);
        reasons
    }

    /// How many features it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.iter().map(Expert::len).sum()
    }

    /// True when it says nothing of any letter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets of memory that it takes, nearly.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.groups.iter().map(Expert::memory_bytes).sum::<usize>()
    }

    /// As octets of a file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = FORMAT.to_vec();
        for figure in [self.counts.ham, self.counts.spam, self.state, self.shared_state] {
            put_u64(&mut out, figure);
        }
        self.groups.iter().for_each(|group| group.write(&mut out));
        sealed(out)
    }

    /// From octets of a file; none when they are not those that were written.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut input = unsealed(bytes, FORMAT)?;
        let counts = Counts { ham: input.u64()?, spam: input.u64()? };
        let (state, shared_state) = (input.u64()?, input.u64()?);
        let mut groups: [Expert; Group::COUNT] = Default::default();
        for group in &mut groups {
            *group = Expert::read(&mut input)?;
        }
        input.is_empty().then_some(Self { groups, counts, state, shared_state })
    }

    /// The share of the text's features that are known.
    #[allow(clippy::cast_precision_loss)] // Features of a message are few.
    fn coverage(&self, features: &Features) -> f64 {
        let ids = features.group(Group::Text);
        let text = self.groups.get(Group::Text.index());
        let known = ids.iter().filter(|id| text.is_some_and(|text| text.weight(**id).is_some())).count();
        if ids.is_empty() { 0.0 } else { known as f64 / ids.len() as f64 }
    }
}

/// By what a shared model is known again.
fn state_of(shared: Option<&Model>) -> u64 {
    shared.map_or(0, |model| model.state)
}

/// A letter, on which side it is, and what is said of it already.
struct Row<'a> {
    features: &'a Features,
    sign: f64,
    start: f64,
    cost: f64,
}

/// What a wrong answer to a letter of this class costs.
#[allow(clippy::cast_precision_loss)] // Counts of messages.
fn cost(counts: Counts, class: Class) -> f64 {
    let own = if class == Class::Spam { counts.spam } else { counts.ham };
    COST * (counts.all() as f64 / (2.0 * own.max(1) as f64)).min(BALANCE_MAX)
}

/// How much is made of what was said in so many letters, from 0 to 1.
#[allow(clippy::cast_precision_loss)] // Counts of messages.
fn heard(counts: Counts) -> f64 {
    let (smaller, larger) = (counts.ham.min(counts.spam), counts.ham.max(counts.spam));
    (LOPSIDED * smaller as f64 / larger.max(1) as f64).min(1.0)
}

/// What each of so many features of a group counts: long letters weigh no more than short ones.
#[allow(clippy::cast_precision_loss)]
fn value(share: f64, count: usize) -> f64 {
    share / (count.max(1) as f64).sqrt()
}

/// Coordinate descent: one dual variable a letter, each step by halving.
#[allow(clippy::cast_possible_truncation)] // Weights are kept in single precision.
fn descend(rows: &[Row<'_>]) -> [Expert; Group::COUNT] {
    let ids: [Vec<u32>; Group::COUNT] = Group::ALL.map(|group| {
        let mut ids: Vec<u32> = rows.iter().flat_map(|row| row.features.group(group)).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    });
    let mut weights: [Vec<f64>; Group::COUNT] = ids.each_ref().map(|ids| vec![0.0; ids.len()]);
    // The places of each letter's features among all, for each group.
    let places: Vec<[Vec<usize>; Group::COUNT]> = rows
        .iter()
        .map(|row| {
            let mut groups = Group::ALL.into_iter().zip(&ids);
            std::array::from_fn(|_| {
                groups.next().map_or_else(Vec::new, |(group, all)| {
                    let own = row.features.group(group).iter();
                    own.filter_map(|id| all.binary_search(id).ok()).collect()
                })
            })
        })
        .collect();
    let mut duals = vec![0.0_f64; rows.len()];
    for _ in 0..PASSES {
        for ((row, places), dual) in rows.iter().zip(&places).zip(&mut duals) {
            step(row, places, dual, &mut weights);
        }
    }
    let mut fitted = ids.into_iter().zip(weights).map(|(ids, weights)| {
        let kept = ids.into_iter().zip(weights).filter(|(_, weight)| weight.abs() >= WEIGHT_MIN);
        let (ids, weights): (Vec<u32>, Vec<f32>) = kept.map(|(id, weight)| (id, weight as f32)).unzip();
        Expert::new(ids, weights, 0.0)
    });
    std::array::from_fn(|_| fitted.next().unwrap_or_default())
}

/// Moves one dual variable to where it is best as the others are, and the weights with it.
fn step(
    row: &Row<'_>,
    places: &[Vec<usize>; Group::COUNT],
    dual: &mut f64,
    weights: &mut [Vec<f64>; Group::COUNT],
) {
    let (mut sum, mut norm) = (row.start, 0.0);
    for ((places, weights), share) in places.iter().zip(&*weights).zip(SHARES) {
        let value = value(share, places.len());
        sum += value * places.iter().filter_map(|place| weights.get(*place)).sum::<f64>();
        norm += if places.is_empty() { 0.0 } else { share * share };
    }
    // The margin falls as the variable's pull does: it is where it costs what it gains.
    let (mut low, mut high) = (0.0, row.cost);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        let margin = row.sign * sum + (middle - *dual) * norm;
        if row.cost * probability(-margin) > middle {
            low = middle;
        } else {
            high = middle;
        }
    }
    let change = (low - *dual) * row.sign;
    *dual = low;
    for ((places, weights), share) in places.iter().zip(weights).zip(SHARES) {
        let value = value(share, places.len());
        for place in places {
            if let Some(weight) = weights.get_mut(*place) {
                *weight += change * value;
            }
        }
    }
}

/// What the shared filter says, within what it counts for.
fn logit(probability: f64) -> f64 {
    (probability / (1.0 - probability)).ln().clamp(-SHARED_LOGIT_MAX, SHARED_LOGIT_MAX)
}

fn probability(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::learn::tests::{filled, letter};
    use crate::learn::tokens::{features, read};

    fn samples(letters: &[(Class, usize, Class)]) -> Samples {
        let mut samples = Samples::open(Path::new("")).unwrap();
        for (of, number, class) in letters {
            samples.add(read(letter(*of, *number).as_bytes()), *class);
        }
        samples
    }

    fn shared() -> Model {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 220).fit().unwrap().unwrap()
    }

    #[test]
    fn who_agrees_changes_nothing() {
        let shared = shared();
        let all: Vec<_> =
            (0..30).flat_map(|n| [(Class::Ham, n, Class::Ham), (Class::Spam, n, Class::Spam)]).collect();
        let own = Correction::fitted(&samples(&all), Some(&shared));
        for (class, number) in [(Class::Ham, 7001), (Class::Spam, 7001), (Class::Ham, 7002)] {
            let features = features(letter(class, number).as_bytes());
            let alone = shared.judge(&features);
            let both = own.together(Some((&shared, &alone)), &features);
            assert_eq!(both.cautious >= 0.5, alone.cautious >= 0.5);
            assert!((both.cautious - alone.cautious).abs() < 0.05, "{alone:?} {both:?}");
        }
    }

    #[test]
    fn a_few_letters_do_where_somebody_thinks_otherwise() {
        let shared = shared();
        let mut said: Vec<_> = (0..6).map(|n| (Class::Spam, n, Class::Ham)).collect();
        said.extend((100..106).map(|n| (Class::Ham, n, Class::Spam)));
        let own = Correction::fitted(&samples(&said), Some(&shared));
        assert!(!own.is_empty() && own.shared_state == shared.state);
        let such = features(letter(Class::Spam, 7001).as_bytes());
        let alone = shared.judge(&such);
        let both = own.together(Some((&shared, &alone)), &such);
        assert!(alone.cautious > 0.95 && both.cautious < 0.9, "{alone:?} {both:?}");
        assert!(own.reasons(&such, 5).iter().all(|reason| reason.weight < 0.0));
        // Who has said much of one kind alone is heard the less.
        said.truncate(7);
        let lopsided = Correction::fitted(&samples(&said), Some(&shared));
        assert!(lopsided.log_odds(&such) > own.log_odds(&such) && lopsided.log_odds(&such) < 0.0);
        // What has little in common with them is judged nearly as before.
        let other = features("Subject: Привет\n\nСовсем другие слова, которых никто не учил.\n".as_bytes());
        assert!(own.log_odds(&other).abs() < own.log_odds(&such).abs() / 4.0, "{}", own.log_odds(&other));
    }

    #[test]
    fn one_that_was_fitted_to_another_shared_filter_only_speaks_for_letters() {
        let folder = tempfile::tempdir().unwrap();
        let (before, now) = (shared(), filled(folder.path(), 230).fit().unwrap().unwrap());
        let mut said: Vec<_> = (0..6).map(|n| (Class::Spam, n, Class::Ham)).collect();
        said.extend((100..106).map(|n| (Class::Ham, n, Class::Spam)));
        let own = Correction::fitted(&samples(&said), Some(&before));
        assert!(!own.is_outdated(Some(&before)) && own.is_outdated(Some(&now)) && own.is_outdated(None));
        let [spam, ham] = [Class::Spam, Class::Ham].map(|class| features(letter(class, 7001).as_bytes()));
        assert!(own.log_odds(&spam) < 0.0 && own.log_odds(&ham) > 0.0);
        for shared in [Some(&now), None] {
            assert!((own.moves(shared, &spam) - own.log_odds(&spam)).abs() < f64::EPSILON);
            assert!(own.moves(shared, &ham).abs() < f64::EPSILON);
        }
        assert!((own.moves(Some(&before), &ham) - own.log_odds(&ham)).abs() < f64::EPSILON);
        let alone = now.judge(&ham);
        assert!((own.together(Some((&now, &alone)), &ham).cautious - alone.cautious).abs() < 0.001);
    }

    #[test]
    fn it_speaks_without_a_shared_filter_too() {
        let all: Vec<_> =
            (0..40).flat_map(|n| [(Class::Ham, n, Class::Ham), (Class::Spam, n, Class::Spam)]).collect();
        let own = Correction::fitted(&samples(&all), None);
        let spam = own.together(None, &features(letter(Class::Spam, 7001).as_bytes()));
        let ham = own.together(None, &features(letter(Class::Ham, 7001).as_bytes()));
        assert!(spam.cautious > 0.95 && ham.cautious < 0.05, "{spam:?} {ham:?}");
        assert_eq!(ham.verdict, Verdict::Ham);
    }

    #[test]
    fn it_is_read_as_it_was_written_or_not_at_all() {
        let own =
            Correction::fitted(&samples(&[(Class::Spam, 1, Class::Ham), (Class::Ham, 1, Class::Spam)]), None);
        let bytes = own.to_bytes();
        assert_eq!(Correction::from_bytes(&bytes).as_ref(), Some(&own));
        for at in (0..bytes.len()).step_by(61) {
            let mut hit = bytes.clone();
            hit[at] ^= 1;
            assert!(Correction::from_bytes(&hit).is_none() && Correction::from_bytes(&bytes[..at]).is_none());
        }
        assert!(Correction::from_bytes(&[]).is_none());
    }
}
