//! Spam traps: addresses that nobody was ever given, so that who writes to them has stolen or guessed them.
//!
//! A table names them, as addresses, addresses without their tag, or whole domains (`@old.example`). Whoever hits one is
//! suspect for the rest of the session. A table that cannot be asked is unknown (I9).

use std::sync::Arc;
use std::time::Duration;

use policy::{Check, Finding, Findings, Rcpt, RcptFacts, Scope, Score, SymbolDef, Work};
use tables::{Answer, Table, address};

const SPAM_TRAP: SymbolDef =
    SymbolDef::new("SPAM_TRAP", Score::points(6), "the client writes to an address that nobody has");

/// See above.
#[derive(Debug, Clone)]
pub struct SpamTrap {
    table: Arc<dyn Table>,
    delimiter: Option<char>,
}

impl SpamTrap {
    /// The check. `delimiter` is what separates a tag from a user, if anything.
    #[must_use]
    pub fn new(table: Arc<dyn Table>, delimiter: Option<char>) -> Self {
        Self { table, delimiter }
    }
}

impl Check<Rcpt> for SpamTrap {
    fn name(&self) -> &str {
        "spam_trap"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![SPAM_TRAP]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn run<'a>(&'a self, facts: &'a RcptFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(async move {
            match address::find(self.table.as_ref(), &facts.recipient, self.delimiter).await {
                Answer::Found(_) => {
                    let finding = Finding::new(SPAM_TRAP.symbol).evidence(&facts.recipient.to_string());
                    found.add(finding.counts_for(Scope::Session));
                }
                Answer::Absent => {}
                Answer::Unavailable(why) => found.unfinished(&why),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use tables::Lookup;

    #[derive(Debug)]
    struct Traps;

    impl Table for Traps {
        fn lookup<'a>(&'a self, key: &'a str) -> Lookup<'a> {
            let answer = match key {
                "trap@example.test" | "@old.test" => Answer::Found("trap".to_owned()),
                "down@example.test" => Answer::Unavailable("away".to_owned()),
                _ => Answer::Absent,
            };
            Box::pin(std::future::ready(answer))
        }
    }

    #[tokio::test]
    async fn a_trap_counts_for_the_session() {
        let check = SpamTrap::new(Arc::new(Traps), Some('+'));
        for (recipient, trap, unknown) in [
            ("joe@example.test", false, false),
            ("Trap@example.test", true, false),
            ("trap+x@example.test", true, false),
            ("anybody@old.test", true, false),
            ("down@example.test", false, true),
        ] {
            let facts = RcptFacts { recipient: testing::address(recipient), ..testing::rcpt("a@far.test") };
            let found = testing::run(&check, &facts).await;
            assert_eq!(found.has("SPAM_TRAP"), trap, "{recipient}");
            assert_eq!(found.why_unfinished().is_some(), unknown, "{recipient}");
            assert!(found.findings().iter().all(|finding| finding.scope == Scope::Session));
        }
    }
}
