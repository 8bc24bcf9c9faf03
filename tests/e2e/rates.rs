//! What networks and accounts may do in an hour: strangers are asked to come back, an account that looks broken into is
//! slowed, its mail held, and it is locked until an operator lets it in again.

use std::time::{Duration, Instant};

use support::{Client, Daemon, Sink};

use crate::judging::House;
use crate::{PROGRAM, codes, letter, queue_id};

const AWAY: &str = "[[outbound.route]]\nmatch = \"*\"\nto = \"discard\"\n";

fn metric(daemon: &Daemon, series: &str, value: f64) {
    let reached = || daemon.metric(series) == Some(value);
    assert!(support::wait_until(reached), "{series}: {:?}\n{}", daemon.metric(series), daemon.log());
}

fn user(daemon: &Daemon) -> Client {
    let mut user = Client::hello_tls(daemon.submissions);
    assert_eq!(user.log_in("user@example.test", "secret").code, 235);
    user
}

/// A server whose account may write to two strangers an hour.
fn strict(rest: &str) -> Daemon {
    let mut daemon = Daemon::prepare(PROGRAM, "", rest);
    daemon.add_account("user@example.test", "secret");
    daemon.add_account("postmaster@example.test", "secret");
    daemon.run();
    daemon
}

#[test]
fn an_account_that_looks_broken_into_is_slowed_held_and_locked_until_it_is_let_in_again() {
    let limits = "[antispam.rates]\naccount_new_recipients_per_hour_max = 2\nslow_seconds = 1\n";
    let mut daemon = strict(&format!("{AWAY}{limits}"));
    let held = "staffetta_queue_messages{state=\"held\"}";
    let mut thief = user(&daemon);
    let send = |thief: &mut Client, numbers: std::ops::RangeInclusive<u32>| {
        let all: Vec<String> = numbers.map(|number| format!("r{number}@away.test")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        queue_id(&thief.mail("user@example.test", &all, &letter("buy")))
    };
    send(&mut thief, 1..=3);
    let began = Instant::now();
    let second = send(&mut thief, 1..=5);
    assert!(began.elapsed() >= Duration::from_secs(1), "slowed");
    metric(&daemon, held, 1.0);
    let line = format!("{second}: held: account user@example.test looks broken into");
    assert!(support::wait_until(|| daemon.log().contains(&line)), "{}", daemon.log());
    send(&mut thief, 6..=9);
    metric(&daemon, held, 2.0);
    let locked = thief.command("MAIL FROM:<user@example.test>");
    assert_eq!(codes(&locked), "525 5.7.13", "{locked:?}");
    drop(thief);

    let told = daemon.wait_for_mail("postmaster@example.test", 3).concat();
    for words in [
        "user@example.test: slowed down",
        "user@example.test: its mail is held",
        "staffetta account unlock user@example.test",
        "Auto-Submitted: auto-generated",
        "Return-Path: <>",
    ] {
        assert!(told.contains(words), "{words}:\n{told}");
    }
    for step in ["slow", "hold", "lock"] {
        metric(&daemon, &format!("staffetta_account_steps_total{{step=\"{step}\"}}"), 1.0);
    }
    let line = "account user@example.test: locked: 9 recipients to whom it had not written before";
    assert!(support::wait_until(|| daemon.log().contains(line)), "{}", daemon.log());

    assert_eq!(daemon.stop(), Some(0));
    daemon.run();
    metric(&daemon, "staffetta_accounts_locked", 1.0);
    let mut again = Client::hello_tls(daemon.submissions);
    let refused = again.log_in("user@example.test", "secret");
    assert_eq!(codes(&refused), "525 5.7.13", "{refused:?}");
    assert_eq!(again.log_in("user@example.test", "wrong").code, 535, "only who knows the password is told");
    let list = daemon.tool(&["account", "list"]);
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(
        list.lines().any(|line| line.starts_with("user@example.test") && line.contains("locked")),
        "{list}"
    );
    let json = String::from_utf8(daemon.tool(&["account", "list", "--json"]).stdout).unwrap();
    assert!(json.contains("\"event\": \"new_recipient\""), "{json}");

    let unlock = || daemon.tool(&["account", "unlock", "user@example.test"]);
    assert_eq!(unlock().status.code(), Some(0));
    assert_eq!(unlock().status.code(), Some(1), "it is not locked any more");
    let mut owner = user(&daemon);
    send(&mut owner, 10..=11);
    assert_eq!(daemon.metric(held), Some(2.0), "what spoke against it is forgotten");
    drop(daemon.queue(&["release", &second]));
    metric(&daemon, held, 1.0);
    assert_eq!(daemon.mailbox("postmaster@example.test").len(), 3, "told once of each");
}

/// What a thief had queued before he was found out goes no further either; mail of others does.
#[test]
fn what_an_account_had_queued_is_held_with_it_and_can_be_released() {
    let sink =
        Sink::start(0, &[("later@away.test", "451 4.2.1 Not now"), ("r9@away.test", "451 4.2.1 Not now")]);
    let route =
        format!("[[outbound.route]]\nmatch = \"*\"\nto = \"smtp:[127.0.0.1]:{}\"\n", sink.address.port());
    let limits = "[antispam.rates]\naccount_new_recipients_per_hour_max = 2\nslow_seconds = 0\n";
    let daemon = strict(&format!("{route}{limits}"));
    let mut clients = [user(&daemon), Client::hello_tls(daemon.submissions)];
    assert_eq!(clients[1].log_in("postmaster@example.test", "secret").code, 235);
    let mut queued = Vec::new();
    for (client, sender) in clients.iter_mut().zip(["user@example.test", "postmaster@example.test"]) {
        queued.push(queue_id(&client.mail(
            sender,
            &["later@away.test"],
            &letter("before").replace("user@", sender.trim_end_matches("example.test")),
        )));
    }
    let waits = |state: &str| daemon.queue(&["list", "--state", state]).lines().count();
    assert!(support::wait_until(|| waits("deferred") >= 2), "{}", daemon.queue(&["list"]));

    let all: Vec<String> = (1..=9).map(|number| format!("r{number}@away.test")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    queued.push(queue_id(&clients[0].mail("user@example.test", &all, &letter("buy"))));
    for id in [&queued[0], &queued[2]] {
        let line = format!("{id}: held: account user@example.test looks broken into");
        assert!(support::wait_until(|| daemon.log().contains(&line)), "{}", daemon.log());
    }
    let held = ["list", "--state", "held", "--account", "user@example.test"];
    let listed = daemon.queue(&held);
    assert!(listed.contains(&queued[0]) && listed.contains(&queued[2]), "{listed}");
    let others = daemon.queue(&["list", "--account", "postmaster@example.test"]);
    assert!(others.contains(&queued[1]) && others.contains("deferred"), "{others}");
    assert!(sink.taken().is_empty(), "{:?}", sink.taken());

    assert_eq!(daemon.tool(&["account", "unlock", "user@example.test"]).status.code(), Some(0));
    // Their ages have changed.
    let ids = |list: &str| -> Vec<String> {
        list.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    };
    assert_eq!(ids(&daemon.queue(&held)), ids(&listed), "letting it in again releases nothing");
    drop(daemon.queue(&["release", "--state", "held", "--account", "user@example.test"]));
    let came = || sink.taken().len() == 1;
    assert!(support::wait_until(came), "{}\n{}", daemon.queue(&["list"]), daemon.log());
    assert_eq!(sink.taken()[0].to.len(), 8);
}

#[test]
fn an_account_whose_mail_comes_back_is_slowed_and_an_exempt_one_is_not() {
    let sink = Sink::start(0, &[("gone@away.test", "550 5.1.1 No such user\r\n")]);
    let route =
        format!("[[outbound.route]]\nmatch = \"*\"\nto = \"smtp:[127.0.0.1]:{}\"\n", sink.address.port());
    let limits = "[antispam.rates]\naccount_bounces_per_hour_max = 1\nslow_seconds = 0\nexempt_accounts = [\"Postmaster@example.test\"]\n";
    let daemon = strict(&format!("{route}{limits}"));
    let mut clients = [user(&daemon), Client::hello_tls(daemon.submissions)];
    assert_eq!(clients[1].log_in("postmaster@example.test", "secret").code, 235);
    for (client, sender) in clients.iter_mut().zip(["user@example.test", "postmaster@example.test"]) {
        for _ in 0..2 {
            let text = letter("x").replace("user@example.test", sender);
            assert_eq!(client.mail(sender, &["gone@away.test"], &text).code, 250);
        }
        assert!(daemon.wait_for_mail(sender, 2).len() >= 2);
    }
    metric(&daemon, "staffetta_account_steps_total{step=\"slow\"}", 1.0);
    let line = "account user@example.test: slowed down: 2 messages that came back";
    assert!(support::wait_until(|| daemon.log().contains(line)));
}

/// Mail that is held does not come back, however much of it there is: then nobody is locked out for it.
#[test]
fn bounces_hold_an_accounts_mail_and_what_is_held_locks_nobody_out() {
    let sink = Sink::start(0, &[("gone@away.test", "550 5.1.1 No such user\r\n")]);
    let route =
        format!("[[outbound.route]]\nmatch = \"*\"\nto = \"smtp:[127.0.0.1]:{}\"\n", sink.address.port());
    let limits = "[antispam.rates]\naccount_bounces_per_hour_max = 1\nslow_seconds = 0\n";
    let daemon = strict(&format!("{route}{limits}"));
    let mut client = user(&daemon);
    let mut send = || client.mail("user@example.test", &["gone@away.test"], &letter("x")).code;
    // Each comes back before the next one is sent: many on their way at once could come back after the rest is held.
    for number in 1..=3 {
        assert_eq!(send(), 250);
        assert!(daemon.wait_for_mail("user@example.test", number).len() >= number);
    }
    metric(&daemon, "staffetta_account_steps_total{step=\"hold\"}", 1.0);
    for _ in 0..20 {
        assert_eq!(send(), 250);
    }
    metric(&daemon, "staffetta_queue_messages{state=\"held\"}", 20.0);
    metric(&daemon, "staffetta_account_steps_total{step=\"lock\"}", 0.0);
    metric(&daemon, "staffetta_accounts_locked", 0.0);
    assert_eq!(Client::hello_tls(daemon.submissions).log_in("user@example.test", "secret").code, 235);
}

#[test]
fn who_guesses_recipients_waits_for_each_answer() {
    let house = House::start("[antispam.rates]\nguessing_seconds = 1\n", &[]);
    let mut guesser = house.client("192.0.2.9", "mail.far.test");
    assert_eq!(guesser.command("MAIL FROM:<joe@far.test>").code, 250);
    let mut guess = |name: usize| {
        let began = Instant::now();
        assert_eq!(codes(&guesser.command(&format!("RCPT TO:<guess{name}@example.test>"))), "550 5.1.1");
        began.elapsed()
    };
    let took: Vec<Duration> = (0..5).map(&mut guess).collect();
    assert!(took[3] >= Duration::from_secs(1) && took[4] >= Duration::from_secs(1), "{took:?}");
    assert!(took[..3].iter().all(|one| *one < Duration::from_secs(1)), "{took:?}");
}

#[test]
fn an_account_has_so_many_messages_and_recipients_an_hour() {
    let limits = "[antispam.rates]\naccount_messages_per_hour_max = 2\naccount_recipients_per_hour_max = 3\n";
    let daemon = strict(&format!("{AWAY}{limits}"));
    let mut client = user(&daemon);
    let all = ["a@away.test", "b@away.test", "c@away.test"];
    assert_eq!(client.mail("user@example.test", &all, &letter("one")).code, 250);
    assert_eq!(client.command("MAIL FROM:<user@example.test>").code, 250);
    assert_eq!(codes(&client.command("RCPT TO:<d@away.test>")), "450 4.7.1");
    assert_eq!(client.command("RSET").code, 250);
    metric(&daemon, "staffetta_rate_limited_total{event=\"recipient\",who=\"account\"}", 1.0);
    metric(&daemon, "staffetta_accounts_locked", 0.0);
}

#[test]
fn a_network_that_does_too_much_is_asked_to_come_back_and_others_are_not() {
    let rest = "[antispam]\ngreylist = { mode = \"off\" }\n[antispam.rates]\nmessages_per_hour_max = 2\n\
                failures_per_hour_max = 3\nexempt_networks = [\"198.51.100.0/24\"]\n";
    let house = House::start(rest, &[]);
    let mut busy = house.client("192.0.2.9", "mail.far.test");
    for _ in 0..2 {
        assert_eq!(busy.mail("joe@far.test", &["user@example.test"], &letter("much")).code, 250);
    }
    let mut neighbour = house.client("192.0.2.77", "mail.far.test");
    for client in [&mut busy, &mut neighbour] {
        assert_eq!(codes(&client.command("MAIL FROM:<joe@far.test>")), "450 4.7.1");
    }
    let (_, text) = house.explain(&["--last", "1"]);
    assert!(text.contains("defer"), "{text}");
    let (_, json) = house.explain(&["--last", "1", "--json"]);
    assert!(json.contains("antispam.rates.messages_per_hour_max") && json.contains("192.0.2.0/24"), "{json}");
    metric(&house.daemon, "staffetta_rate_limited_total{event=\"message\",who=\"client\"}", 2.0);

    for (ip, last) in [("203.0.113.5", "450 4.7.1"), ("198.51.100.5", "550 5.1.1")] {
        let mut guesser = house.client(ip, "guess.far.test");
        assert_eq!(guesser.command("MAIL FROM:<joe@far.test>").code, 250);
        for number in 0..3 {
            assert_eq!(guesser.command(&format!("RCPT TO:<x{number}@example.test>")).code, 550);
        }
        assert_eq!(codes(&guesser.command("RCPT TO:<x9@example.test>")), last, "{ip}");
    }
    let mut again = house.raw("203.0.113.200");
    assert_eq!(codes(&again.reply()), "421 4.7.1");
    assert_eq!(house.raw("198.51.100.7").reply().code, 220);
}
