//! What was learnt, ready to judge: the weights of six experts, and what their sum means.
//!
//! In a file: a line that names the format, figures and weights with the least significant octet first, a checksum of all
//! (CRC-32C). Every octet is looked at before it is used: a damaged file is an error, never a wrong verdict.

use super::calibrate::Calibration;
use super::feature::{BITS, Features, Group};
use super::files::{Reader, put_f32, put_f64, put_u32, put_u64, sealed, unsealed};
use super::samples::Counts;

/// How much each expert's word counts, in the order of [`Group::ALL`]; chosen by measurement.
pub const SHARES: [f64; Group::COUNT] = [0.25, 1.0, 0.75, 0.075, 0.625, 0.5];
/// How much less it counts when it knows less: times this power of the share of the features that are known. Text is what a
/// message is about; most of the rest changes from year to year and from place to place, and would be believed too much.
const DOUBTS: [i32; Group::COUNT] = [0, 0, 8, 4, 2, 1];
/// First line of the file.
const FORMAT: &[u8] = b"staffetta bayes model 2\n";
/// Bits of a number that choose a bucket of the index, at most: a small model has a small index.
const INDEX_BITS_MAX: u32 = 16;

/// What a filter says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Wanted.
    Ham,
    /// Nothing is certain.
    Unsure,
    /// Not wanted.
    Spam,
}

impl Verdict {
    /// Its name in output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ham => "ham",
            Self::Unsure => "unsure",
            Self::Spam => "spam",
        }
    }
}

/// A message, judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Opinion {
    /// How likely it is spam, 0 to 1: mail like what was learnt, without caution.
    pub score: f64,
    /// The same with caution: what speaks against a message is nearer to one half the less of its text was ever seen. Symbols and
    /// verdict go by it.
    pub cautious: f64,
    /// The share of the text's features that are known.
    pub coverage: f64,
    /// What to call it.
    pub verdict: Verdict,
}

/// What all experts together say, before anybody has told what it means.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Evidence {
    /// The sum of log-odds.
    pub sum: f64,
    /// The share of the text's features that are known.
    pub coverage: f64,
    /// How many of the text's features are known.
    pub known: usize,
}

/// What one expert says of a message: log-odds of spam, and how many of the features are known to it.
pub type Said = (f64, usize);

/// One expert: the weights of the features of one group, by their numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expert {
    ids: Vec<u32>,
    weights: Vec<f32>,
    /// Where the numbers that begin with certain bits begin.
    index: Vec<u32>,
    bias: f32,
}

impl Expert {
    /// `ids` ascend, one weight for each.
    #[must_use]
    pub fn new(ids: Vec<u32>, weights: Vec<f32>, bias: f32) -> Self {
        let mut index = Vec::new();
        if !ids.is_empty() {
            let buckets = 1_u32 << index_bits(ids.len());
            let shift = BITS - index_bits(ids.len());
            index.reserve_exact(usize::try_from(buckets).unwrap_or_default() + 1);
            let mut at = 0_u32;
            let mut left = ids.iter().peekable();
            for bucket in 0..buckets {
                while left.next_if(|id| **id >> shift < bucket).is_some() {
                    at += 1;
                }
                index.push(at);
            }
            index.push(u32::try_from(ids.len()).unwrap_or(u32::MAX));
        }
        Self { ids, weights, index, bias }
    }

    /// How many features it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True when it knows nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The weight of a feature; none when it is unknown.
    #[must_use]
    pub fn weight(&self, id: u32) -> Option<f32> {
        let bucket = usize::try_from(id >> (BITS - index_bits(self.ids.len()))).ok()?;
        let start = usize::try_from(*self.index.get(bucket)?).ok()?;
        let end = usize::try_from(*self.index.get(bucket + 1)?).ok()?;
        let within = self.ids.get(start..end)?.iter().position(|known| *known == id)?;
        self.weights.get(start + within).copied()
    }

    /// Log-odds of spam for a message with these features, and how many of them are known.
    #[must_use]
    pub fn log_odds(&self, ids: &[u32]) -> Said {
        let (mut known, mut sum) = (0, 0.0);
        for weight in ids.iter().filter_map(|id| self.weight(*id)) {
            known += 1;
            sum += f64::from(weight);
        }
        (sum * scale(known) + f64::from(self.bias), known)
    }

    /// Octets of memory that it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.ids) + size_of_val(&*self.weights) + size_of_val(&*self.index)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_u32(out, u32::try_from(self.ids.len()).unwrap_or(u32::MAX));
        put_f32(out, self.bias);
        self.ids.iter().for_each(|id| put_u32(out, *id));
        self.weights.iter().for_each(|weight| put_f32(out, *weight));
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Option<Self> {
        let count = usize::try_from(input.u32()?).ok()?;
        let bias = input.f32()?;
        let ids: Vec<u32> = input.many(count)?.map(u32::from_le_bytes).collect();
        let weights: Vec<f32> = input.many(count)?.map(f32::from_le_bytes).collect();
        let ascend = ids.windows(2).all(|pair| pair.first() < pair.last());
        let fits = ids.last().is_none_or(|last| *last >> BITS == 0);
        let finite = bias.is_finite() && weights.iter().all(|weight| weight.is_finite());
        (ascend && fits && finite).then(|| Self::new(ids, weights, bias))
    }
}

/// Bits that choose a bucket among the numbers of so many features: about as many buckets as features.
fn index_bits(features: usize) -> u32 {
    features.checked_ilog2().unwrap_or(0).min(INDEX_BITS_MAX)
}

/// What each of `count` features counts.
#[allow(clippy::cast_precision_loss)] // Features of a message are few.
fn scale(count: usize) -> f64 {
    1.0 / (count.max(1) as f64).sqrt()
}

#[allow(clippy::cast_precision_loss)]
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The experts of all groups, in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Experts {
    /// Each of them.
    pub all: [Expert; Group::COUNT],
    /// How far each is believed here, 0 to 1: what it was worth on messages that it had not seen.
    pub trust: [f64; Group::COUNT],
}

impl Experts {
    /// With each, what it is about, what it counts for, and which power of the known share of features lessens that.
    fn weighed(&self) -> impl Iterator<Item = (&Expert, Group, f64, i32)> {
        let all = self.all.iter().zip(Group::ALL).zip(self.trust).zip(SHARES).zip(DOUBTS);
        all.map(|((((expert, group), trust), share), doubt)| (expert, group, share * trust, doubt))
    }

    /// What they say together.
    #[must_use]
    pub fn evidence(&self, features: &Features) -> Evidence {
        let said =
            Group::ALL.iter().zip(&self.all).map(|(group, expert)| expert.log_odds(features.group(*group)));
        self.together(features, said)
    }

    /// The same from what each has said by itself, in the order of the groups.
    pub(super) fn together(&self, features: &Features, said: impl Iterator<Item = Said>) -> Evidence {
        let mut evidence = Evidence::default();
        for ((expert, group, weight, doubt), (odds, known)) in self.weighed().zip(said) {
            let coverage = share(known, features.group(group).len());
            if group == Group::Text {
                (evidence.coverage, evidence.known) = (coverage, known);
            }
            let bias = f64::from(expert.bias);
            evidence.sum += weight * ((odds - bias) * coverage.powi(doubt) + bias);
        }
        evidence
    }
}

/// What decided: a feature, and by how much it moves the log-odds.
#[derive(Debug, Clone, PartialEq)]
pub struct Reason {
    /// Its group.
    pub group: Group,
    /// Its number.
    pub id: u32,
    /// By how much it moves the sum; positive towards spam.
    pub weight: f64,
}

/// A fitted filter.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The experts.
    pub experts: Experts,
    /// What their sum means.
    pub calibration: Calibration,
    /// The messages it was fitted to.
    pub counts: Counts,
    /// Which messages those were, as [`super::samples::Samples::state`] has it.
    pub state: u64,
}

impl Model {
    /// Judges a message.
    #[must_use]
    pub fn judge(&self, features: &Features) -> Opinion {
        self.calibration.opinion(self.experts.evidence(features))
    }

    /// The features that decided most, strongest first.
    #[must_use]
    pub fn reasons(&self, features: &Features, count_max: usize) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for (expert, group, weight, doubt) in self.experts.weighed() {
            let ids = features.group(group);
            let known: Vec<(u32, f32)> =
                ids.iter().filter_map(|id| Some((*id, expert.weight(*id)?))).collect();
            let scale = weight * scale(known.len()) * share(known.len(), ids.len()).powi(doubt);
            reasons.extend(known.into_iter().map(|(id, weight)| Reason {
                group,
                id,
                weight: f64::from(weight) * scale,
            }));
        }
        reasons.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()).then(a.id.cmp(&b.id)));
        reasons.truncate(count_max);
        reasons
    }

    /// Octets of memory that it takes, nearly.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.experts.all.iter().map(Expert::memory_bytes).sum::<usize>()
    }

    /// As octets of a file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = FORMAT.to_vec();
        put_u64(&mut out, self.counts.ham);
        put_u64(&mut out, self.counts.spam);
        put_u64(&mut out, self.state);
        self.calibration.figures().iter().for_each(|figure| put_f64(&mut out, *figure));
        self.experts.trust.iter().for_each(|trust| put_f64(&mut out, *trust));
        self.experts.all.iter().for_each(|expert| expert.write(&mut out));
        sealed(out)
    }

    /// From octets of a file; none when they are not those that were written.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut input = unsealed(bytes, FORMAT)?;
        let counts = Counts { ham: input.u64()?, spam: input.u64()? };
        let state = input.u64()?;
        let mut figures = [0.0; Calibration::FIGURES];
        for figure in &mut figures {
            *figure = input.f64()?;
        }
        let calibration = Calibration::from_figures(figures)?;
        let mut experts = Experts::default();
        for trust in &mut experts.trust {
            *trust = input.f64().filter(|trust| (0.0..=1.0).contains(trust))?;
        }
        for expert in &mut experts.all {
            *expert = Expert::read(&mut input)?;
        }
        input.is_empty().then_some(Self { experts, calibration, counts, state })
    }
}
