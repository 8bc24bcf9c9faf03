//! Letters that are made to be expensive, before all checks of contents: each gets its symbols, within bounds of memory.
//!
//! How much work it is, is counted by tests beside the code. Here each letter goes through the checks as the server does
//! it; with `--nocapture` what each has cost is printed.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use antispam::connect::dnsbl::health::HealthSettings;
use antispam::connect::dnsbl::lists::Lists;
use antispam::end_of_data::attachments::Attachments;
use antispam::end_of_data::links::Links;
use antispam::end_of_data::mime::Mime;
use antispam::end_of_data::rules::Rules;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use mail::{BodyType, QueueId, ReversePath, Timestamp};
use net::DnsSettings;
use policy::{
    Addressed, AuthFacts, BeforeGreeting, Check, ConnectFacts, Content, Door, EndOfData, Findings, HeloFacts,
    MailFacts, MessageFacts, Shared,
};

/// What judging may take beside the letter itself, in KiB.
const MEMORY_KIB_MAX: u64 = 64 << 10;

fn facts(letter: Vec<u8>) -> MessageFacts {
    let auth = AuthFacts::default();
    let at = Timestamp(1_795_000_000_000);
    let connect = ConnectFacts {
        session: "S1".into(),
        at,
        client: "192.0.2.9".parse().unwrap(),
        port: 40_000,
        local: None,
        door: Door::Mx,
        trusted: false,
        known: false,
        before_greeting: BeforeGreeting::NotWatched,
        auth: auth.clone(),
    };
    let helo = HeloFacts {
        connect: Arc::new(connect),
        name: "far.test".into(),
        esmtp: true,
        tls: false,
        pipelined_early: false,
        auth: auth.clone(),
    };
    let mail = MailFacts {
        helo: Arc::new(helo),
        at,
        account: None,
        reverse_path: ReversePath::Null,
        size: None,
        body_type: BodyType::SevenBit,
        smtputf8: false,
        sender_is_ours: false,
        earlier_transactions: 0,
        auth: auth.clone(),
    };
    let letter = Bytes::from(letter);
    MessageFacts {
        mail: Arc::new(mail),
        at,
        queue_id: QueueId(7),
        recipients: Arc::from([]),
        addressed: Addressed::Plainly,
        header: letter.slice(..mail::header::body_offset(&letter)),
        content: Content::Memory(letter),
        received: Bytes::new(),
        auth,
        shared: Shared::default(),
    }
}

fn deflated(octets: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

/// A zip archive with one file, by its local header alone.
fn zip(name: &str, octets: &[u8]) -> Vec<u8> {
    let packed = deflated(octets);
    let mut out = b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0".to_vec();
    out.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
    out.extend(u32::try_from(octets.len()).unwrap().to_le_bytes());
    out.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
    out.extend([0; 2]);
    out.extend(name.as_bytes());
    out.extend(packed);
    out
}

fn attached(file: &[u8]) -> Vec<u8> {
    let head = "Content-Type: application/zip; name=\"a.zip\"\r\nContent-Transfer-Encoding: binary\r\n\r\n";
    [head.as_bytes(), file].concat()
}

/// Each with a symbol that it must get, if there is one.
fn letters() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let mut deep = String::new();
    for level in 0..20_000 {
        deep += &format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n");
    }
    let parts = "Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_owned()
        + &"--b\r\n\r\nx\r\n".repeat(1_000_000);
    let zeros = vec![0; 8 << 20];
    let wide = zip("inner.zip", &[zip("a.txt", b"x"), zeros.clone()].concat()).repeat(500);
    let mut nested = zip("zeros.zip", &[zip("a.txt", b"x"), zeros].concat());
    for _ in 0..30 {
        nested = zip("inner.zip", &nested);
    }
    let words = "Subject:".to_owned() + &" =?utf-8?B?YWJj?=\r\n".repeat(500_000) + "\r\nhello\r\n";
    let name = "Content-Type: text/plain; name=\"".to_owned()
        + &" =?utf-8?B?YWJj?=".repeat(500_000)
        + "\"\r\n\r\nhello\r\n";
    let line = [b"Subject: x\r\n\r\n".as_slice(), &vec![b'x'; 100 << 20]].concat();
    let tags =
        "Content-Type: text/html\r\n\r\n".to_owned() + &"<a href='http://a.example/\"><b ".repeat(1_000_000);
    let words_of_rules =
        "Subject: x\r\n\r\n".to_owned() + &"verify confirm update your account a0a1a 1! ".repeat(500_000);
    vec![
        ("20,000 multiparts deep", deep.into_bytes(), "MIME_TOO_DEEP"),
        (
            "20,000 messages deep",
            "Content-Type: message/rfc822\r\n\r\n".repeat(20_000).into_bytes(),
            "MIME_TOO_DEEP",
        ),
        ("1,000,000 parts", parts.into_bytes(), "MIME_TOO_MANY_PARTS"),
        ("500 archives of 8 MiB", attached(&wide), "ATTACHMENT_UNSEEN"),
        ("30 archives deep", attached(&nested), "ATTACHMENT_UNSEEN"),
        ("500,000 encoded words in a subject", words.into_bytes(), ""),
        ("500,000 encoded words in a name", name.into_bytes(), ""),
        ("one line of 100 MiB", line, "LETTER_TEXT_CUT"),
        ("1,000,000 broken tags", tags.into_bytes(), "LETTER_TEXT_CUT"),
        ("words that rules look for", words_of_rules.into_bytes(), "LETTER_TEXT_CUT"),
    ]
}

/// A line of `/proc/self/status`, in KiB.
fn memory(what: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(what))?;
    line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse().ok()
}

#[tokio::test]
async fn expensive_letters_get_their_verdict_within_bounds() {
    let lists = Arc::new(Lists::new(&[], HealthSettings::default(), &DnsSettings::default()).unwrap());
    let checks: [Box<dyn Check<EndOfData>>; 4] = [
        Box::new(Mime),
        Box::new(Attachments::default()),
        Box::new(Links::new(lists, &[], toml::from_str("").unwrap(), &[])),
        Box::new(Rules::open(&[], true, std::path::Path::new("")).unwrap()),
    ];
    for (what, letter, wanted) in letters() {
        let facts = facts(letter);
        // Forgets the highest use so far.
        let forgotten = std::fs::write("/proc/self/clear_refs", "5").is_ok();
        let (before, begun) = (memory("VmRSS"), Instant::now());
        let mut found = Findings::default();
        for check in &checks {
            let each = Instant::now();
            check.run(&facts, &mut found).await;
            println!("  {} {:?}", check.name(), each.elapsed());
        }
        let took = begun.elapsed();
        assert_eq!(found.why_unfinished(), None, "{what}");
        assert!(wanted.is_empty() || found.has(wanted), "{what}: {:?}", found.findings());
        if let (Some(before), Some(most), true) = (before, memory("VmHWM"), forgotten) {
            let more = most.saturating_sub(before);
            println!("{what}: {took:?}, {more} KiB");
            assert!(more <= MEMORY_KIB_MAX, "{what}: {more} KiB");
        }
    }
}
