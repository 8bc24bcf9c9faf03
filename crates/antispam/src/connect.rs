//! Checks of the client's address, before it has said a word.

pub mod dnsbl;
pub mod iprev;
pub mod rates;
