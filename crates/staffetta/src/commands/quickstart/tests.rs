//! Quickstart in a temporary folder: what is made, what is kept, what is told.

use std::collections::BTreeMap;
use std::fs;

use clap::Parser as _;

use super::*;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(folder: &Path, more: &[&str]) -> Args {
    let folder = folder.to_str().unwrap();
    Line::parse_from([&["quickstart", "example.test", "--dir", folder], more].concat()).args
}

/// Makes everything as `quickstart` does, without printing; gives what would be printed.
fn make_all(folder: &Path, more: &[&str]) -> (Made, Loaded, String) {
    let args = args(folder, more);
    let plan = plan(&args, folder).unwrap();
    let made = make::everything(&plan).unwrap();
    let loaded = ::config::load(&plan.configuration_file()).unwrap_or_else(|report| panic!("{report}"));
    let told = told(&plan, &made, &loaded).unwrap();
    (made, loaded, told)
}

/// Every file with its bytes and mode.
fn contents(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u32)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
            all.insert(path.clone(), (fs::read(&path).unwrap(), mode & 0o777));
        }
    }
    all
}

#[test]
fn what_is_made_is_right_and_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let (made, loaded, _) = make_all(folder.path(), &[]);
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(made.items.len(), 7, "{:?}", made.items);
    assert_eq!(loaded.config.listener.len(), 3);
    assert_eq!(loaded.config.hostname.as_str(), "mx.example.test");
}

#[test]
fn a_second_time_changes_no_byte() {
    let folder = tempfile::tempdir().unwrap();
    make_all(folder.path(), &[]);
    let before = contents(folder.path());
    let (made, _, told) = make_all(folder.path(), &["--mailbox", "joe", "--ports", "1,2,3"]);
    assert_eq!(contents(folder.path()), before);
    assert!(made.items.is_empty() && made.password.is_none(), "{made:?}");
    assert!(told.contains("nothing was written"), "{told}");
}

/// A run that was cut short is gone on with; what it had made stays as it is.
#[test]
fn what_is_missing_is_made_and_the_rest_kept() {
    let folder = tempfile::tempdir().unwrap();
    make_all(folder.path(), &[]);
    let before = contents(folder.path());
    for gone in ["virtual", "accounts.toml"] {
        fs::remove_file(folder.path().join(gone)).unwrap();
    }
    let (made, _, _) = make_all(folder.path(), &[]);
    let names: Vec<&str> = made.items.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["virtual", "accounts.toml"]);
    let mut after = contents(folder.path());
    let accounts = folder.path().join("accounts.toml");
    assert_ne!(
        after.remove(&accounts),
        before.get(&accounts).cloned(),
        "the new account has a password of its own"
    );
    assert!(after.iter().all(|(path, content)| before.get(path) == Some(content)));
}

#[test]
fn another_domains_folder_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    make_all(folder.path(), &[]);
    let before = contents(folder.path());
    let mut other = plan(&args(folder.path(), &[]), folder.path()).unwrap();
    other.domain = Domain::parse("other.test").unwrap();
    let told = make::check_domain(&other).unwrap_err().to_string();
    assert!(told.contains("is not for other.test"), "{told}");
    assert_eq!(contents(folder.path()), before);
}

#[test]
fn secrets_are_for_the_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    make_all(folder.path(), &[]);
    let all = contents(folder.path());
    for secret in ["tls/key.pem", "accounts.toml", "data/dkim/example.test/s1.pem"] {
        assert_eq!(all.get(&folder.path().join(secret)).map(|(_, mode)| *mode), Some(0o600), "{secret}");
    }
}

#[test]
fn the_password_is_told_once_and_kept_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let (made, _, told) = make_all(folder.path(), &[]);
    let password = made.password.unwrap();
    assert_eq!(told.matches(&password).count(), 2, "once for the eye, once in the command: {told}");
    for (path, (bytes, _)) in contents(folder.path()) {
        assert!(!String::from_utf8_lossy(&bytes).contains(&password), "{}", path.display());
    }
}

#[test]
fn the_records_and_the_first_message_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (_, _, told) = make_all(folder.path(), &["--ports", "2525,5870,4650"]);
    for words in [
        "example.test. IN MX 10 mx.example.test.",
        "example.test. IN TXT \"v=spf1 mx -all\"",
        "s1._domainkey.example.test. IN TXT \"v=DKIM1;",
        "_dmarc.example.test. IN TXT \"v=DMARC1; p=none; rua=mailto:postmaster@example.test\"",
        "127.0.0.1:5870",
        "mx.example.test. IN A",
        "2525 (mx), 5870 (submission), 4650 (submissions)",
        "not the usual ports",
    ] {
        assert!(told.contains(words), "no {words} in\n{told}");
    }
}

#[test]
fn the_usual_ports_are_taken_when_all_may_be_bound() {
    assert_eq!(choose_ports(|_| Ok(())).mx, 25);
    let one_taken =
        |port: u16| if port == 465 { Err("another program has port 465".to_owned()) } else { Ok(()) };
    let ports = choose_ports(one_taken);
    assert_eq!([ports.mx, ports.submission, ports.submissions], HIGH);
    assert!(ports.why.contains("another program has port 465"), "{}", ports.why);
}

#[test]
fn odd_wishes_are_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    for (more, words) in [
        (&["--ports", "25,587"][..], "--ports wants three"),
        (&["--mailbox", "a b"], "--mailbox a b"),
        (&["--user", "no-such-user"], "no-such-user"),
    ] {
        let told = plan(&args(folder.path(), more), folder.path()).unwrap_err().to_string();
        assert!(told.contains(words), "{told}");
    }
    assert_eq!(contents(folder.path()), BTreeMap::new());
}

#[test]
fn words_for_a_shell_are_quoted_where_they_must_be() {
    assert_eq!(quoted("joe@example.test:a-b"), "joe@example.test:a-b");
    assert_eq!(quoted("it's $HOME"), "'it'\\''s $HOME'");
}
