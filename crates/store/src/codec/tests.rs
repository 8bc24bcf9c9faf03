//! Heads survive, damage is noticed, and only what stands where a frame can begin is salvaged.

use mail::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::SenderProof;

fn record(n: u64, size: u64) -> MessageRecord {
    let entry = wreck_entry(QueueId(n), Timestamp(n), size, SparseState::fresh(Timestamp(n), None));
    MessageRecord { trace: b"Received: x\r\n".to_vec(), ..entry.record }
}

fn encoded(n: u64, size: u64) -> Bytes {
    encode_head(&record(n, size), &SparseState::fresh(Timestamp(7), None), BodyPlace::Inline).unwrap()
}

#[test]
fn a_head_is_read_back_with_or_without_what_follows() {
    let head = encoded(5, 3);
    let whole = [&head[..], b"abc"].concat();
    for octets in [&head[..], &whole] {
        let back: Head = decode_head(octets).unwrap();
        let brief: Brief = decode_head(octets).unwrap();
        assert_eq!((brief.record.id, brief.record.recipients.len()), (QueueId(5), 1));
        assert_eq!((back.record, back.body), (record(5, 3), BodyPlace::Inline));
        assert_eq!(head_octets(octets), Ok(head.len()));
    }
}

#[test]
fn an_origin_of_an_earlier_version_reads_as_one_that_nobody_asked() {
    #[derive(Serialize)]
    struct Earlier {
        kind: OriginKind,
        helo: Option<String>,
    }
    let octets = encode(&Earlier { kind: OriginKind::Mx, helo: Some("c.test".into()) }).unwrap();
    let origin: Origin = decode(&octets).unwrap();
    assert_eq!((origin.kind, origin.sender), (OriginKind::Mx, SenderProof::NotAsked));
    let unproven = Origin { sender: SenderProof::Unproven, ..origin };
    assert_eq!(decode::<Origin>(&encode(&unproven).unwrap()), Ok(unproven));
}

#[test]
fn a_tagged_sender_is_read_back_and_costs_nothing_where_there_is_none() {
    let mut tagged = record(5, 3);
    tagged.reverse_path = ReversePath::Mailbox(Address::parse("joe@a.test").unwrap());
    let octets = encode(&tagged).unwrap();
    for word in [&b"tagged_sender"[..], b"untagged_sender"] {
        assert!(
            !octets.windows(word.len()).any(|window| window == word),
            "an earlier version reads it as well"
        );
    }
    tagged.tagged_sender = Some(Address::parse("prvs=0791abcdef=joe@a.test").unwrap());
    let back: MessageRecord = decode(&encode(&tagged).unwrap()).unwrap();
    assert_eq!(back, tagged);
    assert_eq!(back.sender_for(&back.recipients[0]), tagged.tagged_sender.as_ref());
    tagged.recipients[0].untagged_sender = true;
    let back: MessageRecord = decode(&encode(&tagged).unwrap()).unwrap();
    assert_eq!(back.sender_for(&back.recipients[0]), back.reverse_path.mailbox());
}

#[test]
fn a_filter_and_edits_of_the_body_are_read_back_and_cost_nothing_where_there_are_none() {
    let mut filtered = record(5, 3);
    let word = b"filter";
    let octets = encode(&filtered).unwrap();
    assert!(!octets.windows(word.len()).any(|window| window == word), "an earlier version reads it as well");
    filtered.filter = Some("lmtp:[192.0.2.1]:24".to_owned().try_into().unwrap());
    filtered.edits.push(crate::Edit::Body { offset: 7, length: 1 << 40, with: b"\xff\r\n".to_vec() });
    assert_eq!(decode(&encode(&filtered).unwrap()), Ok(filtered));
}

#[test]
fn a_changed_octet_anywhere_in_a_head_is_noticed() {
    let head = encoded(5, 3);
    for at in 0..head.len() {
        let mut hurt = head.to_vec();
        hurt[at] ^= 0x20;
        assert_eq!(decode_head::<Head>(&hurt), Err(Damaged), "octet {at}");
    }
}

#[test]
fn a_state_keeps_only_what_happened() {
    let mut sparse = SparseState::fresh(Timestamp(9), Some(Hold::Quarantine));
    let status = RecipientStatus { state: crate::RecipientState::Failed, last: None };
    sparse.touched.extend([(2, status.clone()), (99, status)]);
    let state = sparse.expand(4);
    assert_eq!((state.recipients.len(), state.hold), (4, Some(Hold::Quarantine)));
    let ended = state.recipients.iter().filter(|r| r.state == crate::RecipientState::Failed).count();
    assert_eq!(ended, 1, "what is out of range can only come from damage");
}

#[test]
fn ids_of_ended_messages_are_read_back() {
    let ids = [QueueId(1), QueueId(u64::MAX)];
    assert_eq!(decode_finished(&encode_finished(&ids)).unwrap(), ids);
    assert_eq!(decode_finished(&[0; 9]), Err(Damaged));
}

/// A stretch as the journal gives it: the octets behind the header of a frame at `offset`.
fn stretch(offset: usize, frames: &[(usize, &[u8])]) -> Bytes {
    let end = frames.iter().map(|(at, payload)| at + FRAME_HEADER + payload.len()).max().unwrap_or(offset);
    let mut octets = vec![0xa5; end - offset - FRAME_HEADER];
    for (at, payload) in frames {
        let place = at - offset;
        octets[place..place + payload.len()].copy_from_slice(payload);
    }
    octets.into()
}

#[test]
fn messages_are_salvaged_where_frames_can_begin() {
    let (one, two, three) = (encoded(1, 0), encoded(2, 0), encoded(3, 0));
    let second = (8_192 + FRAME_HEADER + one.len()).next_multiple_of(8);
    let third = (second + FRAME_HEADER + two.len()).next_multiple_of(4_096);
    let frames = [(8_192, &one[..]), (second, &two[..]), (third, &three[..])];
    for from in [8_192, 8_000] {
        let found = salvage(&stretch(from, &frames), from);
        let ids: Vec<u64> = found.iter().map(|s| s.head.record.id.0).collect();
        assert_eq!(ids, [1, 2, 3], "from {from}");
        assert_eq!(found[0].octets, one);
    }
}

#[test]
fn what_a_body_says_is_not_salvaged() {
    let forged = encoded(666, 0);
    let body = [&b"Subject: x\r\n\r\n"[..], &forged, &forged].concat();
    let mut head = encoded(1, body.len() as u64).to_vec();
    let whole = [&head[..], &body].concat();
    let found = salvage(&stretch(4_096, &[(4_096, &whole)]), 4_096);
    assert_eq!(found.iter().map(|s| s.head.record.id.0).collect::<Vec<_>>(), [1]);
    // Without a whole head, nothing in the body is looked at.
    head[20] ^= 1;
    let whole = [&head[..], &body].concat();
    assert!(salvage(&stretch(4_096, &[(4_096, &whole)]), 4_096).is_empty());
}

proptest! {
    #[test]
    fn noise_is_damage_and_never_more(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode_head::<Head>(&noise).is_err());
        let _ = decode_settlements(&noise);
        let _ = decode::<Checkpoint>(&noise);
        let _ = decode::<Wreck>(&noise);
        prop_assert!(salvage(&Bytes::from(noise), 100).is_empty());
    }
}
