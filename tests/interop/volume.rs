//! Ten thousand messages from smtp-source through us to smtp-sink: none is missing, none comes twice.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::daemon;
use crate::peer::{NOBODY, Peer};

const MESSAGES: usize = 10_000;

/// The number of messages in the counters that smtp-sink writes again and again.
fn counted(output: &str) -> usize {
    let last = output.rsplit("mesg=").next().unwrap_or_default();
    last.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse().unwrap_or(0)
}

#[test]
fn ten_thousand_messages_pass() {
    let (Some(source), Some(sink)) =
        (support::need_program("smtp-source"), support::need_program("smtp-sink"))
    else {
        return;
    };
    let Some(mut peer) = Peer::prepare() else { return };
    let port = support::free_port();
    let mut command = Command::new(sink);
    command.args(["-c", &format!("127.0.0.1:{port}"), "1000"]).uid(NOBODY).gid(NOBODY);
    peer.start(&mut command);
    assert!(
        support::wait_until(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()),
        "{}",
        peer.log()
    );

    let rest = format!("[[outbound.route]]\nmatch = \"*\"\nto = \"smtp:[127.0.0.1]:{port}\"\n");
    let daemon = daemon("trusted_networks = [\"127.0.0.0/8\"]", &rest);
    let sent = Command::new(source)
        .args([
            "-d",
            "-s",
            "20",
            "-m",
            &MESSAGES.to_string(),
            "-l",
            "1024",
            "-f",
            "a@b.test",
            "-t",
            "c@far.test",
        ])
        .arg(format!("127.0.0.1:{}", daemon.mx.port()))
        .output()
        .unwrap();
    assert!(sent.status.success(), "{sent:?}\n{}", daemon.log());
    let passed = support::wait_until(|| counted(&peer.log()) >= MESSAGES);
    assert!(passed, "{} of {MESSAGES} have come", counted(&peer.log()));
    assert!(support::wait_until(|| daemon.queue(&["list"]) == "no messages\n"));
    assert_eq!(counted(&peer.log()), MESSAGES);
    let relayed = "staffetta_deliveries_total{agent=\"smtp\",result=\"relayed\"}";
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    let want = Some(MESSAGES as f64);
    assert_eq!(daemon.metric(relayed), want);
}
