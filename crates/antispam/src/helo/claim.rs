//! The name that a client gives itself in HELO or EHLO (RFC 5321 §4.1.1.1, §4.1.3): is it one, is it the client's, is it
//! ours?
//!
//! RFC 5321 §4.1.4: mail is not refused because the name is not the client's. So all of this is points. A look-up that
//! fails is unknown: the name is then neither there nor missing (I9).

use std::net::IpAddr;
use std::time::Duration;

use mail::Domain;
use net::{DnsAnswer, Resolver};
use policy::{AuthResult, Check, Facts, Findings, Helo, HeloFacts, SymbolDef, Work};

use crate::authentication::write_down;
use crate::groups::{HELO, symbols};

symbols! { HELO:
    HELO_MALFORMED, 25, "the name in HELO is neither a host name nor an address literal";
    HELO_BARE_IP, 20, "the name in HELO is an address without brackets";
    HELO_LITERAL, 5, "the name in HELO is the client's address literal";
    HELO_LITERAL_MISMATCH, 25, "the address literal in HELO is not the client's";
    HELO_UNQUALIFIED, 15, "the name in HELO has no domain";
    HELO_LOCALHOST, 25, "the client calls itself localhost";
    HELO_OURS, 40, "the client gives itself our own name or address";
    HELO_UNRESOLVABLE, 15, "the name in HELO does not exist";
    HELO_MISMATCH, 5, "the name in HELO is not one of the client's";
}

/// Our own names and addresses, which no stranger has.
#[derive(Debug, Clone, Default)]
pub struct Ours {
    /// Host names and local domains.
    pub names: Vec<Domain>,
    /// Addresses of this host.
    pub addresses: Vec<IpAddr>,
}

/// See above.
#[derive(Debug, Clone)]
pub struct Claim {
    resolver: Resolver,
    ours: Ours,
}

/// What kind of text the name is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Malformed,
    BareIp(IpAddr),
    Literal(IpAddr),
    Localhost,
    Unqualified(Domain),
    Name(Domain),
}

impl Claim {
    /// The check, with what is ours.
    #[must_use]
    pub fn new(resolver: Resolver, ours: Ours) -> Self {
        Self { resolver, ours }
    }

    async fn look(&self, facts: &HeloFacts, found: &mut Findings) {
        let client = mail::canonical_ip(facts.connect().client);
        let kind = kind_of(&facts.name);
        let mut saw = |def: SymbolDef| found.saw(def.symbol, &facts.name);
        if self.is_ours(&kind, facts.connect().local) {
            return saw(HELO_OURS);
        }
        match kind {
            Kind::Malformed => saw(HELO_MALFORMED),
            Kind::BareIp(_) => saw(HELO_BARE_IP),
            Kind::Literal(address) if address == client => saw(HELO_LITERAL),
            Kind::Literal(_) => saw(HELO_LITERAL_MISMATCH),
            Kind::Localhost => saw(HELO_LOCALHOST),
            Kind::Unqualified(_) => saw(HELO_UNQUALIFIED),
            Kind::Name(domain) => self.resolve(&domain, facts, found).await,
        }
    }

    fn is_ours(&self, kind: &Kind, local: Option<IpAddr>) -> bool {
        match kind {
            Kind::BareIp(address) | Kind::Literal(address) => {
                let own = self.ours.addresses.iter().copied().chain(local);
                own.map(mail::canonical_ip).any(|own| own == *address)
            }
            Kind::Name(domain) | Kind::Unqualified(domain) => self.ours.names.contains(domain),
            Kind::Malformed | Kind::Localhost => false,
        }
    }

    async fn resolve(&self, domain: &Domain, facts: &HeloFacts, found: &mut Findings) {
        let iprev = facts.auth.iprev.as_ref();
        if iprev.is_some_and(|fact| fact.result == AuthResult::Pass && fact.name.as_ref() == Some(domain)) {
            return;
        }
        let client = mail::canonical_ip(facts.connect().client);
        let (resolver, heard) = self.resolver.overheard();
        match resolver.addresses(domain).await {
            DnsAnswer::Found(addresses) if addresses.contains(&client) => {}
            DnsAnswer::Found(_) => found.saw(HELO_MISMATCH.symbol, domain.as_str()),
            DnsAnswer::NoName => found.saw(HELO_UNRESOLVABLE.symbol, domain.as_str()),
            // A domain whose mail goes elsewhere is a name too.
            DnsAnswer::NoData => match resolver.mx(domain).await {
                DnsAnswer::Found(_) => found.saw(HELO_MISMATCH.symbol, domain.as_str()),
                DnsAnswer::NoName | DnsAnswer::NoData => {
                    found.saw(HELO_UNRESOLVABLE.symbol, domain.as_str());
                }
                DnsAnswer::Failed(why) => found.unfinished(&why),
            },
            DnsAnswer::Failed(why) => found.unfinished(&why),
        }
        write_down(&heard, found);
    }
}

impl Check<Helo> for Claim {
    fn name(&self) -> &str {
        "helo"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![
            HELO_MALFORMED,
            HELO_BARE_IP,
            HELO_LITERAL,
            HELO_LITERAL_MISMATCH,
            HELO_UNQUALIFIED,
            HELO_LOCALHOST,
            HELO_OURS,
            HELO_UNRESOLVABLE,
            HELO_MISMATCH,
        ]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn run<'a>(&'a self, facts: &'a HeloFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(self.look(facts, found))
    }
}

fn kind_of(name: &str) -> Kind {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Kind::BareIp(mail::canonical_ip(address));
    }
    let Ok(domain) = Domain::parse(name) else { return Kind::Malformed };
    if let Some(address) = domain.literal() {
        return Kind::Literal(mail::canonical_ip(address));
    }
    let text = domain.as_str();
    if text == "localhost" || text == "localhost.localdomain" {
        return Kind::Localhost;
    }
    let last = text.rsplit('.').next().unwrap_or_default();
    // No top-level domain is a number; `1.2.3.4.5` is no host.
    if last.bytes().all(|b| b.is_ascii_digit()) {
        return Kind::Malformed;
    }
    if domain.parent().is_none() { Kind::Unqualified(domain) } else { Kind::Name(domain) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use net::{DnsSettings, NameServer};
    use support::{Dns, Trouble};

    const ZONE: &str = "
        mail.far.test.      A 192.0.2.9
        mail.far.test.      AAAA 2001:db8::9
        other.far.test.     A 192.0.2.10
        onlymx.far.test.    MX 10 other.far.test.
        text.far.test.      TXT \"no host\"
        broken.far.test.    A 192.0.2.9
    ";

    fn check(dns: &Dns) -> Claim {
        let settings = DnsSettings {
            servers: vec![NameServer(dns.addr)],
            try_seconds_max: 1,
            retries_max: 0,
            lookup_seconds_max: 2,
            ..DnsSettings::default()
        };
        let ours = Ours {
            names: ["mx.example.test", "example.test"].map(|name| Domain::parse(name).unwrap()).to_vec(),
            addresses: vec![testing::ip("203.0.113.5")],
        };
        Claim::new(Resolver::from_settings(&settings).unwrap(), ours)
    }

    #[tokio::test]
    async fn names_of_all_kinds() {
        let dns = Dns::start(ZONE);
        let check = check(&dns);
        for (name, symbol) in [
            ("mail.far.test", None),
            ("MAIL.far.TEST.", None),
            ("other.far.test", Some("HELO_MISMATCH")),
            ("onlymx.far.test", Some("HELO_MISMATCH")),
            ("text.far.test", Some("HELO_UNRESOLVABLE")),
            ("nowhere.far.test", Some("HELO_UNRESOLVABLE")),
            ("mailserver", Some("HELO_UNQUALIFIED")),
            ("localhost", Some("HELO_LOCALHOST")),
            ("localhost.localdomain", Some("HELO_LOCALHOST")),
            ("192.0.2.9", Some("HELO_BARE_IP")),
            ("2001:db8::9", Some("HELO_BARE_IP")),
            ("[192.0.2.9]", Some("HELO_LITERAL")),
            ("[IPv6:::ffff:192.0.2.9]", Some("HELO_LITERAL")),
            ("[192.0.2.10]", Some("HELO_LITERAL_MISMATCH")),
            ("[IPv6:2001:db8::10]", Some("HELO_LITERAL_MISMATCH")),
            ("[192.0.2]", Some("HELO_MALFORMED")),
            ("[192.0.2.9", Some("HELO_MALFORMED")),
            ("192.0.2.300", Some("HELO_MALFORMED")),
            ("a b", Some("HELO_MALFORMED")),
            ("-x.test", Some("HELO_MALFORMED")),
            ("", Some("HELO_MALFORMED")),
            ("mx.example.test", Some("HELO_OURS")),
            ("EXAMPLE.test", Some("HELO_OURS")),
            ("[203.0.113.5]", Some("HELO_OURS")),
            ("203.0.113.5", Some("HELO_OURS")),
            ("198.51.100.25", Some("HELO_OURS")),
        ] {
            let found = testing::run(&check, &testing::helo("192.0.2.9", name)).await;
            assert_eq!(testing::symbols(&found), symbol.into_iter().collect::<Vec<_>>(), "{name}");
            assert_eq!(found.why_unfinished(), None, "{name}");
        }
    }

    #[tokio::test]
    async fn a_name_server_in_trouble_is_unknown_and_a_confirmed_name_is_not_asked_for() {
        let dns = Dns::start(ZONE);
        let check = check(&dns);
        for trouble in [Trouble::ServFail, Trouble::Refused, Trouble::Silent] {
            dns.trouble("broken.far.test.", trouble);
            let found = testing::run(&check, &testing::helo("192.0.2.9", "broken.far.test")).await;
            assert!(found.findings().is_empty(), "{trouble:?}");
            assert!(found.why_unfinished().is_some(), "{trouble:?}");
        }
        let before = dns.asked("broken.far.test.");
        let mut facts = testing::helo("192.0.2.9", "broken.far.test");
        facts.auth = testing::iprev(AuthResult::Pass, &["broken.far.test"]);
        let found = testing::run(&check, &facts).await;
        assert!(found.findings().is_empty() && found.why_unfinished().is_none());
        assert_eq!(dns.asked("broken.far.test."), before);
    }
}
