//! What can go wrong with the journal, by who has to do something about it.

use std::io;
use std::path::PathBuf;

/// Why the journal does not open: the administrator has to act.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it.
    #[error("{}: the queue is in use by another process; stop that one first", .0.display())]
    InUse(PathBuf),
    /// A later version of the program wrote it.
    #[error(
        "{}: written in format {found}, this program knows format {known}; start the version that wrote it",
        path.display()
    )]
    Version {
        /// The segment.
        path: PathBuf,
        /// What its header says.
        found: u32,
        /// What we write.
        known: u32,
    },
    /// The system refused.
    #[error("{}: {what}: {error}", path.display())]
    Io {
        /// What was to be done.
        what: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
}

/// Why a payload was not appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Certainly not stored; no recovery will find it.
    #[error("not stored: {0}")]
    NotApplied(String),
    /// Certainly not stored, for lack of space.
    #[error("no space left: {0}")]
    Full(String),
    /// It may or may not be found after a restart: the disk failed, and so did the note of it.
    #[error("may or may not be stored: {0}")]
    Unknown(String),
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its segment has been recycled, or never existed.
    #[error("segment {0} is gone")]
    Gone(u64),
    /// What lies there is not the record.
    #[error("segment {generation}, offset {offset}: the record is damaged")]
    Damaged {
        /// The segment.
        generation: u64,
        /// Where the frame begins.
        offset: u32,
    },
    /// The system refused.
    #[error("segment {generation}: {error}")]
    Io {
        /// The segment.
        generation: u64,
        /// The system's words.
        error: io::Error,
    },
}
