//! Headers as programs and as forgers write them.

use mail::Domain;

use super::*;
use crate::testing::{NOW, message, run, symbols};

fn check() -> HeaderSanity {
    let names = ["mx.example.test", "example.test", "localhost"].map(|name| Domain::parse(name).unwrap());
    HeaderSanity::new(Ours { names: names.to_vec(), addresses: vec!["203.0.113.1".parse().unwrap()] })
}

/// A good header, with what a test puts in place of one of its fields.
fn letter(other: &str) -> String {
    let fields = [
        (
            "received",
            "Received: from a.test (a.test [192.0.2.9])\n by mail.far.test with ESMTPS id 7; x\n".to_owned(),
        ),
        ("from", "From: Joe <joe@far.test>\n".to_owned()),
        ("to", "To: ann@example.test\n".to_owned()),
        ("date", format!("Date: {}\n", NOW.rfc5322())),
        ("message-id", "Message-ID: <7.abc@far.test>\n".to_owned()),
    ];
    let name = other.split(':').next().unwrap_or_default().to_lowercase();
    let others = fields.into_iter().filter(|(known, _)| *known != name).map(|(_, field)| field);
    format!("{other}{}\nbody\n", others.collect::<String>())
}

async fn found(other: &str) -> Vec<String> {
    let facts = message("joe@far.test", &letter(other));
    symbols(&run::<EndOfData>(&check(), &facts).await).into_iter().map(ToOwned::to_owned).collect()
}

/// Another field instead of a good one, and what is said of it.
async fn expect(cases: &[(&str, &[&str])]) {
    for (other, want) in cases {
        assert_eq!(found(other).await, *want, "{other}");
    }
}

#[tokio::test]
async fn a_good_header_has_nothing_said_of_it() {
    expect(&[
        ("", &[]),
        ("From: \"Joe, at work\" <joe@far.test>, ann@other.test\n", &[]),
        ("From: =?utf-8?q?J=C3=B6?= <joe@far.test>\n", &[]),
        ("From: \"joe@far.test\" <joe@mail.far.test>\n", &[]),
        ("From: Joe @ work <joe@far.test>\n", &[]),
        ("To: list:;\nCc: x@y.test\n", &["TO_UNDISCLOSED"]),
        ("Message-ID: <!&!AAAA=@far.test>\n", &[]),
        ("Message-ID: <a@b@c.test> (comment)\n", &[]),
    ])
    .await;
}

#[tokio::test]
async fn from_is_there_once_and_shows_no_other_address() {
    expect(&[
        ("From: a@far.test\nFrom: b@far.test\n", &["FROM_MULTIPLE"]),
        ("From: nobody\n", &["FROM_MALFORMED"]),
        ("From:\n", &["FROM_MALFORMED"]),
        ("From: \"service@bank.test\" <x@far.test>\n", &["FROM_NAME_ADDRESS"]),
        ("From: x@far.test (service@bank.test)\n", &["FROM_NAME_ADDRESS"]),
        ("From: \"Bank <service@bank.test>\" <x@far.test>\n", &["FROM_NAME_ADDRESS"]),
        ("From: =?utf-8?b?c2VydmljZUBiYW5rLnRlc3Q=?= <x@far.test>\n", &["FROM_NAME_ADDRESS"]),
    ])
    .await;
    let without = letter("").replace("From: Joe <joe@far.test>\n", "");
    let seen = run::<EndOfData>(&check(), &message("joe@far.test", &without)).await;
    assert_eq!(symbols(&seen), ["FROM_MISSING"]);
}

#[tokio::test]
async fn dates_are_near_and_ids_have_their_form() {
    let at = |seconds: i64| {
        let then = i64::try_from(NOW.seconds()).unwrap() + seconds;
        format!("Date: {}\n", Timestamp::from_seconds(u64::try_from(then).unwrap()).rfc5322())
    };
    const DAY: i64 = 86_400;
    expect(&[
        (&at(-9 * DAY), &[]),
        (&at(-11 * DAY), &["DATE_PAST"]),
        (&at(DAY - 100), &[]),
        (&at(2 * DAY), &["DATE_FUTURE"]),
        ("Date: Thu, 1 Jan 1970 00:00:00 +0000\n", &["DATE_PAST"]),
        ("Date: tomorrow\n", &["DATE_MALFORMED"]),
        ("Date: Tue, 99 Foo 2026 99:99:99 +0000\n", &["DATE_MALFORMED"]),
        ("Date: x\nDate: y\n", &["DATE_MALFORMED"]),
        ("Message-ID: 7\n", &["MESSAGE_ID_MALFORMED"]),
        ("Message-ID: <7>\n", &["MESSAGE_ID_MALFORMED"]),
        ("Message-ID: <a b@c.test>\n", &["MESSAGE_ID_MALFORMED"]),
        ("Message-ID: <>\n", &["MESSAGE_ID_MALFORMED"]),
        ("Message-ID: <a@c.test> <b@c.test>\n", &["MESSAGE_ID_MALFORMED"]),
        ("To: undisclosed-recipients:;\n", &["TO_UNDISCLOSED"]),
    ])
    .await;
    for (field, want) in
        [("Date:", "DATE_MISSING"), ("Message-ID:", "MESSAGE_ID_MISSING"), ("To:", "TO_MISSING")]
    {
        let without: String =
            letter("").split_inclusive('\n').filter(|line| !line.starts_with(field)).collect();
        let seen = run::<EndOfData>(&check(), &message("joe@far.test", &without)).await;
        assert_eq!(symbols(&seen), [want], "{without}");
    }
}

#[tokio::test]
async fn hops_that_were_never_ours_are_known() {
    expect(&[
        ("Received: from x.test (x.test [192.0.2.9]) by mx.example.test with SMTP\n", &["RECEIVED_FORGED"]),
        ("Received: from mx.example.test (unknown [192.0.2.66]) by far.test\n", &["RECEIVED_FORGED"]),
        ("Received: from example.test (evil.test [192.0.2.66])\n\tby far.test with SMTP\n", &["RECEIVED_FORGED"]),
        ("Received: from unknown (HELO example.test) (192.0.2.66) by far.test\n", &["RECEIVED_FORGED"]),
        ("Received: from [192.0.2.66] (port=25 helo=mx.example.test) by far.test\n", &["RECEIVED_FORGED"]),
        ("Received: from x.test ([192.0.2.66] helo=mx.example.test) by far.test\n", &["RECEIVED_FORGED"]),
        // Our own mail that comes back by a list.
        ("Received: from list.far.test by far.test\nReceived: from mx.example.test (mx.example.test [198.51.100.9]) by list.far.test\n", &[]),
        ("Received: from mx.example.test (unknown [203.0.113.1]) by far.test\n", &[]),
        ("Received: from example.test (nat [10.0.0.1]) by far.test\n", &[]),
        // Every desk is called so.
        ("Received: from localhost (unknown [192.0.2.66]) by far.test\n", &[]),
        ("Received: from mx.example.test by far.test\n", &[]),
        ("Received: from list.far.test by far.test\nReceived: from laptop ([10.1.1.1]) by mx.example.test with ESMTPSA\n", &[]),
        ("Received: nonsense\n", &[]),
    ])
    .await;
}

#[tokio::test]
async fn evidence_shows_what_was_seen() {
    let facts = message("joe@far.test", &letter("From: \"service@bank.test\" <x@far.test>\n"));
    let seen = run::<EndOfData>(&check(), &facts).await;
    assert_eq!(seen.findings().first().unwrap().evidence, "shows service@bank.test, is x@far.test");
    // With bare carriage returns the header is one field, with the Subject in it.
    let seen = run::<EndOfData>(&check(), &message("", "Date: never\rSubject: secret\r\n\n")).await;
    assert!(!format!("{seen:?}").contains("secret"), "{seen:?}");
}

#[tokio::test]
async fn bounces_may_be_from_nobody() {
    let seen = run::<EndOfData>(&check(), &message("", &letter("From: MAILER-DAEMON\n"))).await;
    assert_eq!(symbols(&seen), Vec::<&str>::new());
}

proptest::proptest! {
    #[test]
    fn any_header_is_read(head in "((From|Date|To|Message-ID|Received): [ -~\\t\u{e4}\u{1f600}]{0,60}\n){0,6}") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run::<EndOfData>(&check(), &message("", &head)));
    }
}
