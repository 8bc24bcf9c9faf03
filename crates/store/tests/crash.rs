//! Power cuts and failing disks under the embedded engine: after each, every acknowledged message is there with every
//! octet, no refused one is, and what was durably settled is not delivered again. The index is gone in each case, as the worst
//! that can happen to it; `tests/index.rs` tries the rest. (The journal's own tests cut at every operation in every way.)

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

mod support;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use mail::QueueId;
use store::disk::{Crash, Disk, Fault, Open, SimDisk};
use store::{EmbeddedStore, NewBody, NewMessage, QueueStore, Settings, StoreError, StoredBody};
use support::*;
use tempfile::TempDir;

const RECIPIENTS: usize = 2;
/// Where the engine believes to be; the index alone really is there.
const LARGE: usize = 20_000;

/// What the outside world was told, and after how many changes of the disk.
#[derive(Debug, Default)]
struct Ledger {
    accepted: BTreeMap<u64, usize>,
    refused: BTreeMap<u64, usize>,
    unknown: Vec<u64>,
    /// Asked for at, answered at.
    settled: BTreeMap<(u64, u32), (usize, Option<usize>)>,
    sizes: BTreeMap<u64, usize>,
}

/// A store on a simulated disk.
struct Bench<'a> {
    disk: SimDisk,
    store: EmbeddedStore,
    ledger: &'a mut Ledger,
}

fn small() -> Settings {
    let mut settings = settings();
    settings.inline_body_bytes_max = 10_000;
    settings.journal.segment_bytes = 64 << 10;
    settings.journal.spare_segments_max = 1;
    settings
}

fn open_on(disk: &SimDisk, folder: &Path) -> EmbeddedStore {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    EmbeddedStore::open(disk, folder, small()).unwrap()
}

impl Bench<'_> {
    fn enqueue(&mut self, n: u64, size: usize) {
        self.ledger.sizes.insert(n, size);
        let result = match self.message(n, size) {
            Ok(message) => self.store.enqueue(message).wait(),
            Err(error) => Err(error),
        };
        let at = self.disk.changes();
        match result {
            Ok(()) => {
                // It may have been refused before.
                self.ledger.refused.remove(&n);
                self.ledger.accepted.insert(n, at);
            }
            Err(StoreError::NotApplied(_) | StoreError::Full(_)) => drop(self.ledger.refused.insert(n, at)),
            Err(_) => self.ledger.unknown.push(n),
        }
    }

    fn message(&self, n: u64, size: usize) -> Result<NewMessage, StoreError> {
        let message = message_to(n, RECIPIENTS, size);
        if size <= 10_000 {
            return Ok(message);
        }
        let mut writer = self.store.spool(id(n))?;
        for chunk in body(n, size).chunks(7_000) {
            writer.write(chunk)?;
        }
        Ok(NewMessage { body: NewBody::File(writer.finish()?), ..message })
    }

    fn settle(&mut self, n: u64, recipient: u32) {
        if !self.ledger.accepted.contains_key(&n) {
            return;
        }
        let before = self.disk.changes();
        let result = settle(&self.store, n, vec![ended(recipient)]);
        let after = result.ok().map(|()| self.disk.changes());
        self.ledger.settled.insert((n, recipient), (before, after));
    }

    /// Mail comes and goes; some stays for long, some is large; segments fill, are emptied and used again.
    fn work(&mut self) {
        self.enqueue(1, 3_000);
        self.enqueue(2, LARGE);
        self.enqueue(4, LARGE);
        self.settle(1, 0);
        for n in 10..40 {
            self.enqueue(n, 9_000);
            self.settle(n, 0);
            if n % 8 != 0 {
                self.settle(n, 1);
            }
            if n % 6 == 0 {
                drop(self.store.tidy().wait());
            }
        }
        self.enqueue(50, LARGE);
        self.settle(50, 0);
        self.settle(50, 1);
        self.settle(1, 1);
        self.settle(4, 0);
        self.settle(4, 1);
        drop(self.store.tidy().wait());
        self.enqueue(51, 100);
    }
}

fn read(disk: &SimDisk, body: StoredBody) -> Vec<u8> {
    match body {
        StoredBody::Memory(chunks) => chunks.concat(),
        StoredBody::File { path, .. } => {
            let mut octets = disk.content(&path).unwrap();
            // A reader sees what the disk has.
            let file = disk.open(&path, Open::Read).unwrap();
            assert_eq!(file.read_at(0, &mut octets).unwrap(), octets.len());
            octets
        }
    }
}

/// Opens what a crash after `at` changes has left, and compares it with what the world had been told by then.
fn check(disk: &SimDisk, folder: &Path, ledger: &Ledger, at: usize, case: &str) {
    for entry in std::fs::read_dir(folder).unwrap() {
        std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    let store = open_on(disk, folder);
    let found: BTreeMap<QueueId, Vec<usize>> = recovered(&store).into_iter().collect();
    for (n, size) in &ledger.sizes {
        let Some(pending) = found.get(&id(*n)) else {
            let accepted = ledger.accepted.get(n).is_some_and(|told| *told <= at);
            let asked = (0..2).all(|r| ledger.settled.get(&(*n, r)).is_some_and(|(before, _)| *before < at));
            assert!(!accepted || asked, "{case}: message {n} is lost");
            continue;
        };
        assert!(ledger.refused.get(n).is_none_or(|told| *told > at), "{case}: refused {n} is there");
        for recipient in 0..2 {
            let told = ledger.settled.get(&(*n, recipient)).and_then(|(_, after)| *after);
            let durable = told.is_some_and(|told| told <= at);
            assert!(!durable || !pending.contains(&(recipient as usize)), "{case}: {n} is delivered twice");
        }
        let entry = store.get(id(*n)).wait().unwrap();
        assert_eq!(entry.record, record(*n, RECIPIENTS, *size), "{case}");
        let octets = read(disk, store.read_body(id(*n)).wait().unwrap());
        assert!(octets == body(*n, *size), "{case}: the body of {n} has changed");
    }
    assert!(found.keys().all(|found| ledger.sizes.keys().any(|n| id(*n) == *found)), "{case}: ghosts");
    assert_eq!(store.recovery().unwrap().damage, Vec::<String>::new(), "{case}");
    // Bodies of messages that are not in the queue do not stay.
    store.close().wait().unwrap();
    drop(store);
    let left = disk.paths().into_iter().filter(|path| path.starts_with(folder.join("spool")));
    let left: Vec<_> = left.collect();
    let large = |found: &&QueueId| ledger.sizes.iter().any(|(n, size)| id(*n) == **found && *size == LARGE);
    let files = found.keys().filter(large).count();
    assert_eq!(left.len(), files, "{case}: {left:?}");
}

/// A folder for the index; the rest of it is on the simulated disk, under the same name.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[test]
fn a_power_cut_after_any_change_loses_nothing_and_shows_nothing_refused() {
    let (folder, disk, mut ledger) = (folder(), SimDisk::new(), Ledger::default());
    let store = open_on(&disk, folder.path());
    let mut bench = Bench { disk: disk.clone(), store, ledger: &mut ledger };
    bench.work();
    let segments = bench.store.segments();
    assert!(segments[0].generation > 1, "the oldest segment has been given back: {segments:?}");
    drop(bench);
    assert_eq!((ledger.accepted.len(), ledger.refused.len()), (35, 0));
    for at in 0..=disk.changes() {
        let seed = at as u64;
        for how in [Crash::Synced, Crash::All, Crash::Random(seed), Crash::Torn(seed)] {
            check(&disk.crash(at, how), folder.path(), &ledger, at, &format!("{how:?} after {at} changes"));
        }
    }
}

/// Lets one operation of the disk fail, and everything from there on if it lasts; then heals it, goes on, and pulls the plug.
fn with_fault(at: usize, error: ErrorKind, lasting: bool) -> bool {
    let (folder, disk, mut ledger) = (folder(), SimDisk::new(), Ledger::default());
    let store = open_on(&disk, folder.path());
    let mut bench = Bench { disk: disk.clone(), store, ledger: &mut ledger };
    bench.enqueue(3, 3_000);
    bench.enqueue(5, LARGE);
    disk.fail(Fault { at, error, lasting });
    bench.work();
    bench.settle(5, 0);
    bench.settle(5, 1);
    let met = disk.operations() > at;
    disk.heal();
    // It recovers by itself, when what had no room is written: what is said of that holds for a moment.
    until(|| bench.store.room().ok());
    bench.enqueue(90, 500);
    until(|| {
        bench.enqueue(91, LARGE);
        bench.ledger.accepted.get(&91).copied()
    });
    assert_eq!(bench.store.health(), Ok(()));
    drop(bench);
    let end = disk.changes();
    for how in [Crash::Synced, Crash::All, Crash::Random(at as u64)] {
        let case = format!("{error:?} at {at}, lasting: {lasting}, then {how:?}");
        check(&disk.crash(end, how), folder.path(), &ledger, end, &case);
    }
    met
}

#[test]
fn a_full_disk_at_any_operation_loses_nothing_and_shows_nothing_refused() {
    for at in (20..).step_by(9).take_while(|at| with_fault(*at, ErrorKind::StorageFull, at % 2 == 0)) {
        assert!(at < 10_000);
    }
}

#[test]
fn a_device_that_fails_at_any_operation_loses_nothing_and_shows_nothing_refused() {
    for at in (21..).step_by(9).take_while(|at| with_fault(*at, ErrorKind::Other, at % 2 == 0)) {
        assert!(at < 10_000);
    }
}

#[test]
fn a_nearly_full_disk_refuses_new_mail_before_anything_is_written_and_recovers_by_itself() {
    let (folder, disk) = (folder(), SimDisk::new());
    let disk_for_store: Arc<dyn Disk> = Arc::new(disk.clone());
    let settings = Settings { disk_free_bytes_min: 1 << 20, ..small() };
    let store = EmbeddedStore::open(disk_for_store, folder.path(), settings).unwrap();
    store.enqueue(message(1)).wait().unwrap();
    disk.set_capacity(Some(1 << 20));
    until(|| match store.room() {
        Err(StoreError::Full(text)) => text.contains("disk_free_bytes_min").then_some(()),
        _ => None,
    });
    let before = store.journal_figures().records;
    assert!(matches!(store.enqueue(message(2)).wait(), Err(StoreError::Full(_))));
    assert!(matches!(store.spool(id(3)), Err(StoreError::Full(_))));
    assert!(matches!(store.room(), Err(StoreError::Full(_))));
    assert_eq!(store.journal_figures().records, before, "nothing is written for what is refused");
    // Accepted mail is delivered as before.
    assert_eq!(octets(store.read_body(id(1)).wait().unwrap()), body(1, 512));
    settle(&store, 1, vec![ended(0)]).unwrap();
    disk.set_capacity(None);
    until(|| store.enqueue(message(4)).wait().ok());
    assert!(store.get(id(4)).wait().is_ok());
}

/// Tries until there is a result; the engine asks for free space now and then only.
fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        std::thread::yield_now();
    }
}
