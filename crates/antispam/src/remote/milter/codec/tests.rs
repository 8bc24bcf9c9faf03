//! Frames letter by letter, and octets of every kind.

use proptest::prelude::*;

use super::*;

fn written(command: &Command<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    command.write_to(&mut out);
    out
}

pub(crate) fn frame(letter: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 1).unwrap();
    [&length.to_be_bytes()[..], &[letter], data].concat()
}

fn read_all(octets: &[u8]) -> Result<Vec<Reply>, Garbled> {
    let mut replies = Replies::default();
    replies.feed(octets);
    let mut all = Vec::new();
    while let Some(reply) = replies.poll()? {
        all.push(reply);
    }
    Ok(all)
}

fn one(letter: u8, data: &[u8]) -> Result<Reply, Garbled> {
    read_all(&frame(letter, data)).map(|mut all| all.remove(0))
}

/// As Postfix 3.7 sends them.
#[test]
fn commands_are_written_as_other_servers_write_them() {
    let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let mail = words(&["<joe@far.test>", "SIZE=100", "BODY=8BITMIME"]);
    for (command, want) in [
        (Command::Negotiate, frame(b'O', &[0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0x1f, 0xff, 0xff])),
        (
            Command::Macros(Step::Connect, &[("j", "mx.test"), ("daemon_name", "mx.test")]),
            frame(b'D', b"Cj\0mx.test\0{daemon_name}\0mx.test\0"),
        ),
        (Command::Macros(Step::Helo, &[]), frame(b'D', b"H")),
        (
            Command::Connect { name: "localhost", address: Some(("127.0.0.1".parse().unwrap(), 36_000)) },
            frame(b'C', b"localhost\x004\x8c\xa0127.0.0.1\0"),
        ),
        (
            Command::Connect { name: "[2001:db8::7]", address: Some(("2001:db8::7".parse().unwrap(), 25)) },
            frame(b'C', b"[2001:db8::7]\x006\0\x192001:db8::7\0"),
        ),
        (Command::Connect { name: "localhost", address: None }, frame(b'C', b"localhost\0U")),
        (Command::Helo("client.test"), frame(b'H', b"client.test\0")),
        (Command::Path(Step::Mail, &mail), frame(b'M', b"<joe@far.test>\0SIZE=100\0BODY=8BITMIME\0")),
        (Command::Path(Step::Rcpt, &mail[..1]), frame(b'R', b"<joe@far.test>\0")),
        (Command::Data, frame(b'T', b"")),
        (Command::Header(b"Subject", b"a\n b"), frame(b'L', b"Subject\0a\n b\0")),
        (Command::Header(b"A", b"nul\0inside"), frame(b'L', b"A\0nul?inside\0")),
        (Command::EndOfHeader, frame(b'N', b"")),
        (Command::Chunk(3), frame(b'B', b"abc")[..5].to_vec()),
        (Command::EndOfMessage, frame(b'E', b"")),
        (Command::Unknown("BOGUS x"), frame(b'U', b"BOGUS x\0")),
        (Command::Abort, frame(b'A', b"")),
        (Command::Quit, frame(b'Q', b"")),
    ] {
        assert_eq!(written(&command), want, "{command:?}");
    }
}

#[test]
fn terms_say_what_is_wanted_and_answered() {
    let plain =
        [&[0, 0, 0, 6, 0, 0, 1, 0xff][..], &(0x0010_0000_u32 | 0x0001 | 0x4000).to_be_bytes()].concat();
    let lists = [&plain[..], &[0, 0, 0, 3], b"{rcpt_addr}, i\0", &[0, 0, 0, 99], b"x\0"].concat();
    let Ok(Reply::Negotiated(terms)) = one(b'O', &lists) else { panic!() };
    assert!(!terms.wants(Step::Connect) && terms.wants(Step::Helo) && terms.wants(Step::EndOfMessage));
    assert!(!terms.answers(Step::Mail) && terms.answers(Step::Rcpt) && terms.has(LEADING_SPACE));
    assert_eq!(terms.list(Step::Rcpt), Some(&["rcpt_addr".to_owned(), "i".to_owned()][..]));
    assert_eq!((terms.list(Step::Data), terms.list(Step::Body)), (None, None));
    let old = [&[0, 0, 0, 2, 0, 0, 0, 0x3f][..], &[0; 4]].concat();
    assert!(one(b'O', &old).is_ok());
    for wrong in [
        &b""[..],
        &plain[..11],
        &[&[0, 0, 0, 7][..], &plain[4..]].concat(),
        &[&[0, 0, 0, 1][..], &plain[4..]].concat(),
        &[&plain[..8], &[0x10, 0, 0, 0]].concat(),
        &[&plain[..4], &[0, 0, 2, 0], &plain[8..]].concat(),
        &[&plain[..], &[0, 0]].concat(),
        &[&plain[..], &[0, 0, 0, 3], b"no end"].concat(),
    ] {
        assert!(one(b'O', wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn replies_are_read() {
    let field = |name: &str, value: &str| Field { name: name.into(), value: value.into() };
    let text = |text: &str| text.to_owned();
    for (letter, data, want) in [
        (b'c', &b""[..], Reply::Continue),
        (b'a', b"", Reply::Accept),
        (b'r', b"", Reply::Reject),
        (b't', b"", Reply::Tempfail),
        (b'4', b"", Reply::Tempfail),
        (b'd', b"", Reply::Discard),
        (b's', b"", Reply::Skip),
        (b'p', b"", Reply::Progress),
        (b'h', b"X-A\0b\n c\0", Reply::Change(Change::AddHeader(field("X-A", "b\n c")))),
        (b'i', b"\0\0\0\x01X-A\0b\0", Reply::Change(Change::InsertHeader(1, field("X-A", "b")))),
        (b'm', b"\0\0\0\x02X-A\0\0", Reply::Change(Change::ChangeHeader(2, field("X-A", "")))),
        (b'b', b"text\0\r\n", Reply::Change(Change::Body(Bytes::from_static(b"text\0\r\n")))),
        (b'+', b"<a@b.test>\0", Reply::Change(Change::AddRecipient(text("<a@b.test>"), text("")))),
        (
            b'2',
            b"a@b.test\0NOTIFY=NEVER\0",
            Reply::Change(Change::AddRecipient(text("a@b.test"), text("NOTIFY=NEVER"))),
        ),
        (b'2', b"a@b.test\0", Reply::Change(Change::AddRecipient(text("a@b.test"), text("")))),
        (b'-', b"<a@b.test>\0", Reply::Change(Change::DeleteRecipient(text("<a@b.test>")))),
        (b'e', b"<>\0", Reply::Change(Change::Sender(text("<>"), text("")))),
        (b'q', b"odd\0", Reply::Change(Change::Quarantine(text("odd")))),
    ] {
        assert_eq!(one(letter, data), Ok(want), "{}", char::from(letter));
    }
    for (letter, data) in [
        (b'h', &b"X-A\0b"[..]),
        (b'h', b"\0b\0"),
        (b'h', b"X A\0b\0"),
        (b'h', b"X:A\0b\0"),
        (b'i', b"\0\0"),
        (b'+', b"a@b.test"),
        (b'Z', b""),
        (b'y', b"250 fine\0"),
        (b'y', b"5\0"),
        (b'y', b"\0"),
    ] {
        assert!(one(letter, data).is_err(), "{} {data:?}", char::from(letter));
    }
}

#[test]
fn words_of_a_refusal_are_read_line_by_line() {
    for (said, want) in [
        ("550 5.7.1 no %% more", "550 5.7.1 no % more"),
        ("451 later", "451 later"),
        ("550-5.7.1 one\r\n550 5.7.1 two", "550 5.7.1 one two"),
        ("550 4.7.1 another class", "550 4.7.1 another class"),
        ("554", "554 Refused by a filter"),
        ("554 5.7.1", "554 5.7.1 Refused by a filter"),
        ("554 5.7.1 550 is a number", "554 5.7.1 550 is a number"),
    ] {
        let Ok(Reply::Code(reply)) = one(b'y', format!("{said}\0").as_bytes()) else { panic!("{said}") };
        assert_eq!(reply.to_string(), want);
    }
}

#[test]
fn frames_come_in_any_pieces_and_have_a_bound() {
    let all = [frame(b'h', b"X-A\0b\0"), frame(b'p', b""), frame(b'c', b"")].concat();
    let mut replies = Replies::default();
    let mut seen = 0;
    for octet in &all {
        replies.feed(&[*octet]);
        while replies.poll().unwrap().is_some() {
            seen += 1;
        }
    }
    assert_eq!((seen, replies.waiting()), (3, 0));
    let long = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes();
    for head in [[0; 4], long, [0xff; 4]] {
        assert!(read_all(&head).is_err(), "{head:?}");
    }
    // The length alone sets nothing aside.
    let mut replies = Replies::default();
    replies.feed(&u32::try_from(FRAME_BYTES_MAX).unwrap().to_be_bytes());
    assert_eq!(replies.poll(), Ok(None));
    assert!(replies.buffer.capacity() < 4096, "{}", replies.buffer.capacity());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// What a hostile milter says: frames that are nearly right, cut anywhere, in pieces of any size.
    #[test]
    fn no_octets_break_it_or_make_it_grow(
        frames in proptest::collection::vec((proptest::sample::select(b"Ocarr4fdspybhim+2-eqZ\0".to_vec()),
            proptest::collection::vec(prop_oneof![Just(0), any::<u8>()], 0..40)), 0..8),
        noise in proptest::collection::vec(any::<u8>(), 0..64),
        lie in proptest::option::of(any::<[u8; 4]>()),
        piece in 1..50_usize,
    ) {
        let mut octets: Vec<u8> = frames.iter().flat_map(|(letter, data)| frame(*letter, data)).collect();
        if let Some(lie) = lie {
            octets.extend(lie);
        }
        octets.extend(&noise);
        let mut replies = Replies::default();
        let mut fed = 0;
        'all: for chunk in octets.chunks(piece) {
            replies.feed(chunk);
            fed += chunk.len();
            loop {
                match replies.poll() {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => break 'all,
                }
            }
            prop_assert!(replies.waiting() <= fed);
            prop_assert!(replies.buffer.capacity() <= 2 * fed + 1024);
        }
    }

    #[test]
    fn every_command_is_one_frame_of_the_length_that_it_says(
        name in "\\PC{0,30}", value in proptest::collection::vec(any::<u8>(), 0..100), words in proptest::collection::vec("\\PC{0,20}", 0..5),
    ) {
        let pairs: Vec<(&str, &str)> = words.iter().map(|word| (word.as_str(), name.as_str())).collect();
        for command in [
            Command::Macros(Step::Mail, &pairs),
            Command::Helo(&name),
            Command::Path(Step::Rcpt, &words),
            Command::Header(name.as_bytes(), &value),
            Command::Connect { name: &name, address: None },
        ] {
            let out = written(&command);
            let length = u32::from_be_bytes(out[..4].try_into().unwrap());
            prop_assert_eq!(usize::try_from(length).unwrap(), out.len() - 4);
        }
    }
}
