//! SIGHUP: a good configuration takes the old one's place, a broken one does not; certificates are taken into use.

use std::time::{Duration, Instant};

use support::{Client, Daemon};

use crate::{codes, daemon, letter};

const NEW_DOMAIN: &str = "[[domain]]\nname = \"new.test\"\nrecipients = \"static:yes\"\n\
                          deliver = \"maildir:mail/{domain}/{local}/\"\n";

// invariant: I8
#[test]
fn a_reload_drops_no_session_and_takes_no_broken_configuration() {
    let daemon = daemon("", "");
    let mut running = Client::hello(daemon.mx);
    assert_eq!(running.command("MAIL FROM:<joe@far.test>").code, 250);
    let knows_new = || {
        let mut client = Client::hello(daemon.mx);
        client.command("MAIL FROM:<joe@far.test>");
        codes(&client.command("RCPT TO:<anybody@new.test>"))
    };
    assert_eq!(knows_new(), "550 5.7.1");
    daemon.edit("[accounts]", &format!("{NEW_DOMAIN}\n[accounts]"));
    daemon.signal("HUP");
    assert!(support::wait_until(|| knows_new() == "250 2.1.5"), "{}", daemon.log());
    assert_eq!(running.command("RCPT TO:<user@example.test>").code, 250);

    daemon.edit("name = \"new.test\"", "name = \"newer.test\"\nrecipient = \"a misspelt key\"");
    daemon.signal("HUP");
    let failed = "staffetta_config_reloads_total{result=\"failed\"}";
    assert!(support::wait_until(|| daemon.metric(failed) == Some(1.0)), "{}", daemon.log());
    let told = || daemon.log().contains("stays as it was") && daemon.log().contains("recipient");
    assert!(support::wait_until(told), "{}", daemon.log());
    assert_eq!(knows_new(), "250 2.1.5");
    assert_eq!(running.command("DATA").code, 354);
    running.send(format!("{}.\r\n", letter("across")).as_bytes());
    assert_eq!(running.reply().code, 250);
    assert_eq!(running.mail("joe@far.test", &["user@example.test"], &letter("again")).code, 250);
    assert_eq!(daemon.wait_for_mail("user@example.test", 2).len(), 2);
    assert_eq!(daemon.metric("staffetta_config_reloads_total{result=\"ok\"}"), Some(1.0));
}

#[test]
fn listeners_open_and_close_and_certificates_change() {
    let daemon = daemon("", "");
    let mut old = Client::hello_tls(daemon.submissions);
    let certificate = old.certificate();
    daemon.new_certificate();
    let changed = || Client::hello_tls(daemon.submissions).certificate() != certificate;
    assert!(support::wait_until(changed), "{}", daemon.log());
    assert_eq!(old.command("NOOP").code, 250);
    expiry_is_shown(&daemon);

    let port = support::free_port();
    daemon.edit(&daemon.submission.to_string(), &format!("127.0.0.1:{port}"));
    daemon.signal("HUP");
    let opened = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(support::wait_until(opened), "{}", daemon.log());
    let closed = || std::net::TcpStream::connect(daemon.submission).is_err();
    assert!(support::wait_until(closed));
    assert_eq!(Client::hello(([127, 0, 0, 1], port).into()).start_tls().code, 250);
}

/// At the start, when the files change, and when a reload brings more names.
fn expiry_is_shown(daemon: &Daemon) {
    let expires = |name: &str, at: f64| {
        let series = format!("staffetta_certificate_expiry_timestamp_seconds{{name=\"{name}\"}}");
        assert!(support::wait_until(|| daemon.metric(&series) == Some(at)), "{:?}", daemon.metric(&series));
    };
    expires("mx.example.test", 4_102_444_800.0);
    daemon.new_certificate_until(2031);
    expires("mx.example.test", 1_924_992_000.0);
    let sni =
        "[[tls.sni]]\nnames = [\"a.test\", \"*.b.test\"]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n";
    daemon.edit("[accounts]", &format!("{sni}\n[accounts]"));
    daemon.signal("HUP");
    expires("a.test", 1_924_992_000.0);
    expires("*.b.test", 1_924_992_000.0);
    expires("mx.example.test", 1_924_992_000.0);
}

/// An attacker who can bring about a reload, or waits for one, gains nothing.
#[test]
fn failed_logins_are_remembered_across_a_reload() {
    let daemon = daemon("", "");
    let fails_after = || {
        let mut client = Client::hello_tls(daemon.submissions);
        let asked = Instant::now();
        assert_eq!(codes(&client.log_in("user@example.test", "wrong")), "535 5.7.8");
        asked.elapsed()
    };
    assert!(fails_after() >= Duration::from_secs(1));
    daemon.signal("HUP");
    let reloaded = "staffetta_config_reloads_total{result=\"ok\"}";
    assert!(support::wait_until(|| daemon.metric(reloaded) == Some(1.0)), "{}", daemon.log());
    // The second failure of this network: twice as long, less what has faded since.
    assert!(fails_after() >= Duration::from_millis(1_900));
}
