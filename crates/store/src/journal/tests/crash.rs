//! A power cut after every change to the disk, with every kind of loss that the syncs allow.

use super::ledger::{Driver, Ledger, audit};
use super::*;
use crate::disk::Crash;

/// A life with all that happens: batches, lazy records, many segments, recycling, idleness, a restart.
/// Gives the disk, the ledger, and which segments were released when.
fn life() -> (SimDisk, Ledger, Vec<(u64, usize)>) {
    let disk = SimDisk::new();
    let mut released = Vec::new();
    let (mut driver, _) = Driver::open(&disk).expect("opens");
    work(&mut driver, &mut released);
    let earlier = driver.stop();
    let (driver, _) = Driver::open(&disk).expect("opens again");
    let mut driver = driver.continuing(earlier);
    work(&mut driver, &mut released);
    (disk.clone(), driver.stop().1, released)
}

fn work(driver: &mut Driver, released: &mut Vec<(u64, usize)>) {
    driver.sync(&[100, 700]);
    driver.lazy(&[40]);
    driver.lazy(&[60, 20]);
    driver.sync(&[9000]);
    driver.committer.idle();
    let several = [
        driver.request(&[500], Durability::Sync),
        driver.request(&[30], Durability::Lazy { within: Duration::from_secs(3600) }),
        driver.request(&[2500, 8, 11], Durability::Reserved),
    ];
    driver.serve(several.into());
    for _ in 0..3 {
        driver.lazy(&[50]);
        driver.sync(&[12_000, 4000]);
        driver.committer.idle();
    }
    let sealed: Vec<u64> =
        driver.folder.segments().iter().filter(|s| s.sealed).map(|s| s.generation).collect();
    // The younger first: it has to wait for the older.
    for generation in sealed.into_iter().take(2).rev() {
        released.push((generation, driver.disk.changes()));
        driver.folder.release(generation).expect("released");
    }
    driver.sync(&[5000]);
    driver.sync(&[16_000]);
    driver.lazy(&[10]);
}

/// What a crash at this moment may lose: everything exhaustively while that is little, and samples of the
/// rest.
fn losses(loose: usize, at: usize) -> Vec<Crash> {
    let mut all = vec![Crash::Synced, Crash::All];
    if loose == 0 {
        return all;
    }
    if loose <= 5 {
        all.extend((0..1 << loose).map(Crash::Mask));
    } else {
        let step = loose.div_ceil(8);
        all.extend((1..loose).step_by(step).map(Crash::Prefix));
        all.extend((0..4).map(|n| Crash::Random((at * 16 + n) as u64)));
    }
    all.extend((4..8).map(|n| Crash::Torn((at * 16 + n) as u64)));
    all
}

#[test]
fn no_power_cut_loses_what_was_acknowledged_or_shows_what_was_refused() {
    let (disk, ledger, _) = life();
    assert!(ledger.len() > 40);
    let mut cuts = 0;
    for at in 0..=disk.changes() {
        for how in losses(disk.loose(at), at) {
            let after = disk.crash(at, how);
            audit(&ledger, at, &after).unwrap_or_else(|e| panic!("after change {at}, {how:?}: {e}"));
            cuts += 1;
        }
    }
    assert!(cuts > 1000, "only {cuts} crashes were tried");
}

#[test]
fn only_released_segments_are_ever_gone() {
    let (disk, ledger, released) = life();
    for at in (0..=disk.changes()).step_by(3) {
        let after = disk.crash(at, Crash::All);
        let (_, older) = Folder::open(Arc::new(after), folder(), &settings()).expect("opens");
        let oldest = older.first().map_or(u64::MAX, |o| o.generation);
        for (told, told_at) in ledger.values() {
            let ledger::Told::Durable(position) = told else { continue };
            let gone = *told_at <= at && position.generation < oldest;
            let allowed =
                released.iter().any(|(generation, when)| position.generation == *generation && *when <= at);
            assert!(!gone || allowed, "after change {at}: {position:?} is gone and was not released");
        }
    }
}

#[test]
fn after_any_crash_the_journal_goes_on_and_the_next_crash_loses_nothing_either() {
    let (disk, ledger, _) = life();
    for at in (0..=disk.changes()).step_by(5) {
        let after = disk.crash(at, Crash::Torn(at as u64));
        // Everything that the first crash left is now as good as acknowledged.
        let (driver, replay) = Driver::open(&after).expect("opens");
        let (mut expected, _) = records(replay);
        let mut driver = driver.continuing((10_000, Ledger::new()));
        driver.sync(&[3000]);
        driver.sync(&[14_000, 14_000]);
        expected.extend(
            [(10_000, 3000), (10_001, 14_000), (10_002, 14_000)].map(|(n, size)| ledger::filled(n, size)),
        );
        for how in [Crash::Synced, Crash::Torn(7)] {
            let second = after.crash(after.changes(), how);
            audit(&ledger, at, &second).unwrap_or_else(|e| panic!("after change {at}, then {how:?}: {e}"));
            let (_, again) = Driver::open(&second).expect("opens");
            assert_eq!(records(again).0, expected, "after change {at}, then {how:?}");
        }
    }
}

#[test]
fn what_a_killed_process_left_unsynced_is_durable_once_it_has_been_read() {
    let disk = SimDisk::new();
    let (mut driver, _) = Driver::open(&disk).expect("opens");
    driver.lazy(&[100]);
    // Killed: nobody closed it, and the page cache lives on.
    drop(driver);
    let (next, replay) = Driver::open(&disk).expect("opens");
    assert_eq!(records(replay).0.len(), 1);
    drop(next);
    let cut = disk.crash(disk.changes(), Crash::Synced);
    assert_eq!(records(Driver::open(&cut).expect("opens").1).0.len(), 1);
}
