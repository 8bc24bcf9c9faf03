//! A disk that fails: EIO and ENOSPC at every operation, once and for good, and a disk that fills up.

use std::io::ErrorKind;

use super::ledger::{Driver, Ledger, Told, audit};
use super::*;
use crate::disk::{Crash, Fault};

/// Work that passes through all kinds of operations, whatever fails meanwhile.
fn work(driver: &mut Driver) {
    driver.sync(&[100, 700]);
    driver.lazy(&[40]);
    driver.sync(&[6000]);
    driver.committer.idle();
    for _ in 0..4 {
        driver.lazy(&[50]);
        driver.sync(&[13_000, 30]);
    }
    driver.committer.idle();
    let sealed: Vec<u64> =
        driver.folder.segments().iter().filter(|s| s.sealed).map(|s| s.generation).collect();
    for generation in sealed.into_iter().take(2) {
        // What cannot be given back now stays.
        drop(driver.folder.release(generation));
    }
    driver.sync(&[12_000]);
    driver.sync(&[12_000]);
    // What is lazy is synced at last: nobody is left without an answer.
    driver.sync(&[8]);
}

/// A first life without faults, then the work with this fault, then a moment of health. Gives the disk and
/// the ledger.
fn life(fault: Option<Fault>) -> (SimDisk, Ledger) {
    let disk = SimDisk::new();
    let (mut driver, _) = Driver::open(&disk).expect("opens");
    work(&mut driver);
    let earlier = driver.stop();
    if let Some(fault) = fault {
        disk.fail(fault);
    }
    let (driver, _) = Driver::open(&disk).unwrap_or_else(|_| {
        disk.heal();
        Driver::open(&disk).expect("a healthy disk opens")
    });
    let mut driver = driver.continuing(earlier);
    work(&mut driver);
    disk.heal();
    driver.sync(&[77]);
    let (next, ledger) = driver.stop();
    assert_eq!(ledger.len(), next as usize, "{fault:?}: somebody was not answered");
    let last = &ledger[&(next - 1)].0;
    assert!(matches!(last, Told::Durable(_)), "{fault:?}: service did not return, but {last:?}");
    (disk, ledger)
}

fn operations() -> std::ops::Range<usize> {
    let disk = SimDisk::new();
    let (mut driver, _) = Driver::open(&disk).expect("opens");
    work(&mut driver);
    drop(driver);
    disk.operations()..life(None).0.operations()
}

fn try_faults(error: ErrorKind, lasting: bool) {
    let mut refused = 0;
    for at in operations() {
        let fault = Fault { at, error, lasting };
        let (disk, ledger) = life(Some(fault));
        let end = disk.changes();
        let mut cuts = vec![(end, Crash::Synced), (end, Crash::All), (end, Crash::Torn(at as u64))];
        // And while the fault was being dealt with.
        for (_, told_at) in ledger.values().filter(|(told, _)| !matches!(told, Told::Durable(_))) {
            cuts.extend([
                (*told_at, Crash::Synced),
                (*told_at, Crash::All),
                (*told_at, Crash::Random(at as u64)),
            ]);
        }
        cuts.dedup();
        for (cut, how) in cuts {
            let after = disk.crash(cut, how);
            audit(&ledger, cut, &after)
                .unwrap_or_else(|e| panic!("{fault:?}, then {how:?} after {cut}: {e}"));
        }
        refused += ledger.values().filter(|(told, _)| *told == Told::Refused).count();
    }
    assert!(refused > 10, "the faults hit nothing: {refused}");
}

#[test]
fn an_input_output_error_at_any_operation_loses_nothing_and_shows_nothing_refused() {
    try_faults(ErrorKind::Other, false);
}

#[test]
fn a_disk_that_fails_for_good_at_any_operation_loses_nothing_and_shows_nothing_refused() {
    try_faults(ErrorKind::Other, true);
}

#[test]
fn a_lack_of_space_at_any_operation_loses_nothing_and_shows_nothing_refused() {
    try_faults(ErrorKind::StorageFull, false);
}

#[test]
fn a_disk_that_stays_full_from_any_operation_on_loses_nothing_and_shows_nothing_refused() {
    try_faults(ErrorKind::StorageFull, true);
}

#[test]
fn a_failed_sync_is_not_repeated_but_sealed() {
    let disk = SimDisk::new();
    let (mut driver, _) = Driver::open(&disk).expect("opens");
    driver.sync(&[100]);
    let before = driver.folder.newest();
    // The next operation is the write, the one after it the sync.
    disk.fail(Fault { at: disk.operations() + 1, error: ErrorKind::Other, lasting: false });
    driver.sync(&[200]);
    driver.sync(&[300]);
    assert!(driver.folder.newest() > before, "a new segment");
    let ledger = driver.stop().1;
    assert_eq!(ledger[&1].0, Told::Refused);
    let (_, replay) = Driver::open(&disk).expect("opens");
    let lengths: Vec<usize> = records(replay).0.iter().map(Vec::len).collect();
    assert_eq!(lengths, [100, 300], "the refused record lies in the file, behind the seal");
}

#[test]
fn while_no_segment_can_be_made_the_batch_is_unknown_and_later_ones_are_refused_unwritten() {
    let disk = SimDisk::new();
    let (mut driver, _) = Driver::open(&disk).expect("opens");
    driver.sync(&[100]);
    disk.fail(Fault { at: disk.operations() + 1, error: ErrorKind::Other, lasting: true });
    driver.sync(&[200]);
    driver.sync(&[300]);
    disk.heal();
    driver.sync(&[400]);
    let ledger = driver.stop().1;
    assert_eq!((&ledger[&1].0, &ledger[&2].0), (&Told::Unknown, &Told::Refused));
    assert!(matches!(ledger[&3].0, Told::Durable(_)));
}

#[test]
fn on_a_full_disk_new_mail_is_refused_first_and_changes_of_state_go_on() {
    let disk = SimDisk::new();
    let (mut driver, _) = Driver::open(&disk).expect("opens");
    disk.set_capacity(Some(32 * 1024));
    let mut stored = 0;
    let error = loop {
        let (sender, receiver) = channel();
        let done = Box::new(move |results: Results| drop(sender.send(results)));
        let new = Request {
            payloads: vec![payload(&[1; 3000])],
            durability: Durability::Sync,
            write_by: None,
            done,
        };
        driver.serve(vec![new]);
        match receiver.try_recv().expect("answered").remove(0) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 100, "32 KiB hold no more than ten");
    };
    assert!(matches!(error, AppendError::Full(_)), "{error:?}");
    assert!(stored >= 5, "{stored}");
    driver.sync(&[3000]);
    let settle = driver.request(&[60], Durability::Lazy { within: Duration::ZERO });
    let copy = driver.request(&[60], Durability::Reserved);
    driver.serve(vec![settle, copy]);
    // Space returns, and with it service.
    disk.set_capacity(None);
    driver.sync(&[3000]);
    let told: Vec<Told> = driver.stop().1.into_values().map(|(told, _)| told).collect();
    assert!(
        matches!(told[..], [Told::Refused, Told::Durable(_), Told::Durable(_), Told::Durable(_)]),
        "{told:?}"
    );
}

#[test]
fn a_full_disk_does_not_prevent_opening() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(100));
    let (journal, _) = open(&disk);
    let refused = append(&journal, vec![payload(b"new")], Durability::Sync).recv().expect("answered");
    assert!(matches!(refused[..], [Err(AppendError::Full(_))]), "{refused:?}");
    disk.set_capacity(None);
    let stored = append(&journal, vec![payload(b"new")], Durability::Sync).recv().expect("answered");
    assert!(stored[0].is_ok());
}
