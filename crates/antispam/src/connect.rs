//! Checks of the client's address, before it has said a word.

pub mod dnsbl;
pub mod early_talker;
pub mod rates;
