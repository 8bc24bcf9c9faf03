//! What is certain acts in every mode; what is probable acts where the mode of all, of a domain or of a recipient says so.

use support::Client;

use crate::judging::House;
use crate::{codes, letter, queue_id};

const USER: &str = "user@example.test";

/// Something of everything that decides alone, and of what goes by score.
const FACTS: &str = "
[antispam]
mode = \"@MODE@\"
header_checks = \"regexp:fields\"
body_checks = \"regexp:lines\"
[antispam.backscatter]
mode = \"enforce\"
[[antispam.access]]
stage = \"connect\"
table = \"inline:{{192.0.2.66 = REJECT not from there}}\"
[[antispam.access]]
stage = \"helo\"
table = \"inline:{{later.test = DEFER later}}\"
[[antispam.access]]
stage = \"mail\"
table = \"inline:{{bad@far.test = REJECT not you}, {grey@far.test = SCORE 6}, {heavy@far.test = SCORE 50}}\"
[[antispam.access]]
stage = \"rcpt\"
table = \"inline:{{closed@example.test = REJECT nobody in}}\"
";

/// The reply that ends a transaction, as far as it gets.
fn outcome(client: &mut Client, from: &str, to: &str, text: &str) -> String {
    client.command("RSET");
    for line in [format!("MAIL FROM:<{from}>"), format!("RCPT TO:<{to}>"), "DATA".to_owned()] {
        let reply = client.command(&line);
        if reply.code >= 400 {
            return codes(&reply);
        }
    }
    client.send(format!("{text}.\r\n").as_bytes());
    codes(&client.reply())
}

/// What somebody has to hear, by what is sent: sender, recipient, letter.
fn hears(client: &mut Client, mode: &str, what: &[(&str, &str, &str, &str)]) {
    for (from, to, text, want) in what {
        assert_eq!(outcome(client, from, to, text), *want, "<{from}> to <{to}> in mode {mode}: {text}");
    }
}

#[test]
fn what_is_certain_acts_in_every_mode() {
    let good = letter("good").replace("user@example.test", "joe@far.test");
    let (forbidden, buy) = (good.replace("good", "forbidden"), good.replace("Hello", "Buy now"));
    let bounce = "From: MAILER-DAEMON@mail.far.test\r\nTo: user@example.test\r\nSubject: Undelivered Mail\r\n\
                  Date: Sun, 22 Nov 2026 02:00:00 +0000\r\nMessage-ID: <b1@mail.far.test>\r\nMIME-Version: 1.0\r\n\
                  Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nNo such user.\r\n\
                  --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mail.far.test\r\n\r\n\
                  Final-Recipient: rfc822; gone@far.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n\
                  --b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <theirs@example.test>\r\n\r\n--b--\r\n";
    for (mode, greylisted, scored, forged) in [
        ("observe", "250 2.0.0", "250 2.0.0", "250 2.0.0"),
        ("tag", "250 2.0.0", "250 2.0.0", "250 2.0.0"),
        ("enforce", "451 4.7.1", "550 5.7.1", "550 5.7.1"),
    ] {
        let tables = [("fields", "/^Subject: forbidden/ REJECT\n"), ("lines", "/^Buy now/ REJECT\n")];
        let house = House::start(&FACTS.replace("@MODE@", mode), &tables);
        house.daemon.add_account("closed@example.test", "secret");
        let closed = || {
            let mut client = house.client("192.0.2.9", "mail.far.test");
            outcome(&mut client, "joe@far.test", "closed@example.test", &good)
        };
        assert!(support::wait_until(|| closed() == "550 5.7.1"), "the account is known: {}", closed());

        let mut client = house.client("192.0.2.9", "mail.far.test");
        assert_eq!(codes(&client.command("MAIL FROM:<joe@far.test> SIZE=999999999")), "552 5.3.4", "{mode}");
        hears(
            &mut client,
            mode,
            &[
                ("joe@far.test", USER, &good, "250 2.0.0"),
                ("joe@far.test", "nobody@example.test", &good, "550 5.1.1"),
                ("joe@far.test", "jim@elsewhere.test", &good, "550 5.7.1"),
                ("bad@far.test", USER, &good, "550 5.7.1"),
                ("joe@far.test", USER, &forbidden, "550 5.7.1"),
                ("joe@far.test", USER, &buy, "550 5.7.1"),
                ("grey@far.test", USER, &good, greylisted),
                ("heavy@far.test", USER, &good, scored),
                ("", USER, bounce, forged),
            ],
        );
        let mut client = house.client("192.0.2.66", "mail.far.test");
        hears(&mut client, mode, &[("joe@far.test", USER, &good, "550 5.7.1")]);
        let mut client = house.client("192.0.2.9", "later.test");
        hears(&mut client, mode, &[("joe@far.test", USER, &good, "450 4.7.1")]);

        let mut client = Client::hello_tls(house.daemon.submissions);
        assert_eq!(codes(&client.log_in(USER, "wrong")), "535 5.7.8", "{mode}");
        assert_eq!(client.log_in(USER, "secret").code, 235);
        hears(
            &mut client,
            mode,
            &[
                ("closed@example.test", USER, &good, "550 5.7.1"),
                (USER, USER, &good, "550 5.7.1"),
                (USER, USER, &forbidden.replace("joe@far.test", USER), "550 5.7.1"),
                (USER, "closed@example.test", &letter("ours"), "250 2.0.0"),
            ],
        );
    }
}

/// Settings of a domain, and of a recipient in it.
const OTHERS: &str = "
[[domain]]
name = \"calm.test\"
recipients = \"inline:{joe@calm.test=x}\"
deliver = \"maildir:mail/{domain}/{local}/\"
antispam = { mode = \"observe\" }
[[domain]]
name = \"strict.example\"
recipients = \"inline:{joe@strict.example=x, mild@strict.example=x}\"
deliver = \"maildir:mail/{domain}/{local}/\"
antispam = { thresholds = { reject = 8.5, reject_early = 8.5 } }
[antispam]
greylist = { mode = \"off\" }
[[antispam.recipient]]
address = \"mild@strict.example\"
thresholds = { reject_early = 30.0, reject = 25.0, tag = 7.0 }
[[antispam.recipient]]
address = \"user@example.test\"
thresholds = { quarantine = 8.0 }
[[antispam.access]]
stage = \"mail\"
table = \"inline:{{jim@far.test = SCORE 10}}\"
";

#[test]
fn a_recipient_in_another_mode_wants_a_transaction_of_its_own() {
    let house = House::start(OTHERS, &[]);
    let mut client = house.client("192.0.2.9", "mail.far.test");
    let mut rcpt = |first: &str, second: &str| {
        client.command("RSET");
        assert_eq!(client.command("MAIL FROM:<joe@far.test>").code, 250);
        assert_eq!(client.command(&format!("RCPT TO:<{first}>")).code, 250);
        codes(&client.command(&format!("RCPT TO:<{second}>")))
    };
    assert_eq!(rcpt(USER, "joe@calm.test"), "452 4.5.3");
    assert_eq!(rcpt("joe@calm.test", USER), "452 4.5.3");
    assert_eq!(rcpt(USER, "joe@strict.example"), "250 2.1.5", "thresholds of its own are no other mode");
    // Alone it is taken.
    client.command("RSET");
    assert_eq!(client.mail("joe@far.test", &["joe@calm.test"], &letter("calm")).code, 250);
    let (_, text) = house.explain(&["--rcpt", USER, "--since", "1h"]);
    assert!(text.contains("transaction of its own") && text.contains("antispam.mode"), "{text}");
}

/// At RCPT each hears its own answer; after DATA each gets its own copy, and nobody's is bounced.
#[test]
fn thresholds_are_those_of_the_domain_and_of_the_recipient() {
    let house = House::start(OTHERS, &[]);
    let mut client = house.client("192.0.2.9", "mail.far.test");
    assert_eq!(client.command("MAIL FROM:<jim@far.test>").code, 250);
    for (recipient, want) in
        [("joe@strict.example", "550 5.7.1"), ("mild@strict.example", "250 2.1.5"), (USER, "250 2.1.5")]
    {
        assert_eq!(codes(&client.command(&format!("RCPT TO:<{recipient}>"))), want, "{recipient}");
    }
    assert_eq!(client.command("DATA").code, 354);
    client.send(format!("{}.\r\n", letter("scored")).as_bytes());
    let id = queue_id(&client.reply());
    let junk = || house.daemon.messages_in("mail/strict.example/mild/.Junk/new").len();
    assert!(support::wait_until(|| junk() == 1), "{}", house.daemon.log());
    assert_eq!(house.daemon.queue(&["list", "--state", "quarantine"]).matches(USER).count(), 1);
    assert!(house.daemon.mailbox(USER).is_empty(), "kept from it");
    let (_, text) = house.explain(&[&id]);
    for words in ["antispam.recipient[0].thresholds", "antispam.recipient[1].thresholds.quarantine", "Junk"] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    let (_, text) = house.explain(&["--rcpt", "joe@strict.example", "--since", "1h"]);
    assert!(text.contains("domain[2].antispam.thresholds.reject_early"), "{text}");
}
