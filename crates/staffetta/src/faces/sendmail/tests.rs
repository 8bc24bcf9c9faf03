//! `sendmail` against a server that says what the test wants, and against none.

use std::io::{BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread::JoinHandle;

use super::*;

/// A data folder, perhaps with a server in it that gives these replies, one for each command and one for the message.
struct Server {
    folder: tempfile::TempDir,
    heard: Option<JoinHandle<Vec<String>>>,
}

impl Server {
    fn absent() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("s.toml"), "data_dir = \".\"\n").unwrap();
        maildrop::prepare(&folder.path().join("maildrop")).unwrap();
        Self { folder, heard: None }
    }

    fn saying(replies: &'static [&'static str]) -> Self {
        let mut this = Self::absent();
        let listener = UnixListener::bind(this.place().submit_socket()).unwrap();
        this.heard = Some(std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let mut heard = Vec::new();
            for reply in replies {
                write!(stream, "{reply}\r\n").unwrap();
                let mut in_data = reply.starts_with("354");
                loop {
                    let Some(line) = lines.next() else { return heard };
                    let ends = !in_data || line == ".";
                    heard.push(line);
                    if ends {
                        break;
                    }
                    in_data = true;
                }
            }
            heard
        }));
        this
    }

    fn place(&self) -> Place {
        Place::find(Some(&self.folder.path().join("s.toml")))
    }

    fn dropped(&self) -> Vec<maildrop::Dropped> {
        let paths: Vec<PathBuf> = maildrop::waiting(&self.place().maildrop()).unwrap();
        paths.iter().map(|path| maildrop::take(path, 1 << 20).unwrap()).collect()
    }

    fn send(&self, words: &[&str], input: &str) -> Result<(), Exit> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        deliver(&Options::parse(&words).unwrap(), &self.place(), &mut input.as_bytes())
    }

    fn heard(self) -> Vec<String> {
        self.heard.unwrap().join().unwrap()
    }
}

#[test]
fn a_message_is_sent_with_what_was_missing() {
    let server = Server::saying(&[
        "220 mx.test ESMTP",
        "250 mx.test",
        "250 ok",
        "250 ok",
        "250 ok",
        "354 go",
        "250 queued",
        "221 bye",
    ]);
    let words = ["-t", "-F", "Anna Rossi", "-fanna@a.test", "-N", "never"];
    server.send(&words, "To: bob\nBcc: c@d.test\nSubject: x\n\n.hidden\nx\n").unwrap();
    assert_eq!(
        server.heard(),
        [
            "EHLO mx.test",
            "MAIL FROM:<anna@a.test> SIZE=75",
            "RCPT TO:<bob@mx.test> NOTIFY=NEVER",
            "RCPT TO:<c@d.test> NOTIFY=NEVER",
            "DATA",
            "To: bob@mx.test",
            "Subject: x",
            "From: Anna Rossi <anna@a.test>",
            "",
            "..hidden",
            "x",
            ".",
            "QUIT",
        ]
    );
}

#[test]
fn a_refused_recipient_is_told_and_the_rest_is_sent() {
    let server = Server::saying(&[
        "220 mx.test",
        "250 mx",
        "250 ok",
        "550 5.1.1 no such user",
        "250 ok",
        "354 go",
        "250 queued",
        "221 bye",
    ]);
    let exit = server.send(&["nobody@x.test", "bob@x.test"], "\n").unwrap_err();
    assert_eq!((exit.code, exit.words.as_str()), (67, "nobody@x.test: 550 5.1.1 no such user"));
    assert!(server.dropped().is_empty());
    assert!(server.heard().contains(&".".to_owned()));
}

#[test]
fn what_is_refused_for_now_waits_in_the_maildrop() {
    let server = Server::saying(&[
        "220 mx.test",
        "250 mx",
        "250 ok",
        "451 4.3.0 later",
        "250 ok",
        "354 go",
        "250 queued",
        "221 bye",
    ]);
    server.send(&["later@x.test", "bob@x.test"], "Subject: x\n\n").unwrap();
    let dropped = server.dropped();
    assert_eq!(dropped.len(), 1);
    assert_eq!(dropped[0].envelope.recipients, ["later@x.test"]);
    assert_eq!(dropped[0].message, b"Subject: x\r\n\r\n");

    let full = Server::saying(&["220 mx.test", "250 mx", "452 4.3.1 disk full"]);
    full.send(&["bob@x.test"], "\n").unwrap();
    assert_eq!(full.dropped().len(), 1);
}

#[test]
fn a_sender_that_is_not_theirs_is_no_permission() {
    let server = Server::saying(&["220 mx.test", "250 mx", "550 5.7.1 not yours"]);
    let exit = server.send(&["-f", "boss@a.test", "bob@x.test"], "\n").unwrap_err();
    assert_eq!(exit.code, 77);
    assert!(server.dropped().is_empty());
}

#[test]
fn while_the_server_does_not_run_mail_waits_and_is_not_lost() {
    let server = Server::absent();
    server.send(&["-i", "-F", "A", "bob"], "Subject: x\n\n.\nend\n").unwrap();
    let dropped = server.dropped();
    assert_eq!(dropped[0].envelope, Envelope { recipients: vec!["bob".into()], ..Envelope::default() });
    assert_eq!(dropped[0].message, b"Subject: x\r\n\r\n.\r\nend\r\n");
    assert_eq!(dropped[0].full_name.as_deref(), Some("A"));

    std::fs::remove_dir_all(server.place().maildrop()).unwrap();
    let exit = server.send(&["bob"], "\n").unwrap_err();
    assert_eq!(exit.code, 75);
}

#[test]
fn a_server_that_goes_away_in_the_middle_loses_nothing() {
    let server = Server::saying(&["220 mx.test", "250 mx", "250 ok"]);
    server.send(&["bob@x.test"], "Subject: x\n\n").unwrap();
    assert_eq!(server.dropped().len(), 1);
}

#[test]
fn mistakes_of_the_program_have_their_codes() {
    let server = Server::absent();
    assert_eq!(server.send(&[], "\n").unwrap_err().code, 64);
    assert_eq!(server.send(&["-t"], "Subject: x\n\n").unwrap_err().code, 65);
    assert_eq!(server.send(&["-t", "bob"], "Subject: x\n\n"), Ok(()));
}
