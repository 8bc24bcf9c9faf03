//! SPF (RFC 7208): may this client send for this domain?
//!
//! [`check`] judges the domain of MAIL FROM, and for the null reverse-path the name of HELO (§2.4); [`check_helo`] the
//! name of HELO by itself. Everything is bounded: ten terms that ask DNS, two of them in vain, ten names of an MX or
//! PTR set, and the time of [`Lookups`] (§4.6.4). A failed look-up is `temperror`, a record that cannot be understood or
//! passes a limit `permerror`; neither is ever taken for an absence or a failure.
//!
//! This is an evaluator of our own: of the 203 cases of the public RFC 7208 suite mail-auth 0.13.3 answers 149 as the
//! RFC has it (`docs/decisions/0006-own-spf-dkim-and-arc-verification.md`).

mod evaluate;
mod macros;
mod record;

use std::net::IpAddr;

use mail::Domain;
use net::DnsName;

use crate::{AuthResult, Lookups};

/// Terms of a record, and of those it includes, that may ask DNS (RFC 7208 §4.6.4).
pub const TERMS_MAX: usize = 10;
/// Terms that may ask in vain (RFC 7208 §4.6.4, §11.1).
pub const VOID_TERMS_MAX: usize = 2;
/// Names of one MX or PTR set that are looked at (RFC 7208 §4.6.4).
pub const NAMES_MAX: usize = 10;
/// Longest explanation that is given, in octets: it is a stranger's text, for a line of a reply.
pub const EXPLANATION_BYTES_MAX: usize = 400;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The client's address. IPv4 inside of IPv6 counts as IPv4.
    pub client: IpAddr,
    /// The argument of HELO or EHLO, as it came.
    pub helo: &'a str,
    /// The reverse-path without its brackets; empty is the null reverse-path.
    pub mail_from: &'a str,
    /// Our host name, for the macro `%{r}` of explanations (§7.3).
    pub receiver: &'a str,
    /// Seconds since 1970, for the macro `%{t}` of explanations.
    pub now_seconds: u64,
}

/// Whose domain was judged (RFC 7208 §2.3, §2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The name of HELO or EHLO.
    Helo,
    /// The domain of MAIL FROM.
    MailFrom,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The result (RFC 7208 §2.6): every word but `policy`.
    pub result: AuthResult,
    /// What it is about.
    pub identity: Identity,
    /// The domain whose record was asked for; as it came where it is none.
    pub domain: String,
    /// The term that decided, as it stands in the record; `default` where none matched (RFC 7208 §9.1).
    pub mechanism: Option<String>,
    /// For [`AuthResult::Fail`] the domain's own words, printable ASCII (RFC 7208 §6.2). A stranger wrote them.
    pub explanation: Option<String>,
    /// For the two errors, what went wrong.
    pub problem: Option<String>,
}

/// Judges the domain of MAIL FROM; for the null reverse-path, or one without a domain, the name of HELO.
pub async fn check(request: &Request<'_>, lookups: &Lookups) -> Outcome {
    let Some((local, domain)) = split(request.mail_from) else {
        return check_helo(request, lookups).await;
    };
    let sender = Sender { local, domain };
    judge(Identity::MailFrom, &sender, request, lookups).await
}

/// Judges the name of HELO (RFC 7208 §2.3).
pub async fn check_helo(request: &Request<'_>, lookups: &Lookups) -> Outcome {
    let domain = request.helo.strip_suffix('.').unwrap_or(request.helo);
    judge(Identity::Helo, &Sender { local: POSTMASTER, domain }, request, lookups).await
}

/// Local part of the sender where there is none (RFC 7208 §4.3).
const POSTMASTER: &str = "postmaster";

/// `<sender>`, in two parts.
struct Sender<'a> {
    local: &'a str,
    domain: &'a str,
}

async fn judge(identity: Identity, sender: &Sender<'_>, request: &Request<'_>, lookups: &Lookups) -> Outcome {
    let outcome = |result| Outcome {
        result,
        identity,
        domain: sender.domain.to_owned(),
        mechanism: None,
        explanation: None,
        problem: None,
    };
    let Some(domain) = usable(sender.domain) else { return outcome(AuthResult::None) };
    let request = Request { client: mail::canonical_ip(request.client), ..*request };
    let mut evaluation = evaluate::Evaluation::new(&request, sender, lookups);
    match evaluation.record_of(&domain).await {
        Ok(answer) => {
            let explanation = evaluation.explanation(&answer).await;
            Outcome { mechanism: answer.mechanism, explanation, domain, ..outcome(answer.result) }
        }
        Err(stop) => {
            let (result, why) = match stop {
                evaluate::Stop::Temporary(why) => (AuthResult::TempError, why),
                evaluate::Stop::Permanent(why) => (AuthResult::PermError, why),
            };
            Outcome { problem: Some(why), domain, ..outcome(result) }
        }
    }
}

/// Local part and domain of a reverse-path; `None` for the null one.
fn split(mail_from: &str) -> Option<(&str, &str)> {
    let (local, domain) = mail_from.rsplit_once('@').unwrap_or(("", mail_from));
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let local = if local.is_empty() { POSTMASTER } else { local };
    (!domain.is_empty()).then_some((local, domain))
}

/// RFC 7208 §4.3: what is no domain name of several labels has the result `none`.
fn usable(domain: &str) -> Option<String> {
    let domain = match Domain::parse(domain) {
        Ok(parsed) if parsed.literal().is_some() => return None,
        Ok(parsed) => parsed.as_str().to_owned(),
        Err(_) => domain.to_ascii_lowercase(),
    };
    (domain.contains('.') && DnsName::parse(&domain).is_some()).then_some(domain)
}

impl Identity {
    /// The word of RFC 7208 §9.1.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Helo => "helo",
            Self::MailFrom => "mailfrom",
        }
    }
}
