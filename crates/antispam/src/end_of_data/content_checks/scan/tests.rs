//! Orders of tables, as header_checks(5) describes them, on small messages.

use std::path::Path;

use tables::Spec;

use super::*;

const LIMITS: Limits = Limits { header_bytes_max: 102_400, depth_max: 100 };

const LETTER: &str = "Received: from x\nFrom: joe@a.test\nSubject: hello\n there\nUser-Agent: x\nContent-Type: \
                      multipart/mixed; boundary=q\n\n--q\nContent-Type: application/zip; name=a.exe\n\nbody one\n--q\n\
                      Content-Type: message/rfc822\n\nUser-Agent: y\nSubject: inner\n\nbody two\n--q--\n";

fn rules(contents: &str) -> Option<Rules> {
    if contents.is_empty() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t");
    std::fs::write(&file, contents).unwrap();
    let table = tables::open(&Spec::Pcre(file), Path::new("/")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let contents = runtime.block_on(table.snapshot()).unwrap();
    Some(Rules { key: "antispam.header_checks", table: "pcre:t".into(), contents })
}

fn set(header: &str, body: &str) -> Set {
    let header = rules(header);
    Set { mime: header.clone(), nested: header.clone(), header, body: rules(body), body_bytes_max: 51_200 }
}

fn run(letter: &str, sets: &[Set]) -> Scan {
    let letter = letter.replace('\n', "\r\n");
    let head = letter.split_inclusive("\r\n\r\n").next().unwrap_or_default();
    scan(letter.as_bytes(), head.as_bytes(), sets, LIMITS, &mut || false).unwrap()
}

fn orders(scan: &Scan) -> Vec<String> {
    let told = scan.rulings.iter().map(|ruling| match &ruling.order {
        Order::Reject(reply) | Order::Defer(reply) => reply.to_string(),
        other => other.as_str().to_owned(),
    });
    told.collect()
}

fn delivered(letter: &str, scan: &Scan) -> String {
    let letter = bytes::Bytes::from(letter.replace('\n', "\r\n"));
    let end = letter.windows(4).position(|at| at == b"\r\n\r\n").map_or(letter.len(), |end| end + 4);
    let mut parts = store::edited(&letter.slice(..end), &scan.edits);
    let mut editor = store::BodyEditor::new(end as u64..letter.len() as u64, &scan.edits);
    parts.extend(editor.feed(letter.slice(end..)));
    parts.extend(editor.finish());
    String::from_utf8(parts.concat()).unwrap().replace("\r\n", "\n")
}

#[test]
fn the_first_line_that_settles_the_matter_ends_it() {
    for (header, body, want) in [
        (
            "/^Subject: hello\\s+there$/ REJECT 5.7.1 no $1\n".replace(" $1", "").as_str(),
            "",
            vec!["550 5.7.1 no"],
        ),
        ("/^From:/ HOLD\n/^User-Agent:/ DISCARD\n/./ WARN\n", "/./ REJECT\n", vec!["hold", "discard"]),
        ("/name=.*\\.exe/ REJECT .exe\n", "", vec!["550 5.7.1 .exe"]),
        ("/^Subject: inner/ REJECT 4.7.1 later\n", "", vec!["451 4.7.1 later"]),
        (
            "/^From:/ BCC a@b.test\n/^Subject: inner/ REDIRECT c@d.test\n",
            "/two/ REJECT\n",
            vec!["bcc", "redirect"],
        ),
        ("/^From:/ PASS\n/^Subject:/ REJECT\n", "/./ REJECT\n", vec![]),
        (
            "/^From:/ DUNNO\n/^From:/ REJECT\n",
            "/^body one$/ REJECT\n",
            vec!["550 5.7.1 Message content rejected"],
        ),
        ("", "/^body/ HOLD\n", vec!["hold"]),
        ("", "/^$/ REJECT\n", vec![]),
        ("", "/^(Subject|Content-Type):/ REJECT\n", vec![]),
        ("/^body/ REJECT\n", "", vec![]),
    ] {
        let scan = run(LETTER, &[set(header, body)]);
        assert_eq!(orders(&scan), want, "{header}{body}");
        assert!(scan.rulings.iter().all(|ruling| ruling.scope == Scope::Transaction));
    }
}

#[test]
fn fields_are_edited_wherever_they_stand() {
    let table = "/^Received:/ IGNORE\n/^From: (.*)/ PREPEND X-From: $1\n/^User-Agent:/ REPLACE X-Agent: z\n/zip/ STRIP\n";
    let scan = run(LETTER, &[set(table, "")]);
    assert_eq!(
        delivered(LETTER, &scan),
        "X-From: joe@a.test\nFrom: joe@a.test\nSubject: hello\n there\nX-Agent: z\nContent-Type: multipart/mixed; boundary=q\n\n\
         --q\n\nbody one\n--q\nContent-Type: message/rfc822\n\nX-Agent: z\nSubject: inner\n\nbody two\n--q--\n"
    );
    assert_eq!(orders(&scan), Vec::<String>::new());
    let told: Vec<&str> = scan.notes.iter().map(|note| note.key.as_str()).collect();
    assert_eq!(told, ["antispam.header_checks pcre:t:4"]);
}

#[test]
fn lines_of_the_body_are_edited() {
    let letter = "From: a\n\none\ntwo\n\nthree\nfour\nfive\n";
    for (table, want, edits) in [
        ("/^(one|two|three|four)$/ IGNORE\n", "\nfive\n", 2),
        ("/^two/ REPLACE 2\n/^five/ STRIP gone\n", "one\n2\n\nthree\nfour\n", 2),
        ("/^(t.*)/ PREPEND before $1\n", "one\nbefore two\ntwo\n\nbefore three\nthree\nfour\nfive\n", 2),
        ("/./ REPLACE x\n", "x\nx\n\nx\nx\nx\n", 5),
        ("/six/ IGNORE\n", "one\ntwo\n\nthree\nfour\nfive\n", 0),
    ] {
        let scan = run(letter, &[set("", table)]);
        assert_eq!(delivered(letter, &scan), format!("From: a\n\n{want}"), "{table}");
        assert_eq!(scan.edits.len(), edits, "{table}");
    }
    // One table sees what another made, and nothing of what it left out.
    let sets = [set("", "/^one/ IGNORE\n/^two/ REPLACE six\n"), set("", "/one|two/ REJECT\n/six/ HOLD\n")];
    assert_eq!(orders(&run(letter, &sets)), ["hold"]);
}

#[test]
fn what_needs_more_changes_than_can_be_kept_is_refused() {
    let letter = format!("From: a\n\n{}", "one\ntwo\n".repeat(5_000));
    let mut every = set("", "/^one/ IGNORE\n");
    every.body_bytes_max = 0;
    assert_eq!(
        orders(&run(&letter, &[every])),
        ["554 5.6.0 The message needs more changes than this server makes"]
    );
    let mut all = set("", "/^(one|two)/ IGNORE\n");
    all.body_bytes_max = 0;
    let scan = run(&letter, &[all]);
    assert_eq!((delivered(&letter, &scan).as_str(), scan.edits.len()), ("From: a\n\n", 1));
}

#[test]
fn of_several_filters_the_last_is_meant() {
    let table = "/^From:/ FILTER smtp:[192.0.2.1]:25\n/^Subject: hello/ FILTER lmtp:[192.0.2.2]:24\n\
                 /inner/ FILTER smtp:[192.0.2.1]:25\n";
    let scan = run(LETTER, &[set(table, "/two/ WARN\n")]);
    let [ruling] = scan.rulings.as_slice() else { panic!("{scan:?}") };
    assert_eq!(ruling.order, Order::Filter("smtp:[192.0.2.1]:25".to_owned().try_into().unwrap()));
    assert_eq!(ruling.key, "antispam.header_checks pcre:t:3");
}

#[test]
fn what_is_quoted_of_a_folded_field_stays_folded_and_begins_no_other() {
    let letter = "Subject: one\n two\nX-A: b\x07\nContent-Type: text/plain\n\nx\n";
    let subject = |order: &str| {
        let table = format!("/^Subject: (\\w+\\n)(.*)/ {order}\n/^X-A: (.*)/ REPLACE X-A: <$1>\n");
        delivered(letter, &run(letter, &[set(&table, "")]))
    };
    for (order, want) in [
        ("REPLACE Subject: $1$2 and more", "Subject: one\n two and more\n"),
        ("REPLACE Subject: ${1}Bcc: joe@a.test", "Subject: one Bcc: joe@a.test\n"),
        ("PREPEND X-Old: $1 $2", "X-Old: one\n  two\nSubject: one\n two\n"),
    ] {
        assert_eq!(subject(order), format!("{want}X-A: <b >\nContent-Type: text/plain\n\nx\n"), "{order}");
    }
}

#[test]
fn several_tables_see_what_those_before_them_made() {
    let first = set("/^Subject:/ REPLACE Subject: one\n/^Received:/ IGNORE\n/^From:/ PREPEND X-A: 1\n", "");
    let second =
        set("/^Subject: one/ REPLACE Subject: two\n/^Received:/ REJECT\n/^From:/ PREPEND X-B: 2\n", "");
    let scan = run("Received: x\nFrom: a\nSubject: zero\n\n", &[first, second]);
    assert_eq!(
        delivered("Received: x\nFrom: a\nSubject: zero\n\n", &scan),
        "X-A: 1\nX-B: 2\nFrom: a\nSubject: two\n\n"
    );
    assert_eq!(orders(&scan), Vec::<String>::new());
}

#[test]
fn each_part_of_a_body_is_looked_at_up_to_its_bound() {
    let mut small = set("", "/needle/ REJECT\n");
    small.body_bytes_max = 40;
    let far = format!("A: 1\n\n{}\nneedle\n", "x".repeat(60));
    assert_eq!(orders(&run(&far, std::slice::from_ref(&small))), Vec::<String>::new());
    let parts =
        format!("Content-Type: multipart/mixed; boundary=q\n\n{}\n--q\n\nneedle\n--q--\n", "x".repeat(60));
    assert_eq!(orders(&run(&parts, std::slice::from_ref(&small))).len(), 1);
    small.body_bytes_max = 0;
    assert_eq!(orders(&run(&far, &[small])).len(), 1);
}

// A table that cannot be asked must not look like one that has nothing to say.
#[test]
fn what_cannot_be_asked_or_understood_is_451_with_its_line() {
    let bad = run("Subject: x\n\n", &[set("/x/ REJEKT $1\n".replace(" $1", "").as_str(), "")]);
    assert_eq!(orders(&bad), ["451 4.3.5 A table of this server cannot be used, please try again later"]);
    let ruling = bad.rulings.first().unwrap();
    assert_eq!(
        (ruling.source, ruling.key.as_str()),
        (Source::Unavailable, "antispam.header_checks pcre:t:1")
    );
    assert!(ruling.evidence.contains("`REJEKT` is not an action"), "{ruling:?}");

    let slow = run(&format!("Subject: {}!\n\n", "a".repeat(3_000)), &[set("/(a+)+$/ OK\n/./ OK\n", "")]);
    assert_eq!(slow.rulings.first().unwrap().source, Source::Unavailable);

    let letter = "a line\r\n".repeat(1_000);
    let late = scan(letter.as_bytes(), b"", &[set("", "/never/ REJECT\n")], LIMITS, &mut || true).unwrap();
    assert!(late.rulings.first().unwrap().evidence.contains("time"), "{late:?}");
}

#[test]
fn nothing_of_a_message_is_written_down() {
    let scan = run("Subject: secret\n\nsecret\n", &[set("/secret/ HOLD\n", "/secret/ WARN\n")]);
    assert!(!format!("{scan:?}").contains("secret"), "{scan:?}");
    assert_eq!(scan.notes.first().unwrap().text, "a line of the body");
    assert_eq!(scan.rulings.first().unwrap().evidence, "the field Subject");
}

#[test]
fn endless_parts_are_bounded() {
    let part = format!("--q\nA: {}\n\n", "x".repeat(100_000));
    let letter = format!("Content-Type: multipart/mixed; boundary=q\n\n{}", part.repeat(180));
    let scan = run(&letter, &[set("/never/ REJECT\n", "")]);
    assert_eq!(orders(&scan), ["554 5.6.0 The message has too many header fields in its parts"]);
    let mut all = set("", "/never/ REJECT\n");
    all.body_bytes_max = 0;
    let many = format!("A: 1\n\n{}", format!("{}\n", "y".repeat(2_000)).repeat(9_000));
    let scan = run(&many, &[all]);
    assert!(
        scan.notes.first().unwrap().text.contains("not looked at") && scan.rulings.is_empty(),
        "{scan:?}"
    );
}
