//! What the server learns by itself: from Junk folders, from what an IMAP server pipes, from sure verdicts.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use crate::judging::House;
use crate::{codes, letter, queue_id};

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

#[test]
fn whoever_says_it_a_letter_is_learnt_once() {
    let rest = format!(
        "{}[antispam.learn]\nautomatic = true\n",
        RULES.replace("greylist =", "thresholds = { quarantine = 17.0, reject = 0.0 }\ngreylist =")
    );
    let mut house = House::start(&rest, &[]);
    let mut client = house.client("192.0.2.9", "mail.far.test");
    let id = queue_id(&client.mail("joan@far.test", &[USER], &letter("offer")));
    again(&mut house);
    wait_for(&house, (0, 1));
    // Somebody thinks otherwise of what a verdict has taught.
    let said = house.daemon.tool(&["quarantine", "learn", "--ham", &id]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert_eq!(
        said.lines().next(),
        Some("0 learnt, 0 known before, 1 changed sides; 1 ham and 0 spam altogether")
    );
    assert!(house.daemon.tool(&["quarantine", "release", &id]).status.success());
    let arrived = message(&house, "new", "offer");
    let said = house.daemon.tool(&["learn", "--spam", arrived.to_str().unwrap()]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.starts_with("0 learnt, 0 known before, 1 changed sides; 0 ham and 1 spam"), "{said}");
}

#[test]
fn what_is_no_message_or_cannot_be_read_keeps_nobody_from_the_rest() {
    let house = House::start(RULES, &[]);
    let folder = house.daemon.folder().join("letters");
    std::fs::create_dir_all(folder.join("more")).unwrap();
    for (name, octets) in [
        ("a b.eml", letter("one").as_bytes()),
        ("more/\n.eml", letter("two").as_bytes()),
        ("index.json", b"{\"letters\": 2}"),
        ("empty", b""),
    ] {
        std::fs::write(folder.join(name), octets).unwrap();
    }
    let odd = folder.join(std::ffi::OsStr::from_bytes(b"\xe9.eml"));
    std::fs::write(&odd, letter("three")).unwrap();
    let (index, absent) = (folder.join("index.json"), folder.join("absent"));
    let run = |arguments: &[&str], paths: &[&std::path::Path], input: &[u8]| {
        let mut command = house.daemon.command(arguments);
        command.args(paths).arg("--config").arg(house.daemon.configuration());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (done, said, told) = run(&["learn", "--spam"], &[&folder], b"");
    assert!(done && said.starts_with("3 learnt, 0 known before"), "{said}{told}");
    assert!(told.contains("1 passed over") && told.contains("index.json"), "{told}");
    let (done, said, told) = run(&["learn", "--spam", "--json"], &[&absent, &index, &odd], b"");
    assert!(!done && said.contains("\"known\":1") && said.contains("\"failed\":2"), "{said}{told}");
    assert!(told.contains("absent: No such file"), "{told}");

    let names = [b"a b.eml\0".as_slice(), b"absent\0", b"more\0", b"\xe9.eml\0", b"empty\0"];
    let root = folder.as_os_str().as_bytes();
    let input: Vec<u8> = names.iter().flat_map(|name| [root, b"/", name].concat()).collect();
    let (done, said, told) = run(&["score", "-0", "-"], &[], &input);
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        !done && lines.len() == 4 && lines.iter().all(|line| line.split('\t').count() == 3),
        "{said}{told}"
    );
    assert!(lines[0].contains("/a b.eml\t") && lines[1].contains("/more/?.eml\t"), "{said}");
    assert!(told.contains("absent: No such file") && lines[3].contains("/empty\t"), "{said}{told}");
    let lines_of = |name: &[u8]| [root, b"/", name, b"\n"].concat();
    let input = [lines_of(b"\xe9.eml"), lines_of(b"a b.eml")].concat();
    let (done, said, told) = run(&["score", "-"], &[], &input);
    assert!(done && said.lines().count() == 2, "{said}{told}");
}
