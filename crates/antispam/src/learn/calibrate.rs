//! What the experts' sum means: how likely is spam, and from where on is it said to be.
//!
//! Learnt from the past, to hold for the future: experts are fitted to the older two thirds of the messages of each class,
//! by date, and judge the newest third, which they have not seen. The threshold of spam lies above every ham of it, by a
//! margin that grows with how widely ham spreads and with how few there were; and where little of a text is known, nothing
//! is said to be spam. The probability is a logistic curve with one half where the experts balance and 99 % at that
//! threshold: one that is fitted to all of the newest third follows its oddest letters, and is wrong a year later.

use super::model::{Evidence, Opinion, Said, Verdict};

/// The part of the newest messages that calibrates: one in so many.
pub const NEWEST: usize = 3;
/// Spreads of ham between the highest that was seen and the threshold.
const MARGIN: f64 = 0.5;
/// So many hams double that margin.
const FEW: f64 = 100.0;
/// The share of spam that may be called ham.
const MISSED: f64 = 0.05;
/// How often experts that know nothing are right about pairs, and how often those that are believed.
const CHANCE: f64 = 0.5;
const BELIEVED: f64 = 0.75;
/// The probability at the threshold of spam.
const AT_THRESHOLD: f64 = 0.99;
/// The part of the usual coverage below which evidence counts for less.
const COVERED: f64 = 0.7;
/// Features of a text that must be known before anything is certain.
const KNOWN_MIN: usize = 20;
/// The lowest threshold of spam: what the newest third has not shown, the next one may. By their own account the experts are
/// wrong once in sixty thousand letters there.
const SPAM_FROM_MIN: f64 = 11.0;
/// The lowest threshold of ham: what is as clear as that is called ham, however clear most of it is.
const HAM_BELOW_MIN: f64 = -4.0;

/// What sums of log-odds mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibration {
    /// Sums from here on are spam.
    spam_from: f64,
    /// Sums below are ham.
    ham_below: f64,
    /// The usual share of known features.
    coverage: f64,
}

impl Calibration {
    /// Figures of a calibration.
    pub(super) const FIGURES: usize = 3;

    /// From what experts said of messages that they were not fitted to, and whether each was spam. None without both.
    #[must_use]
    pub fn new(seen: &[(Evidence, bool)]) -> Option<Self> {
        let of = |spam: bool| -> Vec<f64> {
            let mut sums: Vec<f64> = seen.iter().filter(|(_, is)| *is == spam).map(|(e, _)| e.sum).collect();
            sums.sort_by(f64::total_cmp);
            sums
        };
        let (ham, spam) = (of(false), of(true));
        let mut covered: Vec<f64> = seen.iter().map(|(evidence, _)| evidence.coverage).collect();
        covered.sort_by(f64::total_cmp);
        let highest = *ham.last()?;
        let few = 1.0 + (FEW / float(ham.len())).sqrt();
        let spam_from = (highest.max(0.0) + MARGIN * few * spread(&ham)).max(SPAM_FROM_MIN);
        let ham_below = quantile(&spam, MISSED)?.clamp(HAM_BELOW_MIN, 0.0);
        let coverage = quantile(&covered, 0.5)?;
        Self::from_figures([spam_from, ham_below, coverage])
    }

    /// What is said of a message.
    #[must_use]
    pub fn opinion(&self, evidence: Evidence) -> Opinion {
        let usual = COVERED * self.coverage;
        let caution = if usual > 0.0 { (evidence.coverage / usual).min(1.0) } else { 1.0 };
        let is_certain = evidence.known >= KNOWN_MIN && caution >= 1.0;
        let verdict = match evidence.sum {
            sum if sum >= self.spam_from && is_certain => Verdict::Spam,
            sum if sum < self.ham_below && evidence.known > 0 => Verdict::Ham,
            _ => Verdict::Unsure,
        };
        let score = evidence.sum * logit(AT_THRESHOLD) / self.spam_from;
        // Care is for what speaks against a letter: that it is unlike what was learnt makes good mail no worse.
        let caution = if score > 0.0 { caution } else { 1.0 };
        let short = if evidence.known >= KNOWN_MIN { 1.0 } else { float(evidence.known) / float(KNOWN_MIN) };
        Opinion {
            score: probability(score),
            cautious: probability(score * caution * short),
            coverage: evidence.coverage,
            verdict,
        }
    }

    pub(super) fn figures(&self) -> [f64; Self::FIGURES] {
        [self.spam_from, self.ham_below, self.coverage]
    }

    pub(super) fn from_figures(figures: [f64; Self::FIGURES]) -> Option<Self> {
        let [spam_from, ham_below, coverage] = figures;
        let sound = figures.iter().all(|figure| figure.is_finite()) && spam_from > 0.0 && ham_below <= 0.0;
        sound.then_some(Self { spam_from, ham_below, coverage })
    }
}

/// How far an expert is to be believed who has said this of messages that it had not seen, which are spam or not: not at all
/// where it puts a spam above a ham no more often than by chance, and fully where it does so three times out of four. What helps
/// on one site is noise on another.
#[must_use]
pub fn trust(said: impl Iterator<Item = (Said, bool)>) -> f64 {
    let odds = said.map(|((odds, _), spam)| (odds, spam)).collect();
    ((in_order(odds) - CHANCE) / (BELIEVED - CHANCE)).clamp(0.0, 1.0)
}

/// The share of pairs of a spam and a ham in which the spam is above; of equals one half.
fn in_order(mut said: Vec<(f64, bool)>) -> f64 {
    said.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut hams, mut pairs, mut all_spams) = (0.0, 0.0, 0.0);
    for equal in said.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let spams = float_or_zero(equal.iter().filter(|(_, spam)| *spam).count());
        let equal_hams = float_or_zero(equal.len()) - spams;
        pairs += spams * (hams + equal_hams / 2.0);
        hams += equal_hams;
        all_spams += spams;
    }
    if hams * all_spams > 0.0 { pairs / (hams * all_spams) } else { 0.5 }
}

#[allow(clippy::cast_precision_loss)] // Counts of messages.
fn float_or_zero(count: usize) -> f64 {
    count as f64
}

#[allow(clippy::cast_precision_loss)] // Counts of messages.
fn float(count: usize) -> f64 {
    count.max(1) as f64
}

fn logit(probability: f64) -> f64 {
    (probability / (1.0 - probability)).ln()
}

fn probability(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// The standard deviation.
fn spread(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / float(values.len());
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / float(values.len())).sqrt()
}

/// The value below which a share of sorted values lies.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Between 0 and the number of values.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let at = (share * float(sorted.len().saturating_sub(1))).round() as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(sums: &[(f64, bool)]) -> Vec<(Evidence, bool)> {
        sums.iter().map(|(sum, spam)| (Evidence { sum: *sum, coverage: 0.8, known: 100 }, *spam)).collect()
    }

    #[test]
    fn the_threshold_is_above_every_ham_and_never_low() {
        let far_apart =
            Calibration::new(&seen(&[(-9.0, false), (-8.0, false), (4.0, true), (6.0, true)])).unwrap();
        let opinion = |sum| far_apart.opinion(Evidence { sum, coverage: 0.8, known: 100 });
        // Who had only mail of one kind has not seen the ham of others: newsletters are far from lists of programmers.
        assert_eq!((opinion(9.0).verdict, opinion(12.0).verdict), (Verdict::Unsure, Verdict::Spam));
        let near =
            Calibration::new(&seen(&[(-9.0, false), (10.0, false), (12.0, true), (14.0, true)])).unwrap();
        assert!(near.spam_from > 10.0 + 2.0, "{near:?}");
        assert_eq!(Calibration::new(&seen(&[(1.0, true)])), None);
    }

    #[test]
    fn care_is_for_what_speaks_against_a_letter() {
        let usual =
            Calibration::new(&seen(&[(-9.0, false), (-8.0, false), (14.0, true), (16.0, true)])).unwrap();
        let strange = |sum| usual.opinion(Evidence { sum, coverage: 0.2, known: 100 });
        let spam = strange(14.0);
        assert!(spam.score > 0.99 && spam.cautious < 0.9 && spam.verdict == Verdict::Unsure, "{spam:?}");
        let ham = strange(-9.0);
        assert!((ham.cautious - ham.score).abs() < f64::EPSILON && ham.cautious < 0.05, "{ham:?}");
    }
}
