//! Reports to senders: what the other server said, to whom it is told, and to whom never.

use support::{Client, Daemon, Sink};

use crate::{daemon, letter};

const USER: &str = "user@example.test";
const WORDS: &str = "550 5.1.1 <gone@far.test>: this mailbox was closed on a Tuesday";

fn user(daemon: &Daemon) -> Client {
    let mut client = Client::hello_tls(daemon.submissions);
    assert_eq!(client.log_in(USER, "secret").code, 235);
    client
}

#[test]
fn senders_are_told_with_the_remote_words_and_nobody_else_is() {
    let sink = Sink::start(0, &[("gone@far.test", WORDS)]);
    let port = sink.address.port();
    let route = format!("[[outbound.route]]\nmatch = \"*\"\nto = \"smtp:[127.0.0.1]:{port}\"\n");
    let daemon = daemon("", &route);
    let mut client = user(&daemon);
    assert_eq!(client.mail(USER, &["gone@far.test", "there@far.test"], &letter("news")).code, 250);
    assert_eq!(sink.wait_for(1)[0].to, ["there@far.test"]);
    let report = daemon.wait_for_mail(USER, 1).remove(0);
    for piece in [
        "Return-Path: <>\n",
        "\nFrom: Mail Delivery System <MAILER-DAEMON@mx.example.test>\n",
        "\nAuto-Submitted: auto-replied\n",
        "\nIn-Reply-To: <news@example.test>\n",
        "report-type=delivery-status",
        "\nFinal-Recipient: rfc822; gone@far.test\nAction: failed\nStatus: 5.1.1\n",
        "\nSubject: news\n",
        WORDS,
    ] {
        assert!(report.contains(piece), "{piece} does not stand in\n{report}");
    }
    assert!(!report.contains("there@far.test"), "{report}");

    // RFC 5321 §4.5.5, RFC 3461 §4.1.
    assert_eq!(client.mail("", &["gone@far.test"], &letter("null")).code, 250);
    for line in [&format!("MAIL FROM:<{USER}>"), "RCPT TO:<gone@far.test> NOTIFY=NEVER", "DATA"] {
        assert!(client.command(line).code < 400, "{line}");
    }
    client.send(format!("{}.\r\n", letter("never")).as_bytes());
    assert_eq!(client.reply().code, 250);
    let suppressed = || daemon.log().matches("suppressed=").count() == 2;
    assert!(support::wait_until(suppressed), "{}", daemon.log());

    for line in
        [&format!("MAIL FROM:<{USER}> ENVID=abc"), "RCPT TO:<user@example.test> NOTIFY=SUCCESS", "DATA"]
    {
        assert!(client.command(line).code < 400, "{line}");
    }
    client.send(format!("{}.\r\n", letter("wanted")).as_bytes());
    assert_eq!(client.reply().code, 250);
    let all = daemon.wait_for_mail(USER, 3);
    let told = all.iter().find(|m| m.contains("Action: delivered")).unwrap();
    assert!(told.contains("Original-Envelope-Id: abc"), "{told}");
    assert!(support::wait_until(|| daemon.queue(&["list"]) == "no messages\n"));
    assert_eq!(daemon.mailbox(USER).len(), 3);
    let metric = |result: &str| {
        daemon.metric(&format!("staffetta_reports_total{{kind=\"failed\",result=\"{result}\"}}")).unwrap()
    };
    assert!((metric("queued") - 1.0).abs() < 0.1, "{}", daemon.http_get("/metrics").1);
}
