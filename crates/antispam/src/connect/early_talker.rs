//! Clients that spoke before they were greeted (RFC 5321 §4.3.1: a client waits for the greeting).
//!
//! Judges what somebody else has watched; never waits itself. Where nobody watched it says nothing.

use std::time::Duration;

use policy::{BeforeGreeting, Check, Connect, ConnectFacts, Findings, Score, SymbolDef, Work};

use crate::groups::PROTOCOL;

const EARLY_TALKER: SymbolDef = SymbolDef::grouped(
    "EARLY_TALKER",
    Score::points(3),
    PROTOCOL,
    "the client spoke before it was greeted, as only careless programs do",
);

/// See above.
#[derive(Debug, Clone, Copy)]
pub struct EarlyTalker;

impl Check<Connect> for EarlyTalker {
    fn name(&self) -> &str {
        "early_talker"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![EARLY_TALKER]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn run<'a>(&'a self, facts: &'a ConnectFacts, found: &'a mut Findings) -> Work<'a> {
        if let BeforeGreeting::Spoke { bytes } = facts.before_greeting {
            found.saw(EARLY_TALKER.symbol, &format!("{bytes} bytes before the greeting"));
        }
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn only_who_was_heard_is_an_early_talker() {
        for (seen, expected) in [
            (BeforeGreeting::NotWatched, false),
            (BeforeGreeting::Silent, false),
            (BeforeGreeting::Spoke { bytes: 12 }, true),
        ] {
            let facts = ConnectFacts { before_greeting: seen, ..testing::connect("192.0.2.9") };
            let found = testing::run(&EarlyTalker, &facts).await;
            assert_eq!(found.has("EARLY_TALKER"), expected, "{seen:?}");
        }
    }
}
