//! A classifier that learns from what people call spam and ham.
//!
//! Three layers: [`tokens`] reads a message into features, [`train`] and [`calibrate`] fit a [`model::Model`] to the
//! messages that were learnt, [`filter`] keeps both on disk. Nothing of a message is kept but the numbers of its features,
//! from which it cannot be read again. What was learnt can be taken back exactly: the model is always fitted anew to the
//! messages that are left, in an order of their own, so it depends on which they are and not on when they came.
//!
//! Never silent about damage, never certain without enough to go by: until [`LEARNT_MIN`] of both classes are learnt there
//! is no model. Why this and not another kind: `docs/decisions/0009-a-classifier-of-experts.md`.

pub mod calibrate;
pub mod correction;
pub mod feature;
pub mod filter;
pub mod junk;
pub mod kept;
pub mod model;
pub mod owner;
pub mod samples;
pub mod school;
pub mod settings;
pub mod tokens;
pub mod train;
pub mod waiting;

mod files;
#[cfg(test)]
pub(crate) mod tests;

pub use correction::Correction;
pub use filter::{Filter, LEARNT_MIN, LearnError, Learnt, OWN_LEARNT_MIN, SAMPLES_MAX};
pub use model::{Model, Opinion, Verdict};
pub use owner::{Filters, Owner};
pub use samples::Class;
pub use school::{Pupil, School, SchoolError};
pub use settings::LearnSettings;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[antispam.bayes]`: the classifier that learns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BayesSettings {
    /// Messages that are remembered, of both classes together; for new ones the oldest of the larger class are forgotten.
    /// 20,000, which are about 100 MB on disk and while learning; a server that only judges needs about 10 MB.
    pub samples_max: u64,
}

impl Default for BayesSettings {
    fn default() -> Self {
        Self { samples_max: SAMPLES_MAX }
    }
}
