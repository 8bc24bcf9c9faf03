//! Can the domain of the reverse-path take an answer? It needs an MX that is not null (RFC 7505), or an address
//! (RFC 5321 §5.1); else no report and no reply ever arrives there.
//!
//! A look-up that fails is unknown, never an absence (I9). The null sender has no domain and nothing to be asked.

use std::time::Duration;

use mail::Domain;
use net::{DnsAnswer, Exchange, Mx, Resolver};
use policy::{Check, Facts, Findings, Mail, MailFacts, SymbolDef, Work};

use crate::authentication::write_down;
use crate::groups::{SENDER, symbols};

symbols! { SENDER:
    SENDER_NO_DOMAIN, 40, "the domain of the sender does not exist";
    SENDER_NO_HOST, 30, "the domain of the sender has neither MX nor address";
    SENDER_NULL_MX, 40, "the domain of the sender says that it takes no mail";
    SENDER_LITERAL, 15, "the sender's domain is an address";
    SENDER_UNQUALIFIED, 25, "the sender's domain has no dot";
}

/// See above.
#[derive(Debug, Clone)]
pub struct SenderDomain {
    resolver: Resolver,
}

impl SenderDomain {
    /// The check.
    #[must_use]
    pub fn new(resolver: Resolver) -> Self {
        Self { resolver }
    }

    async fn look(&self, domain: &Domain, found: &mut Findings) {
        let mut saw = |def: SymbolDef| found.saw(def.symbol, domain.as_str());
        if domain.literal().is_some() {
            return saw(SENDER_LITERAL);
        }
        if domain.parent().is_none() {
            return saw(SENDER_UNQUALIFIED);
        }
        let (resolver, heard) = self.resolver.overheard();
        match resolver.mx(domain).await {
            DnsAnswer::Found(hosts) if is_null(&hosts) => saw(SENDER_NULL_MX),
            DnsAnswer::Found(_) => {}
            DnsAnswer::NoName => saw(SENDER_NO_DOMAIN),
            DnsAnswer::NoData => match resolver.addresses(domain).await {
                DnsAnswer::Found(_) => {}
                DnsAnswer::NoName | DnsAnswer::NoData => saw(SENDER_NO_HOST),
                DnsAnswer::Failed(why) => found.unfinished(&why),
            },
            DnsAnswer::Failed(why) => found.unfinished(&why),
        }
        write_down(&heard, found);
    }
}

/// RFC 7505 §3: one MX, and its host is the root.
fn is_null(hosts: &[Mx]) -> bool {
    matches!(hosts, [Mx { exchange: Exchange::Null, .. }])
}

impl Check<Mail> for SenderDomain {
    fn name(&self) -> &str {
        "sender_domain"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![SENDER_NO_DOMAIN, SENDER_NO_HOST, SENDER_NULL_MX, SENDER_LITERAL, SENDER_UNQUALIFIED]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(5)
    }

    /// Our own domains need no look-up; who may use them is asked elsewhere.
    fn applies(&self, facts: &MailFacts) -> bool {
        facts.is_stranger() && !facts.sender_is_ours && facts.sender_domain().is_some()
    }

    fn run<'a>(&'a self, facts: &'a MailFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(async move {
            if let Some(domain) = facts.sender_domain() {
                self.look(domain, found).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use net::{DnsSettings, NameServer};
    use support::{Dns, Trouble};

    const ZONE: &str = "
        mx.test.domain.test.    A 192.0.2.1
        good.domain.test.       MX 10 mx.test.domain.test.
        host.domain.test.       A 192.0.2.1
        null.domain.test.       MX 0 .
        both.domain.test.       MX 0 .
        both.domain.test.       MX 10 mx.test.domain.test.
        text.domain.test.       TXT \"nothing else\"
    ";

    #[tokio::test]
    async fn domains_that_cannot_take_an_answer() {
        let dns = Dns::start(ZONE);
        let settings = DnsSettings {
            servers: vec![NameServer(dns.addr)],
            try_seconds_max: 1,
            retries_max: 0,
            lookup_seconds_max: 2,
            ..DnsSettings::default()
        };
        let check = SenderDomain::new(Resolver::from_settings(&settings).unwrap());
        for (sender, symbol) in [
            ("a@good.domain.test", None),
            ("a@host.domain.test", None),
            ("a@both.domain.test", None),
            ("a@null.domain.test", Some("SENDER_NULL_MX")),
            ("a@text.domain.test", Some("SENDER_NO_HOST")),
            ("a@gone.domain.test", Some("SENDER_NO_DOMAIN")),
            ("a@[192.0.2.9]", Some("SENDER_LITERAL")),
            ("a@localhost", Some("SENDER_UNQUALIFIED")),
            ("", None),
        ] {
            let facts = testing::mail_from("192.0.2.9", sender);
            let found = testing::run(&check, &facts).await;
            assert_eq!(testing::symbols(&found), symbol.into_iter().collect::<Vec<_>>(), "{sender}");
            assert_eq!(found.why_unfinished(), None, "{sender}");
        }
        for trouble in [Trouble::ServFail, Trouble::Refused, Trouble::Silent] {
            dns.trouble("down.domain.test.", trouble);
            let found = testing::run(&check, &testing::mail_from("192.0.2.9", "a@down.domain.test")).await;
            assert!(found.findings().is_empty() && found.why_unfinished().is_some(), "{trouble:?}");
        }
    }

    #[test]
    fn our_own_domains_are_not_asked_for() {
        let dns = Dns::start(ZONE);
        let settings = DnsSettings { servers: vec![NameServer(dns.addr)], ..DnsSettings::default() };
        let check = SenderDomain::new(Resolver::from_settings(&settings).unwrap());
        let mut facts = testing::mail_from("192.0.2.9", "a@example.test");
        assert!(check.applies(&facts));
        facts.sender_is_ours = true;
        assert!(!check.applies(&facts));
        assert!(!check.applies(&testing::mail_from("192.0.2.9", "")));
    }
}
