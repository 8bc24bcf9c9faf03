//! Fits one expert: logistic regression over the features of one group, L2-regularised.
//!
//! A message is a vector with 1/√n for each of its n features, so that long messages weigh no more than short ones; or
//! with that times how rare the feature is, where what is rare tells more. The weights that come out have that factor in
//! them. Features that only one message has are left out. The fit is by coordinate descent in the dual (Yu, Huang, Lin: Dual
//! coordinate descent methods for logistic regression and maximum entropy models, 2011): no step size, and the same
//! messages in the same order give the same weights, bit by bit. Memory: 4 octets for each feature of each message.

use super::feature::BITS;
use super::model::Expert;

/// How the fit is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fitting {
    /// What a wrong answer costs beside large weights.
    pub cost: f64,
    /// Passes over all messages.
    pub passes: usize,
}

/// Which features count for how much before anything is known of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weighing {
    /// All alike.
    Alike,
    /// Each by the logarithm of one in how many messages has it.
    Rare,
    /// By more than that.
    Rarest,
}

impl Weighing {
    /// What a feature counts for, by the logarithm of one in how many messages has it. What one in a hundred and fifty has
    /// counts about as it would alike, and what all have next to nothing.
    fn of(self, rarity: f64) -> f64 {
        const COMMON: f64 = 0.1;
        match self {
            Self::Alike => 1.0,
            Self::Rare => (rarity + COMMON) / 5.0,
            Self::Rarest => (rarity.powf(1.5) + COMMON) / 12.0,
        }
    }
}

/// Messages as rows of numbers: the features that are weighed, for each.
struct Rows {
    ids: Vec<u32>,
    ends: Vec<usize>,
}

impl Rows {
    fn get(&self, row: usize) -> &[u32] {
        let start = row.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(row).copied().unwrap_or(start);
        self.ids.get(start..end).unwrap_or_default()
    }
}

/// Which numbers were seen twice or more, and their places among these. Some 20 MiB that one fit leaves to the next: to ask the
/// system for them each time takes longer than to clean them.
#[derive(Debug, Default)]
pub struct Seen {
    once: Vec<u64>,
    twice: Vec<u64>,
    /// Numbers in use before each word of `twice`.
    before: Vec<u32>,
}

const WORDS: usize = 1 << (BITS - 6);

impl Seen {
    fn note(&mut self, messages: &[(&[u32], bool)]) {
        self.once.resize(WORDS, 0);
        self.twice.resize(WORDS, 0);
        for id in messages.iter().flat_map(|(ids, _)| *ids) {
            let (word, bit) = place(*id);
            if let (Some(once), Some(twice)) = (self.once.get_mut(word), self.twice.get_mut(word)) {
                *twice |= *once & bit;
                *once |= bit;
            }
        }
        let mut sum = 0;
        self.before.clear();
        self.before.extend(self.twice.iter().map(|word| {
            let before = sum;
            sum += word.count_ones();
            before
        }));
    }

    /// As if nothing had been seen; for those that were noted.
    fn clean(&mut self, messages: &[(&[u32], bool)]) {
        for id in messages.iter().flat_map(|(ids, _)| *ids) {
            let (word, _) = place(*id);
            if let (Some(once), Some(twice)) = (self.once.get_mut(word), self.twice.get_mut(word)) {
                (*once, *twice) = (0, 0);
            }
        }
    }

    /// The place of a number; none when it is not in use.
    fn rank(&self, id: u32) -> Option<u32> {
        let (word, bit) = place(id);
        let all = self.twice.get(word)?;
        (all & bit != 0)
            .then(|| self.before.get(word).map_or(0, |before| before + (all & (bit - 1)).count_ones()))
    }

    /// All numbers in use, ascending.
    fn ids(&self) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut base = 0;
        for word in &self.twice {
            let mut left = *word;
            while left != 0 {
                ids.push(base + left.trailing_zeros());
                left &= left - 1;
            }
            base += 64;
        }
        ids
    }
}

fn place(id: u32) -> (usize, u64) {
    (usize::try_from(id >> 6).unwrap_or(usize::MAX), 1 << (id & 63))
}

/// Fits an expert to messages: their features, and whether each is spam.
#[must_use]
pub fn fit(messages: &[(&[u32], bool)], fitting: Fitting, weighing: Weighing, seen: &mut Seen) -> Expert {
    seen.note(messages);
    let mut rows = Rows { ids: Vec::new(), ends: Vec::with_capacity(messages.len()) };
    for (ids, _) in messages {
        rows.ids.extend(ids.iter().filter_map(|id| seen.rank(*id)));
        rows.ends.push(rows.ids.len());
    }
    let ids = seen.ids();
    seen.clean(messages);
    let labels: Vec<bool> = messages.iter().map(|(_, spam)| *spam).collect();
    let squares = squares(&rows, ids.len(), messages.len(), weighing);
    let (weights, bias) = descend(&rows, &labels, &squares, fitting);
    Expert::new(ids, weights, bias)
}

/// The square of what each feature counts for.
#[allow(clippy::cast_possible_truncation)] // Single precision is plenty.
fn squares(rows: &Rows, features: usize, messages: usize, weighing: Weighing) -> Vec<f32> {
    if weighing == Weighing::Alike {
        return vec![1.0; features];
    }
    let mut counts = vec![0_u32; features];
    for id in &rows.ids {
        if let Some(count) = counts.get_mut(at(*id)) {
            *count += 1;
        }
    }
    let rarity = |count: u32| (float(messages) / f64::from(count.max(1))).ln().max(0.0);
    counts.into_iter().map(|count| weighing.of(rarity(count)).powi(2) as f32).collect()
}

/// The place of a feature.
fn at(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

#[allow(clippy::cast_precision_loss)] // Counts of messages and features are far below 2^52.
fn float(count: usize) -> f64 {
    count as f64
}

/// A step that moves weights by no more than this is not taken, and its message rests for a pass: most messages are soon where
/// they belong. A third less to do, and the figures are the same.
const STEP_MIN: f64 = 0.01;

/// Coordinate descent: one dual variable a message, each step exact to [`NEWTON_STEPS_MAX`] steps. A weight is kept times
/// what its feature counts for, as it is used; `squares` has the square of that.
#[allow(clippy::cast_possible_truncation)] // Weights are kept in single precision.
fn descend(rows: &Rows, labels: &[bool], squares: &[f32], fitting: Fitting) -> (Vec<f32>, f32) {
    let spam = labels.iter().filter(|spam| **spam).count();
    let balance = |count: usize| fitting.cost * float(labels.len()) / (2.0 * float(count.max(1)));
    let (cost_of_ham, cost_of_spam) = (balance(labels.len() - spam), balance(spam));
    let cost_of = |spam: bool| if spam { cost_of_spam } else { cost_of_ham };
    // Side by side: what is used together comes into the processor's caches together.
    let mut weights: Vec<[f32; 2]> = squares.iter().map(|square| [0.0, *square]).collect();
    let mut bias = 0.0_f32;
    let mut duals: Vec<f64> = labels.iter().map(|spam| (cost_of(*spam) * 0.001).min(1e-8)).collect();
    let lengths: Vec<f64> = (0..labels.len()).map(|row| length(rows.get(row), squares)).collect();
    let mut order: Vec<usize> = (0..labels.len()).collect();
    let mut resting = vec![false; labels.len()];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..fitting.passes {
        shuffle(&mut order, &mut random);
        for &row in &order {
            let (Some(spam), Some(dual), Some(length), Some(rests)) =
                (labels.get(row), duals.get_mut(row), lengths.get(row), resting.get_mut(row))
            else {
                continue;
            };
            if std::mem::take(rests) {
                continue;
            }
            let (ids, sign) = (rows.get(row), if *spam { 1.0 } else { -1.0 });
            let scale = 1.0 / float(ids.len().max(1)).sqrt();
            let sum = sum_of(&weights, ids);
            let margin = sign * (f64::from(sum) * scale + f64::from(bias));
            let cost = cost_of(*spam);
            let after = step(*dual, margin, *length, cost);
            let change = (after - *dual) * sign;
            if (change * scale).abs() < STEP_MIN {
                *rests = true;
                continue;
            }
            *dual = after;
            let each = (change * scale) as f32;
            for id in ids {
                if let Some([weight, square]) = weights.get_mut(at(*id)) {
                    *weight += each * *square;
                }
            }
            bias += change as f32;
        }
    }
    (weights.into_iter().map(|[weight, _]| weight).collect(), bias)
}

/// The weights of these features together. Four sums side by side: one would wait for each addition to end before the next.
fn sum_of(weights: &[[f32; 2]], ids: &[u32]) -> f32 {
    let weight = |id: u32| weights.get(at(id)).map_or(0.0, |[weight, _]| *weight);
    let (fours, rest) = ids.as_chunks::<4>();
    let mut sums = [0.0_f32; 4];
    for four in fours {
        for (sum, id) in sums.iter_mut().zip(four) {
            *sum += weight(*id);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|id| weight(*id)).sum::<f32>()
}

/// The length of a message's vector, with 1 for the bias.
fn length(ids: &[u32], squares: &[f32]) -> f64 {
    let sum: f32 = ids.iter().filter_map(|id| squares.get(at(*id))).sum();
    1.0 + f64::from(sum) / float(ids.len().max(1))
}

/// Steps of Newton's method for one dual variable.
const NEWTON_STEPS_MAX: usize = 30;

/// The best value of one dual variable between 0 and `cost`, all others as they are.
fn step(dual: f64, margin: f64, length: f64, cost: f64) -> f64 {
    // Of the two ends of the interval, the one that the optimum is nearer to: Newton's method converges from there.
    let upper = cost - dual;
    let to_lower = 0.5 * length * (upper - dual) + margin < 0.0;
    let (start, sign) = if to_lower { (upper, -1.0) } else { (dual, 1.0) };
    let mut value = if cost - start < 0.5 * cost { 0.1 * start } else { start };
    for _ in 0..NEWTON_STEPS_MAX {
        let slope = length * (value - start) + sign * margin + (value / (cost - value)).ln();
        if slope.abs() < 1e-8 {
            break;
        }
        let bend = length + cost / (cost - value) / value;
        let next = value - slope / bend;
        value = if next <= 0.0 { value * 0.1 } else { next.min(cost * (1.0 - 1e-12)) };
    }
    if to_lower { cost - value } else { value }
}

/// Fisher and Yates, with a generator of its own: every fit is the same.
fn shuffle(order: &mut [usize], random: &mut u64) {
    for end in (1..order.len()).rev() {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        let bound = u64::try_from(end + 1).unwrap_or(u64::MAX);
        order.swap(end, usize::try_from(*random % bound).unwrap_or(0));
    }
}
