//! Asks the sender's domain whether this client may send for it (SPF, RFC 7208): a fact for the stages that follow.
//!
//! For the null reverse-path the name of HELO is judged (RFC 7208 §2.4). Finds no symbol: what a result is worth is
//! [`crate::rcpt::spf`]'s to say.

use std::sync::Arc;
use std::time::Duration;

use mail::Domain;
use msgauth::{Lookups, spf};
use net::Resolver;
use policy::{AuthFacts, Check, Facts, Findings, Mail, MailFacts, SymbolDef, Work};

use crate::authentication::{spf_fact, write_down};

/// RFC 7208 §4.6.4 wants at least 20 seconds; a client is not kept waiting for so long.
const BUDGET: Duration = Duration::from_secs(8);

/// See above.
#[derive(Debug, Clone)]
pub struct SpfQuery {
    resolver: Resolver,
    receiver: Domain,
}

impl SpfQuery {
    /// The query, with the DNS to ask and our host name.
    #[must_use]
    pub fn new(resolver: Resolver, receiver: Domain) -> Self {
        Self { resolver, receiver }
    }
}

impl Check<Mail> for SpfQuery {
    fn name(&self) -> &str {
        "spf"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        Vec::new()
    }

    fn budget(&self) -> Duration {
        BUDGET
    }

    fn run<'a>(&'a self, facts: &'a MailFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(async move {
            let mail_from = facts.reverse_path.mailbox().map(ToString::to_string).unwrap_or_default();
            let request = spf::Request {
                client: facts.connect().client,
                helo: &facts.helo.name,
                mail_from: &mail_from,
                receiver: self.receiver.as_str(),
                now_seconds: facts.at.seconds(),
            };
            let (resolver, heard) = self.resolver.overheard();
            let outcome = spf::check(&request, &Lookups::new(&resolver, BUDGET)).await;
            write_down(&heard, found);
            let spf = Some(Arc::new(spf_fact(outcome)));
            found.learn(AuthFacts { spf, ..AuthFacts::default() });
        })
    }
}
