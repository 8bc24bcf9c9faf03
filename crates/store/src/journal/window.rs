//! A segment file seen through one chunk of memory, read forwards. What the device does not give reads as
//! zeros, and is noted.

use std::sync::Arc;

use bytes::Bytes;

use super::frame::{ALIGNMENT, BLOCK_BYTES};
use crate::disk::DiskFile;

/// Octets read at once; more for a frame that is larger.
const CHUNK_BYTES: u32 = 1024 * 1024;

/// Gives parts of a file up to `end`.
#[derive(Debug, Clone)]
pub(super) struct Window {
    file: Arc<dyn DiskFile>,
    end: u32,
    start: u32,
    chunk: Bytes,
    unreadable: Vec<(u32, u32)>,
}

impl Window {
    pub(super) fn new(file: Arc<dyn DiskFile>, end: u32) -> Self {
        Self { file, end, start: 0, chunk: Bytes::new(), unreadable: Vec::new() }
    }

    /// These octets, without copying them; `None` when they reach beyond the end.
    pub(super) fn get(&mut self, offset: u32, length: u32) -> Option<Bytes> {
        if offset.checked_add(length)? > self.end {
            return None;
        }
        if self.inside(offset, length).is_none() {
            self.load(offset, length.max(CHUNK_BYTES));
        }
        let (from, to) = self.inside(offset, length)?;
        Some(self.chunk.slice(from..to))
    }

    fn inside(&self, offset: u32, length: u32) -> Option<(usize, usize)> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(usize::try_from(length).ok()?)?;
        (to <= self.chunk.len()).then_some((from, to))
    }

    /// The first place from `offset` on, in steps of the frames' alignment, where `pattern` lies `ahead`
    /// octets later.
    pub(super) fn find(&mut self, mut offset: u32, ahead: u32, pattern: &[u8]) -> Option<u32> {
        let needed = ahead + u32::try_from(pattern.len()).ok()?;
        loop {
            self.get(offset, needed)?;
            let (from, _) = self.inside(offset, needed)?;
            let mut steps = 0;
            for place in self.chunk.get(from + ahead as usize..)?.chunks(ALIGNMENT as usize) {
                if place.starts_with(pattern) {
                    return offset.checked_add(steps);
                }
                // The last place of the chunk may show only a part of the pattern.
                if place.len() < pattern.len() {
                    break;
                }
                steps += ALIGNMENT;
            }
            offset = offset.checked_add(steps)?;
        }
    }

    fn load(&mut self, offset: u32, length: u32) {
        let length = length.min(self.end.saturating_sub(offset));
        let mut chunk = vec![0; length as usize];
        match self.file.read_at(offset.into(), &mut chunk) {
            Ok(_) => {}
            Err(_) => self.load_by_blocks(offset, &mut chunk),
        }
        self.start = offset;
        self.chunk = chunk.into();
    }

    /// The device refused a part: what it gives is used all the same.
    fn load_by_blocks(&mut self, offset: u32, chunk: &mut [u8]) {
        let mut at = offset;
        for block in chunk.chunks_mut(BLOCK_BYTES as usize) {
            let length = u32::try_from(block.len()).unwrap_or(BLOCK_BYTES);
            if self.file.read_at(at.into(), block).is_err() {
                block.fill(0);
                self.note(at, at.saturating_add(length));
            }
            at = at.saturating_add(length);
        }
    }

    fn note(&mut self, from: u32, to: u32) {
        match self.unreadable.last_mut() {
            // Chunks may overlap, and neighbours are one.
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => self.unreadable.push((from, to)),
        }
    }

    /// What could not be read: from, to.
    pub(super) fn unreadable(&mut self) -> Vec<(u32, u32)> {
        std::mem::take(&mut self.unreadable)
    }
}
