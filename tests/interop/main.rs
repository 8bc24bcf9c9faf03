//! Real peers: Postfix, Dovecot, swaks, curl, Python's smtplib, and Postfix's own load tools.
//!
//! Each test starts what it needs on free ports of 127.0.0.1, with a configuration and folders of its own, and stops it
//! when it ends, however it ends. The Debian packages must be installed; their services need not run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod access;
mod clients;
mod content_checks;
mod dovecot;
mod greylisting;
mod imapsieve;
mod milters;
mod peer;
mod postfix;
mod reporting;
mod scanners;
mod volume;

use support::Daemon;

/// The account that every server here has; its password is `secret`.
const USER: &str = "user@example.test";

/// A server with [`USER`].
fn daemon(top: &str, rest: &str) -> Daemon {
    Daemon::start(env!("CARGO_BIN_EXE_staffetta"), top, rest)
}

/// A message with all that it must have, lines ending in CRLF.
fn letter(subject: &str) -> String {
    format!(
        "From: {USER}\r\nTo: somebody@far.test\r\nSubject: {subject}\r\nDate: Sun, 22 Nov 2026 02:00:00 +0000\r\n\
         Message-ID: <{subject}@example.test>\r\n\r\nHello.\r\n.dot\r\n"
    )
}
