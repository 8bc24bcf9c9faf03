//! Which hosts are called, and in which order, against a name server in the process and peers on several loopback addresses.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests fail by panicking")]

mod common;

use std::net::SocketAddr;

use common::{BODY, Peer, Script, Setup, deliver, hop, job, record};
use delivery::{Endpoint, Hop, Host};
use mail::Domain;
use queue::DeliveryResult::{Deferred, Failed, Relayed};
use queue::{Outcome, Trouble};
use support::{Dns, Trouble as DnsTrouble};

const SOA: &str = "test. SOA ns.test. root.test. 1 60 60 60 60\n";

fn zone(lines: &str) -> Dns {
    Dns::start(&format!("{SOA}{lines}"))
}

/// Mail for a domain's own hosts, which all listen on this port.
fn mx(domain: &str, port: u16) -> Hop {
    let endpoint = Endpoint::Inet(Host::ByMx(Domain::parse(domain).unwrap()), port);
    Hop { is_configured: false, ..hop(endpoint) }
}

fn setup(dns: &Dns) -> Setup {
    Setup { dns: Some(dns.addr), ..Setup::default() }
}

async fn send(setup: &Setup, hop: Hop) -> Outcome {
    deliver(&setup.agents(), job(record(&["joe@a.test"]), hop, BODY)).await.remove(0)
}

/// A second peer, on the same port at another loopback address.
async fn neighbour(of: &Peer, ip: &str, script: Script) -> Peer {
    Peer::start_at(&format!("{ip}:{}", of.address.port()), script).await
}

fn refusing(greeting: &'static str) -> Script {
    Script { greeting, ..Script::default() }
}

#[tokio::test]
async fn the_preferred_host_is_called_first_and_the_next_when_it_is_down() {
    let dns = zone(
        "a.test. MX 20 two.test.\na.test. MX 10 one.test.\none.test. A 127.0.0.1\ntwo.test. A 127.0.0.2\n",
    );
    let one = Peer::start(Script::default()).await;
    let port = one.address.port();
    let two = neighbour(&one, "127.0.0.2", Script::default()).await;
    let outcome = send(&setup(&dns), mx("a.test", port)).await;
    assert_eq!((outcome.result, outcome.peer.unwrap()), (Relayed, format!("one.test[127.0.0.1]:{port}")));
    assert_eq!((one.connections(), two.connections()), (1, 0));

    for greeting in ["421 4.3.2 busy", "554 no", "521 never", "CLOSE"] {
        let one = Peer::start(refusing(greeting)).await;
        let two = neighbour(&one, "127.0.0.2", Script::default()).await;
        let outcome = send(&setup(&dns), mx("a.test", one.address.port())).await;
        assert_eq!(outcome.result, Relayed, "{greeting}");
        assert_eq!((one.connections(), two.messages().len()), (1, 1), "{greeting}");
    }
}

#[tokio::test]
async fn what_one_host_defers_the_next_may_take() {
    let dns = zone(
        "a.test. MX 10 one.test.\na.test. MX 20 two.test.\none.test. A 127.0.0.1\ntwo.test. A 127.0.0.2\n",
    );
    let rules = vec![("RCPT TO:<joe@", vec!["451 4.3.0 database"]), ("RCPT TO:<no@", vec!["550 5.1.1 no"])];
    let one = Peer::start(Script { rules, ..Script::default() }).await;
    let two = neighbour(&one, "127.0.0.2", Script::default()).await;
    let people = record(&["joe@a.test", "jim@a.test", "no@a.test"]);
    let outcomes = deliver(&setup(&dns).agents(), job(people, mx("a.test", one.address.port()), BODY)).await;
    let results: Vec<_> = outcomes.iter().map(|outcome| outcome.result).collect();
    assert_eq!(results, [Relayed, Relayed, Failed]);
    let second: Vec<String> = two.commands().into_iter().filter(|c| c.starts_with("RCPT")).collect();
    assert_eq!(second, ["RCPT TO:<joe@a.test>"]);
}

#[tokio::test]
async fn after_the_final_dot_no_other_host_is_asked() {
    let dns = zone(
        "a.test. MX 10 one.test.\na.test. MX 20 two.test.\none.test. A 127.0.0.1\ntwo.test. A 127.0.0.2\n",
    );
    for end in ["CLOSE", "451 4.3.0 later"] {
        let one = Peer::start(Script { rules: vec![(".", vec![end])], ..Script::default() }).await;
        let two = neighbour(&one, "127.0.0.2", Script::default()).await;
        let outcome = send(&setup(&dns), mx("a.test", one.address.port())).await;
        assert!(matches!(outcome.result, Deferred(_)), "{end}");
        assert_eq!(two.connections(), 0, "{end}");
    }
}

#[tokio::test]
async fn without_mx_the_domain_is_its_own_host() {
    let dns = zone("a.test. A 127.0.0.1\n");
    let peer = Peer::start(Script::default()).await;
    assert_eq!(send(&setup(&dns), mx("a.test", peer.address.port())).await.result, Relayed);
}

#[tokio::test]
async fn ipv6_is_tried_first_and_ipv4_when_it_is_dead() {
    let dns = zone("a.test. MX 10 mx.test.\nmx.test. A 127.0.0.1\nmx.test. AAAA ::1\n");
    let four = Peer::start(Script::default()).await;
    let port = four.address.port();
    let outcome = send(&setup(&dns), mx("a.test", port)).await;
    assert_eq!(outcome.peer.unwrap(), format!("mx.test[127.0.0.1]:{port}"));
    let Ok(_) = tokio::net::TcpListener::bind("[::1]:0").await else {
        support::skip("this machine has no IPv6");
        return;
    };
    let six = Peer::start_at(&format!("[::1]:{port}"), Script::default()).await;
    assert_eq!(send(&setup(&dns), mx("a.test", port)).await.result, Relayed);
    assert_eq!((six.connections(), four.connections()), (1, 1));
}

#[tokio::test]
async fn only_a_true_absence_fails() {
    let dns = zone(
        "null.test. MX 0 .\nempty.test. TXT x\nlost.test. MX 10 gone.test.\nhalf.test. MX 10 gone.test.\n\
         half.test. MX 20 broken.test.\n",
    );
    dns.trouble("broken.test", DnsTrouble::ServFail);
    dns.trouble("refused.test", DnsTrouble::Refused);
    for (domain, want, code, detail) in [
        ("null.test", Failed, 556, (5, 1, 10)),
        ("nowhere.test", Failed, 550, (5, 1, 2)),
        ("empty.test", Failed, 550, (5, 4, 4)),
        ("lost.test", Failed, 550, (5, 4, 4)),
        ("half.test", Deferred(Trouble::Dns), 451, (4, 4, 3)),
        ("broken.test", Deferred(Trouble::Dns), 451, (4, 4, 3)),
        ("refused.test", Deferred(Trouble::Dns), 451, (4, 4, 3)),
    ] {
        let outcome = send(&setup(&dns), mx(domain, 25)).await;
        let enhanced = outcome.reply.enhanced.unwrap();
        assert_eq!((outcome.result, outcome.reply.code), (want, code), "{domain}: {outcome:?}");
        assert_eq!((enhanced.0, enhanced.1, enhanced.2), detail, "{domain}");
    }
}

#[tokio::test]
async fn ourselves_and_what_is_not_preferred_to_us_is_left_out() {
    let dns = zone(
        "back.test. MX 10 best.test.\nback.test. MX 20 us.test.\nback.test. MX 30 worse.test.\n\
         only.test. MX 10 us.test.\nonly.test. MX 20 worse.test.\naddr.test. MX 10 alias.test.\n\
         self.test. A 127.0.0.9\nbest.test. A 127.0.0.1\nworse.test. A 127.0.0.3\nalias.test. A 127.0.0.9\n",
    );
    let best = Peer::start(refusing("421 busy")).await;
    let port = best.address.port();
    let worse = neighbour(&best, "127.0.0.3", Script::default()).await;
    let setup = Setup { listening: vec![SocketAddr::new([127, 0, 0, 9].into(), port)], ..setup(&dns) };
    let outcome = send(&setup, mx("back.test", port)).await;
    assert_eq!(outcome.result, Deferred(Trouble::Destination));
    assert_eq!((best.connections(), worse.connections()), (1, 0));
    for domain in ["only.test", "addr.test", "self.test", "[127.0.0.9]"] {
        let outcome = send(&setup, mx(domain, port)).await;
        assert_eq!((outcome.result, outcome.reply.enhanced.unwrap().2), (Failed, 6), "{domain}: {outcome:?}");
    }
    assert_eq!(send(&setup, mx("[127.0.0.3]", port)).await.result, Relayed);
}

#[tokio::test]
async fn a_host_that_somebody_wrote_down_is_never_a_reason_to_return_mail() {
    let dns = zone("a.test. MX 10 mx.test.\nmx.test. A 127.0.0.1\n");
    let peer = Peer::start(Script::default()).await;
    let port = peer.address.port();
    for (host, want) in [
        (Host::Exact(Domain::parse("mx.test").unwrap()), Relayed),
        (Host::ByMx(Domain::parse("a.test").unwrap()), Relayed),
        (Host::Exact(Domain::parse("a.test").unwrap()), Deferred(Trouble::Local)),
        (Host::ByMx(Domain::parse("typo.test").unwrap()), Deferred(Trouble::Local)),
    ] {
        let outcome = send(&setup(&dns), hop(Endpoint::Inet(host.clone(), port))).await;
        assert_eq!(outcome.result, want, "{host:?}");
    }
}

#[tokio::test]
async fn literals_and_kept_connections_ask_nothing() {
    let dns = zone("a.test. MX 10 mx.test.\nmx.test. A 127.0.0.1\n");
    let peer = Peer::start(Script::default()).await;
    let agents = setup(&dns).agents();
    let hop = mx("a.test", peer.address.port());
    for _ in 0..3 {
        deliver(&agents, job(record(&["joe@a.test"]), hop.clone(), BODY)).await;
    }
    assert_eq!((dns.asked("a.test"), peer.messages().len()), (1, 3));
    let literal = mx("[127.0.0.1]", peer.address.port());
    assert_eq!(send(&setup(&dns), literal).await.result, Relayed);
    assert_eq!(dns.asked("a.test"), 1);
}
