//! Clients that spoke before they were greeted (RFC 5321 §4.3.1: a client waits for the greeting).
//!
//! Judges what somebody else has watched; never waits itself. Where nobody watched it says nothing. Asked at HELO, because
//! what came before the greeting is only known once that is spoken.

use std::time::Duration;

use policy::{BeforeGreeting, Check, Facts, Findings, Helo, HeloFacts, Score, SymbolDef, Work};

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

impl Check<Helo> for EarlyTalker {
    fn name(&self) -> &str {
        "early_talker"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![EARLY_TALKER]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn run<'a>(&'a self, facts: &'a HeloFacts, found: &'a mut Findings) -> Work<'a> {
        if let BeforeGreeting::Spoke { bytes } = facts.connect().before_greeting {
            found.saw(EARLY_TALKER.symbol, &format!("{bytes} bytes before the greeting"));
        }
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use policy::ConnectFacts;

    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn only_who_was_heard_is_an_early_talker() {
        for (seen, expected) in [
            (BeforeGreeting::NotWatched, false),
            (BeforeGreeting::Silent, false),
            (BeforeGreeting::Spoke { bytes: 12 }, true),
        ] {
            let connect = ConnectFacts { before_greeting: seen, ..testing::connect("192.0.2.9") };
            let facts =
                HeloFacts { connect: Arc::new(connect), ..testing::helo("192.0.2.9", "mail.far.test") };
            let found = testing::run(&EarlyTalker, &facts).await;
            assert_eq!(found.has("EARLY_TALKER"), expected, "{seen:?}");
        }
    }
}
