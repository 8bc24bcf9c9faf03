//! Clients that guess recipients: the more that do not exist, the more it weighs, for the rest of the session.
//!
//! Each unknown recipient has been refused already (550 5.1.1); this is about those that are there. One or two are a
//! typing error or an old address book and say nothing.

use std::time::Duration;

use policy::{Check, Finding, Findings, Rcpt, RcptFacts, Scope, Score, SymbolDef, Work};

use crate::groups::PROTOCOL;

const RCPT_DICTIONARY: SymbolDef = SymbolDef::grouped(
    "RCPT_DICTIONARY",
    Score::points(1),
    PROTOCOL,
    "the client guesses recipients: its points times the number of those that do not exist",
);

/// Unknown recipients that are forgiven.
pub const FORGIVEN: usize = 2;
/// Each further one is worth so many thousandths of the symbol's points.
const EACH_THOUSANDTHS: i32 = 500;
/// All together are worth at most so many thousandths.
const ALL_THOUSANDTHS_MAX: i32 = 4_000;

/// See above.
#[derive(Debug, Clone, Copy)]
pub struct Dictionary;

impl Check<Rcpt> for Dictionary {
    fn name(&self) -> &str {
        "dictionary"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![RCPT_DICTIONARY]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn run<'a>(&'a self, facts: &'a RcptFacts, found: &'a mut Findings) -> Work<'a> {
        let unknown = facts.unknown_before.saturating_add(usize::from(facts.exists == Some(false)));
        let beyond = i32::try_from(unknown.saturating_sub(FORGIVEN)).unwrap_or(i32::MAX);
        if beyond > 0 {
            let factor = beyond.saturating_mul(EACH_THOUSANDTHS).min(ALL_THOUSANDTHS_MAX);
            let evidence = format!("{unknown} unknown recipients");
            let finding = Finding::new(RCPT_DICTIONARY.symbol).evidence(&evidence);
            found.add(finding.times(factor).counts_for(Scope::Session));
        }
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn guessing_weighs_more_the_longer_it_goes_on() {
        for (before, exists, factor) in [
            (0, Some(true), None),
            (0, Some(false), None),
            (2, Some(true), None),
            (2, None, None),
            (2, Some(false), Some(500)),
            (3, Some(true), Some(500)),
            (7, Some(true), Some(2_500)),
            (1_000, Some(true), Some(4_000)),
            (usize::MAX, Some(false), Some(4_000)),
        ] {
            let facts = RcptFacts { unknown_before: before, exists, ..testing::rcpt("a@far.test") };
            let found = testing::run(&Dictionary, &facts).await;
            let seen = found.findings().first().map(|finding| (finding.factor, finding.scope));
            assert_eq!(seen, factor.map(|factor| (factor, Scope::Session)), "{before} {exists:?}");
        }
    }
}
