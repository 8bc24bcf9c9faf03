//! Group commit on its thread: who is answered, when, and with what.

use super::ledger::{Driver, Told, filled, number_of};
use super::*;
use crate::disk::{Crash, RealDisk};

#[test]
fn what_is_appended_is_read_by_position_and_after_a_restart() {
    let disk = SimDisk::new();
    let (journal, replay) = open(&disk);
    assert_eq!(records(replay), (vec![], vec![]));
    let slices = vec![Bytes::from_static(b"he"), Bytes::new(), Bytes::from_static(b"llo")];
    let several = vec![Payload { kind: 9, slices }, payload(b"")];
    let results = append(&journal, several, Durability::Sync).recv().expect("answered");
    let positions: Vec<_> = results.into_iter().map(|r| r.expect("stored")).collect();
    let record = journal.read(positions[0]).expect("reads");
    assert_eq!((record.kind, &record.payload[..]), (9, &b"hello"[..]));
    assert_eq!(journal.read(positions[1]).expect("reads").payload.len(), 0);
    end(journal);
    let (_journal, replay) = open(&disk);
    assert_eq!(records(replay), (vec![b"hello".to_vec(), vec![]], vec![]));
}

// invariant: I1
/// At this level: when an append is answered, a power cut at that very moment loses nothing of it.
/// Answering before the sync makes this test fail.
#[test]
fn invariant_i1_nothing_is_acknowledged_before_it_is_synced() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk);
    let (sender, receiver) = channel();
    for n in 0..20_u8 {
        let (sender, disk) = (sender.clone(), disk.clone());
        let done = move |results: Results| {
            // On the committer thread: nothing can have been written since the answer was decided.
            let after = disk.crash(disk.changes(), Crash::Synced);
            drop(sender.send((n, results, after)));
        };
        journal.append(vec![payload(&[n; 100])], Durability::Sync, Box::new(done));
    }
    drop(sender);
    for (n, results, after) in receiver {
        assert!(results[0].is_ok());
        let (good, _) = records(open(&after).1);
        assert!(good.contains(&vec![n; 100]), "record {n} was acknowledged and is gone");
    }
}

#[test]
fn records_go_on_in_the_next_segment_and_released_ones_are_reused() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk);
    let positions: Vec<_> = (0..40_u8).map(|n| store(&journal, &[n; 2000])).collect();
    for (n, position) in positions.iter().enumerate() {
        assert_eq!(journal.read(*position).expect("reads").payload[..], [u8::try_from(n).unwrap(); 2000]);
    }
    let sealed: Vec<_> = journal.segments().into_iter().filter(|s| s.sealed).collect();
    assert!(sealed.len() >= 4, "{sealed:?}");
    // Out of order: nothing happens before the oldest is released.
    journal.recycle(sealed[1].generation).expect("noted");
    assert!(journal.segments()[1].released);
    journal.recycle(sealed[0].generation).expect("given back");
    assert_eq!(journal.segments()[0].generation, sealed[2].generation);
    assert!(matches!(journal.read(positions[0]), Err(ReadError::Gone(_))));
    let files = disk.paths().len();
    for n in 40..54_u8 {
        store(&journal, &[n; 2000]);
    }
    assert_eq!(disk.paths().len(), files, "the spares were used");
}

#[test]
fn one_write_and_one_sync_serve_all_who_wait() {
    let disk = SimDisk::new();
    let (mut driver, _) = Driver::open(&disk).expect("opens");
    let before = disk.operations();
    let waiting = (0..50).map(|_| driver.request(&[20, 30], Durability::Sync)).collect();
    driver.serve(waiting);
    assert_eq!(disk.operations() - before, 2);
    let ledger = driver.stop().1;
    assert_eq!(ledger.len(), 100);
    assert!(ledger.values().all(|(told, _)| matches!(told, Told::Durable(_))));
}

#[test]
fn lazy_records_are_written_and_answered_with_the_next_sync() {
    let disk = SimDisk::new();
    let (mut driver, _) = Driver::open(&disk).expect("opens");
    driver.lazy(&[20]);
    driver.lazy(&[20]);
    assert_eq!(driver.ledger.len(), 0, "nothing is synced yet, and nobody is told that it is");
    let killed = disk.crash(disk.changes(), Crash::All);
    assert_eq!(records(open(&killed).1).0.len(), 2, "what is written survives kill -9");
    driver.sync(&[20]);
    assert_eq!(driver.ledger.len(), 3);
}

#[test]
fn lazy_records_alone_are_synced_within_their_time() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk);
    let within = Duration::from_millis(30);
    let results =
        append(&journal, vec![payload(b"delivered")], Durability::Lazy { within }).recv().expect("answered");
    assert!(results[0].is_ok());
    let cut = disk.crash(disk.changes(), Crash::Synced);
    assert_eq!(records(open(&cut).1).0, [b"delivered".to_vec()]);
}

#[test]
fn closing_answers_all_and_refuses_what_comes_later() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk);
    let within = Duration::from_secs(3600);
    let waiting: Vec<_> =
        (0..9).map(|_| append(&journal, vec![payload(b"late")], Durability::Lazy { within })).collect();
    journal.close();
    for receiver in waiting {
        assert!(receiver.try_recv().expect("answered before close returned")[0].is_ok());
    }
    let refused = append(&journal, vec![payload(b"too late"), payload(b"x")], Durability::Sync)
        .recv()
        .expect("answered");
    assert!(matches!(refused[..], [Err(AppendError::NotApplied(_)), Err(AppendError::NotApplied(_))]));
    let cut = disk.crash(disk.changes(), Crash::Synced);
    assert_eq!(records(open(&cut).1).0.len(), 9);
}

#[test]
fn what_is_too_large_or_of_kind_0_is_refused_alone() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk);
    let max = settings().payload_bytes_max() as usize;
    let batch = vec![payload(&vec![1; max]), payload(&vec![2; max + 1]), payload(b"small")];
    let results = append(&journal, batch, Durability::Sync).recv().expect("answered");
    assert!(matches!(results[..], [Ok(_), Err(AppendError::NotApplied(_)), Ok(_)]), "{results:?}");
    assert_eq!(journal.read(results[0].clone().unwrap()).expect("reads").payload.len(), max);
    let mark = Payload { kind: 0, slices: vec![] };
    let results = append(&journal, vec![mark], Durability::Sync).recv().expect("answered");
    assert!(matches!(results[..], [Err(AppendError::NotApplied(_))]));
    let nothing = append(&journal, vec![], Durability::Sync).recv().expect("answered");
    assert!(nothing.is_empty());
}

#[test]
fn an_answer_that_panics_hurts_nobody_else() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk);
    journal.append(vec![payload(b"one")], Durability::Sync, Box::new(|_| panic!("on purpose")));
    store(&journal, b"two");
    end(journal);
    assert_eq!(records(open(&disk).1).0.len(), 2);
}

#[test]
fn many_threads_on_a_real_disk_all_find_their_records_again() {
    let place = tempfile::tempdir().expect("a folder");
    let path = place.path().join("queue/journal");
    let settings = Settings { segment_bytes: 256 * 1024, ..settings() };
    let (journal, _) = Journal::open(Arc::new(RealDisk), &path, &settings).expect("opens");
    let in_use = Journal::open(Arc::new(RealDisk), &path, &settings);
    assert!(matches!(in_use, Err(JournalError::InUse(_))), "a second process is kept out");
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let journal = &journal;
            scope.spawn(move || {
                for n in 0..50 {
                    let octets = filled(thread * 1000 + n, 100 + (n as usize * 977) % 9000);
                    let position = store(journal, &octets);
                    assert_eq!(journal.read(position).expect("reads").payload[..], octets[..]);
                }
            });
        }
    });
    let large = filled(9999, 200_000);
    let slices = large.chunks(100).map(Bytes::copy_from_slice).collect();
    let results =
        append(&journal, vec![Payload { kind: 3, slices }], Durability::Sync).recv().expect("answered");
    let position = results[0].clone().expect("stored");
    assert_eq!(journal.read(position).expect("reads").payload[..], large[..]);
    assert!(journal.figures().writes <= journal.figures().records);
    end(journal);
    let (_journal, replay) = Journal::open(Arc::new(RealDisk), &path, &settings).expect("opens");
    let (good, bad) = records(replay);
    assert_eq!(bad, []);
    let mut numbers: Vec<_> = good.iter().map(|octets| number_of(octets).expect("whole")).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 201);
}
