//! Rules as regexp_table(5) describes them.

use std::path::Path;

use super::*;
use crate::{Answer, Contents as _};

fn find(table: &str, key: &str) -> Option<String> {
    match parse(Path::new("r"), table).unwrap().find(key) {
        Answer::Found(value) => Some(value),
        Answer::Absent => None,
        Answer::Unavailable(why) => panic!("{why}"),
    }
}

#[test]
fn the_first_pattern_that_matches_gives_its_value() {
    for (table, key, value) in [
        ("/^joe@/ one\n/joe/ two\n", "joe@a.test", Some("one")),
        ("/^joe@/ one\n/joe/ two\n", "xjoe", Some("two")),
        ("/^joe@/ one\n", "jim@a.test", None),
        ("/JOE/ any case\n", "joe", Some("any case")),
        ("/JOE/i this case\n", "joe", None),
        ("/JOE/ii any case\n", "joe", Some("any case")),
        ("!/@/ no at\n", "postmaster", Some("no at")),
        ("!/@/ no at\n", "a@b", None),
        ("!!/a/ twice\n", "a", Some("twice")),
        ("/one/!/two/ one only\n", "one", Some("one only")),
        ("/one/!/two/ one only\n", "onetwo", None),
        ("/^(.*)-request@(.*)$/ owner-$1@${2}\n", "List-request@a.test", Some("owner-List@a.test")),
        ("/^(.)(.)?$/ [$1][$(2)]$$\n", "x", Some("[x][]$")),
        ("/a\\/b/ slash\n", "a/b", Some("slash")),
        ("@a/b@ slash\n", "a/b", Some("slash")),
        ("/a/ one\n  two\n# no\n three\n", "a", Some("one  two three")),
        ("/a.b/ dot\n", "a\nb", Some("dot")),
        ("/a.b/m dot\n", "a\nb", None),
        ("/^b$/m line\n", "a\nb", Some("line")),
        ("/(a)|(b)/ ${2}\n", "a", None),
    ] {
        assert_eq!(find(table, key).as_deref(), value, "{table}{key}");
    }
}

#[test]
fn blocks_are_skipped_when_their_condition_fails() {
    let table = "if /@a\\.test$/\n/^x/ x at a\nif !/y/\n/z/ z without y\nendif\n/./ other at a\nendif\nIF /q/\n/q/ q\nENDIF\n";
    for (key, value) in [
        ("x@a.test", Some("x at a")),
        ("z@a.test", Some("z without y")),
        ("yz@a.test", Some("other at a")),
        ("z@b.test", None),
        ("q@b.test", Some("q")),
    ] {
        assert_eq!(find(table, key).as_deref(), value, "{key}");
    }
}

#[test]
fn posix_syntax_means_what_it_means_there() {
    for (pattern, yes, no) in [
        ("/^[]x]+$/", "]x", "y"),
        ("/^[^]x]+$/", "y", "]"),
        ("/^[a\\]$/", "\\", "b"),
        ("/^[a&&b]$/", "&", "c"),
        ("/^[[a]$/", "[", "b"),
        ("/^[a-]$/", "-", "b"),
        ("/^[[:alpha:]_]+$/", "ab_", "a1"),
        ("/^\\w+\\W$/", "a_1-", "a b"),
        ("/^a{,2}$/", "aa", "aaa"),
        ("/^a{2}$/", "aa", "a"),
        ("/\\<ab\\>/", "x ab y", "xab"),
        ("/^Message-ID: <a>$/", "Message-ID: <a>", "Message-ID: a"),
        ("/^[<>]+$/", "<>", "\\"),
        ("/^[!-~]+$/", "<>\\&~", " "),
        ("/^a#b ~$/", "a#b ~", "ab"),
        ("/^> +Received: *</", "> Received: <a", "> Received: a"),
        ("/^a>$/", "a>", "a"),
        ("/^<?[<]a[^>]*>/x", "<?<ab>", "<a>"),
        ("/^\\(a+\\)*$/x", "a+a+", "aa"),
        ("/^a\\{2\\}$/x", "aa", "a{2}"),
        ("/^*a^b$c$/x", "*a^b$c", "a^b$c"),
        ("/^(a|b)(c){1,2}d?$/", "acc", "cc"),
        ("/^a*b**$/", "abb", "ac"),
    ] {
        let table = format!("{pattern} yes\n");
        assert_eq!(find(&table, yes).as_deref(), Some("yes"), "{pattern} {yes}");
        assert_eq!(find(&table, no), None, "{pattern} {no}");
    }
}

#[test]
fn every_sign_without_a_meaning_stands_for_itself() {
    for sign in ('!'..='~').filter(|c| c.is_ascii_punctuation() && *c != '/') {
        let plain = (!"\\^$.|?*+()[{".contains(sign)).then(|| format!("/^a{sign}b$/ yes\n"));
        let listed = (!"^]".contains(sign)).then(|| format!("/^a[{sign}]b$/ yes\n"));
        for table in plain.into_iter().chain(listed) {
            assert_eq!(find(&table, &format!("a{sign}b")).as_deref(), Some("yes"), "{table}");
            assert_eq!(find(&table, "ab"), None, "{table}");
            assert_eq!(find(&table, "a b"), None, "{table}");
        }
    }
}

#[test]
fn wrong_lines_say_what_is_wrong() {
    for (table, words) in [
        ("/a/ 1\nabc 2\n", "r:2: a rule begins with a pattern"),
        ("/a b\n", "no closing /"),
        ("/a\\/ b\n", "no closing /"),
        ("/a/z b\n", "`z` is no flag"),
        ("/a/\n", "no result"),
        ("/(a/ b\n", "unclosed group"),
        ("/[a/ b\n", "no closing ]"),
        ("/(a)\\1/ b\n", "back-reference"),
        ("/(a)/ $2\n", "$2 is more than the pattern's 1"),
        ("/(a)/ $x\n", "`$x` is no parenthesis"),
        ("/(a)/ $1b\n", "`$1b` is no parenthesis"),
        ("/(a)/ 5$\n", "$$ for a $"),
        ("/(a)/ $0\n", "`$0`"),
        ("!/(a)/ $1\n", "a pattern with !"),
        ("/a{1000}{1000}{1000}/ b\n", "no regular expression"),
        ("if /a/ x\nendif\n", "behind the pattern"),
    ] {
        let error = parse(Path::new("r"), table).unwrap_err().to_string();
        assert!(error.contains(words), "{table}: {error}");
    }
}

#[test]
fn a_hostile_key_costs_no_more_than_its_length() {
    // A backtracking matcher needs longer than the age of the universe for this.
    assert_eq!(find("/^(a+)+(a|aa)+(.*a){20}b$/ x\n", &"a".repeat(5_000)), None);
}

proptest::proptest! {
    #[test]
    fn any_pattern_is_read_or_refused(pattern in "[-a-c()\\[\\]{}*+?|^$.,\\\\:=&~#0-3/! ]{0,24}", key in "[abc ]{0,8}") {
        for flags in ["", "x", "m"] {
            if let Ok(table) = parse(Path::new("r"), &format!("/{pattern}/{flags} yes $$\n")) {
                let answer = table.find(&key);
                proptest::prop_assert!(matches!(answer, Answer::Found(_) | Answer::Absent));
            }
        }
    }

    #[test]
    fn any_file_is_read_or_refused(text in "([ \\t#a/!.:0-9if\\n]|endif|if /|\\$1){0,40}") {
        let file = Path::new("r");
        // Either answer will do; a panic or a hang would not.
        let _ = (parse(file, &text), crate::cidr::parse(file, &text), crate::text::parse(file, &text));
    }
}
