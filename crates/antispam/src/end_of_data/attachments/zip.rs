//! The entries of a zip archive, from whatever is there: every local header and every line of the directory that can be
//! found, in the order they lie.
//!
//! Programs differ in which of the two they believe, and archives are made that show each another list; so both are read.
//! The directory is not trusted to say where files are, nor how many: nothing is allocated by what it claims. APPNOTE 4.3.

use memchr::memmem;

/// Not packed.
pub(super) const STORED: u16 = 0;
/// Packed as everybody can unpack.
pub(super) const DEFLATED: u16 = 8;
/// Longest name, in octets.
const NAME_BYTES_MAX: usize = 1_024;
/// The first bit of an entry's flags.
const ENCRYPTED: u16 = 1;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub method: u16,
    pub is_encrypted: bool,
    /// Octets in the archive; 0 when that stands behind the file.
    pub packed: u64,
    /// Octets of the file, as claimed.
    pub unpacked: u64,
    /// Where the file begins; none for lines of the directory.
    pub data: Option<usize>,
}

/// All entries; as many as there are, so whoever takes them counts.
pub(super) fn entries(archive: &[u8]) -> impl Iterator<Item = Entry> + '_ {
    memmem::find_iter(archive, b"PK").filter_map(|at| {
        let header = archive.get(at..)?;
        match header.get(2..4)? {
            [3, 4] => entry(header, at, 6, 26, 30, true),
            [1, 2] => entry(header, at, 8, 28, 46, false),
            _ => None,
        }
    })
}

/// The fields of both kinds stand in the same order, some octets apart.
fn entry(
    header: &[u8],
    at: usize,
    flags: usize,
    lengths: usize,
    name: usize,
    has_data: bool,
) -> Option<Entry> {
    let name_bytes = usize::from(short(header, lengths)?);
    let extra_bytes = usize::from(short(header, lengths + 2)?);
    let text = header.get(name..name.checked_add(name_bytes)?)?;
    let text = text.get(..NAME_BYTES_MAX).unwrap_or(text);
    let flag = short(header, flags)?;
    Some(Entry {
        name: String::from_utf8_lossy(text).into_owned(),
        method: short(header, flags + 2)?,
        is_encrypted: flag & ENCRYPTED != 0,
        packed: long(header, flags + 12)?,
        unpacked: long(header, flags + 16)?,
        data: has_data.then_some(at + name + name_bytes + extra_bytes),
    })
}

fn short(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(octets.get(at..at + 2)?.try_into().ok()?))
}

fn long(octets: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u32::from_le_bytes(octets.get(at..at + 4)?.try_into().ok()?)))
}
