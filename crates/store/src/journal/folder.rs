//! The journal's folder: which segments exist, the spares, how a segment begins and how it is given back.
//!
//! A name is durable before anything relies on it: frames are written only into a segment whose header *and*
//! name have been synced, and a spare is reused only after its renaming has been. Segments are given back
//! strictly from the oldest on, one synced step after the other, so that no settlement vanishes before its
//! message. Never looks into frames.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::error::JournalError;
use super::frame::{BLOCK_BYTES, FORMAT_VERSION, Life, ReadHeader, SegmentHeader};
use super::{SegmentInfo, Settings};
use crate::disk::{Disk, DiskFile, FolderLock, Open};

/// The folder of an open journal.
#[derive(Debug)]
pub(super) struct Folder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    segment_size: u32,
    spares_max: usize,
    segments: RwLock<BTreeMap<u64, Segment>>,
    names: Mutex<Names>,
    _lock: Box<dyn FolderLock>,
}

#[derive(Debug)]
struct Segment {
    file: Arc<dyn DiskFile>,
    /// Of the file.
    size: u32,
    /// Where its frames end; for segments of an earlier process, its size.
    end: u32,
    sealed: bool,
    released: bool,
}

/// Held across changes of names, so that these happen one after the other.
#[derive(Debug)]
struct Names {
    next_generation: u64,
    spares: Vec<PathBuf>,
    /// A spare whose renaming could not be synced yet.
    unsynced_spare: Option<PathBuf>,
}

/// A segment of an earlier process.
#[derive(Debug, Clone)]
pub(super) struct Older {
    pub(super) generation: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) size: u32,
    pub(super) header: ReadHeader,
}

/// A segment that may be written.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) life: Life,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) size: u32,
}

fn segment_name(generation: u64) -> String {
    format!("{generation:016x}.seg")
}

/// The number in a name such as `0000000000000007.seg`.
fn number(name: &str, ending: &str) -> Option<u64> {
    let digits = name.strip_suffix(ending).filter(|d| d.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().filter(|n| format!("{n:016x}") == digits)
}

fn read_header(file: &dyn DiskFile, generation: u64) -> ReadHeader {
    let mut block = vec![0; BLOCK_BYTES as usize];
    match file.read_at(0, &mut block) {
        Ok(n) => SegmentHeader::decode(block.get(..n).unwrap_or_default(), generation),
        Err(_) => ReadHeader::Damaged,
    }
}

impl Folder {
    /// Takes the folder, making it if need be, and finds the older segments, the oldest first.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        settings: &Settings,
    ) -> Result<(Self, Vec<Older>), JournalError> {
        let failed = |what| move |error| JournalError::Io { what, path: path.to_path_buf(), error };
        disk.create_folder(path).map_err(failed("cannot make the folder"))?;
        let lock = disk.lock_folder(path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => JournalError::InUse(path.to_path_buf()),
            _ => failed("cannot lock the folder")(error),
        })?;
        let mut older = Vec::new();
        let mut spares = Vec::new();
        let mut highest = 0;
        for entry in disk.list(path).map_err(failed("cannot list the folder"))? {
            if let Some(generation) = number(&entry.name, ".seg") {
                highest = highest.max(generation);
                older.push(Self::open_older(&*disk, &path.join(&entry.name), generation, entry.bytes)?);
            } else if let Some(number) = number(&entry.name, ".spare") {
                highest = highest.max(number);
                spares.push((path.join(&entry.name), entry.bytes));
            }
        }
        older.sort_by_key(|o: &Older| o.generation);
        let segment_size = settings.segment_size();
        let spares_max = usize::try_from(settings.spare_segments_max).unwrap_or(usize::MAX).max(1);
        let spares = keep_spares(&*disk, spares, segment_size, spares_max);
        let segments = older.iter().map(|o| {
            let file = Arc::clone(&o.file);
            (o.generation, Segment { file, size: o.size, end: o.size, sealed: true, released: false })
        });
        let folder = Self {
            segments: RwLock::new(segments.collect()),
            names: Mutex::new(Names { next_generation: highest + 1, spares, unsynced_spare: None }),
            path: path.to_path_buf(),
            disk,
            segment_size,
            spares_max,
            _lock: lock,
        };
        Ok((folder, older))
    }

    fn open_older(disk: &dyn Disk, path: &Path, generation: u64, bytes: u64) -> Result<Older, JournalError> {
        let file = disk.open(path, Open::Read).map_err(|error| JournalError::Io {
            what: "cannot open",
            path: path.to_path_buf(),
            error,
        })?;
        let header = read_header(&*file, generation);
        if let ReadHeader::Version(found) = header {
            return Err(JournalError::Version { path: path.to_path_buf(), found, known: FORMAT_VERSION });
        }
        Ok(Older { generation, file, size: u32::try_from(bytes).unwrap_or(u32::MAX), header })
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_segments<T>(&self, f: impl FnOnce(&mut BTreeMap<u64, Segment>) -> T) -> T {
        f(&mut self.segments.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The file of a segment that still exists, and its size.
    pub(super) fn file(&self, generation: u64) -> Option<(Arc<dyn DiskFile>, u32)> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.get(&generation).map(|s| (Arc::clone(&s.file), s.size))
    }

    /// All segments, the oldest first.
    pub(super) fn segments(&self) -> Vec<SegmentInfo> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let info = |(&generation, s): (&u64, &Segment)| SegmentInfo {
            generation,
            bytes: s.end,
            sealed: s.sealed,
            released: s.released,
        };
        segments.iter().map(info).collect()
    }

    /// The newest segment of all, 0 for none.
    pub(super) fn newest(&self) -> u64 {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.last_key_value().map_or(0, |(&generation, _)| generation)
    }

    /// Notes how far a segment has been written, and whether it ever will be further.
    pub(super) fn written(&self, generation: u64, end: u32, sealed: bool) {
        self.with_segments(|segments| {
            if let Some(segment) = segments.get_mut(&generation) {
                segment.end = end;
                segment.sealed |= sealed;
            }
        });
    }

    /// Sees to it that a segment can begin without new disk blocks.
    pub(super) fn ensure_spare(&self) -> io::Result<()> {
        let mut names = self.names();
        if names.spares.is_empty() {
            let spare = self.allocate(&mut names)?;
            names.spares.push(spare);
        }
        Ok(())
    }

    fn allocate(&self, names: &mut Names) -> io::Result<PathBuf> {
        let path = self.path.join(format!("{:016x}.spare", names.take_generation()));
        let file = self.disk.open(&path, Open::Create)?;
        if let Err(error) = file.allocate(self.segment_size.into()) {
            // An empty file would only be in the way; when it cannot be removed, the next start does.
            drop(self.disk.remove(&path));
            return Err(error);
        }
        Ok(path)
    }

    /// Begins a segment that seals `previous` at `seal`. Once this was called, `previous` must not be written
    /// any more, whatever comes back.
    pub(super) fn begin(&self, previous: u64, seal: Option<u32>) -> io::Result<Begun> {
        let mut names = self.names();
        let spare = match names.spares.pop() {
            Some(spare) => spare,
            None => self.allocate(&mut names)?,
        };
        let generation = names.take_generation();
        let life = Life { generation, mark: self.disk.random() };
        let header = SegmentHeader { life, previous, seal, bytes: self.segment_size };
        let name = self.path.join(segment_name(generation));
        match self.make_segment(&spare, &name, &header) {
            Ok(file) => {
                let size = self.segment_size;
                let segment = Segment {
                    file: Arc::clone(&file),
                    size,
                    end: BLOCK_BYTES,
                    sealed: false,
                    released: false,
                };
                self.with_segments(|segments| segments.insert(generation, segment));
                Ok(Begun { life, file, size })
            }
            Err(error) => {
                // What has failed once is not trusted again. Should a crash bring it back, it is an empty
                // segment.
                drop(self.disk.remove(&spare).or_else(|_| self.disk.remove(&name)));
                Err(error)
            }
        }
    }

    /// The header first, then the name, each synced.
    fn make_segment(
        &self,
        spare: &Path,
        name: &Path,
        header: &SegmentHeader,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(spare, Open::Write)?;
        // A spare of an earlier process may be one of which nothing, not even its size, ever reached the
        // disk.
        file.allocate(self.segment_size.into())?;
        file.write_at(0, &[IoSlice::new(&header.encode())])?;
        file.sync()?;
        self.disk.rename(spare, name)?;
        self.disk.sync_folder(&self.path)?;
        Ok(file)
    }

    /// Nothing in this segment is needed any more. Gives back all released segments that are older than every
    /// other one.
    pub(super) fn release(&self, generation: u64) -> Result<(), JournalError> {
        let failed =
            |error| JournalError::Io { what: "cannot give a segment back", path: self.path.clone(), error };
        let mut names = self.names();
        self.with_segments(|segments| {
            if let Some(segment) = segments.get_mut(&generation) {
                segment.released = true;
            }
        });
        if names.unsynced_spare.is_some() {
            self.sync_spare(&mut names).map_err(failed)?;
        }
        while let Some(oldest) = self.oldest_if_released() {
            self.give_back(oldest, &mut names).map_err(failed)?;
        }
        Ok(())
    }

    fn oldest_if_released(&self) -> Option<u64> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.first_key_value().filter(|(_, s)| s.sealed && s.released).map(|(&generation, _)| generation)
    }

    fn give_back(&self, generation: u64, names: &mut Names) -> io::Result<()> {
        let segment = self.path.join(segment_name(generation));
        let spare = self.path.join(format!("{generation:016x}.spare"));
        self.disk.rename(&segment, &spare)?;
        self.with_segments(|segments| segments.remove(&generation));
        names.unsynced_spare = Some(spare);
        self.sync_spare(names)
    }

    fn sync_spare(&self, names: &mut Names) -> io::Result<()> {
        self.disk.sync_folder(&self.path)?;
        let Some(spare) = names.unsynced_spare.take() else { return Ok(()) };
        let file = self.disk.open(&spare, Open::Read)?;
        if names.spares.len() < self.spares_max && file.size()? == u64::from(self.segment_size) {
            names.spares.push(spare);
            return Ok(());
        }
        self.disk.remove(&spare)
    }
}

impl Names {
    fn take_generation(&mut self) -> u64 {
        let generation = self.next_generation;
        self.next_generation += 1;
        generation
    }
}

/// Of the spares found, those that are of use; the others are removed.
fn keep_spares(disk: &dyn Disk, found: Vec<(PathBuf, u64)>, segment_size: u32, max: usize) -> Vec<PathBuf> {
    let mut kept = Vec::new();
    for (path, bytes) in found {
        if bytes == u64::from(segment_size) && kept.len() < max {
            kept.push(path);
        } else {
            // A file that cannot be removed takes up space and does no other harm.
            drop(disk.remove(&path));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_read() {
        assert_eq!(number("0000000000000007.seg", ".seg"), Some(7));
        assert_eq!(number("00000000000000ff.spare", ".spare"), Some(255));
        for name in ["7.seg", "000000000000000g.seg", "00000000000000FF.seg", "+000000000000007.seg", "lock"]
        {
            assert_eq!(number(name, ".seg"), None, "{name}");
        }
    }
}
