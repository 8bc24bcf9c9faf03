//! From accepted to finished: the pure scheduler, retry and expiry, bounce decisions, the auditor.
//!
//! No clock, no I/O, no threads, no randomness but from a seed: all of it can be simulated. Start at [`event`] for what goes
//! in and out, at [`Scheduler`] for how it is driven, at [`bounce`] for who is told what.

pub mod auditor;
pub mod bounce;
pub mod event;
pub mod outcome;
pub mod retry;
pub mod scheduler;
pub mod settings;
#[cfg(test)]
mod testing;

pub use auditor::{Finding, Mend, Problem, audit};
pub use bounce::{Report, ReportKind, Reported, Suppressed};
pub use event::{Action, Event, MAILDIR_KEY, RetryScope};
pub use outcome::{DeliveryResult, Outcome, Trouble};
pub use scheduler::{DestinationStatus, Figures, Scheduler};
pub use settings::{Settings, SettingsError};
