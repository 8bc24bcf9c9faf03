//! Asking DNS lists: every record, the times to keep, and failures that do not tell what was asked.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::time::Duration;

use net::{DnsSettings, ListAnswer, ListFailure, NameServer, Resolver};
use support::{Dns, Trouble};

const ZONE: &str = "
$ORIGIN key.list.test.
2.0.0.127  300 A 127.0.0.2
2.0.0.127  300 A 127.0.0.4
2.0.0.127  300 A 127.0.0.10
3.0.0.127      TXT \"no address\"
";

fn resolver(dns: &Dns) -> Resolver {
    let settings = DnsSettings {
        servers: vec![NameServer(dns.addr)],
        try_seconds_max: 1,
        retries_max: 0,
        lookup_seconds_max: 1,
        cache_entries_max: 0,
        ..DnsSettings::default()
    };
    Resolver::from_settings(&settings).unwrap()
}

#[tokio::test]
async fn every_record_is_read_and_absence_has_the_time_of_the_soa() {
    let dns = Dns::start(ZONE);
    let resolver = resolver(&dns);
    let ListAnswer::Found { mut addresses, ttl } = resolver.list("2.0.0.127.key.list.test").await else {
        panic!("listed")
    };
    addresses.sort();
    let codes: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    assert_eq!(codes, ["127.0.0.2", "127.0.0.4", "127.0.0.10"].map(str::to_owned));
    assert_eq!(ttl, Duration::from_secs(300));
    for name in ["9.0.0.127.key.list.test.", "3.0.0.127.key.list.test."] {
        let answer = resolver.list(name).await;
        assert!(matches!(answer, ListAnswer::Absent { ttl } if !ttl.is_zero()), "{name}: {answer:?}");
    }
    // Nothing is kept here: each question is asked.
    let before = dns.asked("9.0.0.127.key.list.test.");
    resolver.list("9.0.0.127.key.list.test.").await;
    assert_eq!(dns.asked("9.0.0.127.key.list.test."), before + 1);
}

#[tokio::test]
async fn failures_are_told_apart_without_names() {
    let dns = Dns::start(ZONE);
    let resolver = resolver(&dns);
    for (trouble, failure) in [
        (Trouble::ServFail, ListFailure::ServFail),
        (Trouble::Refused, ListFailure::Refused),
        (Trouble::Silent, ListFailure::Silent),
        (Trouble::Referral, ListFailure::Other),
    ] {
        dns.trouble("1.0.0.127.key.list.test.", trouble);
        let answer = resolver.list("1.0.0.127.key.list.test").await;
        assert_eq!(answer, ListAnswer::Failed(failure), "{trouble:?}");
        assert!(!format!("{answer:?}").contains("key"));
    }
    assert_eq!(resolver.list("a..b").await, ListAnswer::Failed(ListFailure::NoName));
}
