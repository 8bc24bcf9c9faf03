//! Who sent this, as facts for the checks: `msgauth` finds out, here its words become those of `policy`.
//!
//! iprev and SPF are learnt by two checks of their own ([`crate::connect::iprev`], [`crate::mail_from::spf`]); DKIM, ARC and
//! DMARC of a message all at once, before the checks after DATA are asked. What fails in DNS is a temporary error, never an
//! absence (I9).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use mail::Domain;
use msgauth::fields::Results;
use msgauth::{Limits, Lookups, arc, dkim, dmarc, iprev, spf};
use net::{Heard, Resolver};
use policy::{
    ArcFact, AuthFacts, Content, DkimFact, DmarcFact, DmarcPolicy, DnsAnswer, Facts, Findings, IprevFact,
    MessageFacts, SpfFact, SpfIdentity,
};

use crate::work;

/// In whose name results are told.
#[derive(Debug, Clone)]
pub struct Us {
    /// Our host name.
    pub hostname: Domain,
    /// The name in Authentication-Results (RFC 8601 §2.2).
    pub authserv_id: Domain,
}

/// What was found out about a message.
#[derive(Debug)]
pub struct Authenticated {
    /// For the checks.
    pub facts: AuthFacts,
    /// Authentication-Results and Received-SPF, each with its CRLF.
    pub trace: Vec<u8>,
    /// What DNS said about it.
    pub dns: Vec<DnsAnswer>,
}

/// What was heard of DNS, for the records of verdicts.
pub(crate) fn dns_answers(heard: &Heard) -> impl Iterator<Item = DnsAnswer> + use<> {
    heard.take().into_iter().map(|(question, answer)| DnsAnswer::new(&question, &answer))
}

/// Writes down what was heard of DNS.
pub(crate) fn write_down(heard: &Heard, found: &mut Findings) {
    dns_answers(heard).for_each(|answer| found.dns(answer));
}

/// Finds out what a message says of where it comes from; DNS is asked for `time_max`, and then it is a temporary error.
/// Hashing that takes its time runs on another thread ([`crate::work`]).
///
/// None when the message cannot be read in one piece, or hashing breaks down: then nothing is known of it.
pub async fn of_message(
    resolver: &Resolver,
    us: &Us,
    facts: &MessageFacts,
    time_max: Duration,
) -> Option<Authenticated> {
    let Content::Memory(octets) = facts.content.clone() else { return None };
    let now = facts.at.seconds();
    let examined =
        work::hashing(octets.len(), move || msgauth::examine(&octets, &Limits::default(), now)).await.ok()?;
    let (resolver, heard) = resolver.overheard();
    let lookups = Lookups::new(&resolver, time_max);
    let (dkim, arc) = tokio::join!(examined.dkim(&lookups), examined.arc(&lookups));
    let spf = facts.auth.spf.as_deref().map(spf_outcome);
    let request = dmarc::Request { authors: examined.authors(), spf: spf.as_ref(), dkim: &dkim };
    let dmarc = dmarc::check(&request, &lookups).await;
    let iprev = facts.auth.iprev.as_deref().map(iprev_outcome);
    let results = Results {
        iprev: iprev.as_ref().map(|outcome| (facts.connect().client, outcome)),
        spf_helo: None,
        spf: spf.as_ref(),
        dkim: Some(&dkim),
        arc: Some(&arc),
        dmarc: Some(&dmarc),
    };
    let mut trace = msgauth::fields::authentication_results(&us.authserv_id, &results);
    if let Some(spf) = &spf {
        trace.extend_from_slice(&received_spf(us, facts, spf));
    }
    let facts = AuthFacts {
        dkim: Some(dkim.into_iter().map(dkim_fact).collect()),
        arc: Some(Arc::new(arc_fact(&arc))),
        dmarc: Some(Arc::new(dmarc_fact(dmarc))),
        ..AuthFacts::default()
    };
    Some(Authenticated { facts, trace, dns: dns_answers(&heard).collect() })
}

/// Fields of a header that speak in our name, by their numbers: to be left out, whatever else is found
/// (RFC 8601 §5).
#[must_use]
pub fn forged(us: &Us, header: &[u8]) -> Vec<u32> {
    numbers(header, &msgauth::fields::forged_results(header, &us.authserv_id))
}

fn received_spf(us: &Us, facts: &MessageFacts, outcome: &spf::Outcome) -> Vec<u8> {
    let mail_from = facts.mail.reverse_path.mailbox().map(ToString::to_string).unwrap_or_default();
    let request = spf::Request {
        client: facts.connect().client,
        helo: &facts.mail.helo.name,
        mail_from: &mail_from,
        receiver: us.hostname.as_str(),
        now_seconds: facts.at.seconds(),
    };
    msgauth::fields::received_spf(&request, outcome)
}

/// The numbers of the fields that stand in these places.
fn numbers(header: &[u8], places: &[Range<usize>]) -> Vec<u32> {
    let fields = mail::header::fields(header).enumerate();
    fields
        .filter(|(_, field)| places.contains(&field.range()))
        .filter_map(|(number, _)| u32::try_from(number).ok())
        .collect()
}

/// iprev as a fact.
pub(crate) fn iprev_fact(outcome: iprev::Outcome) -> IprevFact {
    IprevFact { result: outcome.result, name: outcome.name, names: outcome.names }
}

/// The fact as Authentication-Results tells it.
fn iprev_outcome(fact: &IprevFact) -> iprev::Outcome {
    let (name, names) = (fact.name.clone(), fact.names.clone());
    iprev::Outcome { result: fact.result, name, names, reason: None }
}

/// SPF as a fact.
pub(crate) fn spf_fact(outcome: spf::Outcome) -> SpfFact {
    SpfFact {
        result: outcome.result,
        identity: match outcome.identity {
            spf::Identity::Helo => SpfIdentity::Helo,
            spf::Identity::MailFrom => SpfIdentity::MailFrom,
        },
        domain: Domain::parse(&outcome.domain).ok(),
        explanation: outcome.explanation,
        mechanism: outcome.mechanism,
    }
}

/// The fact as DMARC and the header fields want to hear it.
fn spf_outcome(fact: &SpfFact) -> spf::Outcome {
    spf::Outcome {
        result: fact.result,
        identity: match fact.identity {
            SpfIdentity::Helo => spf::Identity::Helo,
            SpfIdentity::MailFrom => spf::Identity::MailFrom,
        },
        domain: fact.domain.as_ref().map(ToString::to_string).unwrap_or_default(),
        mechanism: fact.mechanism.clone(),
        explanation: None,
        problem: None,
    }
}

fn dkim_fact(outcome: dkim::Outcome) -> DkimFact {
    DkimFact {
        result: outcome.result,
        domain: outcome.domain,
        selector: outcome.selector,
        algorithm: outcome.algorithm.unwrap_or_default().to_owned(),
        reason: outcome.reason,
    }
}

fn arc_fact(outcome: &arc::Outcome) -> ArcFact {
    ArcFact {
        result: outcome.result,
        instances: u8::try_from(outcome.sealers.len()).unwrap_or(arc::SETS_MAX),
        sealer: outcome.sealers.last().cloned(),
        dmarc_before: outcome.dmarc_before,
    }
}

fn dmarc_fact(outcome: dmarc::Outcome) -> DmarcFact {
    DmarcFact {
        result: outcome.result,
        policy: match outcome.policy {
            dmarc::Policy::None => DmarcPolicy::None,
            dmarc::Policy::Quarantine => DmarcPolicy::Quarantine,
            dmarc::Policy::Reject => DmarcPolicy::Reject,
        },
        from: outcome.domain,
        spf_aligned: outcome.spf_aligned,
        dkim_aligned: outcome.dkim_aligned,
        reason: outcome.problem.map(|problem| problem.to_string()),
    }
}
