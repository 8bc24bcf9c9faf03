//! How fast messages pass through a session: gigabytes a second for DATA and BDAT, transactions a second for small ones.
//!
//! `cargo bench -p smtp`. No thresholds: figures depend on the machine; compare runs of one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_precision_loss, reason = "a measuring tool")]

use std::sync::Arc;
use std::time::Instant;

use mail::Reply;
use smtp::{Answer, Output, PeerInfo, Role, Session, Settings};

/// What a driver reads at once.
const READ_BYTES: usize = 65_536;
const MESSAGE_BYTES: usize = 64 << 20;

fn session(trusted: bool) -> Session {
    let settings = Settings {
        message_bytes_max: 1 << 40,
        messages_max: usize::MAX,
        idle_commands_max: usize::MAX,
        ..Settings::default()
    };
    let peer = PeerInfo { trusted, ..PeerInfo::on_this_machine() };
    let mut session = Session::new(Arc::new(settings), Role::Mx, peer, Instant::now());
    feed(&mut session, b"");
    feed(&mut session, b"EHLO c.test\r\n");
    session
}

/// Feeds and drains; gives how many bytes of messages came out.
fn feed(session: &mut Session, bytes: &[u8]) -> usize {
    let now = Instant::now();
    let mut out = 0;
    for piece in bytes.chunks(READ_BYTES) {
        session.receive(piece, now);
        out += drain(session, now);
    }
    out + drain(session, now)
}

fn drain(session: &mut Session, now: Instant) -> usize {
    let mut out = 0;
    while let Some(output) = session.poll() {
        match output {
            Output::Body(bytes) => out += bytes.len(),
            Output::Ask(_) => session.answer(Answer::Reply(Reply::new(250, (2, 0, 0), "Ok")), now),
            _ => {}
        }
    }
    out
}

const ENVELOPE: &[u8] = b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n";

/// A message of lines like `line`.
fn message(line: &str) -> Vec<u8> {
    let header = b"Subject: x\r\n\r\n".to_vec();
    [header, format!("{line}\r\n").into_bytes().repeat(MESSAGE_BYTES / (line.len() + 2))].concat()
}

fn large(name: &str, trusted: bool, message: &[u8], chunked: bool) {
    let mut session = session(trusted);
    feed(&mut session, ENVELOPE);
    let (before, after) = if chunked {
        (format!("BDAT {} LAST\r\n", message.len()), &b""[..])
    } else {
        ("DATA\r\n".to_owned(), &b".\r\n"[..])
    };
    feed(&mut session, before.as_bytes());
    let start = Instant::now();
    let mut out = feed(&mut session, message);
    out += feed(&mut session, after);
    let seconds = start.elapsed().as_secs_f64();
    assert!(out > 0 && session.summary().messages == 1, "{name}: {:?}", session.summary());
    println!("{name:<40} {:>6.2} GB/s", message.len() as f64 / seconds / 1e9);
}

fn small(name: &str, bytes: usize) {
    const COUNT: u32 = 50_000;
    let mut session = session(false);
    let text = format!("{}\r\n", "x".repeat(74)).repeat(bytes / 76);
    let group = [ENVELOPE, b"DATA\r\n"].concat();
    let data = format!("Subject: x\r\n\r\n{text}.\r\n");
    let start = Instant::now();
    for _ in 0..COUNT {
        feed(&mut session, &group);
        feed(&mut session, data.as_bytes());
    }
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(session.summary().messages, u64::from(COUNT));
    println!("{name:<40} {:>6.2} µs each", seconds / f64::from(COUNT) * 1e6);
}

fn main() {
    let plain = message(&"x".repeat(76));
    large("DATA, lines of 76", false, &plain, false);
    large("BDAT, lines of 76", false, &plain, true);
    large("DATA, lines of 20", false, &message(&"x".repeat(20)), false);
    large("DATA, lines of 900", false, &message(&"x".repeat(900)), false);
    large("DATA, every line with a dot", false, &message(&format!("..{}", "x".repeat(74))), false);
    large("DATA, 8 bit", false, &message(&"ü".repeat(38)), false);
    let bare: Vec<u8> = plain.iter().copied().filter(|byte| *byte != b'\r').chain(*b"\r\n").collect();
    large("DATA, bare LF mended", true, &bare, false);
    small("a transaction of 4 KiB", 4096);
    small("a transaction of 64 KiB", 65_536);
}
