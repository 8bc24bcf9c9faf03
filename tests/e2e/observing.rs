//! What operators see, and what nobody may see.

use support::{Client, Daemon};

use crate::{PROGRAM, codes, scram};

const SECRET: &str = "Xylophone-Zeppelin-77";
const GUESS: &str = "Quagmire-Obelisk-42";

#[test]
fn no_password_reaches_the_log() {
    let mut daemon = Daemon::prepare(PROGRAM, "", "");
    daemon.add_account("user@example.test", SECRET);
    daemon.run();
    let client = || Client::hello_tls(daemon.submissions);
    assert_eq!(codes(&client().log_in("user@example.test", SECRET)), "235 2.7.0");
    assert_eq!(codes(&scram::log_in(&mut client(), "user@example.test", SECRET, true)), "235 2.7.0");
    let mut failing = client();
    assert_eq!(codes(&failing.log_in("user@example.test", GUESS)), "535 5.7.8");
    // People type passwords where the name belongs, and programs lose count of the lines.
    assert_eq!(codes(&failing.log_in(SECRET, GUESS)), "535 5.7.8");
    let mut lost = client();
    assert_eq!(lost.command(&support::base64(SECRET.as_bytes())).code, 500);
    assert_eq!(lost.command(SECRET).code, 500);
    assert_eq!(lost.command("AUTH PLAIN !").code, 501);
    drop((failing, lost));
    let shown = String::from_utf8_lossy(&daemon.tool(&["account", "list"]).stdout).into_owned();
    assert_eq!(daemon.stop(), Some(0));
    let log = daemon.log();
    assert!(log.contains("staffetta/auth: ") && log.contains("sasl_method=PLAIN"), "{log}");
    assert!(log.contains("result=success") && log.contains("result=failure"), "{log}");
    for word in [SECRET, GUESS] {
        // In base64 the words may begin at any of three offsets: what all hold is compared.
        let encoded = [0, 1, 2].map(|skip| support::base64(&word.as_bytes()[skip..skip + 15]));
        for text in [&log, &shown] {
            assert!(!text.contains(word) && !encoded.iter().any(|e| text.contains(e.as_str())), "{text}");
            assert!(!text.contains("$argon2"), "{text}");
        }
    }
}

#[test]
fn metrics_begin_at_zero_and_readiness_is_told() {
    // What is counted by scanner is there as soon as there is one; clients on loopback are not shown to it.
    let scanner = "[[antispam.scanner]]\nkind = \"spamd\"\naddress = \"127.0.0.1:9\"\n";
    let daemon = crate::daemon("", scanner);
    println!("resident memory at rest: {} KiB", daemon.resident() / 1024);
    let (status, text) = daemon.http_get("/metrics");
    assert_eq!(status, 200);
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/metrics.md");
    let families: Vec<String> = std::fs::read_to_string(reference)
        .unwrap()
        .lines()
        .filter_map(|line| Some(line.strip_prefix("## `")?.trim_end_matches('`').to_owned()))
        .collect();
    assert!(families.len() > 20, "{families:?}");
    for family in &families {
        assert!(text.contains(&format!("# TYPE {family} ")), "{family} is missing");
    }
    for series in [
        "staffetta_messages_received_total{listener=\"mx\",result=\"accepted\"}",
        "staffetta_recipients_refused_total{reason=\"unknown\"}",
        "staffetta_deliveries_total{agent=\"maildir\",result=\"delivered\"}",
        "staffetta_auth_attempts_total{mechanism=\"plain\",result=\"failure\"}",
        "staffetta_queue_messages{state=\"deferred\"}",
        "staffetta_commands_total{verb=\"data\"}",
        "staffetta_commit_seconds_count",
    ] {
        assert_eq!(daemon.metric(series), Some(0.0), "{series}");
    }
    assert_eq!(daemon.http_get("/readyz"), (200, "ok\n".to_owned()));
    assert_eq!(daemon.http_get("/healthz").0, 200);

    let mut client = Client::hello(daemon.mx);
    assert_eq!(client.mail("a@b.test", &["user@example.test"], &crate::letter("counted")).code, 250);
    assert_eq!(daemon.wait_for_mail("user@example.test", 1).len(), 1);
    let delivered = "staffetta_deliveries_total{agent=\"maildir\",result=\"delivered\"}";
    assert!(support::wait_until(|| daemon.metric(delivered) == Some(1.0)));
}
