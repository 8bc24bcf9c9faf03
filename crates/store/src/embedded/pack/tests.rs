//! Packs are read back, however their rows come and go, and are never taken for what they are not.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn read(key: QueueId, pack: &[u8]) -> Result<Vec<(QueueId, Vec<u8>)>, Damaged> {
    rows(key, pack).map(|row| row.map(|(id, octets)| (id, octets.to_vec()))).collect()
}

fn filled(ids: impl IntoIterator<Item = u64>, octets: usize) -> Rows {
    let mut filled = Rows::default();
    ids.into_iter().for_each(|id| filled.set(QueueId(id), Some(vec![7; octets])));
    filled
}

proptest! {
    #[test]
    fn numbers_are_read_back(numbers in proptest::collection::vec(any::<u64>(), 0..20)) {
        let mut out = Vec::new();
        numbers.iter().for_each(|number| put_number(&mut out, *number));
        let mut from = out.as_slice();
        for known in numbers {
            prop_assert_eq!(number(&mut from), Ok(known));
        }
        prop_assert!(from.is_empty());
        prop_assert_eq!(number(&mut from), Err(Damaged));
    }

    /// Rows come, change and go, packs are made and read again: what is there is what a map would have.
    #[test]
    fn packs_have_the_rows_that_were_set(
        changes in proptest::collection::vec((0..300u64, proptest::option::of(0..400usize)), 1..200),
        (key, appended) in (0..300u64, any::<bool>()),
    ) {
        let (mut rows, mut known) = (Rows::default(), BTreeMap::new());
        for (id, octets) in changes {
            let octets = octets.map(|octets| vec![u8::try_from(octets % 251).unwrap(); octets]);
            rows.set(QueueId(id), octets.clone());
            match octets {
                Some(octets) => drop(known.insert(QueueId(id), octets)),
                None => drop(known.remove(&QueueId(id))),
            }
        }
        let (mut all, mut again) = (Vec::new(), Rows::default());
        for (at, (first, pack)) in rows.packs(QueueId(key), appended).into_iter().enumerate() {
            let found = read(first, &pack).unwrap();
            prop_assert!(first <= found[0].0 && (at == 0 || first == found[0].0));
            prop_assert!(pack.len() <= OCTETS_MAX + 400);
            for (id, octets) in &found {
                prop_assert_eq!(find(first, &pack, *id), Ok(Some(octets.as_slice())));
            }
            again.extend(first, &pack).unwrap();
            all.extend(found);
        }
        prop_assert_eq!(all, known.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(again.octets(), rows.octets());
    }

    #[test]
    fn noise_is_no_pack(key: u64, noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut pack = vec![VERSION];
        pack.extend_from_slice(&noise);
        for pack in [&noise, &pack] {
            let _ = read(QueueId(key), pack);
        }
    }

    /// One that lost its end is noticed, or has lost whole rows: what sled gives has a checksum of its own.
    #[test]
    fn a_cut_pack_has_no_other_rows(octets in 1..40usize, cut in 1..300usize) {
        let (_, pack) = filled(0..20, octets).packs(QueueId(0), true).remove(0);
        let short = &pack[..pack.len().saturating_sub(cut)];
        if let Ok(found) = read(QueueId(0), short) {
            prop_assert_eq!(&found[..], &read(QueueId(0), &pack).unwrap()[..found.len()]);
        }
    }
}

#[test]
fn numbers_that_are_too_large_are_refused() {
    let mut most = Vec::new();
    put_number(&mut most, u64::MAX);
    assert_eq!((most.len(), number(&mut most.as_slice())), (10, Ok(u64::MAX)));
    most[9] = 2;
    assert_eq!(number(&mut most.as_slice()), Err(Damaged));
    assert_eq!(number(&mut [0x80; 20].as_slice()), Err(Damaged));
}

#[test]
fn rows_behind_all_others_fill_their_packs_and_others_share_the_room() {
    let rows = filled(0..28, 50);
    let sizes = |appended| rows.packs(QueueId(0), appended).iter().map(|(_, p)| p.len()).collect::<Vec<_>>();
    assert!(
        matches!(sizes(true)[..], [full, rest] if full > OCTETS_MAX * 9 / 10 && rest < OCTETS_MAX * 6 / 10)
    );
    assert!(matches!(sizes(false)[..], [a, b] if a.abs_diff(b) < 250));
    assert!(Rows::default().packs(QueueId(5), true).is_empty());
}

#[test]
fn other_versions_and_rows_out_of_order_are_refused() {
    let (_, pack) = filled([3, 4], 2).packs(QueueId(3), true).remove(0);
    assert_eq!(read(QueueId(3), &pack).unwrap().len(), 2);
    assert_eq!(find(QueueId(3), &pack, QueueId(5)), Ok(None));
    assert_eq!(read(QueueId(3), &[VERSION, 0, 1, 9, 0, 1, 9]), Err(Damaged));
    assert_eq!(read(QueueId(u64::MAX), &[VERSION, 1, 1, 9]), Err(Damaged));
    assert_eq!(read(QueueId(3), &[VERSION]), Err(Damaged));
    assert_eq!(read(QueueId(3), &[]), Err(Damaged));
    assert_eq!(read(QueueId(3), &[&[1], &pack[1..]].concat()), Err(Damaged));
}
