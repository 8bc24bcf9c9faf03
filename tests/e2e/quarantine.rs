//! What is kept back: operators see why, let it through as it was sent, throw it away, learn from it; recipients hear of it.

use std::process::Output;

use msgauth::dkim::KeyStore;
use support::Sink;

use crate::dkim::verify;
use crate::judging::House;
use crate::{letter, queue_id};

const USER: &str = "user@example.test";

/// Mail from jim is kept back, for whoever it is.
const RULES: &str = "
[antispam]
greylist = { mode = \"off\" }
thresholds = { quarantine = 8.0, tag = 5.0, reject = 20.0, reject_early = 20.0 }
[[antispam.access]]
stage = \"mail\"
table = \"inline:{{jim@far.test = SCORE 10}, {joe@far.test = SCORE 6}}\"
";

fn run(house: &House, arguments: &[&str]) -> Output {
    house.daemon.tool(&[&["quarantine"], arguments].concat())
}

/// What it printed.
fn done(house: &House, arguments: &[&str]) -> String {
    let output = run(house, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}\n{}", house.daemon.log());
    String::from_utf8(output.stdout).unwrap()
}

/// A letter of jim's is kept back: its queue id.
fn kept(house: &House, text: &str) -> String {
    let mut client = house.client("192.0.2.9", "mail.far.test");
    queue_id(&client.mail("jim@far.test", &[USER], text))
}

/// Signs with a key that the server's own tool has made; what has to be published for it comes along.
fn signed(house: &House, text: &str) -> (String, String) {
    let made = house.daemon.tool(&["dkim", "new", "far.test"]);
    let zone = String::from_utf8(made.stdout).unwrap();
    let keys = KeyStore::open(&house.daemon.folder().join("data/dkim")).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let fields = keys
        .sign(&"far.test".parse().unwrap(), format!("{head}\r\n").as_bytes(), [Ok(body)])
        .unwrap()
        .unwrap();
    (zone, String::from_utf8(fields).unwrap() + text)
}

fn in_inbox(house: &House, words: &str) -> String {
    let mut found = None;
    let arrived = || {
        found = house.daemon.mailbox(USER).into_iter().find(|text| text.contains(words));
        found.is_some()
    };
    assert!(support::wait_until(arrived), "{words}:\n{}", house.daemon.log());
    found.unwrap_or_default()
}

#[test]
fn what_is_released_arrives_in_the_inbox_as_it_was_sent() {
    let house = House::start(RULES, &[]);
    let text = letter("offer").replace("user@example.test", "jim@far.test");
    let (zone, text) = signed(&house, &format!("{text}\r\n .\r\n  a  b\r\n\r\n"));
    assert_eq!(verify(&zone, &text), [true], "before it is sent:\n{text}");
    let id = kept(&house, &text);
    assert!(house.daemon.mailbox(USER).is_empty());

    let list = done(&house, &["list"]);
    for words in [&id, USER, "jim@far.test", "offer", "ACCESS_0", "1 message"] {
        assert!(list.contains(words), "{words}:\n{list}");
    }
    let shown = done(&house, &["show", &id]);
    for words in [
        "kept until:",
        "quarantined until an operator releases it",
        "thresholds.quarantine",
        "DKIM-Signature: ",
    ] {
        assert!(shown.contains(words), "{words}:\n{shown}");
    }
    assert!(!shown.contains("Hello."), "the header alone:\n{shown}");
    assert!(done(&house, &["show", &id, "--body"]).contains("Hello."));

    let said = done(&house, &["release", &id]);
    assert_eq!(said, "1 message released\n");
    let arrived = in_inbox(&house, "Subject: offer").replace('\n', "\r\n");
    assert_eq!(verify(&zone, &arrived), [true], "{arrived}");
    assert!(arrived.contains("X-Spam-Flag: NO\r\n") && arrived.contains(" required=5.0"), "{arrived}");
    assert!(house.daemon.messages_in("mail/example.test/user/.Junk/new").is_empty());
    assert_eq!(done(&house, &["list"]), "nothing is in quarantine\n");
    assert_eq!(house.daemon.metric("staffetta_quarantine_left_total{how=\"released\"}"), Some(1.0));
    assert!(house.daemon.log().contains("order=release"), "{}", house.daemon.log());
}

#[test]
fn lists_are_filtered_and_nothing_else_in_the_queue_is_touched() {
    let house = House::start(RULES, &[]);
    let first = kept(&house, &letter("first"));
    // Control characters and a reversed name, in the subject and in the body.
    let odd = letter("odd").replace("Subject: odd", "Subject: =?utf-8?b?G1szMW3igK5mZHA=?=");
    let second = kept(&house, &odd.replace("Hello.", "\u{1b}]0;mine\u{7}"));
    let held = {
        let mut client = house.client("192.0.2.9", "mail.far.test");
        queue_id(&client.mail("nobody-special@far.test", &[USER], &letter("clean")))
    };
    let count = |arguments: &[&str]| done(&house, &[&["list", "--json"], arguments].concat()).lines().count();
    assert_eq!(count(&[]), 2);
    assert_eq!(count(&["--sender", "@far.test", "--recipient", USER, "--domain", "example.test"]), 2);
    assert_eq!(count(&["--sender", "joe@far.test"]), 0);
    assert_eq!(count(&["--older", "1h"]), 0);
    assert_eq!(count(&["--limit", "1"]), 1);
    let shown = done(&house, &["show", &second, "--body"]);
    assert!(shown.contains("[31mfdp") && shown.contains("\\u{1b}]0;mine\\u{7}"), "{shown}");
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}') && !shown.contains('\u{7}'), "{shown}");

    for refused in [&["delete", &held][..], &["show", &held], &["release", &held, "--also-learn-ham"]] {
        assert!(!run(&house, refused).status.success(), "{refused:?}");
    }
    assert!(!run(&house, &["delete"]).status.success(), "all has to be meant");
    assert_eq!(done(&house, &["delete", &first]), "1 message deleted\n");
    assert_eq!(done(&house, &["delete", "--sender", "jim@far.test"]), "1 message deleted\n");
    assert_eq!(house.daemon.metric("staffetta_quarantine_left_total{how=\"deleted\"}"), Some(2.0));
    assert!(in_inbox(&house, "Subject: clean").contains("X-Spam-Flag: NO"));
}

#[test]
fn the_classifier_learns_from_what_is_kept_back() {
    let house = House::start(RULES, &[]);
    let (wanted, other) = (kept(&house, &letter("wanted")), kept(&house, &letter("other")));
    let learnt = |arguments: &[&str]| {
        let said = done(&house, arguments);
        said.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(
        learnt(&["learn", "--spam", &wanted, &other]),
        "2 learnt, 0 known before, 0 changed sides; 0 ham and 2 spam altogether"
    );
    assert_eq!(
        learnt(&["release", &wanted, "--also-learn-ham"]),
        "0 learnt, 0 known before, 1 changed sides; 1 ham and 1 spam altogether"
    );
    // What arrives is known again by the command that learns from mailboxes.
    in_inbox(&house, "Subject: wanted");
    let mailbox = house.daemon.folder().join("mail/example.test/user");
    let again = house.daemon.tool(&["learn", "--ham", mailbox.to_str().unwrap()]);
    let again = String::from_utf8(again.stdout).unwrap();
    assert!(again.starts_with("0 learnt, 1 known before"), "{again}");
    assert_eq!(
        learnt(&["delete", "--all", "--also-learn-spam"]),
        "0 learnt, 1 known before, 0 changed sides; 1 ham and 1 spam altogether"
    );
    assert_eq!(done(&house, &["list"]), "nothing is in quarantine\n");
}

/// Once, about what is new; and to nobody elsewhere, whoever an alias of ours leads to.
#[test]
fn recipients_are_told_of_what_is_new() {
    let sink = Sink::start(0, &[]);
    let rest = format!(
        "[[domain]]\nname = \"alias.test\"\nrecipients = \"inline:{{nobody=x}}\"\ndeliver = \"discard\"\naliases = \"text:virtual\"\n\
         [[outbound.route]]\nmatch = \"*\"\nto = \"smtp:[127.0.0.1]:{}\"\n{RULES}[antispam.quarantine]\ndays = 7\ndigest_entries_max = 2\n",
        sink.address.port()
    );
    let mut house = House::start(&rest, &[("virtual", "both@alias.test user@example.test, else@far.test\n")]);
    let made = house.daemon.tool(&["dkim", "new", "example.test"]);
    let zone = String::from_utf8(made.stdout).unwrap();
    house.daemon.signal("HUP");
    let reloaded = || house.daemon.metric("staffetta_config_reloads_total{result=\"ok\"}") == Some(1.0);
    assert!(support::wait_until(reloaded), "{}", house.daemon.log());
    assert_eq!(done(&house, &["digest"]), "0 letters sent\n");

    let evil = letter("evil").replace("Subject: evil", "Subject: =?utf-8?q?Buy=0D=0ABcc:_x=40y.test?=");
    let mut ids = vec![kept(&house, &evil)];
    let mut client = house.client("192.0.2.9", "mail.far.test");
    assert_eq!(client.mail("jim@far.test", &["both@alias.test"], &letter("forked")).code, 250);
    ids.push(kept(&house, &letter("third")));
    assert_eq!(done(&house, &["digest"]), "1 letter sent\n");
    let told = in_inbox(&house, "kept back for you");
    for words in [
        "From: Mail quarantine <postmaster@example.test>\n",
        "To: <user@example.test>\n",
        "Subject: 3 messages were kept back for you\n",
        "Return-Path: <>\n",
        "Auto-Submitted: auto-generated\n",
        "(1 older ones are not shown.)\n",
        "  Subject: third\n",
        " (5.0 is marked as spam)\n",
        "  Release: <mailto:release-",
        "after 7 days",
        &ids[1],
    ] {
        assert!(told.contains(words), "{words}:\n{told}");
    }
    assert!(!told.contains(&ids[0]), "the oldest is counted only:\n{told}");
    assert_eq!(verify(&zone, &told.replace('\n', "\r\n")), [true], "{told}");

    assert_eq!(done(&house, &["digest"]), "0 letters sent\n", "once is enough");
    house.daemon.stop();
    house.daemon.run();
    assert_eq!(done(&house, &["digest"]), "0 letters sent\n", "after a restart too");
    kept(&house, &evil);
    assert_eq!(done(&house, &["digest"]), "1 letter sent\n");
    let told = in_inbox(&house, "Subject: 1 message was kept back for you");
    assert!(told.contains("  Subject: Buy Bcc: x@y.test\n") && !told.contains("\nBcc:"), "{told}");
    assert_eq!(house.daemon.metric("staffetta_quarantine_digests_total"), Some(1.0));
    assert!(sink.taken().is_empty(), "nobody elsewhere hears of it: {:?}", sink.taken());
}

/// The addresses in a letter by which its reader has messages released.
fn release_addresses(told: &str) -> Vec<String> {
    let links = told.split("<mailto:").skip(1);
    links.map(|rest| rest.split('?').next().unwrap().to_owned()).collect()
}

fn told_to(house: &House, address: &str, words: &str) -> String {
    let mut found = None;
    let arrived = || {
        found = house.daemon.mailbox(address).into_iter().find(|text| text.contains(words));
        found.is_some()
    };
    assert!(support::wait_until(arrived), "{address}: {words}:\n{}", house.daemon.log());
    found.unwrap_or_default()
}

#[test]
fn recipients_release_their_own_copies_by_mail() {
    const OTHER: &str = "ann@example.test";
    let mut house = House::start(RULES, &[]);
    house.daemon.add_account(OTHER, "secret");
    house.daemon.stop();
    house.daemon.run();
    let text = letter("offer").replace("user@example.test", "jim@far.test");
    let (zone, text) = signed(&house, &format!("{text}\r\n .\r\n  a  b\r\n\r\n"));
    let mut client = house.client("192.0.2.9", "mail.far.test");
    assert_eq!(client.mail("jim@far.test", &[USER, OTHER], &text).code, 250);
    assert_eq!(done(&house, &["digest"]), "2 letters sent\n");
    let [own, others] =
        [USER, OTHER].map(|address| release_addresses(&told_to(&house, address, "kept back for you")));
    assert!(own.len() == 1 && others.len() == 1 && own != others, "{own:?} {others:?}");

    // One digit wrong is nobody's; a stranger who has read the letter releases to its recipient and hears of nothing.
    let mut wrong = own[0].clone();
    let last = wrong.find('@').unwrap() - 1;
    let digit = if wrong.as_bytes()[last] == b'0' { "1" } else { "0" };
    wrong.replace_range(last..=last, digit);
    let mut stranger = house.client("192.0.2.9", "mail.far.test");
    assert_eq!(stranger.command("MAIL FROM:<thief@far.test>").code, 250);
    assert_eq!(stranger.command(&format!("RCPT TO:<{wrong}>")).code, 550);
    assert_eq!(stranger.command("RSET").code, 250);
    let said = stranger.mail("thief@far.test", &[&own[0].to_ascii_uppercase()], &letter("give"));
    assert!(said.code == 250 && said.text().ends_with(" is released"), "{said:?}");

    let arrived = in_inbox(&house, "\nSubject: offer").replace('\n', "\r\n");
    assert_eq!(verify(&zone, &arrived), [true], "{arrived}");
    assert!(arrived.contains("X-Spam-Flag: NO\r\n"), "{arrived}");
    in_inbox(&house, " is released\n");
    assert!(
        house.daemon.mailbox(OTHER).iter().all(|text| !text.contains("\nSubject: offer")),
        "hers is hers"
    );
    assert!(!house.daemon.mailbox(USER).iter().any(|text| text.contains("\nSubject: give")));

    // Again: nothing is there any more, and nothing comes twice.
    let mut user = support::Client::hello_tls(house.daemon.submissions);
    assert_eq!(user.log_in(USER, "secret").code, 235);
    assert_eq!(user.command(&format!("MAIL FROM:<{USER}>")).code, 250);
    let again = user.command(&format!("RCPT TO:<{}>", own[0]));
    assert!(again.code == 550 && again.text().contains("any more"), "{again:?}");
    assert_eq!(user.command("RSET").code, 250);
    // Ann's own, from the account of somebody else: still to her alone.
    assert_eq!(user.mail(USER, &[&others[0]], &letter("please")).code, 250);
    let hers = told_to(&house, OTHER, "\nSubject: offer").replace('\n', "\r\n");
    assert_eq!(verify(&zone, &hers), [true], "{hers}");
    assert_eq!(house.daemon.mailbox(USER).iter().filter(|text| text.contains("\nSubject: offer")).count(), 1);
    assert_eq!(done(&house, &["list"]), "nothing is in quarantine\n");
    let released = "staffetta_quarantine_left_total{how=\"released_by_recipient\"}";
    assert_eq!(house.daemon.metric(released), Some(2.0));
    assert_eq!(house.daemon.log().matches("staffetta/recipient: ").count(), 2, "{}", house.daemon.log());
}

#[test]
fn an_operator_releases_to_one_of_several_recipients() {
    const OTHER: &str = "ann@example.test";
    let mut house = House::start(RULES, &[]);
    house.daemon.add_account(OTHER, "secret");
    house.daemon.stop();
    house.daemon.run();
    let mut client = house.client("192.0.2.9", "mail.far.test");
    let id = queue_id(&client.mail("jim@far.test", &[USER, OTHER], &letter("offer")));
    for refused in [
        &["delete", &id, "--recipient", USER][..],
        &["release", &id, "--recipient", "*@example.test"],
        &["release", &id, "--recipient", "nobody@example.test"],
        &["release", &id, "--recipient", "nobody@example.test", "--also-learn-ham"],
    ] {
        let output = run(&house, refused);
        assert!(!output.status.success() && !output.stderr.is_empty(), "{refused:?}");
    }
    let said = done(&house, &["release", &id, "--recipient", USER, "--also-learn-ham"]);
    assert!(said.contains("1 ham and 0 spam") && said.ends_with("\n1 message released\n"), "{said}");
    assert!(in_inbox(&house, "\nSubject: offer").contains("X-Spam-Flag: NO"));
    let listed = done(&house, &["list", "--json"]);
    assert!(listed.contains(OTHER) && listed.lines().count() == 1, "{listed}");
    assert!(house.daemon.mailbox(OTHER).is_empty(), "hers stays");
    assert!(!run(&house, &["release", &id, "--recipient", USER]).status.success(), "once");
    assert_eq!(done(&house, &["release", &id, "--recipient", OTHER]), "1 message released\n");
    told_to(&house, OTHER, "\nSubject: offer");
    assert_eq!(house.daemon.mailbox(USER).len(), 1, "{:?}", house.daemon.mailbox(USER));
}

#[test]
fn what_a_rule_keeps_back_and_what_is_switched_off_only_operators_release() {
    let rest =
        format!("{RULES}[antispam.attachments]\nquarantine = [\"exe\"]\n[antispam.quarantine]\ndays = 3\n");
    let mut house = House::start(&rest, &[]);
    let attached = String::from_utf8(support::attached(b"MZ", "offer.exe")).unwrap();
    let mut client = house.client("192.0.2.9", "mail.far.test");
    assert_eq!(client.mail("jim@far.test", &[USER], &attached).code, 250);
    assert_eq!(done(&house, &["digest"]), "1 letter sent\n");
    let told = in_inbox(&house, "kept back for you");
    assert!(release_addresses(&told).is_empty(), "a score, and a rule too:\n{told}");
    assert!(told.contains("staffetta quarantine release ID"), "{told}");

    kept(&house, &letter("score"));
    house.daemon.edit("days = 3\n", "days = 3\nrecipients_release = false\n");
    house.daemon.stop();
    house.daemon.run();
    assert_eq!(done(&house, &["digest"]), "1 letter sent\n");
    let told = in_inbox(&house, "  Subject: score");
    assert!(release_addresses(&told).is_empty(), "{told}");
}
