//! All checks at their stages: one line for each, and what their symbols are worth by default.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mail::Domain;
use net::{DnsSettings, Resolver, ResolverError};
use policy::{
    Check, CheckSettings, Checks, Definitions, EndOfData, Pipeline, StageMarker, Symbol, SymbolDef,
    SymbolError,
};
use store::StateStore;
use tables::Table;

use crate::access::{Access, AccessStage};
use crate::backscatter::Marks;
use crate::backscatter::judge::Backscatter;
use crate::composites;
use crate::connect::dnsbl::{self, Dnsbl, lists::Lists};
use crate::connect::iprev::Iprev;
use crate::correspondents::Correspondents;
use crate::correspondents::letters::Letters;
use crate::end_of_data::attachments::Attachments;
use crate::end_of_data::authentication::Authentication;
use crate::end_of_data::bayes::Bayes;
use crate::end_of_data::content_checks::ContentChecks;
use crate::end_of_data::correspondent::Correspondent;
use crate::end_of_data::handed_on::HandedOn;
use crate::end_of_data::header_sanity::HeaderSanity;
use crate::end_of_data::links::Links;
use crate::end_of_data::mime::Mime;
use crate::end_of_data::own_filters::OwnFilters;
use crate::end_of_data::reputation::ReputationCheck;
use crate::end_of_data::rules::{self, Rules};
use crate::groups;
use crate::hashes::Hashes;
use crate::helo::claim::{Claim, Ours};
use crate::helo::early_pipelining::EarlyPipelining;
use crate::helo::early_talker::EarlyTalker;
use crate::helo::rdns::Rdns;
use crate::mail_from::own_sender::{OwnSender, Senders};
use crate::mail_from::sender_domain::SenderDomain;
use crate::mail_from::spf::SpfQuery;
use crate::opening::{OpenErrors, Opening};
use crate::rcpt::dictionary::Dictionary;
use crate::rcpt::greylist::Greylist;
use crate::rcpt::null_sender::NullSender;
use crate::rcpt::own_domain::OwnDomain;
use crate::rcpt::spam_trap::SpamTrap;
use crate::rcpt::spf::Spf;
use crate::remote::Scanners;
use crate::remote::milter::Milters;
use crate::remote::milter::settings::MilterError;
use crate::remote::settings::ScannerError;
use crate::reputation::{Memory, Reputation};
use crate::settings::Settings;

/// The checks after DATA that look at nothing but the letter, but for what was learnt.
pub const OF_LETTERS: [&str; 5] = ["header_sanity", "mime", "rules", "links", "attachments"];

/// What the checks work with.
pub struct Parts<'a> {
    /// What an operator wants.
    pub settings: &'a Settings,
    /// DNS.
    pub resolver: Resolver,
    /// How DNS is asked; the lists are asked by a resolver of their own.
    pub dns: &'a DnsSettings,
    /// What is remembered from one session to the next.
    pub state: Arc<dyn StateStore>,
    /// The letters by which answers to our users are known.
    pub threads: Hashes,
    /// The Message-IDs by which reports about mail of ours are known.
    pub sent: Hashes,
    /// What senders and networks have sent lately.
    pub reputation: Memory,
    /// Who knows the addresses of our domains.
    pub senders: Arc<dyn Senders>,
    /// Our name.
    pub hostname: Domain,
    /// Our domains.
    pub domains: Vec<Domain>,
    /// Our addresses.
    pub addresses: Vec<IpAddr>,
    /// Parts a user from a tag.
    pub delimiter: Option<char>,
    /// Where relative paths start.
    pub base: &'a Path,
    /// The marks by which bounces of our own mail are known.
    pub marks: Marks,
    /// The folder of what was learnt.
    pub learnt: PathBuf,
}

/// The checks, set up.
pub struct Made {
    /// At their stages.
    pub pipeline: Pipeline,
    /// What their symbols are worth.
    pub definitions: Definitions,
    /// The DNS lists: whoever runs the checks has to [`Lists::tend`] to them.
    pub lists: Arc<Lists>,
    /// The memory of who was asked to come back.
    pub greylist: Greylist,
    /// The memory of whom our users have written to.
    pub correspondents: Correspondents,
    /// The memory of what senders and networks have sent.
    pub reputation: Reputation,
    /// An operator's tables about headers and bodies.
    pub content: ContentChecks,
    /// Programs besides us that look at messages.
    pub scanners: Scanners,
    /// Programs that follow sessions and change messages.
    pub milters: Milters,
    /// The filters of domains and accounts, which are asked beside the checks after DATA.
    pub own_filters: OwnFilters,
    /// The marks by which bounces of our own mail are known.
    pub marks: Marks,
    /// All tables of an operator's, for who tells of their trouble.
    pub tables: Vec<Arc<dyn Table>>,
}

/// Why the checks cannot be set up: the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The resolver of the lists.
    #[error(transparent)]
    Resolver(#[from] ResolverError),
    /// Tables cannot be used.
    #[error(transparent)]
    Tables(#[from] OpenErrors),
    /// Rules cannot be used.
    #[error(transparent)]
    Rules(#[from] rules::file::RuleErrors),
    /// Absurdly many tables.
    #[error(transparent)]
    Symbol(#[from] SymbolError),
    /// A scanner that cannot be.
    #[error(transparent)]
    Scanner(#[from] ScannerError),
    /// A milter that cannot be.
    #[error(transparent)]
    Milter(#[from] MilterError),
    /// Settings for a check that is not there.
    #[error("[antispam.check.{name}]: there is no such check; there are {there}")]
    NoSuchCheck {
        /// As written.
        name: String,
        /// All names.
        there: String,
    },
}

/// Sets up all checks.
///
/// # Errors
/// See [`SetUpError`].
pub fn set_up(parts: &Parts<'_>) -> Result<Made, SetUpError> {
    let settings = parts.settings;
    let lists = Arc::new(Lists::new(&settings.dnsbl, settings.dnsbl_health.clone(), parts.dns)?);
    let greylist = Greylist::new(settings.greylist.clone(), Arc::clone(&parts.state));
    let letters = Letters { hashes: parts.threads.clone(), keys: Arc::clone(&parts.marks.keys) };
    let correspondents = Correspondents::new(settings.correspondent_days, Arc::clone(&parts.state), letters);
    let reputation = Reputation::new(settings.reputation, parts.reputation.clone());
    let mut all = Pipeline::default();
    let mut opening = Opening::new(parts.base);
    access(&mut all, parts, &mut opening)?;
    let add = Adding { settings };
    let ours = Ours { names: names(parts), addresses: parts.addresses.clone() };

    add.to(&mut all.connect, Iprev::new(parts.resolver.clone()));
    add.to(&mut all.connect, Dnsbl::new(Arc::clone(&lists), &settings.dnsbl, parts.addresses.clone()));

    add.to(&mut all.helo, EarlyTalker);
    add.to(&mut all.helo, EarlyPipelining);
    add.to(&mut all.helo, Rdns);
    add.to(&mut all.helo, Claim::new(parts.resolver.clone(), ours.clone()));

    add.to(&mut all.mail, SpfQuery::new(parts.resolver.clone(), parts.hostname.clone()));
    add.to(&mut all.mail, SenderDomain::new(parts.resolver.clone()));
    add.to(&mut all.mail, OwnSender::new(Arc::clone(&parts.senders)));

    add.to(&mut all.rcpt, Spf);
    add.to(&mut all.rcpt, OwnDomain);
    add.to(&mut all.rcpt, Dictionary);
    add.to(&mut all.rcpt, NullSender);
    if let Some(spec) = &settings.spam_traps
        && let Some(table) = opening.table("antispam.spam_traps", spec, None)
    {
        add.to(&mut all.rcpt, SpamTrap::new(table, parts.delimiter));
    }

    let backscatter = Backscatter::new(
        settings.backscatter.mode,
        Arc::clone(&parts.marks.keys),
        (Arc::clone(&parts.state), parts.sent.clone()),
        parts.marks.days,
    );
    add.to(&mut all.end_of_data, backscatter);
    add.to(&mut all.end_of_data, Authentication::new(settings.dmarc));
    add.to(&mut all.end_of_data, HandedOn);
    add.to(&mut all.end_of_data, Correspondent::new(correspondents.clone()));
    add.to(&mut all.end_of_data, ReputationCheck::new(reputation.clone()));
    add.to(&mut all.end_of_data, HeaderSanity::new(ours));
    add.to(&mut all.end_of_data, Mime);
    let rules = rules(&add, &mut all, parts)?;
    let links = settings.links.clone();
    add.to(&mut all.end_of_data, Links::new(Arc::clone(&lists), &settings.dnsbl, links, &parts.domains));
    add.to(&mut all.end_of_data, Attachments::new(settings.attachments.clone()));
    add.to(&mut all.end_of_data, Bayes::new(parts.learnt.clone()));

    let (resolver, of) = (&parts.resolver, |name: &str| add.of(name));
    let mut scanners = Scanners::set_up(&settings.scanner, resolver, &parts.hostname, &mut all, of)?;
    let milters = Milters::new(&settings.milter, &settings.scanner, resolver)?;
    scanners.watch(&milters);
    let content = ContentChecks::open(settings, &mut opening);
    let tables = opening.finish()?;
    known(settings, &all)?;
    let definitions = definitions(settings, &all, &milters);
    rules.apart_from(&definitions)?;
    Ok(Made {
        pipeline: all,
        definitions,
        lists,
        greylist,
        correspondents,
        reputation,
        content,
        scanners,
        milters,
        own_filters: OwnFilters::new(parts.learnt.clone(), &settings.learn),
        marks: parts.marks.clone(),
        tables,
    })
}

fn rules(add: &Adding<'_>, all: &mut Pipeline, parts: &Parts<'_>) -> Result<Rules, SetUpError> {
    let rules = Rules::open(&parts.settings.rules, parts.settings.own_rules, parts.base)?;
    add.to(&mut all.end_of_data, rules.clone());
    Ok(rules)
}

/// What the symbols of these checks are worth by default, with groups and composites.
fn definitions(settings: &Settings, all: &Pipeline, milters: &Milters) -> Definitions {
    let mut groups = groups::all();
    groups.extend(dnsbl::settings::groups(&settings.dnsbl, settings.dnsbl_cap));
    let symbols: Vec<SymbolDef> = all.symbols().into_iter().chain(milters.symbols()).collect();
    let unused = unused(settings, &symbols);
    Definitions { symbols, groups, composites: composites::all(), unused }
}

/// What other configurations find: a file of scores that was made for one of them is none the worse.
fn unused(settings: &Settings, symbols: &[SymbolDef]) -> Vec<Symbol> {
    let zones = [dnsbl::settings::defaults(), dnsbl::settings::domain_defaults()].concat();
    let lists = zones.iter().flat_map(|zone| zone.symbols().unwrap_or_default());
    // Reading them twice would cost a start a fifth of its time.
    let own = || Rules::open(&[], true, Path::new("")).map(|rules| Check::<EndOfData>::symbols(&rules));
    let rules = if settings.own_rules { Vec::new() } else { own().unwrap_or_default() };
    let mut all: Vec<Symbol> = lists.chain(rules).map(|def| def.symbol).collect();
    all.extend(OPTIONAL.map(Symbol::new));
    all.retain(|symbol| symbols.iter().all(|def| def.symbol != *symbol));
    all
}

/// Symbols of checks that are there when something is configured for them.
const OPTIONAL: [&str; 13] = [
    "SPAM_TRAP",
    "SPAM_TRAP_TIMEOUT",
    "ACCESS_TIMEOUT",
    "CLAMAV_VIRUS",
    "CLAMAV_TIMEOUT",
    "SPAMASSASSIN_SCORE",
    "SPAMASSASSIN_TIMEOUT",
    "RSPAMD_SCORE",
    "RSPAMD_TIMEOUT",
    "PYZOR_LISTED",
    "PYZOR_TIMEOUT",
    "POLICY_SCORE",
    "POLICY_TIMEOUT",
];

/// Operators' tables, in the order of the configuration.
fn access(all: &mut Pipeline, parts: &Parts<'_>, opening: &mut Opening<'_>) -> Result<(), SetUpError> {
    let add = Adding { settings: parts.settings };
    let (mut at_mail, mut at_rcpt) = (Access::new(parts.delimiter), Access::new(parts.delimiter));
    for (number, settings) in parts.settings.access.iter().enumerate() {
        let (key, place) = (format!("antispam.access[{number}]"), settings.stage.place());
        let Some(table) = opening.table(&key, &settings.table, Some(place)) else { continue };
        let stage = if settings.stage == AccessStage::Rcpt { &mut at_rcpt } else { &mut at_mail };
        stage.add(number, settings.clone(), table)?;
    }
    // Without tables there is no such check, and settings for it are a mistake.
    if !at_mail.is_empty() {
        add.to(&mut all.mail, at_mail);
    }
    if !at_rcpt.is_empty() {
        add.to(&mut all.rcpt, at_rcpt);
    }
    Ok(())
}

fn names(parts: &Parts<'_>) -> Vec<Domain> {
    std::iter::once(parts.hostname.clone()).chain(parts.domains.iter().cloned()).collect()
}

/// Adds checks, each with what the operator has set for it.
struct Adding<'a> {
    settings: &'a Settings,
}

impl Adding<'_> {
    fn to<S: StageMarker>(&self, checks: &mut Checks<S>, check: impl Check<S> + 'static) {
        let settings = self.of(check.name());
        checks.add(Arc::new(check), settings);
    }

    /// What is set for the check of this name.
    fn of(&self, name: &str) -> CheckSettings {
        self.settings.check.get(name).copied().unwrap_or_default()
    }
}

/// Every check that has settings is there.
fn known(settings: &Settings, all: &Pipeline) -> Result<(), SetUpError> {
    let mut names: Vec<&str> = all.connect.names().collect();
    names.extend(all.helo.names());
    names.extend(all.mail.names());
    names.extend(all.rcpt.names());
    names.extend(all.end_of_data.names());
    names.sort_unstable();
    names.dedup();
    match settings.check.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => Err(SetUpError::NoSuchCheck { name: name.clone(), there: names.join(", ") }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use net::NameServer;
    use policy::ScoreBook;
    use store::MemoryState;

    use super::*;
    use crate::backscatter::Keys;
    use crate::mail_from::own_sender::{Asking, Existence};

    struct Nobody;

    impl Senders for Nobody {
        fn exists<'a>(&'a self, _: &'a mail::Address) -> Asking<'a> {
            Box::pin(std::future::ready(Existence::Absent))
        }
    }

    fn set_up_with(text: &str) -> Result<Made, SetUpError> {
        let settings: Settings = toml::from_str(text).unwrap();
        let dns = DnsSettings {
            servers: vec![NameServer("127.0.0.1:9".parse().unwrap())],
            ..DnsSettings::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let parts = Parts {
            settings: &settings,
            resolver: Resolver::from_settings(&dns).unwrap(),
            dns: &dns,
            state: Arc::new(MemoryState::default()),
            threads: Hashes::new("correspondents", Arc::new(MemoryState::default())),
            sent: Hashes::new("backscatter", Arc::new(MemoryState::default())),
            reputation: Memory::new(Arc::new(MemoryState::default())),
            senders: Arc::new(Nobody),
            hostname: "mx.example.test".parse().unwrap(),
            domains: Vec::new(),
            addresses: Vec::new(),
            delimiter: Some('+'),
            base: folder.path(),
            marks: Marks::new(Keys::default(), 12, &settings.backscatter),
            learnt: folder.path().join("bayes"),
        };
        set_up(&parts)
    }

    #[tokio::test]
    async fn the_checks_fit_together_by_default_and_with_many_tables() {
        let tables = "[[access]]\nstage = \"connect\"\ntable = \"inline:{a=OK}\"\n\
                      [[access]]\nstage = \"connect\"\ntable = \"inline:{b=REJECT}\"\n\
                      [[access]]\nstage = \"rcpt\"\ntable = \"inline:{c=OK}\"\n";
        for text in ["", tables] {
            let made = set_up_with(text).unwrap();
            let book = ScoreBook::new(made.definitions).unwrap();
            let lists = Settings::default().thresholds.lists_problem(&book, false);
            assert_eq!(lists, None, "lists alone never refuse");
        }
    }

    /// The file that comes with the program fits all configurations; a name that nobody knows fits none.
    #[tokio::test]
    async fn the_scores_that_come_with_the_program_fit_whatever_is_asked() {
        let shipped = include_str!("../../../etc/scores.toml");
        let zone = "[[dnsbl]]\nzone = \"zen.dnsbl.test\"\n\
                    rules = [{ reply = \"127.0.0.2\", symbol = \"ZEN_SBL\", score = 4.0 }]\n";
        for text in ["", "dnsbl = []\nown_rules = false\n", zone] {
            let definitions = set_up_with(text).unwrap().definitions;
            let with =
                |more: &str| ScoreBook::with_file(definitions.clone(), &shipped.replace("[symbols]\n", more));
            assert_eq!(with("[symbols]\n").err(), None, "{text}");
            let wrong = with("[symbols]\nZEN_SBLL = 9.0\n").unwrap_err();
            assert!(wrong.len() == 1 && wrong[0].message.contains("`ZEN_SBLL`"), "{wrong:?}");
        }
    }

    /// The file of scores may be another, or none: what is wrong is in the file with the rule.
    #[tokio::test]
    async fn a_rule_with_the_name_of_something_else_is_told_with_its_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.toml");
        let rule = |name: &str| format!("[[rule]]\nname = \"{name}\"\nscore = 1.5\nbody = 'offer'\n");
        let composite = composites::all()[0].symbol.symbol.to_string();
        std::fs::write(&file, [rule("OFFER"), rule(&composite), rule("SPF_FAIL")].concat()).unwrap();
        let settings = format!("rules = [\"{}\"]\n", file.display());
        let wrong = set_up_with(&settings).err().unwrap().to_string();
        let at = |line: usize, name: &str| format!("{}:{line}: {name}: the program has", file.display());
        let lines: Vec<&str> = wrong.lines().collect();
        assert!(lines.len() == 2 && lines[0].starts_with(&at(6, &composite)), "{wrong}");
        assert!(lines[1].starts_with(&at(10, "SPF_FAIL")), "{wrong}");
        std::fs::write(&file, rule("OFFER")).unwrap();
        assert!(set_up_with(&settings).is_ok());
    }

    #[tokio::test]
    async fn settings_for_a_check_that_is_not_there_are_refused() {
        let wrong = set_up_with("[check.greylisting]\nmode = \"observe\"\n").err().unwrap();
        assert!(wrong.to_string().contains("there is no such check"), "{wrong}");
        assert!(set_up_with("[check.dnsbl]\nmode = \"observe\"\n").is_ok());
    }
}
