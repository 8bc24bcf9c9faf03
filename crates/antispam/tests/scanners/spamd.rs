//! spamd with the rules of its package, without network.

use std::path::Path;
use std::process::Command;

use antispam::remote::settings::Kind;

use crate::bench::{Program, Stage, at, copy_all, folder, is_root, start};

/// What every spam filter calls spam.
const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
/// Sees what stands before the message.
const RULES: &str = "\
header   OWN_CLIENT  X-Spam-Relays-Untrusted =~ /^\\[ ip=192\\.0\\.2\\.9 rdns=\\S* helo=mail\\.far\\.test /
score    OWN_CLIENT  0.5
header   OWN_SENDER  EnvelopeFrom =~ /^ann\\@far\\.test$/
score    OWN_SENDER  -2.25
skip_rbl_checks 1
dns_available no
use_bayes 0
trusted_networks 127.0.0.1
";

fn spamd() -> Option<(Program, u16)> {
    let program = support::need_program("spamd")?;
    let (dir, port) = (folder(), support::free_port());
    let rules = dir.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    copy_all(Path::new("/etc/spamassassin"), ".pre", &rules);
    std::fs::write(rules.join("local.cf"), RULES).unwrap();
    let mut command = Command::new(program);
    command.args(["-L", "-x", "-i", "127.0.0.1", "-s", "stderr", "--min-children=1", "--max-children=1"]);
    command.arg("-p").arg(port.to_string());
    command.arg(format!("--siteconfigpath={}", rules.display())).arg("-H").arg(dir.path());
    if is_root() {
        command.args(["-u", "nobody"]);
    }
    Some((start(&mut command, port, dir), port))
}

#[tokio::test]
async fn its_score_is_one_symbol_and_its_rules_see_client_and_sender() {
    let Some((_spamd, port)) = spamd() else { return };
    let stage = Stage::new(&at(Kind::Spamd, port));
    let letter = |body: &str| {
        format!(
            "From: Ann <ann@far.test>\r\nTo: joe@example.test\r\nSubject: hello\r\nMessage-ID: <1@far.test>\r\n\
             Date: Wed, 18 Nov 2026 09:46:40 +0000\r\n\r\n{body}\r\n"
        )
    };
    let report = stage.of(letter("How are you?").as_bytes()).await;
    assert!(report.unfinished.is_empty() && report.rulings.is_empty(), "{report:?}");
    let [finding] = &report.findings[..] else { panic!("{report:?}") };
    assert_eq!(finding.symbol, "SPAMASSASSIN_SCORE");
    assert!(
        finding.evidence.contains("OWN_CLIENT") && finding.evidence.contains("OWN_SENDER"),
        "{finding:?}"
    );
    assert!(finding.factor < 2000, "{finding:?}");

    let report = stage.of(letter(GTUBE).as_bytes()).await;
    let finding = &report.findings[0];
    assert_eq!(finding.factor, 100_000, "a thousand points are no more than a hundred here");
    assert!(finding.evidence.contains("GTUBE") && finding.evidence.contains(" of 5: "), "{finding:?}");
}
