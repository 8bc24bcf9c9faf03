//! A Postfix that is asked to come back, and does: alone, and as a farm whose retry comes from another network.

use std::process::Command;
use std::time::{Duration, Instant};

use support::{Client, Daemon, Dns};

use crate::peer::Peer;
use crate::{USER, letter, postfix};

/// Hosts of this machine that stand for those of a farm; each in a /24 of its own.
const FARM: [&str; 2] = ["127.1.1.7", "127.2.2.7"];
const SENDER: &str = "joe@far.test";

/// A server that asks everybody to come back, and to which this machine is a stranger.
fn daemon(dns: &Dns, delay_seconds: u32) -> Daemon {
    let rest = format!(
        "[dns]\nservers = [\"{}\"]\n[antispam]\nexempt_networks = []\n\
         [antispam.greylist]\nmode = \"always\"\ndelay_seconds = {delay_seconds}\n",
        dns.addr
    );
    Daemon::start(env!("CARGO_BIN_EXE_staffetta"), "", &rest)
}

/// How often a client was asked to come back.
fn refusals(daemon: &Daemon, client: &str) -> usize {
    let log = daemon.log();
    let lines =
        log.lines().filter(|line| line.contains("/refuse: ") && line.contains(&format!("[{client}]")));
    lines.filter(|line| line.contains("Greylisted")).count()
}

#[test]
fn a_postfix_that_retries_is_let_in() {
    let (dns, port) =
        (Dns::start("far.test. MX 10 mail.far.test.\nmail.far.test. A 192.0.2.9"), support::free_port());
    let daemon = daemon(&dns, 2);
    let impatient =
        [("queue_run_delay", "1s"), ("minimal_backoff_time", "1s"), ("maximal_backoff_time", "1s")];
    let Some(postfix) = postfix::start(&daemon, port, &impatient, "") else { return };
    let mut client = Client::hello(([127, 0, 0, 1], port).into());
    assert_eq!(client.mail(SENDER, &[USER], &letter("patience")).code, 250);
    let mail = daemon.wait_for_mail(USER, 1).concat();
    assert!(mail.contains("Subject: patience"), "{mail}");
    let (log, words) = (postfix.log(), "said: 451 4.7.1 Greylisted: please try again in 2 seconds (");
    assert!(log.contains(words) && log.contains("(in reply to RCPT TO command))"), "{log}");
    assert!(support::wait_until(|| refusals(&daemon, "127.0.0.1") >= 1), "{}", daemon.log());
    // The next letter of the same sender is not delayed.
    let before = refusals(&daemon, "127.0.0.1");
    assert_eq!(client.mail(SENDER, &[USER], &letter("again")).code, 250);
    assert_eq!(daemon.wait_for_mail(USER, 2).len(), 2);
    assert_eq!(refusals(&daemon, "127.0.0.1"), before, "{}", daemon.log());
}

/// A letter from a farm that tries first from one of its hosts and, when the delay is over, from the other. True when that
/// first attempt of the second host is let in; `record` is the farm's SPF record.
fn second_host_is_let_in(record: &str) -> Option<bool> {
    let zone =
        format!("far.test. MX 10 mail.far.test.\nfar.test. TXT \"{record}\"\nmail.far.test. A 192.0.2.9");
    let (dns, port) = (Dns::start(&zone), support::free_port());
    let daemon = daemon(&dns, 1);
    // It retries when it is told to and not before: each host makes one attempt.
    let route = format!("inline:{{ {{ example.test = farm:[127.0.0.1]:{} }} }}", daemon.mx.port());
    let settings =
        [("minimal_backoff_time", "1h"), ("queue_run_delay", "1h"), ("transport_maps", route.as_str())];
    let farm = format!("farm unix - - n - - smtp -o smtp_bind_address={}\n", FARM[0]);
    let postfix = postfix::start(&daemon, port, &settings, &farm)?;
    let mut client = Client::hello(([127, 0, 0, 1], port).into());
    assert_eq!(client.mail(SENDER, &[USER], &letter("farm")).code, 250);
    let deferred = || postfix.log().contains("status=deferred");
    assert!(support::wait_until(deferred), "{}", postfix.log());
    let refused = Instant::now();
    // The line of a session is written after the peer has heard its answer.
    let once = || refusals(&daemon, FARM[0]) == 1;
    assert!(support::wait_until(once), "{}\n{}", daemon.log(), postfix.log());

    let master = std::fs::read_to_string(postfix.path("master.cf")).unwrap();
    postfix.write("master.cf", &master.replace(FARM[0], FARM[1]));
    order(&postfix, "reload");
    assert!(support::wait_until(|| refused.elapsed() > Duration::from_secs(2)));
    order(&postfix, "flush");
    let let_in = || !daemon.mailbox(USER).is_empty();
    let answered = || let_in() || refusals(&daemon, FARM[1]) > 0;
    assert!(support::wait_until(answered), "{}\n{}", daemon.log(), postfix.log());
    assert_eq!(refusals(&daemon, FARM[0]), 1, "{}", daemon.log());
    Some(let_in())
}

fn order(postfix: &Peer, what: &str) {
    let program = support::need_program("postfix").unwrap();
    let output = Command::new(program).arg("-c").arg(postfix.path("")).arg(what).output().unwrap();
    assert!(output.status.success(), "postfix {what}: {output:?}");
}

#[test]
fn a_farm_is_known_by_the_domain_that_spf_vouches_for() {
    let both = second_host_is_let_in("v=spf1 ip4:127.1.1.0/24 ip4:127.2.2.0/24 -all");
    assert!(both.unwrap_or(true), "SPF passes for both hosts");
    // Nothing tells that this is the same sender.
    let one = second_host_is_let_in("v=spf1 ip4:127.1.1.0/24 ?all");
    assert!(!one.unwrap_or(false), "SPF says nothing of the second host");
}
