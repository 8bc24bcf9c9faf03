//! DNS lists against real ones: rbldnsd, which serves most lists of the Internet, and a name server with every fault that
//! lists have shown.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod faults;
mod parts;
mod rbldnsd;
mod servers;
mod witness;
