//! Strangers' mail is judged while they are on the line, and operators are told why.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use support::{Client, Daemon, Dns, Sink};

use crate::{codes, letter, queue_id};

/// A client with a name that leads there and back, and a sender's domain that permits it.
const ZONE: &str = "\
@                       3600 IN SOA ns.test. root.test. 1 3600 600 86400 60
9.2.0.192.in-addr.arpa. 60 IN PTR mail.far.test.
mail.far.test.          60 IN A 192.0.2.9
far.test.               60 IN MX 10 mail.far.test.
far.test.               60 IN TXT \"v=spf1 a:mail.far.test -all\"
strict.test.            60 IN A 198.51.100.7
strict.test.            60 IN TXT \"v=spf1 a -all\"
_dmarc.strict.test.     60 IN TXT \"v=DMARC1; p=reject\"
";

/// A server behind a proxy on this machine, which tells it who its clients are.
pub(crate) struct House {
    pub(crate) daemon: Daemon,
    port: u16,
    dns: Option<Dns>,
}

impl House {
    pub(crate) fn start(rest: &str, files: &[(&str, &str)]) -> Self {
        Self::start_with("", rest, files)
    }

    /// `top` goes among the first keys.
    pub(crate) fn start_with(top: &str, rest: &str, files: &[(&str, &str)]) -> Self {
        let dns = Dns::start(ZONE);
        let house = Self::asking(dns.addr, (top, rest), files);
        Self { dns: Some(dns), ..house }
    }

    /// One that asks these name servers; the second text goes on with `[dns]`.
    pub(crate) fn asking(server: SocketAddr, (top, rest): (&str, &str), files: &[(&str, &str)]) -> Self {
        let port = support::free_port();
        let rest = format!(
            "[[listener]]\nkind = \"mx\"\nbind = [\"127.0.0.1:{port}\"]\nproxy_protocol_from = [\"127.0.0.1/32\"]\n\
             [dns]\nservers = [\"{server}\"]\n{rest}"
        );
        let mut daemon = Daemon::prepare(crate::PROGRAM, top, &rest);
        for (name, text) in files {
            daemon.write(name, text);
        }
        daemon.add_account("user@example.test", "secret");
        daemon.run();
        Self { daemon, port, dns: None }
    }

    /// A client at this address that has not been greeted yet.
    pub(crate) fn raw(&self, ip: &str) -> Client {
        let mut client = Client::raw(([127, 0, 0, 1], self.port).into());
        client.send(format!("PROXY TCP4 {ip} 127.0.0.1 4000 25\r\n").as_bytes());
        client
    }

    pub(crate) fn client(&self, ip: &str, helo: &str) -> Client {
        let mut client = self.raw(ip);
        assert_eq!(client.reply().code, 220);
        assert_eq!(client.command(&format!("EHLO {helo}")).code, 250);
        client
    }

    /// Exit code and standard output of `staffetta explain`.
    pub(crate) fn explain(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.daemon.tool(&[&["explain"], arguments].concat());
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }

    /// The name of the session in which this address was refused, as the log has it.
    fn session_that_refused(&self, address: &str) -> String {
        self.session_with(&format!("to=<{address}>"))
    }

    /// The name of the session of the first refusal whose line in the log has these words.
    fn session_with(&self, words: &str) -> String {
        let refusal = || {
            let log = self.daemon.log();
            let line = log.lines().find(|l| l.contains("/refuse: ") && l.contains(words));
            line.and_then(|line| Some(line.split_once("session=")?.1.split(',').next()?.to_owned()))
        };
        assert!(support::wait_until(|| refusal().is_some()), "{}", self.daemon.log());
        refusal().unwrap()
    }
}

#[test]
fn what_was_refused_before_there_was_a_message_is_explained_and_can_be_forgotten() {
    let house = House::start("", &[]);
    let mut client = house.client("192.0.2.9", "mail.far.test");
    assert_eq!(client.command("MAIL FROM:<joe@far.test>").code, 250);
    assert_eq!(codes(&client.command("RCPT TO:<nobody@example.test>")), "550 5.1.1");
    assert_eq!(codes(&client.command("RCPT TO:<x@elsewhere.test>")), "550 5.7.1");

    let session = house.session_that_refused("nobody@example.test");
    let (code, text) = house.explain(&[&session]);
    assert_eq!(code, 0, "{text}");
    for words in [
        session.as_str(),
        "192.0.2.9",
        "joe@far.test",
        "nobody@example.test",
        "x@elsewhere.test",
        "550 5.1.1",
        "domain[0].recipients",
        "trusted_networks",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    let verdicts = house.daemon.log().lines().filter(|line| line.contains("staffetta/verdict: ")).count();
    assert_eq!(verdicts, 2, "{}", house.daemon.log());

    let (code, table) = house.explain(&["--last", "20"]);
    assert_eq!((code, table.lines().count()), (0, 3), "{table}");
    let (code, json) = house.explain(&["--rcpt", "nobody@", "--since", "2h", "--json"]);
    let record: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &record["about"]["session"]), (0, &session.as_str().into()), "{json}");
    assert_eq!(record["decided"]["ruling"]["source"], "unknown_recipient", "{json}");

    assert_eq!(house.explain(&["--erase", "nobody@example.test"]), (0, "1 verdicts forgotten\n".to_owned()));
    assert_eq!(house.explain(&["--rcpt", "nobody@example.test"]), (1, String::new()));
    let rest = house.explain(&[&session]).1;
    assert!(rest.contains("x@elsewhere.test") && !rest.contains("nobody@"), "{rest}");
}

#[test]
fn good_mail_arrives_with_our_opinion_of_it_and_nobody_elses() {
    let house = House::start("", &[]);
    let mut client = house.client("192.0.2.9", "mail.far.test");
    let forged = "X-Spam-Status: No, score=-100\r\nx-spam-flag: NO\r\nX-Spam-Level: *\r\n";
    let reply = client.mail("joe@far.test", &["user@example.test"], &format!("{forged}{}", letter("good")));
    let id = queue_id(&reply);
    let arrived = house.daemon.wait_for_mail("user@example.test", 1).concat();
    let fields = |name: &str| arrived.lines().filter(|l| l.to_lowercase().starts_with(name)).count();
    assert_eq!((fields("x-spam-status:"), fields("x-spam-flag:")), (1, 1), "{arrived}");
    assert!(arrived.contains("X-Spam-Status: No, score="), "{arrived}");
    assert!(!arrived.contains("score=-100"), "{arrived}");
    assert!(arrived.contains("Received: from mail.far.test (mail.far.test [192.0.2.9])"), "{arrived}");

    let (code, text) = house.explain(&[&id]);
    for said in [
        "far.test TXT: v=spf1 a:mail.far.test -all",
        "far.test MX: ",
        "_dmarc.example.test TXT: no such name",
    ] {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
    assert!(code == 0 && text.contains(&id) && text.contains("user@example.test"), "{text}");
    let (_, table) = house.explain(&["--last", "1"]);
    assert!(table.contains(&id) && table.contains(" accept "), "{table}");
    let line = format!("staffetta/verdict: {id}: session=");
    assert!(support::wait_until(|| house.daemon.log().contains(&line)), "{}", house.daemon.log());
    // By the name that leads back to the address, in each line about it.
    for kind in ["verdict", "accept"] {
        let log = house.daemon.log();
        let line = log.lines().find(|line| line.contains(&format!("staffetta/{kind}: {id}: ")));
        assert!(line.is_some_and(|line| line.contains("client=mail.far.test[192.0.2.9]")), "{log}");
    }
    let counted = "staffetta_verdicts_total{action=\"accept\",stage=\"end_of_data\"}";
    assert_eq!(house.daemon.metric(counted), Some(1.0));
}

const STRICT: &str = "
[antispam]
thresholds = { reject = 7.0, reject_early = 7.0 }
dnsbl_cap = 6.0
greylist = { mode = \"off\" }
[[antispam.access]]
stage = \"connect\"
table = \"cidr:clients\"
";
const CLIENTS: &str = "# who may come\n192.0.2.66 REJECT Not from there\n";

/// By an operator's table, or by what is known of the client: the operator is told by what, and hears the same beforehand.
#[test]
fn what_a_table_or_the_score_refuses_is_explained_and_can_be_tried_before() {
    let house = House::start(STRICT, &[("clients", CLIENTS)]);
    for (ip, helo, sender, recipient, words) in [
        (
            "192.0.2.66",
            "mail.far.test",
            "joe@far.test",
            "user@example.test",
            &["Not from there", "antispam.access[0]"][..],
        ),
        (
            "192.0.2.77",
            "nowhere.test",
            "joe@nowhere.test",
            "user+x@example.test",
            &["antispam.thresholds.reject_early", "RDNS_NONE", "SENDER_NO_DOMAIN", "7.0"],
        ),
    ] {
        let said = ["--ip", ip, "--helo", helo, "--mail-from", sender, "--rcpt", recipient];
        let tried = house.daemon.tool(&[&["try"], &said[..]].concat());
        assert_eq!(tried.status.code(), Some(1), "{tried:?}");

        let mut client = house.client(ip, helo);
        assert_eq!(client.command(&format!("MAIL FROM:<{sender}>")).code, 250);
        let reply = client.command(&format!("RCPT TO:<{recipient}>"));
        assert_eq!(reply.code, 550, "{reply:?}");
        let session = house.session_that_refused(recipient);
        let (code, explained) = house.explain(&[&session]);
        assert_eq!(code, 0);
        for text in [explained, String::from_utf8(tried.stdout).unwrap()] {
            for word in words {
                assert!(text.contains(word), "{word}:\n{text}");
            }
        }
    }
    let counted = "staffetta_symbols_total{symbol=\"SENDER_NO_DOMAIN\"}";
    assert_eq!(house.daemon.metric(counted), Some(1.0));

    house.daemon.write("letter", &letter("tried"));
    let good = ["try", "--ip", "192.0.2.9", "--helo", "mail.far.test", "--mail-from", "joe@far.test"];
    let more = ["--rcpt", "user@example.test", "--message", "letter", "--json"];
    let tried = house.daemon.tool(&[&good[..], &more].concat());
    let lines = String::from_utf8(tried.stdout).unwrap();
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((tried.status.code(), &last["stage"]), (Some(0), &"end_of_data".into()), "{lines}");
    assert_eq!(lines.lines().count(), 5, "{lines}");
    assert!(house.daemon.mailbox("user@example.test").is_empty(), "nothing was delivered");
    assert_eq!(house.explain(&["--last", "9", "--json"]).1.lines().count(), 2, "nothing was kept");
}

const EARLY: &str = "
[antispam]
thresholds = { greylist = 0.0, tag = 2.0, reject = 3.4, reject_early = 3.4 }
dnsbl_cap = 3.0
[[antispam.access]]
stage = \"connect\"
table = \"inline:{{192.0.2.66 = REJECT not from there}}\"
[[antispam.access]]
stage = \"helo\"
table = \"inline:{{liar.test = REJECT not by that name}}\"
[[antispam.access]]
stage = \"mail\"
table = \"inline:{{bad@far.test = DEFER not now}}\"
[[antispam.access]]
stage = \"rcpt\"
table = \"inline:{{user+d@example.test = REJECT not to that}}\"
";

/// Whatever refuses, and wherever it is known: `explain` tells who was refused by what.
#[test]
fn every_refusal_is_explained_at_whatever_stage() {
    let house = House::start(EARLY, &[]);
    let (joe, name) = ("joe@far.test", "mail.far.test");
    for (ip, helo, sender, recipient, code, words) in [
        ("192.0.2.66", name, joe, "user+a@example.test", 550, &["antispam.access[0]", "not from there"][..]),
        ("192.0.2.9", "liar.test", joe, "user+b@example.test", 550, &["antispam.access[1]", "liar.test"]),
        ("192.0.2.9", name, "bad@far.test", "user+c@example.test", 450, &["antispam.access[2]", "not now"]),
        ("192.0.2.9", name, joe, "user+d@example.test", 550, &["antispam.access[3]", "user+d@"]),
        ("192.0.2.9", name, "joe@strict.test", "user+e@example.test", 550, &["SPF_FAIL", "reject_early"]),
        (
            "192.0.2.9",
            name,
            "user@example.test",
            "user+f@example.test",
            550,
            &["SENDER_OURS_BY_STRANGER", "antispam.thresholds.reject_early"],
        ),
    ] {
        let mut client = house.client(ip, helo);
        assert_eq!(client.command(&format!("MAIL FROM:<{sender}>")).code, 250);
        assert_eq!(client.command(&format!("RCPT TO:<{recipient}>")).code, code, "{recipient}");
        let (exit, text) = house.explain(&[&house.session_that_refused(recipient)]);
        assert_eq!(exit, 0, "{recipient}");
        for word in words.iter().chain(&[ip, sender, recipient]) {
            assert!(text.contains(word), "{word}:\n{text}");
        }
    }

    // Who may send as whom: at MAIL there is no recipient yet, after DATA no verdict.
    let mut user = Client::hello_tls(house.daemon.submissions);
    assert_eq!(user.log_in("user@example.test", "secret").code, 235);
    assert_eq!(user.command("MAIL FROM:<boss@example.test>").code, 550);
    let session = house.session_with("stage=mail");
    let (_, text) = house.explain(&[&session]);
    for word in
        ["refused (at MAIL)", "who may send as whom", "boss@example.test", "accounts.file", "550 5.7.1"]
    {
        assert!(text.contains(word), "{word}:\n{text}");
    }
    let forged = letter("forged").replace("user@example.test", "boss@example.test");
    assert_eq!(user.mail("user@example.test", &["joe@far.test"], &forged).code, 550);
    assert_eq!(house.session_with("stage=data"), session);
    let (_, text) = house.explain(&[&session]);
    for word in ["refused (after DATA)", "refused (at MAIL)", "joe@far.test", "boss@example.test"] {
        assert!(text.contains(word), "{word}:\n{text}");
    }
    let counted = "staffetta_verdicts_total{action=\"reject\",stage=\"mail\"}";
    assert_eq!(house.daemon.metric(counted), Some(1.0));
}

/// What cannot be found out is told as that, and is no failure.
#[test]
fn a_seal_whose_key_cannot_be_asked_for_is_unknown() {
    let house = House::start("[antispam.greylist]\nmode = \"off\"\n", &[]);
    house.dns.as_ref().unwrap().trouble("s._domainkey.sealer.test", support::Trouble::ServFail);
    let seal = "ARC-Seal: i=1; a=rsa-sha256; t=1763776800; cv=none; d=sealer.test; s=s; b=AAAA\r\n\
                ARC-Message-Signature: i=1; a=rsa-sha256; c=relaxed/relaxed; d=sealer.test; s=s; t=1763776800;\r\n\
                \th=from:to:subject; bh=yZQq1c8wjBl0fZ4Wc/oraMCAG1mZJv5v/hlvyFy+t6A=; b=AAAA\r\n\
                ARC-Authentication-Results: i=1; sealer.test; spf=pass\r\n";
    let mut client = house.client("192.0.2.9", "mail.far.test");
    let sealed =
        format!("{seal}{}", letter("sealed").replace("From: user@example.test", "From: joe@far.test"));
    let id = queue_id(&client.mail("joe@far.test", &["user@example.test"], &sealed));
    let arrived = house.daemon.wait_for_mail("user@example.test", 1).concat();
    // RFC 8617 section 10.3 has no word for it in Authentication-Results.
    assert!(!arrived.contains(" arc=") && !arrived.contains("\tarc="), "{arrived}");
    let (_, text) = house.explain(&[&id]);
    assert!(text.contains("ARC_UNKNOWN") && !text.contains("ARC_FAIL"), "{text}");
}

#[test]
fn operators_look_at_lists_greylisting_and_mail_without_a_sender() {
    // Without an address to test it with, the list fails its test entries.
    let list = "[[antispam.dnsbl]]\nzone = \"zen.dnsbl.test\"\nrules = [{ reply = \"127.0.0.2\", symbol = \"ZEN\", score = 4.0 }]\n";
    let house = House::start(list, &[]);
    let tool = |arguments: &[&str]| {
        let output = house.daemon.tool(arguments);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), text)
    };
    let lists = || tool(&["dnsbl", "status"]).1;
    assert!(support::wait_until(|| lists().contains(" suspended ")), "{}", lists());
    assert!(lists().contains("zen.dnsbl.test  ipv4 "), "{}", lists());
    let (code, json) = tool(&["dnsbl", "status", "--json"]);
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((code, &first["list"]), (0, &"zen.dnsbl.test".into()), "{json}");

    assert_eq!(tool(&["greylist", "list"]), (0, "nothing is remembered\n".to_owned()));
    let said = "net:192.0.2.0/24 is not asked to come back\n".to_owned();
    assert_eq!(tool(&["greylist", "allow", "192.0.2.9"]), (0, said));
    let (code, table) = tool(&["greylist", "list"]);
    assert!(
        code == 0 && table.contains("net:192.0.2.0/24  allowed ") && table.contains("\n1 entry\n"),
        "{table}"
    );
    let (code, error) = tool(&["greylist", "allow", "10.0.0.0/8"]);
    assert!(code == 1 && error.contains("/24"), "{error}");
    assert_eq!(tool(&["greylist", "delete", "192.0.2.9"]), (0, "1 entry forgotten\n".to_owned()));
    assert_eq!(tool(&["greylist", "delete", "192.0.2.9"]).0, 1);

    let mut client = house.client("192.0.2.9", "mail.far.test");
    client.mail("", &["user@example.test"], &letter("a report of nothing"));
    let counted = || {
        let (_, json) = tool(&["backscatter", "status", "--json"]);
        serde_json::from_str::<serde_json::Value>(&json).unwrap()["forged"] == 1
    };
    assert!(support::wait_until(counted), "{}", tool(&["backscatter", "status"]).1);
    let (code, text) = tool(&["backscatter", "status"]);
    assert!(code == 0 && text.contains("1 of 1 (100.0 %) would have been refused"), "{text}");
}

#[test]
fn haste_is_noticed() {
    let house = House::start("", &[]);
    let mut client = Client::raw(([127, 0, 0, 1], house.port).into());
    client.send(
        b"PROXY TCP4 192.0.2.9 127.0.0.1 4000 25\r\nEHLO mail.far.test\r\nMAIL FROM:<joe@far.test>\r\n\
          RCPT TO:<nobody@example.test>\r\n",
    );
    for code in [220, 250, 250, 550] {
        assert_eq!(client.reply().code, code);
    }
    let session = house.session_that_refused("nobody@example.test");
    let (_, text) = house.explain(&[&session]);
    assert!(text.contains("EARLY_TALKER") && text.contains("EARLY_PIPELINING"), "{text}");
}

/// A stranger's greeting waits for what DNS says of its address; that of a client whose mail was welcome does not, and
/// nothing is decided before it is known all the same.
#[test]
fn who_was_welcome_is_greeted_at_once() {
    // Answers that nobody may remember.
    let more = "11.2.0.192.in-addr.arpa. 0 IN PTR mail.open.test.\nmail.open.test. 0 IN A 192.0.2.11\n\
                open.test. 60 IN MX 10 mail.open.test.\n10.2.0.192.in-addr.arpa. 0 IN PTR other.open.test.\n";
    let dns = Dns::start(&format!("{ZONE}{more}"));
    let house = House::asking(dns.addr, ("", ""), &[]);
    let mut client = house.client("192.0.2.11", "mail.open.test");
    assert_eq!(client.mail("joe@open.test", &["user@example.test"], &letter("welcome")).code, 250);
    for pointer in ["11.2.0.192.in-addr.arpa", "10.2.0.192.in-addr.arpa"] {
        dns.trouble(pointer, support::Trouble::Silent);
    }
    let greeted = |ip: &str| {
        let (began, mut client) = (Instant::now(), house.raw(ip));
        assert_eq!(client.reply().code, 220);
        (client, began.elapsed())
    };
    let (_, waited) = greeted("192.0.2.10");
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    let (mut client, waited) = greeted("192.0.2.11");
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    assert_eq!(client.command("EHLO mail.open.test").code, 250);
    assert_eq!(client.command("MAIL FROM:<joe@open.test>").code, 250);
    assert_eq!(client.command("RCPT TO:<nobody@example.test>").code, 550);
    let (_, text) = house.explain(&[&house.session_that_refused("nobody@example.test")]);
    assert!(text.contains("client   192.0.2.11, HELO") && !text.contains("RDNS_OK"), "waited for: {text}");
}

#[test]
fn who_comes_back_in_time_is_let_in() {
    let house = House::start("[antispam.greylist]\nmode = \"always\"\ndelay_seconds = 1\n", &[]);
    let mut first = house.client("192.0.2.9", "mail.far.test");
    let letter = letter("patient");
    assert_eq!(first.command("MAIL FROM:<joe@far.test>").code, 250);
    let reply = first.command("RCPT TO:<user@example.test>");
    assert_eq!(codes(&reply), "451 4.7.1", "{reply:?}");
    // Never greylisted: who verifies an address with the null sender, and who writes to the postmaster.
    assert_eq!(first.command("RSET").code, 250);
    assert_eq!(first.command("MAIL FROM:<>").code, 250);
    assert_eq!(first.command("RCPT TO:<user@example.test>").code, 250);
    // From elsewhere, by a client that the sender's domain permits as well: SPF knows it again.
    let comes_back = || {
        let mut again = house.client("192.0.2.9", "mail.far.test");
        again.command("MAIL FROM:<joe@far.test>");
        let known = again.command("RCPT TO:<user@example.test>").code == 250;
        again.command("RSET");
        known && again.mail("joe@far.test", &["user@example.test"], &letter).code == 250
    };
    assert!(support::wait_until(comes_back), "{}", house.daemon.log());
    assert_eq!(house.daemon.wait_for_mail("user@example.test", 1).len(), 1);
}

#[test]
fn only_bounces_of_our_own_letters_are_taken() {
    let rest =
        "[[outbound.route]]\nmatch = \"*\"\nto = \"discard\"\n[antispam.backscatter]\nmode = \"enforce\"\n";
    let house = House::start(rest, &[]);
    let mut user = Client::hello_tls(house.daemon.submissions);
    assert_eq!(user.log_in("user@example.test", "secret").code, 235);
    assert_eq!(user.mail("user@example.test", &["gone@far.test"], &letter("ours")).code, 250);
    let mut server = house.client("192.0.2.9", "mail.far.test");
    // The last one fails DMARC, as reports often do: that it is about mail of ours counts for more.
    for (message_id, domain, codes_wanted) in [
        ("ours@example.test", "mail.far.test", "250"),
        ("theirs@example.test", "mail.far.test", "550"),
        ("ours@example.test", "strict.test", "250"),
    ] {
        let bounce = format!(
            "From: MAILER-DAEMON@{domain}\r\nTo: user@example.test\r\nSubject: Undelivered Mail\r\n\
             Date: Sun, 22 Nov 2026 02:00:00 +0000\r\nMessage-ID: <b1@mail.far.test>\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nNo such user.\r\n\
             --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mail.far.test\r\n\r\n\
             Final-Recipient: rfc822; gone@far.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n\
             --b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <{message_id}>\r\n\r\n--b--\r\n"
        );
        let reply = server.mail("", &["user@example.test"], &bounce);
        assert_eq!(reply.code.to_string(), codes_wanted, "{message_id} {domain}: {reply:?}");
    }
    let arrived = house.daemon.wait_for_mail("user@example.test", 2);
    assert!(arrived.iter().all(|mail| mail.contains("<ours@example.test>")), "{arrived:?}");
    assert!(
        arrived.iter().any(|mail| mail.contains("DMARC_OF_REPORT")),
        "in the inbox, not in Junk: {arrived:?}"
    );
    let refused = "staffetta_messages_received_total{listener=\"mx\",result=\"policy\"}";
    assert_eq!(house.daemon.metric(refused), Some(1.0), "a verdict is not a sender who is not the owner");
}

/// What the author's domain asks for is heard, but does not decide alone: forwarded letters fail just so.
#[test]
fn a_broken_forward_is_marked_and_not_refused() {
    let house = House::start("[antispam.greylist]\nmode = \"off\"\n", &[]);
    let mut forwarder = house.client("192.0.2.9", "mail.far.test");
    let forged = "Authentication-Results: mx.example.test; dmarc=pass\r\n";
    let hop = "Received: from out.strict.test (out.strict.test [198.51.100.7])\r\n\tby mail.far.test with ESMTPS id 7;\r\n\tSun, 22 Nov 2026 02:00:00 +0000\r\n";
    let forwarded = format!("{hop}{forged}{}", strict());
    let posted = format!("List-Id: <talk.far.test>\r\n{}", strict());
    for (number, (sender, letter)) in
        [("joe@strict.test", forwarded), ("talk-bounces@far.test", posted)].iter().enumerate()
    {
        let reply = forwarder.mail(sender, &["user@example.test"], letter);
        assert_eq!(reply.code, 250, "{sender}: {reply:?}");
        let arrived = || house.daemon.log().matches("status=sent").count() > number;
        assert!(support::wait_until(arrived), "{}", house.daemon.log());
        let (_, text) = house.explain(&[&queue_id(&reply)]);
        for word in ["DMARC_REJECT", "filed into Junk"] {
            assert!(text.contains(word), "{sender}: {word}:\n{text}");
        }
        assert!(!text.contains("DMARC_REJECT_DIRECT"), "{sender}:\n{text}");
    }
}

/// Where an alias leads to another host, that host would take us for the sender.
#[test]
fn junk_is_not_forwarded_to_other_hosts() {
    let sink = Sink::start(0, &[]);
    let rest = format!(
        "[[domain]]\nname = \"alias.test\"\nrecipients = \"inline:{{nobody=x}}\"\ndeliver = \"discard\"\naliases = \"text:virtual\"\n\
         [[outbound.route]]\nmatch = \"*\"\nto = \"smtp:[127.0.0.1]:{}\"\n\
         [antispam]\ngreylist = {{ mode = \"off\" }}\n\
         [[antispam.access]]\nstage = \"mail\"\ntable = \"inline:{{{{jim@far.test = SCORE 6}}}}\"\n",
        sink.address.port()
    );
    let aliases = "both@alias.test user@example.test, first@far.test\nonly@alias.test second@far.test\n";
    let house = House::start(&rest, &[("virtual", aliases)]);
    let log = |words: &str| {
        assert!(
            support::wait_until(|| house.daemon.log().contains(words)),
            "{words}:\n{}",
            house.daemon.log()
        );
    };
    let mut good = house.client("192.0.2.9", "mail.far.test");
    let both = ["both@alias.test", "only@alias.test"];
    assert_eq!(good.mail("joe@far.test", &both, &letter("good")).code, 250);
    let forwarded = sink.wait_for(2);
    assert!(forwarded.iter().all(|taken| taken.text.contains("Subject: good")), "{forwarded:?}");

    let bad = &mut good;
    let first = queue_id(&bad.mail("jim@far.test", &both, &letter("junk")));
    log(&format!("{first}: junk is not forwarded to <first@far.test>; its copy is in quarantine as "));
    log(&format!("{first}: junk is not forwarded to <second@far.test>"));
    let second = queue_id(&bad.mail("jim@far.test", &["only@alias.test"], &letter("more")));
    log(&format!(
        "{second}: junk is not forwarded to <second@far.test>; its copy is in quarantine as {second}"
    ));
    let filed = || house.daemon.messages_in("mail/example.test/user/.Junk/new").concat();
    assert!(support::wait_until(|| filed().contains("Subject: junk")), "{}", house.daemon.log());
    assert_eq!(house.daemon.metric("staffetta_junk_not_forwarded_total"), Some(3.0));
    assert_eq!(house.daemon.metric("staffetta_queue_messages{state=\"held\"}"), Some(2.0));
    assert_eq!(sink.taken().len(), 2, "nothing of it has left");
    let (_, text) = house.explain(&[&second]);
    assert!(text.contains("only@alias.test") && text.contains("ACCESS_0"), "{text}");

    drop(house.daemon.queue(&["release", &second]));
    assert!(sink.wait_for(3).iter().any(|taken| taken.text.contains("Subject: more")));
    house.daemon.edit("[antispam]\n", "[antispam]\nforward_tagged = true\n");
    house.daemon.signal("HUP");
    let reloaded = || house.daemon.metric("staffetta_config_reloads_total{result=\"ok\"}") == Some(1.0);
    assert!(support::wait_until(reloaded), "{}", house.daemon.log());
    let mut bad = house.client("192.0.2.9", "mail.far.test");
    assert_eq!(bad.mail("jim@far.test", &both, &letter("all")).code, 250);
    assert!(sink.wait_for(5).iter().any(|taken| taken.text.contains("Subject: all")));
}

/// What nobody has handed on, and nobody knows, is what it looks like; whoever an own user writes to is not taken for it.
#[test]
fn a_forged_author_is_refused_unless_he_is_a_correspondent() {
    let rest = "[[outbound.route]]\nmatch = \"*\"\nto = \"discard\"\n";
    let house = House::start(rest, &[]);
    let mut forger = house.client("192.0.2.9", "mail.far.test");
    for sender in ["joe@strict.test", "forger@far.test"] {
        let reply = forger.mail(sender, &["user@example.test"], &strict());
        assert_eq!(codes(&reply), "550 5.7.1", "{sender}: {reply:?}");
    }
    let (_, text) = house.explain(&["--last", "1", "--json"]);
    assert!(text.contains("DMARC_REJECT_DIRECT"), "{text}");

    let mut user = Client::hello_tls(house.daemon.submissions);
    assert_eq!(user.log_in("user@example.test", "secret").code, 235);
    let automatic = format!("Auto-Submitted: auto-replied\r\n{}", letter("vacation"));
    assert_eq!(user.mail("user@example.test", &["joe@strict.test"], &automatic).code, 250);
    assert_eq!(forger.mail("forger@far.test", &["user@example.test"], &strict()).code, 550);
    assert_eq!(user.mail("user@example.test", &["Joe+tag@strict.test"], &letter("hello")).code, 250);
    let reply = forger.mail("forger@far.test", &["user@example.test"], &strict());
    assert_eq!(reply.code, 250, "{reply:?}");
    let (_, text) = house.explain(&[&queue_id(&reply)]);
    assert!(text.contains("CORRESPONDENT") && !text.contains("CORRESPONDENT_PROVEN"), "{text}");
}

/// Answers are expected, and so are not asked to come back.
#[test]
fn correspondents_are_never_greylisted() {
    let rest =
        "[[outbound.route]]\nmatch = \"*\"\nto = \"discard\"\n[antispam.greylist]\nmode = \"always\"\n";
    let house = House::start(rest, &[]);
    let mut client = house.client("192.0.2.9", "mail.far.test");
    assert_eq!(client.command("MAIL FROM:<joe@far.test>").code, 250);
    assert_eq!(client.command("RCPT TO:<user@example.test>").code, 451);
    let mut user = Client::hello_tls(house.daemon.submissions);
    assert_eq!(user.log_in("user@example.test", "secret").code, 235);
    assert_eq!(user.mail("user@example.test", &["joe@far.test"], &letter("a question")).code, 250);
    assert_eq!(client.command("RCPT TO:<user@example.test>").code, 250);
    assert_eq!(client.command("RSET").code, 250);
    assert_eq!(client.command("MAIL FROM:<jim@far.test>").code, 250);
    assert_eq!(client.command("RCPT TO:<user@example.test>").code, 451);
}

/// An operator may do as the domain asks, whatever excuses there are.
#[test]
fn honour_reject_refuses_what_the_domain_asks_to_refuse() {
    let house = House::start("[antispam.dmarc]\nhonour_reject = true\n", &[]);
    let mut list = house.client("192.0.2.9", "mail.far.test");
    let posted = format!("List-Id: <talk.far.test>\r\n{}", strict());
    let reply = list.mail("talk-bounces@far.test", &["user@example.test"], &posted);
    assert_eq!(codes(&reply), "550 5.7.1", "{reply:?}");
    let (_, text) = house.explain(&["--last", "1", "--json"]);
    assert!(text.contains("antispam.dmarc.honour_reject"), "{text}");
}

/// Part of I9: silence costs a deadline, never the mail, and says nothing about anybody.
#[test]
fn name_servers_that_never_answer_cost_one_wait_and_no_mail() {
    let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
    let rest = "silent_millis = 300\n[antispam.greylist]\nmode = \"off\"\n";
    let house = House::asking(deaf.local_addr().unwrap(), ("", rest), &[]);
    let begun = Instant::now();
    for number in 0..5 {
        let mut client = house.client("192.0.2.9", "mail.far.test");
        let reply = client.mail("joe@far.test", &["user@example.test"], &letter(&format!("number{number}")));
        assert_eq!(reply.code, 250, "{reply:?}");
        let (_, text) = house.explain(&[&queue_id(&reply)]);
        for word in ["HELO_TIMEOUT", "SENDER_DOMAIN_TIMEOUT", "DMARC_UNKNOWN"] {
            assert!(text.contains(word), "{word}:\n{text}");
        }
        for word in ["HELO_UNRESOLVABLE", "SENDER_NO_DOMAIN", "DMARC_NONE"] {
            assert!(!text.contains(word), "{word}:\n{text}");
        }
    }
    // The deadlines of the stages alone, one after the other, would be more for a single message.
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    assert_eq!(house.daemon.wait_for_mail("user@example.test", 5).len(), 5);
}

/// A letter whose author's domain publishes `p=reject`.
pub(crate) fn strict() -> String {
    letter("strict").replace("From: user@example.test", "From: joe@strict.test")
}
