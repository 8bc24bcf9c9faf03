//! iprev (RFC 8601 §3): a name that the client's address claims, and whose addresses contain it.

use std::net::IpAddr;

use mail::Domain;
use net::{DnsAnswer, DnsName, Family};

use crate::{AuthResult, Lookups};

/// Names of one address that are looked at.
pub const NAMES_MAX: usize = 10;

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `pass`; `fail` when no name leads back; `permerror` when the address has no name (RFC 8601 §2.7.3); `temperror`
    /// when a look-up failed and no name leads back otherwise.
    pub result: AuthResult,
    /// The name that leads back.
    pub name: Option<Domain>,
    /// All names that the address claims, as far as they were looked at.
    pub names: Vec<Domain>,
    /// Why it is not `pass`, in words.
    pub reason: Option<String>,
}

/// Asks who the client is.
pub async fn check(client: IpAddr, lookups: &Lookups) -> Outcome {
    let client = mail::canonical_ip(client);
    let mut outcome = Outcome { result: AuthResult::PermError, name: None, names: Vec::new(), reason: None };
    match lookups.ptr(client).await {
        DnsAnswer::Found(names) => outcome.names = names.into_iter().take(NAMES_MAX).collect(),
        DnsAnswer::NoName | DnsAnswer::NoData => {
            outcome.reason = Some("the address has no name".to_owned());
            return outcome;
        }
        DnsAnswer::Failed(why) => {
            return Outcome { result: AuthResult::TempError, reason: Some(why), ..outcome };
        }
    }
    let mut failed = None;
    for claim in &outcome.names {
        let Some(name) = DnsName::of(claim) else { continue };
        match lookups.addresses(&name, Family::of(client)).await {
            DnsAnswer::Found(addresses) if addresses.contains(&client) => {
                outcome.name = Some(claim.clone());
                outcome.result = AuthResult::Pass;
                return outcome;
            }
            DnsAnswer::Failed(why) => failed = failed.or(Some(why)),
            _ => {}
        }
    }
    let nothing = || "none of its names leads back to the address".to_owned();
    outcome.result = if failed.is_some() { AuthResult::TempError } else { AuthResult::Fail };
    outcome.reason = Some(failed.unwrap_or_else(nothing));
    outcome
}
