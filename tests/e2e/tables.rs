//! Tables whose files break, vanish or hang while the server runs: what was known stays known, and nobody becomes
//! unknown by it (invariant I9).

use std::process::Command;

use support::{Client, Daemon};

use crate::{PROGRAM, codes};

const REST: &str = "[[domain]]\nname = \"table.test\"\nrecipients = \"text:people\"\naliases = \"text:virtual\"\n\
                    deliver = \"maildir:mail/{domain}/{local}/\"\n[server]\nanswer_seconds_max = 1\n";
const KEPT: &str = "what was read before stays in use";

fn start() -> Daemon {
    let mut daemon = Daemon::prepare(PROGRAM, "", REST);
    daemon.write("people", "joe@table.test x\n");
    daemon.write("virtual", "info@table.test joe@table.test\n");
    daemon.run();
    daemon
}

fn rcpt(daemon: &Daemon, recipient: &str) -> String {
    let mut client = Client::hello(daemon.mx);
    client.command("MAIL FROM:<jim@far.test>");
    codes(&client.command(&format!("RCPT TO:<{recipient}>")))
}

#[test]
fn a_broken_table_stays_as_it_was_until_it_is_mended() {
    let daemon = start();
    let known = |recipient: &str| assert_eq!(rcpt(&daemon, recipient), "250 2.1.5", "{recipient}");
    let told = |words: &str, times: usize| {
        let said = || {
            // Look-ups make the server look at the file.
            known("joe@table.test");
            known("info@table.test");
            daemon.log().matches(words).count() >= times
        };
        assert!(support::wait_until(said), "{words}:\n{}", daemon.log());
    };
    assert_eq!(rcpt(&daemon, "jim@table.test"), "550 5.1.1");
    daemon.write("people", "jim@table.test x\nno value\nnovalue\n");
    told(&format!("{KEPT}: {}:3: ", daemon.folder().join("people").display()), 1);
    daemon.write("virtual", "info@table.test: joe@table.test\n");
    told(&format!("{KEPT}: {}:1: ", daemon.folder().join("virtual").display()), 1);
    for file in ["people", "virtual"] {
        std::fs::remove_file(daemon.folder().join(file)).unwrap();
    }
    told(KEPT, 4);
    assert_eq!(rcpt(&daemon, "jim@table.test"), "550 5.1.1");

    daemon.write("people", "jim@table.test x\n");
    daemon.write("virtual", "info@table.test jim@table.test\n");
    assert!(support::wait_until(|| rcpt(&daemon, "jim@table.test") == "250 2.1.5"), "{}", daemon.log());
    assert_eq!(rcpt(&daemon, "joe@table.test"), "550 5.1.1");
    known("info@table.test");
    assert!(support::wait_until(|| daemon.log().contains("all tables are good again")), "{}", daemon.log());
}

/// Those of `[antispam]`: what they order must be an order, when they are opened and whenever they change.
#[test]
fn tables_that_judge_are_looked_through_before_they_are_used() {
    let rest = "[antispam]\nheader_checks = \"regexp:fields\"\nspam_traps = \"text:traps\"\n\
                [[antispam.access]]\nstage = \"rcpt\"\neveryone = true\ntable = \"text:access\"\n";
    let mut daemon = Daemon::prepare(PROGRAM, "", rest);
    let file = |name: &str| daemon.folder().join(name).display().to_string();
    let (access, fields, traps) = (file("access"), file("fields"), file("traps"));
    daemon.write("access", "# who\nuser@example.test REJEKT\n");
    daemon.write("fields", "/^Subject: a/ REJECT a\n/^Subject: b/ FILTER scan:x\n");
    daemon.write("traps", "no value\nnovalue\n");
    let checked =
        Command::new(PROGRAM).args(["config", "check"]).arg(daemon.configuration()).output().unwrap();
    let told = String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();
    assert_eq!(checked.status.code(), Some(1), "{told}");
    for words in [
        format!("antispam.access[0]: {access}:2: not an action for recipients: "),
        format!("antispam.header_checks: {fields}:2: not an action for header fields: "),
        format!("antispam.spam_traps: {traps}:2: "),
    ] {
        assert!(told.contains(&words), "{words}:\n{told}");
    }

    daemon.write("access", "user@example.test REJECT not now\n");
    daemon.write("fields", "/^Subject: a/ REJECT a\n");
    daemon.write("traps", "trap@example.test x\n");
    daemon.add_account("user@example.test", "secret");
    daemon.run();
    assert_eq!(rcpt(&daemon, "user@example.test"), "550 5.7.1");
    daemon.write("access", "user@example.test REJEKT now\n");
    let line = format!("{KEPT}: {access}:1: not an action for recipients: ");
    let told = || {
        // What was good before stays.
        assert_eq!(rcpt(&daemon, "user@example.test"), "550 5.7.1");
        daemon.log().contains(&line)
    };
    assert!(support::wait_until(told), "{}", daemon.log());
    assert_eq!(daemon.metric("staffetta_tables_in_trouble"), Some(1.0));
    daemon.write("access", "other@example.test REJECT\n");
    assert!(support::wait_until(|| rcpt(&daemon, "user@example.test") == "250 2.1.5"), "{}", daemon.log());
    assert!(support::wait_until(|| daemon.metric("staffetta_tables_in_trouble") == Some(0.0)));
    assert_eq!(daemon.log().matches(&line).count(), 1, "told once");
}

/// Who has logged in is asked about where a table says so: by client and sender too, though what was found of the client
/// before the login says nothing any more.
#[test]
fn tables_about_everyone_act_on_users_too() {
    let table = |stage: &str, value: &str, everyone: bool| {
        format!(
            "[[antispam.access]]\nstage = \"{stage}\"\neveryone = {everyone}\ntable = \"inline:{{{{{value}}}}}\"\n"
        )
    };
    let rest = [
        table("connect", "127.0.0.1 = REJECT for strangers", false),
        table("connect", "127.0.0.1 = HOLD", true),
        table("mail", "bad@example.test = REJECT not that one", true),
    ];
    let daemon = Daemon::start(PROGRAM, "", &rest.concat());
    daemon.add_account("bad@example.test", "secret");
    daemon.signal("HUP");
    let letter = |from: &str| format!("From: {from}\r\nSubject: x\r\n\r\nx\r\n");
    let said = |user: &str| {
        let mut client = Client::hello_tls(daemon.submissions);
        if client.log_in(user, "secret").code != 235 {
            return None;
        }
        let reply = client.mail(user, &["user@example.test"], &letter(user));
        Some((reply.code, reply.text()))
    };
    assert_eq!(said("user@example.test").unwrap().0, 250);
    let held =
        || daemon.queue(&["list", "--state", "held"]).lines().filter(|line| line.contains("user@")).count();
    assert!(support::wait_until(|| held() == 1), "{}", daemon.queue(&["list"]));
    let refused =
        || said("bad@example.test").is_some_and(|(code, text)| code == 550 && text.contains("not that one"));
    assert!(support::wait_until(refused), "{:?}", said("bad@example.test"));
}

/// A pipe that nobody writes to is read for ever, as is a file on a server that is gone.
#[test]
fn a_table_that_hangs_is_told_in_time_and_never_as_an_absence() {
    let mut daemon = Daemon::prepare(PROGRAM, "", REST);
    daemon.write("people", "joe@table.test x\n");
    daemon.write("virtual", "info@table.test joe@table.test\nlost@table.test nobody@table.test\n");
    daemon.run();
    // A start follows all aliases, and tells last what it has found: from here on nobody asks the table but who writes here.
    let followed = || daemon.log().contains("lost@table.test");
    assert!(support::wait_until(followed), "{}", daemon.log());
    let (pipe, table) = (daemon.folder().join("pipe"), daemon.folder().join("virtual"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::fs::rename(&pipe, &table).unwrap();
    let mut seen = String::new();
    let unavailable = support::wait_until(|| {
        seen = rcpt(&daemon, "info@table.test");
        seen != "250 2.1.5"
    });
    assert!(unavailable && seen == "451 4.3.0", "{seen}: {}", daemon.log());
    // One at a time has to wait; the others go on with what is known.
    for _ in 0..20 {
        assert_eq!(rcpt(&daemon, "info@table.test"), "250 2.1.5");
    }
    assert_eq!(daemon.metric("staffetta_recipients_refused_total{reason=\"unavailable\"}"), Some(1.0));
    std::fs::write(&table, "info@table.test nobody@table.test\n").unwrap();
    assert!(support::wait_until(|| rcpt(&daemon, "info@table.test") == "550 5.1.1"), "{}", daemon.log());
}
