//! From a client's end of data to a file in a Maildir.

use std::os::unix::fs::PermissionsExt as _;

use support::Client;

use crate::{codes, daemon, letter, queue_id};

#[test]
fn mail_arrives_whole_with_its_trace() {
    let daemon = daemon("message_bytes_max = 600000", "");
    let mut client = Client::hello(daemon.mx);
    let text = letter("small") + ".a dot\r\n..two\r\n";
    let reply = client.mail("joe@far.test", &["User+tag@Example.TEST"], &text);
    let id = queue_id(&reply);
    let mail = daemon.wait_for_mail("user@example.test", 1).remove(0);
    let (top, rest) = mail.split_once("From: user@example.test\n").unwrap();
    assert!(top.starts_with("Return-Path: <joe@far.test>\nDelivered-To: User+tag@example.test\n"), "{top}");
    assert!(top.contains("\nReceived: from client.test ([127.0.0.1])") && top.contains(&id), "{top}");
    assert!(top.contains("by mx.example.test (Staffetta)\n\twith ESMTP id "), "{top}");
    assert_eq!(format!("From: user@example.test\n{rest}"), text.replace("\r\n", "\n"));

    let folder = daemon.folder().join("mail/example.test/user");
    let file = std::fs::read_dir(folder.join("new")).unwrap().next().unwrap().unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.join("tmp")).unwrap().count(), 0);
    let logged = || daemon.log().contains(&format!("staffetta/accept: {id}: "));
    assert!(support::wait_until(logged), "{}", daemon.log());

    large_mail_arrives_octet_for_octet(&daemon, &mut client);
    sizes_are_bounded(&daemon);
    hidden_messages_are_refused(&daemon);
    assert_eq!(daemon.mailbox("user@example.test").len(), 2);
}

/// Beyond 256 KiB a body goes through a file.
fn large_mail_arrives_octet_for_octet(daemon: &support::Daemon, client: &mut Client) {
    let mut text = letter("large");
    for number in 0..9_000 {
        text.push_str(&format!("{number:0>5} .. .abcdefghij \u{e9} klmnopqrstuvwxyz\r\n.\u{20}\r\n"));
    }
    assert!((300_000..600_000).contains(&text.len()), "{}", text.len());
    assert_eq!(client.mail("", &["user@example.test"], &text).code, 250);
    let all = daemon.wait_for_mail("user@example.test", 2);
    let mail = all.iter().find(|m| m.contains("Subject: large")).unwrap();
    assert!(mail.starts_with("Return-Path: <>\n"));
    let from = mail.find("From: ").unwrap();
    assert!(mail[from..] == text.replace("\r\n", "\n"), "the large message differs");
    assert!(support::wait_until(|| daemon.messages_in("data/queue/spool").is_empty()));
}

fn sizes_are_bounded(daemon: &support::Daemon) {
    let mut client = Client::hello(daemon.mx);
    assert_eq!(codes(&client.command("MAIL FROM:<joe@far.test> SIZE=600001")), "552 5.3.4");
    let text = letter("too large") + &"0123456789abcdef0123456789abcdef\r\n".repeat(20_000);
    assert_eq!(codes(&client.mail("joe@far.test", &["user@example.test"], &text)), "552 5.3.4");
    assert_eq!(client.command("NOOP").code, 250);
}

/// RFC 5321 §2.3.8: no other line end ends a message.
fn hidden_messages_are_refused(daemon: &support::Daemon) {
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r\r\n.\r\r\n"] {
        let mut client = Client::hello(daemon.mx);
        for line in ["MAIL FROM:<joe@far.test>", "RCPT TO:<user@example.test>", "DATA"] {
            assert!(client.command(line).code < 400, "{line}");
        }
        let hidden = "MAIL FROM:<evil@far.test>\r\nRCPT TO:<user@example.test>\r\nDATA\r\nevil\r\n.\r\n";
        client.send(format!("Subject: x\r\n\r\ntext{end}{hidden}").as_bytes());
        assert_eq!(codes(&client.reply()), "550 5.5.2", "{end:?}");
        assert_eq!(client.command("QUIT").code, 221, "no reply to what was hidden: {end:?}");
    }
}
