//! What a check is: given facts, it writes down what it found. It never decides and never sees another check's symbols.
//!
//! A check may wait (DNS, a scanner) but not compute for long: that belongs on a blocking pool. It is stopped at its
//! budget wherever it stands, and what it has written down until then counts; so it writes down each thing when it knows
//! it. It never fails: what it could not find out it says with [`Findings::unfinished`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::AuthFacts;
use crate::facts::Facts;
use crate::mode::Mode;
use crate::ruling::{Ruling, bounded, bounded_to};
use crate::stage::{Scope, StageMarker};
use crate::symbol::{Symbol, SymbolDef};

/// Symbols that one run of a check may write down; further ones are counted and left out.
pub const FINDINGS_MAX: usize = 64;
/// Rulings of one run of a check; further ones are left out.
pub const RULINGS_MAX: usize = 64;
/// DNS answers of one run of a check; further ones are left out.
pub const DNS_ANSWERS_MAX: usize = 64;
/// Largest factor of a finding either way, in thousandths.
pub const FACTOR_MAX: i32 = 100_000;
/// Longest question or answer of DNS that is kept, in octets.
const DNS_BYTES_MAX: usize = 255;

/// A check that is at work.
pub type Work<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// One question about a session, asked at the stage `S`.
pub trait Check<S: StageMarker>: Send + Sync {
    /// Its name in settings, records and metrics: lower-case words joined by `_`, such as `dnsbl`.
    fn name(&self) -> &str;

    /// Every symbol it may write down, but for its `*_TIMEOUT`, which is declared for it. A symbol that is not here is
    /// worth nothing when it is found.
    fn symbols(&self) -> Vec<SymbolDef>;

    /// How long it may take, at most until the deadline of the stage.
    fn budget(&self) -> Duration;

    /// What an operator wants done when it does not finish, unless the settings say otherwise.
    fn on_unknown(&self) -> OnUnknown {
        OnUnknown::Ignore
    }

    /// True when what it finds is certain (malware, an operator's table) and so acts, and its failing to answer too, in
    /// every mode.
    fn is_certain(&self) -> bool {
        false
    }

    /// True when it has something to say about this client. Asked before it is started; strangers only by default.
    fn applies(&self, facts: &S::Facts) -> bool {
        facts.is_stranger()
    }

    /// Looks, and writes down what it finds.
    fn run<'a>(&'a self, facts: &'a S::Facts, found: &'a mut Findings) -> Work<'a>;
}

/// What is done when a check does not finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnUnknown {
    /// Its symbol says so, and the rest decides.
    #[default]
    Ignore,
    /// The client is asked to come back: 451 4.7.0.
    Tempfail,
}

/// What an operator may set for any check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckSettings {
    /// Not set: the mode of the domain. A check in mode `tag` helps to mark but not to refuse; in `observe` it only records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What is done when it does not finish: `ignore` or `tempfail`. Not set: as the check has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_unknown: Option<OnUnknown>,
    /// How long it may take, in milliseconds. Not set: as the check has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_ms: Option<u64>,
}

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its name.
    pub symbol: Symbol,
    /// What was seen, bounded and without control characters. Never a key of a list, never subject or body.
    pub evidence: String,
    /// By how much its points are multiplied, in thousandths; 1000 is once.
    pub factor: i32,
    /// What it counts for.
    pub scope: Scope,
    /// It counts for these recipients of the message alone, by their numbers. For what is found after DATA.
    pub only: Option<Arc<[usize]>>,
    /// How much it may do.
    pub mode: Mode,
}

impl Finding {
    /// Seen; nothing more to say.
    #[must_use]
    pub fn new(symbol: impl Into<Symbol>) -> Self {
        let symbol = symbol.into();
        Self {
            symbol,
            evidence: String::new(),
            factor: 1000,
            scope: Scope::Recipient,
            only: None,
            mode: Mode::Enforce,
        }
    }

    /// It counts for some recipients of a message alone, by their numbers among [`crate::MessageFacts::recipients`].
    #[must_use]
    pub fn only_for(mut self, recipients: impl Into<Arc<[usize]>>) -> Self {
        self.only = Some(recipients.into());
        self
    }

    /// With what was seen.
    #[must_use]
    pub fn evidence(mut self, seen: &str) -> Self {
        self.evidence = bounded(seen);
        self
    }

    /// Worth `factor` times its points, `factor` in thousandths, within [`FACTOR_MAX`].
    #[must_use]
    pub fn times(mut self, factor_thousandths: i32) -> Self {
        self.factor = factor_thousandths.clamp(-FACTOR_MAX, FACTOR_MAX);
        self
    }

    /// It counts for more than the stage it is found at: seen at RCPT, it is to count for the whole session.
    #[must_use]
    pub fn counts_for(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }
}

/// An answer of DNS that a check went by, for the explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsAnswer {
    /// The name and type asked for: `2.2.0.192.zen.dnsbl.test A`. Keys in names are hidden by who asks.
    pub question: String,
    /// What was answered: records, `no such name`, `no answer`, `SERVFAIL`.
    pub answer: String,
}

impl DnsAnswer {
    /// A question and its answer, cut to bounds.
    #[must_use]
    pub fn new(question: &str, answer: &str) -> Self {
        Self { question: bounded_to(question, DNS_BYTES_MAX), answer: bounded_to(answer, DNS_BYTES_MAX) }
    }
}

/// What a check has written down. Bounded: what comes after the bounds is counted.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    pub(crate) findings: Vec<Finding>,
    pub(crate) rulings: Vec<Ruling>,
    pub(crate) dns: Vec<DnsAnswer>,
    pub(crate) learnt: AuthFacts,
    pub(crate) unfinished: Option<String>,
    pub(crate) left_out: usize,
}

impl Findings {
    /// A symbol was seen.
    pub fn add(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.left_out += 1;
        }
    }

    /// A symbol was seen, once, with this evidence.
    pub fn saw(&mut self, symbol: impl Into<Symbol>, evidence: &str) {
        self.add(Finding::new(symbol).evidence(evidence));
    }

    /// Something decides alone.
    pub fn rule(&mut self, ruling: Ruling) {
        if self.rulings.len() < RULINGS_MAX {
            self.rulings.push(ruling);
        } else {
            self.left_out += 1;
        }
    }

    /// DNS has answered.
    pub fn dns(&mut self, answer: DnsAnswer) {
        if self.dns.len() < DNS_ANSWERS_MAX {
            self.dns.push(answer);
        } else {
            self.left_out += 1;
        }
    }

    /// What authentication found, for the stages to come.
    pub fn learn(&mut self, facts: AuthFacts) {
        self.learnt.learn(facts);
    }

    /// It could not be found out: treated as if the time had run out, whatever was written down besides.
    pub fn unfinished(&mut self, reason: &str) {
        self.unfinished = Some(bounded(reason));
    }

    /// The symbols seen so far, for tests of checks.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The rulings so far, for tests of checks.
    #[must_use]
    pub fn rulings(&self) -> &[Ruling] {
        &self.rulings
    }

    /// The DNS answers so far, for tests of checks.
    #[must_use]
    pub fn dns_answers(&self) -> &[DnsAnswer] {
        &self.dns
    }

    /// What was learnt, for tests of checks.
    #[must_use]
    pub fn learnt(&self) -> &AuthFacts {
        &self.learnt
    }

    /// Why it is not finished, for tests of checks.
    #[must_use]
    pub fn why_unfinished(&self) -> Option<&str> {
        self.unfinished.as_deref()
    }

    /// True when this symbol was seen.
    #[must_use]
    pub fn has(&self, symbol: &str) -> bool {
        self.findings.iter().any(|finding| finding.symbol == *symbol)
    }
}
