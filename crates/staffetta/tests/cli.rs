//! The program as people call it: exit codes, and what goes to which stream.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::path::Path;
use std::process::{Command, Output};

/// Runs `staffetta` in a folder.
fn staffetta(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_staffetta")).args(arguments).current_dir(folder).output().unwrap()
}

/// Exit code, standard output and standard error.
fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_wrong_configuration_is_exit_code_1_with_the_line_underlined() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.toml"), "hostnam = \"mx.example.test\"\n").unwrap();
    let (code, out, err) = told(&staffetta(folder.path(), &["config", "check", "a.toml"]));
    assert_eq!((code, out.as_str()), (1, "a.toml: 1 error\n"));
    assert!(err.contains("a.toml:1:1") && err.contains("did you mean `hostname`?"), "{err}");
    assert!(!err.contains('\u{1b}'), "no colours where nobody looks: {err}");

    let (code, out, err) = told(&staffetta(folder.path(), &["config", "check", "--json", "a.toml"]));
    let problems: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, err.as_str()), (1, ""));
    assert_eq!((&problems[0]["key"], &problems[0]["line"]), (&"hostnam".into(), &1.into()));
}

#[test]
fn a_missing_configuration_is_told_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    for command in [&["config", "show", "none.toml"][..], &["dkim", "list", "--config", "none.toml"]] {
        let (code, out, err) = told(&staffetta(folder.path(), command));
        assert_eq!((code, out.as_str()), (1, ""), "{command:?}");
        assert!(err.contains("none.toml does not exist") && err.contains("quickstart"), "{err}");
    }
}

#[test]
fn quickstart_makes_a_folder_here_and_what_it_made_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let (code, first, err) = told(&staffetta(folder.path(), &["quickstart", "example.test"]));
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(first.contains("Password: ") && first.contains("staffetta-example.test"), "{first}");

    let file = "staffetta-example.test/staffetta.toml";
    let (code, out, err) = told(&staffetta(folder.path(), &["config", "check", file]));
    assert_eq!((code, out, err.as_str()), (0, format!("{file}: all is well\n"), ""));

    let (code, again, _) = told(&staffetta(folder.path(), &["quickstart", "example.test"]));
    assert!(code == 0 && again.contains("nothing was written") && !again.contains("Password: "), "{again}");

    let (code, record, _) = told(&staffetta(folder.path(), &["dkim", "list", "--config", file]));
    assert_eq!(code, 0);
    assert!(
        again.contains(record.trim_end()) && record.starts_with("s1._domainkey.example.test. IN TXT "),
        "{record}"
    );
}

#[test]
fn a_key_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    staffetta(folder.path(), &["quickstart", "example.test"]);
    let config = ["--config", "staffetta-example.test/staffetta.toml"];
    let new = |more: &[&str]| {
        told(&staffetta(folder.path(), &[&["dkim", "new", "example.test"], more, &config].concat()))
    };
    let (code, out, err) = new(&[]);
    assert!(code == 1 && out.is_empty() && err.contains("s1"), "{err}");
    let (code, out, _) = new(&["--selector", "e1", "--algorithm", "ed25519"]);
    assert!(
        code == 0 && out.starts_with("e1._domainkey.example.test. IN TXT \"v=DKIM1; k=ed25519;"),
        "{out}"
    );
}

#[test]
fn what_is_not_understood_is_exit_code_2() {
    let (code, out, err) = told(&staffetta(Path::new("."), &["quickstrat"]));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("quickstart"), "{err}");
}
