//! `kill -9` under load, again and again: what was acknowledged is there, what was durably settled is not.
//!
//! The test starts itself as a child, which works on a queue and writes a ledger to its standard output; the parent
//! kills it at a moment of the child's own making: after so many lines.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what is wrong by failing")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use store::QueueStore;
use support::*;

const CHILD: &str = "STAFFETTA_STORE_KILL_CHILD";
const WRITERS: u64 = 4;
const ROUNDS: u64 = 8;

/// The child: four writers store messages; two thirds are settled. Never ends.
fn child(folder: &Path, round: u64) {
    let mut settings = settings();
    // Some rounds everything goes through the index, some nothing does.
    if round.is_multiple_of(2) {
        settings.pending_bytes_max = 8 << 10;
    }
    settings.checkpoint_millis = 50;
    let store = open(folder, &settings);
    let number = AtomicU64::new(round * 1_000_000);
    let say = |word: &str, n: u64| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{word} {n} .").unwrap();
        out.flush().unwrap();
    };
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                loop {
                    let n = number.fetch_add(1, Ordering::Relaxed);
                    let size = if n.is_multiple_of(50) { 300_000 } else { 3_000 };
                    store.enqueue(message_to(n, 1, size)).wait().unwrap();
                    say("accepted", n);
                    if !n.is_multiple_of(3) {
                        say("settling", n);
                        settle(&store, n, vec![ended(0)]).unwrap();
                        say("settled", n);
                    }
                }
            });
        }
    });
}

/// Runs the child until it has said so many lines, kills it, and notes what it said.
fn run_child(folder: &Path, round: u64, ledger: &mut BTreeMap<u64, BTreeSet<String>>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_acknowledged_is_lost_by_kill", "--nocapture"])
        .env(CHILD, format!("{round} {}", folder.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut note = |line: String| {
        // A line that was cut by the kill has no full stop.
        if let Some((word, n)) = line.strip_suffix(" .").and_then(|line| line.split_once(' '))
            && let Ok(n) = n.parse()
            && ["accepted", "settling", "settled"].contains(&word)
        {
            ledger.entry(n).or_default().insert(word.to_owned());
        }
    };
    for _ in 0..(200 + round * 97) {
        note(lines.next().unwrap().unwrap());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had said before it died is in the pipe.
    lines.map_while(Result::ok).for_each(note);
}

#[test]
fn nothing_acknowledged_is_lost_by_kill() {
    if let Ok(order) = std::env::var(CHILD) {
        let (round, folder) = order.split_once(' ').unwrap();
        return child(Path::new(folder), round.parse().unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = BTreeMap::new();
    for round in 0..ROUNDS {
        run_child(folder.path(), round, &mut ledger);
        if round % 4 == 3 {
            std::fs::remove_dir_all(folder.path().join("index")).unwrap();
        }
        let store = open(folder.path(), &settings());
        let found: BTreeSet<u64> =
            recovered(&store).into_iter().map(|(id, _)| (id.0 >> 20) - 1_000_000).collect();
        for (n, said) in &ledger {
            let there = found.contains(n);
            assert!(there || said.contains("settling"), "round {round}: {n} is lost");
            assert!(!there || !said.contains("settled"), "round {round}: {n} is back");
        }
        for n in &found {
            let size = if n.is_multiple_of(50) { 300_000 } else { 3_000 };
            assert!(octets(store.read_body(id(*n)).wait().unwrap()) == body(*n, size), "{n} has changed");
        }
        assert_eq!(store.recovery().unwrap().damage, Vec::<String>::new());
        // What was accepted without the child's having said so, or was being settled, ends here.
        for n in &found {
            let said = ledger.entry(*n).or_default();
            if said.is_empty() || said.contains("settling") {
                settle(&store, *n, vec![ended(0)]).unwrap();
                said.extend(["settling".to_owned(), "settled".to_owned()]);
            }
        }
        store.close().wait().unwrap();
    }
    assert!(ledger.len() > 500);
}
