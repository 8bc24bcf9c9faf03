//! The end of a server: nothing that was answered 250 is lost, and no second one takes its place too early.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use support::{Client, Daemon};

use crate::{PROGRAM, daemon, letter, queue_id};

/// Sends until the server has gone; notes what was answered 250.
fn load(daemon: &Daemon, name: usize, gone: &AtomicBool, accepted: &Mutex<Vec<String>>) {
    for number in 0.. {
        let subject = format!("load-{name}-{number}-x");
        // Two go on, to a mailbox and to a server that is not there.
        let to = ["user@example.test", "friend@far.test"][number % 2];
        if gone.load(Ordering::SeqCst) {
            return;
        }
        let Some(mut client) = Client::try_hello(daemon.mx) else { return };
        for line in [&format!("MAIL FROM:<{subject}@b.test>") as &str, &format!("RCPT TO:<{to}>"), "DATA"] {
            client.try_send(format!("{line}\r\n").as_bytes());
            if client.try_reply().is_none_or(|reply| reply.code >= 400) {
                return;
            }
        }
        client.try_send(format!("{}.\r\n", letter(&subject)).as_bytes());
        match client.try_reply() {
            Some(reply) if reply.code == 250 => accepted.lock().unwrap().push(subject),
            _ => return,
        }
    }
}

#[test]
fn a_stop_under_load_loses_nothing() {
    let rest = "[[outbound.route]]\nmatch = \"*\"\nto = \"smtp:[127.0.0.1]:1\"\n";
    let mut daemon = daemon("trusted_networks = [\"127.0.0.0/8\"]", rest);
    let (accepted, gone) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for name in 0..4 {
            let (daemon, gone, accepted) = (&daemon, &gone, &accepted);
            scope.spawn(move || load(daemon, name, gone, accepted));
        }
        assert!(support::wait_until(|| accepted.lock().unwrap().len() >= 100));
        daemon.signal("TERM");
        assert!(support::wait_until(|| !daemon.is_running()));
        gone.store(true, Ordering::SeqCst);
    });
    assert_eq!(daemon.exit_code(), Some(0), "{}", daemon.log());
    let log = daemon.log();
    assert!(log.trim_end().ends_with("stopped"), "{log}");
    let accepted = accepted.into_inner().unwrap();

    daemon.run();
    let (near, far): (Vec<_>, Vec<_>) = accepted.iter().partition(|subject| is_near(subject));
    let find = |subject: &str, all: &[String]| all.iter().filter(|text| text.contains(subject)).count();
    assert!(support::wait_until(|| daemon.mailbox("user@example.test").len() >= near.len()));
    let mailbox = daemon.mailbox("user@example.test");
    for subject in near {
        assert_eq!(find(&format!("Subject: {subject}\n"), &mailbox), 1, "{subject} of {}", mailbox.len());
    }
    let mut queue = Vec::new();
    let recovered = support::wait_until(|| {
        queue = daemon.queue(&["list", "--json", "--limit", "0"]).lines().map(str::to_owned).collect();
        queue.len() >= far.len()
    });
    assert!(recovered, "{} of {} wait", queue.len(), far.len());
    for subject in far {
        assert_eq!(find(&format!("\"{subject}@b.test\""), &queue), 1, "{subject}");
    }
}

fn is_near(subject: &str) -> bool {
    let number: usize = subject.trim_end_matches("-x").rsplit('-').next().unwrap().parse().unwrap();
    number.is_multiple_of(2)
}

#[test]
fn the_message_in_hand_is_finished_and_then_the_client_is_told() {
    let mut daemon = daemon("", "");
    let mut idle = Client::hello(daemon.mx);
    let mut client = Client::hello(daemon.mx);
    for line in ["MAIL FROM:<joe@far.test>", "RCPT TO:<user@example.test>", "DATA"] {
        assert!(client.command(line).code < 400, "{line}");
    }
    client.send(b"Subject: last\r\n\r\n");
    daemon.signal("TERM");
    assert_eq!(idle.reply().code, 421);
    client.send(b"words\r\n.\r\n");
    queue_id(&client.reply());
    assert_eq!(client.reply().code, 421);
    assert!(support::wait_until(|| !daemon.is_running()));
    assert_eq!(daemon.exit_code(), Some(0));
    daemon.run();
    assert!(daemon.wait_for_mail("user@example.test", 1)[0].contains("\n\nwords\n"));
}

#[test]
fn one_data_folder_has_one_server() {
    let daemon = daemon("", "");
    let second = Daemon::prepare(PROGRAM, "", "");
    let data = daemon.folder().join("data");
    second.edit("data_dir = \"data\"", &format!("data_dir = \"{}\"", data.display()));
    let output = second.tool(&["serve"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && words.contains(&*data.to_string_lossy()), "{output:?}");
    assert_eq!(Client::hello(daemon.mx).command("NOOP").code, 250);
    let status = daemon.queue(&["list"]);
    assert_eq!(status, "no messages\n");
}
