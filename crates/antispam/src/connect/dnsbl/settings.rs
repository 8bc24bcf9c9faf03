//! `[[antispam.dnsbl]]`: lists as operators write them, those that are there by default, and what is wrong with them.
//!
//! A list's name may begin with a customer's key. It is shown without, everywhere: [`ZoneSettings::shown`].

use std::collections::BTreeMap;
use std::fmt;

use mail::Domain;
use policy::book::GroupDef;
use policy::{Score, ScoreBook, Symbol, SymbolDef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::filter::ReplyFilter;

/// Lists in all.
pub const ZONES_MAX: usize = 50;
/// Rules of one list.
pub const RULES_MAX: usize = 64;
/// Longest name of a list, in octets: 64 for an IPv6 address before it must fit into a name of DNS.
pub const ZONE_BYTES_MAX: usize = 180;
/// The group that a list is in when it names none, and that every other group of lists is within.
pub const GROUP: &str = policy::book::LISTS;
/// `[antispam] dnsbl_cap`: the most that all lists together add, unless the configuration says otherwise.
pub const CAP: Score = Score::points(8);

/// What a list knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum About {
    /// Addresses of clients.
    #[default]
    Clients,
    /// Domains that letters link to.
    Domains,
}

/// `[[antispam.dnsbl]]`: a DNS list (RFC 5782), asked about every stranger that connects, or about the domains that letters
/// of strangers link to. It adds to the score and never refuses a message by itself.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZoneSettings {
    /// Its name in DNS, such as `zen.spamhaus.org`, with your key in front where the list has given you one.
    pub zone: String,
    /// What it is asked about: `clients`, or `domains` that letters link to.
    #[serde(default)]
    pub about: About,
    /// The entry that a list of domains has for tests. Not set: `test` (RFC 5782 section 5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_domain: Option<String>,
    /// How it is called in logs, records and `staffetta dnsbl status`. Not set: its name in DNS; what looks like a key in
    /// front of it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Lists that know the same things are in one group, and count together at most `group_cap`. Not set: no group but
    /// that of all lists, under `dnsbl_cap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The most that the group adds. One list of a group needs to say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_cap: Option<Score>,
    /// Whether it is asked about IPv6 clients too. Not by default: many lists know IPv4 only.
    #[serde(default)]
    pub ipv6: bool,
    /// What its answers mean. Each rule counts once, however many records match it.
    pub rules: Vec<RuleSettings>,
    /// Answers by which this list says that it may not be asked. Beside those that are always taken so: 127.255.255.x,
    /// 127.0.0.1, 127.0.0.255, 127.0.1.255, and all outside of 127.0.0.0/8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ReplyFilter>,
}

/// One rule of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSettings {
    /// The answers it is about, as Postfix writes them: `127.0.0.[2..11]`, `127.0.0.[10;11]`. Not set: all.
    #[serde(default)]
    pub reply: ReplyFilter,
    /// The symbol that says so.
    pub symbol: String,
    /// Its points. Below zero for lists of the good.
    pub score: Score,
}

/// What is wrong with the lists. `at` counts from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("antispam.dnsbl[{at}] {list}: {problem}")]
pub struct ZoneError {
    /// Which `[[antispam.dnsbl]]`.
    pub at: usize,
    /// The list, without its key.
    pub list: String,
    /// What is wrong and what to write.
    pub problem: String,
}

impl ZoneSettings {
    /// Its name for people: never with a key in it.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| without_key(self.zone.trim_end_matches('.')))
    }

    /// The entry that must be listed, for lists of domains.
    #[must_use]
    pub fn test_domain(&self) -> &str {
        self.test_domain.as_deref().unwrap_or("test")
    }

    /// Its group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.group.as_deref().unwrap_or(GROUP)
    }

    /// Its symbols.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn symbols(&self) -> Result<Vec<SymbolDef>, String> {
        let define = |rule: &RuleSettings| {
            let meaning = format!("listed by {} as {}", self.shown(), rule.reply);
            SymbolDef::configured(&rule.symbol, rule.score, Some(self.group()), meaning)
                .map_err(|error| format!("`{}` is no symbol: {error}", rule.symbol))
        };
        self.rules.iter().map(define).collect()
    }

    fn problem(&self) -> Option<String> {
        let zone = self.zone.trim_end_matches('.');
        if zone.len() > ZONE_BYTES_MAX {
            return Some(format!("its name is longer than {ZONE_BYTES_MAX} characters"));
        }
        if !Domain::parse(zone).is_ok_and(|domain| domain.literal().is_none() && domain.parent().is_some()) {
            return Some("its name is no name of DNS: write one such as zen.spamhaus.org".to_owned());
        }
        if self.about == About::Domains && self.ipv6 {
            return Some("ipv6 is for lists of clients: leave it out".to_owned());
        }
        let test = self.test_domain();
        if test.len() > 64 || !test.split('.').all(|label| !label.is_empty() && label.bytes().all(is_of_name))
        {
            return Some(
                "test_domain is no name of DNS: leave it out, or write what the list tells".to_owned(),
            );
        }
        if self.rules.is_empty() || self.rules.len() > RULES_MAX {
            return Some(format!("it has {} rules: write 1 to {RULES_MAX}", self.rules.len()));
        }
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if !(1..=64).contains(&self.group().len()) || !self.group().bytes().all(plain) {
            return Some("its group is a word of at most 64 lower-case letters, digits and `_`".to_owned());
        }
        self.symbols().err()
    }
}

fn is_of_name(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'-'
}

/// Never with the key.
impl fmt::Debug for ZoneSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZoneSettings")
            .field("zone", &self.shown())
            .field("about", &self.about)
            .field("group", &self.group)
            .field("group_cap", &self.group_cap)
            .field("ipv6", &self.ipv6)
            .field("rules", &self.rules)
            .field("errors", &self.errors)
            .finish()
    }
}

/// Looks through all lists.
///
/// # Errors
/// Everything that is wrong with them.
pub fn check(zones: &[ZoneSettings]) -> Result<(), Vec<ZoneError>> {
    let mut errors = Vec::new();
    let mut scores: BTreeMap<&str, (Score, &str)> = BTreeMap::new();
    let mut caps: BTreeMap<&str, Score> = BTreeMap::new();
    for (at, zone) in zones.iter().enumerate() {
        let mut wrong = |problem: String| {
            errors.push(ZoneError { at, list: zone.shown().to_owned(), problem });
        };
        if at == ZONES_MAX {
            wrong(format!("there are {} lists: at most {ZONES_MAX}", zones.len()));
            break;
        }
        zone.problem().into_iter().for_each(&mut wrong);
        if zones.iter().take(at).any(|other| other.zone.eq_ignore_ascii_case(&zone.zone)) {
            wrong("it is there twice: put the rules of both into one".to_owned());
        }
        for rule in &zone.rules {
            let worth = (rule.score, zone.group());
            let first = *scores.entry(rule.symbol.as_str()).or_insert(worth);
            if first != worth {
                let (score, group) = first;
                wrong(format!(
                    "{} is {score} points in group {group} in another rule: give it the same or another name",
                    rule.symbol
                ));
            }
        }
        if let Some(cap) = zone.group_cap {
            if zone.group.is_none() || zone.group() == GROUP {
                wrong("group_cap needs a group of its own; that of all lists is dnsbl_cap".to_owned());
            }
            if cap.is_negative() || *caps.entry(zone.group()).or_insert(cap) != cap {
                wrong(format!("group_cap {cap}: below zero, or not that of another list of the group"));
            }
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// What a file of scores says otherwise than the configuration does about lists, one line each. Of what the configuration
/// leaves as it is by default the file may say anything: then there is one place that says it.
#[must_use]
pub fn contradictions(zones: &[ZoneSettings], dnsbl_cap: Score, book: &ScoreBook) -> Vec<String> {
    let plain = [defaults(), domain_defaults()].concat();
    let worth = |zones: &[ZoneSettings]| -> BTreeMap<String, Score> {
        zones.iter().flat_map(|zone| &zone.rules).map(|rule| (rule.symbol.clone(), rule.score)).collect()
    };
    let caps = |zones: &[ZoneSettings], cap: Score| -> BTreeMap<String, Score> {
        let groups = groups(zones, cap).into_iter();
        groups.filter_map(|group| Some((group.name.into_owned(), group.cap?))).collect()
    };
    let (usual_worth, usual_caps) = (worth(&plain), caps(&plain, CAP));
    let mut wrong = Vec::new();
    let mut compare = |(what, name, here): (&str, &str, Score),
                       usual: Option<&Score>,
                       there: Option<Score>| {
        if let Some(there) = there.filter(|there| *there != here && usual != Some(&here)) {
            wrong.push(format!(
                "{what} {name} is {here} in [antispam] and {there} in the file of scores: leave it out of that file"
            ));
        }
    };
    for (name, cap) in caps(zones, dnsbl_cap) {
        let there = book.group(&name).and_then(|group| group.cap);
        compare(("the cap of the group", &name, cap), usual_caps.get(&name), there);
    }
    for (name, score) in worth(zones) {
        let there = Symbol::parse(&name).ok().and_then(|symbol| book.worth(&symbol)).map(|worth| worth.score);
        compare(("the score of", &name, score), usual_worth.get(&name), there);
    }
    wrong
}

/// The groups of lists: [`GROUP`] with the cap of all, and those that lists name, within it.
#[must_use]
pub fn groups(zones: &[ZoneSettings], dnsbl_cap: Score) -> Vec<GroupDef> {
    let mut caps: BTreeMap<&str, Option<Score>> = BTreeMap::new();
    for zone in zones.iter().filter(|zone| zone.group() != GROUP) {
        let cap = caps.entry(zone.group()).or_default();
        *cap = cap.or(zone.group_cap);
    }
    let inner = caps.into_iter().map(|(name, cap)| GroupDef {
        name: name.to_owned().into(),
        cap,
        floor: None,
        within: Some(GROUP.into()),
    });
    std::iter::once(GroupDef::new(GROUP, dnsbl_cap)).chain(inner).collect()
}

/// The name without its first label, where that is a customer's key: long, or in front of the names that Spamhaus gives
/// its customers (`KEY.zen.dq.spamhaus.net`).
fn without_key(zone: &str) -> &str {
    let Some((first, rest)) = zone.split_once('.') else { return zone };
    let customers = rest.to_ascii_lowercase().ends_with(".dq.spamhaus.net");
    let digits = first.bytes().any(|b| b.is_ascii_digit());
    let plain = first.bytes().all(|b| b.is_ascii_alphanumeric());
    let looks_random = plain && (first.len() >= 20 || first.len() >= 8 && digits);
    if (customers || looks_random) && rest.contains('.') { rest } else { zone }
}

/// The lists of domains that are asked when the configuration names no lists.
#[must_use]
pub fn domain_defaults() -> Vec<ZoneSettings> {
    // (list, test entry, group, [(answer, symbol, tenths of points)], answers that mean that it does not want to be asked)
    type Rules = &'static [(&'static str, &'static str, i32)];
    type Row = (&'static str, &'static str, Option<&'static str>, Rules, Option<&'static str>);
    const ROWS: &[Row] = &[
        (
            "dbl.spamhaus.org",
            "dbltest.com",
            Some("spamhaus"),
            &[
                ("127.0.1.[2;3]", "DBL_SPAM", 30),
                ("127.0.1.4", "DBL_PHISH", 40),
                ("127.0.1.[5;6]", "DBL_MALWARE", 40),
                ("127.0.1.[102..106]", "DBL_ABUSED", 10),
            ],
            None,
        ),
        (
            "multi.surbl.org",
            "2.0.0.127",
            None,
            &[
                ("127.0.0.&8", "SURBL_PHISH", 30),
                ("127.0.0.&16", "SURBL_MALWARE", 30),
                ("127.0.0.&64", "SURBL_ABUSE", 25),
                ("127.0.0.&128", "SURBL_CRACKED", 15),
            ],
            Some("127.0.0.&1"),
        ),
        (
            "multi.uribl.com",
            "2.0.0.127",
            None,
            &[
                ("127.0.0.&2", "URIBL_BLACK", 25),
                ("127.0.0.&4", "URIBL_GREY", 5),
                ("127.0.0.&8", "URIBL_RED", 2),
            ],
            Some("127.0.0.&1"),
        ),
    ];
    ROWS.iter()
        .map(|(zone, test, group, rules, error)| ZoneSettings {
            zone: (*zone).to_owned(),
            about: About::Domains,
            test_domain: Some((*test).to_owned()),
            name: None,
            group: group.map(str::to_owned),
            group_cap: None,
            ipv6: false,
            rules: rules.iter().map(rule).collect(),
            errors: error.iter().filter_map(|error| error.parse().ok()).collect(),
        })
        .collect()
}

fn rule((reply, symbol, tenths): &(&str, &str, i32)) -> RuleSettings {
    RuleSettings {
        reply: reply.parse().unwrap_or_default(),
        symbol: (*symbol).to_owned(),
        score: Score::tenths(*tenths),
    }
}

/// The lists of clients that are asked when the configuration names no lists.
#[must_use]
pub fn defaults() -> Vec<ZoneSettings> {
    // (list, group, cap of the group in tenths, IPv6 too, [(last octets, symbol, tenths of points)])
    type Rules = &'static [(&'static str, &'static str, i32)];
    type Row = (&'static str, Option<&'static str>, Option<i32>, bool, Rules);
    const ROWS: &[Row] = &[
        (
            "zen.spamhaus.org",
            Some("spamhaus"),
            Some(60),
            true,
            &[
                ("127.0.0.2", "ZEN_SBL", 40),
                ("127.0.0.3", "ZEN_CSS", 30),
                ("127.0.0.[4..7]", "ZEN_XBL", 30),
                ("127.0.0.9", "ZEN_DROP", 50),
                ("127.0.0.[10;11]", "ZEN_PBL", 20),
            ],
        ),
        ("bl.spamcop.net", None, None, false, &[("127.0.0.2", "SPAMCOP", 15)]),
        ("psbl.surriel.com", None, None, false, &[("127.0.0.2", "PSBL", 15)]),
        ("dnsbl-1.uceprotect.net", None, None, false, &[("127.0.0.2", "UCEPROTECT_1", 10)]),
        (
            "list.dnswl.org",
            Some("dnswl"),
            None,
            true,
            &[
                ("127.0.[0..254].0", "DNSWL_NONE", -1),
                ("127.0.[0..254].1", "DNSWL_LOW", -10),
                ("127.0.[0..254].2", "DNSWL_MED", -25),
                ("127.0.[0..254].3", "DNSWL_HI", -50),
            ],
        ),
    ];
    ROWS.iter()
        .map(|(zone, group, cap, ipv6, rules)| ZoneSettings {
            zone: (*zone).to_owned(),
            about: About::Clients,
            test_domain: None,
            name: None,
            group: group.map(str::to_owned),
            group_cap: cap.map(Score::tenths),
            ipv6: *ipv6,
            rules: rules.iter().map(rule).collect(),
            errors: Vec::new(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
