//! What the tests here share: lists as settings, a connection, the check that is asked.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use antispam::connect::dnsbl::Dnsbl;
use antispam::connect::dnsbl::filter::ReplyFilter;
use antispam::connect::dnsbl::health::HealthSettings;
use antispam::connect::dnsbl::lists::Lists;
use antispam::connect::dnsbl::settings::{RuleSettings, ZoneSettings, check};
use mail::Timestamp;
use net::{DnsSettings, NameServer};
use policy::{AuthFacts, BeforeGreeting, Check, ConnectFacts, Door, Findings, Score};

/// When a test begins; it moves the time itself.
pub(crate) const START: Timestamp = Timestamp(1_795_000_000_000);

pub(crate) fn after(seconds: u64) -> Timestamp {
    START.plus(std::time::Duration::from_secs(seconds))
}

/// A list with rules `(reply, symbol)`, a point each.
pub(crate) fn zone(name: &str, ipv6: bool, rules: &[(&str, &str)]) -> ZoneSettings {
    let rule = |(reply, symbol): &(&str, &str)| RuleSettings {
        reply: if reply.is_empty() { ReplyFilter::default() } else { reply.parse().unwrap() },
        symbol: (*symbol).to_owned(),
        score: Score::points(1),
    };
    ZoneSettings {
        zone: name.to_owned(),
        about: Default::default(),
        test_domain: None,
        name: None,
        group: None,
        group_cap: None,
        ipv6,
        rules: rules.iter().map(rule).collect(),
        errors: Vec::new(),
    }
}

/// The lists and the check over them.
pub(crate) struct Bench {
    pub(crate) lists: Arc<Lists>,
    pub(crate) check: Dnsbl,
}

impl Bench {
    pub(crate) fn new(server: SocketAddr, zones: &[ZoneSettings], health: HealthSettings) -> Self {
        check(zones).unwrap();
        let dns = DnsSettings { servers: vec![NameServer(server)], ..DnsSettings::default() };
        let lists = Arc::new(Lists::new(zones, health, &dns).unwrap());
        let own = vec!["203.0.113.5".parse().unwrap()];
        Self { check: Dnsbl::new(Arc::clone(&lists), zones, own), lists }
    }

    /// What is found about a client at a time; nothing when it is not to be asked about.
    pub(crate) async fn look(&self, client: &str, at: Timestamp) -> Findings {
        let facts = connection(client, at);
        let mut found = Findings::default();
        if self.check.applies(&facts) {
            self.check.run(&facts, &mut found).await;
        }
        found
    }

    pub(crate) async fn symbols(&self, client: &str, at: Timestamp) -> Vec<String> {
        let found = self.look(client, at).await;
        let mut symbols: Vec<String> = found.findings().iter().map(|f| f.symbol.to_string()).collect();
        symbols.sort();
        symbols
    }

    /// `list family state` of all.
    pub(crate) fn states(&self) -> Vec<String> {
        let status = self.lists.status();
        status.iter().map(|line| format!("{} {} {}", line.list, line.family, line.state)).collect()
    }
}

pub(crate) fn connection(client: &str, at: Timestamp) -> ConnectFacts {
    ConnectFacts {
        session: "S1".into(),
        at,
        client: client.parse::<IpAddr>().unwrap(),
        port: 40_000,
        local: Some("198.51.100.25".parse().unwrap()),
        door: Door::Mx,
        trusted: false,
        known: false,
        before_greeting: BeforeGreeting::NotWatched,
        auth: AuthFacts::default(),
    }
}
