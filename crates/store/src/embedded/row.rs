//! What the engine keeps of a message outside the journal: a few dozen octets and its state.
//!
//! Envelopes and bodies are not here; they are read from the journal when they are needed. The same row is kept in memory
//! while the message is young and in the index when it is not.

use bytes::{Buf, BufMut};
use mail::{QueueId, Timestamp};

use crate::codec::{Damaged, SparseState};
use crate::journal::Position;
use crate::model::{Change, Hold, RecipientState, RecipientStatus, Settlement};

/// Above so many recipients the index keeps a row of its own for each recipient that was tried, so that a change to
/// one does not rewrite all.
pub(crate) const NARROW_RECIPIENTS_MAX: u32 = 8;
/// Format of a row in the index.
const VERSION: u8 = 1;

const FLAG_WARNED: u8 = 1;
const FLAG_BODY_FILE: u8 = 2;
const FLAG_WRECK: u8 = 4;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Where its record is.
    pub(crate) position: Position,
    /// Octets of the head and what stands before it in the payload.
    pub(crate) head_octets: u32,
    /// When it was accepted.
    pub(crate) arrived: Timestamp,
    /// Octets of the message as received.
    pub(crate) size: u64,
    /// The body is a file.
    pub(crate) body_file: bool,
    /// The record is a [`crate::codec::Wreck`].
    pub(crate) wreck: bool,
    /// How many recipients it has.
    pub(crate) recipients: u32,
    /// Where it stands.
    pub(crate) state: SparseState,
}

/// In which figure a message counts; the damaged count as held as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Active,
    Deferred,
    Held,
    Damaged,
}

impl Row {
    pub(crate) fn class(&self) -> Class {
        match (self.state.hold, self.state.attempts) {
            (Some(Hold::Damaged), _) => Class::Damaged,
            (Some(_), _) => Class::Held,
            (None, 0) => Class::Active,
            (None, _) => Class::Deferred,
        }
    }

    /// When it is due; none while it is held.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        if self.state.hold.is_none() { Some(self.state.next_attempt) } else { None }
    }

    /// True when each recipient that was tried has a row of its own in the index.
    pub(crate) fn is_wide(&self) -> bool {
        self.recipients > NARROW_RECIPIENTS_MAX
    }

    /// True when no recipient is pending.
    pub(crate) fn is_settled(&self) -> bool {
        let ended = self.state.touched.iter().filter(|(_, s)| s.state != RecipientState::Pending).count();
        ended >= usize::try_from(self.recipients).unwrap_or(usize::MAX)
    }

    /// Applies changes, by the rules of [`crate::MessageState::apply`]; gives true when the message is settled.
    pub(crate) fn apply(&mut self, settlement: &Settlement) -> bool {
        if settlement.changes.iter().any(|c| matches!(c, Change::Deleted)) {
            return true;
        }
        for change in &settlement.changes {
            match change {
                Change::Recipient { index, status } if *index < self.recipients => self.touch(*index, status),
                Change::Recipient { .. } | Change::Deleted => {}
                Change::Retry { next_attempt, attempts } => {
                    self.state.next_attempt = *next_attempt;
                    self.state.attempts = *attempts;
                }
                Change::Warned => self.state.warned = true,
                Change::Held(hold) => self.state.hold = Some(*hold),
                Change::Released { next_attempt } => {
                    self.state.hold = None;
                    self.state.next_attempt = *next_attempt;
                }
            }
        }
        self.is_settled()
    }

    fn touch(&mut self, index: u32, status: &RecipientStatus) {
        match self.state.touched.binary_search_by_key(&index, |(i, _)| *i) {
            // What has ended stays ended: replays and late outcomes must not revive a recipient.
            Ok(at) => {
                if let Some((_, slot)) = self.state.touched.get_mut(at)
                    && slot.state == RecipientState::Pending
                {
                    *slot = status.clone();
                }
            }
            Err(at) => self.state.touched.insert(at, (index, status.clone())),
        }
    }

    /// Writes the row for the index; without the recipients' rows of a wide one.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Damaged> {
        let mut out = Vec::with_capacity(96);
        out.put_u8(VERSION);
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        out.put_u8(
            flag(self.state.warned, FLAG_WARNED)
                | flag(self.body_file, FLAG_BODY_FILE)
                | flag(self.wreck, FLAG_WRECK),
        );
        out.put_u8(encode_hold(self.state.hold));
        out.put_u64_le(self.position.generation);
        out.put_u32_le(self.position.offset);
        out.put_u32_le(self.position.len);
        out.put_u32_le(self.head_octets);
        out.put_u64_le(self.arrived.0);
        out.put_u64_le(self.size);
        out.put_u32_le(self.recipients);
        out.put_u32_le(self.state.attempts);
        out.put_u64_le(self.state.next_attempt.0);
        if !self.is_wide() && !self.state.touched.is_empty() {
            rmp_serde::encode::write(&mut out, &self.state.touched).map_err(|_| Damaged)?;
        }
        Ok(out)
    }

    /// Reads what [`Row::encode`] wrote.
    pub(crate) fn decode(mut from: &[u8]) -> Result<Self, Damaged> {
        let row = Self::decode_fixed(&mut from).map_err(|_| Damaged)?;
        let mut row = row.ok_or(Damaged)?;
        if !from.is_empty() {
            row.state.touched = rmp_serde::from_slice(from).map_err(|_| Damaged)?;
        }
        Ok(row)
    }

    fn decode_fixed(from: &mut &[u8]) -> Result<Option<Self>, bytes::TryGetError> {
        let version = from.try_get_u8()?;
        let flags = from.try_get_u8()?;
        let Some(hold) = decode_hold(from.try_get_u8()?).filter(|_| version == VERSION) else {
            return Ok(None);
        };
        let position = Position {
            generation: from.try_get_u64_le()?,
            offset: from.try_get_u32_le()?,
            len: from.try_get_u32_le()?,
        };
        let head_octets = from.try_get_u32_le()?;
        let arrived = Timestamp(from.try_get_u64_le()?);
        let size = from.try_get_u64_le()?;
        let recipients = from.try_get_u32_le()?;
        let state = SparseState {
            hold,
            attempts: from.try_get_u32_le()?,
            next_attempt: Timestamp(from.try_get_u64_le()?),
            warned: flags & FLAG_WARNED != 0,
            touched: Vec::new(),
        };
        let (body_file, wreck) = (flags & FLAG_BODY_FILE != 0, flags & FLAG_WRECK != 0);
        Ok(Some(Self { position, head_octets, arrived, size, body_file, wreck, recipients, state }))
    }
}

fn encode_hold(hold: Option<Hold>) -> u8 {
    match hold {
        None => 0,
        Some(Hold::Operator) => 1,
        Some(Hold::Quarantine) => 2,
        Some(Hold::Damaged) => 3,
    }
}

fn decode_hold(byte: u8) -> Option<Option<Hold>> {
    match byte {
        0 => Some(None),
        1 => Some(Some(Hold::Operator)),
        2 => Some(Some(Hold::Quarantine)),
        3 => Some(Some(Hold::Damaged)),
        _ => None,
    }
}

/// Keys of the index: one letter, then big-endian numbers, so that they sort as the numbers do.
pub(crate) mod key {
    use super::{QueueId, Timestamp};

    /// The checkpoint.
    pub(crate) const CHECKPOINT: &[u8] = b"c";
    /// First letter of messages.
    pub(crate) const MESSAGE: u8 = b'm';
    /// First letter of the due list.
    pub(crate) const DUE: u8 = b'd';
    /// First letter of recipients of wide messages.
    pub(crate) const RECIPIENT: u8 = b'r';

    /// Of a message.
    pub(crate) fn message(id: QueueId) -> [u8; 9] {
        let mut key = [MESSAGE; 9];
        if let Some(rest) = key.get_mut(1..) {
            rest.copy_from_slice(&id.0.to_be_bytes());
        }
        key
    }

    /// Of an entry in the due list.
    pub(crate) fn due(at: Timestamp, id: QueueId) -> [u8; 17] {
        let mut key = [DUE; 17];
        let (_, rest) = key.split_at_mut(1);
        let (first, second) = rest.split_at_mut(8);
        first.copy_from_slice(&at.0.to_be_bytes());
        second.copy_from_slice(&id.0.to_be_bytes());
        key
    }

    /// Of a recipient of a wide message.
    pub(crate) fn recipient(id: QueueId, index: u32) -> [u8; 13] {
        let mut key = [RECIPIENT; 13];
        let (_, rest) = key.split_at_mut(1);
        let (first, second) = rest.split_at_mut(8);
        first.copy_from_slice(&id.0.to_be_bytes());
        second.copy_from_slice(&index.to_be_bytes());
        key
    }

    /// Of all recipients of a wide message.
    pub(crate) fn recipients(id: QueueId) -> [u8; 9] {
        let mut key = message(id);
        if let Some(first) = key.first_mut() {
            *first = RECIPIENT;
        }
        key
    }

    /// The number at the end of a key.
    pub(crate) fn last_u64(key: &[u8]) -> Option<u64> {
        key.last_chunk::<8>().map(|b| u64::from_be_bytes(*b))
    }

    /// The time in a key of the due list.
    pub(crate) fn due_at(key: &[u8]) -> Option<Timestamp> {
        key.get(1..9).and_then(|b| b.first_chunk::<8>()).map(|b| Timestamp(u64::from_be_bytes(*b)))
    }
}

#[cfg(test)]
mod tests;
