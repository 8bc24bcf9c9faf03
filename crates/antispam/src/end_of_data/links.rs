//! Where the links of a letter lead: to domains that DNS lists know, to bare addresses, to another place than their text
//! says, to names that imitate those of others.
//!
//! Domains are cut to what belongs to one organisation (the list of public suffixes) and asked about in the lists that know
//! domains (`[[antispam.dnsbl]] about = "domains"`), as many as [`settings::LinkSettings::domains_max`] says, all at once;
//! the lists are believed as [`crate::connect::dnsbl::health`] says. Addresses are never asked about. A list that does not
//! answer is unknown, and no absence (I9). Nothing is fetched, and no link leads to a refusal alone.

mod imitation;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use mail::Domain;
use policy::{Check, EndOfData, Findings, MessageFacts, SymbolDef, Work};

use crate::connect::dnsbl::answer::{Subject, Verdict};
use crate::connect::dnsbl::lists::Lists;
use crate::connect::dnsbl::settings::{About, ZoneSettings};
use crate::connect::dnsbl::write_down;
use crate::groups::{LINKS, symbols};
use crate::letter::links::Host;
use crate::letter::{self, Letter, Link};
use imitation::Protected;
pub use settings::LinkSettings;

symbols! { LINKS:
    LINK_ADDRESS, 15, "a link leads to an address instead of a name";
    LINK_OTHER_TEXT, 8, "the text of a link names another organisation than the one it leads to";
    LINK_IMITATION, 40, "a link leads to a name that is made to look like one that is protected";
    LINK_MIXED_SCRIPTS, 20, "a link leads to a name that mixes scripts whose letters look alike";
    LINK_USER_PART, 15, "a link hides its host behind something that looks like one";
    FROM_IMITATION, 40, "From is a name that is made to look like one that is protected";
}

/// The lists' own limit is shorter; this leaves them the time to say that they were silent.
const BUDGET: Duration = Duration::from_secs(10);

/// Services that put themselves before every link of a letter, to look at it when it is clicked.
const REWRITERS: [&str; 10] = [
    "safelinks.protection.outlook.com",
    "urldefense.com",
    "urldefense.proofpoint.com",
    "protect-us.mimecast.com",
    "protect-eu.mimecast.com",
    "protection.sophos.com",
    "linkprotect.cudasvc.com",
    "secure-web.cisco.com",
    "clicktime.symantec.com",
    "protect.checkpoint.com",
];

/// See above.
#[derive(Debug)]
pub struct Links {
    lists: Arc<Lists>,
    symbols: Vec<SymbolDef>,
    settings: LinkSettings,
    protected: Protected,
}

impl Links {
    /// The check over those of `lists`, made from `zones`, that know domains. `own` are our domains: protected without
    /// saying, and never asked about.
    #[must_use]
    pub fn new(lists: Arc<Lists>, zones: &[ZoneSettings], settings: LinkSettings, own: &[Domain]) -> Self {
        let mut symbols = vec![
            LINK_ADDRESS,
            LINK_OTHER_TEXT,
            LINK_IMITATION,
            LINK_MIXED_SCRIPTS,
            LINK_USER_PART,
            FROM_IMITATION,
        ];
        let zones = zones.iter().filter(|zone| zone.about == About::Domains);
        for def in zones.flat_map(|zone| zone.symbols().unwrap_or_default()) {
            if !symbols.iter().any(|other| other.symbol == def.symbol) {
                symbols.push(def);
            }
        }
        let names = own.iter().chain(&settings.protected_domains).map(Domain::as_str);
        Self { lists, symbols, protected: Protected::new(names), settings }
    }

    /// The domains that are asked about, in the order they stand; none of ours.
    fn domains(&self, letter: &Letter) -> Vec<String> {
        let mut domains: Vec<String> = Vec::new();
        let unasked = |name: &str| self.settings.unasked_domains.iter().any(|domain| domain.as_str() == name);
        for link in &letter.links {
            let Some(name) = link.host.registrable() else { continue };
            if domains.len() >= self.settings.domains_max {
                break;
            }
            if !domains.iter().any(|known| known == name) && !self.protected.has(name) && !unasked(name) {
                domains.push(name.to_owned());
            }
        }
        domains
    }

    async fn ask(&self, letter: &Letter, facts: &MessageFacts, found: &mut Findings) {
        let domains: Vec<_> = self.domains(letter).into_iter().map(Subject::Domain).collect();
        let pairs =
            domains.iter().flat_map(|domain| self.lists.zones().iter().map(move |zone| (zone, domain)));
        let mut answers: FuturesUnordered<_> = pairs
            .map(|(zone, domain)| async move { (zone, domain, self.lists.ask(zone, domain, facts.at).await) })
            .collect();
        let mut unknown = Vec::new();
        while let Some((zone, domain, verdict)) = answers.next().await {
            let Some(verdict) = verdict else { continue };
            write_down(zone, domain, &verdict, found);
            if let Verdict::Unknown(why) = verdict {
                unknown.push(format!("{}: {}", zone.shown(), why.as_str()));
            }
        }
        if !unknown.is_empty() {
            unknown.sort_unstable();
            unknown.dedup();
            found.unfinished(&unknown.join(", "));
        }
    }

    fn look(&self, letter: &Letter, facts: &MessageFacts, found: &mut Findings) {
        let author = facts.auth.dmarc.as_ref().and_then(|dmarc| dmarc.from.as_ref()).map(Domain::as_str);
        if let Some(author) = author {
            self.imitates(author, &FROM_IMITATION, found);
        }
        for link in &letter.links {
            match &link.host {
                Host::Address(address) => saw(found, &LINK_ADDRESS, &address.to_string()),
                Host::Name(name) => {
                    self.imitates(name, &LINK_IMITATION, found);
                    if let Some(label) = imitation::mixed_scripts(name) {
                        saw(found, &LINK_MIXED_SCRIPTS, &format!("{name}: {label}"));
                    }
                }
            }
            if let Some(user) = hidden_behind(&link.url) {
                saw(found, &LINK_USER_PART, &user);
            }
            let vouched = author.filter(|_| facts.auth.dmarc_passes());
            if let Some(evidence) = other_text(link, vouched) {
                saw(found, &LINK_OTHER_TEXT, &evidence);
            }
        }
    }

    fn imitates(&self, name: &str, symbol: &SymbolDef, found: &mut Findings) {
        if let Some(whom) = self.protected.imitated(name) {
            saw(found, symbol, &format!("{name} looks like {whom}"));
        }
    }
}

/// Once, with the first evidence.
fn saw(found: &mut Findings, symbol: &SymbolDef, evidence: &str) {
    if !found.has(symbol.symbol.as_str()) {
        found.saw(symbol.symbol.clone(), evidence);
    }
}

/// A link whose text names another organisation. Not those that the author, who is proven, leads past himself, as
/// newsletters do to count; not those of services that look at links; not two names of one organisation.
fn other_text(link: &Link, author: Option<&str>) -> Option<String> {
    let shown = link.shown.as_ref()?;
    let Host::Name(shown_name) = shown else { return None };
    let shown = shown.registrable()?;
    let Host::Name(name) = &link.host else {
        return Some(format!("shows {shown_name}, leads to an address"));
    };
    let real = link.host.registrable()?;
    let own_word = |name: &str| psl::domain_str(name).unwrap_or(name).split('.').next().map(str::to_owned);
    let same = real == shown || own_word(real) == own_word(shown);
    let rewritten = REWRITERS.iter().any(|service| {
        name.strip_suffix(service).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    });
    let by_author = author.is_some_and(|author| psl::domain_str(author).unwrap_or(author) == shown);
    (!same && !rewritten && !by_author).then(|| format!("shows {shown_name}, leads to {name}"))
}

/// `https://bank.example@evil.example`: what stands before the host looks like one.
fn hidden_behind(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.get(..rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()))?;
    let (user, _) = authority.rsplit_once('@')?;
    let user = user.split(':').next().unwrap_or(user);
    let host = Host::of_url(&format!("http://{user}/"))?;
    match host {
        Host::Name(name) if psl::suffix(name.as_bytes()).is_some_and(|suffix| suffix.is_known()) => {
            Some(name)
        }
        _ => None,
    }
}

impl Check<EndOfData> for Links {
    fn name(&self) -> &'static str {
        "links"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        self.symbols.clone()
    }

    fn budget(&self) -> Duration {
        BUDGET
    }

    fn run<'a>(&'a self, facts: &'a MessageFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(async move {
            match letter::of(facts).await {
                Ok(letter) => {
                    self.look(&letter, facts, found);
                    self.ask(&letter, facts, found).await;
                }
                Err(why) => found.unfinished(&why),
            }
        })
    }
}
