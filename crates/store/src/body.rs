//! Bodies in files of their own: written while they stream in, synced and named when their message is committed.
//!
//! A file is `spool/<queue id>.part` until it is complete and synced, then `spool/<queue id>` (docs/queue-states.md §4).
//! Whoever drops a [`BodyWriter`] or a [`SpooledBody`] that was not committed removes the file. Calls write to the page
//! cache only, and so seldom block for long; the sync is the engine's, on a thread of its own.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mail::QueueId;

use crate::disk::{Disk, DiskFile, Open, is_full};
use crate::queue_store::StoreError;

/// Small writes are gathered up to so many octets: what a writer holds is not counted anywhere, so it is little.
const GATHER_BYTES: usize = 16 * 1024;
/// Files are read in pieces of so many octets.
const PIECE_BYTES: usize = 64 * 1024;

/// A body that is being written to a file of its own (or, by the memory engine, kept).
#[derive(Debug)]
pub struct BodyWriter {
    body: SpooledBody,
    gathered: BytesMut,
}

/// A body that is complete but not yet part of a stored message. Dropping it removes it.
pub struct SpooledBody {
    size: u64,
    pub(crate) checksum: u32,
    pub(crate) kept: Kept,
}

/// Where the octets are.
pub(crate) enum Kept {
    Memory(Vec<Bytes>),
    File(PartFile),
}

/// A file under its provisional name, removed on drop unless [`PartFile::commit`] named it.
pub(crate) struct PartFile {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    part: PathBuf,
    committed: bool,
}

impl BodyWriter {
    /// Keeps the body in memory.
    pub(crate) fn in_memory() -> Self {
        let body = SpooledBody { size: 0, checksum: 0, kept: Kept::Memory(Vec::new()) };
        Self { body, gathered: BytesMut::new() }
    }

    /// Makes the file.
    pub(crate) fn in_file(disk: Arc<dyn Disk>, spool: &Path, id: QueueId) -> Result<Self, StoreError> {
        let part = spool.join(format!("{id}.part"));
        let file = disk.open(&part, Open::Create).map_err(|e| refused(&part, &e))?;
        let kept = Kept::File(PartFile { disk, file, part, committed: false });
        Ok(Self { body: SpooledBody { size: 0, checksum: 0, kept }, gathered: BytesMut::new() })
    }

    /// Adds octets to the body.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::NotApplied`]; the writer is then of no further use.
    pub fn write(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        if self.gathered.len() + octets.len() < GATHER_BYTES {
            self.gathered.extend_from_slice(octets);
            return Ok(());
        }
        let gathered = self.gathered.split();
        self.body.add(&[&gathered, octets])
    }

    /// Octets so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.body.size + self.gathered.len() as u64
    }

    /// The body is complete.
    ///
    /// # Errors
    /// As [`BodyWriter::write`].
    pub fn finish(mut self) -> Result<SpooledBody, StoreError> {
        let gathered = self.gathered.split();
        self.body.add(&[&gathered])?;
        Ok(self.body)
    }
}

impl SpooledBody {
    /// Octets.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The octets, a piece at a time: for a signature over a body that is too large for memory. Reads files.
    pub fn pieces(&self) -> impl Iterator<Item = io::Result<Bytes>> + '_ {
        let mut place = 0_u64;
        let mut chunk = 0;
        std::iter::from_fn(move || match &self.kept {
            Kept::Memory(chunks) => {
                chunk += 1;
                chunks.get(chunk - 1).cloned().map(Ok)
            }
            Kept::File(_) if place >= self.size => None,
            Kept::File(PartFile { file, .. }) => {
                let left = usize::try_from(self.size - place).unwrap_or(usize::MAX);
                let mut piece = BytesMut::zeroed(left.min(PIECE_BYTES));
                let read = file.read_at(place, &mut piece);
                // A failure is told once, and ends it.
                place = if read.is_ok() { place + piece.len() as u64 } else { self.size };
                Some(read.map(|_| piece.freeze()))
            }
        })
    }

    fn add(&mut self, parts: &[&[u8]]) -> Result<(), StoreError> {
        match &mut self.kept {
            Kept::Memory(chunks) => {
                chunks.extend(parts.iter().filter(|p| !p.is_empty()).map(|p| Bytes::copy_from_slice(p)));
            }
            Kept::File(PartFile { file, part, .. }) => {
                let slices: Vec<IoSlice<'_>> = parts.iter().map(|p| IoSlice::new(p)).collect();
                file.write_at(self.size, &slices).map_err(|e| refused(part, &e))?;
            }
        }
        for part in parts {
            self.checksum = crc32c::crc32c_append(self.checksum, part);
            self.size += part.len() as u64;
        }
        Ok(())
    }
}

impl fmt::Debug for SpooledBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.kept {
            Kept::Memory(_) => Path::new("memory"),
            Kept::File(file) => &file.part,
        };
        f.debug_struct("SpooledBody").field("size", &self.size).field("kept", &name).finish()
    }
}

impl PartFile {
    /// Makes the content durable and gives the file its final name, which the caller makes durable by syncing the folder.
    pub(crate) fn commit(mut self, name: &Path) -> Result<(), StoreError> {
        self.file.sync().map_err(|e| refused(&self.part, &e))?;
        self.disk.rename(&self.part, name).map_err(|e| refused(name, &e))?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.committed {
            // What cannot be removed now goes at the next start: it has no record.
            drop(self.disk.remove(&self.part));
        }
    }
}

/// What a failed call on a body's file means to whoever wants to store it.
pub(crate) fn refused(path: &Path, error: &io::Error) -> StoreError {
    let text = format!("{}: {error}", path.display());
    if is_full(error) { StoreError::Full(text) } else { StoreError::NotApplied(text) }
}

/// The CRC-32C of a file, and its size.
pub(crate) fn checksum_of(file: &dyn DiskFile) -> io::Result<(u32, u64)> {
    let mut buffer = vec![0; PIECE_BYTES];
    let (mut checksum, mut size) = (0, 0);
    loop {
        let read = file.read_at(size, &mut buffer)?;
        let Some(octets) = buffer.get(..read).filter(|o| !o.is_empty()) else { return Ok((checksum, size)) };
        checksum = crc32c::crc32c_append(checksum, octets);
        size += read as u64;
    }
}
