//! Killed while what a broken-into account has queued is being put on hold: after the next start not one more of it goes out.

use std::time::Instant;

use support::{Client, Daemon, wait_until};

use crate::ledger::checksum;
use crate::sink::{FIELD, Sink};
use crate::{ALONE, PATIENCE, PROGRAM};

const USER: &str = "user@example.test";
/// More than are looked at in one go.
const QUEUED: usize = 700;
const BODY: &str = "buy\r\n";

fn letter(name: &str) -> String {
    let sum = checksum(BODY.as_bytes());
    format!("From: {USER}\r\nSubject: {name}\r\n{FIELD}{name} {sum}\r\n\r\n{BODY}")
}

fn thief(daemon: &Daemon) -> Client {
    let mut client = Client::hello_tls(daemon.submissions);
    assert_eq!(client.log_in(USER, "secret").code, 235, "{}", daemon.log());
    client
}

fn held(daemon: &Daemon) -> usize {
    daemon
        .metric("staffetta_queue_messages{state=\"held\"}")
        .map_or(0, |count| format!("{count:.0}").parse().unwrap_or(0))
}

#[test]
fn what_a_thief_has_queued_stays_here() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let sink = Sink::start();
    sink.set_down(true);
    let rest = format!(
        "[[outbound.route]]\nmatch = \"*\"\nto = \"smtp:[127.0.0.1]:{}\"\n[queue]\nretry_seconds_min = 1\nretry_seconds_max = 2\n\
         [antispam.rates]\naccount_new_recipients_per_hour_max = 2\naccount_messages_per_hour_max = 0\n\
         account_recipients_per_hour_max = 0\nslow_seconds = 0\n[store.state]\nflush_millis = 1\n",
        sink.address.port()
    );
    let mut daemon = Daemon::start(PROGRAM, "", &rest);
    let mut client = thief(&daemon);
    for number in 0..QUEUED {
        let reply = client.mail(USER, &["friend@away.test"], &letter(&format!("q{number}")));
        assert_eq!(reply.code, 250, "{reply:?}");
    }
    let many: Vec<String> = (1..=9).map(|number| format!("r{number}@away.test")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(client.mail(USER, &many, &letter("many")).code, 250);
    // It has begun: some are on hold, or all.
    assert!(wait_until(|| held(&daemon) > 1), "{}", daemon.log());
    daemon.kill();
    sink.set_down(false);
    daemon.run();
    let all = || held(&daemon) == QUEUED + 1;
    assert!(wait_until(all), "{} on hold\n{}", held(&daemon), daemon.log());
    assert!(sink.arrivals().times.is_empty(), "{:?}", sink.arrivals());

    // What an operator releases is delivered, or stays released over the next crash.
    let list = daemon.queue(&["list", "--state", "held", "--json", "--limit", "0"]);
    let line = list
        .lines()
        .find(|line| line.contains("\"recipients\":[{\"address\":\"friend@away.test\""))
        .unwrap_or_default();
    let id = line.split("\"id\":\"").nth(1).and_then(|rest| rest.get(..13)).unwrap_or_default().to_owned();
    sink.set_down(true);
    assert!(daemon.queue(&["release", &id]).starts_with("1 message"), "{id}: {list}");
    daemon.kill();
    daemon.run();
    sink.set_down(false);
    let began = Instant::now();
    while sink.arrivals().times.is_empty() && began.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    assert_eq!(sink.arrivals().times.len(), 1, "{}", daemon.log());
    assert_eq!(held(&daemon), QUEUED);
}
