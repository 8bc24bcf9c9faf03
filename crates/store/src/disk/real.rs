//! The operating system's file system.
//!
//! Files are opened close-on-exec (the standard library's default) with mode 0600, folders are made with
//! 0700. Small writes are gathered into one buffer, large ones are handed over slice by slice: copying a few
//! kilobytes costs less than a long vector, copying megabytes costs more. Only calls that glibc serves
//! without its name service are made.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;
use nix::sys::uio::pwritev;

use super::{Disk, DiskFile, Entry, FolderLock, Open, Space};

/// Writes up to this size are copied together.
const GATHERED_BYTES_MAX: usize = 64 * 1024;
/// Slices in one call: what Linux takes at most (`IOV_MAX`).
const SLICES_MAX: usize = 1024;

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(File);

#[derive(Debug)]
struct RealLock(#[expect(dead_code, reason = "dropping it releases the lock")] File);

impl FolderLock for RealLock {}

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(how != Open::Read).create_new(how == Open::Create).mode(0o600);
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        let above = path.parent().unwrap_or(Path::new(""));
        self.create_folder(above)?;
        match DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            other => other?,
        }
        self.sync_folder(if above.as_os_str().is_empty() { Path::new(".") } else { above })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            // A file may be removed between the two calls.
            let Ok(about) = entry.metadata() else { continue };
            if let (true, Ok(name)) = (about.is_file(), entry.file_name().into_string()) {
                entries.push(Entry { name, bytes: about.len() });
            }
        }
        Ok(entries)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let figures = statvfs(path)?;
        let unit = figures.fragment_size();
        Ok(Space {
            free: figures.blocks_available().saturating_mul(unit),
            total: figures.blocks().saturating_mul(unit),
        })
    }

    fn lock_folder(&self, folder: &Path) -> io::Result<Box<dyn FolderLock>> {
        let path = folder.join("lock");
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock(file))),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    fn random(&self) -> u32 {
        // The standard library keys each of these hashers from the system's random source.
        let value = RandomState::new().build_hasher().finish();
        u32::try_from(value >> 32).unwrap_or_default()
    }
}

impl DiskFile for RealFile {
    fn write_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        match slices {
            [] => Ok(()),
            [one] => self.0.write_all_at(one, offset),
            _ if length(slices) <= GATHERED_BYTES_MAX => {
                let mut gathered = Vec::with_capacity(length(slices));
                slices.iter().for_each(|slice| gathered.extend_from_slice(slice));
                self.0.write_all_at(&gathered, offset)
            }
            _ => self.write_vectored(offset, slices),
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|r| !r.is_empty()) {
            match self.0.read_at(rest, offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let length = i64::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        match fallocate(&self.0, FallocateFlags::empty(), 0, length) {
            Ok(()) => Ok(()),
            // Not every file system can: then the blocks come as they are written.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => self.0.set_len(bytes),
            Err(e) => Err(e.into()),
        }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

fn length(slices: &[IoSlice<'_>]) -> usize {
    slices.iter().map(|slice| slice.len()).sum()
}

impl RealFile {
    /// One system call for up to [`SLICES_MAX`] slices; short writes go on where they ended.
    fn write_vectored(&self, mut offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let mut copy: Vec<_> = slices.iter().filter(|s| !s.is_empty()).copied().collect();
        let mut rest = copy.as_mut_slice();
        while !rest.is_empty() {
            let now = rest.get(..SLICES_MAX).unwrap_or(rest);
            let at = i64::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
            match pwritev(&self.0, now, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    offset = offset.saturating_add(n as u64);
                    IoSlice::advance_slices(&mut rest, n);
                }
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}
