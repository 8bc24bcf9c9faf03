//! What the server learns by itself: from Junk folders, from what an IMAP server pipes, from sure verdicts.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use crate::judging::House;
use crate::{codes, letter};

const USER: &str = "user@example.test";

/// Whoever it is from, jim's mail is filed into Junk, and joan's is certainly spam.
const RULES: &str = "
[antispam]
greylist = { mode = \"off\" }
[[antispam.access]]
stage = \"mail\"
table = \"inline:{{jim@far.test = SCORE 6}, {joan@far.test = SCORE 18}, {joe@far.test = SCORE -4}}\"
";

/// A field of `staffetta bayes status --json`.
fn status(house: &House, field: &str) -> u64 {
    let output = house.daemon.tool(&["bayes", "status", "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains(&format!("\"{field}\":")));
    line.unwrap_or_else(|| panic!("{field}: {text}"))
        .trim_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .unwrap()
}

fn learnt(house: &House) -> (u64, u64) {
    (status(house, "ham"), status(house, "spam"))
}

/// Starts the server again: it begins with a round of learning.
fn again(house: &mut House) {
    house.daemon.stop();
    house.daemon.run();
}

fn wait_for(house: &House, what: (u64, u64)) {
    assert!(support::wait_until(|| learnt(house) == what), "{:?}: {}", learnt(house), house.daemon.log());
}

/// The one message of a folder whose text has these words.
fn message(house: &House, folder: &str, words: &str) -> PathBuf {
    let folder = house.daemon.folder().join("mail/example.test/user").join(folder);
    let mut found = None;
    let is_there = || {
        let files = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|file| file.path());
        found = files
            .into_iter()
            .find(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains(words)));
        found.is_some()
    };
    assert!(support::wait_until(is_there), "{words}: {}", house.daemon.log());
    found.unwrap_or_default()
}

/// As an IMAP server does it.
fn shift(house: &House, message: &std::path::Path, folder: &str) -> PathBuf {
    let folder = house.daemon.folder().join("mail/example.test/user").join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    let name = message.file_name().unwrap().to_str().unwrap().split(":2,").next().unwrap().to_owned();
    let to = folder.join(format!("{name}:2,S"));
    std::fs::rename(message, &to).unwrap();
    to
}

#[test]
fn what_users_move_teaches_the_classifier() {
    let rest = format!("{RULES}[antispam.learn]\njunk_folders_minutes = 1\n");
    let mut house = House::start(&rest, &[]);
    let mut client = house.client("192.0.2.9", "mail.far.test");
    for (from, words) in [("anna@far.test", "pills"), ("anna@far.test", "lunch"), ("jim@far.test", "wanted")]
    {
        assert_eq!(client.mail(from, &[USER], &letter(words)).code, 250);
    }
    let wanted = message(&house, ".Junk/new", "wanted");
    let pills = shift(&house, &message(&house, "new", "pills"), ".Junk/cur");
    message(&house, "new", "lunch");
    again(&mut house);
    wait_for(&house, (0, 1));
    assert!(house.daemon.log().contains("the classifier has learnt 1 messages"), "{}", house.daemon.log());
    shift(&house, &wanted, "cur");
    shift(&house, &pills, "cur");
    again(&mut house);
    wait_for(&house, (2, 0));
    // The same by hand: there is nothing left to learn.
    let looked = house.daemon.tool(&["learn", "--junk-folders"]);
    assert_eq!(String::from_utf8(looked.stdout).unwrap(), "1 mailboxes: 0 spam, 0 ham\n");
}

#[test]
fn what_is_piped_waits_and_is_learnt_by_the_server() {
    let mut house = House::start(RULES, &[]);
    let pipe = |arguments: &[&str], text: &str| {
        let mut child = house
            .daemon
            .command(&[&["learn"], arguments].concat())
            .arg("--config")
            .arg(house.daemon.configuration())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    assert_eq!(pipe(&["--spam", "--later", "-"], &letter("pills")), "1 to be learnt\n");
    assert_eq!(pipe(&["--ham", "--later", "-"], &letter("lunch")), "1 to be learnt\n");
    assert_eq!(pipe(&["--ham", "--later", "-"], &letter("pills")), "1 to be learnt\n");
    assert_eq!(status(&house, "to_be_learnt"), 2);
    again(&mut house);
    wait_for(&house, (2, 0));
    assert_eq!(status(&house, "to_be_learnt"), 0);
}

#[test]
fn sure_verdicts_teach_only_where_that_is_wanted() {
    for (automatic, want) in [(false, (0, 0)), (true, (1, 1))] {
        let rest = format!("{RULES}[antispam.learn]\nautomatic = {automatic}\n");
        let mut house = House::start(&rest, &[]);
        let mut client = house.client("192.0.2.9", "mail.far.test");
        for (from, code) in
            [("joan@far.test", "550 5.7.1"), ("joe@far.test", "250 2.0.0"), ("jim@far.test", "250 2.0.0")]
        {
            assert_eq!(
                codes(&client.mail(from, &[USER], &letter(from.split('@').next().unwrap()))),
                code,
                "{from}"
            );
        }
        message(&house, ".Junk/new", "jim");
        again(&mut house);
        wait_for(&house, want);
        assert_eq!((status(&house, "to_be_learnt"), learnt(&house)), (0, want));
    }
}
