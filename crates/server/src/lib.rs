//! The daemon: session driver, intake, queue runner, accounts, metrics, mail log, admin interface.

pub mod accounts;
pub mod admin;
pub mod health;
pub mod maillog;
pub mod metrics;
pub mod privileges;
pub mod submit;
