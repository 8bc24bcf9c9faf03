//! Every way in which lists have failed: none of them is a listing, and none holds up a session.

use std::time::{Duration, Instant};

use antispam::connect::dnsbl::health::HealthSettings;
use antispam::connect::dnsbl::settings::ZoneSettings;
use policy::Check;
use support::{Dns, Trouble};

use crate::parts::{Bench, START, after, zone};
use crate::servers::unbound;

/// One resolver with a good list and eleven that are not.
const FAULTS: &str = r#"
server:
  interface: 127.0.0.1@@PORT@
  username: ""
  chroot: ""
  directory: ""
  pidfile: ""
  use-syslog: no
  use-caps-for-id: no
  module-config: "iterator"
  do-not-query-localhost: no
  access-control: 127.0.0.0/8 allow
  local-zone: "." static
  # A list as it should be.
  local-zone: "good.bl.test." static
  local-data: "good.bl.test. 60 IN SOA ns.bl.test. host.bl.test. 1 600 300 86400 30"
  local-data: "2.0.0.127.good.bl.test. 60 IN A 127.0.0.2"
  local-data: "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.good.bl.test. 60 IN A 127.0.0.2"
  local-data: "9.2.0.192.good.bl.test. 60 IN A 127.0.0.4"
  local-data: "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.good.bl.test. 60 IN A 127.0.0.4"
  # Given up by its owner, whose wildcard lists everybody.
  local-zone: "world.bl.test." redirect
  local-data: "world.bl.test. 60 IN A 127.0.0.2"
  # It refuses open resolvers, too many questions, mistyped names.
  local-zone: "open.bl.test." redirect
  local-data: "open.bl.test. 60 IN A 127.255.255.254"
  local-zone: "limit.bl.test." redirect
  local-data: "limit.bl.test. 60 IN A 127.255.255.255"
  local-zone: "typo.bl.test." redirect
  local-data: "typo.bl.test. 60 IN A 127.255.255.252"
  # For sale: the address of a web server, for every name.
  local-zone: "parked.bl.test." redirect
  local-data: "parked.bl.test. 60 IN A 203.0.113.80"
  # Nobody answers for it.
  local-zone: "refused.bl.test." always_refuse
  local-zone: "silent.bl.test." always_deny
  local-zone: "servfail.bl.test." transparent
  # Emptied: not even its test entry is left.
  local-zone: "empty.bl.test." always_nxdomain
  # Blocked, said with a bit, and with the highest number.
  local-zone: "bit.bl.test." redirect
  local-data: "bit.bl.test. 60 IN A 127.0.0.1"
  local-zone: "blocked.bl.test." redirect
  local-data: "blocked.bl.test. 60 IN A 127.0.0.255"
forward-zone:
  name: "servfail.bl.test."
  forward-addr: 127.0.0.1@@CLOSED@
remote-control:
  control-enable: no
"#;

const FAULTY: [(&str, &str); 11] = [
    ("world", "lists everybody"),
    ("open", "127.255.255.254"),
    ("limit", "127.255.255.255"),
    ("typo", "127.255.255.252"),
    ("parked", "203.0.113.80"),
    ("refused", "REFUSED"),
    ("silent", "no answer in time"),
    ("servfail", "does not answer"),
    ("empty", "not listed"),
    ("bit", "127.0.0.1"),
    ("blocked", "127.0.0.255"),
];

fn zones() -> Vec<ZoneSettings> {
    let all = std::iter::once("good").chain(FAULTY.map(|(name, _)| name));
    all.map(|name| {
        let symbol = format!("L_{}", name.to_ascii_uppercase());
        // Rules that believe everything: only the handling of faults stands between them and a score.
        zone(&format!("{name}.bl.test"), true, &[("[0..255].[0..255].[0..255].[0..255]", symbol.as_str())])
    })
    .collect()
}

#[tokio::test]
async fn none_of_the_faulty_lists_adds_a_symbol_or_holds_up_a_session() {
    let Some(program) = support::need_program("unbound") else { return };
    let server = unbound(&program, FAULTS);
    let bench = Bench::new(server.addr, &zones(), HealthSettings::default());
    let started = Instant::now();
    bench.lists.tend(START).await;
    assert!(started.elapsed() < Duration::from_secs(10), "probes took {:?}", started.elapsed());
    for client in ["192.0.2.9", "2001:db8::9", "192.0.2.1"] {
        let started = Instant::now();
        let found = bench.look(client, START).await;
        assert!(started.elapsed() < Duration::from_secs(1), "{client} took {:?}", started.elapsed());
        let names: Vec<_> = found.findings().iter().map(|finding| finding.symbol.as_str()).collect();
        let expected = if client == "192.0.2.1" { vec![] } else { vec!["L_GOOD"] };
        assert_eq!(names, expected, "{client}");
        // Lists that are out are not asked, and are no reason to defer anybody.
        assert_eq!(found.why_unfinished(), None, "{client}");
    }
    let status = bench.lists.status();
    for (name, why) in FAULTY {
        let lines = status.iter().filter(|line| line.list == format!("{name}.bl.test"));
        let lines: Vec<String> = lines.map(ToString::to_string).collect();
        assert_eq!(lines.len(), 2, "{name}");
        for line in lines {
            assert!(line.contains("suspended") && (name == "world" || line.contains(why)), "{line} | {why}");
        }
    }
    // One line each for the log.
    let notices = bench.lists.notices();
    assert_eq!(notices.len(), 2 * FAULTY.len());
    assert!(bench.lists.notices().is_empty());
}

/// Lists that were well when they were proven, and fall ill while they are asked.
#[tokio::test]
async fn a_list_that_falls_ill_says_nothing_from_then_on() {
    const WELL: &str = "2.0.0.127.bl.test. A 127.0.0.2\n9.2.0.192.bl.test. A 127.0.0.2";
    for (name, ill) in [
        ("blocked", "*.bl.test. A 127.255.255.255"),
        ("parked", "*.bl.test. A 203.0.113.80"),
        ("bit", "*.bl.test. A 127.0.0.1"),
    ] {
        let dns = Dns::start(WELL);
        let bench = Bench::new(dns.addr, &[zone("bl.test", false, &[("", "BL")])], HealthSettings::default());
        bench.lists.tend(START).await;
        assert_eq!(bench.symbols("192.0.2.9", START).await, ["BL"], "{name}");
        dns.set_zone(ill);
        // Another client brings it to light; the kept answers of the list are forgotten with it.
        let found = bench.look("192.0.2.10", after(1)).await;
        assert!(found.findings().is_empty() && found.why_unfinished().is_none(), "{name}");
        bench.lists.woken().await;
        let notice = bench.lists.notices().iter().map(ToString::to_string).collect::<String>();
        assert!(notice.starts_with("bl.test (ipv4) suspended: it answers"), "{notice}");
        let asked = dns.asked("9.2.0.192.bl.test.");
        assert!(bench.symbols("192.0.2.9", after(2)).await.is_empty(), "{name}");
        assert_eq!(dns.asked("9.2.0.192.bl.test."), asked, "{name}: a suspended list is not asked");
        // It comes back by itself.
        dns.set_zone(WELL);
        let next = bench.lists.tend(after(3)).await;
        assert!(next > after(3) && next <= after(61), "{next:?}");
        assert!(bench.symbols("192.0.2.9", after(4)).await.is_empty(), "{name}: it was not yet time");
        bench.lists.tend(next).await;
        assert_eq!(bench.symbols("192.0.2.9", next).await, ["BL"], "{name}");
        let notice = bench.lists.notices().iter().map(ToString::to_string).collect::<String>();
        assert!(notice.contains("asked again"), "{notice}");
    }
}

#[tokio::test]
async fn what_is_not_known_is_neither_listed_nor_not_listed() {
    let dns =
        Dns::start("2.0.0.127.bl.test. A 127.0.0.2\n2.0.0.127.other.test. A 127.0.0.2\n*.other.test. TXT x");
    let zones = [zone("bl.test", false, &[("", "BL")]), zone("other.test", false, &[("", "OTHER")])];
    let bench = Bench::new(dns.addr, &zones, HealthSettings::default());
    bench.lists.tend(START).await;
    for (trouble, why) in [
        (Trouble::ServFail, "bl.test: SERVFAIL"),
        (Trouble::Refused, "bl.test: REFUSED"),
        (Trouble::Silent, "bl.test: no answer in time"),
    ] {
        dns.trouble("9.2.0.192.bl.test.", trouble);
        let started = Instant::now();
        let found = bench.look("192.0.2.9", START).await;
        assert!(started.elapsed() < bench.check.budget(), "{trouble:?} took {:?}", started.elapsed());
        assert!(found.findings().is_empty(), "{trouble:?}");
        assert_eq!(found.why_unfinished(), Some(why));
    }
    let status = bench.lists.status();
    assert_eq!((status[0].figures.unknown, status[0].kept), (3, 0));
    // The other list answered as if nothing was, once; then from memory.
    assert_eq!((status[1].figures.asked, status[1].figures.not_listed), (1, 3));
}

#[tokio::test]
async fn a_list_that_lists_nearly_everybody_is_suspended_though_it_passes_its_probes() {
    let dns = Dns::start("2.0.0.127.bl.test. A 127.0.0.2\n*.2.0.192.bl.test. A 127.0.0.2");
    let health = HealthSettings { listed_sample_min: 20, ..HealthSettings::default() };
    let bench = Bench::new(dns.addr, &[zone("bl.test", false, &[("", "BL")])], health);
    bench.lists.tend(START).await;
    for client in 1..=20 {
        // Asking again about the same client proves nothing: it comes from memory.
        for _ in 0..3 {
            bench.symbols(&format!("192.0.2.{client}"), START).await;
        }
        let healthy = bench.states() == ["bl.test ipv4 healthy"];
        assert_eq!(healthy, client < 20, "{client}");
    }
    bench.lists.tend(after(600)).await;
    assert_eq!(bench.states(), ["bl.test ipv4 suspended"], "a passed probe is not enough");
    bench.lists.tend(after(3_700)).await;
    assert_eq!(bench.states(), ["bl.test ipv4 healthy"]);
}

#[tokio::test]
async fn a_dead_resolver_costs_its_time_and_nothing_else() {
    // A port where nobody listens.
    let nobody = (std::net::Ipv4Addr::LOCALHOST, support::free_port()).into();
    let zones: Vec<_> =
        (1..=5).map(|n| zone(&format!("bl{n}.test"), true, &[("", &format!("BL{n}"))])).collect();
    let bench = Bench::new(nobody, &zones, HealthSettings::default());
    let started = Instant::now();
    bench.lists.tend(START).await;
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    let found = bench.look("192.0.2.9", START).await;
    assert!(found.findings().is_empty() && found.why_unfinished().is_none());
    assert!(bench.states().iter().all(|line| line.ends_with("suspended")));
}
