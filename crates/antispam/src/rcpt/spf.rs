//! What SPF found (RFC 7208 §2.6), as symbols: one for each result, for the whole transaction.
//!
//! Reads the fact; evaluates nothing. At RCPT, because the fact is there from then on; each recipient finds the same,
//! and it counts once.

use std::time::Duration;

use policy::{AuthResult, Check, Finding, Findings, Rcpt, RcptFacts, Scope, SpfFact, SymbolDef, Work};

use crate::groups::{AUTHENTICATION, symbols};

symbols! { AUTHENTICATION:
    SPF_PASS, -5, "the sender's domain lets this client send";
    SPF_FAIL, 40, "the sender's domain forbids this client to send";
    SPF_SOFTFAIL, 15, "the sender's domain doubts that this client is its own";
    SPF_NEUTRAL, 3, "the sender's domain says nothing about this client";
    SPF_NONE, 5, "the sender's domain does not say who may send";
    SPF_TEMPERROR, 0, "SPF of the sender's domain could not be found out now";
    SPF_PERMERROR, 5, "SPF of the sender's domain is malformed";
}

/// See above.
#[derive(Debug, Clone, Copy)]
pub struct Spf;

impl Check<Rcpt> for Spf {
    fn name(&self) -> &str {
        "spf_result"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![SPF_PASS, SPF_FAIL, SPF_SOFTFAIL, SPF_NEUTRAL, SPF_NONE, SPF_TEMPERROR, SPF_PERMERROR]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn run<'a>(&'a self, facts: &'a RcptFacts, found: &'a mut Findings) -> Work<'a> {
        if let Some(fact) = &facts.auth.spf
            && let Some(def) = symbol_of(fact.result)
        {
            let finding = Finding::new(def.symbol).evidence(&evidence(fact));
            found.add(finding.counts_for(Scope::Transaction));
        }
        Box::pin(std::future::ready(()))
    }
}

fn symbol_of(result: AuthResult) -> Option<SymbolDef> {
    Some(match result {
        AuthResult::Pass => SPF_PASS,
        AuthResult::Fail => SPF_FAIL,
        AuthResult::SoftFail => SPF_SOFTFAIL,
        AuthResult::Neutral => SPF_NEUTRAL,
        AuthResult::None => SPF_NONE,
        AuthResult::TempError => SPF_TEMPERROR,
        AuthResult::PermError => SPF_PERMERROR,
        // A word that SPF does not have.
        AuthResult::Policy => return None,
    })
}

fn evidence(fact: &SpfFact) -> String {
    let domain = fact.domain.as_ref().map_or("no domain", mail::Domain::as_str);
    match &fact.mechanism {
        Some(mechanism) => format!("{domain}: {mechanism}"),
        None => domain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing;
    use policy::{AuthFacts, SpfIdentity};

    #[tokio::test]
    async fn each_result_is_one_symbol_for_the_transaction() {
        for (result, symbol) in [
            (AuthResult::Pass, Some("SPF_PASS")),
            (AuthResult::Fail, Some("SPF_FAIL")),
            (AuthResult::SoftFail, Some("SPF_SOFTFAIL")),
            (AuthResult::Neutral, Some("SPF_NEUTRAL")),
            (AuthResult::None, Some("SPF_NONE")),
            (AuthResult::TempError, Some("SPF_TEMPERROR")),
            (AuthResult::PermError, Some("SPF_PERMERROR")),
            (AuthResult::Policy, None),
        ] {
            let fact = SpfFact {
                result,
                identity: SpfIdentity::MailFrom,
                domain: mail::Domain::parse("far.test").ok(),
                explanation: None,
                mechanism: Some("-all".to_owned()),
            };
            let auth = AuthFacts { spf: Some(Arc::new(fact)), ..AuthFacts::default() };
            let found = testing::run(&Spf, &RcptFacts { auth, ..testing::rcpt("a@far.test") }).await;
            assert_eq!(testing::symbols(&found), symbol.into_iter().collect::<Vec<_>>());
            for finding in found.findings() {
                assert_eq!(
                    (finding.scope, finding.evidence.as_str()),
                    (Scope::Transaction, "far.test: -all")
                );
            }
        }
        assert!(testing::run(&Spf, &testing::rcpt("a@far.test")).await.findings().is_empty());
    }
}
