//! clamd with signatures of our own: the test file of EICAR, plain, coded and packed.

use antispam::remote::settings::Kind;
use policy::{Order, Source, StageReport};
use support::{Clamd, attached, infected};

use crate::bench::{Stage, at, settings};

fn refused(report: &StageReport) -> String {
    let [ruling] = &report.rulings[..] else { panic!("{report:?}") };
    assert_eq!((ruling.source, report.findings[0].symbol.as_str()), (Source::Malware, "CLAMAV_VIRUS"));
    assert!(report.findings[0].evidence.starts_with("Own.Eicar"), "{report:?}");
    let Order::Reject(reply) = &ruling.order else { panic!("{ruling:?}") };
    reply.to_string()
}

#[tokio::test]
async fn the_test_virus_is_found_plain_coded_and_packed_over_both_sockets() {
    let Some(clamd) = Clamd::start() else { return };
    for settings in [at(Kind::Clamd, clamd.port), settings(Kind::Clamd, &clamd.socket())] {
        let stage = Stage::new(&settings);
        for message in infected() {
            let reply = refused(&stage.of(&message).await);
            assert!(reply.starts_with("550 5.7.1 This message contains malware: Own.Eicar."), "{reply}");
        }
        for clean in [attached(b"nothing at all", "nothing.txt"), Vec::new()] {
            let report = stage.of(&clean).await;
            assert!(report.rulings.is_empty() && report.findings.is_empty(), "{report:?}");
            assert!(report.unfinished.is_empty(), "{report:?}");
        }
    }
}

/// It hangs up in the middle of what is too long, and has said why.
#[tokio::test]
async fn what_is_longer_than_it_takes_is_unknown() {
    let Some(clamd) = Clamd::start() else { return };
    let long = [b"Subject: x\r\n\r\n".to_vec(), vec![b'x'; 8 << 20]].concat();
    for settings in [at(Kind::Clamd, clamd.port), settings(Kind::Clamd, &clamd.socket())] {
        let report = Stage::new(&settings).of(&long).await;
        assert_eq!(report.unfinished.len(), 1, "{report:?}");
        let finding = &report.findings[0];
        assert_eq!((finding.symbol.as_str(), report.rulings.len()), ("CLAMAV_TIMEOUT", 0));
        assert!(finding.evidence.contains("INSTREAM size limit exceeded"), "{finding:?}");
    }
}
