//! Numbers in files, and files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;

/// What was learnt is its owner's: who has a letter could find out whether it was.
const FILE_MODE: u32 = 0o600;

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_f32(out: &mut Vec<u8>, value: f32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Seven bits an octet, the low ones first, the eighth says that there are more.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value > 0x7f {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// A file as it is written: what is in it, which begins with its format's line, and a checksum of that (CRC-32C).
pub(super) fn sealed(mut content: Vec<u8>) -> Vec<u8> {
    let sum = crc32c::crc32c(&content);
    put_u32(&mut content, sum);
    content
}

/// What is between a file's first line and its checksum; none when it is of another format, or not as it was written.
pub(super) fn unsealed<'a>(bytes: &'a [u8], format: &[u8]) -> Option<Reader<'a>> {
    let (content, sum) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    let is_sound = crc32c::crc32c(content).to_le_bytes() == sum;
    content.strip_prefix(format).filter(|_| is_sound).map(Reader::new)
}

/// Takes numbers from octets; none when there are too few.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[octet]| octet)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn f32(&mut self) -> Option<f32> {
        self.array().map(f32::from_le_bytes)
    }

    pub(super) fn f64(&mut self) -> Option<f64> {
        self.array().map(f64::from_le_bytes)
    }

    /// `count` numbers of four octets.
    pub(super) fn many(&mut self, count: usize) -> Option<impl Iterator<Item = [u8; 4]> + use<'a>> {
        let bytes = self.bytes(count.checked_mul(4)?)?;
        Some(bytes.as_chunks::<4>().0.iter().copied())
    }

    pub(super) fn varint(&mut self) -> Option<u32> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let octet = self.u8()?;
            value |= u32::from(octet & 0x7f).checked_shl(shift)?;
            if octet & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// Writes a file so that at any time the old or the new one is there, whole; owned by whoever owns the folder.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = for_writing(&temporary)?;
    file.set_len(0)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Opens a file to write to it, and makes it where it is not there: for whoever owns the folder. Never one elsewhere that a link
/// leads to: root may do this in a folder that is another's.
pub(super) fn for_writing(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(FILE_MODE).custom_flags(OFlag::O_NOFOLLOW.bits());
    let file = options.open(path)?;
    own(&file, path);
    Ok(file)
}

/// Makes a folder with all that it lies in, for the owner of what is there already.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Ok(()) => {}
        // Somebody else was as quick.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => return Ok(()),
        Err(error) => return Err(error),
    }
    own(&File::open(folder)?, folder);
    Ok(())
}

/// Gives a file to the owner of the folder it is in: root may learn for a server that is not root. Where that is not
/// permitted the file is that owner's already, or he will be told when he cannot read it.
fn own(file: &File, path: &Path) {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let folder = path.parent().and_then(|folder| fs::metadata(folder).ok());
    if let (Some(folder), Ok(own)) = (folder, file.metadata())
        && (folder.uid(), folder.gid()) != (own.uid(), own.gid())
    {
        let _ = fchown(file, Some(folder.uid()), Some(folder.gid()));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

    use super::*;

    #[test]
    fn what_is_made_belongs_to_who_has_the_folder_it_is_in_and_is_for_nobody_else() {
        let root = tempfile::tempdir().unwrap();
        // Only root may give away; for others all of it is theirs.
        let is_given = chown(root.path(), Some(65_534), Some(65_534)).is_ok();
        let folder = root.path().join("accounts/example.test/joe");
        make_folder(&folder).unwrap();
        make_folder(&folder).unwrap();
        replace(&folder.join("model"), b"x").unwrap();
        let want = fs::metadata(root.path()).unwrap().uid();
        assert_eq!(is_given, want == 65_534);
        for path in [
            "accounts",
            "accounts/example.test",
            "accounts/example.test/joe",
            "accounts/example.test/joe/model",
        ] {
            assert_eq!(fs::metadata(root.path().join(path)).unwrap().uid(), want, "{path}");
        }
        let mode = fs::metadata(folder.join("model")).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
        let elsewhere = root.path().join("elsewhere");
        fs::write(&elsewhere, "as it was").unwrap();
        std::os::unix::fs::symlink(&elsewhere, folder.join("samples")).unwrap();
        assert!(for_writing(&folder.join("samples")).is_err());
        std::os::unix::fs::symlink(&elsewhere, folder.join("model.new")).unwrap();
        assert!(replace(&folder.join("model"), b"y").is_err());
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "as it was");
    }
}
