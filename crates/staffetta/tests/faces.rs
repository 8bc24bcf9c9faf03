//! `sendmail`, `mailq` and the queue's commands with a running server, as its own user and as somebody else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use support::Daemon;

/// A user who is nobody's friend.
const NOBODY: u32 = 65_534;

struct Machine {
    daemon: Daemon,
    /// Holds the program under all its names, where everybody can start it.
    programs: tempfile::TempDir,
}

impl Machine {
    /// A server that can reach nobody outside.
    fn start() -> Self {
        let route = "[[outbound.route]]\nmatch = \"*\"\nto = \"smtp:[127.0.0.1]:1\"\n";
        let daemon = Daemon::start(env!("CARGO_BIN_EXE_staffetta"), "", route);
        let programs = tempfile::tempdir().unwrap();
        for folder in [daemon.folder(), &daemon.folder().join("data"), programs.path()] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711)).unwrap();
        }
        let program = programs.path().join("staffetta");
        // Copied by another process: a handle of ours would be open for writing in every child that another test
        // starts at that moment, and what is open for writing cannot be executed.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_staffetta")).arg(&program).status();
        assert!(copied.unwrap().success());
        for name in ["sendmail", "mailq", "newaliases"] {
            symlink(&program, programs.path().join(name)).unwrap();
        }
        Self { daemon, programs }
    }

    fn face(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.path().join(name));
        command.args(arguments).env("STAFFETTA_CONFIG", self.daemon.configuration()).env_remove("NAME");
        command
    }

    fn maildrop(&self) -> PathBuf {
        self.daemon.folder().join("data/maildrop")
    }

    fn mailq(&self) -> String {
        String::from_utf8(self.face("mailq", &[]).output().unwrap().stdout).unwrap()
    }

    fn queue(&self, arguments: &[&str]) -> String {
        let output = self.daemon.tool(&[&["queue"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Runs with this on standard input.
fn given(mut command: Command, input: &str) -> (i32, String) {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Who refuses the command line reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output: Output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn mail_from_programs_arrives_now_and_after_the_server_was_down() {
    let mut machine = Machine::start();
    let letter = "To: user@example.test\nBcc: user+hidden@example.test\nSubject: one\n\n.dot\n";
    assert_eq!(
        given(machine.face("sendmail", &["-t", "-i", "-F", "J. Q. Public"]), letter),
        (0, String::new())
    );
    let mail = machine.daemon.wait_for_mail("user@example.test", 2);
    assert!(mail[0].contains("From: \"J. Q. Public\" <") && mail[0].contains("\n.dot"), "{}", mail[0]);
    assert!(!mail[0].contains("Bcc") && mail[0].contains("Message-ID: <"), "{}", mail[0]);

    assert_eq!(machine.daemon.stop(), Some(0));
    let later = given(machine.face("sendmail", &["user@example.test"]), "Subject: two\n\nx\n");
    assert_eq!(later, (0, String::new()));
    assert_eq!(std::fs::read_dir(machine.maildrop()).unwrap().count(), 1);
    let (code, words) = given(machine.face("mailq", &[]), "");
    assert!(code == 69 && words.contains("does not run"), "{code} {words}");

    machine.daemon.run();
    let mail = machine.daemon.wait_for_mail("user@example.test", 3);
    assert!(mail.iter().any(|m| m.contains("Subject: two")), "{mail:?}");
    assert!(support::wait_until(|| std::fs::read_dir(machine.maildrop()).unwrap().count() == 0));
}

#[test]
fn who_is_refused_is_told_at_once() {
    let machine = Machine::start();
    let send = |arguments: &[&str]| given(machine.face("sendmail", arguments), "Subject: x\n\nx\n");
    let (code, words) = send(&["nobody@example.test", "user@example.test"]);
    assert!(code == 67 && words.contains("nobody@example.test: 550 5.1.1"), "{code} {words}");
    assert_eq!(machine.daemon.wait_for_mail("user@example.test", 1).len(), 1);
    assert_eq!(send(&[]).0, 64);
    assert_eq!(given(machine.face("newaliases", &[]), ""), (0, String::new()));
    let (code, words) = given(machine.face("sendmail", &["-bs"]), "QUIT\r\n");
    assert!(
        code == 0 && words.starts_with("220 mx.example.test ") && words.contains("\r\n221 "),
        "{code} {words}"
    );
}

#[test]
fn somebody_else_sends_under_their_own_name_only_and_sees_no_queue() {
    if !nix::unistd::geteuid().is_root() {
        return support::skip("needs root to become somebody else");
    }
    let machine = Machine::start();
    let nobody = |name: &str, arguments: &[&str]| {
        let mut command = machine.face(name, arguments);
        command.uid(NOBODY).gid(NOBODY);
        command
    };
    assert_eq!(given(nobody("sendmail", &["user@example.test"]), "Subject: mine\n\nx\n"), (0, String::new()));
    let mail = machine.daemon.wait_for_mail("user@example.test", 1);
    assert!(mail[0].starts_with("Return-Path: <nobody@mx.example.test>"), "{}", mail[0]);

    let forged = given(nobody("sendmail", &["-f", "boss@example.test", "user@example.test"]), "\nx\n");
    assert!(forged.0 == 77 && forged.1.contains("550 5.7.1"), "{forged:?}");
    let forged = given(nobody("sendmail", &["user@example.test"]), "From: boss@example.test\n\nx\n");
    assert!(forged.0 == 77 && forged.1.contains("in From:"), "{forged:?}");
    let (code, words) = given(nobody("mailq", &[]), "");
    assert!(code == 77 && words.contains("root"), "{code} {words}");
    assert_eq!(given(nobody("sendmail", &["-q"]), "").0, 77);
}

#[test]
fn the_queue_is_seen_and_steered() {
    let machine = Machine::start();
    assert_eq!(machine.mailq(), "Mail queue is empty\n");
    let letter = "Subject: away\n\nbody\n";
    assert_eq!(given(machine.face("sendmail", &["-f", "a@b.test", "x@far.test", "y@far.test"]), letter).0, 0);
    assert!(support::wait_until(|| machine.mailq().contains("(")), "{}", machine.mailq());
    let listed = machine.mailq();
    assert!(
        listed.starts_with("----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n"),
        "{listed}"
    );
    assert!(
        listed.contains(" a@b.test\n") && listed.ends_with("\n\n-- 0 Kbytes in 1 Request.\n"),
        "{listed}"
    );
    let id = listed.lines().nth(1).unwrap().split([' ', '*']).next().unwrap().to_owned();

    let line: serde_json::Value = serde_json::from_str(&machine.queue(&["list", "--json"])).unwrap();
    assert_eq!((&line["id"], &line["recipients"][1]["address"]), (&id.as_str().into(), &"y@far.test".into()));
    assert!(machine.queue(&["cat", &id]).contains("\r\nSubject: away\r\n"));
    assert!(machine.queue(&["show", &id]).contains("recipient:    x@far.test (pending)"));
    assert_eq!(machine.queue(&["list", "--domain", "near.test"]), "no messages\n");

    assert_eq!(machine.queue(&["hold", "--sender", "@b.test"]), "1 message held\n");
    assert!(machine.mailq().contains(&format!("{id}! ")), "{}", machine.mailq());
    assert_eq!(machine.queue(&["release", &id]), "1 message released\n");
    assert_eq!(given(machine.face("sendmail", &["-q"]), ""), (0, String::new()));
    assert_eq!(machine.queue(&["fsck"]), "1 messages checked, all is well\n");
    assert_eq!(machine.queue(&["delete", "--domain", "far.test"]), "1 message deleted\n");
    assert_eq!(machine.mailq(), "Mail queue is empty\n");
    assert!(support::wait_until(|| machine.daemon.log().contains("order=delete, from=<a@b.test>, nrcpt=2")));
    let gone = machine.daemon.tool(&["queue", "delete", &id]);
    assert!(
        !gone.status.success() && String::from_utf8_lossy(&gone.stderr).contains("no such message"),
        "{gone:?}"
    );
}
