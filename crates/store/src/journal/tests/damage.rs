//! Octets that changed behind everybody's back: what is reported, what is still used, and what is never
//! believed.

use super::ledger::{Driver, filled, number_of};
use super::*;
use crate::disk::{Crash, Disk, DiskFile, Fault, Open};

const SIZES: [usize; 6] = [90, 700, 8, 3000, 40, 1200];

/// A closed journal with the records of [`SIZES`] in one segment, each synced by itself; with the file's
/// path.
fn closed() -> (SimDisk, std::path::PathBuf, Vec<Position>) {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk);
    let numbered = (0..).zip(SIZES);
    let positions: Vec<_> = numbered.map(|(number, size)| store(&journal, &filled(number, size))).collect();
    let path = folder().join(format!("{:016x}.seg", positions[0].generation));
    end(journal);
    (disk, path, positions)
}

/// The numbers of the good records, and the damage.
fn read(disk: &SimDisk) -> (Vec<u32>, Vec<(u32, u32, DamageReason)>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for item in open(disk).1 {
        match item {
            ReplayItem::Record { payload, .. } => {
                good.push(number_of(&payload).expect("a record that somebody wrote"));
            }
            ReplayItem::Damage { offset, len, reason, .. } => bad.push((offset, offset + len, reason)),
        }
    }
    (good, bad)
}

#[test]
fn a_changed_octet_anywhere_costs_one_record_at_most_and_never_goes_unnoticed() {
    let (disk, path, positions) = closed();
    let end = positions.last().map(|p| p.offset + 32 + p.len).unwrap();
    let everywhere =
        (0..64).chain((4096..end).step_by(5)).chain(positions.iter().flat_map(|p| p.offset..p.offset + 32));
    for at in everywhere {
        let hurt = disk.crash(disk.changes(), Crash::All);
        hurt.damage(&path, |content| content[at as usize] ^= 0x40);
        let (good, bad) = read(&hurt);
        let hit = positions.iter().position(|p| (p.offset..p.offset + 32 + p.len).contains(&at));
        let all = 0..u32::try_from(SIZES.len()).unwrap();
        let expected: Vec<u32> = all.filter(|n| Some(*n as usize) != hit).collect();
        assert_eq!(good, expected, "octet {at}");
        match hit {
            Some(_) => assert!(
                matches!(bad[..], [(from, to, DamageReason::Record)] if from <= at && at < to),
                "octet {at}: {bad:?}"
            ),
            None if at < 64 => assert_eq!(bad, [(0, 4096, DamageReason::Header)], "octet {at}"),
            None => assert_eq!(bad, [], "octet {at} is padding"),
        }
    }
}

#[test]
fn zeros_over_several_records_are_one_damage_and_the_rest_is_used() {
    let (disk, path, positions) = closed();
    let (from, to) = (positions[1].offset as usize, positions[4].offset as usize + 20);
    disk.damage(&path, |content| content[from..to].fill(0));
    let (good, bad) = read(&disk);
    assert_eq!(good, [0, 5]);
    assert!(matches!(bad[..], [(_, _, DamageReason::Record)]), "{bad:?}");
}

#[test]
fn a_file_that_was_cut_is_reported_wherever_it_was_cut() {
    let (disk, path, positions) = closed();
    let size = disk.content(&path).unwrap().len();
    for cut in (0..size).step_by(509) {
        let hurt = disk.crash(disk.changes(), Crash::All);
        hurt.damage(&path, |content| content.truncate(cut));
        let (good, bad) = read(&hurt);
        let whole = positions.iter().filter(|p| (p.offset + 32 + p.len) as usize <= cut).count();
        assert_eq!(good.len(), whole, "cut at {cut}");
        assert!(!bad.is_empty(), "cut at {cut} and nothing reported");
    }
}

#[test]
fn what_was_refused_stays_away_even_when_the_record_before_it_is_damaged() {
    let disk = SimDisk::new();
    let (mut driver, _) = Driver::open(&disk).expect("opens");
    driver.sync(&[100]);
    driver.sync(&[200]);
    let generation = driver.folder.newest();
    disk.fail(Fault { at: disk.operations() + 1, error: std::io::ErrorKind::Other, lasting: false });
    driver.sync(&[300]);
    driver.sync(&[400]);
    drop(driver);
    let path = folder().join(format!("{generation:016x}.seg"));
    disk.damage(&path, |content| content[2 * 4096 + 50] ^= 1);
    let (good, bad) = read(&disk);
    assert_eq!(good, [0, 3]);
    assert!(matches!(bad[..], [(_, _, DamageReason::Record)]), "{bad:?}");
}

#[test]
fn a_missing_segment_is_reported() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk);
    for number in 0..10 {
        store(&journal, &filled(number, 9000));
    }
    let generations: Vec<u64> = journal.segments().iter().map(|s| s.generation).collect();
    end(journal);
    disk.remove(&folder().join(format!("{:016x}.seg", generations[1]))).expect("removed");
    let missing: Vec<_> = open(&disk).1.filter(|item| matches!(item, ReplayItem::Damage { .. })).collect();
    let reason = DamageReason::Missing;
    assert_eq!(missing, [ReplayItem::Damage { generation: generations[1], offset: 0, len: 0, reason }]);
}

#[test]
fn a_torn_tail_is_not_damage() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk);
    let first = store(&journal, &filled(0, 500));
    let second = store(&journal, &filled(1, 500));
    let path = folder().join(format!("{:016x}.seg", first.generation));
    // As it lay while the second was being written: no closing mark yet, and not all of the record.
    let torn = disk.crash(disk.changes(), Crash::All);
    torn.damage(&path, |content| content[second.offset as usize + 300..].fill(0));
    assert_eq!(read(&torn), (vec![0], vec![]));
}

#[test]
fn frames_of_an_earlier_life_of_the_file_are_ignored() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk);
    for number in 0..12 {
        store(&journal, &filled(number, 3000));
    }
    let sealed: Vec<u64> = journal.segments().iter().filter(|s| s.sealed).map(|s| s.generation).collect();
    for generation in &sealed {
        journal.recycle(*generation).expect("given back");
    }
    let kept = journal.segments().len();
    // The next segment reuses a file that is full of frames; it gets only a few.
    for number in 12..18 {
        store(&journal, &filled(number, 3000));
    }
    assert!(journal.segments().len() > kept);
    end(journal);
    let (good, bad) = read(&disk);
    assert_eq!(bad, []);
    let whole: Vec<u32> = (good[0]..18).collect();
    assert_eq!(good, whole, "each once, in order, and none that was given back");
    assert!(good[0] > 0);
}

#[test]
fn octets_of_a_frame_in_a_message_are_not_taken_for_one() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk);
    let first = store(&journal, &filled(0, 100));
    let path = folder().join(format!("{:016x}.seg", first.generation));
    let content = disk.content(&path).unwrap();
    let start = first.offset as usize;
    // A sender who could even read the disk sends a whole good frame, at every alignment.
    let mut body = Vec::new();
    for shift in 0..8 {
        body.extend(std::iter::repeat_n(0, shift));
        body.extend_from_slice(&content[start..start + 132]);
    }
    let evil = store(&journal, &body);
    store(&journal, &filled(1, 100));
    end(journal);
    // While the reader looks for the next good frame behind the damaged header of the evil one.
    disk.damage(&path, |content| content[evil.offset as usize + 9] ^= 1);
    let (good, bad) = read(&disk);
    assert_eq!(good, [0, 1]);
    assert!(matches!(bad[..], [(_, _, DamageReason::Record)]), "{bad:?}");
}

#[test]
fn reading_by_position_notices_damage_and_nonsense() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk);
    let position = store(&journal, b"a record");
    let path = folder().join(format!("{:016x}.seg", position.generation));
    for nonsense in [
        Position { offset: position.offset + 8, ..position },
        Position { len: position.len - 1, ..position },
        Position { len: u32::MAX, ..position },
        Position { offset: u32::MAX - 7, ..position },
    ] {
        assert!(matches!(journal.read(nonsense), Err(ReadError::Damaged { .. })), "{nonsense:?}");
    }
    let elsewhere = Position { generation: 99, ..position };
    assert!(matches!(journal.read(elsewhere), Err(ReadError::Gone(99))));
    disk.damage(&path, |content| content[position.offset as usize + 33] ^= 1);
    assert!(matches!(journal.read(position), Err(ReadError::Damaged { .. })));
}

#[test]
fn a_read_that_fails_once_is_made_again_block_by_block() {
    let (disk, _, _) = closed();
    let (journal, replay) = open(&disk);
    end(journal);
    let opened = disk.operations();
    // The first operation of the replay is a sync, the next one reads all there is.
    disk.fail(Fault { at: opened + 1, error: std::io::ErrorKind::Other, lasting: false });
    let (mut good, mut bad) = (0, 0);
    for item in replay {
        match item {
            ReplayItem::Record { .. } => good += 1,
            ReplayItem::Damage { .. } => bad += 1,
        }
    }
    assert_eq!((good, bad), (SIZES.len(), 0), "nothing is lost");
}

#[test]
fn blocks_that_cannot_be_read_are_reported_and_the_others_used() {
    let (disk, _, positions) = closed();
    let (journal, replay) = open(&disk);
    end(journal);
    disk.fail(Fault { at: disk.operations(), error: std::io::ErrorKind::Other, lasting: true });
    let items: Vec<ReplayItem> = replay.collect();
    let unreadable =
        items.iter().any(|i| matches!(i, ReplayItem::Damage { reason: DamageReason::Unreadable, .. }));
    assert!(unreadable, "{items:?}");
    assert!(items.iter().all(|i| matches!(i, ReplayItem::Damage { .. })), "nothing could be read");
    disk.heal();
    assert_eq!(read(&disk).0.len(), positions.len(), "nothing was changed by it");
}

#[test]
fn a_later_format_stops_the_start() {
    let (disk, path, _) = closed();
    disk.damage(&path, |content| {
        content[8] = 2;
        let sum = crc32c::crc32c_append(crc32c::crc32c(&content[..12]), &content[16..64]);
        content[12..16].copy_from_slice(&sum.to_le_bytes());
    });
    let error =
        Journal::open(Arc::new(disk), folder(), &settings()).expect_err("an older program must not guess");
    assert!(matches!(error, JournalError::Version { found: 2, known: 1, .. }), "{error}");
}

#[test]
fn foreign_files_in_the_folder_are_left_alone() {
    let (disk, _, _) = closed();
    let foreign = folder().join("README.seg");
    disk.open(&foreign, Open::Create).and_then(|f: Arc<dyn DiskFile>| f.allocate(10)).expect("made");
    assert_eq!(read(&disk).0.len(), SIZES.len());
    assert!(disk.content(&foreign).is_some());
}

#[test]
fn reading_may_begin_at_a_checkpoint() {
    let (disk, _, positions) = closed();
    let (_journal, replay) = open(&disk);
    let from = positions[3];
    let (good, bad) = records(replay.starting_at(from.generation, from.offset));
    assert_eq!(good, (3..).zip(&SIZES[3..]).map(|(n, size)| filled(n, *size)).collect::<Vec<_>>());
    assert_eq!(bad, []);
}
