//! What reverse DNS says of the client: no name, names that do not lead back, names made by a rule ([`generic`]).
//!
//! Reads the fact that iprev (RFC 8601 §3) has left; asks nothing. Where DNS did not answer, nothing is said: a failure
//! is no absence (I9). A convention, not a rule of SMTP (RFC 5321 §4.1.4 forbids to refuse for it): points, never more.

pub mod generic;

use std::time::Duration;

use policy::{AuthResult, Check, Facts, Findings, Helo, HeloFacts, IprevFact, SymbolDef, Work};

use crate::groups::{RDNS, symbols};
use generic::Look;

symbols! { RDNS:
    RDNS_NONE, 20, "the client's address has no name";
    RDNS_MISMATCH, 15, "the client's address has a name that does not lead back to it";
    RDNS_OK, -1, "the client's address has a name that leads back to it";
    RDNS_GENERIC, 8, "the client's name is made from its address, as providers do it";
    RDNS_DYNAMIC, 20, "the client's name is that of a line whose address changes hands";
}

/// See above.
#[derive(Debug, Clone, Copy)]
pub struct Rdns;

impl Check<Helo> for Rdns {
    fn name(&self) -> &str {
        "rdns"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![RDNS_NONE, RDNS_MISMATCH, RDNS_OK, RDNS_GENERIC, RDNS_DYNAMIC]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn run<'a>(&'a self, facts: &'a HeloFacts, found: &'a mut Findings) -> Work<'a> {
        if let Some(iprev) = &facts.auth.iprev {
            judge(iprev, facts, found);
        }
        Box::pin(std::future::ready(()))
    }
}

fn judge(iprev: &IprevFact, facts: &HeloFacts, found: &mut Findings) {
    let client = facts.connect().client;
    match (iprev.result, iprev.name.as_ref().or(iprev.names.first())) {
        (AuthResult::Pass, Some(name)) => {
            let evidence = format!("{client} {}", name.as_str());
            found.saw(RDNS_OK.symbol, &evidence);
            match generic::look(name.as_str(), client) {
                Look::Chosen => {}
                Look::Generic => found.saw(RDNS_GENERIC.symbol, &evidence),
                Look::Dynamic => found.saw(RDNS_DYNAMIC.symbol, &evidence),
            }
        }
        (AuthResult::Fail | AuthResult::PermError, None) => found.saw(RDNS_NONE.symbol, &client.to_string()),
        (AuthResult::Fail | AuthResult::PermError, Some(name)) => {
            let evidence = format!("{client} {}", name.as_str());
            found.saw(RDNS_MISMATCH.symbol, &evidence);
            // A name that is nobody's promise still tells what kind of line it is.
            if generic::look(name.as_str(), client) == Look::Dynamic {
                found.saw(RDNS_DYNAMIC.symbol, &evidence);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn what_iprev_found_becomes_symbols() {
        let (pass, fail) = (AuthResult::Pass, AuthResult::Fail);
        for (result, names, symbols) in [
            (pass, vec!["mail.far.test"], vec!["RDNS_OK"]),
            (pass, vec!["192-0-2-9.far.test"], vec!["RDNS_OK", "RDNS_GENERIC"]),
            (pass, vec!["dyn-192-0-2-9.far.test"], vec!["RDNS_OK", "RDNS_DYNAMIC"]),
            (fail, vec![], vec!["RDNS_NONE"]),
            (fail, vec!["mail.far.test"], vec!["RDNS_MISMATCH"]),
            (fail, vec!["dyn-192-0-2-9.far.test"], vec!["RDNS_MISMATCH", "RDNS_DYNAMIC"]),
            (AuthResult::TempError, vec![], vec![]),
            (AuthResult::TempError, vec!["mail.far.test"], vec![]),
        ] {
            let mut facts = testing::helo("192.0.2.9", "mail.far.test");
            facts.auth = testing::iprev(result, &names);
            let found = testing::run(&Rdns, &facts).await;
            assert_eq!(testing::symbols(&found), symbols, "{result} {names:?}");
        }
        let found = testing::run(&Rdns, &testing::helo("192.0.2.9", "mail.far.test")).await;
        assert!(found.findings().is_empty());
    }
}
