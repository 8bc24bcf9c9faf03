//! Reading what earlier processes left, the oldest segment first, apart from what is appended meanwhile.
//!
//! Every good frame is given, whatever lies around it, except those behind a seal, whose senders were
//! refused. Each hole is judged: proved by a later frame or a seal to have been synced, it is damage; with
//! good frames behind it that prove nothing, it is doubtful; at the end of a segment it is the torn tail of a
//! batch that nobody was told of. Memory: one chunk of a mebibyte, or one record if that is larger. Errors of
//! the device become damage: the rest is read on.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::Bytes;

use super::Position;
use super::folder::Older;
use super::frame::{
    ALIGNMENT, BLOCK_BYTES, CLOSING_MARK, FRAME_HEADER_BYTES, FrameHeader, ReadHeader, SegmentHeader,
    frame_bytes,
};
use super::window::Window;

/// Something that lies in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayItem {
    /// A good record.
    Record {
        /// Where it lies.
        position: Position,
        /// What the payload is.
        kind: u8,
        /// The payload; a part of a larger buffer, so copy what is to be kept.
        payload: Bytes,
    },
    /// Octets that cannot be used.
    Damage {
        /// In which segment.
        generation: u64,
        /// From where.
        offset: u32,
        /// How many octets, padding included; 0 when it is not known.
        len: u32,
        /// What is wrong.
        reason: DamageReason,
    },
}

/// What is wrong with a part of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DamageReason {
    /// The segment's header; its records are found nevertheless.
    Header,
    /// Records that had been acknowledged.
    Record,
    /// Records of the last batch, of which it is not known whether they had been acknowledged.
    Doubtful,
    /// The device does not give the octets.
    Unreadable,
    /// The segment's file is shorter than it was made: what lay behind is gone.
    Cut,
    /// The segment's file is not there.
    Missing,
}

impl fmt::Display for DamageReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "the header of the segment is damaged; its records are used",
            Self::Record => "acknowledged records are damaged",
            Self::Doubtful => "records of the last batch are damaged, or were never complete",
            Self::Unreadable => "the device does not give the octets",
            Self::Cut => "the file of the segment is too short",
            Self::Missing => "the file of the segment is missing",
        })
    }
}

/// Gives all that the older segments hold. May run on any thread while the journal is in use; segments must
/// not be released before it has passed them.
#[derive(Debug, Clone)]
pub struct Replay {
    older: VecDeque<Older>,
    seals: BTreeMap<u64, u32>,
    scan: Option<Scan>,
    ready: VecDeque<ReplayItem>,
    start: Option<(u64, u32)>,
}

impl Replay {
    pub(super) fn new(older: Vec<Older>) -> Self {
        let mut seals = BTreeMap::new();
        let mut ready = VecDeque::new();
        for segment in &older {
            let ReadHeader::Good(header) = segment.header else { continue };
            // Of two seals the later counts: the earlier belongs to a segment that was never taken into use.
            if let Some(seal) = header.seal {
                seals.insert(header.previous, seal);
            }
            if is_missing(&older, &header) {
                let (generation, reason) = (header.previous, DamageReason::Missing);
                ready.push_back(ReplayItem::Damage { generation, offset: 0, len: 0, reason });
            }
        }
        Self { older: older.into(), seals, scan: None, ready, start: None }
    }

    /// Leaves out what lies before this frame, or end of a frame: the index knows it already.
    #[must_use]
    pub fn starting_at(mut self, generation: u64, offset: u32) -> Self {
        self.older.retain(|segment| segment.generation >= generation);
        self.start = Some((generation, offset));
        self
    }

    /// Segments that have not been read to their end.
    #[must_use]
    pub fn segments_left(&self) -> usize {
        self.older.len() + usize::from(self.scan.is_some())
    }

    fn next_scan(&mut self) -> Option<Scan> {
        let older = self.older.pop_front()?;
        if older.header == ReadHeader::Damaged {
            let (generation, reason) = (older.generation, DamageReason::Header);
            self.ready.push_back(ReplayItem::Damage { generation, offset: 0, len: BLOCK_BYTES, reason });
        }
        // What a killed process left may lie in memory only. Nobody may build on it before it is durable.
        if !self.seals.contains_key(&older.generation) && older.file.sync().is_err() {
            let place = (BLOCK_BYTES, older.size);
            self.ready.push_back(damage(older.generation, place, DamageReason::Doubtful));
        }
        let start =
            self.start.filter(|(generation, _)| *generation == older.generation).map(|(_, offset)| offset);
        let seal = self.seals.get(&older.generation).copied();
        Some(Scan::new(older, seal, start))
    }
}

/// True when the segment before this one ought to be there: only the oldest may have none.
fn is_missing(older: &[Older], header: &SegmentHeader) -> bool {
    let oldest = older.first().map_or(0, |o| o.generation);
    header.previous > oldest && !older.iter().any(|o| o.generation == header.previous)
}

impl Iterator for Replay {
    type Item = ReplayItem;

    fn next(&mut self) -> Option<ReplayItem> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            let mut scan = match self.scan.take() {
                Some(scan) => scan,
                None => self.next_scan()?,
            };
            if scan.advance(&mut self.ready) {
                self.scan = Some(scan);
            }
        }
    }
}

/// The reading of one segment.
#[derive(Debug, Clone)]
struct Scan {
    generation: u64,
    /// Unknown while the header is damaged and no frame has been found.
    mark: Option<u32>,
    window: Window,
    seal: Option<u32>,
    /// The file's size as its header has it, and as it is.
    sizes: (u32, u32),
    /// Where the next frame is expected.
    at: u32,
    /// Its number; unknown when reading begins in the middle.
    sequence: Option<u32>,
    /// Holes that no later frame has proved to be damage yet.
    holes: Vec<Hole>,
}

/// Frames that ought to be there.
#[derive(Debug, Clone, Copy)]
struct Hole {
    /// The number of the first.
    first: u32,
    /// Where they would lie: from, to.
    place: (u32, u32),
}

struct Found {
    offset: u32,
    header: FrameHeader,
    frame: Bytes,
}

impl Scan {
    fn new(older: Older, seal: Option<u32>, start: Option<u32>) -> Self {
        let (mark, made) = match older.header {
            ReadHeader::Good(header) => (Some(header.life.mark), header.bytes),
            ReadHeader::Damaged | ReadHeader::Version(_) => (None, older.size),
        };
        Self {
            generation: older.generation,
            mark,
            window: Window::new(older.file, older.size),
            seal,
            sizes: (made, older.size),
            at: start.unwrap_or(0).max(BLOCK_BYTES).next_multiple_of(ALIGNMENT),
            sequence: start.is_none().then_some(0),
            holes: Vec::new(),
        }
    }

    /// Reads up to the next record, or to the end: then it is false.
    fn advance(&mut self, items: &mut VecDeque<ReplayItem>) -> bool {
        let Some(found) = self.find() else {
            self.finish(items);
            return false;
        };
        let Found { offset, header, frame } = found;
        if let Some(first) = self.sequence.filter(|expected| *expected != header.sequence) {
            self.holes.push(Hole { first, place: (self.at, offset) });
        }
        self.judge(header.durable, items);
        self.mark = Some(header.life.mark);
        self.at = offset.saturating_add(frame_bytes(header.length).unwrap_or(u32::MAX));
        self.sequence = Some(header.sequence.saturating_add(1));
        if header.kind != CLOSING_MARK {
            let position = Position { generation: self.generation, offset, len: header.length };
            let payload = frame.slice(FRAME_HEADER_BYTES as usize..);
            items.push_back(ReplayItem::Record { position, kind: header.kind, payload });
        }
        true
    }

    /// The next good frame of this life of the file, from the expected place on.
    fn find(&mut self) -> Option<Found> {
        if self.seal.is_some() && self.seal <= self.sequence {
            return None;
        }
        let mut offset = self.at;
        loop {
            offset = match self.mark {
                Some(mark) => self.window.find(offset, 0, &mark.to_le_bytes())?,
                None => self.window.find(offset, 8, &self.generation.to_le_bytes())?,
            };
            if let Some(found) = self.frame_at(offset) {
                return Some(found);
            }
            offset = offset.checked_add(ALIGNMENT)?;
        }
    }

    fn frame_at(&mut self, offset: u32) -> Option<Found> {
        let header = FrameHeader::decode(&self.window.get(offset, FRAME_HEADER_BYTES)?)?;
        let ours = header.life.generation == self.generation
            && self.mark.is_none_or(|mark| mark == header.life.mark)
            && self.sequence.is_none_or(|expected| expected <= header.sequence)
            && self.seal.is_none_or(|seal| header.sequence < seal);
        if !ours {
            return None;
        }
        let frame = self.window.get(offset, FRAME_HEADER_BYTES.checked_add(header.length)?)?;
        FrameHeader::verifies(&frame, offset).then_some(Found { offset, header, frame })
    }

    /// Reports the holes among the first `durable` frames: these had been synced.
    fn judge(&mut self, durable: u32, items: &mut VecDeque<ReplayItem>) {
        for hole in self.holes.extract_if(.., |hole| hole.first < durable) {
            items.push_back(damage(self.generation, hole.place, DamageReason::Record));
        }
    }

    fn finish(&mut self, items: &mut VecDeque<ReplayItem>) {
        let (made, is) = self.sizes;
        if is < made {
            items.push_back(damage(self.generation, (is, made), DamageReason::Cut));
        }
        if let Some(seal) = self.seal {
            self.judge(seal, items);
            if self.sequence.is_some_and(|expected| expected < seal) {
                items.push_back(damage(self.generation, (self.at, is), DamageReason::Record));
            }
        }
        for hole in std::mem::take(&mut self.holes) {
            items.push_back(damage(self.generation, hole.place, DamageReason::Doubtful));
        }
        for place in self.window.unreadable() {
            items.push_back(damage(self.generation, place, DamageReason::Unreadable));
        }
    }
}

fn damage(generation: u64, (from, to): (u32, u32), reason: DamageReason) -> ReplayItem {
    ReplayItem::Damage { generation, offset: from, len: to.saturating_sub(from), reason }
}
