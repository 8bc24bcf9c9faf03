//! The classifier for the commands: what it has learnt is in the data folder, and needs no server that runs.
//!
//! The server reads the model, and again when it has changed; the commands write it. Nothing is done here.

pub use antispam::learn::filter::load;
pub use antispam::learn::model::{Expert, Reason};
pub use antispam::learn::tokens::{READ_BYTES_MAX, Read, features, named, read};
pub use antispam::learn::{
    Class, Filter, LEARNT_MIN, LearnError, Learnt, Model, Opinion, SAMPLES_MAX, Verdict,
};

pub use crate::assemble::learnt_folder;
