//! The checks that judge mail while its sender is still on the line: one file each, in a folder named after the SMTP
//! stage at which it runs.
//!
//! A check looks at facts and answers with symbols and evidence. It never replies to a client, never rejects, never reads
//! another check's symbol and never adds points: what a symbol is worth, what several of them come to and what is done
//! about it belongs to `policy`. A look-up that fails is "unknown", never a listing and never an absence (invariant I9).

pub mod access;
pub mod action;
pub mod authentication;
pub mod backscatter;
pub mod composites;
pub mod connect;
pub mod correspondents;
pub mod end_of_data;
pub mod groups;
pub mod hashes;
pub mod helo;
pub mod learn;
pub mod letter;
pub mod mail_from;
pub mod quarantine;
pub mod rcpt;
pub mod remote;
pub mod reputation;
pub mod work;

#[cfg(test)]
mod corpus;
mod normalised;
mod opening;
mod pipeline;
mod settings;
#[cfg(test)]
mod testing;

pub use opening::{OpenError, OpenErrors};
pub use pipeline::{Made, OF_LETTERS, Parts, SetUpError, set_up};
pub use settings::{DomainOverrides, RecipientSettings, Settings};
