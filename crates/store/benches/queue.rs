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

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    if let [step, folder, count] = arguments.as_slice() {
        return memory_step(step, Path::new(folder), count.parse().unwrap());
    }
    let wanted = arguments.into_iter().next().unwrap_or_default();
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
    for count in [1, 20_000, 100_000, 1_000_000] {
        run("memory", &|| memory(count));
    }
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

/// Memory with so many messages queued, each step in a process of its own: what an earlier one has left with the allocator
/// is not counted again.
fn memory(count: u64) {
    let folder = folder();
    for step in ["fill", "start", "work"] {
        let (program, count) = (std::env::current_exe().unwrap(), count.to_string());
        let ended = std::process::Command::new(program).arg(step).arg(folder.path()).arg(count).status();
        assert!(ended.unwrap().success(), "{step}");
    }
}

fn memory_step(step: &str, folder: &Path, count: u64) {
    let before = resident();
    let (begun, cpu) = (Instant::now(), usage().0);
    let store = Arc::new(open(folder, &settings()));
    if step == "fill" {
        let (elapsed, cpu) = fill(&store, 8, 512, count);
        let rate = count as f64 / elapsed.as_secs_f64();
        println!(
            "{count} messages at {rate:.0}/s, {:.4} ms CPU each",
            cpu.as_secs_f64() * 1000.0 / count as f64
        );
        store.tidy().wait().unwrap();
    } else {
        store.next_due(mail::Timestamp(0)).wait().unwrap();
        let (elapsed, cpu) = (begun.elapsed(), usage().0.saturating_sub(cpu));
        println!("start: {:.0} ms, {:.0} ms CPU", elapsed.as_secs_f64() * 1e3, cpu.as_secs_f64() * 1e3);
    }
    if step == "work" {
        println!("{step}: {before} MiB without the store, {} MiB after the start", resident());
        retry_all(&store, count.min(100_000));
        list_all(&store);
    }
    println!("{step}: {before} MiB without the store, {} MiB now, {} MiB at most", resident(), usage().1);
    println!("index: {} KiB, written by the process: {} KiB", disk(&folder.join("index")), written());
    store.close().wait().unwrap();
}

/// KiB of the files in a folder.
fn disk(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
    files.map(|found| std::os::unix::fs::MetadataExt::blocks(&found) / 2).sum()
}

/// KiB that the process has handed to the system to be written.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap();
    line.parse::<u64>().unwrap() / 1024
}

/// What is due is tried in vain and put off, a few hundred at a time, with as many in delivery.
fn retry_all(store: &Arc<EmbeddedStore>, count: u64) {
    let (begun, cpu) = (Instant::now(), usage().0);
    let mut done = 0;
    let mut busy = std::collections::VecDeque::new();
    while done < count {
        let skip: std::collections::HashSet<_> = busy.iter().copied().collect();
        let now = mail::Timestamp(u64::MAX / 2);
        let due = store.due(now, 500, Box::new(move |id| skip.contains(&id))).wait().unwrap();
        if due.is_empty() {
            break;
        }
        if due.len() < 500 {
            store.next_due(now).wait().unwrap();
        }
        busy.extend(due.iter().map(|entry| entry.record.id));
        let finished: Vec<_> = busy.drain(..busy.len().saturating_sub(500)).collect();
        done += finished.len() as u64;
        let put_off = |id: mail::QueueId| {
            let at = u64::MAX / 2 + 1 + scattered(id.0);
            Settlement { id, changes: vec![tried(0, "connection refused again"), retry(at, 2)] }
        };
        store.settle(finished.into_iter().map(put_off).collect()).wait().unwrap();
    }
    let (elapsed, cpu) = (begun.elapsed(), usage().0.saturating_sub(cpu));
    println!(
        "{done} tried again: {:.4} ms, {:.4} ms CPU each; {} MiB",
        elapsed.as_secs_f64() * 1e3 / done.max(1) as f64,
        cpu.as_secs_f64() * 1e3 / done.max(1) as f64,
        resident()
    );
}

/// The auditor's round.
fn list_all(store: &Arc<EmbeddedStore>) {
    let (begun, cpu, mut after, mut seen) = (Instant::now(), usage().0, None, 0);
    loop {
        let page = store.list(store::Page { after, limit: 500 }).wait().unwrap();
        let Some(last) = page.last() else { break };
        (after, seen) = (Some(last.record.id), seen + page.len());
    }
    let (elapsed, cpu) = (begun.elapsed(), usage().0.saturating_sub(cpu));
    println!(
        "{seen} listed in {:.0} ms, {:.0} ms CPU; {} MiB",
        elapsed.as_secs_f64() * 1e3,
        cpu.as_secs_f64() * 1e3,
        resident()
    );
}

/// A number up to 100,000, as if drawn by chance.
fn scattered(n: u64) -> u64 {
    (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) % 100_000
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
                    let changes = vec![tried(0, "connection refused"), retry(9_000_000 + scattered(n), 1)];
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
