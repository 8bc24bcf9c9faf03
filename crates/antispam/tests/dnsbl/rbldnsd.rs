//! rbldnsd as the list: addresses of both families, several codes, a list of the good, a client that is listed later.

use std::time::{Duration, Instant};

use antispam::connect::dnsbl::health::HealthSettings;
use antispam::connect::dnsbl::lists::Lists;
use policy::{Check, ConnectFacts, Door};

use crate::parts::{Bench, START, after, connection, zone};
use crate::servers::{Server, rbldnsd};

const IP4: &str = "\
$SOA 60 ns.bl.test. host.bl.test. 1 600 300 86400 60
$TTL 120
127.0.0.2       :127.0.0.2:test entry
192.0.2.4       :127.0.0.4:exploited
192.0.2.10      :127.0.0.10:policy
198.51.100.0/24 :127.0.0.3:snowshoe
";
/// A second file for the same list: rbldnsd joins their answers, as ZEN does with the lists it is made of.
const MORE: &str = "\
$SOA 60 ns.bl.test. host.bl.test. 1 600 300 86400 60
192.0.2.4       :127.0.0.2:advertised
192.0.2.10      :127.0.0.11:policy
";
const IP6: &str = "\
$SOA 60 ns.bl.test. host.bl.test. 1 600 300 86400 60
::ffff:7f00:2      :127.0.0.2:test entry
2001:db8:bad::/48  :127.0.0.4:exploited
";
const GOOD: &str = "\
$SOA 60 ns.bl.test. host.bl.test. 1 600 300 86400 60
127.0.0.2       :127.0.10.0:test entry
192.0.2.200     :127.0.5.2:medium
";

fn bench() -> Option<(Server, Bench)> {
    let program = support::need_program("rbldnsd")?;
    let server = rbldnsd(
        &program,
        &[("ip4", IP4), ("more", MORE), ("ip6", IP6), ("good", GOOD)],
        &[
            "a1b2c3d4e5f6g7h8.zen.bl.test:ip4trie:ip4",
            "a1b2c3d4e5f6g7h8.zen.bl.test:ip4set:more",
            "a1b2c3d4e5f6g7h8.zen.bl.test:ip6trie:ip6",
            "wl.bl.test:ip4trie:good",
        ],
    );
    let rules = [
        ("127.0.0.2", "ZEN_SBL"),
        ("127.0.0.3", "ZEN_CSS"),
        ("127.0.0.[4..7]", "ZEN_XBL"),
        ("127.0.0.[10;11]", "ZEN_PBL"),
    ];
    let zones = [
        zone("a1b2c3d4e5f6g7h8.zen.bl.test", true, &rules),
        zone("wl.bl.test", false, &[("127.0.[0..254].2", "WL_MED"), ("127.0.[0..254].3", "WL_HI")]),
    ];
    let bench = Bench::new(server.addr, &zones, HealthSettings::default());
    Some((server, bench))
}

#[tokio::test]
async fn clients_are_found_under_all_their_codes() {
    let Some((_server, bench)) = bench() else { return };
    assert_eq!(bench.symbols("192.0.2.4", START).await, Vec::<String>::new(), "nothing is proven yet");
    bench.lists.tend(START).await;
    assert_eq!(
        bench.states(),
        ["zen.bl.test ipv4 healthy", "zen.bl.test ipv6 healthy", "wl.bl.test ipv4 healthy"]
    );
    for (client, symbols) in [
        ("192.0.2.1", vec![]),
        ("192.0.2.4", vec!["ZEN_SBL", "ZEN_XBL"]),
        ("::ffff:192.0.2.4", vec!["ZEN_SBL", "ZEN_XBL"]),
        ("192.0.2.10", vec!["ZEN_PBL"]),
        ("198.51.100.77", vec!["ZEN_CSS"]),
        ("2001:db8:bad::9", vec!["ZEN_XBL"]),
        ("2001:db8:900d::9", vec![]),
        ("192.0.2.200", vec!["WL_MED"]),
    ] {
        let found = bench.look(client, START).await;
        assert_eq!(found.why_unfinished(), None, "{client}");
        assert_eq!(bench.symbols(client, START).await, symbols, "{client}");
        // Each rule once, whatever the number of records, and the key nowhere.
        assert_eq!(found.findings().len(), symbols.len(), "{client}");
        assert!(!format!("{found:?} {:?}", bench.check).contains("a1b2"), "{client}");
    }
    let both = bench.look("192.0.2.10", START).await;
    assert_eq!(both.findings()[0].evidence, "192.0.2.10 zen.bl.test 127.0.0.10 127.0.0.11");
    let asked = format!("{:?}", both.dns_answers());
    assert!(asked.contains("10.2.0.192.zen.bl.test. A"), "{asked}");
    let status = bench.lists.status().iter().map(|line| format!("{line}\n")).collect::<String>();
    assert!(status.contains("zen.bl.test ipv4 healthy since") && !status.contains("a1b2"), "{status}");
}

#[tokio::test]
async fn answers_are_kept_for_their_time_and_no_longer() {
    let Some((server, bench)) = bench() else { return };
    let asked = |lists: &Lists| lists.status().iter().map(|s| s.figures.asked).sum::<u64>();
    bench.lists.tend(START).await;
    assert!(bench.symbols("192.0.2.99", START).await.is_empty());
    assert_eq!(bench.symbols("192.0.2.4", START).await.len(), 2);
    let before = asked(&bench.lists);
    server.append("ip4", "192.0.2.99 :127.0.0.4:new\n");
    // 59 seconds: both the listing and the absence (SOA: 60) still hold.
    assert!(bench.symbols("192.0.2.99", after(59)).await.is_empty());
    assert_eq!(bench.symbols("192.0.2.4", after(59)).await.len(), 2);
    assert_eq!(asked(&bench.lists), before);
    // A minute later both are asked for again, until the list has read its file.
    let (mut seen, started, mut now) = (Vec::new(), Instant::now(), after(60));
    while seen.is_empty() && started.elapsed() < Duration::from_secs(30) {
        bench.lists.tend(now).await;
        seen = bench.symbols("192.0.2.99", now).await;
        now = now.plus(Duration::from_secs(60));
    }
    assert_eq!(seen, ["ZEN_XBL"]);
}

#[tokio::test]
async fn our_own_and_inner_addresses_are_never_asked_about() {
    let Some((_server, bench)) = bench() else { return };
    bench.lists.tend(START).await;
    for client in [
        "127.0.0.2",
        "::1",
        "10.0.0.9",
        "192.168.7.7",
        "172.20.1.1",
        "100.64.0.1",
        "169.254.9.9",
        "fd00::9",
        "fe80::9",
        "::ffff:10.0.0.9",
        "203.0.113.5",
        "198.51.100.25",
    ] {
        assert!(!bench.check.applies(&connection(client, START)), "{client}");
        assert!(bench.symbols(client, START).await.is_empty());
    }
    let stranger = connection("192.0.2.4", START);
    assert!(bench.check.applies(&stranger));
    assert!(!bench.check.applies(&ConnectFacts { trusted: true, ..stranger.clone() }));
    assert!(!bench.check.applies(&ConnectFacts { door: Door::Submission, ..stranger }));
    assert!(bench.lists.status().iter().all(|line| line.figures.asked == 0));
}
