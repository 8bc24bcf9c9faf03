//! What the embedded engine writes into journal records, byte by byte. The page `docs/queue-states.md` §3 describes it.
//!
//! A message's payload is `head length, head checksum, head, body`: the head (MessagePack by field name, so that fields can
//! be added) has a checksum of its own, so that it can be read without the body, and so that a message whose body is
//! damaged still tells who wrote to whom. Decoding never trusts a length; what does not decode is [`Damaged`], a value.

use bytes::Bytes;
use mail::{Address, QueueId, ReversePath, Timestamp};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::model::{
    Hold, MessageRecord, MessageState, Origin, OriginKind, QueueEntry, RecipientRecord, RecipientStatus,
    Settlement,
};

/// Kinds of payloads. 0 is the journal's own.
pub(crate) mod kind {
    /// A message: head and body.
    pub(crate) const MESSAGE: u8 = 1;
    /// Changes of state: a list of [`crate::Settlement`].
    pub(crate) const SETTLEMENT: u8 = 2;
    /// Messages that ended: ids of 8 octets each, little-endian. The short form of what most settlements say.
    pub(crate) const FINISHED: u8 = 3;
    /// [`super::Checkpoint`].
    pub(crate) const CHECKPOINT: u8 = 4;
    /// The octets of a damaged record, moved here so that its segment can be given back: [`super::Wreck`].
    pub(crate) const WRECK: u8 = 5;
}

/// Octets before the head: its length and its CRC-32C, both little-endian.
pub(crate) const HEAD_AT: usize = 8;

/// The bytes are not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record does not decode")]
pub(crate) struct Damaged;

/// Where a message's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BodyPlace {
    /// Behind the head.
    Inline,
    /// In the file named after the id.
    File {
        /// Its CRC-32C.
        checksum: u32,
    },
}

/// The head of a message as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Head {
    pub(crate) record: MessageRecord,
    pub(crate) state: SparseState,
    pub(crate) body: BodyPlace,
}

/// What recovery needs of a head: reading addresses takes longer than all the rest.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Brief {
    pub(crate) record: BriefRecord,
    pub(crate) state: SparseState,
    pub(crate) body: BodyPlace,
}

/// What recovery needs of a record.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct BriefRecord {
    pub(crate) id: QueueId,
    pub(crate) arrived: Timestamp,
    pub(crate) size: u64,
    /// Their number is what counts.
    pub(crate) recipients: Vec<IgnoredAny>,
}

/// The head of a message as it is written.
#[derive(Serialize)]
struct HeadRef<'a> {
    record: &'a MessageRecord,
    state: &'a SparseState,
    body: BodyPlace,
}

/// [`MessageState`] without the recipients to whom nothing has happened yet: a message to a thousand starts small.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SparseState {
    #[serde(default)]
    pub(crate) hold: Option<Hold>,
    #[serde(default)]
    pub(crate) attempts: u32,
    pub(crate) next_attempt: Timestamp,
    #[serde(default)]
    pub(crate) warned: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) released: Option<Timestamp>,
    #[serde(default)]
    pub(crate) touched: Vec<(u32, RecipientStatus)>,
}

impl SparseState {
    /// Of a message that has just been accepted.
    pub(crate) fn fresh(next_attempt: Timestamp, hold: Option<Hold>) -> Self {
        Self { hold, attempts: 0, next_attempt, warned: false, released: None, touched: Vec::new() }
    }

    /// The state in full, for so many recipients.
    pub(crate) fn expand(self, recipients: usize) -> MessageState {
        let mut all = vec![RecipientStatus::default(); recipients];
        for (index, status) in self.touched {
            if let Some(slot) = usize::try_from(index).ok().and_then(|i| all.get_mut(i)) {
                *slot = status;
            }
        }
        MessageState {
            hold: self.hold,
            attempts: self.attempts,
            next_attempt: self.next_attempt,
            warned: self.warned,
            released: self.released,
            recipients: all,
        }
    }
}

/// What the index has taken in: everything in the journal before the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// Counts up; the index holds the same number, or it has lost something.
    pub(crate) epoch: u64,
    /// Generation of the segment.
    pub(crate) generation: u64,
    /// Offset in it.
    pub(crate) offset: u32,
}

/// What is left of a damaged record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wreck {
    /// The name under which it is held.
    pub(crate) id: QueueId,
    /// What was wrong.
    pub(crate) reason: String,
    /// Its octets as found, as far as they could be read.
    #[serde(with = "serde_bytes")]
    pub(crate) octets: Vec<u8>,
}

/// Encodes the head of a message, with its length and checksum before it.
pub(crate) fn encode_head(
    record: &MessageRecord,
    state: &SparseState,
    body: BodyPlace,
) -> Result<Bytes, Damaged> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(&[0; HEAD_AT]);
    let head = HeadRef { record, state, body };
    rmp_serde::encode::write_named(&mut out, &head).map_err(|_| Damaged)?;
    let (prefix, head) = out.split_at_mut(HEAD_AT);
    let length = u32::try_from(head.len()).map_err(|_| Damaged)?;
    let checksum = crc32c::crc32c(head);
    let (first, second) = prefix.split_at_mut(4);
    first.copy_from_slice(&length.to_le_bytes());
    second.copy_from_slice(&checksum.to_le_bytes());
    Ok(Bytes::from(out))
}

/// Octets of the head and of what stands before it, read from the first octets of a payload.
pub(crate) fn head_octets(payload: &[u8]) -> Result<usize, Damaged> {
    let length = payload.first_chunk::<4>().ok_or(Damaged)?;
    usize::try_from(u32::from_le_bytes(*length)).ok().and_then(|n| n.checked_add(HEAD_AT)).ok_or(Damaged)
}

/// Decodes a head, a [`Head`] or a [`Brief`], from the front of a payload, which may end behind it.
pub(crate) fn decode_head<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Damaged> {
    let head = payload.get(HEAD_AT..head_octets(payload)?).ok_or(Damaged)?;
    let checksum = payload.get(4..HEAD_AT).and_then(|b| b.first_chunk::<4>()).ok_or(Damaged)?;
    if crc32c::crc32c(head) != u32::from_le_bytes(*checksum) {
        return Err(Damaged);
    }
    rmp_serde::from_slice(head).map_err(|_| Damaged)
}

/// A message in a damaged stretch of the journal whose head is whole.
#[derive(Debug)]
pub(crate) struct Salvaged {
    pub(crate) head: Head,
    /// Its payload, as far as it is there.
    pub(crate) octets: Bytes,
}

/// Octets before each payload in the journal, and the blocks at which frames may begin.
pub(crate) const FRAME_HEADER: usize = 32;
const BLOCK: usize = 4096;

/// Messages whose heads are whole in a damaged stretch, which begins at `offset` in its segment; given are the octets
/// behind what would be the first frame's header.
///
/// Only places where a frame can begin are looked at (the stretch's beginning, the next block, and behind each message
/// found), never the inside of a body, which its sender has chosen. What is found is shown, never delivered.
pub(crate) fn salvage(stretch: &Bytes, offset: usize) -> Vec<Salvaged> {
    let mut found = Vec::new();
    let mut frame = Some(offset);
    while let Some(at) = frame {
        let next = [at, at.next_multiple_of(BLOCK)].into_iter().find_map(|at| {
            let place = at.checked_sub(offset)?;
            let rest = stretch.get(place..)?;
            let head: Head = decode_head(rest).ok()?;
            let body = match head.body {
                BodyPlace::Inline => usize::try_from(head.record.size).ok()?,
                BodyPlace::File { .. } => 0,
            };
            let length = head_octets(rest).ok()?.checked_add(body)?;
            let octets = stretch.slice(place..place.saturating_add(length).min(stretch.len()));
            Some((Salvaged { head, octets }, (at + FRAME_HEADER).checked_add(length)?))
        });
        frame = next.and_then(|(salvaged, behind)| {
            found.push(salvaged);
            behind.checked_next_multiple_of(8)
        });
    }
    found
}

/// Encodes settlements.
pub(crate) fn encode_settlements(settlements: &[Settlement]) -> Result<Bytes, Damaged> {
    rmp_serde::to_vec_named(settlements).map(Bytes::from).map_err(|_| Damaged)
}

/// Decodes settlements.
pub(crate) fn decode_settlements(payload: &[u8]) -> Result<Vec<Settlement>, Damaged> {
    rmp_serde::from_slice(payload).map_err(|_| Damaged)
}

/// Encodes the ids of messages that ended.
pub(crate) fn encode_finished(ids: &[QueueId]) -> Bytes {
    ids.iter().flat_map(|id| id.0.to_le_bytes()).collect::<Vec<u8>>().into()
}

/// Decodes the ids of messages that ended.
pub(crate) fn decode_finished(payload: &[u8]) -> Result<Vec<QueueId>, Damaged> {
    let (ids, rest) = payload.as_chunks::<8>();
    if rest.is_empty() {
        Ok(ids.iter().map(|id| QueueId(u64::from_le_bytes(*id))).collect())
    } else {
        Err(Damaged)
    }
}

/// Encodes a checkpoint or a wreck.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Bytes, Damaged> {
    rmp_serde::to_vec_named(value).map(Bytes::from).map_err(|_| Damaged)
}

/// Decodes a checkpoint or a wreck.
pub(crate) fn decode<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Damaged> {
    rmp_serde::from_slice(payload).map_err(|_| Damaged)
}

/// The name of a damaged record whose own name cannot be read: the same at every start, and before all real ones.
pub(crate) fn wreck_id(generation: u64, offset: u32) -> QueueId {
    QueueId(generation << 32 | u64::from(offset))
}

/// What the queue shows of a record that cannot be read: held, from nobody, to a recipient that cannot exist
/// (RFC 2606 §2), because a message without recipients would count as settled.
pub(crate) fn wreck_entry(id: QueueId, arrived: Timestamp, size: u64, state: SparseState) -> QueueEntry {
    let recipients = Address::parse("damaged@record.invalid")
        .map(|address| RecipientRecord { notify: mail::Notify::NEVER, ..RecipientRecord::new(address) });
    let record = MessageRecord {
        origin: Origin::new(OriginKind::Local),
        size,
        ..MessageRecord::new(id, arrived, ReversePath::Null, recipients.into_iter().collect())
    };
    QueueEntry { state: state.expand(record.recipients.len()), record }
}

#[cfg(test)]
mod tests;
