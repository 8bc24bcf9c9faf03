//! Who sent this: DKIM signing and its keys.
//!
//! [`dkim::KeyStore`] holds the keys of our domains and signs with them; [`dkim::Record`] is what the domain has to
//! publish. All of it is synchronous and computes: for the blocking pool, not for a session's own task. It never
//! decides which domain signs a message, and no key ever reaches a log (I7). RFC 6376, RFC 8301, RFC 8463.

pub mod dkim;
