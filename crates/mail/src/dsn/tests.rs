//! Reports are read back by an independent MIME parser, and by our own header reader.

use mail_parser::{MessageParser, MimeHeaders, PartType};
use proptest::prelude::*;

use super::*;

const HEADER: &[u8] =
    b"Received: from a\r\n\tby b\r\nFrom: joe@a.test\r\nSubject: Dinner =?utf-8?q?f=C3=BCr?= two\r\n\
    Message-ID: <m1@a.test>\r\nReferences: <m0@a.test>\r\n (not an id) <mx@b.test>\r\n\r\n";

struct Scene {
    action: DsnAction,
    to: Address,
    address: Address,
    original: Option<OriginalRecipient>,
    reply: Reply,
    peer: Option<&'static str>,
    expired: bool,
    smtputf8: bool,
    header: Vec<u8>,
    body: Option<Vec<u8>>,
    envid: Option<&'static str>,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            action: DsnAction::Failed,
            to: Address::parse("joe@a.test").unwrap(),
            address: Address::parse("ann@b.test").unwrap(),
            original: None,
            reply: Reply::new(550, (5, 1, 1), "no such user\nhere"),
            peer: Some("mx.b.test[192.0.2.1]:25"),
            expired: false,
            smtputf8: false,
            header: HEADER.to_vec(),
            body: None,
            envid: None,
        }
    }
}

impl Scene {
    fn build(&self) -> String {
        let recipient = DsnRecipient {
            address: &self.address,
            original: self.original.as_ref(),
            reply: &self.reply,
            peer: self.peer,
            at: Timestamp::from_seconds(1_795_309_323),
            expired: self.expired,
        };
        let bytes = build(&DsnInput {
            action: self.action,
            hostname: "mx.example.test",
            id: QueueId(77),
            now: Timestamp::from_seconds(1_795_309_400),
            to: &self.to,
            original: Original {
                id: QueueId(5),
                arrived: Timestamp::from_seconds(1_795_300_000),
                expires: Timestamp::from_seconds(1_795_732_000),
                envid: self.envid,
                smtputf8: self.smtputf8,
                header: &self.header,
                body: self.body.as_deref(),
            },
            recipients: &[recipient],
        });
        String::from_utf8(bytes).unwrap()
    }
}

/// Types and contents of the three parts.
fn parts(message: &str) -> Vec<(String, Vec<u8>)> {
    let parsed = MessageParser::default().parse(message.as_bytes()).unwrap();
    let mut parts = Vec::new();
    for part in parsed.parts.iter().skip(1) {
        let kind = part.content_type().unwrap();
        let kind = format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default());
        let content = match &part.body {
            PartType::Message(inner) => inner.raw_message().to_vec(),
            _ => part.contents().to_vec(),
        };
        parts.push((kind, content));
    }
    parts
}

fn status_fields(message: &str) -> Vec<(String, String)> {
    let status = parts(message).into_iter().find(|(kind, _)| kind.ends_with("delivery-status")).unwrap().1;
    let groups = String::from_utf8(status).unwrap();
    let group = |text: &str| -> Vec<(String, String)> {
        header::fields(text.as_bytes()).map(|f| (f.name().to_owned(), f.text().into_owned())).collect()
    };
    groups.split("\r\n\r\n").flat_map(group).collect()
}

fn field(message: &str, name: &str) -> Option<String> {
    status_fields(message).into_iter().find(|(n, _)| n == name).map(|(_, value)| value)
}

#[test]
fn a_failure_reads_like_this() {
    let scene = Scene {
        original: Some(OriginalRecipient { kind: "rfc822".into(), address: "Ann@b.test".into() }),
        envid: Some("QQ314159"),
        ..Scene::default()
    };
    let expected = "\
Date: Sun, 22 Nov 2026 01:03:20 +0000
From: Mail Delivery System <MAILER-DAEMON@mx.example.test>
To: <joe@a.test>
Subject: Not delivered: Dinner =?utf-8?q?f=C3=BCr?= two
Message-ID: <000000000002D@mx.example.test>
In-Reply-To: <m1@a.test>
References: <m0@a.test> <mx@b.test> <m1@a.test>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary=\"=_000000000002D.0\"

This is a report in MIME format.

--=_000000000002D.0
Content-Description: Notification
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 7bit

This is the mail server mx.example.test.

Your message could not be delivered to this recipient, and will not be tried
again.

<ann@b.test>
There is no mailbox of that name there. Check the address for typing errors,
or ask the recipient by another way for the present one.
In the words of mx.b.test[192.0.2.1]:25:
    550-5.1.1 no such user
    550 5.1.1 here

The message was accepted here on Sat, 21 Nov 2026 22:26:40 +0000 with the
queue id 0000000000005. Its header is attached.


--=_000000000002D.0
Content-Description: Delivery report
Content-Type: message/delivery-status
Content-Transfer-Encoding: 7bit

Original-Envelope-Id: QQ314159
Reporting-MTA: dns; mx.example.test
Arrival-Date: Sat, 21 Nov 2026 22:26:40 +0000
X-Staffetta-Queue-ID: 0000000000005

Original-Recipient: rfc822; Ann@b.test
Final-Recipient: rfc822; ann@b.test
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.b.test
Diagnostic-Code: smtp; 550-5.1.1 no such user
\t550 5.1.1 here
Last-Attempt-Date: Sun, 22 Nov 2026 01:02:03 +0000

--=_000000000002D.0
Content-Description: Message header
Content-Type: text/rfc822-headers
Content-Transfer-Encoding: 7bit

Received: from a
\tby b
From: joe@a.test
Subject: Dinner =?utf-8?q?f=C3=BCr?= two
Message-ID: <m1@a.test>
References: <m0@a.test>
 (not an id) <mx@b.test>

--=_000000000002D.0--
";
    assert_eq!(scene.build().replace("\r\n", "\n"), expected);
}

#[test]
fn the_three_parts_are_found_by_a_mime_parser() {
    let kinds = |message: &str| parts(message).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    assert_eq!(
        kinds(&Scene::default().build()),
        ["text/plain", "message/delivery-status", "text/rfc822-headers"]
    );
    let full =
        Scene { body: Some(b"Hello\r\n--=_000000000002D.0\r\nworld\r\n".to_vec()), ..Scene::default() }
            .build();
    assert_eq!(kinds(&full), ["text/plain", "message/delivery-status", "message/rfc822"]);
    // The body had our first boundary in it: another was taken.
    let returned = parts(&full).pop().unwrap().1;
    assert!(returned.starts_with(HEADER) && returned.ends_with(b"--=_000000000002D.0\r\nworld\r\n"));
}

#[test]
fn each_action_has_its_fields_and_words() {
    let ok = Reply::plain(250, "taken");
    let later = Reply::new(451, (4, 7, 1), "greylisted");
    for (action, reply, word, status, subject) in [
        (DsnAction::Failed, Reply::plain(550, "go away"), "failed", "5.0.0", "Not delivered: "),
        (DsnAction::Delayed, later, "delayed", "4.7.1", "Delayed: "),
        (DsnAction::Delivered, ok.clone(), "delivered", "2.0.0", "Delivered: "),
        (DsnAction::Relayed, ok, "relayed", "2.0.0", "Passed on: "),
    ] {
        let message = Scene { action, reply, ..Scene::default() }.build();
        assert_eq!(field(&message, "Action").unwrap(), word);
        assert_eq!(field(&message, "Status").unwrap(), status);
        assert!(header::find(message.as_bytes(), "Subject").unwrap().text().starts_with(subject));
        let until = field(&message, "Will-Retry-Until");
        assert_eq!(until.is_some(), action == DsnAction::Delayed, "{until:?}");
    }
}

#[test]
fn an_expired_message_says_so_and_keeps_the_code_of_the_trouble() {
    let scene = Scene {
        expired: true,
        reply: Reply::new(451, (4, 4, 1), "no answer"),
        peer: None,
        ..Scene::default()
    };
    let message = scene.build();
    assert_eq!(field(&message, "Status").unwrap(), "4.4.1");
    assert_eq!(field(&message, "Diagnostic-Code").unwrap(), "x-staffetta; 451 4.4.1 no answer");
    assert_eq!(field(&message, "Remote-MTA"), None);
    assert!(message.contains("It was tried until its time was over."));
    assert!(message.contains("In the words of this server:"));
    let bare = Scene { reply: Reply::plain(451, "no"), ..scene }.build();
    assert_eq!(field(&bare, "Status").unwrap(), "4.4.7");
}

#[test]
fn unicode_addresses_get_the_types_of_rfc_6533_when_the_sender_knows_them() {
    let scene = Scene {
        address: Address::parse("jörg@b.test").unwrap(),
        original: Some(OriginalRecipient { kind: "utf-8".into(), address: "jörg@b.test".into() }),
        smtputf8: true,
        reply: Reply::new(550, (5, 1, 1), "kein Jörg hier"),
        ..Scene::default()
    };
    let message = scene.build();
    let kinds: Vec<String> = parts(&message).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["text/plain", "message/global-delivery-status", "message/global-headers"]);
    assert_eq!(field(&message, "Final-Recipient").unwrap(), "utf-8; jörg@b.test");
    assert_eq!(field(&message, "Original-Recipient").unwrap(), "utf-8; jörg@b.test");
    assert!(message.contains("Content-Transfer-Encoding: 8bit"));
    let full = Scene { body: Some(b"x".to_vec()), ..scene };
    assert!(full.build().contains("Content-Type: message/global\r\n"));
}

#[test]
fn foreign_words_are_escaped_for_who_does_not_know_utf8() {
    let scene = Scene { reply: Reply::new(550, (5, 1, 1), "kein Jörg"), ..Scene::default() };
    let message = scene.build();
    assert_eq!(field(&message, "Diagnostic-Code").unwrap(), "smtp; 550 5.1.1 kein J\\x{F6}rg");
    assert!(message.contains("    550 5.1.1 kein Jörg\r\n"), "people read them as they are");
    let raw = Scene { header: b"Subject: caf\xc3\xa9\r\n".to_vec(), ..Scene::default() }.build();
    assert!(raw.contains("Subject: Not delivered: your message\r\n"));
    assert!(raw.contains("Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 8bit\r\n"));
}

#[test]
fn several_recipients_have_a_group_each() {
    let addresses = [Address::parse("a@b.test").unwrap(), Address::parse("c@d.test").unwrap()];
    let replies = [Reply::new(550, (5, 1, 1), "one"), Reply::new(552, (5, 2, 2), "two")];
    let recipients: Vec<DsnRecipient<'_>> = addresses
        .iter()
        .zip(&replies)
        .map(|(address, reply)| DsnRecipient {
            address,
            original: None,
            reply,
            peer: Some("[192.0.2.9]:25"),
            at: Timestamp(0),
            expired: false,
        })
        .collect();
    let scene = Scene::default();
    let message = build(&DsnInput {
        action: DsnAction::Failed,
        hostname: "mx.example.test",
        id: QueueId(1),
        now: Timestamp(0),
        to: &scene.to,
        original: Original {
            id: QueueId(2),
            arrived: Timestamp(0),
            expires: Timestamp(0),
            envid: None,
            smtputf8: false,
            header: b"",
            body: None,
        },
        recipients: &recipients,
    });
    let message = String::from_utf8(message).unwrap();
    let values = |name: &str| -> Vec<String> {
        status_fields(&message).into_iter().filter(|(n, _)| n == name).map(|(_, v)| v).collect()
    };
    assert_eq!(values("Final-Recipient"), ["rfc822; a@b.test", "rfc822; c@d.test"]);
    assert_eq!(values("Status"), ["5.1.1", "5.2.2"]);
    assert_eq!(values("Remote-MTA"), ["dns; [192.0.2.9]"; 2]);
    assert!(message.contains("to these recipients"));
    // Nothing to thread it with.
    assert!(header::find(message.as_bytes(), "In-Reply-To").is_none());
}

#[test]
fn hosts_are_told_from_addresses_and_ports() {
    for (peer, host) in [
        ("mx.a.test[192.0.2.1]:25", Some("mx.a.test")),
        ("mx.a.test:25", Some("mx.a.test")),
        ("mx.a.test", Some("mx.a.test")),
        ("[2001:db8::1]:25", Some("[2001:db8::1]")),
        ("", None),
    ] {
        assert_eq!(host_of(peer), host, "{peer}");
    }
}

proptest! {
    #[test]
    fn no_words_of_a_peer_or_sender_break_the_report(
        words in "\\PC{0,2000}|(.|\r|\n|--=_){0,80}",
        original in proptest::collection::vec(any::<u8>(), 0..300),
        envid in "[ -~\r\n]{0,40}",
        utf8: bool,
    ) {
        let scene = Scene {
            reply: Reply::new(550, (5, 0, 0), words),
            header: [HEADER.strip_suffix(b"\r\n").unwrap(), &original].concat(),
            smtputf8: utf8,
            ..Scene::default()
        };
        let recipient = DsnRecipient {
            address: &scene.address, original: None, reply: &scene.reply, peer: scene.peer, at: Timestamp(0), expired: false,
        };
        let message = build(&DsnInput {
            action: DsnAction::Failed, hostname: "mx.example.test", id: QueueId(77), now: Timestamp(0), to: &scene.to,
            original: Original {
                id: QueueId(5), arrived: Timestamp(0), expires: Timestamp(0), envid: Some(&envid), smtputf8: utf8,
                header: &scene.header, body: None,
            },
            recipients: &[recipient],
        });
        let own = message.split(|b| *b == b'\n').take_while(|line| !line.starts_with(b"Content-Type: text/rfc822-headers"));
        prop_assert!(own.into_iter().all(|line| line.len() <= 999));
        let parsed = MessageParser::default().parse(&message).unwrap();
        prop_assert_eq!(parsed.parts.len(), 4);
        let status = parsed.parts[2].contents();
        let names: Vec<&str> = header::fields(status).map(|f| f.name()).collect();
        prop_assert_eq!(names, ["Original-Envelope-Id", "Reporting-MTA", "Arrival-Date", "X-Staffetta-Queue-ID"]);
    }
}
