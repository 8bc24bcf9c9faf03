//! What have the sender and its network sent lately? The check `reputation`, after DATA.
//!
//! A good reputation is for who is proven to be the sender, never for a name or a network; a bad one of a network is not held
//! against a sender who has a good one of his own. Of a sender the address counts, and its organisation as long as little is
//! known of the address. Bounded both ways in the group `reputation`: alone it marks nothing. What it adds is left out of
//! what is remembered ([`without_own`]). All is in memory: it never waits and is never unfinished.

use std::time::Duration;

use policy::tally::{Note, Tally};
use policy::{Check, EndOfData, Finding, Findings, MessageFacts, Score, SymbolDef, Work};

use crate::groups::REPUTATION;
use crate::reputation::{Reputation, Standing, Subject};

const GOOD: SymbolDef = SymbolDef::grouped(
    "REPUTATION_GOOD",
    Score::tenths(-15),
    REPUTATION,
    "the sender, who is proven to be one, has sent good mail lately; as much of it as that is sure",
);
const BAD: SymbolDef = SymbolDef::grouped(
    "REPUTATION_BAD",
    Score::tenths(15),
    REPUTATION,
    "the sender, who is proven to be one, has sent bad mail lately; as much of it as that is sure",
);
const NETWORK_BAD: SymbolDef = SymbolDef::grouped(
    "REPUTATION_NETWORK_BAD",
    Score::tenths(15),
    REPUTATION,
    "the client's /24 or /64 has sent bad mail lately; as much of it as that is sure",
);

/// See above.
pub struct ReputationCheck {
    memory: Reputation,
}

impl ReputationCheck {
    /// By what is remembered there.
    #[must_use]
    pub const fn new(memory: Reputation) -> Self {
        Self { memory }
    }

    fn look(&self, facts: &MessageFacts, found: &mut Findings) {
        let known: Vec<(Subject, Standing)> = Subject::all(facts)
            .into_iter()
            .filter_map(|subject| self.memory.of(&subject, facts.at).map(|standing| (subject, standing)))
            .filter(|(_, standing)| standing.says_something())
            .collect();
        let is_network = |(subject, _): &&(Subject, Standing)| matches!(subject, Subject::Network(_));
        let sender = known.iter().find(|one| !is_network(one));
        let worth = sender.map_or(0, |(_, standing)| standing.worth_thousandths());
        if let Some((subject, standing)) = sender.filter(|_| worth != 0) {
            tell(if worth < 0 { GOOD } else { BAD }, subject, standing, found);
        }
        let network = known.iter().find(is_network).filter(|(_, standing)| standing.worth_thousandths() > 0);
        if let Some((subject, standing)) = network.filter(|_| worth >= 0) {
            tell(NETWORK_BAD, subject, standing, found);
        }
    }
}

impl Check<EndOfData> for ReputationCheck {
    fn name(&self) -> &'static str {
        "reputation"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![GOOD, BAD, NETWORK_BAD]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn run<'a>(&'a self, facts: &'a MessageFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(async move { self.look(facts, found) })
    }
}

fn tell(def: SymbolDef, subject: &Subject, standing: &Standing, found: &mut Findings) {
    let evidence = format!("{subject}: {} on average, {} letters", standing.average(), standing.letters());
    let factor = standing.worth_thousandths().abs();
    found.add(Finding::new(def.symbol).evidence(&evidence).times(factor));
}

/// A score as if nothing were known of before: what is remembered of a letter.
#[must_use]
pub fn without_own(tally: &Tally) -> Score {
    let names = [GOOD, BAD, NETWORK_BAD].map(|def| def.symbol);
    let own = tally.lines.iter().filter(|line| names.contains(&line.symbol) && line.note != Note::Observed);
    tally.total - own.map(|line| line.points).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use policy::{AuthFacts, AuthResult, DkimFact, ScoreBook};
    use proptest::prelude::*;
    use store::MemoryState;

    use super::*;
    use crate::groups;
    use crate::reputation::{Memory, ReputationSettings};
    use crate::testing::{self, NOW};

    fn reputation() -> Reputation {
        Reputation::new(ReputationSettings::default(), Memory::new(Arc::new(MemoryState::default())))
    }

    fn letter(sender: &str, from: &str, signer: Option<&str>) -> MessageFacts {
        let fact = |domain| DkimFact {
            result: AuthResult::Pass,
            domain: mail::Domain::parse(domain).ok(),
            selector: "s".into(),
            algorithm: "rsa-sha256".into(),
            reason: None,
        };
        let auth = AuthFacts { dkim: signer.map(|domain| Arc::from([fact(domain)])), ..AuthFacts::default() };
        MessageFacts { auth, ..testing::message(sender, &format!("From: {from}\nSubject: x\n\ntext\n")) }
    }

    async fn points(memory: &Reputation, facts: &MessageFacts) -> (Vec<String>, Score) {
        let check = ReputationCheck::new(memory.clone());
        let found = testing::run(&check, facts).await;
        let definitions = policy::Definitions {
            symbols: check.symbols(),
            groups: groups::all(),
            ..policy::Definitions::default()
        };
        let tally = Tally::of(&ScoreBook::new(definitions).unwrap(), found.findings());
        assert_eq!(without_own(&tally), Score::ZERO);
        (testing::symbols(&found).into_iter().map(str::to_owned).collect(), tally.total)
    }

    fn count(memory: &Reputation, facts: &MessageFacts, score: i32, times: usize) {
        for _ in 0..times {
            memory.count(&Subject::all(facts), Score::points(score), NOW);
        }
    }

    #[tokio::test]
    async fn a_proven_sender_has_a_reputation_and_a_forged_one_gains_nothing() {
        let memory = reputation();
        let ann = letter("ann@far.test", "Ann <ann@far.test>", Some("far.test"));
        assert_eq!(points(&memory, &ann).await, (vec![], Score::ZERO));
        count(&memory, &ann, -1, 1);
        assert_eq!(points(&memory, &ann).await, (vec![], Score::ZERO), "one letter says nothing");
        count(&memory, &ann, -1, 200);
        let (symbols, good) = points(&memory, &ann).await;
        assert!(symbols == ["REPUTATION_GOOD"] && good < Score::points(-1), "{good}");
        let forged = letter("ann@far.test", "Ann <ann@far.test>", None);
        assert_eq!(points(&memory, &forged).await, (vec![], Score::ZERO), "a name alone is nothing");
        let signed_by_another = letter("x@evil.test", "Ann <ann@far.test>", Some("evil.test"));
        assert_eq!(points(&memory, &signed_by_another).await, (vec![], Score::ZERO));
        let colleague = letter("jim@far.test", "jim@far.test", Some("mail.far.test"));
        let (symbols, points_of_organisation) = points(&memory, &colleague).await;
        assert!(symbols == ["REPUTATION_GOOD"] && points_of_organisation.is_negative());
    }

    #[tokio::test]
    async fn a_forger_does_not_spoil_the_reputation_of_whom_he_names() {
        let memory = reputation();
        let forged = letter("ann@far.test", "Ann <ann@far.test>", None);
        count(&memory, &forged, 15, 50);
        let network = Subject::all(&forged);
        assert_eq!(network.iter().map(ToString::to_string).collect::<Vec<_>>(), ["net:192.0.2.0/24"]);
        let (symbols, points) = points(&memory, &forged).await;
        assert!(symbols == ["REPUTATION_NETWORK_BAD"] && points.is_positive());
        assert_eq!(memory.of(&Subject::named("far.test").unwrap(), NOW), None);
    }

    #[tokio::test]
    async fn a_good_sender_is_not_blamed_for_his_neighbours_and_nothing_marks_alone() {
        let memory = reputation();
        let ann = letter("ann@far.test", "ann@far.test", Some("far.test"));
        let spam = letter("x@evil.test", "x@evil.test", Some("evil.test"));
        count(&memory, &spam, 15, 150);
        let (symbols, worst) = points(&memory, &spam).await;
        assert_eq!(symbols, ["REPUTATION_BAD", "REPUTATION_NETWORK_BAD"]);
        assert_eq!(worst, Score::points(2), "the cap of the group");
        count(&memory, &ann, -1, 20);
        let (symbols, _) = points(&memory, &ann).await;
        assert_eq!(symbols, ["REPUTATION_GOOD"]);
    }

    proptest! {
        /// Whatever came before: no more than the group's bounds, and nothing of it in what is remembered.
        #[test]
        fn reputation_is_bounded_and_does_not_feed_itself(scores in prop::collection::vec(-50i32..50, 0..80)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let memory = reputation();
            let ann = letter("ann@far.test", "ann@far.test", Some("far.test"));
            for score in &scores {
                count(&memory, &ann, *score, 1);
                let (_, points) = runtime.block_on(points(&memory, &ann));
                prop_assert!(points <= Score::points(2) && points >= Score::tenths(-15), "{points}");
            }
        }
    }
}
