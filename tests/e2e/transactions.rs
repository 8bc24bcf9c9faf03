//! What holds for one recipient, one session, or one memory, and not for the next: in whole sessions with strangers.

use std::fmt::Write as _;

use support::{Dns, Sink};

use crate::judging::{House, strict};
use crate::{codes, letter, queue_id};

const USER: &str = "user@example.test";
const IP: &str = "192.0.2.9";
const HELO: &str = "mail.far.test";

/// One message, one transaction, two opinions of it.
#[test]
fn a_tag_is_for_him_alone_whose_threshold_is_reached() {
    let rest = "[[domain]]\nname = \"mild.test\"\nrecipients = \"inline:{{user=x}}\"\n\
                deliver = \"maildir:mail/{domain}/{local}/\"\n[domain.antispam.thresholds]\ntag = 10.0\n\
                [antispam]\ngreylist = { mode = \"off\" }\n\
                [[antispam.access]]\nstage = \"mail\"\ntable = \"inline:{{joe@far.test = SCORE 6}}\"\n";
    let house = House::start(rest, &[]);
    let mut client = house.client(IP, HELO);
    let reply = client.mail("joe@far.test", &[USER, "user@mild.test"], &letter("two"));
    assert_eq!(reply.code, 250, "{reply:?}");
    let mild = house.daemon.wait_for_mail("user@mild.test", 1).remove(0);
    assert!(mild.contains("\nX-Spam-Flag: NO\n") && mild.contains("required=10.0"), "{mild}");
    let junk = || house.daemon.messages_in("mail/example.test/user/.Junk/new");
    assert!(support::wait_until(|| junk().len() == 1), "{}", house.daemon.log());
    let junk = junk().remove(0);
    assert!(junk.contains("\nX-Spam-Flag: YES\n") && junk.contains("required=5.0"), "{junk}");
    assert!(house.daemon.mailbox(USER).is_empty());
}

/// Who has waited once need not wait again because we were restarted.
#[test]
fn greylisting_remembers_across_a_restart() {
    let mut house = House::start("[antispam.greylist]\nmode = \"always\"\ndelay_seconds = 1\n", &[]);
    let asked = |house: &House, sender: &str| {
        let mut client = house.client(IP, HELO);
        client.command(&format!("MAIL FROM:<{sender}>"));
        codes(&client.command(&format!("RCPT TO:<{USER}>")))
    };
    assert_eq!(asked(&house, "joe@far.test"), "451 4.7.1");
    assert!(support::wait_until(|| asked(&house, "joe@far.test") == "250 2.1.5"), "{}", house.daemon.log());
    assert_eq!(asked(&house, "jim@far.test"), "451 4.7.1");
    let list = |house: &House| {
        let output = house.daemon.tool(&["greylist", "list", "--json"]);
        let mut lines: Vec<String> =
            String::from_utf8(output.stdout).unwrap().lines().map(ToOwned::to_owned).collect();
        lines.sort();
        lines.len()
    };
    let before = list(&house);
    assert!(before > 1);
    assert_eq!(house.daemon.stop(), Some(0));
    house.daemon.run();
    assert_eq!(list(&house), before);
    assert_eq!(asked(&house, "joe@far.test"), "250 2.1.5", "at once");
}

/// What is known only of the message asks its sender to come back as well, when the operator wants it.
#[test]
fn a_score_that_is_reached_after_data_greylists_when_it_is_set() {
    for (after_data, first) in [(true, "451 4.7.1"), (false, "250 2.0.0")] {
        let rest = format!(
            "[antispam]\nthresholds = {{ greylist = 4.0, tag = 5.0, reject = 50.0, reject_early = 50.0 }}\n\
             greylist = {{ delay_seconds = 1, after_data = {after_data} }}\n"
        );
        let house = House::start(&rest, &[]);
        let send = || {
            let mut client = house.client(IP, HELO);
            assert_eq!(client.command("MAIL FROM:<joe@far.test>").code, 250);
            assert_eq!(
                client.command(&format!("RCPT TO:<{USER}>")).code,
                250,
                "nothing speaks against it yet"
            );
            assert_eq!(client.command("RSET").code, 250);
            codes(&client.mail("joe@far.test", &[USER], &strict()))
        };
        assert_eq!(send(), first);
        assert!(support::wait_until(|| send() == "250 2.0.0"), "{}", house.daemon.log());
    }
}

/// What a client has done in its session counts against what it sends next; of each the record tells.
#[test]
fn guessing_traps_and_many_recipients_of_nobody_count_in_the_session() {
    let rest =
        "[antispam]\ngreylist = { mode = \"off\" }\nspam_traps = \"inline:{user+trap@example.test=x}\"\n";
    let house = House::start(rest, &[]);
    let mut guesser = house.client(IP, HELO);
    assert_eq!(guesser.command("MAIL FROM:<joe@far.test>").code, 250);
    for number in 0..4 {
        assert_eq!(guesser.command(&format!("RCPT TO:<nobody{number}@example.test>")).code, 550);
    }
    assert_eq!(guesser.command("RSET").code, 250);
    let reply = guesser.mail("joe@far.test", &[USER], &letter("guessed"));
    let (_, text) = house.explain(&[&queue_id(&reply)]);
    assert!(text.contains("RCPT_DICTIONARY"), "{text}");

    let mut trapped = house.client(IP, HELO);
    let reply = trapped.mail("joe@far.test", &["user+trap@example.test"], &letter("trapped"));
    let (_, text) = house.explain(&[&queue_id(&reply)]);
    assert!(text.contains("SPAM_TRAP"), "{text}");

    let mut nobody = house.client(IP, HELO);
    let reply = nobody.mail("", &[USER, "user+two@example.test"], &letter("many"));
    let (_, text) = house.explain(&["--last", "1"]);
    assert!(text.contains(IP), "{reply:?} {text}");
    let (_, text) = house.explain(&["--last", "1", "--json"]);
    assert!(text.contains("NULL_SENDER_MANY"), "{text}");
}

/// Nobody is told of a failure who may not have sent the letter; the operator can see it.
#[test]
fn a_failure_is_reported_to_proven_senders_alone() {
    let sink = Sink::start(0, &[("gone@far.test", "550 5.1.1 No such user\r\n")]);
    let rest = format!(
        "[[domain]]\nname = \"alias.test\"\nrecipients = \"inline:{{nobody=x}}\"\ndeliver = \"discard\"\naliases = \"text:virtual\"\n\
         [[outbound.route]]\nmatch = \"*\"\nto = \"smtp:[127.0.0.1]:{}\"\n[antispam]\ngreylist = {{ mode = \"off\" }}\n",
        sink.address.port()
    );
    let house = House::start(&rest, &[("virtual", "away@alias.test gone@far.test\n")]);
    let mut client = house.client(IP, HELO);
    assert_eq!(client.mail("anybody@unknown.test", &["away@alias.test"], &letter("unproven")).code, 250);
    let told = || house.daemon.log().lines().any(|l| l.contains("suppressed=sender not proven"));
    assert!(support::wait_until(told), "{}", house.daemon.log());
    let list = house.daemon.queue(&["list", "--state", "quarantine"]);
    let id =
        list.lines().find_map(|line| line.split(' ').next().filter(|id| id.len() > 10)).unwrap_or_default();
    assert!(house.daemon.queue(&["cat", id]).contains("Subject: unproven"), "{list}");
    let metrics = house.daemon.http_get("/metrics").1;
    let counted = metrics.lines().find(|l| l.contains("suppressed") && l.ends_with(" 1"));
    assert!(counted.is_some(), "{metrics}");
    assert!(sink.taken().is_empty(), "{:?}", sink.taken());

    assert_eq!(client.mail("joe@far.test", &["away@alias.test"], &letter("proven")).code, 250);
    let report = sink.wait_for(1).remove(0);
    assert_eq!((report.from.as_str(), report.to.as_slice()), ("", &["joe@far.test".to_owned()][..]));
    assert!(
        report.text.contains("Subject: proven") && report.text.contains("Status: 5.1.1"),
        "{}",
        report.text
    );
}

/// A list's key is a secret that its name in DNS carries (invariant I7): no peer and no log gets to see it.
#[test]
fn a_key_in_the_name_of_a_list_is_seen_by_nobody() {
    const KEY: &str = "k3yk3yk3yk3yk3yk3yk3yk3yk3";
    let mut zone = format!("2.0.0.127.{KEY}.zen.dq.test. 60 IN A 127.0.0.2\n");
    writeln!(
        zone,
        "9.2.0.192.{KEY}.zen.dq.test. 60 IN A 127.0.0.4\n9.2.0.192.in-addr.arpa. 60 IN PTR mail.far.test."
    )
    .unwrap();
    writeln!(zone, "mail.far.test. 60 IN A 192.0.2.9\nfar.test. 60 IN MX 10 mail.far.test.").unwrap();
    let rest = format!(
        "[antispam]\ngreylist = {{ mode = \"off\" }}\nthresholds = {{ reject = 3.0, reject_early = 3.0, greylist = 0.0, tag = 2.0 }}\n\
         dnsbl_cap = 8.0\nlists_may_reject = true\n\
         [[antispam.dnsbl]]\nzone = \"{KEY}.zen.dq.test\"\n\
         rules = [ {{ reply = \"127.0.0.4\", symbol = \"KEYED\", score = 8.0 }} ]\n"
    );
    let dns = Dns::start(&zone);
    let house = House::asking(dns.addr, ("", &rest), &[]);
    // When the list has shown that it can be asked.
    let mut said_to_peer = String::new();
    let refused = || {
        let mut client = house.client(IP, HELO);
        client.command("MAIL FROM:<joe@far.test>");
        let reply = client.command(&format!("RCPT TO:<{USER}>"));
        said_to_peer = reply.text();
        reply.code == 550
    };
    assert!(support::wait_until(refused), "{}", house.daemon.log());
    let (_, explained) = house.explain(&["--last", "1", "--json"]);
    assert!(explained.contains("KEYED"), "{explained}");
    let output = |arguments: &[&str]| String::from_utf8(house.daemon.tool(arguments).stdout).unwrap();
    let said = [
        said_to_peer,
        explained,
        house.explain(&["--last", "1"]).1,
        output(&["dnsbl", "status"]),
        output(&["dnsbl", "status", "--json"]),
        output(&["symbols"]),
        house.daemon.http_get("/metrics").1,
        house.daemon.log(),
    ];
    for text in said {
        assert!(!text.contains(KEY), "{text}");
    }
}
