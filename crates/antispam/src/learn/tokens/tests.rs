//! What is read from messages, and what is not; and that no message is too much.

use super::super::feature::Group;
use super::*;
use crate::letter::html;

fn names(message: &str) -> Vec<String> {
    named(message.as_bytes()).1.into_values().collect()
}

fn has(message: &str, name: &str) -> bool {
    let all = names(message);
    all.iter().any(|known| known == name)
}

#[test]
fn words_of_any_writing() {
    let all = |text| words::words(text).collect::<Vec<_>>();
    assert_eq!(all("Don't re-read v1.2, ok?!! "), ["Don't", "re-read", "v1.2", "ok", "!!"]);
    assert_eq!(all("Größe — Привет, мир"), ["Größe", "Привет", "мир"]);
    assert_eq!(all("東京 です"), ["東", "京", "で", "す"]);
    assert_eq!(all("a.. b--c 'd'"), ["a", "b", "c", "d"]);
    assert_eq!(words::shape("Re: 12 Ünits"), "Aa: 9 ua");
}

#[test]
fn text_is_decoded_and_lower_case() {
    let letter = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= there\nContent-Type: text/plain; charset=utf-8\n\
                  Content-Transfer-Encoding: quoted-printable\n\nSch=C3=B6ne WELT 2026!\n";
    for name in
        ["word: schöne", "subject: grüße", "pair: schöne welt", "case: welt in capitals", "word: 9999"]
    {
        assert!(has(letter, name), "{name}: {:?}", names(letter));
    }
}

#[test]
fn html_is_read_as_it_is_shown() {
    let html = html::read(
        "<p>V<!-- x -->iagra &amp; &#67;o<b>ld</b></p><style>p{}</style><div style='display: none'>poem <div>of</div> \
         spring</div><span hidden>h1</span> 1 < 2 <font style=\"font-size:0\">tiny</font> <i style='opacity:0.5'>half</i>",
    );
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeezed(&html.text), "Viagra & Co ld 1 < 2 half");
    assert_eq!(squeezed(&html.hidden), "poem of spring h1 tiny");
    assert_eq!(html.tags.first().map(String::as_str), Some("p"));
    for broken in ["<", "<a", "<a href=\"x", "&", "&#xffffffff;", "<!--", "<style>", "</", "< ", "<é>", "&é;"]
    {
        drop(html::read(broken));
    }
    let letter = "Content-Type: text/html\n\n<html><div style=display:none>secret</div>shown</html>";
    assert!(has(letter, "hidden: secret") && has(letter, "word: shown") && !has(letter, "word: secret"));
}

#[test]
fn footers_and_tags_of_lists_are_left_out() {
    let letter = "Subject: Re: [staff] Lunch\n\nhello all\n____________\nstaff mailing list\n";
    assert!(has(letter, "subject: lunch") && !has(letter, "subject: staff"), "{:?}", names(letter));
    assert!(has(letter, "word: hello") && !has(letter, "word: mailing"));
    let signed = "Subject: x\n\nhello all\n-- \nJoe\n";
    assert!(has(signed, "word: hello") && !has(signed, "word: joe"));
}

#[test]
fn traces_of_mailboxes_and_other_filters_are_no_features() {
    let plain = "From: a@b.test\nSubject: x\n\nhello\n";
    let traced = format!("Delivered-To: joe@c.test\nX-Spam-Status: Yes\nX-UID: 7\nStatus: RO\n{plain}");
    assert_eq!(features(plain.as_bytes()), features(traced.as_bytes()));
    let crlf = plain.replace('\n', "\r\n");
    assert_eq!(features(plain.as_bytes()), features(crlf.as_bytes()), "as received, and as kept in a file");
    assert_eq!(read(plain.as_bytes()).digest, read(traced.as_bytes()).digest);
}

#[test]
fn a_letter_that_was_opened_for_other_checks_is_read_the_same() {
    let short = "From a@b.test Mon Jan  1 00:00:00 2026\nFrom: a@b.test\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n\nhello http://c.test/\n";
    let long = format!("Subject: x\n\n{}", "some words, again and again\n".repeat(20_000));
    let attached = "Content-Type: message/rfc822\n\nSubject: inner words\n\nhello\n";
    assert!(has(attached, "word: inner") && has(attached, "word: hello"));
    for text in [short, &long, attached] {
        let letter = Letter::read(&Bytes::copy_from_slice(text.as_bytes()));
        assert_eq!(read_letter(&letter), read(text.as_bytes()));
        assert_eq!(features_below(b"", &letter), features(text.as_bytes()));
        let received = "Received: from a.test ([192.0.2.9])\r\n\tby mx.b.test with SMTP; Sun, 22 Nov 2026 02:00:00 +0000\r\n";
        let text = text.split_at(if text.starts_with("From ") { text.find('\n').unwrap() + 1 } else { 0 }).1;
        let delivered = format!("{received}{text}");
        assert_eq!(features_below(received.as_bytes(), &letter), features(delivered.as_bytes()));
        assert_ne!(features_below(received.as_bytes(), &letter), features_below(b"", &letter));
    }
    assert!(has(short, "word: hello"), "the line of the mailbox is no header");
}

#[test]
fn links_addresses_and_attachments() {
    let letter = "From: \"Joe Blow\" <joe@mail.shop.test>\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n\
                  --b\n\nsee HTTP://www.Deals.example.co.uk:80/buy/now?id=5 soon\n--b\n\
                  Content-Type: application/zip; name=invoice.pdf.zip\n\nxx\n--b--\n";
    for name in [
        "url domain: example.co.uk",
        "url path: buy",
        "address: from joe@mail.shop.test",
        "name: from blow",
        "attachment: ends zip",
    ] {
        let all = names(letter);
        assert!(all.iter().any(|known| known.starts_with(name)), "{name}: {all:?}");
    }
}

#[test]
fn the_date_is_that_of_the_topmost_received() {
    let letter = "Received: from a by b; Thu, 1 Jan 1970 00:02:00 +0000\nReceived: from c by a; Thu, 1 Jan 1970 00:01:00 +0000\n\
                  Date: Thu, 1 Jan 1970 00:00:30 +0000\n\nx";
    assert_eq!(read(letter.as_bytes()).seconds, 120);
    assert_eq!(read(b"Date: Thu, 1 Jan 1970 00:00:30 +0000\n\nx").seconds, 30);
    assert_eq!(read(b"Date: yesterday\n\nx").seconds, 0);
}

/// What is made to be expensive is bounded: features in number, and nesting, parts, tags, lines in what is looked at.
#[test]
fn hostile_messages_are_bounded() {
    let nested: String =
        (0..20_000).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n")).collect();
    let parts = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\nx\n".repeat(100_000));
    let tags = format!("Content-Type: text/html\n\n{}", "<a =\"".repeat(50_000));
    let line = format!("Subject: x\n\n{}", "aé<&".repeat(500_000));
    let words: String = (0..400_000).map(|n| format!("{n:x} ")).collect();
    let encoded = format!("Subject: {}\n\nx", "=?utf-8?q?a?= ".repeat(50_000));
    for message in [nested, parts, tags, line, format!("Subject: x\n\n{words}"), encoded] {
        let features = features(message.as_bytes());
        let count: usize = Group::ALL.into_iter().map(|group| features.group(group).len()).sum();
        assert!(count < 40_000, "{count}");
    }
}
