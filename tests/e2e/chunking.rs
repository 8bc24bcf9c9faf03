//! BDAT (RFC 3030): chunks of any size make the message, octet for octet, and the rules of DATA hold.

use support::{Client, Reply};

use crate::{codes, daemon, letter};

const USER: &str = "user@example.test";

fn chunk(client: &mut Client, octets: &[u8], last: &str) -> Reply {
    client.send(&[format!("BDAT {}{last}\r\n", octets.len()).as_bytes(), octets].concat());
    client.reply()
}

fn begin(client: &mut Client) {
    for line in ["MAIL FROM:<joe@far.test> BODY=8BITMIME", "RCPT TO:<user@example.test>"] {
        assert_eq!(client.command(line).code, 250, "{line}");
    }
}

/// What arrived, from its own first field on; lines end in LF in a Maildir.
fn arrived(daemon: &support::Daemon, count: usize, subject: &str) -> String {
    let all = daemon.wait_for_mail(USER, count);
    let mail = all.iter().find(|mail| mail.contains(&format!("\nSubject: {subject}\n"))).unwrap();
    mail[mail.find("From: ").unwrap()..].to_owned()
}

#[test]
fn chunks_arrive_octet_for_octet() {
    let daemon = daemon("", "");
    let mut client = Client::hello(daemon.mx);
    assert!(client.command("EHLO client.test").text().contains("CHUNKING"));

    // What would end DATA is nothing to a chunk; a chunk may end anywhere, between CR and LF or within a letter too.
    let text = |subject: &str| letter(subject) + ".\r\n..\r\n\u{e9}\r\n.\r\nQUIT\r\n \t\r\n";
    let whole = text("split");
    for last in [" LAST", " last"] {
        let subject = if last == " LAST" { "split" } else { "spelt" };
        begin(&mut client);
        let whole = whole.replace("split", subject);
        let cuts = [0, 1, whole.find("\r\n.").unwrap() + 1, whole.find('\u{e9}').unwrap() + 1, whole.len()];
        for pair in cuts.windows(2) {
            let piece = &whole.as_bytes()[pair[0]..pair[1]];
            let end = if pair[1] == whole.len() { last } else { "" };
            assert_eq!(codes(&chunk(&mut client, piece, end)), "250 2.0.0");
        }
    }
    assert_eq!(arrived(&daemon, 2, "split"), whole.replace("\r\n", "\n"));

    // The end by itself, and all in one.
    begin(&mut client);
    assert_eq!(chunk(&mut client, text("zero").as_bytes(), "").code, 250);
    assert_eq!(codes(&client.command("BDAT 0 LAST")), "250 2.0.0");
    assert_eq!(arrived(&daemon, 3, "zero"), text("zero").replace("\r\n", "\n"));
    begin(&mut client);
    assert_eq!(chunk(&mut client, text("one").as_bytes(), " LAST").code, 250);
    assert_eq!(arrived(&daemon, 4, "one"), text("one").replace("\r\n", "\n"));

    // Beyond 256 KiB it goes through a file.
    let large = letter("large") + &"0123456789abcdef \u{e9}\r\n".repeat(20_000);
    begin(&mut client);
    for piece in large.as_bytes().chunks(100_003) {
        assert_eq!(chunk(&mut client, piece, "").code, 250);
    }
    assert_eq!(client.command("BDAT 0 LAST").code, 250);
    assert!(arrived(&daemon, 5, "large") == large.replace("\r\n", "\n"), "the large message differs");
}

#[test]
fn chunks_obey_the_rules_of_data() {
    let daemon = daemon("message_bytes_max = 100000", "");
    let mut client = Client::hello(daemon.mx);

    // One or the other (RFC 3030 \u{a7}2); what has begun can still be ended.
    begin(&mut client);
    assert_eq!(chunk(&mut client, letter("mixed").as_bytes(), "").code, 250);
    assert_eq!(codes(&client.command("DATA")), "503 5.5.1");
    assert_eq!(codes(&client.command("RCPT TO:<user@example.test>")), "503 5.5.1");
    assert_eq!(client.command("BDAT 0 LAST").code, 250);
    assert_eq!(arrived(&daemon, 1, "mixed"), letter("mixed").replace("\r\n", "\n"));

    // Nobody is sent to: the chunk is read, and refused.
    assert_eq!(codes(&chunk(&mut client, b"a\r\n", " LAST")), "503 5.5.1");
    assert_eq!(client.command("MAIL FROM:<joe@far.test>").code, 250);
    assert_eq!(codes(&chunk(&mut client, b"QUIT\r\n", " LAST")), "554 5.5.1");
    assert_eq!(client.command("RSET").code, 250);

    // A stranger's bare newline, wherever it stands (RFC 5321 \u{a7}2.3.8), also one that two chunks make.
    for chunks in
        [&["a\nb\r\n"] as &[&str], &["a\r\n", "b\rc\r\n"], &["a\r\n.\n", "b\r\n"], &["a\r", "b\r\n"]]
    {
        begin(&mut client);
        let first_refusal =
            chunks.iter().map(|piece| chunk(&mut client, piece.as_bytes(), "")).find(|r| r.code >= 400);
        assert_eq!(codes(&first_refusal.unwrap()), "550 5.5.2", "{chunks:?}");
        assert_eq!(client.command("RSET").code, 250);
    }
    // A user's is mended.
    let mut user = Client::hello_tls(daemon.submissions);
    assert_eq!(user.log_in(USER, "secret").code, 235);
    assert_eq!(user.command(&format!("MAIL FROM:<{USER}>")).code, 250);
    assert_eq!(user.command(&format!("RCPT TO:<{USER}>")).code, 250);
    assert_eq!(chunk(&mut user, letter("mended").replace("\r\n", "\n").as_bytes(), " LAST").code, 250);
    assert_eq!(arrived(&daemon, 2, "mended"), letter("mended").replace("\r\n", "\n"));

    // The size limit counts all chunks together.
    begin(&mut client);
    let piece = "0123456789abcdef0123456789abcde\r\n".repeat(1_000);
    let replies = [0; 4].map(|_| chunk(&mut client, piece.as_bytes(), ""));
    assert_eq!(replies[0].code, 250);
    assert!(replies.iter().any(|reply| codes(reply) == "552 5.3.4"), "{replies:?}");
    drop(client);
    assert_eq!(daemon.mailbox(USER).len(), 2);
}
