//! The same access tables and the same envelopes, here and in Postfix's `smtpd`: whom a table finds, in which order it is
//! asked for parts of names and addresses, and what its answers do.
//!
//! Clients have addresses and names of the test's choice: ours hears of them from a proxy and from DNS, Postfix by XCLIENT.
//! Left out is what is meant to differ, which `docs/operator/antispam.md` names: orders for one recipient of several.

use std::collections::BTreeMap;

use support::{Client, Daemon, Dns, Reply, Sink};

use crate::peer::Peer;
use crate::{USER, postfix};

const OTHER: &str = "other@example.test";
const TAGGED: &str = "user+Tag@example.test";

/// Clients with names that lead back to them; all others have none.
const NAMED: [(&str, &str); 3] =
    [("192.0.2.9", "mx.b.test"), ("192.0.2.10", "deep.in.c.test"), ("198.51.100.7", "ok.d.test")];

#[derive(Clone, Copy)]
/// The tables of one stage: its name with us, the restriction and the look-up of Postfix, and `type:file` with contents.
struct Stage {
    ours: &'static str,
    restrictions: &'static str,
    look_up: &'static str,
    tables: &'static [(&'static str, &'static str)],
}

const CLIENT_TEXT: &str = r"
b.test          REJECT the name $1
192.0.2.9       OK
c.test          DUNNO
192.0.2.10      REJECT by address
ok.d.test       OK
192.0.2.66      421 4.7.0 not now
192.0.2.67      521 5.7.1 never
203.0.113       REJECT 5.1.8 the net
203.0.113.5     DUNNO
203.0.113.6     DEFER
203.0.113.7     HOLD
203.0.113.8     REDIRECT other@example.test
203.0.113.9     DISCARD
203.0.113.10    DEFER_IF_PERMIT wait
203.0.113.11    @FILTER@
203.0.113.12    BCC other@example.test
203.0.113.13    REJECT
203.0.113.14    WARN look
203.0.113.15    INFO look
203.0.113.16    1700000000
203.0.113.17    450 5.7.1 code before status
203.0.113.18    550 2.0.0 odd status
203.0.113.21    450 2.7.5 odd status
203.0.113.22    550 3.0.0 no status
203.0.113.23    PREPEND X-Pre: any
203.0.113.19    reject lower case
203.0.113.20    DUNNO with text
";
const CLIENT_CIDR: &str = r"
198.51.100.0/24     REJECT by cidr
203.0.113.7         REJECT behind a hold
203.0.113.9         REJECT behind a discard
203.0.113.10        REJECT for good
203.0.113.14/31     PREPEND X-Pre: seen
203.0.113.32/27     550 5.7.9 by cidr
!10.0.0.0/8         DUNNO
";
const CLIENT_UNKNOWN: &str = "unknown PREPEND X-Pre: unknown\n10.0.0.1 PREPEND X-Pre: never asked for\n";
const HELO_TEXT: &str = r"
bad.test            REJECT bad name
good.bad.test       OK
127.0.0.1           REJECT an address
[192.0.2.9]         554 5.7.1 a literal
twice.test          HOLD
twice               REJECT top only
";
const SENDER_TEXT: &str = r"
<>                  REJECT nobody
joe@b.test          550 5.1.0 that joe
joe+x@b.test        OK
c.test              REJECT the domain
sub.c.test          DUNNO
root@               REJECT any root
root+y@             OK
test                REJECT the top
far.test            DUNNO
d.far.test          550 5.1.2 about a recipient
hold@far.test       HOLD
discard@far.test    DISCARD
redirect@far.test   REDIRECT other@example.test
";
const SENDER_REGEXP: &str = r"
/^hold@far/         PREPEND X-Pre: behind a hold
/^discard@far/      REJECT behind a discard
/^(a.*)@far/        REJECT the $1 of ${1}
/^b@FAR\.test$/     REJECT any case
";
const RCPT_TEXT: &str = r"
user+tag@example.test   REJECT 5.1.7 with the tag
other@                  450 4.2.1 the user
example.test            PREPEND X-Pre: ours
nobody@example.test     OK
";
const RCPT_PCRE: &str = r"
/^user\+(\w+)@/         REJECT a tag $1
/^user@.*(?<!x)test$/   PREPEND X-Pre: pcre
";

const STAGES: [Stage; 4] = [
    Stage {
        ours: "connect",
        restrictions: "smtpd_client_restrictions",
        look_up: "check_client_access",
        tables: &[
            ("text:client", CLIENT_TEXT),
            ("cidr:client_net", CLIENT_CIDR),
            ("text:client_unknown", CLIENT_UNKNOWN),
        ],
    },
    Stage {
        ours: "helo",
        restrictions: "smtpd_helo_restrictions",
        look_up: "check_helo_access",
        tables: &[("text:helo", HELO_TEXT)],
    },
    Stage {
        ours: "mail",
        restrictions: "smtpd_sender_restrictions",
        look_up: "check_sender_access",
        tables: &[("text:sender", SENDER_TEXT), ("regexp:sender_patterns", SENDER_REGEXP)],
    },
    Stage {
        ours: "rcpt",
        restrictions: "smtpd_recipient_restrictions",
        look_up: "check_recipient_access",
        tables: &[("text:rcpt", RCPT_TEXT), ("pcre:rcpt_patterns", RCPT_PCRE)],
    },
];

/// As [`STAGES`] with patterns first, and parents of names written with a dot.
const DOTTED: [Stage; 4] = [
    Stage {
        ours: "connect",
        restrictions: "smtpd_client_restrictions",
        look_up: "check_client_access",
        tables: &[
            (
                "pcre:client_patterns",
                "/^mx\\.b/ REJECT by pattern\n/^203\\.0\\.113\\.9$/ REJECT an address\n/^unknown$/ DUNNO\n",
            ),
            ("text:client", ".c.test REJECT below\n"),
        ],
    },
    Stage {
        ours: "helo",
        restrictions: "smtpd_helo_restrictions",
        look_up: "check_helo_access",
        tables: &[
            ("text:helo", ".bad.test REJECT below\n"),
            ("regexp:helo_patterns", "/^[0-9.]+$/ REJECT bare\n"),
        ],
    },
    Stage {
        ours: "mail",
        restrictions: "smtpd_sender_restrictions",
        look_up: "check_sender_access",
        tables: &[
            ("pcre:sender_patterns", "/^<>$/ REJECT null\n/^joe/ 550 5.1.1 joe\n"),
            ("text:sender", ".c.test REJECT below\n"),
        ],
    },
    Stage {
        ours: "rcpt",
        restrictions: "smtpd_recipient_restrictions",
        look_up: "check_recipient_access",
        tables: &[
            ("static:DUNNO", ""),
            ("inline:{ { user+tag@ = REJECT inline }, { other@example.test = REJECT } }", ""),
        ],
    },
];

struct Pair {
    daemon: Daemon,
    postfix: Peer,
    ours: u16,
    theirs: u16,
    filter: Sink,
    _dns: Dns,
}

/// Somebody who wants to send something.
#[derive(Debug, Clone, Copy)]
struct Case {
    ip: &'static str,
    helo: &'static str,
    from: &'static str,
    to: &'static [&'static str],
}

/// What became of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fate {
    replies: Vec<String>,
    /// The session went on after the replies.
    stayed: bool,
    /// How often it arrived where, and the lines that tables put before it.
    arrived: BTreeMap<&'static str, Vec<String>>,
    held: bool,
    filtered: usize,
}

fn name_of(ip: &str) -> Option<&'static str> {
    NAMED.iter().find(|(named, _)| *named == ip).map(|(_, name)| *name)
}

fn zone() -> String {
    let records = NAMED.iter().map(|(ip, name)| {
        let reversed: Vec<&str> = ip.split('.').rev().collect();
        format!("{}.in-addr.arpa. PTR {name}.\n{name}. A {ip}\n", reversed.join("."))
    });
    records.collect()
}

impl Pair {
    fn start(stages: &[Stage], settings: &[(&str, &str)]) -> Option<Self> {
        let (ours, theirs, filter) = (support::free_port(), support::free_port(), Sink::start(0, &[]));
        let dns = Dns::start(&zone());
        let hop = format!("FILTER clear:[127.0.0.1]:{}", filter.address.port());
        let mut rest = format!(
            "[[listener]]\nkind = \"mx\"\nbind = [\"127.0.0.1:{ours}\"]\nproxy_protocol_from = [\"127.0.0.1/32\"]\n\
             [dns]\nservers = [\"{}\"]\n[antispam]\nmode = \"observe\"\n",
            dns.addr
        );
        let tables = || stages.iter().flat_map(|stage| stage.tables.iter().map(move |table| (stage, table)));
        for (stage, (table, _)) in tables() {
            rest.push_str(&format!("[[antispam.access]]\nstage = \"{}\"\ntable = \"{table}\"\n", stage.ours));
        }
        let mut daemon = Daemon::prepare(env!("CARGO_BIN_EXE_staffetta"), "", &rest);
        let mut theirs_of: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let postfix_files = daemon.folder().join("postfix");
        std::fs::create_dir(&postfix_files).unwrap();
        for (stage, (table, text)) in tables() {
            let (kind, file) = table.split_once(':').unwrap();
            let spec = if text.is_empty() {
                (*table).to_owned()
            } else {
                daemon.write(file, &text.replace("@FILTER@", &hop.replace("clear:", "smtp:")));
                daemon.write(&format!("postfix/{file}"), &text.replace("@FILTER@", &hop));
                let kind = kind.replace("text", "texthash");
                format!("{kind}:{}/{file}", postfix_files.display())
            };
            let look_up = format!("{} {spec}", stage.look_up);
            theirs_of.entry(stage.restrictions).or_default().push(look_up);
        }
        for address in [USER, OTHER] {
            daemon.add_account(address, "secret");
        }
        daemon.run();
        std::fs::set_permissions(daemon.folder(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let restrictions: Vec<(&str, String)> =
            theirs_of.into_iter().map(|(name, tables)| (name, tables.join(", "))).collect();
        let mut all: Vec<(&str, &str)> =
            restrictions.iter().map(|(name, value)| (*name, value.as_str())).collect();
        all.extend([
            ("relay_domains", ""),
            ("transport_maps", ""),
            ("virtual_mailbox_domains", "example.test"),
            (
                "virtual_mailbox_maps",
                "inline:{ { user@example.test = user/ }, { other@example.test = other/ } }",
            ),
            ("recipient_delimiter", "+"),
            ("smtpd_authorized_xclient_hosts", "127.0.0.0/8"),
            ("smtpd_peername_lookup", "no"),
            ("mynetworks", "10.99.0.0/16"),
            // What we say without a text of the table's.
            ("access_map_reject_code", "550"),
            ("smtpd_error_sleep_time", "0"),
            ("in_flow_delay", "0"),
        ]);
        all.extend(settings);
        let postfix = postfix::start(&daemon, theirs, &all, "")?;
        Some(Self { daemon, postfix, ours, theirs, filter, _dns: dns })
    }

    /// Connections to both, as this client.
    fn clients(&self, case: Case) -> [Client; 2] {
        let mut ours = Client::raw(([127, 0, 0, 1], self.ours).into());
        ours.send(format!("PROXY TCP4 {} 127.0.0.1 4000 25\r\n", case.ip).as_bytes());
        assert_eq!(ours.reply().code, 220);
        let mut theirs = Client::hello(([127, 0, 0, 1], self.theirs).into());
        let name = name_of(case.ip).unwrap_or("[UNAVAILABLE]");
        let greeting = theirs.command(&format!("XCLIENT NAME={name} ADDR={}", case.ip));
        assert_eq!(greeting.code, 220, "{greeting:?}");
        [ours, theirs]
    }

    fn send(&self, cases: &[Case]) -> Vec<[Fate; 2]> {
        let mut fates: Vec<[Fate; 2]> = Vec::new();
        for (number, case) in cases.iter().enumerate() {
            fates.push(self.clients(*case).map(|client| transaction(client, *case, number)));
        }
        let rests = || {
            let list = self.daemon.queue(&["list", "--json"]);
            list.lines().all(|line| line.contains("held"))
                && ["incoming", "active", "deferred"]
                    .iter()
                    .all(|name| self.postfix.files(&format!("queue/{name}")).is_empty())
        };
        let log = || format!("{}\n{}", self.daemon.queue(&["list", "--json"]), self.postfix.log());
        assert!(support::wait_until(rests), "{}", log());
        for (name, mailbox) in [("user", USER), ("other", OTHER)] {
            let ours = self.daemon.mailbox(mailbox);
            let theirs = self.postfix.files(&format!("mail/{name}/new"));
            for (side, mails) in [ours, theirs].into_iter().enumerate() {
                for mail in mails {
                    fates[number_of(&mail)][side].arrived.entry(name).or_default().extend(marks(&mail));
                }
            }
        }
        for (side, held) in [self.held(), self.postfix.files("queue/hold")].into_iter().enumerate() {
            for message in held {
                fates[number_of(&message)][side].held = true;
            }
        }
        for taken in self.filter.taken() {
            let side = usize::from(taken.text.contains("by postfix.test"));
            fates[number_of(&taken.text)][side].filtered += 1;
        }
        fates
    }

    /// Our messages that wait for an operator.
    fn held(&self) -> Vec<String> {
        let list = self.daemon.queue(&["list"]);
        let ids = list.lines().filter(|line| line.contains("held")).filter_map(|line| line.split(' ').next());
        ids.map(|id| self.daemon.queue(&["cat", id])).collect()
    }

    /// Sends all to both, and tells where they differ.
    fn compare(&self, cases: &[Case]) {
        let mut differ = Vec::new();
        let fates = self.send(cases);
        for (case, [ours, theirs]) in cases.iter().zip(&fates) {
            if ours != theirs {
                differ.push(format!("{case:?}\n  ours: {ours:?}\ntheirs: {theirs:?}"));
            }
        }
        assert!(differ.is_empty(), "{}", differ.join("\n----\n"));
        let refused =
            fates.iter().filter(|[ours, _]| ours.replies.iter().any(|reply| !reply.starts_with('2')));
        let (refused, all) = (refused.count(), fates.len());
        assert!(refused > all / 4 && refused < all, "{refused} of {all} were refused");
    }
}

/// Every status about an address (RFC 3463 §3.2), said about a client, a name, a sender and a recipient.
#[test]
fn a_status_fits_what_was_refused_as_in_postfix() {
    const TABLE: &str = "0@x.test 550 5.1.0 x\n";
    let rows = |key: &dyn Fn(usize) -> String| -> &'static str {
        let lines = (0..10).map(|n| format!("{} 550 5.1.{n} x\n", key(n)));
        Box::leak(lines.chain([TABLE.to_owned()]).collect::<String>().into_boxed_str())
    };
    let stages: [Stage; 4] = std::array::from_fn(|at| {
        let (file, text) = match at {
            0 => ("text:client", rows(&|n| format!("192.0.2.{n}"))),
            1 => ("text:helo", rows(&|n| format!("h{n}.test"))),
            2 => ("text:sender", rows(&|n| format!("s{n}@far.test"))),
            _ => ("text:rcpt", rows(&|n| format!("user+{n}@example.test"))),
        };
        Stage { tables: Box::leak(Box::new([(file, text)])), ..STAGES[at] }
    });
    let Some(pair) = Pair::start(&stages, &[]) else { return };
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let mut cases = vec![PLAIN];
    for n in 0..10 {
        cases.push(Case { ip: leak(format!("192.0.2.{n}")), ..PLAIN });
        cases.push(Case { helo: leak(format!("h{n}.test")), ..PLAIN });
        cases.push(Case { from: leak(format!("s{n}@far.test")), ..PLAIN });
        cases.push(Case { to: Box::leak(Box::new([leak(format!("user+{n}@example.test"))])), ..PLAIN });
    }
    pair.compare(&cases);
}

/// One message to all recipients; a refused one is left out.
fn transaction(mut client: Client, case: Case, number: usize) -> Fate {
    let mut fate = Fate::default();
    client.command(&format!("EHLO {}", case.helo));
    let reply = client.command(&format!("MAIL FROM:<{}>", case.from));
    assert_eq!(reply.code, 250, "{reply:?}");
    let mut taken = false;
    for recipient in case.to {
        client.send(format!("RCPT TO:<{recipient}>\r\n").as_bytes());
        let Some(reply) = client.try_reply() else { break };
        taken |= reply.code == 250;
        fate.replies.push(said(&reply));
    }
    if taken {
        assert_eq!(client.command("DATA").code, 354);
        client.send(
            format!("Case: {number};\r\nFrom: joe@far.test\r\nSubject: x\r\n\r\nx\r\n.\r\n").as_bytes(),
        );
        fate.replies.push(client.reply().code.to_string());
    }
    fate.stayed = client.try_send(b"NOOP\r\n") && client.try_reply().is_some();
    fate
}

/// Code, status and the table's own words. Postfix says before them what was refused.
fn said(reply: &Reply) -> String {
    if reply.code == 250 {
        return "250".to_owned();
    }
    let text = reply.text();
    let (status, words) = text.split_once(' ').unwrap();
    let words = words.rsplit_once("rejected: ").map_or(words, |(_, words)| words);
    // Those of each server's own.
    let words = if status == "5.1.1" { "" } else { words };
    format!("{} {status} {words}", reply.code)
}

/// Which message this is.
fn number_of(mail: &str) -> usize {
    mail.split_once("Case: ").unwrap().1.split(';').next().unwrap().parse().unwrap()
}

/// That it arrived, with the lines that tables put before it.
fn marks(mail: &str) -> Vec<String> {
    let lines = mail.lines().filter(|line| line.starts_with("X-Pre:")).map(ToOwned::to_owned);
    let mut all: Vec<String> = lines.collect();
    all.sort();
    // Postfix asks about the client again at each recipient, and puts the line again.
    all.dedup();
    all.insert(0, "arrived".to_owned());
    all
}

const ONE: &[&str] = &[USER];
/// Nobody's table knows this one.
const PLAIN: Case = Case { ip: "10.0.0.1", helo: "mail.far.test", from: "jim@far.test", to: ONE };

/// Envelopes that the tables have something to say about: each thing alone, then pairs.
fn cases() -> Vec<Case> {
    let mut all = vec![PLAIN];
    let ips = [
        "192.0.2.9",
        "192.0.2.10",
        "198.51.100.7",
        "198.51.100.8",
        "192.0.2.66",
        "192.0.2.67",
        "203.0.113.4",
    ];
    let nets: Vec<&'static str> =
        (5..=23).chain([40]).map(|last| &*Box::leak(format!("203.0.113.{last}").into_boxed_str())).collect();
    let clients: Vec<Case> = ips.into_iter().chain(nets).map(|ip| Case { ip, ..PLAIN }).collect();
    let helos = [
        "bad.test",
        "x.bad.test",
        "Good.Bad.Test",
        "x.good.bad.test",
        "127.0.0.1",
        "[192.0.2.9]",
        "a.twice.test",
        "twice",
        "x.twice",
    ];
    let helos: Vec<Case> = helos.into_iter().map(|helo| Case { helo, ..PLAIN }).collect();
    let senders = [
        "",
        "joe@b.test",
        "Joe+x@b.test",
        "joe+other@b.test",
        "x@c.test",
        "x@sub.c.test",
        "x@y.sub.c.test",
        "root@far.test",
        "root+y@far.test",
        "root@d.far.test",
        "root+z@sub.c.test",
        "x@anything.test",
        "x@d.far.test",
        "x@e.d.far.test",
        "hold@far.test",
        "discard@far.test",
        "redirect@far.test",
        "abc@far.test",
        "B@far.test",
    ];
    let senders: Vec<Case> = senders.into_iter().map(|from| Case { from, ..PLAIN }).collect();
    let recipients: [&'static [&'static str]; 5] =
        [&[OTHER], &[USER, OTHER], &["user+x@example.test"], &[TAGGED, USER], &["nobody@example.test"]];
    all.extend(recipients.into_iter().map(|to| Case { to, ..PLAIN }));
    // What a table orders for the whole message, with two recipients.
    all.extend(["203.0.113.7", "203.0.113.9", "203.0.113.11"].map(|ip| Case {
        ip,
        to: &[USER, USER],
        ..PLAIN
    }));
    for (one, other) in clients.iter().zip(senders.iter().cycle().skip(3)) {
        all.push(Case { from: other.from, ..*one });
    }
    for (one, other) in senders.iter().zip(helos.iter().cycle()) {
        all.push(Case { helo: other.helo, ..*one });
    }
    all.extend(clients.into_iter().chain(helos).chain(senders));
    all
}

#[test]
fn access_tables_do_as_in_postfix() {
    let Some(pair) = Pair::start(&STAGES, &[]) else { return };
    pair.compare(&cases());
}

/// The other way to write parents of domains, and patterns, which see the whole name or address.
#[test]
fn access_tables_with_dots_and_patterns_do_as_in_postfix() {
    let Some(pair) = Pair::start(&DOTTED, &[("parent_domain_matches_subdomains", "")]) else { return };
    pair.compare(&cases());
}
