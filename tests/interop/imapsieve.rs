//! What a user moves into Junk over IMAP is learnt: a real Dovecot with imapsieve, set up word for word as our manual says.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use support::Daemon;

use crate::letter;
use crate::peer::{NOBODY, Peer};

const MANUAL: &str = include_str!("../../docs/operator/antispam.md");

const IMAP: &str = "\
protocols = imap
disable_plaintext_auth = no
mail_location = maildir:~/Maildir
service imap-login {
  inet_listener imap {
    address = 127.0.0.1
    port = @PORT@
  }
  inet_listener imaps {
    port = 0
  }
}
";

/// The example in the manual that begins so.
fn example(beginning: &str) -> &'static str {
    let mut blocks = MANUAL.split("\n```").skip(1).step_by(2);
    let block = blocks.find_map(|block| {
        block.split_once('\n').map(|(_, text)| text).filter(|text| text.starts_with(beginning))
    });
    block.unwrap_or_else(|| panic!("the manual has no example that begins with {beginning}"))
}

/// Just enough of IMAP (RFC 3501).
struct Imap {
    reader: BufReader<TcpStream>,
    number: u32,
}

impl Imap {
    fn log_in(port: u16) -> Self {
        let reader = BufReader::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
        let mut imap = Self { reader, number: 0 };
        assert!(imap.line().starts_with("* OK"));
        imap.say("LOGIN joe x");
        imap
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.reader.read_line(&mut line).unwrap() > 0, "Dovecot hangs up");
        line
    }

    fn send(&mut self, text: &str) {
        self.reader.get_mut().write_all(format!("{text}\r\n").as_bytes()).unwrap();
    }

    /// One command, which must be done.
    fn say(&mut self, command: &str) {
        self.number += 1;
        let tag = format!("a{}", self.number);
        self.send(&format!("{tag} {command}"));
        loop {
            let line = self.line();
            if let Some(reply) = line.strip_prefix(&format!("{tag} ")) {
                return assert!(reply.starts_with("OK"), "{command}: {line}");
            }
            assert!(line.starts_with('*'), "{command}: {line}");
        }
    }

    /// A letter that comes into the inbox.
    fn put(&mut self, text: &str) {
        self.number += 1;
        let tag = format!("a{}", self.number);
        self.send(&format!("{tag} APPEND INBOX {{{}+}}\r\n{text}", text.len()));
        while !self.line().starts_with(&format!("{tag} OK")) {}
    }
}

/// Dovecot, with the manual's example for `staffetta learn` of this server.
fn dovecot(daemon: &Daemon, port: u16) -> Option<Peer> {
    let program = support::need_program("dovecot")?;
    support::need_program("sievec")?;
    if !Path::new("/usr/lib/dovecot/imap").exists() {
        support::skip("dovecot-imapd not installed");
        return None;
    }
    let mut peer = Peer::prepare()?;
    peer.make_folder("learn", 0);
    peer.make_folder("home/joe", NOBODY);
    let own = |text: &str| text.replace("/etc/dovecot/learn", "@DIR@/learn");
    let example_of_dovecot = own(example("protocol imap {"));
    let (sieve, script) =
        (example("require [\"vnd.dovecot.pipe\""), example("#!/bin/sh\nexec sudo -u staffetta"));
    let staffetta = format!("{} learn", env!("CARGO_BIN_EXE_staffetta"));
    let place = format!("--later --config {} -", daemon.configuration().display());
    for class in ["spam", "ham"] {
        peer.write(&format!("learn/{class}.sieve"), &sieve.replace("learn-spam", &format!("learn-{class}")));
        let script = script.replace("sudo -u staffetta staffetta learn", &staffetta);
        let script = script.replace("--spam", &format!("--{class}")).replace("--later -", &place);
        assert!(script.contains(&place) && script.contains(&staffetta), "{script}");
        peer.write(&format!("learn/learn-{class}"), &script);
        std::fs::set_permissions(
            peer.path(&format!("learn/learn-{class}")),
            PermissionsExt::from_mode(0o755),
        )
        .unwrap();
    }
    let more = IMAP.replace("@PORT@", &port.to_string()) + &example_of_dovecot;
    peer.start_dovecot(&program, "joe:{PLAIN}x:65534:65534::@DIR@/home/joe::\n", &more);
    let up = support::wait_until(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert!(up, "{}", peer.log());
    Some(peer)
}

/// A field of `staffetta bayes status --json`.
fn status(daemon: &Daemon, field: &str) -> String {
    let text = String::from_utf8(daemon.tool(&["bayes", "status", "--json"]).stdout).unwrap();
    let line = text.lines().find(|line| line.contains(&format!("\"{field}\":"))).unwrap_or_default();
    line.trim_matches(|c: char| !c.is_ascii_digit()).to_owned()
}

#[test]
fn what_users_move_over_imap_teaches_the_classifier() {
    let mut daemon = crate::daemon("", "");
    // The script runs as the mailbox's user here, and not as the server's by way of sudo.
    let filter = daemon.folder().join("data/bayes");
    std::fs::create_dir_all(&filter).unwrap();
    chown(&filter, Some(NOBODY), Some(NOBODY)).unwrap_or_default();
    std::fs::set_permissions(daemon.folder(), PermissionsExt::from_mode(0o755)).unwrap();
    let port = support::free_port();
    let Some(dovecot) = dovecot(&daemon, port) else { return };
    let waits = |daemon: &Daemon, count: &str| {
        let waits = support::wait_until(|| status(daemon, "to_be_learnt") == count);
        assert!(waits, "{}\n{}", dovecot.log(), daemon.log());
    };
    let mut imap = Imap::log_in(port);
    imap.say("CREATE Junk");
    imap.say("CREATE Trash");
    imap.put(&letter("pills"));
    imap.put(&letter("lunch"));
    imap.say("SELECT INBOX");
    assert_eq!(status(&daemon, "to_be_learnt"), "0");
    imap.say("UID MOVE 1 Junk");
    waits(&daemon, "1");
    // The server learns it within a minute; at a start, at once.
    daemon.stop();
    daemon.run();
    assert!(support::wait_until(|| status(&daemon, "spam") == "1"), "{}", daemon.log());
    imap.say("UID COPY 2 Junk");
    waits(&daemon, "1");
    // One comes back, and is no spam; the other goes to the trash, and stays what it was.
    imap.say("SELECT Junk");
    imap.say("UID MOVE 1 INBOX");
    waits(&daemon, "2");
    imap.say("UID MOVE 2 Trash");
    daemon.stop();
    daemon.run();
    let learnt = || (status(&daemon, "ham"), status(&daemon, "spam"));
    assert!(
        support::wait_until(|| learnt() == ("1".to_owned(), "1".to_owned())),
        "{:?}\n{}",
        learnt(),
        dovecot.log()
    );
    assert_eq!(status(&daemon, "to_be_learnt"), "0", "{}", dovecot.log());
}
