//! The index does what a map would do, whatever changes in which order, and is the same when it is opened again.

use std::collections::BTreeMap;

use mail::Reply;
use proptest::prelude::*;

use super::*;
use crate::codec::SparseState;
use crate::journal::Position;
use crate::model::{Hold, LastAttempt, RecipientState};

type Known = BTreeMap<QueueId, Row>;

fn open(folder: &Path) -> Index {
    Index::open(folder, 1 << 20, Duration::from_secs(30)).unwrap()
}

fn row(at: u64, recipients: u32, touched: &[(u32, usize)], held: bool) -> Row {
    let said = |octets| {
        let reply = Reply::new(451, (4, 0, 0), "x".repeat(octets));
        let last = Some(LastAttempt { at: Timestamp(5), peer: None, reply });
        RecipientStatus { state: RecipientState::Pending, last }
    };
    let mut state = SparseState::fresh(Timestamp(at), held.then_some(Hold::Operator));
    state.touched = touched.iter().map(|(index, octets)| (*index, said(*octets))).collect();
    Row {
        position: Position { generation: 3, offset: 4_096, len: 5_000 },
        head_octets: 700,
        arrived: Timestamp(11),
        size: 4_300,
        body_file: false,
        wreck: false,
        recipients,
        state,
    }
}

fn rows() -> impl Strategy<Value = Row> {
    let touched = proptest::collection::btree_map(0..60u32, 0..300usize, 0..4);
    (0..100u64, prop_oneof![3 => Just(2u32), 1 => Just(60)], touched, any::<bool>()).prop_map(
        |(at, recipients, touched, held)| {
            let touched: Vec<_> = touched.into_iter().filter(|(index, _)| *index < recipients).collect();
            row(at, recipients, &touched, held)
        },
    )
}

/// Changes come in rounds; most ids are near each other, some far away.
fn rounds() -> impl Strategy<Value = Vec<Vec<(QueueId, Option<Row>)>>> {
    let ids = prop_oneof![8 => 1_000..1_200u64, 1 => any::<u64>()].prop_map(QueueId);
    let round = proptest::collection::vec((ids, proptest::option::weighted(0.7, rows())), 1..120);
    proptest::collection::vec(round, 1..8)
}

/// What the keeper makes of a change.
fn edit(known: &mut Known, id: QueueId, row: Option<Row>) -> Option<Edit> {
    match row {
        Some(row) => {
            let old = known.insert(id, row.clone());
            Some(Edit::Put { id, row, old })
        }
        None => known.remove(&id).map(|old| Edit::Remove { id, old }),
    }
}

fn check(index: &Index, known: &Known) {
    let all: Vec<_> = index.rows(None).map(Result::unwrap).collect();
    assert_eq!(all, known.clone().into_iter().collect::<Vec<_>>());
    for after in [0, 999, 1_050, 1_100, u64::MAX].map(QueueId) {
        let ids: Vec<_> = index.ids(Some(after)).map(Result::unwrap).collect();
        assert_eq!(ids, known.keys().filter(|id| **id > after).copied().collect::<Vec<_>>());
    }
    for id in (1_000..1_200).map(QueueId) {
        assert_eq!(index.get(id).unwrap(), known.get(&id).cloned());
    }
    let mut due: Vec<_> = known.iter().filter_map(|(id, row)| Some((row.due()?, *id))).collect();
    due.sort_unstable();
    for now in [0, 1, 50, 99, u64::MAX].map(Timestamp) {
        let found: Vec<_> = index.due(now).map(Result::unwrap).collect();
        assert_eq!(found, due.iter().filter(|(at, _)| *at <= now).copied().collect::<Vec<_>>());
        let next = due.iter().map(|(at, _)| *at).find(|at| *at > now);
        assert_eq!(index.next_due(now).unwrap(), next);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn it_has_what_a_map_would_have(rounds in rounds()) {
        let folder = tempfile::tempdir().unwrap();
        let (mut index, mut known) = (open(folder.path()), Known::new());
        index.survey(|| {}).unwrap();
        for (number, round) in rounds.into_iter().enumerate() {
            let edits: Vec<_> = round.into_iter().filter_map(|(id, row)| edit(&mut known, id, row)).collect();
            index.apply(edits).unwrap();
            check(&index, &known);
            if number % 3 == 2 {
                drop(index);
                index = open(folder.path());
                index.survey(|| {}).unwrap();
                check(&index, &known);
            }
        }
        let all: Vec<QueueId> = known.keys().copied().collect();
        let edits: Vec<_> = all.into_iter().filter_map(|id| edit(&mut known, id, None)).collect();
        index.apply(edits).unwrap();
        check(&index, &known);
        // Nothing is left of them.
        prop_assert_eq!(index.db.len(), 0);
    }
}

#[test]
fn many_messages_take_few_keys_and_none_when_they_have_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (index, mut known) = (open(folder.path()), Known::new());
    for from in (0..20_000).step_by(100) {
        let new =
            (from..from + 100).map(|n| edit(&mut known, QueueId(n), Some(row(n, 1, &[(0, 20)], false))));
        index.apply(new.flatten().collect::<Vec<_>>()).unwrap();
    }
    let keys = index.db.len();
    assert!(keys < 20_000 / 10, "{keys} keys");
    // In no order, a few at a time: what is left does not lie scattered in packs of its own.
    for from in 0..199 {
        let some = (0..20_000).filter(|n| n * 7_919 % 200 == from).map(QueueId);
        let gone: Vec<_> = some.filter_map(|id| edit(&mut known, id, None)).collect();
        index.apply(gone).unwrap();
    }
    assert_eq!(index.rows(None).map(Result::unwrap).collect::<Vec<_>>().len(), known.len());
    assert!(index.db.len() <= keys / 16, "{} keys for {} messages", index.db.len(), known.len());
}

#[test]
fn an_index_of_another_version_or_out_of_order_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(folder.path());
    // As version 1 had it: a row for itself.
    index.db.insert(key::pack(QueueId(5)), &[1, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    assert!(index.survey(|| {}).is_err());
    index.db.clear().unwrap();
    index.apply([Edit::Put { id: QueueId(5), row: row(1, 1, &[], false), old: None }]).unwrap();
    let pack = index.db.get(key::pack(QueueId(5))).unwrap().unwrap();
    assert!(index.survey(|| {}).is_ok());
    // A pack whose row belongs behind the next pack's key.
    let mut rows = Rows::default();
    rows.set(QueueId(9), Some(row(1, 1, &[], false).encode().unwrap()));
    let (_, behind) = rows.packs(QueueId(4), true).remove(0);
    index.db.insert(key::pack(QueueId(4)), behind).unwrap();
    index.db.insert(key::pack(QueueId(5)), pack).unwrap();
    assert!(index.survey(|| {}).unwrap_err().0.contains("order"));
}
