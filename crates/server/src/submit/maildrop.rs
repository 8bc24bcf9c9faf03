//! The maildrop folder: where `sendmail` leaves mail while the server does not run.
//!
//! Mode 1733: everybody may put a file in, nobody may list it, nobody may take another's out. A file has a random name
//! that cannot be guessed, so that only its owner and the server can open it. It is written under a name that begins with
//! a dot, and renamed when it is whole; the first line is the envelope as JSON, with the length of the message that
//! follows. The sender is the file's owner, whatever stands in it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::client::Envelope;

/// How whole files are named.
pub const SUFFIX: &str = ".mail";
/// How files are named that cannot be read: left for an operator.
pub const BAD_SUFFIX: &str = ".bad";
/// Mode of the folder.
pub const FOLDER_MODE: u32 = 0o1733;
/// Mode of a file: the server runs as another user and must read it; the folder keeps all others out.
const FILE_MODE: u32 = 0o644;
/// The line with the envelope is at most this long.
const ENVELOPE_BYTES_MAX: u64 = 4 << 20;
/// The version of this format.
const VERSION: u32 = 1;

/// The first line of a file.
#[derive(Debug, Serialize, Deserialize)]
struct Heading {
    version: u32,
    bytes: u64,
    #[serde(default)]
    full_name: Option<String>,
    envelope: Envelope,
}

/// A message that waits in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its file.
    pub path: PathBuf,
    /// The file's owner.
    pub uid: u32,
    /// Who sends to whom.
    pub envelope: Envelope,
    /// A name for a From that is missing.
    pub full_name: Option<String>,
    /// The message as the program gave it, with CRLF line ends.
    pub message: Vec<u8>,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// It cannot be opened or read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is not what [`put`] writes, and never will be.
    #[error("{0}")]
    Bad(&'static str),
}

/// Makes the folder, or mends its mode.
///
/// # Errors
/// What the system said.
pub fn prepare(folder: &Path) -> std::io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(FOLDER_MODE))
}

/// Leaves a message in the folder.
///
/// # Errors
/// What the system said; then nothing is left there.
pub fn put(
    folder: &Path,
    envelope: &Envelope,
    full_name: Option<&str>,
    message: &[u8],
) -> std::io::Result<()> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).map_err(std::io::Error::other)?;
    let name: String = random.iter().map(|b| format!("{b:02x}")).collect();
    let beside = folder.join(format!(".{name}"));
    let heading = Heading {
        version: VERSION,
        bytes: message.len() as u64,
        full_name: full_name.map(ToOwned::to_owned),
        envelope: envelope.clone(),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&beside)?;
    let written = (|| {
        // The umask may have taken away what the server needs.
        file.set_permissions(std::fs::Permissions::from_mode(FILE_MODE))?;
        serde_json::to_writer(&mut file, &heading)?;
        file.write_all(b"\n")?;
        file.write_all(message)?;
        file.sync_all()?;
        std::fs::rename(&beside, folder.join(format!("{name}{SUFFIX}")))
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    // The folder cannot be read, and therefore not synced, by everybody: then the name reaches the disk a little later.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    written
}

/// Whole files in the folder, in the order of their names. Partial and bad ones are not among them.
///
/// # Errors
/// What the system said.
pub fn waiting(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(SUFFIX) && !name.starts_with('.') {
            paths.push(folder.join(&*name));
        }
    }
    paths.sort();
    Ok(paths)
}

/// Reads one file. Links of either kind are refused: they would let one user send another's file.
///
/// # Errors
/// [`DropError`].
pub fn take(path: &Path, message_bytes_max: u64) -> Result<Dropped, DropError> {
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.nlink() != 1 {
        return Err(DropError::Bad("it is no regular file with one name"));
    }
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    (&mut reader).take(ENVELOPE_BYTES_MAX).read_until(b'\n', &mut line)?;
    let heading: Heading =
        serde_json::from_slice(&line).map_err(|_| DropError::Bad("its first line is no envelope"))?;
    if heading.version != VERSION {
        return Err(DropError::Bad("it was written by another version"));
    }
    if heading.bytes > message_bytes_max {
        return Err(DropError::Bad("the message is longer than message_bytes_max"));
    }
    let mut message = Vec::new();
    reader.take(heading.bytes + 1).read_to_end(&mut message)?;
    if message.len() as u64 != heading.bytes {
        return Err(DropError::Bad("it is shorter or longer than it says"));
    }
    let (envelope, full_name) = (heading.envelope, heading.full_name);
    Ok(Dropped { path: path.to_owned(), uid: metadata.uid(), envelope, full_name, message })
}

/// Puts a file aside that cannot be taken.
///
/// # Errors
/// What the system said.
pub fn put_aside(path: &Path) -> std::io::Result<()> {
    std::fs::rename(path, path.with_extension(BAD_SUFFIX.trim_start_matches('.')))
}
