//! Known people are not judged by what their letters say: whom our users wrote to, and who answers them; proven, not said.

use support::{Client, Dns};

use crate::judging::House;
use crate::letter;

const USER: &str = "user@example.test";
/// One client may send for two organisations.
const ZONE: &str = "\
@                       3600 IN SOA ns.test. root.test. 1 3600 600 86400 60
9.2.0.192.in-addr.arpa. 60 IN PTR mail.far.test.
mail.far.test.          60 IN A 192.0.2.9
far.test.               60 IN MX 10 mail.far.test.
far.test.               60 IN TXT \"v=spf1 a:mail.far.test -all\"
evil.test.              60 IN MX 10 mail.far.test.
evil.test.              60 IN TXT \"v=spf1 a:mail.far.test -all\"
";
const RULES: &str = "[[outbound.route]]\nmatch = \"*\"\nto = \"discard\"\n\
                     [antispam.greylist]\nmode = \"off\"\n[antispam.attachments]\nreject = [\"exe\"]\n";

fn house() -> (House, Dns) {
    let dns = Dns::start(ZONE);
    (House::asking(dns.addr, ("", RULES), &[]), dns)
}

/// What nobody wants of a stranger: `fields` go into its header.
fn dubious(from: &str, fields: &str) -> String {
    format!(
        "From: {from}\r\nTo: {USER}\r\n{fields}Subject: Re: hello\r\n\r\nYou have won the lottery promotion: \
         USD 12.5 million of my late husband, deceased, as next of kin at the bank.\r\n\
         I recorded you by your webcam, pay in bitcoin: http://192.0.2.1/pay\r\n"
    )
}

/// What became of a letter: its action, and its symbols.
fn fate(house: &House, (client, sender): (&mut Client, &str), text: &str) -> (String, Vec<String>) {
    client.mail(sender, &[USER], text);
    let (_, json) = house.explain(&["--rcpt", USER, "--last", "1", "--json"]);
    let verdict: serde_json::Value = serde_json::from_str(json.trim()).unwrap();
    let lines = verdict["points"]["lines"].as_array().unwrap();
    let symbols = lines.iter().map(|line| line["symbol"].as_str().unwrap().to_owned()).collect();
    (verdict["action"].as_str().unwrap().to_owned(), symbols)
}

/// What `staffetta try` says that a letter is answered: the symbols of answers, and of people.
fn tried(house: &House, sender: &str, text: &str) -> Vec<String> {
    house.daemon.write("tried.eml", text);
    let letter = house.daemon.folder().join("tried.eml");
    let client = ["try", "--ip", "192.0.2.9", "--helo", "mail.far.test", "--rcpt", USER, "--json"];
    let with = ["--mail-from", sender, "--message", letter.to_str().unwrap()];
    let output = house.daemon.tool(&[&client[..], &with[..]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let step: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let lines = step["points"].as_array().unwrap().iter();
    lines.map(|line| line["symbol"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn known_people_are_not_judged_by_what_they_write() {
    let (house, _dns) = house();
    let mut far = house.client("192.0.2.9", "mail.far.test");
    let ann = "ann@far.test";
    assert_eq!(fate(&house, (&mut far, ann), &dubious(ann, "")).0, "junk", "nobody knows her yet");

    let mut user = Client::hello_tls(house.daemon.submissions);
    assert_eq!(user.log_in(USER, "secret").code, 235);
    assert_eq!(user.mail(USER, &[ann], &letter("question")).code, 250);
    let (action, symbols) = fate(&house, (&mut far, ann), &dubious(ann, ""));
    assert_eq!(action, "accept", "{symbols:?}");
    assert!(symbols.contains(&"KNOWN_SENDER".to_owned()), "{symbols:?}");
    let told = tried(&house, ann, &dubious(ann, ""));
    assert!(told.contains(&"CORRESPONDENT_AUTHOR".to_owned()), "{told:?}");
    let told = tried(&house, "joe@far.test", &dubious("joe@far.test", ""));
    assert!(!told.iter().any(|symbol| symbol.starts_with("CORRESPONDENT")), "{told:?}");
    let (_, text) = house.explain(&["--last", "1", "--rcpt", USER]);
    assert!(text.contains("KNOWN_SENDER bounds it"), "{text}");

    // Her name alone is worth nothing, whoever SPF proves the forger to be, or from wherever else it comes.
    let mut elsewhere = house.client("192.0.2.77", "far.test");
    for (client, sender, expected) in [(&mut far, "x@evil.test", "junk"), (&mut elsewhere, ann, "reject")] {
        let (action, symbols) = fate(&house, (client, sender), &dubious(ann, ""));
        assert_eq!(action, expected, "{sender}: {symbols:?}");
    }
    // Programs are refused, whoever sends them.
    let file =
        "Content-Disposition: attachment; filename=a.exe\r\nContent-Type: application/octet-stream\r\n";
    let reply = far.mail(ann, &[USER], &dubious(ann, file));
    assert_eq!(reply.code, 550, "{reply:?}");
}

/// What is remembered of a sender counts after a restart too, until somebody says that it be forgotten.
#[test]
fn reputations_outlive_a_restart_and_can_be_forgotten() {
    let (mut house, _dns) = house();
    let (ann, reputation) = ("ann@far.test", |house: &House, arguments: &[&str]| {
        let output = house.daemon.tool(&[&["reputation"], arguments].concat());
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    });
    let is_bad = |symbols: &[String]| symbols.iter().any(|symbol| symbol == "REPUTATION_BAD");
    let mut far = house.client("192.0.2.9", "mail.far.test");
    for (number, expected) in [(1, false), (2, false), (3, true)] {
        let (_, symbols) = fate(&house, (&mut far, ann), &dubious(ann, ""));
        assert_eq!(is_bad(&symbols), expected, "{number}: {symbols:?}");
    }
    let (_, known) = reputation(&house, &["list"]);
    for subject in ["address:ann@far.test", "domain:far.test", "net:192.0.2.0/24", "3 reputations"] {
        assert!(known.contains(subject), "{known}");
    }
    assert_eq!(house.daemon.metric("staffetta_reputations"), Some(3.0));
    house.daemon.write("letter.eml", &dubious(ann, ""));
    let client = ["--ip", "192.0.2.9", "--helo", "mail.far.test", "--mail-from", ann, "--rcpt", USER];
    let letter = house.daemon.folder().join("letter.eml");
    let tried =
        house.daemon.tool(&[&["try"], &client[..], &["--message", letter.to_str().unwrap()]].concat());
    let text = String::from_utf8(tried.stdout).unwrap();
    assert!(text.contains("REPUTATION_BAD  [address:ann@far.test: "), "{text}");
    // Her name from elsewhere is neither worse nor better for it.
    let (_, symbols) = fate(&house, (&mut house.client("198.51.100.7", "far.test"), ann), &dubious(ann, ""));
    assert!(!symbols.iter().any(|symbol| symbol.starts_with("REPUTATION_")), "{symbols:?}");

    assert_eq!(house.daemon.stop(), Some(0));
    house.daemon.run();
    let (code, again) = reputation(&house, &["show", ann, "far.test", "192.0.2.77", "--json"]);
    assert_eq!((code, again.lines().count()), (0, 3), "{again}");
    let (_, symbols) =
        fate(&house, (&mut house.client("192.0.2.9", "mail.far.test"), ann), &dubious(ann, ""));
    assert!(is_bad(&symbols), "{symbols:?}");
    assert_eq!(reputation(&house, &["delete", "far.test", "192.0.2.9"]).0, 0);
    assert_eq!(reputation(&house, &["delete", "far.test"]).0, 1, "it is gone");
    let (_, text) = house.explain(&["--erase", ann]);
    assert!(text.contains("verdicts forgotten"), "{text}");
    let (_, symbols) =
        fate(&house, (&mut house.client("192.0.2.9", "mail.far.test"), ann), &dubious(ann, ""));
    assert!(!symbols.iter().any(|symbol| symbol.starts_with("REPUTATION_")), "{symbols:?}");
}

#[test]
fn answers_are_expected_from_whom_the_letter_went_to() {
    let (mut house, _dns) = house();
    let mut user = Client::hello_tls(house.daemon.submissions);
    assert_eq!(user.log_in(USER, "secret").code, 235);
    assert_eq!(user.mail(USER, &["info@far.test"], &letter("question")).code, 250);
    // Without a Message-ID of its own it is given one; what it answers is known by it as well.
    let answer =
        letter("answer").replace("Message-ID: <answer@example.test>", "In-Reply-To: <their@far.test>");
    assert_eq!(user.mail(USER, &["info@far.test"], &answer).code, 250);

    let mut far = house.client("192.0.2.9", "mail.far.test");
    let jim = "jim@far.test";
    let answering = |id: &str| format!("In-Reply-To: <{id}>\r\n");
    for (sender, from, fields, action, expected) in [
        (jim, jim, String::new(), "junk", &[][..]),
        (jim, jim, answering("another@example.test"), "junk", &[][..]),
        (jim, jim, answering("question@example.test"), "accept", &["REPLY_TO_OURS", "REPLY_EXPECTED"][..]),
        (jim, jim, answering("their@far.test"), "accept", &["REPLY_TO_OURS", "REPLY_EXPECTED"][..]),
        ("x@evil.test", "x@evil.test", answering("question@example.test"), "junk", &["REPLY_TO_OURS"][..]),
        ("x@evil.test", jim, answering("question@example.test"), "junk", &["REPLY_TO_OURS"][..]),
    ] {
        let before = tried(&house, sender, &dubious(from, &fields));
        let (done, symbols) = fate(&house, (&mut far, sender), &dubious(from, &fields));
        let mut found: Vec<&str> =
            symbols.iter().map(String::as_str).filter(|symbol| symbol.starts_with("REPLY_")).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!((done.as_str(), found.as_slice()), (action, expected), "{sender} {fields}: {symbols:?}");
        let missing = found.iter().find(|symbol| !before.iter().any(|told| told == *symbol));
        assert_eq!(missing, None, "{sender} {fields}: {before:?}");
        let extra = before.iter().find(|told| told.starts_with("REPLY_") && !found.contains(&told.as_str()));
        assert_eq!(extra, None, "{sender} {fields}");
    }

    // So they are after a restart.
    assert_eq!(house.daemon.stop(), Some(0));
    house.daemon.run();
    let mut far = house.client("192.0.2.9", "mail.far.test");
    let text = dubious(jim, &answering("question@example.test"));
    let (done, symbols) = fate(&house, (&mut far, jim), &text);
    assert_eq!(done, "accept", "{symbols:?}");
    assert!(symbols.iter().any(|symbol| symbol == "REPLY_EXPECTED"), "{symbols:?}");
}
