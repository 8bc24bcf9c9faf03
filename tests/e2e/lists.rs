//! DNS lists are witnesses: with the lists and scores that are there by default, on whole sessions with the running program.

use std::fmt::Write as _;

use support::{Client, Daemon, Dns};

use crate::{codes, letter, queue_id};

/// Every list that is asked by default, with what it answers about somebody whom it has.
const LISTS: [(&str, &[&str]); 4] = [
    ("zen.spamhaus.org", &["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.9", "127.0.0.10"]),
    ("bl.spamcop.net", &["127.0.0.2"]),
    ("psbl.surriel.com", &["127.0.0.2"]),
    ("dnsbl-1.uceprotect.net", &["127.0.0.2"]),
];
const GOOD: &str = "list.dnswl.org";
/// What lists of domains must have.
const DOMAIN_TEST_ENTRIES: [&str; 3] =
    ["dbltest.com.dbl.spamhaus.org", "2.0.0.127.multi.surbl.org", "2.0.0.127.multi.uribl.com"];
/// 127.0.0.2 in IPv6, as RFC 5782 §5 wants it listed.
const TEST_ENTRY_6: &str = "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0";

/// A clean sender at 192.0.2.66, whom every list of the bad has, and at 192.0.2.1, whom none has.
fn world() -> String {
    let mut zone =
        "clean.test. 60 IN MX 10 mail.clean.test.\nclean.test. 60 IN TXT \"v=spf1 mx -all\"\n".to_owned();
    for host in ["66", "1"] {
        writeln!(zone, "mail.clean.test. 60 IN A 192.0.2.{host}").unwrap();
        writeln!(zone, "{host}.2.0.192.in-addr.arpa. 60 IN PTR mail.clean.test.").unwrap();
    }
    for name in LISTS.map(|(name, _)| name).into_iter().chain([GOOD]) {
        writeln!(zone, "2.0.0.127.{name}. 60 IN A 127.0.0.2\n{TEST_ENTRY_6}.{name}. 60 IN A 127.0.0.2")
            .unwrap();
    }
    for entry in DOMAIN_TEST_ENTRIES {
        writeln!(zone, "{entry}. 60 IN A 127.0.0.2").unwrap();
    }
    for (name, codes) in LISTS {
        for code in codes {
            writeln!(zone, "66.2.0.192.{name}. 60 IN A {code}").unwrap();
        }
    }
    zone
}

/// A server with all defaults, but for how long greylisting takes, behind a proxy that tells who its clients are.
fn start(dns: &Dns) -> (Daemon, u16) {
    let port = support::free_port();
    let rest = format!(
        "[[listener]]\nkind = \"mx\"\nbind = [\"127.0.0.1:{port}\"]\nproxy_protocol_from = [\"127.0.0.1/32\"]\n\
         [dns]\nservers = [\"{}\"]\n[antispam.greylist]\ndelay_seconds = 1\n",
        dns.addr
    );
    (Daemon::start(crate::PROGRAM, "", &rest), port)
}

fn client(port: u16, ip: &str) -> Client {
    let mut client = Client::raw(([127, 0, 0, 1], port).into());
    client.send(format!("PROXY TCP4 {ip} 127.0.0.1 4000 25\r\n").as_bytes());
    assert_eq!(client.reply().code, 220);
    assert_eq!(client.command("EHLO mail.clean.test").code, 250);
    client
}

/// How the lists do, as operators see it.
fn states(daemon: &Daemon) -> Vec<String> {
    let output = daemon.tool(&["dnsbl", "status", "--json"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    let each = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    each.map(|list| format!("{} {} {}", list["list"], list["family"], list["state"]).replace('"', ""))
        .collect()
}

#[test]
fn a_sender_on_every_default_list_with_a_clean_letter_is_delivered() {
    let dns = Dns::start(&world());
    let (daemon, port) = start(&dns);
    let healthy = || states(&daemon).iter().all(|state| state.ends_with(" healthy"));
    assert!(support::wait_until(healthy), "{:?}", states(&daemon));
    // Two of the five about clients know IPv6, and three know domains.
    assert_eq!(states(&daemon).len(), 10, "these are not all default lists: {:?}", states(&daemon));

    let letter = letter("listed").replace("user@example.test", "joe@clean.test");
    let deliver = || client(port, "192.0.2.66").mail("joe@clean.test", &["user@example.test"], &letter);
    let first = deliver();
    assert_eq!(codes(&first), "451 4.7.1", "asked to come back, as a suspicious stranger is: {first:?}");
    let mut reply = first;
    assert!(support::wait_until(|| {
        reply = deliver();
        reply.code != 451
    }));
    let id = queue_id(&reply);
    let arrived = || daemon.messages_in("mail/example.test/user/.Junk/new");
    assert!(support::wait_until(|| arrived().len() == 1), "{}", daemon.log());
    let mail = arrived().remove(0);
    assert!(mail.contains("X-Spam-Flag: YES"), "{mail}");
    let output = daemon.tool(&["explain", &id]);
    let text = String::from_utf8(output.stdout).unwrap();
    let symbols = [
        "ZEN_SBL",
        "ZEN_CSS",
        "ZEN_XBL",
        "ZEN_DROP",
        "ZEN_PBL",
        "SPAMCOP",
        "PSBL",
        "UCEPROTECT_1",
        "SPF_PASS",
    ];
    let answer = "66.2.0.192.bl.spamcop.net. A: 127.0.0.2";
    assert!(text.contains("DNS:") && text.contains(answer), "{answer}:\n{text}");
    for symbol in symbols {
        assert!(text.contains(symbol), "{symbol}:\n{text}");
        let counted = daemon.metric(&format!("staffetta_symbols_total{{symbol=\"{symbol}\"}}"));
        assert!(counted >= Some(1.0), "{symbol} {counted:?}");
    }

    // Whom no list has is delivered at once, and unmarked.
    let reply = client(port, "192.0.2.1").mail("joe@clean.test", &["user@example.test"], &letter);
    assert_eq!(reply.code, 250, "{reply:?}");
    let mail = daemon.wait_for_mail("user@example.test", 1).concat();
    assert!(mail.contains("X-Spam-Flag: NO"), "{mail}");
    let answers = |list: &str, answer: &str| {
        let labels = format!("{{answer=\"{answer}\",family=\"ipv4\",list=\"{list}\"}}");
        daemon.metric(&format!("staffetta_dnsbl_answers_total{labels}"))
    };
    for (list, _) in LISTS {
        assert!(answers(list, "listed") >= Some(2.0), "{list}");
        assert_eq!((answers(list, "not_listed"), answers(list, "unknown")), (Some(1.0), Some(0.0)), "{list}");
    }
}

/// All lists are dead, or answer something else than a list does: mail comes as if there were none.
#[test]
fn dead_lists_cost_nobody_anything_and_operators_see_it() {
    let dead: String = LISTS.iter().map(|(name, _)| format!("*.{name}. 60 IN A 203.0.113.80\n")).collect();
    let good = format!("*.{GOOD}. 60 IN A 127.0.0.255\n");
    let alive: String = world().lines().take(6).map(|line| format!("{line}\n")).collect();
    let dns = Dns::start(&format!("{alive}{dead}{good}"));
    let (daemon, port) = start(&dns);
    let suspended = || states(&daemon).iter().all(|state| state.ends_with(" suspended"));
    assert!(support::wait_until(suspended), "{:?}", states(&daemon));
    let letter = letter("unlisted").replace("user@example.test", "joe@clean.test");
    let reply = client(port, "192.0.2.66").mail("joe@clean.test", &["user@example.test"], &letter);
    assert_eq!(reply.code, 250, "{reply:?}");
    let mail = daemon.wait_for_mail("user@example.test", 1).concat();
    assert!(mail.contains("X-Spam-Flag: NO"), "{mail}");
    for (list, _) in LISTS {
        let labels = format!("{{family=\"ipv4\",list=\"{list}\"}}");
        assert_eq!(daemon.metric(&format!("staffetta_dnsbl_healthy{labels}")), Some(0.0), "{list}");
        assert_eq!(daemon.metric(&format!("staffetta_dnsbl_suspensions_total{labels}")), Some(1.0), "{list}");
        let line = format!("{list} (ipv4) suspended: ");
        assert!(support::wait_until(|| daemon.log().contains(&line)), "{}", daemon.log());
    }
}
