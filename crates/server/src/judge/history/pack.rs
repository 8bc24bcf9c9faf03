//! Records of verdicts, several in one value of the state store: what one row costs is paid once for all of them.
//!
//! A pack is an octet that names the format and then, for each record, its length (2 octets, big endian) and the record as
//! [`VerdictRecord::to_bytes`] wrote it. It is written once; only an erasure writes it anew, without some of its records.
//! Pure: reads no clock and no store. What does not decode is left out, and told apart from an empty pack.

use mail::Timestamp;
use policy::VerdictRecord;
use store::VALUE_BYTES_MAX;

/// The first octet of a pack. Records by themselves, which were kept before there were packs, began with another.
const FORMAT: u8 = 0x80;
/// Octets before each record.
const LENGTH_BYTES: usize = 2;
/// Octets that a record may have so that it finds room in a pack of its own.
#[cfg(test)]
const ALONE_BYTES_MAX: usize = VALUE_BYTES_MAX - 1 - LENGTH_BYTES;

/// A pack that is being filled.
#[derive(Debug)]
pub(super) struct Pack {
    /// As it is to be kept.
    pub(super) bytes: Vec<u8>,
    /// Records in it.
    pub(super) count: usize,
    /// The time of the newest one.
    pub(super) newest: Timestamp,
}

impl Pack {
    pub(super) fn new() -> Self {
        Self { bytes: vec![FORMAT], count: 0, newest: Timestamp(0) }
    }

    /// Puts a record in; false when there is no room for it.
    pub(super) fn push(&mut self, at: Timestamp, record: &[u8]) -> bool {
        let Ok(length) = u16::try_from(record.len()) else { return false };
        if self.bytes.len() + LENGTH_BYTES + record.len() > VALUE_BYTES_MAX {
            return false;
        }
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(record);
        self.count += 1;
        self.newest = self.newest.max(at);
        true
    }
}

/// As few packs as hold these records in their order. A record that is larger than a pack is left out.
pub(super) fn packs(records: impl IntoIterator<Item = (Timestamp, Vec<u8>)>) -> Vec<Pack> {
    let mut packs: Vec<Pack> = Vec::new();
    for (at, record) in records {
        if packs.last_mut().is_some_and(|pack| pack.push(at, &record)) {
            continue;
        }
        let mut pack = Pack::new();
        if pack.push(at, &record) {
            packs.push(pack);
        }
    }
    packs
}

/// The records of a pack, as they were put in; none when this is no pack of ours, or a part of it is missing.
pub(super) fn unpack(bytes: &[u8]) -> Option<Vec<VerdictRecord>> {
    let (&FORMAT, mut rest) = bytes.split_first()? else { return None };
    let mut records = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<LENGTH_BYTES>() {
        let (record, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        records.push(VerdictRecord::from_bytes(record).ok()?);
        rest = behind;
    }
    rest.is_empty().then_some(records)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_record_has_room_in_a_pack_of_its_own() {
        const { assert!(policy::RECORD_BYTES_MAX <= ALONE_BYTES_MAX) }
        let made = packs([(Timestamp(1), vec![0; policy::RECORD_BYTES_MAX])]);
        assert_eq!((made.len(), made.first().unwrap().count), (1, 1));
    }

    #[test]
    fn packs_are_filled_in_order_and_know_their_newest() {
        let records = [(5, 2_000), (9, 4_000), (7, 200), (1, VALUE_BYTES_MAX), (3, 10)];
        let made = packs(records.map(|(at, length)| (Timestamp(at), vec![0; length])));
        let seen: Vec<_> = made.iter().map(|pack| (pack.count, pack.newest, pack.bytes.len())).collect();
        assert_eq!(seen, [(2, Timestamp(9), 6_005), (2, Timestamp(7), 215)]);
        assert!(packs([]).is_empty());
    }

    #[test]
    fn what_is_torn_or_of_others_is_no_pack() {
        assert_eq!(unpack(&Pack::new().bytes), Some(Vec::new()));
        for bytes in [&[][..], &[1], &[1, 0, 0], &[FORMAT, 0], &[FORMAT, 0, 9, 1], &[FORMAT, 0, 1, 1]] {
            assert_eq!(unpack(bytes), None, "{bytes:?}");
        }
    }
}
