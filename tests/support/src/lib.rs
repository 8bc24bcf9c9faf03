//! What tests of several crates share: a name server in the process, a Staffetta of one's own, an SMTP client that says
//! what it is told to, free ports, the rule about absent programs.
//!
//! For tests only, so it fails by panicking with words that say what to do.

#![allow(clippy::expect_used, clippy::panic, reason = "a test helper says what is wrong by failing the test")]

mod clamd;
mod client;
mod daemon;
mod dns;
mod milter;
mod pyzord;
mod sink;
mod tls;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use clamd::{Clamd, attached, infected};
pub use client::{Client, Reply};
pub use daemon::Daemon;
pub use dns::{Dns, Trouble};
pub use milter::Milter;
pub use pyzord::{Pyzord, pyzor};
pub use sink::{Sink, Taken};

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

/// A process that ends with the test, however that ends.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A port on 127.0.0.1 that nothing listens on. Prefer port 0 where the program can tell what it got.
///
/// Ports are taken one after the other from below the range that outgoing connections get theirs from, beginning at a
/// place that the process id chooses, so that tests that run at once do not take each other's.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let Ok(port) = u16::try_from(FIRST + offset) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on 127.0.0.1");
}

/// Asks until the answer is yes; false when a minute passed without.
pub fn wait_until(mut question: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        if question() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// As AUTH wants it.
#[must_use]
pub fn base64(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}

/// What AUTH said.
///
/// # Panics
/// When it is no base64.
#[must_use]
pub fn from_base64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).expect("base64")
}
