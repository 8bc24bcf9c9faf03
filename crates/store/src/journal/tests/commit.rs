//! Group commit on its thread: who is answered, when, and with what.

use super::*;
use crate::disk::Crash;

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
    journal.close();
    drop(journal);
    let (_journal, replay) = open(&disk);
    assert_eq!(records(replay), (vec![b"hello".to_vec(), vec![]], vec![]));
}

/// I1 at this level: when an append is answered, a power cut at that very moment loses nothing of it.
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
