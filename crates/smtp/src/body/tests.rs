//! What a reader makes of every end, near-end and non-end of data.

use proptest::prelude::*;

use super::*;

fn settings() -> Settings {
    Settings { message_bytes_max: 1 << 20, ..Settings::default() }
}

/// What a reader makes of DATA fed in pieces of `step`: the message, how much of the input it is, and the reader.
fn data(input: &[u8], step: usize, mend: bool, settings: &Settings) -> (Vec<u8>, Option<usize>, BodyReader) {
    let (mut reader, mut out, mut read) = (BodyReader::new(settings, mend), Vec::new(), 0);
    for piece in input.chunks(step) {
        let progress = reader.read_data(piece);
        out.extend(reader.take(progress.ended).unwrap_or_default());
        read += progress.consumed;
        if progress.ended {
            return (out, Some(read), reader);
        }
        assert_eq!(progress.consumed, piece.len(), "all but the end of data is consumed");
    }
    out.extend(reader.take(true).unwrap_or_default());
    (out, None, reader)
}

fn chunks(parts: &[&[u8]], mend: bool, settings: &Settings) -> (Vec<u8>, BodyReader) {
    let (mut reader, mut out) = (BodyReader::new(settings, mend), Vec::new());
    for part in parts {
        reader.read_chunk(part);
        out.extend(reader.take(false).unwrap_or_default());
    }
    reader.end_chunks();
    out.extend(reader.take(true).unwrap_or_default());
    (out, reader)
}

/// Dots doubled, end of data added (RFC 5321 §4.5.2).
fn stuffed(message: &[u8]) -> Vec<u8> {
    let (mut out, mut start) = (Vec::new(), true);
    let mut previous = 0;
    for &byte in message {
        if start && byte == b'.' {
            out.push(b'.');
        }
        out.push(byte);
        start = previous == b'\r' && byte == b'\n';
        previous = byte;
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[test]
fn the_end_is_crlf_dot_crlf_and_nothing_else() {
    for (input, message) in [
        (&b".\r\n"[..], &b""[..]),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b".x\r\n..y\r\n.\r\n", b"x\r\n.y\r\n"),
        (b"\r\n.\r\n", b"\r\n"),
        (b"a.\r\n.b\r\n.\r\n", b"a.\r\nb\r\n"),
    ] {
        for step in 1..=input.len() {
            let (out, read, reader) = data(input, step, false, &settings());
            assert_eq!((out.as_slice(), read), (message, Some(input.len())), "{input:?} by {step}");
            assert_eq!(reader.refused(), None);
        }
    }
}

#[test]
fn nothing_that_looks_like_an_end_is_one() {
    for fake in [
        &b"\n.\n"[..],
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r\r\n.\r\r\n",
        b"\r\n.\r\r\n",
        b"\r\n.\r",
        b"\r\n\x00.\r\n",
        b"\n\n.\n\n",
        b"\r.\r\n",
        b"\r\n.\n\r\n",
        b"\r\n.\r.\r\n",
    ] {
        let input = [b"a", fake, b"MAIL FROM:<x@y.test>\r\nb\r\n.\r\n"].concat();
        for step in 1..=input.len() {
            for mend in [false, true] {
                let (out, read, reader) = data(&input, step, mend, &settings());
                assert_eq!(read, Some(input.len()), "{fake:?} by {step}: ends where the true end is");
                assert_eq!(reader.bare_newlines(), fake != b"\r\n\x00.\r\n", "{fake:?} by {step}");
                let refused = (!mend && reader.bare_newlines()).then_some(BodyAbort::BareNewline);
                assert_eq!(reader.refused(), refused, "{fake:?} by {step}");
                if mend {
                    assert!(no_bare(&out), "{fake:?} by {step}: {out:?}");
                    assert_eq!(reader.bytes(), out.len() as u64);
                }
            }
        }
    }
}

fn no_bare(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).replace("\r\n", "");
    !text.contains(['\r', '\n'])
}

/// Every text of up to six characters that matter, at the start of a message and within it, against the one sentence of
/// RFC 5321 §4.1.1.4: the end is CRLF.CRLF, the first CRLF being that of the DATA command for an empty message.
#[test]
fn the_end_of_every_short_text_is_where_the_standard_says() {
    let mut texts: Vec<Vec<u8>> = vec![Vec::new()];
    for length in 0..6 {
        let longer: Vec<Vec<u8>> = texts
            .iter()
            .filter(|text| text.len() == length)
            .flat_map(|text| b"\r\n.a".map(|byte| [text.as_slice(), &[byte]].concat()))
            .collect();
        texts.extend(longer);
    }
    assert_eq!(texts.len(), 5461);
    for text in texts {
        for prefix in [&b""[..], b"x"] {
            let input = [prefix, &text, b"\r\n.\r\n"].concat();
            let with_command = [b"\r\n", input.as_slice()].concat();
            let end = with_command.windows(5).position(|five| five == b"\r\n.\r\n").unwrap() + 3;
            for (step, mend) in [(1, false), (input.len(), false), (2, true)] {
                let (_, read, reader) = data(&input, step, mend, &settings());
                assert_eq!(read, Some(end), "{input:?} by {step}");
                let message = &input[..end - 3];
                assert_eq!(reader.bare_newlines(), !no_bare(message), "{input:?} by {step}");
            }
        }
    }
}

#[test]
fn mending_turns_lf_into_crlf_and_cr_into_a_blank() {
    let (out, _, _) = data(b"a\nb\rc\r\r\n\n.\r\n\r\n.\r\n", 4, true, &settings());
    assert_eq!(out, b"a\r\nb c \r\n\r\n.\r\n\r\n");
    let (out, _) = chunks(&[b"a\nb\rc\r", b"\n\r"], true, &settings());
    assert_eq!(out, b"a\r\nb c\r\n \r\n");
    // The last line has ended: nothing is missing behind it.
    for parts in [&[b"a\n" as &[u8]] as &[&[u8]], &[b"a\n", b""], &[b"a", b"\n"]] {
        assert_eq!(chunks(parts, true, &settings()).0, b"a\r\n", "{parts:?}");
    }
}

#[test]
fn bounds_are_kept_and_the_end_still_found() {
    let limits = Settings {
        message_bytes_max: 300,
        text_line_bytes_max: 20,
        header_bytes_max: 100,
        received_lines_max: 2,
        ..Settings::default()
    };
    let body = |text: &str| format!("A: b\r\n\r\n{text}.\r\n");
    for (input, want) in [
        (body(&"0123456789012345\r\n".repeat(16)), None),
        (body(&"0123456789012345\r\n".repeat(17)), Some(BodyAbort::TooLarge)),
        (body(&format!("{}\r\n", "x".repeat(20))), None),
        (body(&format!("{}\r\n", "x".repeat(21))), Some(BodyAbort::LineTooLong)),
        (format!("{}\r\n.\r\n", "A: bcdefghijk\r\n".repeat(6)), None),
        (format!("{}\r\n.\r\n", "A: bcdefghijk\r\n".repeat(7)), Some(BodyAbort::HeaderTooLarge)),
        (format!("{}\r\n.\r\n", "Received: x\r\n".repeat(2)), None),
        (format!("{}\r\n.\r\n", "Received: x\r\n".repeat(3)), Some(BodyAbort::Loop)),
    ] {
        for step in [1, 2, 7, input.len()] {
            let (_, read, reader) = data(input.as_bytes(), step, false, &limits);
            assert_eq!((read, reader.refused()), (Some(input.len()), want), "{input} by {step}");
        }
    }
}

#[test]
fn a_refused_message_is_not_kept_in_memory() {
    let limits = Settings { message_bytes_max: 10, ..Settings::default() };
    let mut reader = BodyReader::new(&limits, false);
    for _ in 0..1_000 {
        reader.read_data(&[b'x'; 10_000]);
        assert!(reader.out.capacity() == 0 && reader.take(true).is_none());
    }
    assert_eq!(reader.thrown_away(), 10_000_000);
}

/// Text in which everything that matters is frequent.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        &b"\r\n"[..],
        b"\r",
        b"\n",
        b".",
        b"..",
        b"a",
        b"\r\n.\r\n",
        b"\xff",
        b"Received: x",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|parts| parts.concat())
}

/// Lines as a well-behaved client sends them.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec("[a.:\u{e4} ]{0,12}", 0..20)
        .prop_map(|lines| lines.iter().flat_map(|line| format!("{line}\r\n").into_bytes()).collect())
}

proptest! {
    #[test]
    fn pieces_make_no_difference(input in soup(), step in 1usize..9, mend: bool) {
        let (whole, whole_read, one) = data(&input, input.len().max(1), mend, &settings());
        let (out, read, other) = data(&input, step, mend, &settings());
        prop_assert_eq!(read, whole_read);
        prop_assert_eq!(one.refused(), other.refused());
        if one.refused().is_none() {
            prop_assert_eq!(out, whole);
            prop_assert_eq!(one.bytes(), other.bytes());
            prop_assert_eq!(one.eight_bit(), other.eight_bit());
            prop_assert_eq!(one.header_bytes(), other.header_bytes());
        }
    }

    #[test]
    fn data_gives_what_was_stuffed(message in lines(), step in 1usize..40) {
        let (out, read, reader) = data(&stuffed(&message), step, false, &settings());
        prop_assert_eq!(&out, &message);
        prop_assert_eq!(read, Some(stuffed(&message).len()));
        prop_assert_eq!(reader.eight_bit(), !message.is_ascii());
    }

    #[test]
    fn bdat_equals_data(message in lines(), cuts in prop::collection::vec(0usize..200, 0..5)) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (message.len() + 1)).collect();
        cuts.extend([0, message.len()]);
        cuts.sort_unstable();
        let parts: Vec<&[u8]> = cuts.windows(2).map(|pair| &message[pair[0]..pair[1]]).collect();
        let (by_chunk, chunk_reader) = chunks(&parts, false, &settings());
        let (by_data, _, data_reader) = data(&stuffed(&message), 1000, false, &settings());
        prop_assert_eq!(by_chunk, by_data);
        prop_assert_eq!(chunk_reader.header_bytes(), data_reader.header_bytes());
        prop_assert_eq!(chunk_reader.eight_bit(), data_reader.eight_bit());
    }

    #[test]
    fn bdat_splits_hide_no_bare_newline(soup in soup(), step in 1usize..9) {
        let bare = !no_bare(&soup);
        let parts: Vec<&[u8]> = soup.chunks(step).collect();
        prop_assert_eq!(chunks(&parts, false, &settings()).1.refused().is_some(), bare);
        let (mended, reader) = chunks(&parts, true, &settings());
        prop_assert!(reader.refused().is_none() && no_bare(&mended));
        prop_assert!(mended.is_empty() || mended.ends_with(b"\r\n"));
    }
}
