//! Is this letter from somebody to whom our users have written lately, or an answer to them? The check `correspondent`, after
//! DATA.
//!
//! Anybody can write a name in From, so the name alone is worth nothing: it only keeps composites from taking a letter for
//! a forgery, and greylisting (which asks the memory itself, at RCPT) from delaying it. Points are for who is proven: From
//! by DMARC, an aligned DKIM signature or an aligned SPF, the reverse-path by SPF. Whoever has seen a Message-ID can name it
//! in `In-Reply-To` or `References` (RFC 5322 §3.6.4): an answer is worth little unless its author is proven to be of an
//! organisation that the letter went to. Messages without a sender answer nothing; they are the business of `backscatter`.
//!
//! Each recipient's domain has a memory of its own: what is found counts for the recipients to whom it is true. When the
//! memory does not answer, it is not known (I9).

use std::collections::BTreeSet;
use std::time::Duration;

use mail::{Address, Domain};
use policy::{Check, EndOfData, Finding, Findings, MessageFacts, Score, SymbolDef, Work};

use crate::correspondents::threads::answered;
use crate::correspondents::{Correspondents, Question};
use crate::end_of_data::author::{self, authors};
use crate::groups::CORRESPONDENCE;

const CORRESPONDENT: SymbolDef = SymbolDef::new(
    "CORRESPONDENT",
    Score::ZERO,
    "our users wrote lately to who this says it is from; that is not proven",
);
const CORRESPONDENT_PROVEN: SymbolDef = SymbolDef::grouped(
    "CORRESPONDENT_PROVEN",
    Score::points(-1),
    CORRESPONDENCE,
    "our users wrote lately to the sender, and SPF or DKIM prove that it is the sender",
);
const CORRESPONDENT_AUTHOR: SymbolDef = SymbolDef::grouped(
    "CORRESPONDENT_AUTHOR",
    Score::ZERO,
    CORRESPONDENCE,
    "our users wrote lately to who is in From, and that is proven",
);
const REPLY_TO_OURS: SymbolDef = SymbolDef::grouped(
    "REPLY_TO_OURS",
    Score::tenths(-5),
    CORRESPONDENCE,
    "it answers a letter that our users have sent or answered; whoever has seen that can say so",
);
const REPLY_EXPECTED: SymbolDef = SymbolDef::grouped(
    "REPLY_EXPECTED",
    Score::points(-1),
    CORRESPONDENCE,
    "it answers such a letter, and is proven to be from an organisation that this letter went to",
);

/// See above.
#[derive(Clone)]
pub struct Correspondent {
    memory: Correspondents,
}

impl Correspondent {
    /// By what is remembered there.
    #[must_use]
    pub fn new(memory: Correspondents) -> Self {
        Self { memory }
    }

    async fn look(&self, facts: &MessageFacts, found: &mut Findings) {
        let authors = authors(&facts.header);
        let sender = facts.mail.reverse_path.mailbox();
        let theirs: Vec<&Address> = authors.iter().chain(sender).collect();
        let ours: BTreeSet<&Domain> = facts.recipients.iter().map(|address| &address.domain).collect();
        let ours: Vec<&Domain> = ours.into_iter().collect();
        let answers = if sender.is_some() { answered(&facts.header) } else { Vec::new() };
        let proven: Vec<&Domain> =
            authors.iter().map(|author| &author.domain).filter(|d| author::is_proven(facts, d)).collect();
        let question = Question { theirs: &theirs, ours: &ours, answers: &answers, proven: &proven };
        let known = match self.memory.ask(question, facts.at).await {
            Ok(known) => known,
            Err(error) => return found.unfinished(&error.to_string()),
        };
        let mut told = Told { facts, ours: &ours, found };
        for (place, address) in theirs.iter().enumerate() {
            let by = |(their, ours): &(usize, usize)| (*their == place).then_some(*ours);
            let by: BTreeSet<usize> = known.written_to.iter().filter_map(by).collect();
            let (is_author, domain) = (place < authors.len(), &address.domain);
            let proven_author = is_author && author::is_proven(facts, domain);
            let evidence = address.to_string();
            told.tell(&CORRESPONDENT, &evidence, &by);
            if proven_author || (!is_author && author::sender_is_proven(facts, domain)) {
                told.tell(&CORRESPONDENT_PROVEN, &evidence, &by);
            }
            if proven_author {
                told.tell(&CORRESPONDENT_AUTHOR, &evidence, &by);
            }
        }
        for (number, id) in answers.iter().enumerate() {
            let of = |(ours, answer): &(usize, usize)| (*answer == number).then_some(*ours);
            told.tell(&REPLY_TO_OURS, id, &known.answers.iter().filter_map(of).collect());
            told.tell(&REPLY_EXPECTED, id, &known.expected.iter().filter_map(of).collect());
        }
    }
}

/// Writes down what is true for the recipients of some domains.
struct Told<'a> {
    facts: &'a MessageFacts,
    ours: &'a [&'a Domain],
    found: &'a mut Findings,
}

impl Told<'_> {
    fn tell(&mut self, symbol: &SymbolDef, evidence: &str, domains: &BTreeSet<usize>) {
        let is_true = |address: &Address| {
            self.ours.binary_search(&&address.domain).is_ok_and(|place| domains.contains(&place))
        };
        let recipients = self.facts.recipients.iter().enumerate();
        let numbers: Vec<usize> =
            recipients.filter(|(_, address)| is_true(address)).map(|(number, _)| number).collect();
        let finding = Finding::new(symbol.symbol.clone()).evidence(evidence);
        if numbers.len() == self.facts.recipients.len() {
            self.found.add(finding);
        } else if !numbers.is_empty() {
            self.found.add(finding.only_for(numbers));
        }
    }
}

impl Check<EndOfData> for Correspondent {
    fn name(&self) -> &'static str {
        "correspondent"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![CORRESPONDENT, CORRESPONDENT_PROVEN, CORRESPONDENT_AUTHOR, REPLY_TO_OURS, REPLY_EXPECTED]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn run<'a>(&'a self, facts: &'a MessageFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(self.look(facts, found))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use policy::{AuthFacts, AuthResult, DkimFact, DmarcFact, DmarcPolicy, SpfFact, SpfIdentity};
    use store::{MemoryState, StateStore};

    use super::*;
    use crate::correspondents::Writer;
    use crate::correspondents::threads::Sent;
    use crate::testing;

    async fn check() -> (Correspondent, Arc<MemoryState>) {
        let state = Arc::new(MemoryState::default());
        let memory = testing::correspondents(30, &state);
        let domain = Domain::parse("example.test").unwrap();
        let writer = Writer { domain: Some(&domain), account: None };
        let sent = Sent { ids: vec!["1@ours".into()] };
        memory.remember(writer, [&testing::address("ann@away.test")], &sent, testing::NOW).await.unwrap();
        (Correspondent::new(memory), state)
    }

    fn dkim(domain: &str) -> AuthFacts {
        let fact = DkimFact {
            result: AuthResult::Pass,
            domain: Domain::parse(domain).ok(),
            selector: "s".into(),
            algorithm: "rsa-sha256".into(),
            reason: None,
        };
        AuthFacts { dkim: Some(Arc::from([fact])), ..AuthFacts::default() }
    }

    fn spf(domain: &str) -> AuthFacts {
        let fact = SpfFact {
            result: AuthResult::Pass,
            identity: SpfIdentity::MailFrom,
            domain: Domain::parse(domain).ok(),
            explanation: None,
            mechanism: None,
        };
        AuthFacts { spf: Some(Arc::new(fact)), ..AuthFacts::default() }
    }

    #[tokio::test]
    async fn the_name_alone_is_seen_and_only_proof_is_worth_something() {
        let (check, _) = check().await;
        let all = &["CORRESPONDENT", "CORRESPONDENT_PROVEN", "CORRESPONDENT_AUTHOR"][..];
        let both = &all[..2];
        let claim = &["CORRESPONDENT"][..];
        let none = || AuthFacts::default();
        for (sender, from, auth, expected) in [
            ("ann@away.test", "Ann <ann@away.test>", none(), claim),
            ("x@evil.test", "ann@away.test", spf("evil.test"), claim),
            ("x@evil.test", "ann@away.test", dkim("evil.test"), claim),
            ("ann@away.test", "x@evil.test", none(), claim),
            ("ann@away.test", "list@lists.test", spf("away.test"), both),
            ("x@bounces.test", "\"Ann\" <Ann@Away.test>", dkim("mail.away.test"), all),
            ("bounces@away.test", "ann@away.test", spf("away.test"), all),
            (
                "x@evil.test",
                "ann@away.test",
                AuthFacts { dmarc: failed("away.test"), ..dkim("mail.away.test") },
                claim,
            ),
            ("x@evil.test", "jim@away.test", dkim("away.test"), &[]),
            ("x@evil.test", "ann@away.test\nFrom: x@evil.test", dkim("away.test"), &[]),
        ] {
            let letter = format!("From: {from}\nSubject: x\n\ntext\n");
            let facts = MessageFacts { auth, ..testing::message(sender, &letter) };
            let found = testing::run(&check, &facts).await;
            let mut seen = testing::symbols(&found);
            seen.dedup();
            assert_eq!(seen, expected, "{sender} {from}");
        }
    }

    fn failed(domain: &str) -> Option<Arc<DmarcFact>> {
        Some(Arc::new(DmarcFact {
            result: AuthResult::Fail,
            policy: DmarcPolicy::Quarantine,
            from: Domain::parse(domain).ok(),
            spf_aligned: false,
            dkim_aligned: false,
            reason: None,
        }))
    }

    #[tokio::test]
    async fn an_answer_is_expected_from_whom_the_letter_went_to_alone() {
        let (check, _) = check().await;
        let (named, expected) = (&["REPLY_TO_OURS"][..], &["REPLY_TO_OURS", "REPLY_EXPECTED"][..]);
        for (sender, from, auth, id, symbols) in [
            ("jim@away.test", "jim@away.test", dkim("away.test"), "1@ours", expected),
            ("jim@away.test", "jim@away.test", AuthFacts::default(), "1@ours", named),
            ("x@evil.test", "x@evil.test", dkim("evil.test"), "1@ours", named),
            ("x@evil.test", "jim@away.test", dkim("evil.test"), "1@ours", named),
            ("jim@away.test", "jim@away.test", dkim("away.test"), "2@ours", &[]),
            ("", "jim@away.test", dkim("away.test"), "1@ours", &[]),
        ] {
            let letter = format!("From: {from}\nReferences: <0@x.test> <{id}>\nSubject: x\n\ntext\n");
            let facts = MessageFacts { auth, ..testing::message(sender, &letter) };
            let found = testing::run(&check, &facts).await;
            assert_eq!(testing::symbols(&found), symbols, "{sender} {from} {id}");
        }
    }

    #[tokio::test]
    async fn each_recipient_has_the_memory_of_his_domain() {
        let (check, _) = check().await;
        let letter = "From: ann@away.test\nIn-Reply-To: <1@ours>\n\ntext\n";
        let recipients = ["joe@example.test", "eve@other.test", "jim@example.test"].map(testing::address);
        let facts = MessageFacts {
            auth: dkim("away.test"),
            recipients: Arc::from(recipients),
            ..testing::message("x@away.test", letter)
        };
        let found = testing::run(&check, &facts).await;
        assert_eq!(found.findings().len(), 5);
        for finding in found.findings() {
            assert_eq!(finding.only.as_deref(), Some(&[0, 2][..]), "{}", finding.symbol);
        }
    }

    #[tokio::test]
    async fn a_memory_that_does_not_answer_is_unfinished() {
        let (check, state) = check().await;
        state.close().await.unwrap();
        let facts = testing::message("ann@away.test", "From: ann@away.test\n\n");
        let found = testing::run(&check, &facts).await;
        assert!(found.why_unfinished().is_some() && found.findings().is_empty());
    }
}
