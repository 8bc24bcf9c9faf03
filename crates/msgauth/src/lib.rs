//! Who sent this: SPF, DKIM, ARC, DMARC and iprev verified, DKIM signed, and the fields that tell of it.
//!
//! [`spf`], [`dkim`], [`arc`], [`dmarc`] and [`iprev`] each turn a session or a message into a small plain value with a
//! result of RFC 8601 §2.7. They ask DNS through [`Lookups`], which is one limit of time for all of them; what fails
//! there is a temporary error, never an absence (I9). Work that computes is apart from work that waits: [`examine`] and
//! signing are for the blocking pool, the rest for a session's own task. Nothing here decides what becomes of a message,
//! and no private key ever reaches a log (I7).

pub mod arc;
mod canonical;
pub mod dkim;
pub mod dmarc;
mod examine;
pub mod fields;
pub mod iprev;
mod lookups;
pub mod spf;
mod tags;

pub use examine::{Examination, Examined, Limits, examine};
pub use lookups::Lookups;
pub use mail::AuthResult;
