//! DMARC (RFC 9989): is the author's domain the one that SPF or DKIM prove, and what does it want done if not?
//!
//! The policy is found by walking up the tree of names (§4.10), at most eight questions a name. A failed look-up for the
//! author's own domain is `temperror`; one for a domain above it only where it could change the result, which is told
//! apart in [`Problem`]. From fields that name no domain, or several, are not judged: `none`, with the reason. What is
//! done about a failure is not decided here.

mod authors;
mod record;
mod walk;

use mail::Domain;
use net::{DnsAnswer, DnsName, Family};

pub use authors::Authors;
pub use record::Policy;

use crate::{AuthResult, Lookups, dkim, spf};
use record::Record;
use walk::Walk;

/// What DMARC is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who wrote the message: [`crate::Examined::authors`].
    pub authors: &'a Authors,
    /// What SPF said of MAIL FROM, or of HELO for the null reverse-path.
    pub spf: Option<&'a spf::Outcome>,
    /// What DKIM said.
    pub dkim: &'a [dkim::Outcome],
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `none`, `pass`, `fail`, `temperror` or `permerror`.
    pub result: AuthResult,
    /// The author's domain, where there is exactly one.
    pub domain: Option<Domain>,
    /// What the domain wants done with a message that fails: of `p`, `sp` and `np` the one that applies, one step milder
    /// while the domain is testing (`t=y`).
    pub policy: Policy,
    /// Whose record it is: the author's domain, or one above it.
    pub record_domain: Option<Domain>,
    /// SPF passes for an aligned domain.
    pub spf_aligned: bool,
    /// A signature passes for an aligned domain.
    pub dkim_aligned: bool,
    /// Look-ups for records that found none.
    pub void_lookups: usize,
    /// Why the result is what it is, where that is not plain.
    pub problem: Option<Problem>,
}

/// What stood in the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// From is missing, or names no domain.
    #[error("From is missing, or names no domain")]
    NoAuthor,
    /// Several authors' domains.
    #[error("From names several domains")]
    ManyAuthors,
    /// The look-up for the author's own domain failed.
    #[error("the author's domain could not be asked: {0}")]
    AuthorLookup(String),
    /// A look-up for a domain above failed, and the result hangs on it.
    #[error("a domain above the author's could not be asked: {0}")]
    ParentLookup(String),
    /// SPF or DKIM could not be found out, for a domain that is aligned.
    #[error("SPF or DKIM of an aligned domain could not be found out")]
    Evidence,
    /// The record has neither a policy nor an address for reports: it does not apply (§4.7).
    #[error("the record has no policy")]
    Record,
}

/// Whether an identifier is the author's.
enum Alignment {
    Yes,
    No,
    Unknown(String),
}

/// Finds the policy and judges.
pub async fn check(request: &Request<'_>, lookups: &Lookups) -> Outcome {
    let mut outcome = Outcome {
        result: AuthResult::None,
        domain: None,
        policy: Policy::None,
        record_domain: None,
        spf_aligned: false,
        dkim_aligned: false,
        void_lookups: 0,
        problem: None,
    };
    let author = match request.authors.domains() {
        [author] if !request.authors.unreadable() => author,
        [] | [_] => return Outcome { problem: Some(Problem::NoAuthor), ..outcome },
        _ => return Outcome { problem: Some(Problem::ManyAuthors), ..outcome },
    };
    outcome.domain = Some(author.clone());
    let walk = Walk::up(author, lookups).await;
    outcome.void_lookups = walk.void_lookups;
    let (record_domain, record) = match walk.policy(author) {
        Ok(Some(found)) => found,
        Ok(None) => return outcome,
        Err(problem) => {
            return Outcome { result: AuthResult::TempError, problem: Some(problem), ..outcome };
        }
    };
    outcome.record_domain = Some(record_domain.clone());
    match policy(author, record_domain, record, lookups).await {
        Some(policy) => outcome.policy = policy,
        None => return Outcome { problem: Some(Problem::Record), ..outcome },
    }
    align(request, author, &walk, record, lookups, &mut outcome).await;
    outcome
}

/// §4.7, §4.10.1: which of the policies applies; `None` when the record has none.
async fn policy(author: &Domain, owner: &Domain, record: &Record, lookups: &Lookups) -> Option<Policy> {
    let stated = match record.policy {
        None if record.reports => Policy::None,
        None => return None,
        Some(policy) if owner == author => policy,
        Some(policy) => {
            let existing = record.subdomains.unwrap_or(policy);
            let missing = record.missing.unwrap_or(existing);
            // Only a name that DNS denies is missing (RFC 8020 §2); a failed look-up does not make it so.
            if missing != existing && does_not_exist(author, lookups).await { missing } else { existing }
        }
    };
    Some(if record.testing { stated.milder() } else { stated })
}

async fn does_not_exist(author: &Domain, lookups: &Lookups) -> bool {
    let Some(name) = DnsName::of(author) else { return false };
    lookups.addresses(&name, Family::V4).await == DnsAnswer::NoName
}

/// §4.4, §5.3: one aligned identifier that passes is enough; one that might have passed makes a failure uncertain.
async fn align(
    request: &Request<'_>,
    author: &Domain,
    walk: &Walk,
    record: &Record,
    lookups: &Lookups,
    outcome: &mut Outcome,
) {
    let mut doubt = None;
    let spf = request.spf.and_then(|spf| Some((spf.result, Domain::parse(&spf.domain).ok()?)));
    let dkim = request.dkim.iter().filter_map(|dkim| Some((dkim.result, dkim.domain.clone()?)));
    let all = spf.into_iter().map(|it| (true, it)).chain(dkim.map(|it| (false, it)));
    for (is_spf, (result, domain)) in all {
        if !matches!(result, AuthResult::Pass | AuthResult::TempError) {
            continue;
        }
        let strict = if is_spf { record.strict_spf } else { record.strict_dkim };
        match aligned(&domain, author, strict, walk, lookups).await {
            Alignment::No => {}
            Alignment::Yes if result == AuthResult::Pass => {
                outcome.spf_aligned |= is_spf;
                outcome.dkim_aligned |= !is_spf;
            }
            Alignment::Yes => doubt = doubt.or(Some(Problem::Evidence)),
            Alignment::Unknown(why) => doubt = doubt.or(Some(Problem::ParentLookup(why))),
        }
    }
    outcome.result = match &doubt {
        _ if outcome.spf_aligned || outcome.dkim_aligned => AuthResult::Pass,
        Some(_) => AuthResult::TempError,
        None => AuthResult::Fail,
    };
    if outcome.result == AuthResult::TempError {
        outcome.problem = doubt;
    }
}

async fn aligned(
    domain: &Domain,
    author: &Domain,
    strict: bool,
    walk: &Walk,
    lookups: &Lookups,
) -> Alignment {
    if domain == author {
        return Alignment::Yes;
    }
    if strict || !walk::may_share_organization(domain, author) {
        return Alignment::No;
    }
    let ours = match walk.organization(author) {
        Ok(ours) => ours,
        Err(why) => return Alignment::Unknown(why),
    };
    if !walk::is_within(domain.as_str(), &ours) {
        return Alignment::No;
    }
    match Walk::up(domain, lookups).await.organization(domain) {
        Ok(theirs) if theirs == ours => Alignment::Yes,
        Ok(_) => Alignment::No,
        Err(why) => Alignment::Unknown(why),
    }
}
