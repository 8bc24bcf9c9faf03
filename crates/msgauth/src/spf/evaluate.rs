//! The `check_host` function of RFC 7208 §4: records fetched, mechanisms tried, limits kept.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use mail::Domain;
use net::{DnsAnswer, DnsName, Family};

use super::macros::{MacroString, Place, Values};
use super::record::{Directive, Mechanism, Prefixes, Record, is_spf, same_network};
use super::{EXPLANATION_BYTES_MAX, NAMES_MAX, Request, Sender, TERMS_MAX, VOID_TERMS_MAX};
use crate::{AuthResult, Lookups};

/// One check with what it has used up so far.
pub(super) struct Evaluation<'a> {
    request: &'a Request<'a>,
    sender: &'a Sender<'a>,
    lookups: &'a Lookups,
    family: Family,
    terms: usize,
    void_terms: usize,
    /// The client's names that its address agrees with; asked for once.
    validated: Option<Vec<Domain>>,
}

/// Why an evaluation ends without a verdict, in words.
#[derive(Debug)]
pub(super) enum Stop {
    /// DNS failed.
    Temporary(String),
    /// The record is at fault.
    Permanent(String),
}

/// What a record says.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) result: AuthResult,
    pub(super) mechanism: Option<String>,
    /// The `exp` of the record that decided, and that record's domain.
    explanation: Option<(MacroString, String)>,
}

type Judged<'s> = Pin<Box<dyn Future<Output = Result<Answer, Stop>> + Send + 's>>;

impl<'a> Evaluation<'a> {
    pub(super) fn new(request: &'a Request<'a>, sender: &'a Sender<'a>, lookups: &'a Lookups) -> Self {
        let family = Family::of(request.client);
        Self { request, sender, lookups, family, terms: 0, void_terms: 0, validated: None }
    }

    /// Judges by the record of a domain. Included and redirected records nest at most [`TERMS_MAX`] deep.
    pub(super) fn record_of<'s>(&'s mut self, domain: &'s str) -> Judged<'s> {
        Box::pin(async move {
            let Some(record) = self.fetch(domain).await? else {
                return Ok(Answer { result: AuthResult::None, mechanism: None, explanation: None });
            };
            for directive in &record.directives {
                if self.matches(directive, domain).await? {
                    return Ok(Answer {
                        result: directive.result,
                        mechanism: Some(directive.text.clone()),
                        explanation: record.explanation.map(|text| (text, domain.to_owned())),
                    });
                }
            }
            match &record.redirect {
                Some(target) => self.redirect(target, domain).await,
                // RFC 7208 §4.7.
                None => Ok(Answer {
                    result: AuthResult::Neutral,
                    mechanism: Some("default".to_owned()),
                    explanation: None,
                }),
            }
        })
    }

    /// RFC 7208 §6.2: only for fail, and never an error. Not counted as a term.
    pub(super) async fn explanation(&mut self, answer: &Answer) -> Option<String> {
        let (target, domain) = answer.explanation.as_ref().filter(|_| answer.result == AuthResult::Fail)?;
        let name = DnsName::parse(&self.name(target, domain).await)?;
        let texts = self.lookups.txt(&name).await.found()?;
        let [text] = texts.as_slice() else { return None };
        let text = MacroString::parse(std::str::from_utf8(text).ok()?, Place::Explanation)?;
        if text.needs_validated_name() {
            self.validate().await;
        }
        let mut words = text.expand(&self.values(domain));
        // What came from HELO or MAIL FROM may hold anything.
        words.retain(|c| c.is_ascii_graphic() || c == ' ');
        words.truncate(EXPLANATION_BYTES_MAX);
        Some(words).filter(|words| !words.is_empty())
    }

    /// RFC 7208 §4.4, §4.5.
    async fn fetch(&mut self, domain: &str) -> Result<Option<Record>, Stop> {
        let Some(name) = DnsName::parse(domain) else { return Ok(None) };
        let texts = match self.lookups.txt(&name).await {
            DnsAnswer::Found(texts) => texts,
            DnsAnswer::NoName | DnsAnswer::NoData => return Ok(None),
            DnsAnswer::Failed(why) => return Err(Stop::Temporary(why)),
        };
        let mut records = texts.iter().filter(|text| is_spf(text));
        match (records.next(), records.next()) {
            (None, _) => Ok(None),
            (Some(text), None) => {
                Record::parse(text).map(Some).map_err(|why| Stop::Permanent(format!("{domain}: {why}")))
            }
            _ => Err(Stop::Permanent(format!("{domain} has more than one SPF record"))),
        }
    }

    async fn matches(&mut self, directive: &Directive, domain: &str) -> Result<bool, Stop> {
        match &directive.mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Network(network, bits) => Ok(same_network(self.request.client, *network, *bits)),
            Mechanism::Include(target) => self.include(target, domain).await,
            Mechanism::Address(target, prefixes) => {
                let name = self.target(target.as_ref(), domain).await?;
                self.address(&name, *prefixes).await
            }
            Mechanism::Mx(target, prefixes) => {
                let name = self.target(target.as_ref(), domain).await?;
                self.mx(&name, *prefixes).await
            }
            Mechanism::Ptr(target) => {
                let name = self.target(target.as_ref(), domain).await?;
                self.validate().await;
                Ok(self.validated_within(&name).next().is_some())
            }
            Mechanism::Exists(target) => {
                let name = self.target(Some(target), domain).await?;
                self.exists(&name).await
            }
        }
    }

    /// Counts a term that asks DNS, and gives the name that it is about.
    async fn target(&mut self, target: Option<&MacroString>, domain: &str) -> Result<String, Stop> {
        self.terms += 1;
        if self.terms > TERMS_MAX {
            return Err(Stop::Permanent(format!("more than {TERMS_MAX} terms ask DNS")));
        }
        match target {
            Some(target) => Ok(self.name(target, domain).await),
            None => Ok(domain.to_owned()),
        }
    }

    fn void_term(&mut self) -> Result<(), Stop> {
        self.void_terms += 1;
        if self.void_terms > VOID_TERMS_MAX {
            return Err(Stop::Permanent(format!("more than {VOID_TERMS_MAX} terms ask DNS in vain")));
        }
        Ok(())
    }

    /// RFC 7208 §5.2.
    async fn include(&mut self, target: &MacroString, domain: &str) -> Result<bool, Stop> {
        let name = self.target(Some(target), domain).await?;
        match self.record_of(&name).await?.result {
            AuthResult::Pass => Ok(true),
            AuthResult::None => Err(Stop::Permanent(format!("{name} is included and has no SPF record"))),
            _ => Ok(false),
        }
    }

    /// RFC 7208 §6.1.
    async fn redirect(&mut self, target: &MacroString, domain: &str) -> Result<Answer, Stop> {
        let name = self.target(Some(target), domain).await?;
        let answer = self.record_of(&name).await?;
        if answer.result == AuthResult::None {
            return Err(Stop::Permanent(format!("{name} is redirected to and has no SPF record")));
        }
        Ok(answer)
    }

    /// RFC 7208 §5.3.
    async fn address(&mut self, name: &str, prefixes: Prefixes) -> Result<bool, Stop> {
        let Some(name) = DnsName::parse(name) else { return Ok(false) };
        match self.lookups.addresses(&name, self.family).await {
            DnsAnswer::Found(addresses) => Ok(self.any_matches(&addresses, prefixes)),
            DnsAnswer::NoName | DnsAnswer::NoData => self.void_term().map(|()| false),
            DnsAnswer::Failed(why) => Err(Stop::Temporary(why)),
        }
    }

    /// RFC 7208 §5.4. Hosts without an address make the term void once, however many they are.
    async fn mx(&mut self, name: &str, prefixes: Prefixes) -> Result<bool, Stop> {
        let Some(name) = DnsName::parse(name) else { return Ok(false) };
        let hosts = match self.lookups.mx(&name).await {
            DnsAnswer::Found(hosts) => hosts,
            DnsAnswer::NoName | DnsAnswer::NoData => return self.void_term().map(|()| false),
            DnsAnswer::Failed(why) => return Err(Stop::Temporary(why)),
        };
        if hosts.len() > NAMES_MAX {
            return Err(Stop::Permanent(format!("{name} has more than {NAMES_MAX} MX records")));
        }
        let mut in_vain = false;
        for host in hosts.iter().filter(|host| !host.is_root()) {
            match self.lookups.addresses(host, self.family).await {
                DnsAnswer::Found(addresses) if self.any_matches(&addresses, prefixes) => return Ok(true),
                DnsAnswer::Found(_) => {}
                DnsAnswer::NoName | DnsAnswer::NoData => in_vain = true,
                DnsAnswer::Failed(why) => return Err(Stop::Temporary(why)),
            }
        }
        if in_vain { self.void_term().map(|()| false) } else { Ok(false) }
    }

    /// RFC 7208 §5.7: A records, whatever the client's family.
    async fn exists(&mut self, name: &str) -> Result<bool, Stop> {
        let Some(name) = DnsName::parse(name) else { return Ok(false) };
        match self.lookups.addresses(&name, Family::V4).await {
            DnsAnswer::Found(_) => Ok(true),
            DnsAnswer::NoName | DnsAnswer::NoData => self.void_term().map(|()| false),
            DnsAnswer::Failed(why) => Err(Stop::Temporary(why)),
        }
    }

    fn any_matches(&self, addresses: &[IpAddr], prefixes: Prefixes) -> bool {
        let bits = if self.request.client.is_ipv4() { prefixes.v4 } else { prefixes.v6 };
        addresses.iter().any(|address| same_network(self.request.client, *address, bits))
    }

    /// RFC 7208 §5.5: what fails here is skipped, and is no error.
    async fn validate(&mut self) {
        if self.validated.is_some() {
            return;
        }
        let mut validated = Vec::new();
        let claims = self.lookups.ptr(self.request.client).await.found().unwrap_or_default();
        for claim in claims.into_iter().take(NAMES_MAX) {
            let Some(name) = DnsName::of(&claim) else { continue };
            let addresses = self.lookups.addresses(&name, self.family).await.found().unwrap_or_default();
            if addresses.contains(&self.request.client) {
                validated.push(claim);
            }
        }
        self.validated = Some(validated);
    }

    /// The validated names that are a domain or lie below it.
    fn validated_within<'s>(&'s self, domain: &str) -> impl Iterator<Item = &'s Domain> {
        let domain = domain.strip_suffix('.').unwrap_or(domain).to_ascii_lowercase();
        let within = move |name: &&Domain| {
            let rest = name.as_str().strip_suffix(domain.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.validated.iter().flatten().filter(within)
    }

    async fn name(&mut self, target: &MacroString, domain: &str) -> String {
        if target.needs_validated_name() {
            self.validate().await;
        }
        target.expand_name(&self.values(domain))
    }

    fn values<'s>(&'s self, domain: &'s str) -> Values<'s> {
        Values {
            local: self.sender.local,
            sender_domain: self.sender.domain,
            domain,
            client: self.request.client,
            validated_name: self.validated_name(domain),
            helo: self.request.helo,
            receiver: self.request.receiver,
            now_seconds: self.request.now_seconds,
        }
    }

    /// RFC 7208 §7.3: the domain itself before names below it, and those before others.
    fn validated_name(&self, domain: &str) -> &str {
        let exact = self.validated_within(domain).find(|name| name.as_str().eq_ignore_ascii_case(domain));
        let best = exact.or_else(|| self.validated_within(domain).next());
        best.or_else(|| self.validated.iter().flatten().next()).map_or("unknown", Domain::as_str)
    }
}
