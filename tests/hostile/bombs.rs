//! Messages that are made to be expensive to look at, from strangers, several at once: meanwhile others are greeted and
//! served, and each bomb gets its answer.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use support::Dns;

use crate::siege::Siege;

/// How long a bomb may wait for its answer; a verdict has half a minute, on an idle machine.
const ANSWERED_MAX: Duration = Duration::from_secs(120);

/// Patterns that backtrack without end, in a table that looks at every line.
const BODY_CHECKS: &str = "/^(a|aa)+$/ REJECT never\n/^(x+x+)+y$/ REJECT never\n";
const HEADER_CHECKS: &str = "/^Subject:( *[^ ]+)+!$/ REJECT never\n/=\\?([^?]*\\?)+=x$/ REJECT never\n";

/// A million parts without anything in them.
pub(crate) fn parts() -> String {
    let start = "Subject: parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
    start.to_owned() + &"--b\r\n\r\n".repeat(1_000_000) + "--b--\r\n"
}

/// Parts in parts, 20,000 deep; the last of them a report.
pub(crate) fn nested() -> String {
    let mut text = "MIME-Version: 1.0\r\n".to_owned();
    for depth in 0..20_000 {
        text += &format!("Content-Type: multipart/mixed; boundary=b{depth}\r\n\r\n--b{depth}\r\n");
    }
    text + "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; a.test\r\n\r\nStatus: 5.1.1\r\n"
}

/// Lines that cost a pattern the most before it gives up; each begins a part, so that all are looked at.
fn backtracking() -> String {
    let start = "Subject: lines\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
    let part = format!("--b\r\n\r\n{}!\r\n{}!\r\n", "a".repeat(24), "x".repeat(24));
    start.to_owned() + &part.repeat(20_000) + "--b--\r\n"
}

/// A header of nothing but encoded words, half of them broken, in the fields that are looked at closely.
fn encoded() -> String {
    let words = "=?utf-8?q?=3D=3Futf-8=3Fq=3F?= =?x?b?####?=\r\n ".repeat(16);
    let fields = ["Subject", "From", "To", "Comments"];
    let header: String = fields.iter().map(|name| format!("{name}: {}x\r\n", words.repeat(4))).collect();
    header + "\r\ntext\r\n"
}

/// Sends one message, and gives the codes of the replies to MAIL, RCPT, DATA and the end of data, as far as they came.
pub(crate) fn send(port: u16, client: &str, sender: &str, message: &str) -> String {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(ANSWERED_MAX)).expect("a time limit");
    let mut writer = stream.try_clone().expect("a second handle");
    let start = format!(
        "PROXY TCP4 {client} 127.0.0.1 4000 25\r\nEHLO mail.bomb.test\r\nMAIL FROM:<{sender}>\r\n\
         RCPT TO:<user@example.test>\r\nDATA\r\n"
    );
    writer.write_all(start.as_bytes()).expect("the server reads");
    let mut replies = Replies { stream, unread: String::new() };
    let mut codes = Vec::new();
    // The greeting and EHLO are of no interest.
    for number in 0..5 {
        let Some(code) = replies.next() else { return codes.join(" ") };
        if number > 1 {
            codes.push(code);
        }
    }
    if codes.last().is_some_and(|code| code == "354") {
        // It may answer, and hang up, before all of it was read.
        drop(writer.write_all(format!("{message}.\r\nQUIT\r\n").as_bytes()));
        codes.extend(replies.next());
    }
    codes.join(" ")
}

struct Replies {
    stream: TcpStream,
    unread: String,
}

impl Replies {
    /// The code of the next reply.
    fn next(&mut self) -> Option<String> {
        loop {
            while let Some((line, rest)) = self.unread.split_once("\r\n") {
                let (code, last) = (line.get(..3)?.to_owned(), line.get(3..4) != Some("-"));
                self.unread = rest.to_owned();
                if last {
                    return Some(code);
                }
            }
            let mut piece = [0; 4096];
            let count = self.stream.read(&mut piece).ok().filter(|count| *count > 0)?;
            self.unread += &String::from_utf8_lossy(&piece[..count]);
        }
    }
}

#[test]
fn four_bombs_at_once() {
    let dns = Dns::start(
        "bomb.test. 60 IN A 192.0.2.66\nmail.bomb.test. 60 IN A 192.0.2.66\n66.2.0.192.in-addr.arpa. 60 IN PTR mail.bomb.test.",
    );
    let port = support::free_port();
    let rest = format!(
        "[[listener]]\nkind = \"mx\"\nbind = [\"127.0.0.1:{port}\"]\nproxy_protocol_from = [\"127.0.0.1/32\"]\n\
         [dns]\nservers = [\"{}\"]\n[antispam]\nmode = \"observe\"\nheader_checks = \"pcre:header_checks\"\n\
         body_checks = \"pcre:body_checks\"\n[antispam.greylist]\nmode = \"off\"\n[antispam.backscatter]\nmode = \"observe\"\n",
        dns.addr
    );
    let files = [("header_checks", HEADER_CHECKS), ("body_checks", BODY_CHECKS)];
    let siege = Siege::with(&rest, &files);
    let bombs =
        [("parts", parts()), ("nested", nested()), ("backtracking", backtracking()), ("encoded", encoded())];
    // As letters, and as the bounces that are looked at once more.
    for sender in ["joe@bomb.test", ""] {
        siege.under(&format!("four bombs from <{sender}>"), || {
            std::thread::scope(|scope| {
                for (name, bomb) in &bombs {
                    let siege = &siege;
                    scope.spawn(move || {
                        let codes = send(port, "192.0.2.66", sender, bomb);
                        println!("{name}: {codes}");
                        let mut codes = codes.rsplit(' ');
                        let last = codes.next().unwrap_or_default();
                        let answered = last.starts_with(['2', '4', '5']) && codes.next() == Some("354");
                        assert!(answered, "{name}: {last}\n{}", siege.daemon.log());
                    });
                }
            });
        });
    }
}
