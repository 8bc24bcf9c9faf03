//! Mail for elsewhere: on to the next hop, waiting while that is down, steered by an operator.

use std::os::unix::process::CommandExt as _;

use support::{Client, Daemon, Sink};

use crate::{daemon, letter, queue_id};

const USER: &str = "user@example.test";

fn send(daemon: &Daemon, to: &str, subject: &str) -> String {
    let mut client = Client::hello_tls(daemon.submissions);
    assert_eq!(client.log_in(USER, "secret").code, 235);
    queue_id(&client.mail(USER, &[to], &letter(subject)))
}

fn mailq(daemon: &Daemon) -> String {
    let mut command = daemon.command(&[]);
    command.arg0("mailq").env("STAFFETTA_CONFIG", daemon.configuration());
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
fn what_cannot_be_delivered_waits_is_shown_and_steered() {
    let port = support::free_port();
    let route = format!("[[outbound.route]]\nmatch = \"far.test\"\nto = \"smtp:[127.0.0.1]:{port}\"\n");
    let daemon = daemon("", &route);
    assert_eq!(daemon.queue(&["list"]), "no messages\n");
    let [first, second, third] =
        ["first", "second", "third"].map(|subject| send(&daemon, "friend@far.test", subject));
    let waits = || daemon.queue(&["list", "--state", "deferred"]).contains("3 messages");
    assert!(support::wait_until(waits), "{}", daemon.queue(&["list"]));

    let shown = daemon.queue(&["show", &first]);
    assert!(shown.contains("sender:       user@example.test") && shown.contains("refused"), "{shown}");
    let list = daemon.queue(&["list"]);
    assert!(list.contains(&second) && list.contains("friend@far.test") && list.contains("refused"), "{list}");
    let text = daemon.queue(&["cat", &first]);
    assert!(text.contains("Received: ") && text.ends_with(&letter("first")), "{text}");
    let listed = mailq(&daemon);
    assert!(listed.contains(&first) && listed.ends_with("3 Requests.\n"), "{listed}");
    assert!(listed.contains("refused"), "{listed}");

    assert_eq!(daemon.queue(&["hold", &first, &second]), "2 messages held\n");
    assert_eq!(daemon.queue(&["delete", &second]), "1 message deleted\n");
    let sink = Sink::start(port, &[]);
    assert_eq!(daemon.queue(&["retry", &third]), "1 message to be tried now\n");
    assert!(sink.wait_for(1)[0].text.contains("Subject: third"));
    assert!(daemon.queue(&["list", "--state", "held"]).contains(&first));
    assert_eq!(daemon.queue(&["release", "--domain", "far.test"]), "1 message released\n");
    let taken = sink.wait_for(2);
    assert_eq!(taken[1].to, ["friend@far.test"]);
    assert!(taken[1].from.starts_with("prvs=") && taken[1].from.ends_with(&format!("={USER}")), "{taken:?}");
    assert!(taken[1].text.ends_with(&letter("first")), "{}", taken[1].text);
    assert!(!taken[1].text.contains("Return-Path") && !taken[1].text.contains("Delivered-To"));
    assert!(support::wait_until(|| daemon.queue(&["list"]) == "no messages\n"));
    assert_eq!(sink.taken().len(), 2);

    // A connection that was kept is found dead, and another is made.
    drop(sink);
    let sink = Sink::start(port, &[]);
    send(&daemon, "friend@far.test", "fourth");
    assert!(sink.wait_for(1)[0].text.contains("Subject: fourth"));
    let sent = || daemon.log().matches("status=sent (250 2.0.0 Taken by the sink)").count() == 3;
    assert!(support::wait_until(sent), "{}", daemon.log());
    let line = format!("agent=smtp, relay=[127.0.0.1]:{port}, ");
    assert!(support::wait_until(|| daemon.log().contains(&line)));
}
