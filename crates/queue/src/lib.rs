//! From accepted to finished: the pure scheduler, retry and expiry, bounce decisions, the auditor.

pub mod outcome;

pub use outcome::{DeliveryResult, Outcome, Trouble};
