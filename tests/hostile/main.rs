//! Hostile peers: whatever they do, another session is served, and memory stays bounded.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod bombs;
mod content;
mod passwords;
mod siege;

use std::time::Duration;

use siege::{Attacker, Siege};

/// How long attackers hold on to what they have.
const HOLD: Duration = Duration::from_secs(2);

fn text(line: &str, octets: usize) -> Vec<u8> {
    line.bytes().cycle().take(octets / line.len() * line.len()).collect()
}

/// Octets that are nothing: a fixed sequence, so that every run is the same.
fn garbage(octets: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(octets)
    .collect()
}

#[test]
fn four_hundred_silent_connections() {
    let siege = Siege::new();
    siege.under("400 silent connections", || {
        let silent: Vec<_> = (0..400).map(|_| Attacker::connect(siege.daemon.mx)).collect();
        std::thread::sleep(HOLD);
        drop(silent);
    });
}

#[test]
fn slow_writers_of_large_messages() {
    let siege = Siege::new();
    let piece = text("a line of a message that never ends, nor gets on\r\n", 240 * 1024);
    siege.under("400 slow writers", || {
        // Together half as much again as all bodies may take in memory.
        let mut slow: Vec<_> = (0..400).map(|_| Attacker::data(siege.daemon.mx)).collect();
        for writer in &mut slow {
            writer.send(&piece);
        }
        for _ in 0..20 {
            for writer in &mut slow {
                writer.send(b"x");
            }
            std::thread::sleep(HOLD / 20);
        }
    });
}

#[test]
fn slow_readers() {
    let siege = Siege::new();
    siege.under("100 slow readers", || {
        let questions = text("EHLO reader.test\r\n", 1_000);
        let mut readers: Vec<_> = (0..100).map(|_| Attacker::connect(siege.daemon.mx)).collect();
        for reader in &mut readers {
            reader.send(&questions);
        }
        std::thread::sleep(HOLD);
    });
}

#[test]
fn endless_lines_and_headers() {
    let siege = Siege::new();
    let line = vec![b'x'; 1 << 16];
    siege.under("an endless command line", || {
        let taken = Attacker::connect(siege.daemon.mx).flood(&line, 64 << 20);
        assert!(taken < 64 << 20, "the whole of an endless line was read");
    });
    siege.under("endless lines of messages", || {
        let mut writers: Vec<_> = (0..4).map(|_| Attacker::data(siege.daemon.mx)).collect();
        for writer in &mut writers {
            writer.flood(&line, 16 << 20);
        }
    });
    let fields = text("X-Field: one of very many, and none of them says anything\r\n", 1 << 16);
    siege.under("endless headers", || {
        let mut writers: Vec<_> = (0..20).map(|_| Attacker::data(siege.daemon.mx)).collect();
        for _ in 0..4 {
            for writer in &mut writers {
                writer.flood(&fields, 1 << 20);
            }
        }
        // Refused in its place, after the end.
        for mut writer in writers {
            writer.send(b"\r\n.\r\n");
            assert!(writer.read_until(b"5.3.4 ").is_some() || writer.half_close().starts_with(b"5"));
        }
    });
}

#[test]
fn a_million_mime_parts() {
    let siege = Siege::new();
    let start = b"Subject: parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
    let parts = text("--b\r\n\r\n", 70 << 10);
    siege.under("a million MIME parts", || {
        let mut writer = Attacker::data(siege.daemon.mx);
        writer.send(start);
        let taken = writer.flood(&parts, 7 << 20);
        assert!(taken >= (7 << 20) - parts.len(), "hung up after {taken} octets");
        writer.send(b"--b--\r\n.\r\n");
        assert!(writer.read_until(b"250 2.0.0 ").is_some(), "{}", siege.daemon.log());
    });
}

#[test]
fn pipelined_floods() {
    let siege = Siege::new();
    for (what, line) in [
        ("NOOP", "NOOP\r\n"),
        ("MAIL and RSET", "MAIL FROM:<a@b.test>\r\nRSET\r\n"),
        ("unknown recipients", "RCPT TO:<nobody@example.test>\r\n"),
        ("garbage lines", "\u{fffd}\u{fffd}\u{fffd}\r\n"),
        ("empty messages", "MAIL FROM:<>\r\nRCPT TO:<user@example.test>\r\nBDAT 0 LAST\r\n"),
    ] {
        let lines = text(line, 1 << 16);
        siege.under(&format!("pipelined {what}"), || {
            let mut writers: Vec<_> = (0..10).map(|_| Attacker::connect(siege.daemon.mx)).collect();
            for writer in &mut writers {
                writer.send(b"EHLO flood.test\r\nMAIL FROM:<a@flood.test>\r\n");
            }
            for writer in &mut writers {
                writer.flood(&lines, 1 << 20);
            }
        });
    }
}

#[test]
fn garbage_where_tls_is_expected() {
    let siege = Siege::new();
    let noise = garbage(1 << 16);
    siege.under("garbage to TLS", || {
        let mut peers: Vec<_> = (0..100).map(|_| Attacker::connect(siege.daemon.submissions)).collect();
        for (number, peer) in peers.iter_mut().enumerate() {
            match number % 3 {
                0 => {
                    peer.flood(&noise, 1 << 20);
                }
                // The beginning of a record of 16 KiB that never comes.
                1 => {
                    peer.send(&[&[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc][..], &noise[..4096]].concat());
                }
                _ => {}
            }
        }
        std::thread::sleep(HOLD);
    });
    siege.under("garbage after STARTTLS", || {
        let mut peers: Vec<_> = (0..100).map(|_| Attacker::connect(siege.daemon.submission)).collect();
        for peer in &mut peers {
            peer.send(b"EHLO noise.test\r\n");
            peer.read_until(b"250 ").expect("EHLO is answered");
            peer.send(b"STARTTLS\r\n");
            peer.read_until(b"220 ").expect("STARTTLS is answered");
            peer.flood(&noise, 1 << 18);
        }
        std::thread::sleep(HOLD);
    });
}

#[test]
fn floods_of_wrong_passwords() {
    let siege = Siege::new();
    siege.under("40 guessers of passwords", || passwords::guess(siege.daemon.submissions, 40, HOLD * 2));
}

#[test]
fn half_closed_connections() {
    let siege = Siege::new();
    siege.under("half-closed connections", || {
        for _ in 0..50 {
            let mut peer = Attacker::data(siege.daemon.mx);
            peer.send(b"Subject: half\r\n\r\ntext\r\n");
            assert!(!peer.half_close().starts_with(b"250"), "a message without its end was taken");
            let mut peer = Attacker::data(siege.daemon.mx);
            peer.send(b"Subject: whole\r\n\r\ntext\r\n.\r\n");
            let answer = String::from_utf8_lossy(&peer.half_close()).into_owned();
            assert!(answer.contains("250 2.0.0 "), "a whole message was not: {answer}");
        }
    });
}
