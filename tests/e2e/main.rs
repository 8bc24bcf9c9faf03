//! The running program, seen from outside: what clients, other servers and operators see of it.
//!
//! A file for each subject. Every test has a server of its own on free ports of 127.0.0.1, and leaves nothing behind.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod acquaintance;
mod activation;
mod backscatter;
mod chunking;
mod content_orders;
mod corpus;
mod dkim;
mod judging;
mod learning;
mod lists;
mod milters;
mod modes;
mod observing;
mod own_filters;
mod quarantine;
mod rates;
mod receiving;
mod recipients;
mod relaying;
mod reloading;
mod reports;
mod scram;
mod stopping;
mod submission;
mod tables;
mod transactions;

use support::{Daemon, Reply};

/// The program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_staffetta");

/// A message with all that it must have, lines ending in CRLF.
fn letter(subject: &str) -> String {
    format!(
        "From: user@example.test\r\nTo: somebody@far.test\r\nSubject: {subject}\r\n\
         Date: Sun, 22 Nov 2026 02:00:00 +0000\r\nMessage-ID: <{subject}@example.test>\r\n\r\nHello.\r\n"
    )
}

/// A server with the account user@example.test, password `secret`.
fn daemon(top: &str, rest: &str) -> Daemon {
    Daemon::start(PROGRAM, top, rest)
}

/// The beginning of a reply with its codes, such as `550 5.1.1`.
fn codes(reply: &Reply) -> String {
    format!("{} {}", reply.code, reply.lines[0].split(' ').next().unwrap_or_default())
}

/// The queue id that a 250 carries.
fn queue_id(reply: &Reply) -> String {
    assert_eq!(reply.code, 250, "{reply:?}");
    reply.lines[0].rsplit(' ').next().unwrap().to_owned()
}
