//! The program as people call it: exit codes, and what goes to which stream.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::Running;

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

const HOUSE: &str = r#"
hostname = "mx.example.test"
[[domain]]
name = "example.test"
recipients = "accounts"
deliver = "maildir:mail/{domain}/{local}/"
aliases = "text:virtual"
[[domain]]
name = "inline.test"
recipients = "inline:{joe=x}"
deliver = "maildir:mail/{domain}/{local}/"
aliases = "inline:{a@inline.test=b@inline.test, b@inline.test=a@inline.test, @inline.test=joe}"
[accounts]
file = "accounts.toml"
aliases = "aliases"
"#;

/// What a sender would be refused with is told before, with the place; nothing is written.
#[test]
fn aliases_that_lead_nowhere_are_told_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let check =
        |more: &[&str]| told(&staffetta(folder.path(), &[&["config", "check", "a.toml"], more].concat()));
    write("a.toml", HOUSE);
    write("accounts.toml", "[[account]]\naddress = \"user@example.test\"\n");
    let secret = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(folder.path().join("accounts.toml"), secret).unwrap();
    let good = "team@example.test user@example.test, friend@far.test\n@example.test user@example.test\n\
                other@elsewhere.test nobody@example.test\n";
    write("virtual", good);
    write("aliases", "postmaster: root\nroot: user\n");
    write("a.toml", &HOUSE.replace("b@inline.test=a@inline.test", "b@inline.test=joe"));
    let (code, out, err) = check(&[]);
    // Nobody listens, as is said with or without aliases.
    assert_eq!((code, out.as_str()), (0, "a.toml: works, with 1 warning\n"), "{err}");

    write("a.toml", HOUSE);
    let bad = "# comment\nloop@example.test two@example.test,\n user@example.test\ntwo@example.test three@example.test\n\
               three@example.test loop@example.test\ngone@example.test joe@inline.test, jim@example.test\n\
               lists@example.test :include:/nonexistent/list\n";
    write("virtual", bad);
    write("aliases", "root: user\nhelp: support\n");
    let (code, out, err) = check(&[]);
    assert_eq!((code, out.as_str()), (0, "a.toml: works, with 9 warnings\n"), "{err}");
    let file = |name: &str| folder.path().join(name).display().to_string();
    for words in [
        format!(
            "Warning: {}:2: the alias `loop@example.test` goes round in a circle by way of ",
            file("virtual")
        ),
        format!(
            "Warning: {}:6: the alias `gone@example.test` leads to jim@example.test, which does not",
            file("virtual")
        ),
        format!(
            "Warning: {}:7: the alias `lists@example.test` cannot be followed: /nonexistent/list",
            file("virtual")
        ),
        format!(
            "Warning: {}:2: the alias `help` leads to support@example.test, which does not",
            file("aliases")
        ),
        "Warning: the alias `a@inline.test` goes round in a circle".to_owned(),
        "7 | aliases = \"text:virtual\"".to_owned(),
        "mail for it is refused (550 5.4.6)".to_owned(),
    ] {
        assert!(err.contains(&words), "{words}:\n{err}");
    }
    let (_, out, _) = check(&["--json"]);
    let problems: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(
        problems.as_array().unwrap().iter().any(|p| p["key"] == "domain[1].aliases" && p["line"] == 12),
        "{out}"
    );

    write("accounts.toml", "[[account]]\naddres = \"user@example.test\"\n");
    let (code, _, err) = check(&[]);
    assert!(code == 1 && err.contains("accounts.toml:2: ") && err.contains("addres"), "{err}");
    assert!(!folder.path().join("data").exists() && std::fs::read_dir(folder.path()).unwrap().count() == 4);
}

/// What the server would find out at its start is told before, scores and tables of checks too.
#[test]
fn mistakes_in_what_judges_mail_are_told_with_the_section() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let top = "hostname = \"mx.example.test\"\n[dns]\nservers = [\"127.0.0.1\"]\n";
    write("scores", "[symbols]\nSPF_FIAL = 2.0\n");
    for (rest, words) in [
        ("thresholds = { reject_early = 2.0 }\n", "antispam.thresholds.reject_early: 2.0 is below reject"),
        ("scores = \"scores\"\n", "scores:2"),
        ("[antispam.check.dnsbI]\nmode = \"tag\"\n", "there is no such check"),
    ] {
        write("a.toml", &format!("{top}[antispam]\n{rest}"));
        let (code, _, err) = told(&staffetta(folder.path(), &["config", "check", "a.toml"]));
        assert_eq!(code, 1, "{err}");
        assert!(err.contains(words) && err.contains("a.toml:4"), "{words}:\n{err}");
    }
    assert!(!folder.path().join("data").exists());
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

/// Quickstart as its page promises it: a second run serves, the command that was printed sends the first message, and it
/// arrives, signed.
#[test]
fn quickstart_serves_and_the_printed_command_sends_the_first_message() {
    if support::need_program("curl").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [mx, submission, submissions, http] = [(); 4].map(|()| support::free_port());
    let ports = format!("{mx},{submission},{submissions}");
    let (code, first, err) =
        told(&staffetta(folder.path(), &["quickstart", "example.test", "--ports", &ports]));
    assert_eq!((code, err.as_str()), (0, ""));
    let file = folder.path().join("staffetta-example.test/staffetta.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let observe = text.lines().find(|line| line.starts_with("http = ")).unwrap();
    std::fs::write(&file, text.replace(observe, &format!("http = \"127.0.0.1:{http}\""))).unwrap();

    let mut server = Command::new(env!("CARGO_BIN_EXE_staffetta"));
    let server = server.args(["quickstart", "example.test", "--run"]).current_dir(folder.path());
    let mut server = Running(server.stdout(Stdio::null()).spawn().unwrap());
    let is_up = || std::net::TcpStream::connect(("127.0.0.1", submission)).is_ok();
    assert!(support::wait_until(is_up), "it serves");

    let command: Vec<&str> = first
        .lines()
        .skip_while(|line| !line.contains("printf"))
        .take_while(|line| !line.is_empty())
        .collect();
    let sent = Command::new("sh").args(["-c", &command.join("\n")]).output().unwrap();
    assert!(sent.status.success(), "{}\n{}", command.join("\n"), String::from_utf8_lossy(&sent.stderr));

    let maildir = folder.path().join("staffetta-example.test/mail/example.test/postmaster/new");
    let messages =
        || std::fs::read_dir(&maildir).map(|all| all.flatten().collect::<Vec<_>>()).unwrap_or_default();
    assert!(support::wait_until(|| !messages().is_empty()), "it arrives");
    let message = std::fs::read_to_string(messages()[0].path()).unwrap();
    for words in
        ["Subject: First", "It works.", "DKIM-Signature:", "s=s1", "Delivered-To: postmaster@example.test"]
    {
        assert!(message.contains(words), "no {words} in\n{message}");
    }
    let stopped = Command::new("kill").args(["-TERM", &server.0.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_sender_is_checked_without_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let dns = support::Dns::start(
        "example.test. TXT \"v=spf1 ip4:192.0.2.1 -all exp=why.example.test\"\n\
         why.example.test. TXT \"%{i} is not ours\"\n_dmarc.example.test. TXT \"v=DMARC1; p=reject\"",
    );
    // Line ends of a file, an octet that is no text, and two authors.
    std::fs::write(folder.path().join("a.eml"), b"From: joe@example.test\nSubject: \xe9\n\nhello\n").unwrap();
    std::fs::write(folder.path().join("b.eml"), "From: a@one.test\r\nFrom: b@two.test\r\n\r\n").unwrap();
    let resolver = dns.addr.to_string();
    let check = |arguments: &[&str]| {
        told(&staffetta(folder.path(), &[&["check"], arguments, &["--resolver", &resolver]].concat()))
    };
    let client = ["--ip", "192.0.2.9", "--mail-from", "joe@example.test"];
    let (code, out, err) = check(&[&["spf"], &client[..]].concat());
    assert!(code == 0 && err.is_empty() && out.starts_with("fail "), "{out}{err}");
    assert!(out.contains("\nexplanation: 192.0.2.9 is not ours\n"), "{out}");
    let (_, out, _) = check(&[&["spf", "--json"], &client[..]].concat());
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&object["result"], &object["mechanism"]), (&"fail".into(), &"-all".into()));

    assert!(check(&["dkim", "--message", "a.eml"]).1.starts_with("none "));
    assert!(check(&["arc", "--message", "a.eml"]).1.starts_with("none "));
    let (_, out, _) = check(&[&["dmarc", "--message", "a.eml"], &client[..]].concat());
    assert!(out.starts_with("fail ") && out.contains("policy: reject\n"), "{out}");
    let ours = ["--ip", "192.0.2.1", "--mail-from", "<joe@example.test>"];
    assert!(check(&[&["dmarc", "--message", "a.eml"], &ours[..]].concat()).1.starts_with("pass "));
    let (_, out, _) = check(&[&["dmarc", "--json", "--message", "b.eml"], &client[..]].concat());
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&object["result"], &object["spf"]["result"]), (&"none".into(), &"fail".into()));

    dns.trouble("example.test", support::Trouble::ServFail);
    assert!(check(&[&["spf"], &client[..]].concat()).1.starts_with("temperror "));
    let (code, _, err) = check(&["dkim", "--message", "none.eml"]);
    assert!(code == 1 && err.contains("none.eml"), "{err}");
}

/// A table that cannot be asked is no table without the key.
#[test]
fn tables_tell_absence_from_trouble_by_their_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t"), "/^a(.*)/ found $1\n").unwrap();
    std::fs::write(folder.path().join("broken"), "/(/ x\n").unwrap();
    let postmap = folder.path().join("postmap");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_staffetta"), &postmap).unwrap();
    for (table, key, code, face_code, words) in [
        ("regexp:t", "abc", 0, 0, "found bc\n"),
        ("regexp:t", "xyz", 1, 1, ""),
        ("regexp:none", "abc", 2, 78, ""),
        ("regexp:broken", "abc", 2, 78, ""),
    ] {
        let (is, out, err) = told(&staffetta(folder.path(), &["table", "query", table, key]));
        assert_eq!((is, out.as_str(), err.is_empty()), (code, words, code < 2), "{table} {key}: {err}");
        let face =
            Command::new(&postmap).args(["-q", key, table]).current_dir(folder.path()).output().unwrap();
        let (is, out, err) = told(&face);
        assert_eq!((is, out.as_str(), err.is_empty()), (face_code, words, code < 2), "{table} {key}: {err}");
    }
}
