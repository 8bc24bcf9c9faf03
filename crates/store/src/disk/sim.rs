//! A disk in memory for tests: it remembers what has been synced, can be crashed at any moment, and fails on
//! demand.
//!
//! Every operation is logged. [`SimDisk::crash`] makes a new disk from the log as a power cut after any
//! operation may have left it: what was synced is there, and of everything else any part, in any order,
//! sector by sector, or as garbage. The model is weaker than real file systems: it promises only what
//! fsync(2) does. After a *failed* sync the writes that it should have covered may get lost even when a later
//! sync succeeds, as on Linux.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, Entry, FolderLock, Open, Space};

/// What a drive writes as one; a crash keeps or loses each by itself.
const SECTOR_BYTES: usize = 512;
/// What a file system rewrites as one; a torn write spoils all of it.
const BLOCK_BYTES: usize = 4096;

/// What becomes, in a power cut, of that which was not synced. A *piece* is one sector of a write, or one
/// change of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// All is lost.
    Synced,
    /// All is kept; this is what `kill -9` leaves.
    All,
    /// The first so many pieces are kept, in the order they were written.
    Prefix(usize),
    /// Bit n tells whether piece n is kept (pieces from 64 on are lost).
    Mask(u64),
    /// Each piece is kept or lost as this seed has it.
    Random(u64),
    /// Each piece is kept, lost, or its whole block is garbage, as this seed has it.
    Torn(u64),
}

/// An operation that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The operation that fails, counted from the first that the disk ever saw, from 0.
    pub at: usize,
    /// Its error. With [`io::ErrorKind::StorageFull`] reading and removing still work.
    pub error: io::ErrorKind,
    /// All later ones fail as well, until [`SimDisk::heal`].
    pub lasting: bool,
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<Inner>>);

type Inode = usize;

#[derive(Default)]
struct Inner {
    names: BTreeMap<PathBuf, Inode>,
    folders: BTreeSet<PathBuf>,
    contents: Vec<Vec<u8>>,
    /// What the disk held before the first operation in `log`.
    base: BTreeMap<PathBuf, Inode>,
    base_contents: Vec<Vec<u8>>,
    log: Vec<Op>,
    operations: usize,
    fault: Option<Fault>,
    capacity: Option<u64>,
    locked: BTreeSet<PathBuf>,
    random: u64,
}

#[derive(Clone)]
enum Op {
    Create { path: PathBuf, inode: Inode },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
    Write { inode: Inode, offset: usize, data: Vec<u8> },
    Resize { inode: Inode, bytes: usize },
    Sync { inode: Inode },
    FailedSync { inode: Inode },
    SyncFolder { folder: PathBuf },
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimDisk({} operations)", self.operations())
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty disk with room without end.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Inner { random: 0x9e37_79b9_7f4a_7c15, ..Inner::default() })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operations so far, failed ones included.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.inner().operations
    }

    /// Changes so far: the moments at which [`SimDisk::crash`] may cut.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.inner().log.len()
    }

    /// Lets an operation fail.
    pub fn fail(&self, fault: Fault) {
        self.inner().fault = Some(fault);
    }

    /// No operation fails any longer.
    pub fn heal(&self) {
        self.inner().fault = None;
    }

    /// Room in all, in octets; files count with their size.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner().capacity = bytes;
    }

    /// Pieces that a crash after the first `at` changes could lose.
    #[must_use]
    pub fn loose(&self, at: usize) -> usize {
        let inner = self.inner();
        inner
            .log
            .iter()
            .take(at)
            .zip(inner.durable(at))
            .map(|(op, durable)| if durable { 0 } else { op.pieces() })
            .sum()
    }

    /// The disk that a crash after the first `at` changes leaves. It begins a log of its own.
    #[must_use]
    pub fn crash(&self, at: usize, how: Crash) -> Self {
        let inner = self.inner();
        let mut after = Inner {
            names: inner.base.clone(),
            contents: inner.base_contents.clone(),
            folders: inner.folders.clone(),
            random: inner.random,
            ..Inner::default()
        };
        after.contents.resize(inner.contents.len(), Vec::new());
        let mut fate = Fate::new(how);
        for (op, durable) in inner.log.iter().take(at).zip(inner.durable(at)) {
            after.replay(op, durable, &mut fate);
        }
        after.base = after.names.clone();
        after.base_contents = after.contents.clone();
        Self(Arc::new(Mutex::new(after)))
    }

    /// The content of a file, as a reader sees it now.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let inner = self.inner();
        inner.contents.get(*inner.names.get(path)?).cloned()
    }

    /// All files.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.inner().names.keys().cloned().collect()
    }

    /// Changes a file behind everybody's back, as a failing drive does. Does nothing when there is no such
    /// file.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = self.inner();
        if let Some(inode) = inner.names.get(path).copied()
            && let Some(content) = inner.contents.get_mut(inode)
        {
            change(content);
        }
    }
}

impl Inner {
    /// Counts an operation, and tells its error when it is to fail.
    fn step(&mut self, grows: bool) -> io::Result<()> {
        let now = self.operations;
        self.operations += 1;
        match self.fault {
            Some(f) if now == f.at || (f.lasting && now > f.at) => {
                if grows || f.error != io::ErrorKind::StorageFull { Err(f.error.into()) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// For each of the first `at` operations, whether syncs before `at` made it durable.
    fn durable(&self, at: usize) -> Vec<bool> {
        let mut durable = vec![true; at.min(self.log.len())];
        let (mut files, mut folders) = (BTreeSet::new(), BTreeSet::new());
        for (op, slot) in self.log.iter().take(at).zip(durable.iter_mut()).rev() {
            match op {
                Op::Sync { inode } => {
                    // A sync after a failed one covers what was written in between, and nothing earlier.
                    files.insert(*inode);
                }
                Op::FailedSync { inode } => {
                    files.remove(inode);
                }
                Op::SyncFolder { folder } => {
                    folders.insert(folder.clone());
                }
                Op::Write { inode, .. } | Op::Resize { inode, .. } => *slot = files.contains(inode),
                Op::Create { path, .. } | Op::Remove { path } | Op::Rename { from: path, .. } => {
                    *slot = folders.contains(&folder_of(path));
                }
            }
        }
        durable
    }

    fn replay(&mut self, op: &Op, durable: bool, fate: &mut Fate) {
        if let Op::Write { inode, offset, data } = op {
            for (at, piece) in sectors(*offset, data) {
                let kept = if durable { Kept::Whole } else { fate.next() };
                self.replay_sector(*inode, at, piece, kept);
            }
        } else if durable || op.pieces() == 0 || fate.next() != Kept::Not {
            self.apply(op);
        }
    }

    fn replay_sector(&mut self, inode: Inode, at: usize, piece: &[u8], kept: Kept) {
        match kept {
            Kept::Not => {}
            Kept::Whole => self.write(inode, at, piece),
            Kept::Garbage(byte) => {
                let start = at / BLOCK_BYTES * BLOCK_BYTES;
                self.write(inode, start, &[byte; BLOCK_BYTES]);
            }
        }
    }

    /// Does what the operation says, to the state that readers see.
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Create { path, inode } => {
                self.names.insert(path.clone(), *inode);
            }
            Op::Rename { from, to } => {
                if let Some(inode) = self.names.remove(from) {
                    self.names.insert(to.clone(), inode);
                }
            }
            Op::Remove { path } => {
                self.names.remove(path);
            }
            Op::Write { inode, offset, data } => self.write(*inode, *offset, data),
            Op::Resize { inode, bytes } => {
                if let Some(content) = self.contents.get_mut(*inode) {
                    content.resize(*bytes, 0);
                }
            }
            Op::Sync { .. } | Op::FailedSync { .. } | Op::SyncFolder { .. } => {}
        }
    }

    fn write(&mut self, inode: Inode, offset: usize, data: &[u8]) {
        if let Some(content) = self.contents.get_mut(inode) {
            content.resize(content.len().max(offset + data.len()), 0);
            if let Some(place) = content.get_mut(offset..offset + data.len()) {
                place.copy_from_slice(data);
            }
        }
    }

    fn record(&mut self, op: Op) {
        self.apply(&op);
        self.log.push(op);
    }

    fn find(&self, path: &Path) -> io::Result<Inode> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used(&self) -> u64 {
        self.names.values().filter_map(|&i| self.contents.get(i)).map(|c| c.len() as u64).sum()
    }

    fn room_for(&self, inode: Inode, bytes: usize) -> io::Result<()> {
        let has = self.contents.get(inode).map_or(0, Vec::len);
        let more = bytes.saturating_sub(has) as u64;
        match self.capacity {
            Some(all) if more > 0 && self.used() + more > all => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

impl Op {
    /// How many pieces a crash can lose of it.
    fn pieces(&self) -> usize {
        match self {
            Self::Write { offset, data, .. } => sectors(*offset, data).count(),
            Self::Create { .. } | Self::Rename { .. } | Self::Remove { .. } | Self::Resize { .. } => 1,
            Self::Sync { .. } | Self::FailedSync { .. } | Self::SyncFolder { .. } => 0,
        }
    }
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_path_buf()
}

/// The parts of a write, cut where sectors end, with their offsets.
fn sectors(offset: usize, data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = offset;
    let mut rest = data;
    std::iter::from_fn(move || {
        let room = SECTOR_BYTES - at % SECTOR_BYTES;
        let (piece, after) = rest.split_at_checked(room).unwrap_or((rest, &[]));
        let here = at;
        rest = after;
        at += piece.len();
        (!piece.is_empty()).then_some((here, piece))
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Not,
    Whole,
    Garbage(u8),
}

/// Decides about one piece after the other.
struct Fate {
    how: Crash,
    piece: usize,
    state: u64,
}

impl Fate {
    fn new(how: Crash) -> Self {
        let state = match how {
            Crash::Random(seed) | Crash::Torn(seed) => seed,
            _ => 0,
        };
        Self { how, piece: 0, state }
    }

    fn next(&mut self) -> Kept {
        let piece = self.piece;
        self.piece += 1;
        let kept = match self.how {
            Crash::Synced => false,
            Crash::All => true,
            Crash::Prefix(n) => piece < n,
            Crash::Mask(mask) => piece < 64 && mask >> piece & 1 == 1,
            Crash::Random(_) => split_mix(&mut self.state) & 1 == 1,
            Crash::Torn(_) => {
                let roll = split_mix(&mut self.state);
                if roll.is_multiple_of(8) {
                    return Kept::Garbage(u8::try_from(roll >> 32 & 0xff).unwrap_or_default());
                }
                roll & 1 == 1
            }
        };
        if kept { Kept::Whole } else { Kept::Not }
    }
}

/// `SplitMix64`: the next of a sequence of well-mixed numbers.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

struct SimFile {
    disk: SimDisk,
    inode: Inode,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({})", self.inode)
    }
}

struct SimLock {
    disk: SimDisk,
    folder: PathBuf,
}

impl fmt::Debug for SimLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimLock({})", self.folder.display())
    }
}

impl FolderLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.inner().locked.remove(&self.folder);
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner();
        inner.step(how == Open::Create)?;
        let inode = if how == Open::Create {
            if inner.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            inner.contents.push(Vec::new());
            let inode = inner.contents.len() - 1;
            inner.record(Op::Create { path: path.to_path_buf(), inode });
            inode
        } else {
            inner.find(path)?
        };
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.step(true)?;
        // Folders are durable at once: the real one syncs them before it returns.
        inner.folders.insert(path.to_path_buf());
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.step(true)?;
        inner.find(from)?;
        inner.record(Op::Rename { from: from.to_path_buf(), to: to.to_path_buf() });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.step(false)?;
        inner.find(path)?;
        inner.record(Op::Remove { path: path.to_path_buf() });
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let mut inner = self.inner();
        inner.step(false)?;
        let inside = inner.names.iter().filter(|(path, _)| path.parent() == Some(folder));
        let entry = |(path, inode): (&PathBuf, &Inode)| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some(Entry { name, bytes: inner.contents.get(*inode)?.len() as u64 })
        };
        Ok(inside.filter_map(entry).collect())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.step(true)?;
        inner.record(Op::SyncFolder { folder: folder.to_path_buf() });
        Ok(())
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let mut inner = self.inner();
        inner.step(false)?;
        let total = inner.capacity.unwrap_or(u64::MAX / 2);
        Ok(Space { free: total.saturating_sub(inner.used()), total })
    }

    fn lock_folder(&self, folder: &Path) -> io::Result<Box<dyn FolderLock>> {
        let mut inner = self.inner();
        inner.step(true)?;
        if !inner.locked.insert(folder.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { disk: self.clone(), folder: folder.to_path_buf() }))
    }

    fn random(&self) -> u32 {
        u32::try_from(split_mix(&mut self.inner().random) >> 32).unwrap_or_default()
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let mut inner = self.disk.inner();
        let mut data = Vec::new();
        slices.iter().for_each(|slice| data.extend_from_slice(slice));
        let offset = size(offset);
        let result = inner.step(true).and_then(|()| inner.room_for(self.inode, offset + data.len()));
        if result.is_err() {
            // A write that fails may have come half-way.
            data.truncate(data.len() / 2);
            if inner.room_for(self.inode, offset + data.len()).is_err() {
                return result;
            }
        }
        inner.record(Op::Write { inode: self.inode, offset, data });
        result
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.disk.inner();
        inner.step(false)?;
        let rest = inner.contents.get(self.inode).and_then(|c| c.get(size(offset)..)).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.disk.inner();
        let result = inner.step(true);
        let inode = self.inode;
        inner.record(if result.is_ok() { Op::Sync { inode } } else { Op::FailedSync { inode } });
        result
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.step(true)?;
        inner.room_for(self.inode, size(bytes))?;
        inner.record(Op::Resize { inode: self.inode, bytes: size(bytes) });
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        let mut inner = self.disk.inner();
        inner.step(false)?;
        Ok(inner.contents.get(self.inode).map_or(0, |c| c.len() as u64))
    }
}
