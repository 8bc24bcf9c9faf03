//! The only way to the file system for the journal and for bodies in files of their own.
//!
//! Two implementations: [`RealDisk`], and for tests `SimDisk`, which remembers what has been synced, can
//! produce every state that a crash may leave, and fails on demand. Nothing here knows what is stored. All
//! calls block; none retries. Nothing is durable before its sync returned: a file's content by
//! [`DiskFile::sync`], a name (created, renamed or removed) by [`Disk::sync_folder`]. After a failed sync the
//! content is undefined, and syncing again proves nothing.

mod real;
#[cfg(any(test, feature = "sim"))]
mod sim;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

pub use real::RealDisk;
#[cfg(any(test, feature = "sim"))]
pub use sim::{Crash, Fault, SimDisk};

/// How [`Disk::open`] opens a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// For reading; the file exists.
    Read,
    /// For reading and writing; the file exists.
    Write,
    /// For reading and writing; the file must not exist yet. Its mode is 0600.
    Create,
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The file name. Names that are not UTF-8 are left out: we make none.
    pub name: String,
    /// Size of the file in octets.
    pub bytes: u64,
}

/// Room in a file system, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free for an ordinary process.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// Keeps a folder for one process, until dropped.
pub trait FolderLock: Send + Sync + fmt::Debug {}

/// A file system.
///
/// Every method gives the error of the system call that failed; [`is_full`] tells a lack of space from the
/// rest.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens or creates a file.
    ///
    /// # Errors
    /// Not found, exists already, no permission, no space, or the device failed.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates a folder (mode 0700) and those above it that are missing, and makes their names durable. An
    /// existing one is fine.
    ///
    /// # Errors
    /// No permission, no space, something else has the name, or the device failed.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Renames a file; atomic, durable after [`Disk::sync_folder`]. An existing `to` is replaced.
    ///
    /// # Errors
    /// Those of rename(2).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name.
    ///
    /// # Errors
    /// Those of unlink(2).
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The files in a folder, in no particular order; folders in it are left out.
    ///
    /// # Errors
    /// Those of readdir(3) and stat(2).
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// The device failed: whether the names are durable is unknown.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Room in the file system that holds `path`.
    ///
    /// # Errors
    /// Those of statvfs(3).
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// Takes the folder for this process by locking the file `lock` in it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process has it.
    fn lock_folder(&self, folder: &Path) -> io::Result<Box<dyn FolderLock>>;

    /// A number that an outsider cannot guess.
    fn random(&self) -> u32;
}

/// An open file. Reads and writes name their offset, so that it may be shared.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Writes all slices one after the other from `offset` on. After an error any part may have been written.
    ///
    /// # Errors
    /// No space, or the device failed.
    fn write_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()>;

    /// Reads into `buffer` until it is full or the file ends; gives the number of octets.
    ///
    /// # Errors
    /// The device failed.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Makes the content durable, and the size (fdatasync(2)); not the name.
    ///
    /// # Errors
    /// The device failed: the content is undefined from then on, and a later success means nothing.
    fn sync(&self) -> io::Result<()>;

    /// Makes the file `bytes` long and reserves its blocks where the file system can; what is new reads as
    /// zeros.
    ///
    /// # Errors
    /// No space, or the device failed.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Its size in octets.
    ///
    /// # Errors
    /// Those of fstat(2).
    fn size(&self) -> io::Result<u64>;
}

/// True when the error is a lack of space or quota rather than a fault.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
