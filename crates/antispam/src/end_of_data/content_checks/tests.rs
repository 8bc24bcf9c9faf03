//! Settings and their mistakes, whom the tables are asked about, and the examples that are shipped.

use std::path::{Path, PathBuf};

use super::*;
use crate::opening::OpenErrors;
use crate::testing::message;

fn facts(letter: &str, sender: &str, trusted: bool) -> MessageFacts {
    let mut facts = message(sender, letter);
    let mail = Arc::make_mut(&mut facts.mail);
    Arc::make_mut(&mut Arc::make_mut(&mut mail.helo).connect).trusted = trusted;
    facts
}

fn told(scan: &Scan) -> Vec<String> {
    let words = scan.rulings.iter().map(|ruling| match &ruling.order {
        Order::Reject(reply) | Order::Defer(reply) => reply.to_string(),
        other => other.as_str().to_owned(),
    });
    words.collect()
}

fn open(settings: &Settings, base: &Path) -> Result<ContentChecks, OpenErrors> {
    let mut opening = Opening::new(base);
    let checks = ContentChecks::open(settings, &mut opening);
    opening.finish().map(|_| checks)
}

fn shipped() -> ContentChecks {
    let etc = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../etc");
    let settings = Settings {
        bounce_header_checks: Some("pcre:bounce_header_checks".parse().unwrap()),
        bounce_body_checks: Some("pcre:bounce_body_checks".parse().unwrap()),
        ..Settings::default()
    };
    open(&settings, &etc).unwrap()
}

/// A report that returns this header: as a message of its own, or copied into the text.
fn bounces(header: &str) -> [String; 3] {
    let top = "From: MAILER-DAEMON@b.test\nSubject: Undelivered Mail\nContent-Type: ";
    let quoted: String = header.lines().map(|line| format!("> {line}\n")).collect();
    [
        format!(
            "{top}multipart/report; boundary=r\n\n--r\n\nSorry\n--r\nContent-Type: message/rfc822\n\n{header}\nhello\n--r--\n"
        ),
        format!(
            "{top}multipart/report; boundary=r\n\n--r\n\nSorry\n--r\nContent-Type: text/rfc822-headers\n\n{header}\n--r--\n"
        ),
        format!("{top}text/plain\n\nSorry. You wrote:\n\n{quoted}"),
    ]
}

#[tokio::test]
async fn the_shipped_examples_refuse_forged_bounces_and_pass_real_ones() {
    let checks = shipped();
    for (header, refused) in [
        ("Received: from example.test (unknown [203.0.113.5]) by mx.b.test\nSubject: x\n", true),
        ("Received: from x.test (HELO example.test) (203.0.113.5) by mx.b.test\n", true),
        ("Received: from [203.0.113.5] (port=7 helo=example.test) by mx.b.test\n", true),
        ("Received: from x.test by example.test with SMTP; x\n", true),
        ("Message-ID: <123@example.test>\n", true),
        ("Message-Id: <123@EXAMPLE.TEST>\n", true),
        // What our own server and programs write.
        ("Received: from mail.example.test (mail.example.test [192.0.2.1]) by mx.b.test\n", false),
        ("Received: from laptop by mail.example.test with ESMTPSA id 7\n", false),
        ("Received: from x by example.test.b.test with SMTP\n", false),
        ("Message-ID: <!&!AAAA=@example.test>\n", false),
        ("Message-ID: <7@mail.example.test>\nFrom: joe@example.test\n", false),
        ("Message-ID: <7@mail.example.test> (example.test)\n", false),
    ] {
        for bounce in bounces(header) {
            let scan = checks.run(&facts(&bounce, "", false), SCAN_TIME_MAX).await;
            assert_eq!(!scan.rulings.is_empty(), refused, "{bounce}\n{scan:?}");
            assert!(told(&scan).iter().all(|reply| reply.starts_with("550 5.7.1 This returns")), "{scan:?}");
            // The very same text is nobody's business in ordinary mail, or from our own networks.
            assert_eq!(
                checks.run(&facts(&bounce, "joe@b.test", false), SCAN_TIME_MAX).await,
                Scan::default()
            );
            assert_eq!(checks.run(&facts(&bounce, "", true), SCAN_TIME_MAX).await, Scan::default());
        }
    }
    // A field that is folded is one field.
    let folded =
        "Received: from x.test (x.test [203.0.113.5])\n\tby example.test (Postfix)\n\twith SMTP id 7\n";
    let [report, ..] = bounces(folded);
    assert_eq!(told(&checks.run(&facts(&report, "", false), SCAN_TIME_MAX).await).len(), 1);
}

#[tokio::test]
async fn ordinary_tables_are_for_all_mail_and_inner_ones_may_differ() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("header", "/^Subject:/ HOLD\n");
    write("nested", "/^Subject: inner/ REJECT\n");
    let letter = "Subject: outer\nContent-Type: message/rfc822\n\nSubject: inner\n\nx\n";
    let mut settings: Settings =
        Settings { header_checks: Some("regexp:header".parse().unwrap()), ..Settings::default() };
    for (nested, want) in [
        ("same", vec!["hold"]),
        ("none", vec!["hold"]),
        ("pcre:nested", vec!["hold", "550 5.7.1 Message content rejected"]),
    ] {
        settings.nested_header_checks = nested.parse().unwrap();
        assert_eq!(settings.nested_header_checks.to_string(), nested);
        let checks = open(&settings, folder.path()).unwrap();
        for (sender, trusted) in [("joe@b.test", false), ("joe@b.test", true), ("", false)] {
            assert_eq!(
                told(&checks.run(&facts(letter, sender, trusted), SCAN_TIME_MAX).await),
                want,
                "{nested}"
            );
        }
    }
    assert!(open(&Settings::default(), folder.path()).unwrap().is_empty());
}

#[tokio::test]
async fn messages_in_files_are_read_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("letter");
    std::fs::write(folder.path().join("body"), "/needle/ DISCARD\n").unwrap();
    std::fs::write(&file, format!("A: 1\r\n\r\n{}needle\r\n", "hay\r\n".repeat(5_000))).unwrap();
    let settings = Settings { body_checks: Some("regexp:body".parse().unwrap()), ..Settings::default() };
    let checks = open(&settings, folder.path()).unwrap();
    let mut facts = facts("A: 1\n\n", "", false);
    facts.content = Content::File { path: file.clone().into(), bytes: 1 };
    assert_eq!(told(&checks.run(&facts, SCAN_TIME_MAX).await), ["discard"]);
    std::fs::remove_file(&file).unwrap();
    assert!(told(&checks.run(&facts, SCAN_TIME_MAX).await).first().unwrap().starts_with("451 4.3.5 "));
}

#[tokio::test]
async fn lines_that_order_what_cannot_be_done_are_named_when_opened() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(folder.path().join("t"), text).unwrap();
    let table = || Some("pcre:t".parse::<Spec>().unwrap());
    for (text, settings, words) in [
        (
            "/a/ OK\n/b/ REPLACE\n",
            Settings { body_checks: table(), ..Settings::default() },
            "t:2: not an action for lines of the body: write a line",
        ),
        (
            "/a/ REPLACE X; b\n",
            Settings { nested_header_checks: "pcre:t".parse().unwrap(), ..Settings::default() },
            "t:1: not an action for header fields: write a header field",
        ),
        (
            "/a/ FILTER relay:x\n",
            Settings { header_checks: table(), ..Settings::default() },
            "is no way to deliver",
        ),
        (
            "/(a/ OK\n",
            Settings { bounce_body_checks: table(), ..Settings::default() },
            "t:1: the pattern is no",
        ),
        ("/a/ bogus\n", Settings { bounce_header_checks: table(), ..Settings::default() }, ": `bogus`"),
    ] {
        write(text);
        let error = open(&settings, folder.path()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!("inner".parse::<Inner>().is_err());
}
