//! What belongs to which header, and where bodies begin.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { header_bytes_max: 102_400, depth_max: 100 };

/// Writes down all it is shown.
#[derive(Default)]
struct Seen {
    all: Vec<String>,
    numbers: Vec<u32>,
    stop_at_end: bool,
}

impl Visitor for Seen {
    fn field(&mut self, field: &Field<'_>) -> ControlFlow<()> {
        let class = match field.class {
            Class::Primary => "own",
            Class::Mime => "mime",
            Class::Nested => "nested",
        };
        self.numbers.extend(field.number);
        let number = field.number.map(|n| n.to_string()).unwrap_or_default();
        self.all.push(format!("{class}{number} {}", String::from_utf8_lossy(field.text)));
        ControlFlow::Continue(())
    }
    fn line(&mut self, line: &Line<'_>) -> ControlFlow<()> {
        let Line { text, offset, .. } = line;
        self.all.push(format!("{offset}: {}", String::from_utf8_lossy(text)));
        ControlFlow::Continue(())
    }
    fn header_end(&mut self) -> ControlFlow<()> {
        if self.stop_at_end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn seen(message: &[u8], limits: Limits) -> Seen {
    let mut seen = Seen::default();
    walk(message, limits, &mut seen).unwrap();
    seen
}

fn lines(message: &str) -> Vec<String> {
    seen(message.replace('\n', "\r\n").as_bytes(), LIMITS).all
}

#[test]
fn fields_come_whole_and_are_told_apart() {
    let message = "From: a\nSubject : two\n\tlines\nContent-Type: multipart/mixed; boundary=x\n\npreamble\n--x\n\
                   Content-Type: message/rfc822\nX-Part: 1\n\nFrom: inner\nMIME-Version: 1.0\n\nhello\n--x\n\ntext\n--x--\nepilogue\n";
    assert_eq!(
        lines(message),
        [
            "own0 From: a",
            "own1 Subject: two\n\tlines",
            "mime2 Content-Type: multipart/mixed; boundary=x",
            "1: preamble",
            "10: --x",
            "mime Content-Type: message/rfc822",
            "mime X-Part: 1",
            "nested From: inner",
            "mime MIME-Version: 1.0",
            "1: hello",
            "7: --x",
            "1: text",
            "6: --x--",
            "12: epilogue",
        ]
    );
}

#[test]
fn the_first_line_that_is_no_field_ends_a_header() {
    assert_eq!(lines("A: 1\nno field\nB: 2\n"), ["own0 A: 1", "1: no field", "10: B: 2"]);
    assert_eq!(lines(" A: 1\nB: 2\n"), ["1:  A: 1", "7: B: 2"]);
    assert_eq!(lines("A: 1"), ["own0 A: 1"]);
    assert_eq!(lines("\nB: 2\n"), ["1: B: 2"]);
    assert_eq!(lines(""), Vec::<String>::new());
}

#[test]
fn digests_hold_messages_and_boundaries_of_outer_parts_end_inner_ones() {
    let message = "Content-Type: multipart/digest; boundary=o\n\n--o\n\nFrom: one\n\nbody\n--o\nContent-Type: \
                   multipart/mixed; boundary=i\n\n--i\nX-I: 1\n\n--o\n\nFrom: two\n\n";
    let fields: Vec<String> = lines(message)
        .into_iter()
        .filter(|line| line.contains(": ") && !line.starts_with(char::is_numeric))
        .collect();
    assert_eq!(
        fields,
        [
            "mime0 Content-Type: multipart/digest; boundary=o",
            "nested From: one",
            "mime Content-Type: multipart/mixed; boundary=i",
            "mime X-I: 1",
            "nested From: two",
        ]
    );
}

#[test]
fn what_is_long_is_cut_and_what_is_deep_is_bounded() {
    let long = format!("A: {}\r\n{}\r\nB: 2\r\n", "x".repeat(5_000), " y".repeat(50));
    let cut = seen(long.as_bytes(), Limits { header_bytes_max: 2_100, depth_max: 1 });
    assert_eq!(
        cut.all.iter().map(String::len).collect::<Vec<_>>(),
        ["own0 ".len() + 4096, "own1 B: 2".len()]
    );
    let two = "Content-Type: multipart/x; boundary=a; boundary=b\n\n--b\nX-B: 1\n\n--a\nX-A: 1\n";
    let limits = Limits { header_bytes_max: 2_100, depth_max: 1 };
    let deep = seen(two.as_bytes(), limits).all;
    assert!(
        deep.contains(&"mime X-A: 1".to_owned()) && !deep.contains(&"mime X-B: 1".to_owned()),
        "{deep:?}"
    );
}

#[test]
fn who_has_seen_the_header_may_stop() {
    let mut visitor = Seen { stop_at_end: true, ..Seen::default() };
    walk("A: 1\r\n\r\nbody\r\n".as_bytes(), LIMITS, &mut visitor).unwrap();
    assert_eq!(visitor.all, ["own0 A: 1"]);
}

/// All that Postfix's own `postmap` would look up in header_checks and body_checks, in order.
fn postmap(program: &std::path::Path, message: &[u8]) -> Vec<u8> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("all");
    std::fs::write(&table, "/./ +\n").unwrap();
    let mut child = Command::new(program)
        .args(["-hbmq", "-", &format!("pcre:{}", table.display())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Written beside: it prints before it has read all.
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(message).unwrap());
        child.wait_with_output().unwrap().stdout
    })
}

/// The same from us.
fn ours(message: &[u8]) -> Vec<u8> {
    #[derive(Default)]
    struct All(Vec<u8>);
    impl All {
        fn add(&mut self, text: &[u8]) -> ControlFlow<()> {
            self.0.extend_from_slice(text);
            self.0.extend_from_slice(b"\t+\n");
            ControlFlow::Continue(())
        }
    }
    impl Visitor for All {
        fn field(&mut self, field: &Field<'_>) -> ControlFlow<()> {
            self.add(field.text)
        }
        fn line(&mut self, line: &Line<'_>) -> ControlFlow<()> {
            self.add(line.text)
        }
        fn header_end(&mut self) -> ControlFlow<()> {
            ControlFlow::Continue(())
        }
    }
    let mut all = All::default();
    walk(message, LIMITS, &mut all).unwrap();
    all.0
}

const LETTERS: &[&str] = &[
    "From: a\nSubject : two\n\tlines\n  three\nX-Empty:\nContent-Type: multipart/mixed; boundary=x\n\npre\n--x\n\
     Content-Type: message/rfc822\nX-Part: 1\n\nFrom: inner\nContent-Type: multipart/alternative;\n boundary=\"y z\"\n\n\
     --y z\n\nplain\n--y z\nContent-Type: text/html\n\n<p>\n--y z--\nafter y\n--x\n\ntext\n--x--\nepilogue\n--x\nX: 1\n",
    "A: 1\nno field\nB: 2\n\nrest\n",
    "\nOnly: body\n",
    "no header\n",
    " folded first\nA: 1\n",
    "A: 1\n \n\t\nB: 2\n\nbody\n",
    "Content-Type: multipart/digest; boundary=d\n\n--d\n\nFrom: one\n\nbody\n--d\nContent-Type: text/plain\n\nX: no field\n--d--\n",
    "Content-Type: message/rfc822\n\nA: 1\nContent-Type: message/rfc822\n\nB: 2\n\nbody\n",
    "Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\nFinal-Recipient: y\n",
    "Content-Type: multipart/report; boundary=\"r\"; report-type=delivery-status\n\n--r\n\nYour mail\n--r\n\
     Content-Type: message/delivery-status\n\nAction: failed\n\n--r\nContent-Type: message/rfc822\n\nReceived: x\n y\n\n> Received: z\n--r--\n",
    "Content-Type: multipart/mixed; boundary=a; boundary=b\n\n--b\nX-B: 1\n\n--a\nX-A: 1\n\n--b\nX-C: 1\n",
    "Content-Type: multipart/mixed (comment; boundary=no); boundary=yes\n\n--no\nX: 1\n\n--yes\nY: 1\n\nz\n",
    "Content-Type: multipart/mixed; boundary=x\n\n--x\nnot a field\nX: 1\n--x\nY: 1\n--x--\nZ: 1\n",
    "Content-Type: multipart/mixed\n; boundary=x\n\n--x\nX: 1\n\n",
    "content-type: MULTIPART/MIXED; BOUNDARY=x\n\n--xyz\nX: 1\n\n-- \n--x --\nY: 1\n",
    "Bad Name: 1\nA: 2\n",
    ": nameless\nA: 2\n",
    "N\u{e4}me: 1\nA: 2\n",
];

#[test]
fn what_is_looked_up_agrees_with_postmap() {
    let Some(program) = support::need_program("postmap") else { return };
    // Lines are shorter than where they are cut: postmap cuts none.
    let long = [
        format!("A: 1\n{}B: 2\n\nx\n", format!(" {}\n", "f".repeat(1_000)).repeat(150)),
        format!("Content-Type: multipart/x; boundary={0}\n\n--{0}\nX: 1\n\n", "b".repeat(1_500)),
    ];
    for letter in LETTERS.iter().map(|letter| (*letter).to_owned()).chain(long) {
        let (theirs, ours) = (postmap(&program, letter.as_bytes()), ours(letter.as_bytes()));
        assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs), "of:\n{letter:.3000}");
    }
}

proptest! {
    // Edits name a field by its number: all who count must count alike.
    #[test]
    fn fields_are_numbered_as_they_are_counted_elsewhere(
        message in "((A|Content-Type|[ \\t]|b ?):?( x|\\t|;|multipart/mixed; boundary=q|)\\r?\\n){0,12}(\\r\\n(--q\\r\\n|A: 1\\r\\n){0,6})?"
    ) {
        let expected = mail::header::fields(message.as_bytes()).count();
        let seen = seen(message.as_bytes(), LIMITS);
        prop_assert_eq!(seen.numbers.len(), expected);
    }

    #[test]
    fn any_octets_are_walked(message: Vec<u8>, depth_max in 0_usize..3) {
        seen(&message, Limits { header_bytes_max: 10, depth_max });
    }
}
