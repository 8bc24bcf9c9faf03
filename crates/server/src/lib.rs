//! The daemon: session driver, intake, queue runner, accounts, metrics, mail log, admin interface.
//!
//! Five verbs, five places: the session asks ([`session`]), policy answers ([`ask`]), intake commits ([`intake`]), the
//! scheduler decides (`queue`), an agent delivers (`delivery`, by [`runner`]). Start and stop order are in [`start`].

pub mod accounts;
pub mod admin;
pub mod aliases;
pub mod ask;
pub mod assemble;
pub mod chores;
pub mod clock;
pub mod control;
pub mod error;
mod hashes;
pub mod health;
pub mod intake;
pub mod judge;
pub mod learning;
pub mod limits;
pub mod listeners;
pub mod local;
pub mod maillog;
pub mod marks;
pub mod memory;
pub mod metrics;
pub mod privileges;
pub mod quarantine;
pub mod rates;
pub mod rehearsal;
pub mod reload;
mod reputation;
pub mod runner;
pub mod scoring;
pub mod services;
pub mod session;
pub mod signals;
pub mod start;
pub mod steward;
pub mod stored;
pub mod submit;
#[cfg(test)]
mod testing;

pub use antispam::end_of_data::rules::import as rule_import;
pub use error::Error;
pub use start::run;
