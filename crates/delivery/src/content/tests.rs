//! What a message looks like when it leaves: the lines on top, the edits, the body that nobody copies, circles.

use super::*;
use crate::testing::{address, record};
use std::io::Write;
use store::Edit;

const MESSAGE: &str = "Return-Path: <old@a.test>\r\nSubject: one\r\n two\r\nX-Spam: no\r\nDelivered-To: joe@a.test\r\n\r\nbody\r\n";

fn flat(content: &Content) -> String {
    let mut all: Vec<u8> = content.parts().concat();
    if let Some(tail) = content.tail() {
        let mut at = 0;
        while at < tail.len() {
            let block = tail.read(at).unwrap();
            at += block.len() as u64;
            all.extend_from_slice(&block);
        }
    }
    assert_eq!(all.len() as u64, content.size());
    String::from_utf8(all).unwrap()
}

fn memory(text: &str, chunk: usize) -> Source {
    let chunks = text.as_bytes().chunks(chunk).map(Bytes::copy_from_slice).collect();
    Source::open(&StoredBody::Memory(chunks)).unwrap()
}

const RELAY: Top<'_> = Top { return_path: None, delivered_to: None, header_lines: b"" };

#[test]
fn final_delivery_writes_its_lines_on_top_in_order() {
    let mut record = record(&["joe@a.test"]);
    record.trace = b"Received: by us\r\n".to_vec();
    record.edits = vec![
        Edit::Prepend(b"X-First: 1\r\n".to_vec()),
        Edit::Remove("x-spam".into()),
        Edit::Append(b"X-Last: 1\r\n".to_vec()),
    ];
    let to = address("joe@b.test");
    let top = Top {
        return_path: Some(&record.reverse_path),
        delivered_to: Some(&to),
        header_lines: b"X-Mine: 1\r\n",
    };
    let want = "Return-Path: <sender@from.test>\r\nDelivered-To: joe@b.test\r\nReceived: by us\r\nX-Mine: 1\r\n\
                X-First: 1\r\nSubject: one\r\n two\r\nDelivered-To: joe@a.test\r\nX-Last: 1\r\n\r\nbody\r\n";
    for chunk in [1, 2, 7, 1000] {
        assert_eq!(flat(&memory(MESSAGE, chunk).assemble(&record, &top)), want, "chunks of {chunk}");
    }
}

#[test]
fn relaying_adds_the_trace_only() {
    let mut record = record(&["joe@a.test"]);
    record.trace = b"Received: by us\r\n".to_vec();
    assert_eq!(flat(&memory(MESSAGE, 9).assemble(&record, &RELAY)), format!("Received: by us\r\n{MESSAGE}"));
}

#[test]
fn bodies_are_shared_not_copied() {
    let body = Bytes::from(MESSAGE);
    let source = Source::open(&StoredBody::Memory(vec![body.clone()])).unwrap();
    let content = source.assemble(&record(&["a@b.test"]), &RELAY);
    let end = body.as_ptr() as usize + body.len();
    assert!(content.parts().iter().any(|part| part.as_ptr() as usize + part.len() == end));
}

#[test]
fn a_missing_empty_line_is_supplied_where_text_follows() {
    let mut record = record(&["joe@a.test"]);
    record.trace = b"Received: by us\r\n".to_vec();
    for (message, want) in [
        ("no header at all\r\n", "Received: by us\r\n\r\nno header at all\r\n"),
        ("A: b\r\nstray line\r\n", "Received: by us\r\nA: b\r\n\r\nstray line\r\n"),
        ("A: b\r\n", "Received: by us\r\nA: b\r\n"),
        ("\r\nbody\r\n", "Received: by us\r\n\r\nbody\r\n"),
        ("", "Received: by us\r\n"),
    ] {
        for chunk in [1, 100] {
            assert_eq!(flat(&memory(message, chunk).assemble(&record, &RELAY)), want, "{message:?}");
        }
    }
}

#[test]
fn large_bodies_stay_in_their_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let text = format!("{}\r\n{}", "A: b\r\n".repeat(30_000), "line\r\n".repeat(60_000));
    file.write_all(text.as_bytes()).unwrap();
    let body = StoredBody::File { path: file.path().to_owned(), size: text.len() as u64 };
    let content = Source::open(&body).unwrap().assemble(&record(&["a@b.test"]), &RELAY);
    assert!(content.tail().is_some_and(|tail| tail.len() > 100_000));
    assert_eq!(flat(&content), text);
}

fn change(offset: usize, length: u64, with: &str) -> Edit {
    Edit::Body { offset: offset as u64, length, with: with.as_bytes().to_vec() }
}

#[test]
fn bodies_are_edited_in_memory_and_in_files() {
    let head = "A: b\r\n".repeat(30_000);
    let text = format!("{head}\r\n{}", "line\r\n".repeat(60_000));
    let (body, end) = (head.len() + 2, text.len());
    let edits = [
        change(body, 6, ""),
        change(body + 60, 4, "LINE"),
        change(body + 150_001, 3, "ONG"),
        change(body + 300_000, 0, "new\r\n"),
        change(end - 6, 6, "last\r\n"),
        change(end, 0, "behind\r\n"),
    ];
    let mut want = text.clone();
    for edit in edits.iter().rev() {
        let Edit::Body { offset, length, with } = edit else { panic!() };
        let from = usize::try_from(*offset).unwrap();
        let to = from + usize::try_from(*length).unwrap();
        want.replace_range(from..to, std::str::from_utf8(with).unwrap());
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let filed = StoredBody::File { path: file.path().to_owned(), size: text.len() as u64 };
    let mut filed = Source::open(&filed).unwrap();
    filed.edit_body(&edits);
    assert!(filed.tail.as_ref().is_some_and(|tail| tail.pieces.len() > 4));
    for mut source in [filed, memory(&text, 5_000)] {
        if source.tail.is_none() {
            source.edit_body(&edits);
        }
        assert!(flat(&source.assemble(&record(&["a@b.test"]), &RELAY)) == want, "edited otherwise");
        // All of it gone.
        source.edit_body(&[change(body - 2, 1 << 40, "")]);
        assert_eq!(source.assemble(&record(&["a@b.test"]), &RELAY).size(), head.len() as u64);
    }
}

#[test]
fn a_file_that_shrank_is_an_error() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"A: b\r\n\r\n").unwrap();
    let body = StoredBody::File { path: file.path().to_owned(), size: 500 };
    let source = Source::open(&body).unwrap();
    assert!(source.tail.unwrap().read(0).is_err());
}

#[test]
fn circles_are_seen_in_delivered_to() {
    let source = memory(MESSAGE, 1000);
    assert!(source.was_delivered_to(&address("JOE@A.test")));
    assert!(!source.was_delivered_to(&address("joe@b.test")));
}

#[test]
fn eight_bit_content_is_seen() {
    let record = record(&["a@b.test"]);
    assert!(memory("A: b\r\n\r\nj\u{f6}rg\r\n", 3).assemble(&record, &RELAY).has_eight_bit());
    assert!(!memory(MESSAGE, 3).assemble(&record, &RELAY).has_eight_bit());
}
