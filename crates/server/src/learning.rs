//! The classifier for the commands and for the daemon: what it has learnt is in the data folder, and needs no server that
//! runs.
//!
//! The server reads the model, and again when it has changed; whoever learns writes it. What the daemon learns by itself
//! is in [`rounds`]; by which verdicts, in [`teacher`].

pub mod junk;
pub mod rounds;
pub mod teacher;

pub use antispam::learn::feature::Features;
pub use antispam::learn::filter::{load, load_correction};
pub use antispam::learn::junk::Watch;
pub use antispam::learn::model::{Expert, Reason};
pub use antispam::learn::samples::Counts;
pub use antispam::learn::school::called;
pub use antispam::learn::tokens::{READ_BYTES_MAX, Read, features, named, read};
pub use antispam::learn::waiting;
pub use antispam::learn::{
    Class, Correction, Filter, Filters, LEARNT_MIN, LearnError, Learnt, Model, Opinion, Owner, Pupil,
    SAMPLES_MAX, School, Verdict,
};
pub use antispam::remote::pyzor::report;

pub use crate::assemble::{learnt_folder, school};
