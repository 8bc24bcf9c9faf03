//! The daemon: session driver, intake, queue runner, accounts, metrics, mail log, admin interface.

pub mod accounts;
pub mod admin;
pub mod maillog;
pub mod metrics;
pub mod privileges;
