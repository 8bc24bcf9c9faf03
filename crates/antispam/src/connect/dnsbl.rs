//! DNS lists (RFC 5782) as witnesses: each rule of each list that knows the client is a symbol with points, below zero
//! for lists of the good.
//!
//! All lists are asked at once, each answer is written down when it comes. Never refuses anything, never asks about
//! addresses that are not of the Internet, our own, or trusted ones, never shows a key. Only NXDOMAIN and NODATA mean
//! "not listed"; a list that does not answer is unknown; one that answers nonsense is suspended until it is well again
//! ([`health`]). [`settings`] is what operators write, [`lists`] asks, [`answer`] understands.

pub mod answer;
pub mod cache;
pub mod filter;
pub mod health;
pub mod lists;
pub mod settings;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use policy::{Check, Connect, ConnectFacts, DnsAnswer, Findings, SymbolDef, Work};

use answer::{Subject, Verdict, is_public};
use lists::{Lists, Zone};
use settings::About;
pub use settings::ZoneSettings;

/// Asks DNS lists about the client.
#[derive(Debug)]
pub struct Dnsbl {
    lists: Arc<Lists>,
    symbols: Vec<SymbolDef>,
    own: Vec<IpAddr>,
}

/// The lists' own limit is [`lists::LOOKUP_SECONDS_MAX`]; this leaves them the time to say that they were silent.
const BUDGET: Duration = Duration::from_millis(3_500);

impl Dnsbl {
    /// The check over `lists`, made from `zones`, and the addresses of this host.
    #[must_use]
    pub fn new(lists: Arc<Lists>, zones: &[ZoneSettings], own: Vec<IpAddr>) -> Self {
        let mut symbols: Vec<SymbolDef> = Vec::new();
        let zones = zones.iter().filter(|zone| zone.about == About::Clients);
        for def in zones.flat_map(|zone| zone.symbols().unwrap_or_default()) {
            if !symbols.iter().any(|other| other.symbol == def.symbol) {
                symbols.push(def);
            }
        }
        let own = own.into_iter().map(mail::canonical_ip).collect();
        Self { lists, symbols, own }
    }

    async fn look(&self, facts: &ConnectFacts, found: &mut Findings) {
        let client = Subject::Address(mail::canonical_ip(facts.client));
        let client = &client;
        let asking = self.lists.zones().iter().map(|zone| async move {
            let verdict = self.lists.ask(zone, client, facts.at).await;
            (zone, verdict)
        });
        let mut answers: FuturesUnordered<_> = asking.collect();
        let mut unknown = Vec::new();
        while let Some((zone, verdict)) = answers.next().await {
            let Some(verdict) = verdict else { continue };
            write_down(zone, client, &verdict, found);
            if let Verdict::Unknown(why) = verdict {
                unknown.push(format!("{}: {}", zone.shown(), why.as_str()));
            }
        }
        if !unknown.is_empty() {
            unknown.sort_unstable();
            found.unfinished(&unknown.join(", "));
        }
    }
}

impl Check<Connect> for Dnsbl {
    fn name(&self) -> &str {
        "dnsbl"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        self.symbols.clone()
    }

    fn budget(&self) -> Duration {
        BUDGET
    }

    fn applies(&self, facts: &ConnectFacts) -> bool {
        let client = mail::canonical_ip(facts.client);
        let own = facts.local.map(mail::canonical_ip) == Some(client) || self.own.contains(&client);
        facts.is_stranger() && is_public(client) && !own
    }

    fn run<'a>(&'a self, facts: &'a ConnectFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(self.look(facts, found))
    }
}

/// Writes an answer down, and the symbols that follow from it.
pub(crate) fn write_down(zone: &Zone, about: &Subject, verdict: &Verdict, found: &mut Findings) {
    let asked = format!("{} A", about.question(zone.shown()));
    let answer = match verdict {
        Verdict::Listed(codes) => words(codes.iter()),
        Verdict::NotListed => "not listed".to_owned(),
        Verdict::Unusable(code) => format!("{code}: no listing, the list is suspended"),
        Verdict::Unknown(why) => why.as_str().to_owned(),
    };
    found.dns(DnsAnswer::new(&asked, &answer));
    let Verdict::Listed(codes) = verdict else { return };
    let shown = match about {
        Subject::Address(address) => address.to_string(),
        Subject::Domain(domain) => domain.clone(),
    };
    for (filter, symbol) in zone.rules() {
        let mut matching = codes.iter().filter(|code| filter.matches(**code)).peekable();
        if matching.peek().is_some() {
            found.saw(symbol.clone(), &format!("{shown} {} {}", zone.shown(), words(matching)));
        }
    }
}

fn words<'a>(codes: impl Iterator<Item = &'a Ipv4Addr>) -> String {
    codes.map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
