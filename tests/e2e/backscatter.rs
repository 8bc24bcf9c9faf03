//! Bounces: of what our users sent they are known by the tag that it left with (BATV); all others were never ours.

use std::os::unix::fs::PermissionsExt as _;

use support::{Client, Sink};

use crate::judging::House;
use crate::{codes, letter, queue_id};

const USER: &str = "user@example.test";
/// The mail server from which bounces come, and one of ours that relays through us.
const AWAY: &str = "192.0.2.9";
const INNER: &str = "192.0.2.20";

/// All that is for elsewhere goes to the sink; whoever comes from [`INNER`] may relay.
fn house(mode: &str, sink: &Sink, more: &str) -> House {
    let rest = format!(
        "[[outbound.route]]\nmatch = \"*\"\nto = \"smtp:[127.0.0.1]:{}\"\n\
         [antispam.greylist]\nmode = \"off\"\n[antispam.backscatter]\nmode = \"{mode}\"\n\
         unsigned_to = [\"lists.far.test\", \"people@far.test\"]\n{more}",
        sink.address.port()
    );
    House::start_with(&format!("trusted_networks = [\"{INNER}/32\"]"), &rest, &[])
}

fn user(house: &House) -> Client {
    let mut client = Client::hello_tls(house.daemon.submissions);
    assert_eq!(client.log_in(USER, "secret").code, 235);
    client
}

/// Who the sink was told that sends a letter of the user's to this recipient.
fn sender_told(house: &House, sink: &Sink, from: &str, to: &str) -> String {
    let before = sink.taken().len();
    assert_eq!(user(house).mail(from, &[to], &letter("news")).code, 250);
    sink.wait_for(before + 1).remove(before).from
}

fn is_tagged(sender: &str, original: &str) -> bool {
    let tag = sender.strip_prefix("prvs=").and_then(|rest| rest.strip_suffix(&format!("={original}")));
    tag.is_some_and(|tag| tag.len() == 10 && tag.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A bounce that names nothing by which it could be known.
fn bounce() -> String {
    "From: MAILER-DAEMON@mail.far.test\r\nTo: undisclosed\r\nSubject: Undelivered Mail Returned to Sender\r\n\
     Date: Sun, 22 Nov 2026 02:00:00 +0000\r\nMIME-Version: 1.0\r\n\
     Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nNo such user.\r\n\
     --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mail.far.test\r\n\r\n\
     Final-Recipient: rfc822; gone@far.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b--\r\n"
        .to_owned()
}

#[test]
fn a_bounce_is_taken_at_the_tag_that_its_letter_left_with_and_nowhere_else() {
    let sink = Sink::start(0, &[]);
    let house = house("enforce", &sink, "");
    let tagged = sender_told(&house, &sink, USER, "gone@far.test");
    assert!(is_tagged(&tagged, USER), "{tagged}");
    let wrong = tagged.replacen("prvs=0", "prvs=7", 1);

    let mut away = house.client(AWAY, "mail.far.test");
    // Who only asks whether there is such an address hears the same of each form.
    for recipient in [USER, &tagged, &tagged.to_uppercase(), &wrong, "postmaster@example.test"] {
        assert_eq!(away.command("MAIL FROM:<>").code, 250);
        assert_eq!(codes(&away.command(&format!("RCPT TO:<{recipient}>"))), "250 2.1.5", "{recipient}");
        assert_eq!(away.command("RSET").code, 250);
    }
    assert_eq!(away.command("MAIL FROM:<>").code, 250);
    let nobody = tagged.replace("user@", "nobody@");
    assert_eq!(codes(&away.command(&format!("RCPT TO:<{nobody}>"))), "550 5.1.1", "the look-up sees no tag");
    assert_eq!(away.command("RSET").code, 250);

    let taken = away.mail("", &[&tagged], &bounce());
    let (_, explained) = house.explain(&[&queue_id(&taken)]);
    assert!(
        explained.contains("BACKSCATTER_PROVEN") && explained.contains("tag in the recipient"),
        "{explained}"
    );
    let arrived = house.daemon.wait_for_mail(USER, 1).remove(0);
    assert!(arrived.starts_with(&format!("Return-Path: <>\nDelivered-To: {USER}\n")), "{arrived}");
    for recipient in [USER, &wrong] {
        assert_eq!(codes(&away.mail("", &[recipient], &bounce())), "550 5.7.1", "{recipient}");
    }
    assert_eq!(codes(&away.mail("", &[&tagged, USER], &bounce())), "550 5.7.1", "one of two proves nothing");
    assert_eq!(away.mail("", &["postmaster@example.test"], &bounce()).code, 250);
    // A person who answers to the tagged address, with whatever tag.
    for recipient in [&tagged, &wrong] {
        assert_eq!(away.mail("joe@far.test", &[recipient], &letter("answer")).code, 250, "{recipient}");
    }
    assert_eq!(house.daemon.wait_for_mail(USER, 3).len(), 3);
    let (_, json) = tool(&house, &["backscatter", "status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&status["proven"], &status["forged"]), (&1.into(), &3.into()), "{json}");
}

#[test]
fn forged_bounces_are_delivered_and_counted_while_observed() {
    let sink = Sink::start(0, &[]);
    let house = house("observe", &sink, "");
    let tagged = sender_told(&house, &sink, USER, "gone@far.test");
    let mut away = house.client(AWAY, "mail.far.test");
    for recipient in [USER, &tagged, &tagged.replacen("prvs=0", "prvs=7", 1)] {
        assert_eq!(away.mail("", &[recipient], &bounce()).code, 250, "{recipient}");
    }
    assert_eq!(house.daemon.wait_for_mail(USER, 3).len(), 3);
    let (_, text) = tool(&house, &["backscatter", "status"]);
    assert!(text.contains("2 of 3 (66.6 %) would have been refused"), "{text}");
}

#[test]
fn senders_that_carry_something_already_and_recipients_who_know_people_by_it_get_none() {
    let sink = Sink::start(0, &[]);
    let house = house("enforce", &sink, "");
    let told = |from: &str, to: &str| sender_told_by(&house, &sink, (INNER, "inner.example.test"), from, to);
    let long = format!("{}@example.test", "x".repeat(64));
    for sender in [
        &long,
        "news-joe=far.test@example.test",
        "SRS0=abcd=ef=far.test=joe@example.test",
        "people-bounces@example.test",
        "owner-people@example.test",
        // Not ours, and so not ours to sign.
        "joe@elsewhere.test",
    ] {
        assert_eq!(told(sender, "gone@far.test"), sender);
    }
    for recipient in ["anybody@lists.far.test", "People@far.test"] {
        assert_eq!(told("joe@example.test", recipient), "joe@example.test", "{recipient}");
    }
    assert!(is_tagged(&told("joe@example.test", "others@far.test"), "joe@example.test"));
    // One letter to both kinds goes out twice, once in each form.
    let before = sink.taken().len();
    let to = ["one@far.test", "anybody@lists.far.test", "two@far.test"];
    assert_eq!(user(&house).mail(USER, &to, &letter("both")).code, 250);
    let mut both = sink.wait_for(before + 2).split_off(before);
    let plain = both.iter().position(|taken| taken.from == USER).unwrap();
    assert_eq!(both.remove(plain).to, ["anybody@lists.far.test"]);
    assert!(is_tagged(&both[0].from, USER) && both[0].to.len() == 2, "{both:?}");
    assert_eq!(sink.taken().len(), before + 2);
}

#[test]
fn a_tag_is_taken_off_what_comes_and_goes_on_with_what_is_sent_on() {
    let sink = Sink::start(0, &[]);
    let aliases = "[[domain]]\nname = \"alias.test\"\nrecipients = \"inline:{joe@alias.test=x}\"\n\
                   deliver = \"maildir:mail/{domain}/{local}/\"\naliases = \"inline:{away@alias.test=friend@far.test}\"\n";
    let house = house("enforce", &sink, aliases);
    let tagged = sender_told(&house, &sink, USER, "gone@far.test");
    // Who sends with it is its owner as much as without, and signs anew.
    assert_eq!(sender_told(&house, &sink, &tagged, "gone@far.test"), tagged);
    let foreign = tagged.replace("user@", "other@");
    assert_eq!(codes(&user(&house).command(&format!("MAIL FROM:<{foreign}>"))), "550 5.7.1");
    assert_eq!(user(&house).mail(USER, &[USER], &letter("to myself")).code, 250);
    let arrived = house.daemon.wait_for_mail(USER, 1).remove(0);
    assert!(arrived.starts_with(&format!("Return-Path: <{USER}>\n")), "{arrived}");
    assert!(!house.daemon.log().contains("from=<prvs="), "{}", house.daemon.log());

    // A letter that somebody else sends on to us, and we once more: whose tag holds keeps it, a stranger gets none.
    let on = |from: &str| sender_told_by(&house, &sink, (AWAY, "mail.far.test"), from, "away@alias.test");
    assert_eq!(on(&tagged), tagged);
    assert_eq!(on(&tagged.replacen("prvs=0", "prvs=7", 1)), USER);
    assert_eq!(on(USER), USER);
    assert_eq!(on("joe@far.test"), "joe@far.test");
}

/// As [`sender_told`], by a client from this address.
fn sender_told_by(house: &House, sink: &Sink, (ip, helo): (&str, &str), from: &str, to: &str) -> String {
    let before = sink.taken().len();
    let reply = house.client(ip, helo).mail(from, &[to], &letter("on"));
    assert_eq!(reply.code, 250, "{from}: {reply:?}");
    sink.wait_for(before + 1).remove(before).from
}

#[test]
fn a_new_key_signs_after_a_reload_and_the_old_one_still_proves() {
    let sink = Sink::start(0, &[]);
    let house = house("enforce", &sink, "");
    let old = sender_told(&house, &sink, USER, "gone@far.test");
    let (code, text) = tool(&house, &["backscatter", "rotate"]);
    assert!(code == 0 && text.contains("1.key"), "{text}");
    let key = house.daemon.folder().join("data/backscatter/1.key");
    assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    house.daemon.signal("HUP");
    let signs_anew = || sender_told(&house, &sink, USER, "gone@far.test").starts_with("prvs=1");
    assert!(support::wait_until(signs_anew), "{}", house.daemon.log());
    let mut away = house.client(AWAY, "mail.far.test");
    assert_eq!(away.mail("", &[&old], &bounce()).code, 250);
    assert_eq!(house.daemon.wait_for_mail(USER, 1).len(), 1);
}

fn tool(house: &House, arguments: &[&str]) -> (i32, String) {
    let output = house.daemon.tool(arguments);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), text)
}
