//! Rows follow the rules of [`crate::MessageState`] and survive the index; keys sort as numbers do.

use mail::Reply;
use proptest::prelude::*;

use super::*;
use crate::model::{LastAttempt, MessageState};

fn row(recipients: u32) -> Row {
    Row {
        position: Position { generation: 3, offset: 4_096, len: 5_000 },
        head_octets: 700,
        arrived: Timestamp(11),
        size: 4_300,
        body_file: false,
        wreck: false,
        recipients,
        state: SparseState::fresh(Timestamp(12), None),
    }
}

fn status(state: RecipientState, said: bool) -> RecipientStatus {
    let reply = Reply::new(451, (4, 0, 0), "x");
    RecipientStatus { state, last: said.then_some(LastAttempt { at: Timestamp(5), peer: None, reply }) }
}

fn states() -> impl Strategy<Value = RecipientState> {
    prop_oneof![
        Just(RecipientState::Pending),
        Just(RecipientState::Delivered),
        Just(RecipientState::Failed),
        Just(RecipientState::Discarded)
    ]
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0..14u32, states(), any::<bool>())
            .prop_map(|(index, state, said)| Change::Recipient { index, status: status(state, said) }),
        (0..100u64, 0..9u32)
            .prop_map(|(at, attempts)| Change::Retry { next_attempt: Timestamp(at), attempts }),
        Just(Change::Warned),
        Just(Change::Held(Hold::Operator)),
        (0..100u64).prop_map(|at| Change::Released { next_attempt: Timestamp(at) }),
    ]
}

proptest! {
    /// The memory engine uses [`MessageState`], the embedded one rows: they must not differ.
    #[test]
    fn a_row_changes_as_the_full_state_does(
        recipients in 1..12u32,
        settlements in proptest::collection::vec(proptest::collection::vec(changes(), 1..4), 0..8),
    ) {
        let mut row = row(recipients);
        let mut full: MessageState = row.state.clone().expand(recipients as usize);
        for changes in settlements {
            let settlement = Settlement { id: QueueId(1), changes };
            let ended = row.apply(&settlement);
            settlement.changes.iter().for_each(|change| full.apply(change));
            prop_assert_eq!(ended, full.is_settled());
            prop_assert_eq!(&row.state.clone().expand(recipients as usize), &full);
        }
    }

    #[test]
    fn a_row_is_read_back(
        recipients in 1..12u32,
        changes in proptest::collection::vec(changes(), 0..6),
        (body_file, wreck) in (any::<bool>(), any::<bool>()),
    ) {
        let mut row = Row { body_file, wreck, ..row(recipients) };
        row.apply(&Settlement { id: QueueId(1), changes });
        let mut back = Row::decode(&row.encode().unwrap()).unwrap();
        prop_assert_eq!(Row::decode_brief(&row.encode().unwrap()).unwrap().due(), row.due());
        if row.is_wide() {
            prop_assert!(back.state.touched.is_empty());
            back.state.touched.clone_from(&row.state.touched);
        }
        prop_assert_eq!(back, row);
    }

    #[test]
    fn noise_is_no_row(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Row::decode(&noise);
    }

    #[test]
    fn keys_sort_as_their_numbers(a: (u64, u32), b: (u64, u32)) {
        let key = |(id, group)| key::group(QueueId(id), group);
        prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
        prop_assert_eq!(key::pack(QueueId(a.0)).cmp(&key::pack(QueueId(b.0))), a.0.cmp(&b.0));
        prop_assert!(key(a).starts_with(&key::recipients(QueueId(a.0))));
        prop_assert_eq!(key::last_u64(&key::pack(QueueId(a.0))), Some(a.0));
    }
}

#[test]
fn deleted_is_the_end_whatever_else_is_said() {
    let settlement = |changes| Settlement { id: QueueId(1), changes };
    assert!(row(30).apply(&settlement(vec![Change::Warned, Change::Deleted])));
    assert!(!row(30).apply(&settlement(vec![])));
}

#[test]
fn a_row_is_small() {
    assert!(row(1).encode().unwrap().len() <= 32);
    assert!(row(1_000).encode().unwrap().len() <= 32);
}
