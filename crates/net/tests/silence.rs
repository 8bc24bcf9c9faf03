//! Name servers that fall silent: checks wait once for all of them, others as long as they like, and nobody is told that
//! something does not exist.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mail::Domain;
use net::{DnsAnswer, DnsSettings, NameServer, Resolver};
use support::{Dns, Trouble};

const ZONE: &str = "
    @             3600 IN SOA ns.test. root.test. 1 3600 600 86400 60
    mx.good.test. A 192.0.2.1
    good.test.    MX 10 mx.good.test.
    other.test.   MX 10 mx.good.test.
";
/// One try of a look-up takes longer than a test may.
const TRY_SECONDS: u64 = 60;
const SILENT: Duration = Duration::from_millis(200);

/// What lies between us and a name server; it can be cut.
struct Line {
    addr: SocketAddr,
    works: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Line {
    fn to(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let (works, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (at_work, count) = (Arc::clone(&works), Arc::clone(&asked));
        // It ends with the test program.
        std::thread::spawn(move || {
            let far = UdpSocket::bind("127.0.0.1:0").unwrap();
            far.connect(server).unwrap();
            let mut buffer = [0; 4_096];
            while let Ok((octets, from)) = socket.recv_from(&mut buffer) {
                count.fetch_add(1, Ordering::SeqCst);
                if at_work.load(Ordering::SeqCst) {
                    let asked = far.send(buffer.get(..octets).unwrap());
                    let octets = asked.and_then(|_| far.recv(&mut buffer)).unwrap();
                    socket.send_to(buffer.get(..octets).unwrap(), from).unwrap();
                }
            }
        });
        Self { addr, works, asked }
    }
}

fn checks(server: SocketAddr) -> Resolver {
    let settings = DnsSettings {
        servers: vec![NameServer(server)],
        try_seconds_max: TRY_SECONDS,
        lookup_seconds_max: 3 * TRY_SECONDS,
        silent_millis: u64::try_from(SILENT.as_millis()).unwrap(),
        ..DnsSettings::default()
    };
    Resolver::from_settings(&settings).unwrap().for_checks()
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn why<T>(answer: DnsAnswer<T>) -> String {
    match answer {
        DnsAnswer::Failed(why) => why,
        _ => "it is known".to_owned(),
    }
}

#[tokio::test]
async fn silence_costs_one_wait_is_never_an_absence_and_ends_by_itself() {
    let dns = Dns::start(ZONE);
    let line = Line::to(dns.addr);
    let checks = checks(line.addr);
    assert!(matches!(checks.mx(&domain("good.test")).await, DnsAnswer::Found(_)));

    line.works.store(false, Ordering::SeqCst);
    let begun = Instant::now();
    // All that wait are told at once.
    let (one, two) = (domain("one.test"), domain("two.test"));
    let (one, two) = tokio::join!(checks.mx(&one), checks.txt(&two));
    for why in [why(one), why(two)] {
        assert!(why.contains("silent"), "{why}");
    }
    for n in 0..50 {
        let answer = checks.mx(&domain(&format!("n{n}.test"))).await;
        assert!(why(answer).contains("silent"), "{n}");
    }
    assert!(begun.elapsed() < Duration::from_secs(TRY_SECONDS) / 2, "nobody has waited for a whole try");
    // What is remembered is known.
    assert!(matches!(checks.mx(&domain("good.test")).await, DnsAnswer::Found(_)));

    let asked = line.asked.load(Ordering::SeqCst);
    line.works.store(true, Ordering::SeqCst);
    let end = Instant::now() + Duration::from_secs(TRY_SECONDS) / 2;
    while !matches!(checks.mx(&domain("other.test")).await, DnsAnswer::Found(_)) {
        assert!(Instant::now() < end, "{} more were asked", line.asked.load(Ordering::SeqCst) - asked);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_domain_whose_servers_are_silent_makes_us_deaf_to_nobody() {
    let dns = Dns::start(ZONE);
    dns.trouble("slow.test", Trouble::Silent);
    let checks = checks(dns.addr);
    let slow = domain("slow.test");
    let mut waiting = std::pin::pin!(checks.mx(&slow));
    let answer = tokio::time::timeout(10 * SILENT, &mut waiting).await;
    assert!(answer.is_err(), "{answer:?}: it would wait for as long as its try lasts");
    assert!(dns.asked(".") >= 1, "the servers were probed");
    assert!(matches!(checks.mx(&domain("good.test")).await, DnsAnswer::Found(_)));
    assert!(matches!(checks.mx(&domain("nowhere.test")).await, DnsAnswer::NoName));
}

#[tokio::test]
async fn servers_that_keep_the_root_to_themselves_are_heard_again() {
    let dns = Dns::start(ZONE);
    for name in [".", "slow.test"] {
        dns.trouble(name, Trouble::Silent);
    }
    let checks = checks(dns.addr);
    assert!(why(checks.mx(&domain("slow.test")).await).contains("silent"));
    let end = Instant::now() + Duration::from_secs(TRY_SECONDS) / 2;
    while !matches!(checks.mx(&domain("good.test")).await, DnsAnswer::Found(_)) {
        assert!(Instant::now() < end);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn whoever_has_time_goes_on_waiting() {
    let dns = Dns::start(ZONE);
    let line = Line::to(dns.addr);
    line.works.store(false, Ordering::SeqCst);
    let checks = checks(line.addr);
    let settings =
        DnsSettings { servers: vec![NameServer(line.addr)], try_seconds_max: 1, ..DnsSettings::default() };
    let patient = Resolver::from_settings(&settings).unwrap();
    assert!(why(checks.mx(&domain("one.test")).await).contains("silent"));
    let good = domain("good.test");
    let mut waiting = std::pin::pin!(patient.mx(&good));
    assert!(tokio::time::timeout(2 * SILENT, &mut waiting).await.is_err());
    line.works.store(true, Ordering::SeqCst);
    // The next try is answered.
    assert!(matches!(waiting.await, DnsAnswer::Found(_)));
}
