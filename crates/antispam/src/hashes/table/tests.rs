//! Packs fill, expire, are renewed and give way, all by the times that are given.

use super::*;
use crate::testing::NOW;

const DAY: u64 = 86_400;

fn hash(n: u64) -> Hash {
    let [_, _, hash @ ..] = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    hash
}

fn later(seconds: u64) -> Timestamp {
    Timestamp(NOW.0 + seconds * 1000)
}

#[test]
fn a_pack_is_written_anew_until_it_is_full_or_an_hour_old() {
    let mut table = Table::default();
    let mut names = Vec::new();
    for (n, at) in [(0, 0), (1, 10), (2, 3_599), (3, 3_600), (4, 3_601)] {
        assert!(table.note(hash(n), DAY, later(at)));
        let [row] = &table.take_unsaved().rows[..] else { panic!("one row") };
        names.push((row.name, row.value.len(), row.expires - NOW.seconds()));
    }
    let sizes: Vec<_> = names.iter().map(|(_, size, expires)| (*size, *expires)).collect();
    let (first, second) = (DAY + 3_600, DAY + 7_200);
    assert_eq!(sizes, [(7, first), (13, first), (19, first), (7, second), (13, second)]);
    assert!(names[0].0 == names[2].0 && names[2].0 < names[3].0, "in order of time");
    assert_eq!(table.take_unsaved(), Unsaved::default());

    (100..100 + 2 * PACK_HASHES_MAX as u64).for_each(|n| assert!(table.note(hash(n), DAY, later(4_000))));
    let sizes: Vec<_> = table.take_unsaved().rows.iter().map(|row| row.value.len()).collect();
    let full = 1 + HASH_BYTES * PACK_HASHES_MAX;
    assert_eq!(sizes, [full, full, 1 + 2 * HASH_BYTES]);
    // For another time there is another pack.
    table.note(hash(9_000), 2 * DAY, later(4_000));
    assert_eq!(table.take_unsaved().rows.len(), 1);
}

#[test]
fn a_hash_is_known_for_its_time_and_renewed_after_a_day() {
    let mut table = Table::default();
    assert!(table.note(hash(1), 30 * DAY, NOW));
    assert!(!table.note(hash(1), 30 * DAY, later(DAY)), "an hour's grace");
    assert!(table.has(&hash(1), later(30 * DAY)));
    assert!(!table.has(&hash(1), later(30 * DAY + 3_600)));
    assert!(table.note(hash(1), 30 * DAY, later(DAY + 3_600)));
    assert!(table.has(&hash(1), later(31 * DAY + 3_600)));
    // Of a day, half.
    assert!(table.note(hash(2), DAY, NOW));
    assert!(!table.note(hash(2), DAY, later(DAY / 2)));
    assert!(table.note(hash(2), DAY, later(DAY / 2 + 3_600)));
    assert!(!table.has(&hash(3), NOW));
}

#[test]
fn what_is_in_several_packs_lives_as_long_as_the_last() {
    let mut table = Table::default();
    let value = [&[FORMAT][..], &hash(1), &hash(2)].concat();
    let at = |seconds| later(seconds).seconds();
    table.load(b"0000000002", &value, at(200));
    table.load(b"0000000001", &value[..7], at(100));
    table.load(b"0000000003", &value[..7], at(300));
    table.load(b"0000000002", &value, at(200));
    for (n, seconds, expected) in [(1, 299, true), (1, 300, false), (2, 199, true), (2, 200, false)] {
        assert_eq!(table.has(&hash(n), later(seconds)), expected, "{n} {seconds}");
    }
    assert_eq!(table.packs.len(), 2, "what brings nothing new is no pack");
}

#[test]
fn when_there_is_no_room_what_expires_soonest_goes_in_the_store_as_well() {
    let mut table = Table::default();
    let all = HASHES_MAX as u64 + 1_000;
    let mut names = HashSet::new();
    let mut gone = Vec::new();
    for n in 0..all {
        table.note(hash(n), DAY, later(n / 1_000));
        if n % 10_000 == 0 {
            let unsaved = table.take_unsaved();
            names.extend(unsaved.rows.into_iter().map(|row| row.name));
            gone.extend(unsaved.gone);
        }
    }
    gone.extend(table.take_unsaved().gone);
    assert!(table.len() <= HASHES_MAX);
    assert!(gone.len() * PACK_HASHES_MAX >= GIVES_WAY && gone.len() * PACK_HASHES_MAX < 2 * GIVES_WAY);
    assert!(gone.iter().all(|name| names.contains(name)));
    let first = gone.len() as u64 * PACK_HASHES_MAX as u64;
    let known = |n: u64| table.has(&hash(n), later(0));
    assert!((0..first).all(|n| !known(n)) && (first..all).all(known));
}

#[test]
fn packs_are_bounded_and_expired_ones_leave_memory() {
    let mut table = Table::default();
    for n in 0..2 * PACKS_MAX as u64 {
        // Each has a time of its own, and so a pack.
        table.note(hash(n), 400 * DAY + n % 2, NOW);
    }
    assert!(table.packs.len() <= PACKS_MAX && table.waiting.rows.len() <= WAITING_MAX);
    assert!(table.waiting.gone.len() <= PACKS_MAX);
    table.note(hash(1), DAY, later(500 * DAY));
    assert_eq!((table.packs.len(), table.len()), (1, 1));
}

#[test]
fn what_could_not_be_written_is_written_later_and_never_over_what_is_newer() {
    let mut table = Table::default();
    table.note(hash(0), DAY, NOW);
    let first = table.take_unsaved();
    table.give_back(first.clone());
    assert_eq!(table.take_unsaved(), first, "the open one is as it was");
    // It is closed before the news comes that it was not written.
    (1..=PACK_HASHES_MAX as u64).for_each(|n| assert!(table.note(hash(n), DAY, NOW)));
    table.give_back(first);
    let sizes: Vec<_> =
        table.take_unsaved().rows.into_iter().map(|row| (row.number, row.value.len())).collect();
    assert_eq!(sizes, [(1, 7), (1, 1 + HASH_BYTES * PACK_HASHES_MAX), (2, 7)]);
}
