//! rspamd with a rule of our own, without network, Lua rules or Redis.

use std::process::Command;

use antispam::remote::settings::Kind;
use policy::Order;

use crate::bench::{Program, Stage, at, folder, is_root, start};

fn rspamd() -> Option<(Program, u16)> {
    let program = support::need_program("rspamd")?;
    let (dir, port) = (folder(), support::free_port());
    let root = dir.path().display().to_string();
    let text = format!(
        "options {{ pidfile = \"{root}/pid\"; control_socket = \"{root}/control mode=0600\"; tempdir = \"{root}\";\n\
           hs_cache_dir = \"{root}\"; url_tld = \"{root}/tld\"; filters = \"regexp\"; gtube_patterns = \"all\";\n\
           dns {{ nameserver = [\"127.0.0.1:9\"]; timeout = 0.1s; retransmits = 1; }} local_addrs = []; }}\n\
         logging {{ type = \"console\"; level = \"warning\"; }}\n\
         worker \"normal\" {{ bind_socket = \"127.0.0.1:{port}\"; count = 1; }}\n\
         actions {{ reject = 15; add_header = 6; greylist = 4; }}\n\
         regexp {{ \"OWN_PILLS\" {{ re = \"Subject=/cheap pills/i{{header}}\"; score = 7.25; }} }}\n"
    );
    std::fs::write(dir.path().join("rspamd.conf"), text).unwrap();
    std::fs::write(dir.path().join("tld"), "com\ntest\n").unwrap();
    let mut command = Command::new(program);
    command.arg("-f").arg("-c").arg(dir.path().join("rspamd.conf"));
    if is_root() {
        command.args(["-i", "-u", "root", "-g", "root"]);
    }
    Some((start(&mut command, port, dir), port))
}

#[tokio::test]
async fn its_score_is_one_symbol_and_its_action_an_order_where_that_is_wanted() {
    let Some((_rspamd, port)) = rspamd() else { return };
    let mut settings = at(Kind::Rspamd, port);
    let letter = |subject: &str, body: &str| {
        format!("From: ann@far.test\r\nTo: joe@example.test\r\nSubject: {subject}\r\n\r\n{body}\r\n")
            .into_bytes()
    };
    let report = Stage::new(&settings).of(&letter("cheap pills", "Hello.")).await;
    assert!(report.unfinished.is_empty() && report.rulings.is_empty(), "{report:?}");
    let [finding] = &report.findings[..] else { panic!("{report:?}") };
    assert_eq!((finding.symbol.as_str(), finding.factor), ("RSPAMD_SCORE", 7250));
    assert_eq!(finding.evidence, "add header, 7.25 of 15: OWN_PILLS 7.25");

    let gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
    let report = Stage::new(&settings).of(&letter("hello", gtube)).await;
    assert!(report.findings[0].evidence.starts_with("reject, "), "{report:?}");
    assert!(report.rulings.is_empty(), "an opinion");
    settings.honour_actions = true;
    let report = Stage::new(&settings).of(&letter("hello", gtube)).await;
    let Order::Reject(reply) = &report.rulings[0].order else { panic!("{report:?}") };
    assert!(reply.to_string().starts_with("550 5.7.1 "), "{reply}");
}
