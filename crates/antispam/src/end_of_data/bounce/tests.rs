//! What is recognised, with the messages of `tests/messages/bounces`.

use mail::EnhancedStatus;
use proptest::prelude::*;

use super::*;

fn message(name: &str) -> Vec<u8> {
    let path = format!("{}/../../tests/messages/bounces/{name}.eml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

/// Whether it follows RFC 3464, whom it is about, and what it refers to, of a message without a null sender.
fn look(name: &str) -> (Kind, Vec<String>, Vec<String>) {
    let seen = recognise(&message(name), false);
    let about = seen.recipients.iter().map(|r| {
        let status = r.status.map(|status| status.to_string()).unwrap_or_default();
        let address = r.addressed().map(|address| address.to_string()).unwrap_or_default();
        format!("{address} {} {status}", r.action.as_deref().unwrap_or_default())
    });
    let about: Vec<String> = about.collect();
    assert_eq!(seen.follows_rfc3464, !about.is_empty(), "{name}");
    (seen.kind, about, seen.references)
}

const OURS: &str = "march-plans@example.test";

#[test]
fn standard_reports_tell_who_and_why() {
    let seen = recognise(&message("standard"), true);
    assert_eq!(seen.kind, Kind::Bounce);
    let [joe, ann] = seen.recipients.as_slice() else { panic!("{seen:?}") };
    assert_eq!(joe.original.as_deref(), Some("joe@away.test"));
    assert_eq!(joe.last.as_deref(), Some("joseph@inner.away.test"));
    assert_eq!(joe.addressed().unwrap().to_string(), "joe@away.test");
    assert_eq!(joe.action.as_deref(), Some("failed"));
    assert_eq!(joe.status, Some(EnhancedStatus(5, 1, 1)));
    assert_eq!(joe.diagnostic.as_deref(), Some("550 5.1.1 There is no joseph in this house"));
    assert_eq!((ann.last.as_deref(), ann.action.as_deref()), (Some("ann@slow.test"), Some("delayed")));
    assert_eq!(seen.references, [OURS], "not its own name");
}

#[test]
fn reports_that_others_have_damaged_are_read_too() {
    let ours = || vec![OURS.to_owned()];
    let one = |text: &str| vec![text.to_owned()];
    assert_eq!(look("international"), (Kind::Bounce, one("jörg@away.test failed 5.2.2"), ours()));
    assert_eq!(look("wrapped"), (Kind::Bounce, one("joe@away.test failed 5.7.1"), vec![]));
    let two = vec!["joe@away.test failed 5.0.0".to_owned(), "ann@away.test failed 5.2.2".to_owned()];
    assert_eq!(look("unparted-recipients"), (Kind::Bounce, two, vec![]));
}

#[test]
fn bounces_of_their_own_kind_are_known_by_several_signs() {
    for name in ["plain-quoted", "failed-recipients", "html"] {
        assert_eq!(look(name), (Kind::Bounce, vec![], vec![OURS.to_owned()]), "{name}");
    }
    assert_eq!(look("delayed").0, Kind::Bounce);
}

/// As the common servers and providers write them, whether they say by a sender of none that they are automatic or not.
#[test]
fn reports_of_the_common_servers_are_read() {
    for (name, about) in [
        ("postfix", "failed 5.1.1"),
        ("exim", "failed 5.0.0"),
        ("sendmail", "failed 5.1.1"),
        ("exchange-old", "failed 5.1.1"),
        ("exchange-365", "failed 5.1.10"),
        ("gmail", "failed 5.1.1"),
        ("courier", "failed 5.0.0"),
        ("domino", "failed 5.1.1"),
    ] {
        let about = vec![format!("joe@away.test {about}")];
        assert_eq!(look(name), (Kind::Bounce, about, vec![OURS.to_owned()]), "{name}");
    }
    for name in ["exim-plain", "qmail", "sendmail-old"] {
        assert_eq!(look(name), (Kind::Bounce, vec![], vec![OURS.to_owned()]), "{name}");
    }
}

#[test]
fn other_automatic_messages_are_told_apart() {
    assert_eq!(look("disposition"), (Kind::Disposition, vec![], vec![OURS.to_owned()]));
    let references = vec![OURS.to_owned(), "older@example.test".to_owned()];
    assert_eq!(look("vacation"), (Kind::AutoReply, vec![], references));
    assert_eq!(look("feedback"), (Kind::Feedback, vec![], vec![OURS.to_owned()]));
}

#[test]
fn letters_are_letters_whatever_they_talk_about() {
    for name in ["letter-about-a-bounce", "letter-with-a-bounce-attached", "list-post"] {
        assert_eq!(look(name).0, Kind::Ordinary, "{name}");
        assert!(look(name).1.is_empty(), "{name}");
    }
}

#[test]
fn nobody_as_sender_is_no_bounce_without_a_word_of_one() {
    for (head, kind) in [
        ("From: <>\nSubject: hello\n\nSee you on Monday.\n", Kind::Ordinary),
        ("From: <>\nSubject: hello\nAuto-Submitted: auto-replied\n\nI am away.\n", Kind::AutoReply),
        ("From: <>\nSubject: Undelivered Mail\n\nIt came back.\n", Kind::Bounce),
        ("From: <>\nSubject: hello\n\nYour mail could not be delivered.\n", Kind::Bounce),
        ("From: MAILER-DAEMON@far.test\nSubject: hello\n\nIt came back.\n", Kind::Bounce),
    ] {
        assert_eq!(recognise(head.as_bytes(), true).kind, kind, "{head}");
    }
}

#[test]
fn line_ends_of_any_system_make_no_difference() {
    for name in ["standard", "international", "plain-quoted", "vacation", "postfix", "qmail", "exchange-365"]
    {
        let unix = message(name);
        let expected = recognise(&unix, true);
        for end in ["\r\n", "\r"] {
            let text = String::from_utf8(unix.clone()).unwrap().replace('\n', end);
            assert_eq!(recognise(text.as_bytes(), true), expected, "{name} {end:?}");
        }
    }
}

#[test]
fn nesting_and_repetition_end_at_their_bounds() {
    let nested = "Content-Type: message/rfc822\n\n".repeat(100_000);
    assert_eq!(recognise(nested.as_bytes(), true).kind, Kind::Ordinary);
    let deep: String =
        (0..50_000).map(|i| format!("Content-Type: multipart/x; boundary=b{i}\n\n--b{i}\n")).collect();
    let _ = recognise(deep.as_bytes(), true);
    let ids: String = (0..1000).map(|i| format!("Message-ID: <{i}@a.test>\n")).collect();
    let seen = recognise(format!("Subject: x\n\n{ids}").as_bytes(), true);
    assert_eq!(seen.references.len(), REFERENCES_MAX);
    let recipients = "Final-Recipient: rfc822;a@a.test\nStatus: 5.1.1\n\n".repeat(1000);
    let report = format!("Content-Type: message/delivery-status\n\n{recipients}");
    assert_eq!(recognise(report.as_bytes(), true).recipients.len(), RECIPIENTS_MAX);
    let long = vec![b'a'; 3 * ANALYSED_BYTES_MAX];
    assert_eq!(recognise(&long, true).kind, Kind::Ordinary);
}

proptest! {
    #[test]
    fn any_octets_are_survived(octets in proptest::collection::vec(any::<u8>(), 0..600), null in any::<bool>()) {
        let _ = recognise(&octets, null);
    }

    #[test]
    fn any_cut_of_a_report_is_survived(name in 0_usize..14, from in 0_usize..900, to in 0_usize..2000) {
        let names = ["standard", "international", "unparted-recipients", "plain-quoted", "failed-recipients", "html",
            "delayed", "wrapped", "disposition", "vacation", "feedback", "letter-about-a-bounce",
            "letter-with-a-bounce-attached", "list-post"];
        let whole = message(names[name]);
        let (from, to) = (from.min(whole.len()), to.min(whole.len()));
        let _ = recognise(whole.get(from..to).unwrap_or_default(), true);
    }
}
