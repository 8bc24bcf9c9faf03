//! The one hand that writes: frames into the current segment, syncs, the change to the next segment, and what
//! follows a failure.
//!
//! No thread and no clock in here, so that tests can drive it operation by operation. After a failed write or
//! sync the segment is never touched again: the next one's header seals it at the last synced offset, which
//! is the durable note that everything behind is aborted. While no new segment can be made, all is refused;
//! every request tries anew.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::error::AppendError;
use super::folder::{Begun, Folder};
use super::frame::{
    ALIGNMENT, BLOCK_BYTES, CLOSING_MARK, FRAME_HEADER_BYTES, FrameHeader, Life, frame_bytes,
};
use super::{Durability, Payload, Position, Settings};
use crate::disk::{DiskFile, is_full};

const ZEROS: [u8; ALIGNMENT as usize] = [0; ALIGNMENT as usize];

/// Writes the journal.
#[derive(Debug)]
pub(super) struct Writer {
    folder: Arc<Folder>,
    reserve: u32,
    payload_bytes_max: u32,
    current: Option<Current>,
    /// Which segment the next one seals, and after how many frames.
    before: (u64, Option<u32>),
}

#[derive(Debug)]
struct Current {
    life: Life,
    file: Arc<dyn DiskFile>,
    size: u32,
    /// Where the next frame goes.
    tail: u32,
    /// Where the first frame lies, or will lie, that has not been synced.
    synced: u32,
    /// Number of the next frame.
    sequence: u32,
    /// How many frames have been synced.
    durable: u32,
    /// No frame behind these says yet that they were synced.
    unproved: bool,
}

/// Where a payload may go.
#[derive(Debug)]
pub(super) enum Room {
    /// Into the current segment.
    Here,
    /// Into the next one: sync what is unsynced, then [`Writer::turn`].
    Next,
    /// Nowhere.
    None(AppendError),
}

impl Writer {
    pub(super) fn new(folder: Arc<Folder>, settings: &Settings) -> Self {
        let before = (folder.newest(), None);
        let (reserve, payload_bytes_max) = (settings.reserve(), settings.payload_bytes_max());
        Self { folder, reserve, payload_bytes_max, current: None, before }
    }

    /// Begins a segment if there is none.
    pub(super) fn ready(&mut self) -> io::Result<()> {
        if self.current.is_none() {
            let (previous, seal) = self.before;
            let Begun { life, file, size } = self.folder.begin(previous, seal)?;
            self.current = Some(Current {
                life,
                file,
                size,
                tail: BLOCK_BYTES,
                synced: BLOCK_BYTES,
                sequence: 0,
                durable: 0,
                unproved: false,
            });
        }
        Ok(())
    }

    /// Where this payload may go, if `waiting` octets of frames have been given a place here already.
    pub(super) fn room(&mut self, payload: &Payload, durability: Durability, waiting: u32) -> Room {
        let Some(bytes) = payload.length().filter(|l| *l <= self.payload_bytes_max).and_then(frame_bytes)
        else {
            let max = self.payload_bytes_max;
            return Room::None(AppendError::NotApplied(format!(
                "larger than a record may be ({max} octets)"
            )));
        };
        if let Err(error) = self.ready() {
            return Room::None(refusal(&error, "no segment can be begun"));
        }
        let Some(current) = &self.current else { return Room::None(no_segment()) };
        let left = current.size - current.tail.saturating_add(waiting).min(current.size);
        if bytes.saturating_add(self.reserve) <= left {
            return Room::Here;
        }
        // Near the end: new mail goes on only when the next segment is at hand; what frees space may use the
        // rest.
        match self.folder.ensure_spare() {
            Ok(()) if bytes <= left => Room::Here,
            Ok(()) => Room::Next,
            Err(_) if bytes <= left && durability != Durability::Sync => Room::Here,
            Err(error) => Room::None(refusal(&error, "no further segment can be allocated")),
        }
    }

    /// Writes frames, which [`Writer::room`] must have found to fit, without syncing them.
    pub(super) fn put(&mut self, payloads: &[Payload]) -> io::Result<Vec<Position>> {
        let Some(current) = &mut self.current else { return Err(io::ErrorKind::NotFound.into()) };
        current.put(payloads)
    }

    /// Syncs what has been written, if anything has; tells whether. Then, and only then, it may be
    /// acknowledged.
    pub(super) fn sync(&mut self) -> io::Result<bool> {
        let Some(current) = &mut self.current else { return Ok(false) };
        let needed = current.tail > current.synced;
        if needed {
            current.file.sync()?;
            // The next write begins a new block: a torn one must not hurt what has been acknowledged.
            current.synced = current.tail.next_multiple_of(BLOCK_BYTES).min(current.size);
            current.tail = current.synced;
            current.durable = current.sequence;
            current.unproved = true;
            self.folder.written(current.life.generation, current.tail, false);
        }
        Ok(needed)
    }

    /// Leaves the current segment, of which all has been synced, and begins the next.
    pub(super) fn turn(&mut self) -> Result<(), AppendError> {
        self.leave();
        self.ready().map_err(|error| refusal(&error, "no segment can be begun"))
    }

    /// After a failed write or sync: leaves the segment, and notes durably that what was not synced is
    /// aborted. Gives what the requests concerned are to be told.
    pub(super) fn abort(&mut self, error: &io::Error) -> AppendError {
        self.leave();
        match self.ready() {
            Ok(()) => refusal(error, "the disk failed"),
            Err(second) => {
                AppendError::Unknown(format!("{error}; and no new segment can be begun: {second}"))
            }
        }
    }

    fn leave(&mut self) {
        if let Some(current) = self.current.take() {
            self.folder.written(current.life.generation, current.synced, true);
            self.before = (current.life.generation, Some(current.durable));
        }
    }

    /// Writes a closing mark when the last sync is not known from a later frame. It needs no sync.
    pub(super) fn mark(&mut self) {
        let Some(current) = &mut self.current else { return };
        if current.unproved && current.size - current.tail >= FRAME_HEADER_BYTES {
            let mark = Payload { kind: CLOSING_MARK, slices: Vec::new() };
            if let Err(error) = current.put(&[mark]) {
                self.abort(&error);
            }
        }
    }

    /// Makes a spare if there is none; that there is no room for it is found out again when it is needed.
    pub(super) fn prepare(&self) {
        drop(self.folder.ensure_spare());
    }
}

impl Current {
    fn put(&mut self, payloads: &[Payload]) -> io::Result<Vec<Position>> {
        let mut headers = Vec::with_capacity(payloads.len());
        let mut positions = Vec::with_capacity(payloads.len());
        let (start, mut tail) = (self.tail, self.tail);
        for payload in payloads {
            let too_large = || io::Error::from(io::ErrorKind::InvalidInput);
            let length = payload.length().ok_or_else(too_large)?;
            let end = frame_bytes(length).and_then(|b| tail.checked_add(b)).filter(|e| *e <= self.size);
            let (life, sequence, durable) = (self.life, self.sequence, self.durable);
            let header = FrameHeader { life, sequence, length, durable, kind: payload.kind };
            headers.push(header.encode(tail, &payload.slices));
            positions.push(Position { generation: life.generation, offset: tail, len: length });
            tail = end.ok_or_else(too_large)?;
            self.sequence += 1;
        }
        let slices = gather(&headers, payloads);
        self.tail = tail;
        self.unproved = false;
        self.file.write_at(start.into(), &slices)?;
        Ok(positions)
    }
}

/// Headers, payloads and padding in the order they lie on disk; nothing is copied.
fn gather<'a>(headers: &'a [[u8; FRAME_HEADER_BYTES as usize]], payloads: &'a [Payload]) -> Vec<IoSlice<'a>> {
    let mut slices = Vec::with_capacity(payloads.len() * 4);
    for (header, payload) in headers.iter().zip(payloads) {
        slices.push(IoSlice::new(header));
        slices.extend(payload.slices.iter().map(|slice| IoSlice::new(slice)));
        let over = payload.length().unwrap_or_default() % ALIGNMENT;
        if let Some(padding) = ZEROS.get(over as usize..).filter(|_| over > 0) {
            slices.push(IoSlice::new(padding));
        }
    }
    slices
}

fn refusal(error: &io::Error, what: &str) -> AppendError {
    let words = format!("{what}: {error}");
    if is_full(error) { AppendError::Full(words) } else { AppendError::NotApplied(words) }
}

fn no_segment() -> AppendError {
    AppendError::NotApplied("there is no segment".into())
}
