//! How fast mail comes and goes, what it costs, and how long a start takes.
//!
//! `cargo bench -p store` runs all; `cargo bench -p store -- commit` those whose name contains the word. Files are made in
//! the folder that `STORE_BENCH_FOLDER` names, or in the system's folder for temporary files: name one on the disk in question. CPU time
//! is that of the whole process, the writers included.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a bench"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use store::{EmbeddedStore, NewMessage, QueueStore, Settings, Settlement};
use support::{ended, id, message_to, open, retry, tried};
use tempfile::TempDir;

/// As in the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let run = |name: &str, bench: &dyn Fn()| {
        if name.contains(&wanted) {
            println!("## {name}");
            bench();
        }
    };
    run("commit and settle at once", &|| {
        for (writers, size) in [(1, 4_096), (8, 4_096), (64, 4_096), (256, 4_096), (64, 65_536), (8, 1 << 20)]
        {
            come_and_go(writers, size);
        }
    });
    for count in [10_000, 30_000, 100_000] {
        run("defer: the next hop is down", &|| defer(64, 4_096, count));
    }
    run("start with 100,000 messages", &|| start(100_000));
}

fn folder() -> TempDir {
    match std::env::var_os("STORE_BENCH_FOLDER") {
        Some(folder) => tempfile::tempdir_in(folder).unwrap(),
        None => tempfile::tempdir().unwrap(),
    }
}

/// The defaults, but for the free space that this machine may not have.
fn settings() -> Settings {
    Settings { disk_free_bytes_min: 0, ..Settings::default() }
}

/// CPU time of the process, and the most memory it had, in MiB.
fn usage() -> (Duration, i64) {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let time =
        |t: nix::sys::time::TimeVal| Duration::from_micros((t.tv_sec() * 1_000_000 + t.tv_usec()) as u64);
    (time(usage.user_time()) + time(usage.system_time()), usage.max_rss() / 1024)
}

/// Memory that the process has now, in MiB.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4 / 1024
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap()
}

/// So many writers store and settle messages for two seconds.
fn come_and_go(writers: u64, size: usize) {
    let folder = folder();
    let store = Arc::new(open(folder.path(), &settings()));
    let (number, slowest) = (AtomicU64::new(0), AtomicU64::new(0));
    let counters = Arc::new((number, slowest));
    let template = Arc::new(message_to(0, 1, size));
    let (begun, (cpu, _)) = (Instant::now(), usage());
    runtime().block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..writers {
            let (store, counters, template) =
                (Arc::clone(&store), Arc::clone(&counters), Arc::clone(&template));
            tasks.push(tokio::spawn(async move {
                while begun.elapsed() < Duration::from_secs(2) {
                    let n = counters.0.fetch_add(1, Ordering::Relaxed);
                    let message = numbered(&template, n);
                    let asked = Instant::now();
                    store.enqueue(message).await.unwrap();
                    counters.1.fetch_max(asked.elapsed().as_micros() as u64, Ordering::Relaxed);
                    drop(store.settle(vec![Settlement { id: id(n), changes: vec![ended(0)] }]));
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    let (elapsed, n) = (begun.elapsed(), counters.0.load(Ordering::Relaxed));
    let (cpu, rss) = (usage().0.saturating_sub(cpu), usage().1);
    let figures = store.journal_figures();
    println!(
        "{writers:>4} writers, {size:>7} octets: {:>7.0}/s, {:.4} ms CPU each, slowest {:.1} ms, {:.1} records a write, peak {rss} MiB",
        n as f64 / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1000.0 / n as f64,
        counters.1.load(Ordering::Relaxed) as f64 / 1000.0,
        figures.records as f64 / figures.writes.max(1) as f64,
    );
}

/// The template under another name.
fn numbered(template: &NewMessage, n: u64) -> NewMessage {
    let mut record = template.record.clone();
    record.id = id(n);
    let body = match &template.body {
        store::NewBody::Memory(chunks) => store::NewBody::Memory(chunks.clone()),
        store::NewBody::File(_) => unreachable!("templates are in memory"),
    };
    NewMessage { record, body, next_attempt: template.next_attempt, hold: None }
}

/// Messages come, are tried in vain, and stay.
fn defer(writers: u64, size: usize, count: u64) {
    let folder = folder();
    let store = Arc::new(open(folder.path(), &settings()));
    let (elapsed, cpu) = fill(&store, writers, size, count);
    println!(
        "{count} messages: {:.0}/s, {:.4} ms CPU each, peak {} MiB",
        count as f64 / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1000.0 / count as f64,
        usage().1
    );
    store.tidy().wait().unwrap();
    println!("in the index: {} MiB resident", resident());
    let (begun, cpu) = (Instant::now(), usage().0);
    let mut last = None;
    for page in (0..count).collect::<Vec<_>>().chunks(100) {
        let done = |n: &u64| Settlement { id: id(*n), changes: vec![ended(0)] };
        last = Some(store.settle(page.iter().map(done).collect()));
    }
    last.unwrap().wait().unwrap();
    let cpu = usage().0.saturating_sub(cpu);
    println!(
        "all of them settled: {:.0}/s, {:.4} ms CPU each",
        count as f64 / begun.elapsed().as_secs_f64(),
        cpu.as_secs_f64() * 1000.0 / count as f64
    );
}

fn fill(store: &Arc<EmbeddedStore>, writers: u64, size: usize, count: u64) -> (Duration, Duration) {
    let number = Arc::new(AtomicU64::new(0));
    let template = Arc::new(message_to(0, 1, size));
    let (begun, (cpu, _)) = (Instant::now(), usage());
    runtime().block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..writers {
            let (store, number, template) = (Arc::clone(store), Arc::clone(&number), Arc::clone(&template));
            tasks.push(tokio::spawn(async move {
                loop {
                    let n = number.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    store.enqueue(numbered(&template, n)).await.unwrap();
                    let changes = vec![tried(0, "connection refused"), retry(9_000_000, 1)];
                    drop(store.settle(vec![Settlement { id: id(n), changes }]));
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    (begun.elapsed(), usage().0.saturating_sub(cpu))
}

fn start(count: u64) {
    let folder = folder();
    let store = Arc::new(open(folder.path(), &settings()));
    fill(&store, 64, 4_096, count);
    store.close().wait().unwrap();
    drop(store);
    println!("filled: {} MiB", resident());
    started(folder.path(), count, "closed properly");
    started(folder.path(), count, "killed");
    std::fs::remove_dir_all(folder.path().join("index")).unwrap();
    started(folder.path(), count, "index removed");
    started(folder.path(), count, "after that");
}

fn started(folder: &Path, count: u64, what: &str) {
    let (begun, cpu) = (Instant::now(), usage().0);
    let store = open(folder, &settings());
    let opened = begun.elapsed();
    store.enqueue(message_to(count + begun.elapsed().as_micros() as u64, 1, 4_096)).wait().unwrap();
    let accepted = begun.elapsed();
    store.next_due(mail::Timestamp(0)).wait().unwrap();
    let recovered = begun.elapsed();
    println!(
        "{what}: open after {:.1} ms, first message accepted after {:.1} ms, {} recovered after {:.0} ms ({:.0} ms CPU), {:?}",
        opened.as_secs_f64() * 1000.0,
        accepted.as_secs_f64() * 1000.0,
        store.figures().deferred + store.figures().active,
        recovered.as_secs_f64() * 1000.0,
        usage().0.saturating_sub(cpu).as_secs_f64() * 1000.0,
        store.recovery().unwrap().rebuilt
    );
    println!("{} MiB resident", resident());
}
