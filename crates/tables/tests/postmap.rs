//! The same tables asked here and through Postfix's own `postmap`: the answers must agree.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by failing"
)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tables::{Answer, Spec, Table};

/// Asks `postmap` for all keys at once: what it finds comes as `key TAB value`.
fn postmap(program: &Path, table: &str, keys: &[&str]) -> Vec<Option<String>> {
    let mut child = Command::new(program)
        .args(["-q", "-", table])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(keys.iter().map(|key| format!("{key}\n")).collect::<String>().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    // What Postfix skips with a warning is an error for us: such tables are tested elsewhere.
    assert!(!stderr.contains("line "), "postmap warned about {table}: {stderr}");
    let found: Vec<(&str, &str)> = stdout.lines().filter_map(|line| line.split_once('\t')).collect();
    keys.iter()
        .map(|key| found.iter().find(|(has, _)| has == key).map(|(_, value)| (*value).to_owned()))
        .collect()
}

async fn ours(table: &dyn Table, key: &str) -> Option<String> {
    match table.lookup(key).await {
        Answer::Found(value) => Some(value),
        Answer::Absent => None,
        Answer::Unavailable(why) => panic!("{key}: {why}"),
    }
}

/// Writes a table, asks both for every key, and compares.
async fn compare(kind: &str, contents: &str, keys: &[&str]) {
    let Some(program) = support::need_program("postmap") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("table");
    std::fs::write(&file, contents).unwrap();
    let place = file.display();
    let theirs = if kind == "text" { format!("texthash:{place}") } else { format!("{kind}:{place}") };
    let theirs = postmap(&program, &theirs, keys);
    let table = tables::open(&Spec::parse(&format!("{kind}:{place}")).unwrap(), Path::new("/")).unwrap();
    for (key, theirs) in keys.iter().zip(theirs) {
        assert_eq!(ours(table.as_ref(), key).await, theirs, "{kind} `{key}` in:\n{contents}");
    }
}

#[tokio::test]
async fn text_agrees_with_postmap() {
    let table = "# comment\nFoo@Example.com   Bar baz  \n  cont line\n  # comment within\n  more\nkey2 v2\n\n\
                 \"quoted key\"@a.test v3\n\"q\\\"uo te\" v4\n  \nKEY5\ttab value\tx\n@domain.test catch all\nlast one";
    let keys = [
        "foo@example.com",
        "FOO@EXAMPLE.COM",
        "foo",
        "key2",
        "Key2",
        "\"quoted key\"@a.test",
        "quoted key@a.test",
        "\"q\\\"uo te\"",
        "key5",
        "@domain.test",
        "domain.test",
        "last",
        "comment",
        "#",
    ];
    compare("text", table, &keys).await;
}

#[tokio::test]
async fn cidr_agrees_with_postmap() {
    let table = "192.168.1.0/28 part\n192.168.1.0/24 one\n!10.0.0.0/9 not low ten\nif 10.0.0.0/8\n10.5.0.0/16 five\n\
                 if !10.6.0.0/16\n10.0.0.0/9 low\nendif\n10.6.6.6 single\nendif\n# comment\n2001:db8::/32\n  v6\n\
                 [2001:db9::]/32 v6b\n::/0 any6\n0.0.0.0/0 any4\n";
    let keys = [
        "192.168.1.4",
        "192.168.1.15",
        "192.168.1.16",
        "192.168.2.1",
        "10.5.1.1",
        "10.6.6.6",
        "10.6.6.7",
        "10.7.7.7",
        "10.200.1.1",
        "2001:db8::1",
        "2001:DB8::1",
        "2001:db9::1",
        "2001:dba::",
        "example.test",
        "10.1",
        "1",
    ];
    compare("cidr", table, &keys).await;
}

#[tokio::test]
async fn regexp_rules_agree_with_postmap() {
    let keys = [
        "one",
        "ONE",
        "onetwo",
        "two",
        "a@b.test",
        "List-request@a.test",
        "x",
        "ix",
        "iy",
        "a/b",
        "aab",
        "$",
    ];
    for table in [
        "/^one/ first\n/one/ second\n/./ rest $$\n",
        "/one/!/two/ one not two\n/two/!/one/i two not one\n",
        "!/@/ no at\n/^(.*)-request@(.*)$/ owner-$1@${2} $(1)\n/^(.)(.)?/ [$1][$2]\n",
        "if /^i/\n/^ix$/ IX\nif !/y$/\n/./ no y\nendif\nendif\n/^(i)/ out $1\n",
        "/a\\/b/ slash\n@a/b@ never\n|^a+b$| pipe\n",
        "/ONE/i big\n/ONE/ any\n  and more\n# no\n   and this\n",
        "!!/^one$/ twice\n! /o/ spaced\n",
    ] {
        compare("regexp", table, &keys).await;
    }
}

/// Keys that tell readings of the patterns below apart.
const SYNTAX_KEYS: &[&str] = &[
    "a",
    "aa",
    "aaa",
    "aaaa",
    "ab",
    "abb",
    "b",
    "c",
    "]",
    "\\",
    "^",
    "-",
    "[",
    "a-b",
    "a.b",
    "a+",
    "a{2}",
    "a(b)",
    "a|b",
    "word",
    "two words",
    "tab_1",
    "*a",
    "a*",
    "a^b",
    "a$b",
    ".",
    "a1b2",
    "~",
    "#",
    "&&",
    "<a>",
    "> b",
    "caf\u{e9}",
    "{",
    "}",
    "<",
    "<a>",
    "&-!;@>",
];

/// Every construct of POSIX expressions that tables use, and some that look like others.
const PATTERNS: &[&str] = &[
    "/^a{2}$/",
    "/^a{,2}$/",
    "/^a{2,}$/",
    "/^a{1,3}$/",
    "/^(a|b)+$/",
    "/^a?b*$/",
    "/^[]a]$/",
    "/^[^]a]$/",
    "/^[a\\]$/",
    "/^[\\^]$/",
    "/^[a-c]$/",
    "/^[a-]$/",
    "/^[-a]$/",
    "/^[[]$/",
    "/[[:digit:]]/",
    "/^[[:alpha:]_]+$/",
    "/^[^[:space:]]+$/",
    "/^\\w+$/",
    "/\\W/",
    "/\\s/",
    "/\\bwords\\b/",
    "/\\<two\\>/",
    "/a\\.b/",
    "/a.b/",
    "/a\\+/",
    "/\\*a/",
    "/a\\{2\\}/",
    "/a\\(b\\)/",
    "/a\\|b/",
    "/^a**$/",
    "/\\^/",
    "/\\$/",
    "/^.$/",
    "/[a&&b]/",
    "/[~#]/",
    "/</",
    "/[<>]/",
    "/&.!;@>/",
    "/^a{2}$/x",
    "/^a\\{2\\}$/x",
    "/^\\(a\\)b*$/x",
    "/a(b)/x",
    "/^a+$/x",
    "/^a\\+$/x",
    "/^*a/x",
    "/a^b/x",
    "/a$b/x",
    "/a\\|b/x",
    "/a|b/x",
    "/\\`a/",
    "/b\\'/",
    "/(^|x)a($|b)/",
    "/()a/",
    "/[.]/",
    "/}/",
    "/</",
    "/> /",
    "/^<[^>]*>$/",
    "/a>/",
    "/\\<b/",
];

#[tokio::test]
async fn regexp_syntax_agrees_with_postmap() {
    for pattern in PATTERNS {
        // Over the C locale's octets a single accented letter is two characters: not compared.
        let keys: Vec<&str> =
            SYNTAX_KEYS.iter().copied().filter(|key| key.is_ascii() || !pattern.contains('.')).collect();
        compare("regexp", &format!("{pattern} yes\n"), &keys).await;
    }
}

/// Patterns that only `pcre:` knows, and those whose meaning differs from `regexp:`. Not here: `a{,2}`, which PCRE2 reads
/// as a repetition since its version 10.43 and as plain text before.
const PERL_PATTERNS: &[&str] = &[
    "/^(?!a)./",
    "/(?<=a)b/",
    "/(?<!a)b/",
    "/^(a)\\1$/",
    "/^a++b/",
    "/^\\w+$/",
    "/\\W/",
    "/\\s/",
    "/\\d/",
    "/\\bwords\\b/",
    "/^[a\\]]$/",
    "/^[\\\\]$/",
    "/a\\.b/",
    "/\\Qa.b\\E/",
    "/A/i",
    "/a b/x",
    "/a # comment/x",
    "/b/A",
    "/a|b/A",
    "/b$/E",
    "/[$]b$/E",
    "/^a+?$/U",
    "/a(b)?/U",
    "/(?i)A/i",
    "/(?-i)A/",
    "/(*UCP)\\w/",
    "/^a{2,}$/",
    "/(?:a|b)+/",
    "/(?<n>a)(?P=n)/",
    "/(?#comment)a/",
    "/\\x61/",
    "/[[:punct:]]/",
    "/^.$/",
    "/^\\X$/",
    "/$/",
];

#[tokio::test]
async fn pcre_agrees_with_postmap() {
    for pattern in PERL_PATTERNS {
        compare("pcre", &format!("{pattern} yes\n"), SYNTAX_KEYS).await;
    }
    let keys = [
        "list-outgoing@a.test",
        "owner-list-outgoing@a.test",
        "x",
        "ix",
        "iy",
        "one",
        "onetwo",
        "$",
        "A@B.test",
    ];
    for table in [
        "/^(?!owner-)(.*)-outgoing@(.*)/ 550 Use ${1}@$(2) $$ instead\n",
        "/^one/ first\n/one/ second\n/./ rest\n  and more\n# comment\n   and this\n",
        "if /^i/\n/^ix$/ IX\nif !/y$/\n/./ no y\nendif\nendif\n/^(i)/ out $1\n",
        "!/@/ no at\n/^(.)(z)?(.)?/ [$1][$2][$3]\n",
        "!!/^one$/ twice\n! /o/ spaced\n",
        "|^o..$| pipe\n@x@ at\n{^A} brace{ not closed by its like\n",
    ] {
        compare("pcre", table, &keys).await;
    }
}

#[tokio::test]
async fn inline_and_static_agree_with_postmap() {
    let Some(program) = support::need_program("postmap") else { return };
    for spec in [
        "inline:{a=b, c=d}",
        "inline:{ {A = b c}, c=d=e }",
        "inline:{a=1 a=2}",
        "static:one two",
        "static:{ x y }",
    ] {
        let keys = ["a", "A", "c", "d", ""];
        let keys = keys.get(..4).unwrap();
        let table = tables::open(&Spec::parse(spec).unwrap(), Path::new("/")).unwrap();
        for (key, theirs) in keys.iter().zip(postmap(&program, spec, keys)) {
            assert_eq!(ours(table.as_ref(), key).await, theirs, "{spec} {key}");
        }
    }
}
