//! Is this letter from somebody to whom our users have written lately? The check `correspondent`, after DATA.
//!
//! Anybody can write a name in From, so the name alone is worth nothing: it only keeps composites from taking a letter for
//! a forgery, and greylisting (which asks the memory itself, at RCPT) from delaying it. Points are for who is proven: From
//! by DMARC or an aligned DKIM signature, the reverse-path by SPF. When the memory does not answer, it is not known (I9).

use std::time::Duration;

use mail::{Address, Domain, header};
use mail_parser::MessageParser;
use policy::{Check, EndOfData, Findings, MessageFacts, Score, SpfIdentity, SymbolDef, Work};

use crate::correspondents::Correspondents;
use crate::rcpt::greylist::organisation;

const CORRESPONDENT: SymbolDef = SymbolDef::new(
    "CORRESPONDENT",
    Score::ZERO,
    "our users wrote lately to who this says it is from; that is not proven",
);
const CORRESPONDENT_PROVEN: SymbolDef = SymbolDef::new(
    "CORRESPONDENT_PROVEN",
    Score::points(-1),
    "our users wrote lately to the sender, and SPF or DKIM prove that it is the sender",
);

/// Addresses of From that are looked at; a letter has one.
const AUTHORS_MAX: usize = 4;
/// Longest From that is read, in octets.
const FROM_BYTES_MAX: usize = 16 << 10;

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
        let ours = facts.recipients.iter().map(|address| &address.domain);
        let known = match self.memory.known(&theirs, ours, facts.at).await {
            Ok(known) => known,
            Err(error) => return found.unfinished(&error.to_string()),
        };
        for place in known {
            let Some(address) = theirs.get(place) else { continue };
            let proven = if place < authors.len() {
                author_is_proven(facts, &address.domain)
            } else {
                sender_is_proven(facts, &address.domain)
            };
            found.saw(CORRESPONDENT.symbol, &address.to_string());
            if proven {
                found.saw(CORRESPONDENT_PROVEN.symbol, &address.to_string());
            }
        }
    }
}

impl Check<EndOfData> for Correspondent {
    fn name(&self) -> &'static str {
        "correspondent"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![CORRESPONDENT, CORRESPONDENT_PROVEN]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn run<'a>(&'a self, facts: &'a MessageFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(self.look(facts, found))
    }
}

/// The mailboxes of From, when there is one From.
fn authors(head: &[u8]) -> Vec<Address> {
    let mut fields = header::fields(head).filter(|field| field.is("From"));
    let (Some(from), None) = (fields.next(), fields.next()) else { return Vec::new() };
    let mut text = from.raw().get(..FROM_BYTES_MAX).unwrap_or(from.raw()).to_vec();
    text.extend_from_slice(b"\r\n\r\n");
    let Some(parsed) = MessageParser::new().parse_headers(&text) else { return Vec::new() };
    let mailboxes = parsed.from().into_iter().flat_map(|list| list.iter());
    mailboxes.take(AUTHORS_MAX).filter_map(|mailbox| Address::parse(mailbox.address()?).ok()).collect()
}

fn author_is_proven(facts: &MessageFacts, domain: &Domain) -> bool {
    let dmarc = facts.auth.dmarc.as_ref().filter(|dmarc| dmarc.result.is_pass());
    let aligned = |signer: &Domain| signer == domain || organisation(signer) == organisation(domain);
    dmarc.is_some_and(|dmarc| dmarc.from.as_ref() == Some(domain)) || facts.auth.dkim_domains().any(aligned)
}

fn sender_is_proven(facts: &MessageFacts, domain: &Domain) -> bool {
    let spf = facts.auth.spf.as_ref().filter(|spf| spf.result.is_pass());
    spf.is_some_and(|spf| spf.identity == SpfIdentity::MailFrom && spf.domain.as_ref() == Some(domain))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use policy::{AuthFacts, AuthResult, DkimFact, SpfFact};
    use store::{MemoryState, StateStore};

    use super::*;
    use crate::correspondents::Writer;
    use crate::testing;

    async fn check() -> (Correspondent, Arc<MemoryState>) {
        let state = Arc::new(MemoryState::default());
        let memory = Correspondents::new(30, state.clone());
        let domain = Domain::parse("example.test").unwrap();
        let writer = Writer { domain: Some(&domain), account: None };
        memory.remember(writer, [&testing::address("ann@away.test")], testing::NOW).await.unwrap();
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
        let both = &["CORRESPONDENT", "CORRESPONDENT_PROVEN"][..];
        let claim = &["CORRESPONDENT"][..];
        let none = || AuthFacts::default();
        for (sender, from, auth, expected) in [
            ("ann@away.test", "Ann <ann@away.test>", none(), claim),
            ("x@evil.test", "ann@away.test", spf("evil.test"), claim),
            ("x@evil.test", "ann@away.test", dkim("evil.test"), claim),
            ("ann@away.test", "x@evil.test", none(), claim),
            ("ann@away.test", "list@lists.test", spf("away.test"), both),
            ("x@bounces.test", "\"Ann\" <Ann@Away.test>", dkim("mail.away.test"), both),
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

    #[tokio::test]
    async fn a_memory_that_does_not_answer_is_unfinished() {
        let (check, state) = check().await;
        state.close().await.unwrap();
        let facts = testing::message("ann@away.test", "From: ann@away.test\n\n");
        let found = testing::run(&check, &facts).await;
        assert!(found.why_unfinished().is_some() && found.findings().is_empty());
    }
}
