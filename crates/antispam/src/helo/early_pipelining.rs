//! Clients that sent commands in one go before they were told that they may (RFC 2920 §3.1).

use std::time::Duration;

use policy::{Check, Findings, Helo, HeloFacts, Score, SymbolDef, Work};

use crate::groups::PROTOCOL;

const EARLY_PIPELINING: SymbolDef = SymbolDef::grouped(
    "EARLY_PIPELINING",
    Score::points(2),
    PROTOCOL,
    "the client sent further commands before PIPELINING was offered",
);

/// See above. The session has seen it; this only says so.
#[derive(Debug, Clone, Copy)]
pub struct EarlyPipelining;

impl Check<Helo> for EarlyPipelining {
    fn name(&self) -> &str {
        "early_pipelining"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![EARLY_PIPELINING]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn run<'a>(&'a self, facts: &'a HeloFacts, found: &'a mut Findings) -> Work<'a> {
        if facts.pipelined_early {
            found.saw(EARLY_PIPELINING.symbol, "commands came before the answer to the first one");
        }
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn haste_is_a_symbol() {
        let mut facts = testing::helo("192.0.2.9", "mail.far.test");
        assert!(testing::run(&EarlyPipelining, &facts).await.findings().is_empty());
        facts.pipelined_early = true;
        assert!(testing::run(&EarlyPipelining, &facts).await.has("EARLY_PIPELINING"));
    }
}
