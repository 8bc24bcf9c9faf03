//! The same tables and the same messages, here and in Postfix's `cleanup`: header_checks, mime_header_checks,
//! nested_header_checks and body_checks, as regexp and as pcre. What is said, what arrives, and where, must agree.
//!
//! Left out is FILTER, which leads away from both.

use std::collections::BTreeMap;

use support::{Client, Daemon};

use crate::peer::Peer;
use crate::{USER, postfix};

/// Where REDIRECT and BCC lead.
const OTHER: &str = "other@example.test";

const HEADER: &str = r"
# A comment.
/^Subject: refuse (.*)$/        REJECT $1 is not wanted
/^Subject: status (.*)$/        REJECT 5.6.7 $1 has a status
/^Subject: bare/                REJECT
/^X-Probe: (.*)$/               REJECT primary $1
/^X-Gone:/                      IGNORE
/^X-Strip:/                     STRIP
/^X-Swap: *([^ ]*) (.*)$/       REPLACE X-Swapped: ${2} $(1) for $$5
/^X-Mark:/                      PREPEND X-Before: marked
/^X-Hold:/                      HOLD for a look
/^X-Discard:/                   DISCARD
/^X-Elsewhere:/                 REDIRECT other@example.test
/^X-Copy:/                      BCC other@example.test
/^X-Warn:/                      WARN careful
/^X-Info:/                      INFO noted
/^X-Dunno:/                     DUNNO
/^x-lower:/                     PREPEND X-Case: any
/^X-Exact: yes/i                PREPEND X-Case: exact
/^X-/                           PREPEND X-Last: rule
if /^List-/
/-Id: *<a/                      PREPEND X-List: a
!/-Id:/                         IGNORE
endif
if !/^List-/
if /^Keywords:/
/two.three/                     PREPEND X-Joined: by one octet
/two$/                          PREPEND X-Joined: at the end
endif
/^Comments: (a+)/               REPLACE Comments: no more $1
endif
";
const MIME: &str = r#"
/^X-Probe: (.*)$/               REJECT mime $1
/^Content-[^:]*:.*name="?([^";]*\.exe)/  REJECT no program $1
/^Content-Description: refuse/  REJECT described
/^Content-Disposition: hold/    HOLD
/^MIME-Version:/                PREPEND X-Mime: seen
/^Content-Disposition: drop/    IGNORE
/^Content-Description: swap (.*)/  REPLACE Content-Description: swapped $1
/^Content-ID: /                 PREPEND Content-Description: added
"#;
const NESTED: &str = r"
/^X-Probe: (.*)$/               REJECT nested $1
/^Subject: refuse/              REJECT a nested subject
/^Subject: hold/                HOLD
/^X-Gone:/                      IGNORE
/^X-Swap: *([^ ]*) (.*)$/       REPLACE X-Swapped: ${2} $1
/^X-Mark:/                      PREPEND X-Before: nested
";
const BODY: &str = r"
/^X-Probe: (.*)$/               REJECT body $1
/^refuse (.*)$/                 REJECT the line $1
/^status/                       REJECT 5.6.7 with a status
/^hold/                         HOLD
/^discard/                      DISCARD
/^elsewhere/                    REDIRECT other@example.test
/^copy/                         BCC other@example.test
/^warn/                         WARN careful
if /^> /
!/^> +(Received|Subject):/      DUNNO
/^> +([A-Za-z]+):/              REJECT a quoted $1
endif
/^gone/                         IGNORE
/^strip/                        STRIP it
/^swap (.?.?.?.?).*$/           REPLACE swapped $1 of $$5
/^mark (.?.?.?.?).*$/           PREPEND before $1
/^behind/                       REJECT behind the limit
/tail$/                         REJECT the tail of a piece
/^second/                       REJECT the begin of a piece
";

/// Both servers with the same tables.
struct Pair {
    daemon: Daemon,
    postfix: Peer,
    port: u16,
}

/// What became of one message.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fate {
    /// The reply to the end of data; of a positive one the code.
    reply: String,
    /// What arrived, by mailbox, without what each server writes of its own.
    arrived: BTreeMap<&'static str, String>,
    held: bool,
}

impl Pair {
    fn start(kind: &str) -> Option<Self> {
        let settings = "header_checks mime_header_checks nested_header_checks body_checks".split(' ');
        let ours: String = settings.clone().map(|name| format!("{name} = \"{kind}:{name}\"\n")).collect();
        let mut daemon = Daemon::prepare(
            env!("CARGO_BIN_EXE_staffetta"),
            "trusted_networks = [\"127.0.0.0/8\"]",
            &format!("[antispam]\n{ours}"),
        );
        let tables: Vec<(&str, &str)> = settings.zip([HEADER, MIME, NESTED, BODY]).collect();
        for (name, text) in &tables {
            daemon.write(name, text);
        }
        for address in [USER, OTHER] {
            daemon.add_account(address, "secret");
        }
        daemon.run();
        let port = support::free_port();
        let theirs: Vec<(&str, String)> = tables
            .iter()
            .map(|(name, _)| (*name, format!("{kind}:{}/{name}", daemon.folder().display())))
            .collect();
        let mut settings: Vec<(&str, &str)> =
            theirs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        settings.extend([
            ("relay_domains", ""),
            ("transport_maps", ""),
            ("virtual_mailbox_domains", "example.test"),
            (
                "virtual_mailbox_maps",
                "inline:{ { user@example.test = user/ }, { other@example.test = other/ } }",
            ),
            ("local_header_rewrite_clients", ""),
            // What is refused leaves its queue, but does not count as delivered.
            ("in_flow_delay", "0"),
        ]);
        std::fs::set_permissions(daemon.folder(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let postfix = postfix::start(&daemon, port, &settings, "")?;
        Some(Self { daemon, postfix, port })
    }

    /// Connections to both.
    fn clients(&self) -> [Client; 2] {
        [self.daemon.mx.port(), self.port].map(|port| Client::hello(([127, 0, 0, 1], port).into()))
    }

    /// The replies of both to the same message.
    fn replies(&self, message: &str) -> [String; 2] {
        self.clients().map(|mut client| {
            let reply = client.mail("joe@far.test", &[USER], message);
            match reply.code {
                250 => "250".to_owned(),
                // The words when the table has none are each server's own.
                code => format!("{code} {}", reply.text().replace(" Message content", " message content")),
            }
        })
    }

    /// Sends all of these to both, waits until nothing is on its way, and tells what became of each.
    fn send(&self, messages: &[String]) -> Vec<[Fate; 2]> {
        let mut fates: Vec<[Fate; 2]> = Vec::new();
        for (number, message) in messages.iter().enumerate() {
            let message = format!("Case: {number};\r\n{message}");
            fates.push(self.replies(&message).map(|reply| Fate { reply, ..Fate::default() }));
        }
        let rests = || {
            let list = self.daemon.queue(&["list", "--json"]);
            list.lines().all(|line| line.contains("held"))
                && ["incoming", "active", "deferred"]
                    .iter()
                    .all(|name| self.postfix.files(&format!("queue/{name}")).is_empty())
        };
        assert!(
            support::wait_until(rests),
            "{}\n{}",
            self.daemon.queue(&["list", "--json"]),
            self.postfix.log()
        );
        for name in ["user", "other"] {
            let ours = self.daemon.mailbox(&format!("{name}@example.test"));
            let theirs = self.postfix.files(&format!("mail/{name}/new"));
            for (side, mails) in [ours, theirs].into_iter().enumerate() {
                for mail in mails {
                    let before = fates[case(&mail)][side].arrived.insert(name, without_trace(&mail));
                    assert_eq!(before, None, "twice: {mail}");
                }
            }
        }
        for (side, held) in [self.held(), self.postfix.files("queue/hold")].into_iter().enumerate() {
            for message in held {
                fates[case(&message)][side].held = true;
            }
        }
        fates
    }

    /// Our messages that wait for an operator.
    fn held(&self) -> Vec<String> {
        let list = self.daemon.queue(&["list"]);
        let ids = list.lines().filter(|line| line.contains("held")).filter_map(|line| line.split(' ').next());
        ids.map(|id| self.daemon.queue(&["cat", id])).collect()
    }
}

/// Which message this is.
fn case(mail: &str) -> usize {
    mail.split_once("Case: ").unwrap().1.split(';').next().unwrap().parse().unwrap()
}

/// A message as it came, but for the fields that each server puts before it.
fn without_trace(mail: &str) -> String {
    let from = mail.find("Case: ").unwrap();
    // Orders about the first field put lines before it.
    mail[from..].replace("\r\n", "\n")
}

fn letter(fields: &str, body: &str) -> String {
    format!(
        "From: joe@far.test\r\nTo: user@example.test\r\nDate: Sun, 22 Nov 2026 02:00:00 +0000\r\n\
         Message-ID: <1@far.test>\r\n{}\r\n{}\r\n",
        fields.replace('\n', "\r\n"),
        body.replace('\n', "\r\n")
    )
}

/// Headers that the tables have something to say about.
const FIELDS: [&str; 32] = [
    "Subject: plain\n",
    "Subject: refuse this\n",
    "subject: REFUSE shouting\n",
    "Subject: status x\n",
    "Subject: bare\n",
    "Subject : refuse a blank before the colon\n",
    "Subject:refuse no blank\n",
    "X-Gone: 1\nX-Kept: 2\nX-Gone: 3\n folded\nSubject: x\n",
    "X-Strip: 1\nSubject: x\n",
    "X-Swap: one two three\nSubject: x\n",
    "X-Swap: one\n two\n\tthree\nSubject: x\n",
    "X-Mark: 1\nX-Mark: 2\nSubject: x\n",
    "X-Hold: 1\nSubject: x\n",
    "X-Discard: 1\nSubject: x\n",
    "X-Elsewhere: 1\nSubject: x\n",
    "X-Copy: 1\nSubject: x\n",
    "X-Copy: 1\nX-Copy: 2\nSubject: x\n",
    "X-Copy: 1\nX-Gone: 1\nX-Mark: 1\nSubject: x\n",
    "X-Warn: 1\nX-Info: 1\nX-Dunno: 1\nX-Other: 1\nSubject: x\n",
    "X-Lower: 1\nx-exact: YES\nX-Exact: yes\nX-Exact: no\nSubject: x\n",
    "List-Id: <a.test>\nList-Post: <mailto:a@a.test>\nlist-id: <b.test>\nSubject: x\n",
    "Keywords: one,\n two\nKeywords: two\n three\nKeywords: two,\n\tthree\nSubject: x\n",
    "Comments: aaa\nComments: b\nSubject: x\n",
    "X-Discard: 1\nSubject: refuse behind a discard\n",
    "X-Hold: 1\nSubject: refuse behind a hold\n",
    "X-Elsewhere: 1\nX-Hold: 1\nSubject: x\n",
    "Subject: x\nno field at all\nSubject: refuse\n",
    "MIME-Version: 1.0\nSubject: x\nContent-Type: text/plain;\n charset=utf-8\n",
    "Subject: x\nContent-Type: text/plain; name=a.exe\n",
    "Subject: x\nContent-Type: text/plain;\n name=\"a.exe\"\n",
    "Subject: x\nContent-Description: refuse\n",
    "Subject: x\nContent-Disposition: hold\n",
];

/// What the parts of a message may hold.
const PARTS: [&str; 22] = [
    "--b\nContent-Disposition: drop;\n folded\nX-Kept: 1\n\nx\n--b--\n",
    "--b\nContent-Description: swap one\n\nx\n--b\nContent-ID: <1@x.test>\n\ny\n--b--\n",
    "--b\nContent-Disposition: drop\n\nx\n--b--\n",
    "--b\nContent-Type: message/rfc822\n\nX-Gone: 1\n folded\nX-Mark: 1\nX-Swap: a b\nSubject: x\n\ngone\nx\n--b--\n",
    "--b\nContent-Type: message/rfc822\n\nSubject: x\nX-Gone: last\n\nx\n--b--\n",
    "gone in the preamble\n--b\n\nswap in a part\nmark it\n--b--\nstrip\nmark theend\n",
    "--b\nContent-Type: application/x; name=\"a.exe\"\n\nx\n--b--\n",
    "--b\nContent-Type: application/x\nContent-Disposition: attachment;\n filename=a.exe\n\nx\n--b--\n",
    "--b\nContent-Disposition: hold\n\nx\n--b--\n",
    "--b\nSubject: refuse\n\nx\n--b--\n",
    "--b\n\nrefuse in a part\n--b--\n",
    "--b\nContent-Type: message/rfc822\n\nSubject: refuse\n\nx\n--b--\n",
    "--b\nContent-Type: message/rfc822\n\nSubject: hold\n\nx\n--b--\n",
    "--b\nContent-Type: message/rfc822\n\nSubject: x\nContent-Description: refuse\n\nx\n--b--\n",
    "--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nSubject: refuse\n\nx\n--b--\n",
    "--b\nContent-Type: text/rfc822-headers\n\nSubject: refuse\n\nx\n--b--\n",
    "--b\nContent-Type: message/partial\n\nSubject: refuse\n\nx\n--b--\n",
    "--b\nContent-Type: message/external-body\n\nSubject: refuse\n\nx\n--b--\n",
    "--b\nContent-Type: message/delivery-status\n\nSubject: refuse\n\nx\n--b--\n",
    "--b\nContent-Type: message/global\n\nSubject: refuse\n\nx\n--b--\n",
    "--b--\nrefuse in the epilogue\n",
    "refuse in the preamble\n--b--\n",
];

/// What both servers must do alike.
fn letters() -> Vec<String> {
    let long = "x".repeat(2048);
    let bodies = [
        "refuse this\n".to_owned(),
        "Refuse THAT\n".to_owned(),
        "first\nstatus\n".to_owned(),
        "hold\n".to_owned(),
        "hold\nrefuse behind a hold\n".to_owned(),
        "discard\nrefuse behind a discard\n".to_owned(),
        "elsewhere\n".to_owned(),
        "copy\ncopy\n".to_owned(),
        "warn\n..dots\n.\n".to_owned(),
        "> Date: x\n> Received: from x\n".to_owned(),
        "> Date: x\n>Received: from x\n".to_owned(),
        format!("{}tail\n", &long[..2044]),
        format!("{long}second\n"),
        format!("{}second\n", &long[..2047]),
        format!("{long}{long}tail\n"),
        "gone\n".to_owned(),
        "one\ngone\ngone again\nstrip\nGone too\ntwo\n".to_owned(),
        "swap this\nmark that\n\nmark\nswap\n".to_owned(),
        "x\nmark theend\n.swap\n..gone\nswap .\n".to_owned(),
        // Pieces of long lines: what is left of them stays one line.
        format!("{long}gone at its end\nnext\n"),
        format!("gone{}rest\nnext\n", &long[4..]),
        format!("{long}swap the end\nnext\n"),
        format!("swap {}rest\nnext\n", &long[5..]),
        format!("{long}mark theend\nnext\n"),
        format!("mark {}rest\nnext\n", &long[5..]),
        format!("{long}{long}gone\n"),
        format!("{}\nbehind\n", "0123456789abcdef\n".repeat(3010)),
        format!("{}\nbehind\n", "0123456789abcdef\n".repeat(3020)),
    ];
    let plain = FIELDS.iter().map(|fields| letter(fields, "hello\n"));
    let bodies = bodies.iter().map(|body| letter("Subject: body\n", body));
    let multipart = "Subject: parts\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n";
    plain.chain(bodies).chain(PARTS.iter().map(|parts| letter(multipart, parts))).collect()
}

fn tables_do_as_in_postfix(kind: &str) {
    let Some(pair) = Pair::start(kind) else { return };
    let letters = letters();
    let mut differ = Vec::new();
    for (letter, [ours, theirs]) in letters.iter().zip(pair.send(&letters)) {
        if ours != theirs {
            differ.push(format!("{letter}\n  ours: {ours:?}\ntheirs: {theirs:?}"));
        }
    }
    assert!(differ.is_empty(), "{kind}:\n{}", differ.join("\n----\n"));
}

#[test]
fn regexp_tables_do_as_in_postfix() {
    tables_do_as_in_postfix("regexp");
}

#[test]
fn pcre_tables_do_as_in_postfix() {
    tables_do_as_in_postfix("pcre");
}

/// What a message of many parts is made of, good and bad.
const PIECES: [&str; 34] = [
    "",
    "",
    "",
    "text",
    " folded",
    "X-Other: y",
    "--a",
    "--a",
    "--b",
    "--b",
    "--a--",
    "--b--",
    "--ab",
    "--a ",
    " --a",
    "--",
    "Content-Type: multipart/mixed; boundary=a",
    "Content-Type: multipart/mixed; boundary=\"b\"",
    "Content-Type: multipart/digest; boundary=a",
    "content-type: Multipart/Mixed; charset=x; Boundary=b",
    "Content-Type: multipart/mixed; boundary=\"a\\b\"",
    "Content-Type: multipart/mixed (a comment); (another) boundary=a",
    "Content-Type:\tmultipart/mixed;\r\n boundary=b",
    "Content-Type: multipart/mixed",
    "Content-Type: message/rfc822",
    "Content-Type: message/rfc822",
    "Content-Type: \"message\"/rfc822; x=y",
    "Content-Type: message/global",
    "Content-Type: message/partial",
    "Content-Type: text/plain",
    "Content-Type: text/rfc822-headers",
    "Content-Transfer-Encoding: base64",
    "MIME-Version: 1.0",
    "no field: here",
];

/// Wherever a line stands, both take it for the same: a field of the message, of a part, of an attached message, or text.
#[test]
fn parts_are_where_postfix_sees_them() {
    let Some(pair) = Pair::start("regexp") else { return };
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut any = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut seen = BTreeMap::new();
    for number in 0..900 {
        // A message that holds something, one that is another message, and parts that do.
        let mut lines: Vec<&str> = match number % 3 {
            0 => vec![PIECES[16 + any(10)]],
            1 => vec!["Content-Type: message/rfc822", ""],
            _ => vec![
                "Content-Type: multipart/mixed; boundary=a",
                "",
                "--a",
                "Content-Type: message/rfc822",
                "",
            ],
        };
        let start = lines.len();
        lines.extend((0..3 + any(12)).map(|_| PIECES[any(PIECES.len())]));
        lines.insert(start + any(lines.len() - start), "X-Probe: here");
        let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let [ours, theirs] = pair.replies(&format!("From: joe@far.test\r\n{text}"));
        assert_eq!(ours, theirs, "message {number}:\n{text}");
        *seen.entry(ours).or_insert(0) += 1;
    }
    for class in ["primary", "mime", "nested", "body"] {
        let count = seen.get(&format!("550 5.7.1 {class} here")).copied().unwrap_or_default();
        assert!(count > 20, "{seen:?}");
    }
}
