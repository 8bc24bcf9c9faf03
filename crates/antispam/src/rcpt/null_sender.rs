//! The null sender to more than one recipient: a report has one (RFC 5321 §4.5.5, RFC 3464 §2), backscatter and spam have
//! many.
//!
//! Some servers send one report to several owners of a list; so it is points.

use std::time::Duration;

use policy::{Check, Finding, Findings, Rcpt, RcptFacts, Scope, Score, SymbolDef, Work};

use crate::groups::SENDER;

const NULL_SENDER_MANY: SymbolDef = SymbolDef::grouped(
    "NULL_SENDER_MANY",
    Score::points(3),
    SENDER,
    "a message from the null sender has more than one recipient",
);

/// See above.
#[derive(Debug, Clone, Copy)]
pub struct NullSender;

impl Check<Rcpt> for NullSender {
    fn name(&self) -> &str {
        "null_sender"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![NULL_SENDER_MANY]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn run<'a>(&'a self, facts: &'a RcptFacts, found: &'a mut Findings) -> Work<'a> {
        if facts.mail.reverse_path.is_null() && facts.accepted_before > 0 {
            let evidence = format!("recipient number {}", facts.accepted_before.saturating_add(1));
            let finding = Finding::new(NULL_SENDER_MANY.symbol).evidence(&evidence);
            found.add(finding.counts_for(Scope::Transaction));
        }
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn one_recipient_is_what_a_report_has() {
        for (sender, accepted_before, expected) in
            [("", 0, false), ("", 1, true), ("", 9, true), ("a@far.test", 9, false)]
        {
            let facts = RcptFacts { accepted_before, ..testing::rcpt(sender) };
            let found = testing::run(&NullSender, &facts).await;
            assert_eq!(found.has("NULL_SENDER_MANY"), expected, "{sender} {accepted_before}");
        }
    }
}
