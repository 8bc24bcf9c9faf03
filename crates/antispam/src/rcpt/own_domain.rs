//! Mail that comes in from outside in the name of one of our own domains.
//!
//! Our users log in and our hosts are trusted, so a stranger needs SPF on its side: a pass means that our own domain
//! names this client as one of its senders. While SPF cannot be found out nothing is said. At RCPT, because SPF is known
//! from then on.

use std::time::Duration;

use policy::{AuthResult, Check, Facts, Finding, Findings, Rcpt, RcptFacts, Scope, Score, SymbolDef, Work};

use crate::groups::SENDER;

const SENDER_OURS_BY_STRANGER: SymbolDef = SymbolDef::grouped(
    "SENDER_OURS_BY_STRANGER",
    Score::tenths(35),
    SENDER,
    "a stranger sends in the name of our domain, and SPF does not speak for it",
);

/// See above.
#[derive(Debug, Clone, Copy)]
pub struct OwnDomain;

impl Check<Rcpt> for OwnDomain {
    fn name(&self) -> &str {
        "own_domain"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![SENDER_OURS_BY_STRANGER]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn applies(&self, facts: &RcptFacts) -> bool {
        facts.is_stranger() && facts.mail.sender_is_ours
    }

    fn run<'a>(&'a self, facts: &'a RcptFacts, found: &'a mut Findings) -> Work<'a> {
        let spf = facts.auth.spf.as_ref().map(|fact| fact.result);
        if !matches!(spf, Some(AuthResult::Pass | AuthResult::TempError)) {
            let evidence = format!("{} from {}", facts.mail.reverse_path, facts.connect().client);
            let finding = Finding::new(SENDER_OURS_BY_STRANGER.symbol).evidence(&evidence);
            found.add(finding.counts_for(Scope::Transaction));
        }
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing;
    use policy::{AuthFacts, MailFacts, SpfFact, SpfIdentity};

    fn facts(spf: Option<AuthResult>) -> RcptFacts {
        let mail = MailFacts { sender_is_ours: true, ..testing::mail_from("192.0.2.9", "joe@example.test") };
        let fact = spf.map(|result| {
            Arc::new(SpfFact {
                result,
                identity: SpfIdentity::MailFrom,
                domain: None,
                explanation: None,
                mechanism: None,
            })
        });
        let auth = AuthFacts { spf: fact, ..AuthFacts::default() };
        RcptFacts { mail: Arc::new(mail), auth, ..testing::rcpt("joe@example.test") }
    }

    #[tokio::test]
    async fn strangers_need_spf_to_use_our_names() {
        for (spf, expected) in [
            (None, true),
            (Some(AuthResult::None), true),
            (Some(AuthResult::Fail), true),
            (Some(AuthResult::Pass), false),
            (Some(AuthResult::TempError), false),
        ] {
            let facts = facts(spf);
            assert!(OwnDomain.applies(&facts));
            let found = testing::run(&OwnDomain, &facts).await;
            assert_eq!(found.has("SENDER_OURS_BY_STRANGER"), expected, "{spf:?}");
        }
        assert!(!OwnDomain.applies(&testing::rcpt("a@far.test")));
        let mut ours = facts(None);
        let mail = MailFacts { account: Some("joe".into()), ..(*ours.mail).clone() };
        ours.mail = Arc::new(mail);
        assert!(!OwnDomain.applies(&ours));
    }
}
