//! Explanations, word for word.

use std::net::IpAddr;

use mail::{Address, Reply, Timestamp};

use super::*;
use crate::book::{Definitions, GroupDef, LISTS};
use crate::check::{DnsAnswer, Finding};
use crate::dossier::Dossier;
use crate::judge::{AfterData, AfterDataRecipient, Client, Greylist, MessageDecision, after_data};
use crate::pipeline::{CheckTime, StageReport};
use crate::record::About;
use crate::ruling::{Order, Ruling};
use crate::symbol::SymbolDef;
use crate::thresholds::{Rules, ThresholdOverrides, Thresholds};

fn book() -> ScoreBook {
    ScoreBook::new(Definitions {
        symbols: vec![
            SymbolDef::grouped("ZEN_SBL", Score::points(6), LISTS, "Spamhaus lists the client"),
            SymbolDef::grouped("SPAMCOP", Score::points(3), LISTS, "SpamCop lists the client"),
            SymbolDef::new("SPF_FAIL", Score::tenths(55), "SPF says the client may not send for the domain"),
        ],
        groups: vec![GroupDef::new(LISTS, Score::points(8))],
        ..Definitions::default()
    })
    .unwrap()
}

fn record(mode: Mode, rulings: Vec<Ruling>, addresses: &[(&str, i32)]) -> VerdictRecord {
    let mut report = StageReport::new(Stage::EndOfData);
    report.findings = vec![
        Finding::new("ZEN_SBL").evidence("192.0.2.9 is 127.0.0.2"),
        Finding::new("SPAMCOP"),
        Finding::new("SPF_FAIL").evidence("a.test"),
    ];
    report.rulings = rulings;
    report.dns = vec![DnsAnswer::new("9.2.0.192.zen.dnsbl.test A", "127.0.0.2")];
    let time =
        |check: &str, micros, end| CheckTime { check: check.into(), stage: Stage::Connect, micros, end };
    report.times =
        vec![time("dnsbl", 12_345, CheckEnd::Finished), time("rdns", 2_000_000, CheckEnd::OutOfTime)];
    let mut dossier = Dossier::default();
    dossier.add(report);
    let all = Rules::new("antispam", mode, &Thresholds::default());
    let mut rules = Vec::new();
    for (number, (address, reject)) in addresses.iter().enumerate() {
        dossier.add_recipient(Address::parse(address).unwrap(), StageReport::new(Stage::Rcpt));
        let own =
            ThresholdOverrides { reject: Some(Score::points(*reject)), ..ThresholdOverrides::default() };
        rules.push(all.overridden(&format!("antispam.recipient[{number}]"), None, &own));
    }
    let cases: Vec<AfterDataRecipient<'_>> = rules
        .iter()
        .enumerate()
        .map(|(number, rules)| AfterDataRecipient { evidence: dossier.evidence(Some(number)), rules })
        .collect();
    let decision: MessageDecision = after_data(&AfterData {
        book: &book(),
        recipients: &cases,
        client: Client::default(),
        greylist_after_data: false,
        greylist: Greylist::NotAsked,
    });
    let copies: Vec<_> =
        dossier.recipients().zip(&decision.recipients).zip(&rules).map(|((a, d), r)| (a, d, r)).collect();
    let about = About {
        id: "00JX4M8ZQ0001".into(),
        session: "S1".into(),
        at: Timestamp(1_795_309_323_004),
        stage: Stage::EndOfData,
        client: IpAddr::from([192, 0, 2, 9]),
        client_name: None,
        helo: Some("h".into()),
        account: None,
        sender: Some("a@a.test".into()),
    };
    let record =
        VerdictRecord::new(about, &dossier, decision.verdict.action(), decision.decided.clone(), &copies);
    match decision.verdict.reply("00JX4M8ZQ0001") {
        Some(reply) => record.replied(&reply),
        None => record,
    }
}

#[test]
fn a_refusal_tells_the_line_that_decided_and_what_would_change_it() {
    let text = explain(&record(Mode::Enforce, Vec::new(), &[("joe@x.test", 12)]), Some(&book()));
    assert_eq!(
        text,
        "\
00JX4M8ZQ0001 at 2026-11-22T01:02:03.004Z: refused (after DATA)
  session  S1
  client   192.0.2.9, HELO h
  from     <a@a.test>
  to       <joe@x.test>
  reply    550 5.7.1 Refused: this looks like unsolicited mail. Is that wrong? Tell the postmaster: 00JX4M8ZQ0001

Why: the score 13.5 reached 12.0, which is antispam.recipient[0].thresholds.reject.
What would change it:
  - antispam.recipient[0].thresholds.reject above 13.5, or 0 to switch it off
  - SPF_FAIL with less than 4.0 points (scores.toml)
  - antispam.mode = \"tag\": it would only be marked

Points:
      +6.0  ZEN_SBL   Spamhaus lists the client [192.0.2.9 is 127.0.0.2]
      +5.5  SPF_FAIL  SPF says the client may not send for the domain [a.test]
      +2.0  SPAMCOP   SpamCop lists the client (by itself +3.0; the group dnsbl is at its bound)
     +13.5  in all
The group dnsbl would have come to 9.0; it counts for at most 8.0.

DNS:
  9.2.0.192.zen.dnsbl.test A: 127.0.0.2

Time:
  dnsbl                    12.3 ms at connect
  rdns                     2000.0 ms at connect, did not finish
"
    );
}

#[test]
fn what_a_milder_mode_held_back_is_told() {
    let text = explain(&record(Mode::Observe, Vec::new(), &[("joe@x.test", 12)]), None);
    assert!(text.contains("accepted (after DATA)"), "{text}");
    assert!(
        text.contains("antispam.mode = \"observe\": in mode enforce the action would be reject"),
        "{text}"
    );
}

#[test]
fn an_order_is_told_with_its_line() {
    let order = Order::Reject(Reply::new(550, (5, 7, 1), "no"));
    let ruling = Ruling::new(Source::Access, order, "antispam.access[0] client_access:12", "192.0.2.0/24");
    let text = explain(&record(Mode::Observe, vec![ruling], &[("joe@x.test", 12)]), None);
    assert!(
        text.contains(
            "Why: an access table says reject, by antispam.access[0] client_access:12: 192.0.2.0/24."
        ),
        "{text}"
    );
    assert!(
        text.contains("  - antispam.access[0] client_access:12; no score and no mode changes it"),
        "{text}"
    );
}

#[test]
fn each_of_several_recipients_has_its_own_reason() {
    let text = explain(&record(Mode::Enforce, Vec::new(), &[("joe@x.test", 12), ("ann@x.test", 15)]), None);
    assert!(text.contains("<joe@x.test>: accepted and quarantined until an operator releases it"), "{text}");
    assert!(text.contains("others get the message, so this copy is kept back instead of refused"), "{text}");
    assert!(text.contains("<ann@x.test>: accepted, marked and filed into Junk"), "{text}");
}
