//! postgrey, over policy delegation: it asks a stranger to come back, and takes him a second later.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use antispam::remote::settings::{Kind, PolicyStage};
use mail::Address;
use policy::{AuthFacts, MessageFacts, Order, RcptFacts, StageReport};

use crate::bench::{Program, Stage, at, facts, folder, start, user};

fn postgrey() -> Option<(Program, u16)> {
    let program = support::need_program("postgrey")?;
    let (dir, port) = (folder(), support::free_port());
    let (user, group) = user();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let mut command = Command::new(program);
    command.arg(format!("--inet=127.0.0.1:{port}")).arg(format!("--dbdir={}", dir.path().display()));
    command.args(["--delay=1", "--auto-whitelist-clients=0", "--whitelist-clients=/dev/null"]);
    command
        .arg("--whitelist-recipients=/dev/null")
        .arg(format!("--user={user}"))
        .arg(format!("--group={group}"));
    Some((start(&mut command, port, dir), port))
}

fn rcpt(recipient: &str) -> RcptFacts {
    let MessageFacts { mail, at, .. } = facts(b"");
    RcptFacts {
        mail,
        at,
        recipient: Address::parse(recipient).unwrap(),
        said: None,
        is_ours: true,
        exists: Some(true),
        accepted_before: 0,
        unknown_before: 0,
        auth: AuthFacts::default(),
    }
}

/// What was ordered; nothing is empty.
fn order(report: &StageReport) -> String {
    assert!(report.unfinished.is_empty(), "{report:?}");
    match report.rulings.first().map(|ruling| &ruling.order) {
        None => String::new(),
        Some(Order::Defer(reply)) => reply.to_string(),
        Some(Order::Prepend(line)) => line.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn strangers_are_asked_to_come_back_at_rcpt() {
    let Some((_postgrey, port)) = postgrey() else { return };
    let stage = Stage::new(&at(Kind::Policy, port));
    let ask = async |recipient| order(&stage.at_rcpt(&rcpt(recipient)).await);
    let first = ask("joe@example.test").await;
    assert!(first.starts_with("450 4.2.0 Greylisted"), "{first}");
    let again = loop {
        let again = ask("joe@example.test").await;
        if !again.starts_with("450") {
            break again;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(again.starts_with("X-Greylist: delayed "), "{again}");
    assert!(ask("ann@example.test").await.starts_with("450"), "another recipient, another triplet");
}

#[tokio::test]
async fn a_policy_server_may_be_asked_about_whole_messages() {
    let Some((_postgrey, port)) = postgrey() else { return };
    let mut settings = at(Kind::Policy, port);
    settings.stage = Some(PolicyStage::EndOfData);
    let stage = Stage::new(&settings);
    let one = order(&stage.of(b"Subject: x\r\n\r\nx\r\n").await);
    assert!(one.starts_with("450 4.2.0 Greylisted"), "{one}");
    let mut all = facts(b"Subject: x\r\n\r\nx\r\n");
    all.recipients =
        Arc::from(["joe", "ann"].map(|user| Address::parse(&format!("{user}@example.test")).unwrap()));
    let several = order(&stage.of_facts(&all).await);
    assert!(several.starts_with("450 4.2.0 Greylisted"), "{several}");
    let nobody_else = stage.at_rcpt(&rcpt("joe@example.test")).await;
    assert!(nobody_else.times.is_empty(), "not asked at RCPT");
}
