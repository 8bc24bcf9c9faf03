//! What tests of several crates share: a name server in the process, free ports, the rule about absent programs.
//!
//! For tests only, so it fails by panicking with words that say what to do.

#![allow(clippy::expect_used, clippy::panic, reason = "a test helper says what is wrong by failing the test")]

mod dns;

use std::net::TcpListener;
use std::path::PathBuf;

pub use dns::{Dns, Trouble};

/// Set to 1, an absent program fails its tests instead of skipping them.
pub const ALL_TESTS: &str = "STAFFETTA_TESTS_ALL";

/// Finds a program in `PATH` and the system's folders, or says loudly that the calling test is skipped.
///
/// ```no_run
/// let Some(postmap) = support::need_program("postmap") else { return };
/// ```
///
/// # Panics
/// When the program is absent and [`ALL_TESTS`] is 1.
#[must_use]
pub fn need_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/lib/postfix/sbin"]);
    let found = folders.map(|folder| PathBuf::from(folder).join(name)).find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("{name} not installed"));
    }
    found
}

/// Says loudly that the calling test is skipped, and why; it must return at once.
///
/// # Panics
/// When [`ALL_TESTS`] is 1: then nothing may be skipped.
pub fn skip(why: &str) {
    assert!(
        std::env::var(ALL_TESTS).as_deref() != Ok("1"),
        "{why}, and {ALL_TESTS}=1 lets no test be skipped"
    );
    eprintln!("\n=== SKIPPED: {why} ===\n");
}

/// A port on 127.0.0.1 that nothing listened on a moment ago. Prefer port 0 where the program can tell what it got.
///
/// # Panics
/// When the system has none left.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on 127.0.0.1");
    listener.local_addr().expect("the port that was just bound").port()
}
