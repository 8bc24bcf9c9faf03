//! The submission doors: how users log in, what they may send, what is done to their mail.

use support::{Client, Daemon, Reply};

use crate::{PROGRAM, codes, letter, scram};

const USER: &str = "user@example.test";

fn log_in_with_login(client: &mut Client, password: &str) -> Reply {
    assert_eq!(client.command("AUTH LOGIN").code, 334);
    assert_eq!(client.command(&support::base64(USER.as_bytes())).code, 334);
    client.command(&support::base64(password.as_bytes()))
}

#[test]
fn users_log_in_under_tls_by_every_mechanism() {
    let daemon = crate::daemon("", "");
    let mut plain = Client::hello(daemon.submission);
    let offer = plain.command("EHLO client.test").text();
    assert!(offer.contains("STARTTLS") && !offer.contains("AUTH"), "{offer}");
    assert_eq!(codes(&plain.log_in(USER, "secret")), "538 5.7.11");
    assert_eq!(codes(&plain.command(&format!("MAIL FROM:<{USER}>"))), "530 5.7.0");
    let offer = plain.start_tls().text();
    assert!(offer.contains("AUTH ") && !offer.contains("STARTTLS"), "{offer}");
    for mechanism in ["PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"] {
        assert!(offer.contains(&format!(" {mechanism}")), "{mechanism}: {offer}");
    }
    assert_eq!(codes(&plain.command(&format!("MAIL FROM:<{USER}>"))), "530 5.7.0");
    assert_eq!(codes(&plain.log_in(USER, "secret")), "235 2.7.0");

    let by_starttls = || {
        let mut client = Client::hello(daemon.submission);
        client.start_tls();
        client
    };
    for (number, mut client) in [by_starttls(), Client::hello_tls(daemon.submissions)].into_iter().enumerate()
    {
        assert_eq!(codes(&scram::log_in(&mut client, USER, "secret", number == 0)), "235 2.7.0");
        let subject = format!("scram-{number}");
        assert_eq!(client.mail(USER, &[USER], &letter(&subject)).code, 250);
    }
    let mut client = Client::hello_tls(daemon.submissions);
    assert_eq!(codes(&scram::log_in(&mut client, USER, "secret", true)), "235 2.7.0");
    let mut client = by_starttls();
    assert_eq!(codes(&log_in_with_login(&mut client, "secret")), "235 2.7.0");
    assert_eq!(client.mail(USER, &[USER], &letter("login")).code, 250);
    let mail = daemon.wait_for_mail(USER, 3);
    assert!(mail.iter().all(|m| m.contains("with ESMTPSA")), "{mail:?}");
    assert_eq!(
        daemon.metric("staffetta_auth_attempts_total{mechanism=\"scram_sha_256\",result=\"success\"}"),
        Some(1.0)
    );
}

/// A server with aliases, a key to sign with, and a user who may also send as another.
fn house() -> Daemon {
    let rest = "[[domain]]\nname = \"alias.test\"\nrecipients = \"inline:{nobody=x}\"\ndeliver = \"maildir:mail/{domain}/{local}/\"\n\
                aliases = \"text:virtual\"\n";
    let mut daemon = Daemon::prepare(PROGRAM, "", rest);
    daemon.write(
        "virtual",
        "info@alias.test user@example.test\nothers@alias.test other@example.test\n\
                             broken@alias.test :include:/nonexistent/list\n",
    );
    daemon.add_account(USER, "secret");
    daemon.add_account_with(
        "other@example.test",
        "secret2",
        &["--send-as", "sales@example.test", "--send-as", "@granted.test"],
    );
    assert!(daemon.tool(&["dkim", "new", "example.test"]).status.success());
    daemon.run();
    daemon
}

#[test]
fn users_send_as_themselves_and_their_mail_is_completed() {
    let daemon = house();
    let mut client = Client::hello_tls(daemon.submissions);
    assert_eq!(client.log_in(USER, "secret").code, 235);
    for from in ["other@example.test", "others@alias.test", "user@far.test", "nobody@example.test"] {
        assert_eq!(codes(&client.command(&format!("MAIL FROM:<{from}>"))), "550 5.7.1", "{from}");
    }
    // A look-up that failed is no proof that the address is somebody else's.
    assert_eq!(codes(&client.command("MAIL FROM:<broken@alias.test>")), "451 4.3.0");
    let body = "Subject: x\r\n\r\ntext\r\n";
    let broken = client.mail(USER, &[USER], &format!("From: broken@alias.test\r\n{body}"));
    assert_eq!(codes(&broken), "451 4.3.0");
    for header in [
        "From: other@example.test",
        "From: user@example.test, Other <other@example.test>",
        "From: user@example.test\r\nSender: other@example.test",
        "From: user@example.test\r\nFrom: other@example.test",
        "From: \"user@example.test\" <other@example.test>",
        "X-No: from",
    ] {
        let reply = client.mail(USER, &[USER], &format!("{header}\r\n{body}"));
        assert_eq!(codes(&reply), "550 5.7.1", "{header}");
    }
    for (from, header) in [
        (USER, "From: The User <USER+tag@example.test>\r\nSender: info@alias.test"),
        ("info@alias.test", "From: =?utf-8?q?Inf=C3=B6?= <info@alias.test>"),
        ("", "From: user@example.test"),
    ] {
        let reply = client.mail(from, &[USER], &format!("{header}\r\n{body}"));
        assert_eq!(reply.code, 250, "{from} {header}: {reply:?}");
    }
    for mail in daemon.wait_for_mail(USER, 3) {
        assert!(mail.contains("\nDate: ") && mail.contains("\nMessage-ID: <"), "{mail}");
        assert!(!mail.contains("127.0.0.1") && !mail.contains("client.test"), "the client is hidden: {mail}");
        let ours = !mail.contains("From: =?utf-8");
        assert_eq!(mail.contains("DKIM-Signature: v=1;") && mail.contains("d=example.test;"), ours, "{mail}");
    }
    let complete = client.mail(USER, &[USER], &letter("complete"));
    assert_eq!(complete.code, 250);
    let all = daemon.wait_for_mail(USER, 4);
    let mail = all.iter().find(|m| m.contains("Subject: complete")).unwrap();
    assert_eq!(mail.matches("\nDate: ").count() + mail.matches("\nMessage-ID: ").count(), 2, "{mail}");
}

#[test]
fn granted_addresses_are_for_those_they_were_granted_to() {
    let daemon = house();
    let log_in = |user: &str, password: &str| {
        let mut client = Client::hello_tls(daemon.submissions);
        assert_eq!(client.log_in(user, password).code, 235);
        client
    };
    let (mut granted, mut other) = (log_in("other@example.test", "secret2"), log_in(USER, "secret"));
    for address in ["sales@example.test", "Sales@EXAMPLE.test", "anybody@granted.test"] {
        let text = |from: &str| format!("From: {from}\r\nSubject: x\r\n\r\ntext\r\n");
        let reply = granted.mail(address, &[USER], &text(&format!("Sales <{address}>")));
        assert_eq!(reply.code, 250, "{address}: {reply:?}");
        let sender = format!("other@example.test\r\nSender: {address}");
        assert_eq!(granted.mail("other@example.test", &[USER], &text(&sender)).code, 250, "{address}");

        assert_eq!(codes(&other.mail(address, &[USER], &text(USER))), "550 5.7.1", "{address}");
        assert_eq!(codes(&other.mail(USER, &[USER], &text(address))), "550 5.7.1", "{address}");
        let sender = format!("{USER}\r\nSender: {address}");
        assert_eq!(codes(&other.mail(USER, &[USER], &text(&sender))), "550 5.7.1", "{address}");
    }
    // A grant is no more than what it says.
    for address in ["sales@alias.test", "user@example.test", "x@sub.granted.test"] {
        assert_eq!(codes(&granted.command(&format!("MAIL FROM:<{address}>"))), "550 5.7.1", "{address}");
    }
    assert_eq!(daemon.wait_for_mail(USER, 6).len(), 6);
}
