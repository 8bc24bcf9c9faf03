//! What the engine keeps of a message outside the journal: a few dozen octets and its state.
//!
//! Envelopes and bodies are not here; they are read from the journal when they are needed. The same row is kept in memory
//! while the message is young and in the index when it is not.

use bytes::Buf;
use mail::{QueueId, Timestamp};

use super::pack;
use crate::codec::{Damaged, SparseState};
use crate::journal::Position;
use crate::model::{Change, Hold, RecipientState, RecipientStatus, Settlement};

/// Above so many recipients the index keeps what happened to them apart from the row, so many of them together, so that a
/// change to one does not rewrite all.
pub(crate) const NARROW_RECIPIENTS_MAX: u32 = 8;
/// Recipients of a wide message whose states stand under one key.
pub(crate) const GROUP_RECIPIENTS: u32 = 16;

const FLAG_WARNED: u8 = 1;
const FLAG_BODY_FILE: u8 = 2;
const FLAG_WRECK: u8 = 4;
/// Behind the numbers stands when it was released.
const FLAG_RELEASED: u8 = 32;
/// Where the reason of a hold stands among the flags, and its bits.
const HOLD_SHIFT: u8 = 3;
const HOLD_BITS: u8 = 3;

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

    /// True when what happened to its recipients stands apart from it in the index.
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
                    if self.state.hold.take().is_some() {
                        self.state.released = Some(*next_attempt);
                    }
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
        let mut out = Vec::with_capacity(128);
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        out.push(
            flag(self.state.warned, FLAG_WARNED)
                | flag(self.body_file, FLAG_BODY_FILE)
                | flag(self.wreck, FLAG_WRECK)
                | flag(self.state.released.is_some(), FLAG_RELEASED)
                | encode_hold(self.state.hold) << HOLD_SHIFT,
        );
        for number in [
            self.state.next_attempt.0,
            self.arrived.0,
            self.position.generation,
            self.position.offset.into(),
            self.position.len.into(),
            self.head_octets.into(),
            self.size,
            self.recipients.into(),
            self.state.attempts.into(),
        ] {
            pack::put_number(&mut out, number);
        }
        if let Some(released) = self.state.released {
            pack::put_number(&mut out, released.0);
        }
        if !self.is_wide() && !self.state.touched.is_empty() {
            rmp_serde::encode::write(&mut out, &self.state.touched).map_err(|_| Damaged)?;
        }
        Ok(out)
    }

    /// Reads what [`Row::encode`] wrote.
    pub(crate) fn decode(mut from: &[u8]) -> Result<Self, Damaged> {
        let mut row = Self::decode_fixed(&mut from)?;
        if !from.is_empty() {
            row.state.touched = rmp_serde::from_slice(from).map_err(|_| Damaged)?;
        }
        Ok(row)
    }

    /// Reads what [`Row::encode`] wrote, but for what has happened to recipients: that takes longer than all the rest.
    pub(crate) fn decode_brief(mut from: &[u8]) -> Result<Self, Damaged> {
        Self::decode_fixed(&mut from)
    }

    fn decode_fixed(from: &mut &[u8]) -> Result<Self, Damaged> {
        let flags = from.try_get_u8().map_err(|_| Damaged)?;
        let hold = decode_hold((flags >> HOLD_SHIFT) & HOLD_BITS).ok_or(Damaged)?;
        if flags >= FLAG_RELEASED << 1 {
            return Err(Damaged);
        }
        let mut number = || pack::number(from);
        let small = |number: u64| u32::try_from(number).map_err(|_| Damaged);
        let (next_attempt, arrived) = (Timestamp(number()?), Timestamp(number()?));
        let (generation, offset, len) = (number()?, small(number()?)?, small(number()?)?);
        let (head_octets, size) = (small(number()?)?, number()?);
        let (recipients, attempts) = (small(number()?)?, small(number()?)?);
        let released = if flags & FLAG_RELEASED == 0 { None } else { Some(Timestamp(number()?)) };
        let warned = flags & FLAG_WARNED != 0;
        Ok(Self {
            position: Position { generation, offset, len },
            head_octets,
            arrived,
            size,
            body_file: flags & FLAG_BODY_FILE != 0,
            wreck: flags & FLAG_WRECK != 0,
            recipients,
            state: SparseState { hold, attempts, next_attempt, warned, released, touched: Vec::new() },
        })
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

fn decode_hold(bits: u8) -> Option<Option<Hold>> {
    match bits {
        0 => Some(None),
        1 => Some(Some(Hold::Operator)),
        2 => Some(Some(Hold::Quarantine)),
        3 => Some(Some(Hold::Damaged)),
        _ => None,
    }
}

/// Keys of the index: one letter, then big-endian numbers, so that they sort as the numbers do.
pub(crate) mod key {
    use super::QueueId;

    /// The checkpoint.
    pub(crate) const CHECKPOINT: &[u8] = b"c";
    /// First letter of packs of messages.
    pub(crate) const PACK: u8 = b'm';
    /// First letter of recipients of wide messages.
    pub(crate) const RECIPIENTS: u8 = b'r';

    /// Of the pack that begins with this id.
    pub(crate) fn pack(id: QueueId) -> [u8; 9] {
        numbered(PACK, id)
    }

    /// Of a group of recipients of a wide message.
    pub(crate) fn group(id: QueueId, group: u32) -> [u8; 13] {
        let mut key = [RECIPIENTS; 13];
        let (front, rest) = key.split_at_mut(9);
        front.copy_from_slice(&recipients(id));
        rest.copy_from_slice(&group.to_be_bytes());
        key
    }

    /// With what all groups of a wide message begin.
    pub(crate) fn recipients(id: QueueId) -> [u8; 9] {
        numbered(RECIPIENTS, id)
    }

    fn numbered(letter: u8, id: QueueId) -> [u8; 9] {
        let mut key = [letter; 9];
        let (_, rest) = key.split_at_mut(1);
        rest.copy_from_slice(&id.0.to_be_bytes());
        key
    }

    /// The number at the end of a key.
    pub(crate) fn last_u64(key: &[u8]) -> Option<u64> {
        key.last_chunk::<8>().map(|b| u64::from_be_bytes(*b))
    }
}

#[cfg(test)]
mod tests;
