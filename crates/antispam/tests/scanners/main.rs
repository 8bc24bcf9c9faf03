//! Scanners as Debian has them, each started by its test on loopback with a folder of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod bench;
mod clamd;
mod postgrey;
mod pyzor;
mod rspamd;
mod spamd;
