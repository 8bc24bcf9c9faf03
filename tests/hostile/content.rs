//! Letters that are made to take much of whoever looks at them: each has a verdict, and the server needs no more memory than the
//! letter is long and a little; whatever it is, in a letter or in a bounce.
//!
//! Processor time is measured, printed and not judged here: other tests run beside.

use std::io::Write as _;

use support::Dns;

use crate::bombs::{nested, parts, send};
use crate::siege::Siege;

/// What a letter may cost beyond its own octets.
const MEMORY_MAX: u64 = 64 << 20;
const LETTER_BYTES_MAX: usize = 128 << 20;
const HEADER: &str = "From: joe@bomb.test\r\nTo: user@example.test\r\nSubject: x\r\nMIME-Version: 1.0\r\n";

/// Messages within messages.
fn attached() -> String {
    HEADER.to_owned() + &"Content-Type: message/rfc822\r\n\r\n".repeat(20_000) + "\r\nhi\r\n"
}

/// Encoded words in every field that is decoded; and words that decode to encoded words.
fn encoded() -> String {
    let words = format!(
        "=?utf-8?q?{}?=\r\n =?utf-8?b?{}?=\r\n ",
        "=3D=3Futf-8=3Fq=3F".repeat(3),
        "PT91dGYtOD9xPw==".repeat(3)
    );
    let fields = ["From", "To", "Cc", "Reply-To", "Subject", "Comments"]
        .map(|name| format!("{name}: {}x\r\n", words.repeat(90)));
    fields.concat() + "\r\ntext\r\n"
}

/// As many fields as there can be.
fn fields() -> String {
    "X-A: b\r\n".repeat(20_000) + "\r\ntext\r\n"
}

fn line(octets: usize) -> String {
    format!("{HEADER}\r\n{}\r\n", "free pills ".repeat(octets / 11))
}

/// Lines as long as they may be, of tags.
fn tags(octets: usize) -> String {
    let line = "<b><a href=http://x.test/>".repeat(2_400) + "\r\n";
    format!("{HEADER}Content-Type: text/html\r\n\r\n{}", line.repeat(octets / line.len()))
}

/// An archive with one file in it, that was packed so (8: deflated, 0: as it is).
fn archive(name: &str, method: u8, packed: &[u8], (unpacked, sum): (u32, u32)) -> Vec<u8> {
    let number = |length: usize| u32::try_from(length).expect("a short archive").to_le_bytes();
    let name_length = [u8::try_from(name.len()).expect("a short name"), 0, 0, 0];
    // Version 2.0, no flags, the method, no date.
    let sizes = [sum.to_le_bytes(), number(packed.len()), unpacked.to_le_bytes(), name_length].concat();
    let common = [&[20, 0, 0, 0, method, 0, 0, 0, 0, 0][..], &sizes].concat();
    let file = [b"PK\x03\x04", &common[..], name.as_bytes(), packed].concat();
    let entry = [b"PK\x01\x02\x14\x00", &common[..], &[0; 14], name.as_bytes()].concat();
    let end =
        [b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &number(entry.len())[..], &number(file.len()), &[0, 0]].concat();
    [file, entry, end].concat()
}

/// A row of zeros in an archive.
fn zeros(mebibytes: u32) -> Vec<u8> {
    let (piece, mut sum) = (vec![0; 1 << 20], flate2::Crc::new());
    let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..mebibytes {
        packer.write_all(&piece).expect("it is packed");
        sum.update(&piece);
    }
    archive("zeros", 8, &packer.finish().expect("it is packed"), (mebibytes << 20, sum.sum()))
}

/// An archive in an archive.
fn boxed(inner: &[u8]) -> Vec<u8> {
    let mut sum = flate2::Crc::new();
    sum.update(inner);
    archive("zeros.zip", 0, inner, (u32::try_from(inner.len()).expect("a short archive"), sum.sum()))
}

fn with_archive(archive: &[u8]) -> String {
    let text = String::from_utf8(support::attached(archive, "zeros.zip")).expect("text");
    let (head, coded) = text.split_once("base64\r\n\r\n").expect("an attachment");
    let (coded, end) = coded.split_once("\r\n").expect("its end");
    let mut lines = String::with_capacity(coded.len() + coded.len() / 30);
    for line in coded.as_bytes().chunks(76) {
        lines.push_str(std::str::from_utf8(line).expect("base64"));
        lines.push_str("\r\n");
    }
    format!("{head}base64\r\n\r\n{lines}{end}")
}

/// Memory at the most so far, octets; processor time so far, hundredths of a second.
fn taken(pid: u32) -> (u64, u64) {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).expect("it runs");
    let status = read("status");
    let highest = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its memory");
    let kibibytes: u64 = highest.trim().trim_end_matches(" kB").parse().expect("a number");
    let stat = read("stat");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks =
        after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    (kibibytes << 10, ticks)
}

#[test]
fn whatever_a_letter_holds_it_has_a_verdict_and_costs_little() {
    let dns = Dns::start(
        "bomb.test. 60 IN A 192.0.2.66\nmail.bomb.test. 60 IN A 192.0.2.66\n66.2.0.192.in-addr.arpa. 60 IN PTR mail.bomb.test.",
    );
    let port = support::free_port();
    let rest = format!(
        "[[listener]]\nkind = \"mx\"\nbind = [\"127.0.0.1:{port}\"]\nproxy_protocol_from = [\"127.0.0.1/32\"]\n\
         [dns]\nservers = [\"{}\"]\n[antispam]\nmode = \"observe\"\ndnsbl = []\n[antispam.greylist]\nmode = \"off\"\n\
         [antispam.attachments]\nreject = [\"is:bomb\"]\n",
        dns.addr
    );
    let siege = Siege::with_top(&format!("message_bytes_max = {LETTER_BYTES_MAX}\n"), &rest, &[]);
    let pid = siege.daemon.pid();
    // The same memory serves what comes after: from small to large, each has its own bound.
    let mut letters = vec![
        ("encoded words", encoded(), "250"),
        ("20,000 fields", fields(), "250"),
        ("20,000 messages in messages", attached(), "250"),
        ("20,000 parts in parts", nested(), "250"),
        ("a gibibyte of zeros in an archive", with_archive(&zeros(1024)), "550"),
        ("the same in another archive", with_archive(&boxed(&zeros(256))), "550"),
        ("a million parts", parts(), "250"),
        ("100 MB of tags in long lines", tags(100_000_000), "250"),
        // RFC 5321 §4.5.3.1.6 has lines of 1,000 octets; ours may be 65,536.
        ("100 MB of one line", line(100_000_000), "554"),
    ];
    letters.sort_by_key(|(_, letter, _)| letter.len());
    let (start, _) = taken(pid);
    for (name, letter, want) in &letters {
        for sender in ["joe@bomb.test", ""] {
            let (_, before) = taken(pid);
            let codes = send(port, "192.0.2.66", sender, letter);
            let (highest, after) = taken(pid);
            println!(
                "{name} from <{sender}>: {codes}; {} MB, {} MB of memory more, {}0 ms of processor time",
                letter.len() / 1_000_000,
                highest.saturating_sub(start) / 1_000_000,
                after - before
            );
            assert!(codes.ends_with(&format!("354 {want}")), "{name}: {codes}\n{}", siege.daemon.log());
            let bound = start + MEMORY_MAX + letter.len() as u64;
            assert!(highest <= bound, "{name}: {highest} octets, {bound} at most");
        }
    }
    assert_eq!(siege.daemon.pid(), pid, "it is the same process still");
    let judged = || siege.daemon.log().matches("staffetta/verdict: ").count() >= letters.len();
    assert!(support::wait_until(judged), "{}", siege.daemon.log());
}
