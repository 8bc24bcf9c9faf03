//! Looks up the client's name, and whether it leads back (iprev, RFC 8601 §3): a fact for the stages that follow.
//!
//! Finds no symbol: what the name is worth is [`crate::helo::rdns`]'s to say.

use std::sync::Arc;
use std::time::Duration;

use msgauth::{Lookups, iprev};
use net::Resolver;
use policy::{AuthFacts, Check, Connect, ConnectFacts, Findings, SymbolDef, Work};

use crate::authentication::{iprev_fact, write_down};

const BUDGET: Duration = Duration::from_secs(3);

/// See above.
#[derive(Debug, Clone)]
pub struct Iprev {
    resolver: Resolver,
}

impl Iprev {
    /// The look-up, with the DNS to ask.
    #[must_use]
    pub fn new(resolver: Resolver) -> Self {
        Self { resolver }
    }
}

impl Check<Connect> for Iprev {
    fn name(&self) -> &str {
        "iprev"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        Vec::new()
    }

    fn budget(&self) -> Duration {
        BUDGET
    }

    fn run<'a>(&'a self, facts: &'a ConnectFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(async move {
            let (resolver, heard) = self.resolver.overheard();
            let outcome = iprev::check(facts.client, &Lookups::new(&resolver, BUDGET)).await;
            write_down(&heard, found);
            let iprev = Some(Arc::new(iprev_fact(outcome)));
            found.learn(AuthFacts { iprev, ..AuthFacts::default() });
        })
    }
}
