//! Who sent this: SPF verified, DKIM signed.
//!
//! [`spf`] turns what is known of a session into a small plain value whose result is a word of RFC 8601 §2.7. It asks
//! DNS through [`Lookups`], which has one limit of time; what fails there is a temporary error, never an absence (I9).
//! Signing computes, and is for the blocking pool. Nothing here decides what becomes of a message, and no private key
//! ever reaches a log (I7).

pub mod dkim;
mod lookups;
pub mod spf;

pub use lookups::Lookups;
