//! Nothing lost: the server is killed, loses its power and its disk space under load, and every message that was
//! answered 250 arrives, unchanged, in the end; none that was refused does.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod disk;
mod full;
mod ledger;
mod sink;
mod stolen;

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use disk::Disk;
use ledger::Ledger;
use sink::Sink;
use support::Daemon;

const PROGRAM: &str = env!("CARGO_BIN_EXE_staffetta");
/// Connections that send at once.
const CLIENTS: usize = 4;
/// How long the queue may take to run empty on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// One load at a time: they measure recovery, not each other.
static ALONE: Mutex<()> = Mutex::new(());

/// Relays `crash.test` to the sink.
fn relay(sink: &Sink, store: &str) -> Daemon {
    let users: Vec<String> = (0..9).map(|n| format!("u{n}@crash.test=u{n}")).collect();
    let rest = format!(
        "[[domain]]\nname = \"crash.test\"\nrecipients = \"inline:{{{}}}\"\ndeliver = \"smtp:[127.0.0.1]:{}\"\n\
         [queue]\nretry_seconds_min = 1\nretry_seconds_max = 2\n{store}",
        users.join(","),
        sink.address.port(),
    );
    Daemon::prepare(PROGRAM, "", &rest)
}

/// Times of load before each crash, milliseconds: soon after the start, and well into the work.
const ROUNDS: [u64; 6] = [250, 900, 400, 1_200, 150, 700];

fn killed_again_and_again(title: &str, sink_down: bool) {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (sink, ledger) = (Sink::start(), Ledger::default());
    sink.set_down(sink_down);
    let mut daemon = relay(&sink, "");
    daemon.run();
    for millis in ROUNDS {
        let server = daemon.mx;
        ledger.load(server, CLIENTS, || {
            std::thread::sleep(Duration::from_millis(millis));
            daemon.kill();
        });
        daemon.run();
    }
    sink.set_down(false);
    ledger.settle(title, &sink, PATIENCE);
}

#[test]
fn killed_under_load_it_loses_nothing() {
    killed_again_and_again("kill -9 under load", false);
}

#[test]
fn killed_with_the_next_hop_down_it_loses_nothing() {
    killed_again_and_again("kill -9, next hop down", true);
}

fn loses_power_again_and_again(title: &str, sink_down: bool) {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (sink, ledger) = (Sink::start(), Ledger::default());
    sink.set_down(sink_down);
    let mut daemon = relay(&sink, "");
    let (image, place) = (daemon.folder().join("disk.img"), daemon.folder().join("data"));
    let Some(disk) = Disk::ext4(&image, &place, 1_024) else { return };
    daemon.run();
    for millis in ROUNDS {
        let server = daemon.mx;
        ledger.load(server, CLIENTS, || {
            std::thread::sleep(Duration::from_millis(millis));
            ledger.cut.store(true, Ordering::SeqCst);
            disk.cut_power();
            daemon.kill();
        });
        ledger.cut.store(false, Ordering::SeqCst);
        disk.restore_power();
        daemon.run();
    }
    sink.set_down(false);
    ledger.settle(title, &sink, PATIENCE);
    daemon.kill();
}

#[test]
fn without_power_it_loses_nothing() {
    loses_power_again_and_again("power cut under load", false);
}

#[test]
fn without_power_and_with_the_next_hop_down_it_loses_nothing() {
    loses_power_again_and_again("power cut, next hop down", true);
}

#[test]
fn the_ledger_would_notice() {
    let sink = Sink::start();
    let ledger = Ledger::default();
    // The sink itself as the server: it takes everything, also what a server refuses, and has all of it.
    ledger.load(sink.address, 1, || std::thread::sleep(Duration::from_millis(100)));
    let verdict = ledger.verdict(&sink, PATIENCE);
    assert!(verdict.accepted > 0 && verdict.lost.is_empty() && verdict.ghosts.is_empty());
    let other = ledger.verdict(&Sink::start(), Duration::ZERO);
    assert_eq!(other.lost.len(), verdict.accepted, "lost mail was not noticed");
}
