//! Records that hold what they must and never more than they may.

use super::*;
use crate::book::{Definitions, ScoreBook};
use crate::check::Finding;
use crate::judge::{AfterData, AfterDataRecipient, Client, Greylist, after_data};
use crate::pipeline::{CheckEnd, StageReport};
use crate::stage::Scope;
use crate::symbol::{Symbol, SymbolDef};
use crate::thresholds::Thresholds;

fn about() -> About {
    About {
        id: "00JX4M8ZQ0001".into(),
        session: "S1".into(),
        at: Timestamp::from_seconds(1_795_309_323),
        stage: Stage::EndOfData,
        client: IpAddr::from([192, 0, 2, 9]),
        client_name: Some("mail.example.test".into()),
        helo: Some("mx.example.test".into()),
        account: None,
        sender: Some("News@example.test".into()),
    }
}

/// Everything at its bounds: names, evidence, recipients, answers, times.
fn huge(recipients: usize) -> VerdictRecord {
    let name = |n: usize| Symbol::parse(&format!("S{n:0>63}")).unwrap();
    let symbols: Vec<SymbolDef> = (0..200)
        .map(|n| SymbolDef { symbol: name(n), score: Score::tenths(1), group: None, meaning: "x".into() })
        .collect();
    let book = ScoreBook::new(Definitions { symbols, ..Definitions::default() }).unwrap();
    let mut report = StageReport::new(Stage::EndOfData);
    for n in 0..200 {
        let finding = Finding::new(name(n)).evidence(&"ä".repeat(300)).counts_for(Scope::Transaction);
        report.findings.push(finding);
        report.dns.push(DnsAnswer::new(&format!("{n}{}", "q".repeat(300)), &"a".repeat(300)));
        let time = CheckTime {
            check: format!("{n:c>64}"),
            stage: Stage::EndOfData,
            micros: u64::MAX,
            end: CheckEnd::Unknown,
        };
        report.times.push(time);
    }
    let mut dossier = Dossier::default();
    dossier.add(report);
    for n in 0..recipients {
        let mut own = StageReport::new(Stage::Rcpt);
        own.findings.push(Finding::new(name(n % 200)).evidence("own").times(3000));
        dossier.add_recipient(
            Address::parse(&format!("{n}{}@{}.test", "l".repeat(200), "d".repeat(60))).unwrap(),
            own,
        );
    }
    let rules = Rules::new(&"k".repeat(400), Mode::Enforce, &Thresholds::default());
    let cases: Vec<AfterDataRecipient<'_>> = (0..recipients)
        .map(|n| AfterDataRecipient { evidence: dossier.evidence(Some(n)), rules: &rules })
        .collect();
    let decision = after_data(&AfterData {
        book: &book,
        recipients: &cases,
        client: Client::default(),
        greylist_after_data: false,
        greylist: Greylist::NotAsked,
    });
    let addresses: Vec<&Address> = dossier.recipients().collect();
    let copies: Vec<_> =
        addresses.iter().zip(&decision.recipients).map(|(address, one)| (*address, one, &rules)).collect();
    VerdictRecord::new(about(), &dossier, decision.verdict.action(), decision.decided, &copies)
}

#[test]
fn a_record_is_written_and_read_back() {
    let small =
        VerdictRecord::new(about(), &Dossier::default(), Action::Reject, DecidedBy::GreylistAlways, &[])
            .replied(&mail::Reply::new(550, (5, 7, 1), "no"));
    let bytes = small.to_bytes();
    assert!(bytes.len() < 200, "{}", bytes.len());
    assert_eq!(VerdictRecord::from_bytes(&bytes), Ok(small.clone()));
    let json = small.to_json();
    assert_eq!(json["about"]["client"], "192.0.2.9");
    assert_eq!(json["reply"], "550 5.7.1 no");
    assert_eq!(serde_json::from_value::<VerdictRecord>(json).unwrap(), small);
}

#[test]
fn what_is_no_record_is_refused() {
    let bytes = huge(1).to_bytes();
    assert_eq!(VerdictRecord::from_bytes(&[]), Err(RecordError));
    assert_eq!(VerdictRecord::from_bytes(&[2, 0]), Err(RecordError));
    for cut in 1..bytes.len() {
        assert!(VerdictRecord::from_bytes(&bytes[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn no_record_is_larger_than_its_bound_and_what_matters_stays() {
    for recipients in [1, 2, 40, 200] {
        let record = huge(recipients);
        let bytes = record.to_bytes();
        assert!(bytes.len() <= RECORD_BYTES_MAX, "{recipients}: {}", bytes.len());
        let read = VerdictRecord::from_bytes(&bytes).unwrap();
        assert_eq!(
            (&read.about, read.action, &read.decided),
            (&record.about, record.action, &record.decided)
        );
        assert_eq!(read.points.total, record.points.total);
        assert_eq!(read.points.lines[0].symbol, record.points.lines[0].symbol);
        assert!(read.left_out > record.left_out);
    }
}

#[test]
fn an_erasure_finds_sender_and_recipients() {
    let record = huge(2);
    assert!(record.mentions("news@EXAMPLE.test"));
    assert!(record.mentions(&record.recipients[1].address.to_uppercase()));
    assert!(!record.mentions("ews@example.test"));
}
