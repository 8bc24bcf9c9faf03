//! The resolver against a name server that answers, denies, fails, stays silent and truncates.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::net::IpAddr;

use mail::Domain;
use net::{DnsAnswer, DnsSettings, Exchange, NameServer, Resolver};
use support::{Dns, Trouble};

const ZONE: &str = r#"
$ORIGIN example.test.
@           MX   20 mx2
@           MX   10 mx1
@           MX   10 mx3
@           TXT  "v=spf1 " "-all"
mx1         A    192.0.2.1
mx1         AAAA 2001:db8::1
mx2         A    192.0.2.2
mx3         AAAA 2001:db8::3
null        MX   0 .
odd         MX   10 *
alias       CNAME mx1
dangling    CNAME nowhere
looping     CNAME looping2
looping2    CNAME looping
text        TXT  "only text"
broken4     AAAA 2001:db8::4
*.wild      MX   5 mx1
a.b.empty   A    192.0.2.7
1.2.0.192.in-addr.arpa.  PTR mx1.example.test.
2.2.0.192.in-addr.arpa.  PTR liar.example.test.
3.2.0.192.in-addr.arpa.  PTR mx1.example.test.
4.2.0.192.in-addr.arpa.  PTR nowhere.example.test.
"#;

fn resolver(dns: &Dns) -> Resolver {
    let settings = DnsSettings {
        servers: vec![NameServer(dns.addr)],
        try_seconds_max: 1,
        retries_max: 0,
        lookup_seconds_max: 2,
        ..DnsSettings::default()
    };
    Resolver::from_settings(&settings).unwrap()
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn hosts(answer: DnsAnswer<Vec<net::Mx>>) -> Vec<String> {
    answer.found().unwrap().iter().map(|mx| format!("{} {:?}", mx.preference, mx.exchange)).collect()
}

#[tokio::test]
async fn mx_comes_by_preference_and_says_null_and_unusable() {
    let dns = Dns::start(ZONE);
    let resolver = resolver(&dns);
    let found = resolver.mx(&domain("example.test")).await.found().unwrap();
    assert_eq!(found.iter().map(|mx| mx.preference).collect::<Vec<_>>(), [10, 10, 20]);
    assert_eq!(found[2].exchange, Exchange::Host(domain("mx2.example.test")));
    assert_eq!(hosts(resolver.mx(&domain("null.example.test")).await), ["0 Null"]);
    let odd = resolver.mx(&domain("odd.example.test")).await.found().unwrap();
    assert!(matches!(&odd[0].exchange, Exchange::Unusable(name) if name.starts_with("*.")), "{odd:?}");
}

#[tokio::test]
async fn absence_is_nxdomain_or_nodata_and_told_apart() {
    let dns = Dns::start(ZONE);
    let resolver = resolver(&dns);
    assert_eq!(resolver.mx(&domain("nowhere.example.test")).await, DnsAnswer::NoName);
    assert_eq!(resolver.mx(&domain("mx1.example.test")).await, DnsAnswer::NoData);
    assert_eq!(resolver.addresses(&domain("nowhere.example.test")).await, DnsAnswer::NoName);
    assert_eq!(resolver.addresses(&domain("text.example.test")).await, DnsAnswer::NoData);
    assert_eq!(resolver.addresses(&domain("dangling.example.test")).await, DnsAnswer::NoName);
    // A name that only has names below it exists (RFC 8020 §2).
    assert_eq!(resolver.mx(&domain("b.empty.example.test")).await, DnsAnswer::NoData);
    assert_eq!(hosts(resolver.mx(&domain("any.wild.example.test")).await).len(), 1);
    assert_eq!(resolver.addresses(&domain("any.wild.example.test")).await, DnsAnswer::NoData);
    dns.trouble("bare.example.test", Trouble::BareNoData);
    assert_eq!(resolver.mx(&domain("bare.example.test")).await, DnsAnswer::NoData);
}

/// Part of I9: a failed look-up is never an absence.
#[tokio::test]
async fn a_failure_is_never_an_absence() {
    let dns = Dns::start(ZONE);
    let resolver = resolver(&dns);
    for (name, trouble) in [
        ("servfail.test", Trouble::ServFail),
        ("refused.test", Trouble::Refused),
        ("silent.test", Trouble::Silent),
        ("referral.test", Trouble::Referral),
    ] {
        dns.trouble(name, trouble);
        let name = domain(name);
        let failed = |absent: bool, what: &str| assert!(!absent, "{trouble:?} {what}");
        let (mx, addresses, txt) =
            tokio::join!(resolver.mx(&name), resolver.addresses(&name), resolver.txt(&name));
        assert!(matches!(mx, DnsAnswer::Failed(_)), "{trouble:?}: {mx:?}");
        assert!(matches!(addresses, DnsAnswer::Failed(_)), "{trouble:?}: {addresses:?}");
        failed(txt.is_absent(), "txt");
    }
    let looping = resolver.mx(&domain("looping.example.test")).await;
    assert!(matches!(looping, DnsAnswer::Failed(_)), "{looping:?}");
}

#[tokio::test]
async fn no_server_at_all_is_a_failure_and_what_recovers_is_found() {
    let dns = Dns::start(ZONE);
    dns.trouble("example.test", Trouble::ServFail);
    let resolver = resolver(&dns);
    assert!(matches!(resolver.mx(&domain("example.test")).await, DnsAnswer::Failed(_)));
    dns.recover("example.test");
    assert_eq!(hosts(resolver.mx(&domain("example.test")).await).len(), 3);

    let nobody = DnsSettings {
        servers: vec![format!("127.0.0.1:{}", support::free_port()).parse().unwrap()],
        try_seconds_max: 1,
        retries_max: 0,
        ..DnsSettings::default()
    };
    let answer = Resolver::from_settings(&nobody).unwrap().mx(&domain("example.test")).await;
    assert!(matches!(answer, DnsAnswer::Failed(_)), "{answer:?}");
}

#[tokio::test]
async fn one_server_that_is_down_or_refuses_does_not_hide_another() {
    let (bad, good) = (Dns::start(ZONE), Dns::start(ZONE));
    for trouble in [Trouble::Refused, Trouble::ServFail, Trouble::Silent] {
        for name in ["example.test", "nowhere.example.test"] {
            bad.trouble(name, trouble);
        }
        for servers in [[bad.addr, good.addr], [good.addr, bad.addr]] {
            let servers = servers.map(NameServer).to_vec();
            let settings =
                DnsSettings { servers, try_seconds_max: 2, retries_max: 0, ..DnsSettings::default() };
            let resolver = Resolver::from_settings(&settings).unwrap();
            assert_eq!(hosts(resolver.mx(&domain("example.test")).await).len(), 3, "{trouble:?}");
            assert_eq!(resolver.mx(&domain("nowhere.example.test")).await, DnsAnswer::NoName, "{trouble:?}");
        }
    }
}

#[tokio::test]
async fn addresses_of_both_families_follow_aliases_and_forgive_one_failure() {
    let dns = Dns::start(ZONE);
    let resolver = resolver(&dns);
    let both = vec![ip("2001:db8::1"), ip("192.0.2.1")];
    assert_eq!(resolver.addresses(&domain("mx1.example.test")).await, DnsAnswer::Found(both.clone()));
    assert_eq!(resolver.addresses(&domain("alias.example.test")).await, DnsAnswer::Found(both));
    assert_eq!(
        resolver.addresses(&domain("mx2.example.test")).await,
        DnsAnswer::Found(vec![ip("192.0.2.2")])
    );
    assert_eq!(resolver.addresses(&domain("[192.0.2.9]")).await, DnsAnswer::Found(vec![ip("192.0.2.9")]));
    assert_eq!(resolver.mx(&domain("[192.0.2.9]")).await, DnsAnswer::NoName);
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let dns = Dns::start(ZONE);
    dns.trouble("mx2.example.test", Trouble::Truncated);
    let resolver = resolver(&dns);
    assert_eq!(
        resolver.addresses(&domain("mx2.example.test")).await,
        DnsAnswer::Found(vec![ip("192.0.2.2")])
    );
    // Two types, each by datagram and then by stream.
    assert_eq!(dns.asked("mx2.example.test"), 4);

    let strings: Vec<String> = (0..60).map(|n| format!("big.test. TXT \"{n:0>100}\"")).collect();
    dns.set_zone(&strings.join("\n"));
    assert_eq!(resolver.txt(&domain("big.test")).await.found().unwrap().len(), 60);
}

#[tokio::test]
async fn txt_strings_of_one_record_are_joined() {
    let dns = Dns::start(ZONE);
    assert_eq!(
        resolver(&dns).txt(&domain("example.test")).await,
        DnsAnswer::Found(vec!["v=spf1 -all".to_owned()])
    );
}

#[tokio::test]
async fn a_client_has_the_name_that_its_address_and_dns_agree_on() {
    let dns = Dns::start(ZONE);
    let resolver = resolver(&dns);
    let name = domain("mx1.example.test");
    assert_eq!(resolver.client_name(ip("::ffff:192.0.2.1")).await, DnsAnswer::Found(name.clone()));
    assert_eq!(resolver.ptr(ip("192.0.2.3")).await, DnsAnswer::Found(vec![name]));
    assert_eq!(resolver.client_name(ip("192.0.2.3")).await, DnsAnswer::NoData);
    assert_eq!(resolver.client_name(ip("192.0.2.4")).await, DnsAnswer::NoData);
    assert_eq!(resolver.client_name(ip("192.0.2.99")).await, DnsAnswer::NoName);
    dns.trouble("liar.example.test", Trouble::ServFail);
    assert!(matches!(resolver.client_name(ip("192.0.2.2")).await, DnsAnswer::Failed(_)));
}

#[tokio::test]
async fn answers_are_remembered_and_counted() {
    let dns = Dns::start(ZONE);
    let resolver = resolver(&dns);
    for _ in 0..3 {
        resolver.mx(&domain("example.test")).await;
        resolver.mx(&domain("nowhere.example.test")).await;
    }
    assert_eq!(dns.asked("example.test"), 1);
    assert_eq!(dns.asked("nowhere.example.test"), 1);
    let counts: Vec<_> = resolver.figures().read().filter(|(_, _, count)| *count > 0).collect();
    assert_eq!(counts, [("mx", "found", 3), ("mx", "no_name", 3)]);
    assert_eq!(resolver.figures().read().count(), 20);
}

#[test]
fn name_servers_are_addresses_with_or_without_a_port() {
    for (text, meant) in [
        ("127.0.0.1:5300", "127.0.0.1:5300"),
        ("192.0.2.53", "192.0.2.53:53"),
        ("2001:db8::53", "[2001:db8::53]:53"),
        ("[2001:db8::53]", "[2001:db8::53]:53"),
        ("[2001:db8::53]:54", "[2001:db8::53]:54"),
    ] {
        assert_eq!(text.parse::<NameServer>().unwrap().to_string(), meant);
    }
    let error = "dns.example".parse::<NameServer>().unwrap_err().to_string();
    assert!(error.contains("dns.example") && error.contains("127.0.0.1:5300"), "{error}");
}

#[test]
fn the_system_s_servers_are_taken_when_none_is_named() {
    // Whatever resolv.conf(5) holds on this machine, even nothing: a resolver comes of it.
    Resolver::from_settings(&DnsSettings::default()).unwrap();
}
