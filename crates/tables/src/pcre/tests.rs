//! Rules as pcre_table(5) describes them, and what happens to patterns that take for ever.

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::{Answer, Contents as _};

fn ask(table: &str, key: &str) -> Answer {
    parse(Path::new("p"), table).unwrap().find(key)
}

fn find(table: &str, key: &str) -> Option<String> {
    match ask(table, key) {
        Answer::Found(value) => Some(value),
        Answer::Absent => None,
        Answer::Unavailable(why) => panic!("{why}"),
    }
}

#[test]
fn what_only_this_kind_can_say_is_understood() {
    for (table, key, value) in [
        (
            "/^(?!owner-)(.*)-outgoing@(.*)/ 550 use ${1}@$(2)\n",
            "list-outgoing@a.test",
            Some("550 use list@a.test"),
        ),
        ("/^(?!owner-)(.*)-outgoing@(.*)/ 550\n", "owner-list-outgoing@a.test", None),
        ("/(a)(b)?\\1/ $1$2\n", "aa", Some("a")),
        ("/(?<=x)y/ behind\n", "XY", Some("behind")),
        ("/(?<![x])y/ not behind\n", "xy", None),
        ("/a++b/ possessive\n", "aab", Some("possessive")),
        ("/\\d{3}\\s\\w+/ classes\n", "123 abc", Some("classes")),
        ("/(?<name>b+)/ named $1\n", "abb", Some("named bb")),
        ("/\\Aa\\z/ ends\n", "a", Some("ends")),
        ("/(*ANYCRLF)^b$/m lines\n", "a\rb", Some("lines")),
        ("/^(.)/ $1\n", "\u{e9}", Some("\u{fffd}")),
    ] {
        assert_eq!(find(table, key).as_deref(), value, "{table}{key}");
    }
}

#[test]
fn each_flag_turns_its_default_over() {
    for (pattern, yes, no) in [
        ("/A/i", "A", "a"),
        ("/A/ii", "a", "b"),
        ("/a.b/", "a\nb", "ab"),
        ("/a.b/s", "a-b", "a\nb"),
        ("/^b$/m", "a\nb", "ab"),
        ("/a b # c/x", "ab", "a b"),
        ("/a|b/A", "bc", "cb"),
        ("/a # no\\)/xA", "ab", "ba"),
        ("/a$/", "a\n", "ab"),
        ("/a$/E", "ba", "a\n"),
        ("/[$]$|\\$x|\\Q$\\Ey/E", "b$", "$\n"),
        ("/[]$]$|[[:alpha:]$]-$/E", "a-", "a-\n"),
        ("/^a$/mE", "a\nb", "ab"),
        ("/a/X", "a", "b"),
    ] {
        let table = format!("{pattern} yes\n");
        assert_eq!(find(&table, yes).as_deref(), Some("yes"), "{pattern} {yes:?}");
        assert_eq!(find(&table, no), None, "{pattern} {no:?}");
    }
    assert_eq!(find("/(a+)(.*)/U [$1][$2]\n", "aaa").as_deref(), Some("[a][]"));
    assert_eq!(find("/(*UCP)(a+)/UA [$1]\n", "aaa").as_deref(), Some("[a]"));
}

#[test]
fn wrong_lines_say_what_is_wrong() {
    for (table, words) in [
        ("/a/ 1\n/(a/ 2\n", "p:2: the pattern is no regular expression: missing closing parenthesis"),
        ("/a\\y/ 2\n", "unrecognized character follows \\"),
        ("/a/z b\n", "`z` is no flag"),
        ("/a/!/b/ c\n", "`!` is no flag"),
        ("/(a)/ $2\n", "$2 is more than the pattern's 1"),
        ("!/(a)/ $1\n", "a pattern with !"),
        ("/(?m)a$/E b\n", "flag E together with"),
        ("/a/\n", "no result"),
        ("if /a/\n/b/ c\n", "no `endif`"),
        ("/(?<=a+)b/ c\n", "lookbehind"),
    ] {
        let error = parse(Path::new("p"), table).unwrap_err().to_string();
        assert!(error.contains(words), "{table}: {error}");
    }
}

/// The bounds are steps, not seconds: this takes as long on any machine as two million steps do there.
#[test]
fn a_pattern_that_takes_for_ever_makes_the_table_unavailable_and_no_later_rule_answers() {
    let begun = Instant::now();
    for table in ["/^(a+)+$/ x\n/./ OK\n", "!/^(a|aa)+$/ x\n", "if /(.*a){30}$/\n/./ x\nendif\n/./ OK\n"] {
        let answer = ask(table, &format!("{}!", "a".repeat(5_000)));
        assert!(matches!(&answer, Answer::Unavailable(why) if why.contains("limit")), "{table}: {answer:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let deep = ask("/^(?:.|\\n)*x$/ y\n", &"a".repeat(1 << 20));
    assert!(matches!(&deep, Answer::Unavailable(why) if why.contains("limit")), "{deep:?}");
}

#[test]
fn octets_that_are_no_text_are_matched_as_they_are() {
    let table = parse(Path::new("p"), "# x\nif /./\n/^Subject: .*\\xe9(.*)/ WARN $1$$\nendif\n").unwrap();
    assert_eq!(table.find_octets(b"Subject: caf\xe9 x"), Answer::Found("WARN  x$".to_owned()));
    assert_eq!(table.line_of(b"Subject: caf\xe9"), Some(3));
    let entries = table.entries();
    let seen: Vec<_> = entries.iter().map(|e| (e.line, e.value.as_str(), e.has_groups)).collect();
    assert_eq!(seen, [(Some(3), "WARN $1$", true)]);
}

#[test]
fn many_bad_patterns_together_are_bounded_too() {
    let table: String = (0..400).map(|n| format!("/^(a+)+{n}$/ x\n")).collect();
    let table = table.replace("/^(a+)+", "/^(?:a{1,9}+)?(a|b|ab){0,18}");
    let begun = Instant::now();
    let answer = ask(&table, &"ab".repeat(2_000));
    assert!(!matches!(answer, Answer::Found(_)), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_long_ordinary_header_is_no_trouble() {
    let received = format!("Received: from a.test\n {}\n by b.test", "x ".repeat(15_000));
    assert_eq!(find("/^Received: .*by b\\.test$/ yes\n", &received).as_deref(), Some("yes"));
    assert_eq!(
        find("/^Received:(?:.|\\n)*?from c\\.test/ yes\n/by b/ later\n", &received).as_deref(),
        Some("later")
    );
}

proptest::proptest! {
    #[test]
    fn any_pattern_is_read_or_refused(pattern in "[-a-c()\\[\\]{}*+?|^$.,\\\\:=&~#<!0-3QEK/ ]{0,24}", flags in "[imsxAEUX]{0,4}", key in "[abc \n]{0,12}") {
        if let Ok(table) = parse(Path::new("p"), &format!("/{pattern}/{flags} yes $$\n")) {
            let _ = table.find(&key);
        }
    }
}
