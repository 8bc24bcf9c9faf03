//! Parts of letters, well made and not, and letters that are made to be expensive.

use super::links::Host;
use super::*;

fn read(letter: &str) -> Letter {
    Letter::read(&Bytes::from(letter.replace('\n', "\r\n")))
}

fn media(letter: &Letter) -> Vec<(usize, &str)> {
    letter.parts.iter().map(|part| (part.depth, part.media.as_str())).collect()
}

#[test]
fn parts_are_found_decoded_and_named() {
    let letter = read(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"a b\"\n\npreamble\n--a b\n\
         Content-Type: multipart/alternative; boundary=inner\n\n--inner\nContent-Type: text/plain; charset=iso-8859-1\n\
         Content-Transfer-Encoding: quoted-printable\n\nGr=FC=DFe aus http://a.example.com/x=\ny\n--inner\n\
         Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\n\
         PGEgaHJlZj0iaHR0cDovL2IuZXhhbXBsZS5uZXQvIj5iYW5rLmV4YW1wbGUub3JnPC9hPg==\n--inner--\n\n--a b\n\
         Content-Type: application/octet-stream; name*=utf-8''r%C3%A9sum%C3%A9.exe\n\
         Content-Disposition: attachment; filename=\"=?utf-8?Q?r=C3=A9sum=C3=A9.pdf?=\"\n\
         Content-Transfer-Encoding: base64\n\nTVqQAAMAAAA=\n--a b\nContent-Type: message/rfc822\n\nSubject: inner\n\nhello\n--a b--\nepilogue\n",
    );
    assert_eq!(
        media(&letter),
        [
            (0, "multipart/mixed"),
            (1, "multipart/alternative"),
            (2, "text/plain"),
            (2, "text/html"),
            (1, "application/octet-stream"),
            (1, "message/rfc822"),
            (2, "text/plain"),
        ]
    );
    let [_, _, plain, html, file, _, inner] = letter.parts.as_slice() else { panic!() };
    assert_eq!(plain.text.as_ref().unwrap().shown(), "Grüße aus http://a.example.com/xy");
    assert_eq!(html.text.as_ref().unwrap().shown().trim(), "bank.example.org");
    assert_eq!(inner.text.as_ref().unwrap().shown(), "hello");
    assert_eq!(file.names, ["résumé.pdf", "résumé.exe"]);
    assert!(file.is_attachment);
    assert_eq!(letter.decoded(file, 2), b"MZ");
    assert_eq!(letter.faults, []);
    let name = |name: &str| Host::Name(name.to_owned());
    assert_eq!(letter.links.len(), 2);
    assert_eq!(letter.links[0].host, name("a.example.com"));
    assert_eq!(
        (&letter.links[1].host, &letter.links[1].shown),
        (&name("b.example.net"), &Some(name("bank.example.org")))
    );
}

#[test]
fn what_is_broken_is_told_and_the_rest_is_read() {
    let multipart = "Content-Type: multipart/mixed; boundary=b\n";
    for (letter, fault) in [
        ("Content-Type: multipart/mixed\n\ntext\n".to_owned(), Fault::NoBoundary),
        (format!("{multipart}\nno parts\n"), Fault::NoParts),
        (format!("{multipart}\n--b\n\ntext\n"), Fault::Unclosed),
        (format!("{multipart}{multipart}\n--b\n\ntext\n--b--\n"), Fault::FieldTwice),
        (
            format!("{multipart}Content-Transfer-Encoding: base64\n\n--b\n\ntext\n--b--\n"),
            Fault::EncodedParts,
        ),
        ("Content-Transfer-Encoding: base64\n\nnot! base64?\n".to_owned(), Fault::BadBase64),
        ("Content-Transfer-Encoding: rot13\n\nuryyb\n".to_owned(), Fault::UnknownEncoding),
        ("Subject: x\n\na\0b\n".to_owned(), Fault::Nul),
    ] {
        assert_eq!(read(&letter).faults, [fault], "{letter}");
    }
    // A part may end in its header, and an outer boundary ends all that is within.
    let letter = read(&format!(
        "{multipart}\n--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\nX-A: b\n--b\n\nlast\n--b--\n"
    ));
    assert_eq!(
        media(&letter),
        [(0, "multipart/mixed"), (1, "multipart/mixed"), (2, "text/plain"), (1, "text/plain")]
    );
    assert_eq!(letter.raw(&letter.parts[2]), b"");
    assert_eq!(letter.raw(&letter.parts[3]), b"last");
    assert_eq!(letter.faults, [Fault::Unclosed]);
    assert_eq!(read("").parts.len(), 1);
}

/// Reading costs so many units for each octet at the most, and for each letter.
fn is_bounded(letter: &Letter) {
    let octets = letter.octets().len() as u64;
    assert!(letter.units <= 12 * octets + 10_000, "{} units for {octets} octets", letter.units);
}

#[test]
fn what_is_nested_deeply_is_read_to_the_bound() {
    let mut deep = String::new();
    for level in 0..20_000 {
        deep += &format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n");
    }
    let letter = read(&deep);
    assert!(letter.has(Fault::TooDeep));
    assert_eq!(letter.parts.len(), DEPTH_MAX + 1);
    is_bounded(&letter);
    let letter = read(&"Content-Type: message/rfc822\n\n".repeat(20_000));
    assert!(letter.has(Fault::TooDeep));
    assert!(letter.parts.len() <= DEPTH_MAX + 2);
    is_bounded(&letter);
}

#[test]
fn of_a_million_parts_the_first_are_read() {
    let letter = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\nx\n".repeat(1_000_000));
    let letter = Letter::read(&Bytes::from(letter));
    assert_eq!(letter.parts.len(), PARTS_MAX);
    assert!(letter.has(Fault::TooManyParts));
    is_bounded(&letter);
}

#[test]
fn boundaries_that_are_not_there_cost_what_their_lines_cost() {
    let mut letter = String::new();
    for level in 0..DEPTH_MAX {
        letter += &format!(
            "Content-Type: multipart/mixed; boundary={:b>200}\n\n--{0:b>200}\n",
            format!("x{level}")
        );
    }
    letter += "\n";
    letter += &format!("--{}\n", "b".repeat(199)).repeat(5_000);
    let letter = read(&letter);
    let octets = letter.octets().len() as u64;
    assert!(letter.units <= (DEPTH_MAX as u64 + 12) * octets, "{}", letter.units);
}

#[test]
fn text_and_links_and_encoded_words_without_end_are_cut() {
    let line = "http://a.example.com/ ".repeat(1_000_000);
    let letter = Letter::read(&Bytes::from(format!("Subject: x\r\n\r\n{line}")));
    assert!(letter.has(Fault::TextCut));
    assert_eq!(letter.links.len(), 1);
    is_bounded(&letter);
    let many: String = (0..1_000).map(|n| format!("http://a{n}.example.com ")).collect();
    let letter = read(&format!("Subject: x\n\n{many}"));
    assert_eq!((letter.links.len(), letter.has(Fault::LinksCut)), (links::LINKS_MAX, true));
    let words = " =?utf-8?B?YWJj?=".repeat(500_000);
    let letter = read(&format!("Content-Type: text/plain; name=\"{words}\"\nSubject:{words}\n\ntext\n"));
    assert!(letter.parts[0].names.iter().all(|name| name.chars().count() <= NAME_CHARS_MAX));
    is_bounded(&letter);
    let anchors = "<a href='http://a.example.com/\"><".repeat(20_000);
    is_bounded(&read(&format!("Content-Type: text/html\n\n{anchors}")));
}

proptest::proptest! {
    #[test]
    fn anything_is_a_letter(text in "(Content-Type: (multipart/mixed; boundary=b|message/rfc822|text/html)\n|--b(--)?\n|\n|x){0,40}") {
        let letter = read(&text);
        for part in &letter.parts {
            proptest::prop_assert!(part.header.end <= part.body.start && part.body.end <= letter.octets().len());
            proptest::prop_assert!(part.body.start <= part.body.end);
        }
    }
}
