//! The letters of `tests/messages/judged` before the checks after DATA: each has the symbols that are expected of it, and is
//! refused or not. Authentication is given, not asked for: it has tests of its own.

use std::sync::Arc;

use mail::Domain;
use policy::judge::{AfterData, AfterDataRecipient, Client, Greylist, after_data};
use policy::{
    ArcFact, AuthFacts, AuthResult, DmarcFact, DmarcPolicy, Dossier, Finding, MessageFacts, Mode, Rules,
    ScoreBook, Stage, StageReport, Thresholds,
};
use serde::Deserialize;
use store::MemoryState;

use crate::backscatter::{Backscatter, BackscatterMode};
use crate::composites;
use crate::correspondents::threads::Sent;
use crate::correspondents::{Correspondents, Writer};
use crate::end_of_data::authentication::Authentication;
use crate::end_of_data::correspondent::Correspondent;
use crate::end_of_data::handed_on::HandedOn;
use crate::end_of_data::header_sanity::HeaderSanity;
use crate::groups;
use crate::hashes::Hashes;
use crate::helo::claim::Ours;
use crate::rcpt::spf::Spf;
use crate::testing;

#[derive(Deserialize)]
struct Corpus {
    letter: Vec<Letter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Letter {
    file: String,
    dmarc: String,
    #[serde(default)]
    arc: bool,
    #[serde(default)]
    known: bool,
    symbols: Vec<String>,
    #[serde(default)]
    refused: bool,
}

fn read(name: &str) -> String {
    let path = format!("{}/../../tests/messages/judged/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

impl Letter {
    fn facts(&self) -> MessageFacts {
        let (result, policy) = self.dmarc.split_once(' ').unwrap();
        let dmarc = DmarcFact {
            result: match result {
                "pass" => AuthResult::Pass,
                "fail" => AuthResult::Fail,
                "temperror" => AuthResult::TempError,
                _ => AuthResult::None,
            },
            policy: match policy {
                "reject" => DmarcPolicy::Reject,
                "quarantine" => DmarcPolicy::Quarantine,
                _ => DmarcPolicy::None,
            },
            from: Domain::parse("strict.test").ok(),
            spf_aligned: false,
            dkim_aligned: false,
            reason: None,
        };
        let arc = self.arc.then(|| {
            Arc::new(ArcFact { result: AuthResult::Pass, sealer: None, instances: 1, dmarc_before: None })
        });
        let auth = AuthFacts {
            dmarc: Some(Arc::new(dmarc)),
            dkim: Some(Arc::from([])),
            arc,
            ..AuthFacts::default()
        };
        MessageFacts { auth, ..testing::message("bounces@far.test", &read(&format!("{}.eml", self.file))) }
    }

    async fn findings(&self, known: &Correspondents, stranger: &Correspondents) -> Vec<Finding> {
        let facts = self.facts();
        let memory = if self.known { known } else { stranger };
        let mut all = Vec::new();
        all.extend_from_slice(testing::run(&Authentication::default(), &facts).await.findings());
        all.extend_from_slice(testing::run(&HandedOn, &facts).await.findings());
        all.extend_from_slice(testing::run(&Correspondent::new(memory.clone()), &facts).await.findings());
        all.extend_from_slice(testing::run(&HeaderSanity::new(Ours::default()), &facts).await.findings());
        all
    }
}

/// The book of the checks that run here.
fn book() -> ScoreBook {
    use policy::{Check, EndOfData, Rcpt};
    let nobody = testing::correspondents(0, &Arc::default());
    let state = Arc::new(MemoryState::default());
    // Composites ask what it found; here it finds nothing, for all letters have a sender.
    let sent = Hashes::new("backscatter", state.clone());
    let backscatter = Backscatter::new(BackscatterMode::Off, Arc::default(), (state, sent), 0);
    let checks: [&dyn Check<EndOfData>; 5] = [
        &backscatter,
        &Authentication::default(),
        &HandedOn,
        &Correspondent::new(nobody),
        &HeaderSanity::new(Ours::default()),
    ];
    let mut symbols: Vec<_> = checks.iter().flat_map(|check| check.symbols()).collect();
    symbols.extend(Check::<Rcpt>::symbols(&Spf));
    for check in checks {
        let timeout = policy::symbol::timeout_symbol(check.name()).to_string();
        symbols
            .push(policy::SymbolDef::configured(&timeout, policy::Score::ZERO, None, "unfinished").unwrap());
    }
    let composites = composites::all();
    ScoreBook::new(policy::Definitions { symbols, groups: groups::all(), composites, unused: Vec::new() })
        .unwrap()
}

#[tokio::test]
async fn letters_have_the_symbols_that_are_expected_and_only_plain_forgeries_are_refused() {
    let stranger = testing::correspondents(30, &Arc::default());
    let known = testing::correspondents(30, &Arc::default());
    let ours = Domain::parse("example.test").unwrap();
    let writer = Writer { domain: Some(&ours), account: None };
    known
        .remember(writer, [&testing::address("joe@strict.test")], &Sent::default(), testing::NOW)
        .await
        .unwrap();
    let (book, thresholds) = (book(), Thresholds::default());
    let rules = Rules::new("antispam", Mode::Enforce, &thresholds);
    let corpus: Corpus = toml::from_str(&read("expected.toml")).unwrap();
    assert!(corpus.letter.len() >= 10);
    for letter in &corpus.letter {
        let mut findings = letter.findings(&known, &stranger).await;
        let mut dossier = Dossier::default();
        let spf = Finding::new("SPF_PASS");
        findings.push(spf);
        let recipient = testing::address("user@example.test");
        dossier.add_recipient(recipient, StageReport::new(Stage::Rcpt));
        dossier.add(StageReport { findings, ..StageReport::new(Stage::EndOfData) });
        let recipients = [AfterDataRecipient { evidence: dossier.evidence(Some(0)), rules: &rules }];
        let decision = after_data(&AfterData {
            book: &book,
            recipients: &recipients,
            client: Client { is_stranger: true, null_sender: false },
            greylist_after_data: false,
            greylist: Greylist::NotAsked,
        });
        let mut seen: Vec<String> =
            decision.recipients[0].tally.lines.iter().map(|line| line.symbol.to_string()).collect();
        seen.retain(|symbol| symbol != "SPF_PASS");
        seen.sort_unstable();
        let what = format!("{} {}", letter.file, letter.dmarc);
        assert_eq!(seen, letter.symbols, "{what}");
        let code = decision.verdict.reply("S1").map(|reply| reply.code);
        assert_eq!(code, letter.refused.then_some(550), "{what}: {}", decision.recipients[0].tally.total);
    }
}
