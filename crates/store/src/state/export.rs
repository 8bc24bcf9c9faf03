//! What cannot be learnt again, in a file beside the database: whole, checked, put in place by an atomic rename.
//!
//! The file: a line that names the format; for each entry its length (4 octets, big endian), the CRC-32C of it, and the
//! entry in `MessagePack`; at the end a length of 0, the CRC-32C of all those CRCs, and how many there are. A file that is not
//! whole to its last octet is not imported at all. Works upon any engine, page by page, and waits: for a
//! thread that may block. Never touches an entry that is newer than the file: what is there stays.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};

use mail::Timestamp;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{KEY_BYTES_MAX, Op, PAGE_ENTRIES_MAX, StateKey, StateStore, VALUE_BYTES_MAX, Write, Written};
use crate::queue_store::StoreError;

const FORMAT: &[u8] = b"staffetta state 1\n";
/// Octets of an encoded entry.
const RECORD_BYTES_MAX: usize = KEY_BYTES_MAX + VALUE_BYTES_MAX + 64;
/// Entries that are imported in one batch.
const BATCH: usize = 256;

/// Why there is no export, or nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// With which file.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// The file is not whole; nothing of it was imported.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
    /// The store did not answer.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// How many entries were written, or taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exported {
    /// So many.
    pub entries: u64,
}

#[derive(Serialize, Deserialize)]
struct Record {
    key: ByteBuf,
    value: ByteBuf,
    expires: Option<u64>,
}

/// Writes all entries whose keys begin with one of `prefixes` to `path`: to a file beside it first, synced, then renamed
/// over it, so that `path` is whole at any time. What changes meanwhile may or may not be in it.
///
/// # Errors
/// [`ExportError`]; `path` is then what it was.
pub fn export(
    store: &dyn StateStore,
    prefixes: &[StateKey],
    path: &Path,
    now: Timestamp,
) -> Result<Exported, ExportError> {
    let draft = path.with_extension("part");
    let failed = |error| ExportError::Io { path: draft.clone(), error };
    let mut out = BufWriter::new(File::create(&draft).map_err(failed)?);
    out.write_all(FORMAT).map_err(failed)?;
    let (mut sum, mut entries) = (0, 0_u64);
    for prefix in prefixes {
        let mut after = None;
        loop {
            let page = store.scan(prefix.clone(), after, PAGE_ENTRIES_MAX, now).wait()?;
            for entry in page.entries {
                let record = Record {
                    key: ByteBuf::from(entry.key.as_bytes()),
                    value: ByteBuf::from(&entry.value[..]),
                    expires: entry.expires.map(Timestamp::seconds),
                };
                let octets = rmp_serde::to_vec(&record).map_err(|e| failed(std::io::Error::other(e)))?;
                let check = crc32c::crc32c(&octets).to_be_bytes();
                sum = crc32c::crc32c_append(sum, &check);
                entries += 1;
                let length = u32::try_from(octets.len()).unwrap_or(u32::MAX);
                out.write_all(&[&length.to_be_bytes(), &check, &octets[..]].concat()).map_err(failed)?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    let end = [&[0; 4], &sum.to_be_bytes()[..], &entries.to_be_bytes()].concat();
    out.write_all(&end).map_err(failed)?;
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&draft, path).map_err(failed)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(Exported { entries })
}

/// Puts what was exported back, except what has expired at `now` and what is there already.
///
/// # Errors
/// [`ExportError`]; what was put back before the store stopped answering stays.
pub fn import(store: &dyn StateStore, path: &Path, now: Timestamp) -> Result<Exported, ExportError> {
    // Once to see that it is whole, once to take it in.
    read(path, |_| Ok(()))?;
    let mut taken = Exported::default();
    let mut batch = Vec::with_capacity(BATCH);
    let mut put = |batch: &mut Vec<Write>| -> Result<(), ExportError> {
        let results = store.write(std::mem::take(batch), now).wait()?;
        taken.entries += results.iter().filter(|result| **result == Ok(Written::Applied)).count() as u64;
        Ok(())
    };
    read(path, |record| {
        let left = record.expires.map(|expires| expires.saturating_sub(now.seconds()));
        if left == Some(0) {
            return Ok(());
        }
        let (key, value) = (StateKey(record.key.into_vec().into()), record.value.into_vec());
        batch.push(Write { key, op: Op::PutIfAbsent(value.into()), ttl_seconds: left });
        if batch.len() < BATCH { Ok(()) } else { put(&mut batch) }
    })?;
    put(&mut batch)?;
    Ok(taken)
}

/// Gives each entry of a file.
fn read(path: &Path, mut take: impl FnMut(Record) -> Result<(), ExportError>) -> Result<(), ExportError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => ExportError::Damaged(path.to_owned()),
        _ => ExportError::Io { path: path.to_owned(), error },
    };
    let damaged = || ExportError::Damaged(path.to_owned());
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let mut format = [0; FORMAT.len()];
    file.read_exact(&mut format).map_err(failed)?;
    if format != FORMAT {
        return Err(damaged());
    }
    let (mut sum, mut entries) = (0, 0_u64);
    let mut octets = Vec::new();
    loop {
        let (length, check) = (word(&mut file).map_err(failed)?, word(&mut file).map_err(failed)?);
        if length == 0 {
            let mut count = [0; 8];
            file.read_exact(&mut count).map_err(failed)?;
            let end = file.read(&mut [0]).map_err(failed)? == 0;
            let whole = check == sum && u64::from_be_bytes(count) == entries && end;
            return if whole { Ok(()) } else { Err(damaged()) };
        }
        let length = usize::try_from(length).ok().filter(|n| *n <= RECORD_BYTES_MAX).ok_or_else(damaged)?;
        octets.resize(length, 0);
        file.read_exact(&mut octets).map_err(failed)?;
        if crc32c::crc32c(&octets) != check {
            return Err(damaged());
        }
        sum = crc32c::crc32c_append(sum, &check.to_be_bytes());
        entries += 1;
        take(rmp_serde::from_slice(&octets).map_err(|_| damaged())?)?;
    }
}

fn word(file: &mut impl Read) -> std::io::Result<u32> {
    let mut octets = [0; 4];
    file.read_exact(&mut octets)?;
    Ok(u32::from_be_bytes(octets))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use crate::state::MemoryState;

    fn now() -> Timestamp {
        Timestamp::from_seconds(100)
    }

    fn filled() -> MemoryState {
        let store = MemoryState::default();
        for namespace in ["tokens", "correspondents", "greylist"] {
            let writes = (0..2_500).map(|n| Write {
                ttl_seconds: (n % 2 == 0).then_some(50 + n),
                ..Write::put(StateKey::new(namespace, format!("{n}")), format!("{n}!"), 0)
            });
            store.write(writes.collect(), now()).wait().unwrap();
        }
        store.write(vec![Write::add(StateKey::new("tokens", "n"), 41, 500)], now()).wait().unwrap();
        store
    }

    fn prefixes() -> Vec<StateKey> {
        vec![StateKey::new("tokens", ""), StateKey::new("correspondents", "")]
    }

    #[test]
    fn what_is_exported_is_imported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.export");
        assert_eq!(export(&filled(), &prefixes(), &path, now()).unwrap().entries, 5_001);
        let store = MemoryState::default();
        let newer = Write::put(StateKey::new("tokens", "1"), "newer", 10);
        store.write(vec![newer], now()).wait().unwrap();
        let later = Timestamp::from_seconds(160);
        // Ten in each namespace have expired; the newer one has as well, and makes room for what was exported.
        let gone = (0..2_500).step_by(2).filter(|n| 50 + n <= 60).count() as u64 * 2;
        assert_eq!(import(&store, &path, later).unwrap().entries, 5_001 - gone);
        let add = Write::add(StateKey::new("tokens", "n"), 1, 500);
        assert_eq!(store.write(vec![add], later).wait().unwrap(), [Ok(Written::Total(42))]);
        assert!(store.usage().iter().all(|(name, _)| name != "greylist"));
        let keys = vec![StateKey::new("tokens", "2"), StateKey::new("correspondents", "499")];
        let found = store.get(keys, later).wait().unwrap();
        assert_eq!(found.first(), Some(&Ok(None)));
        let kept = found.into_iter().next_back().unwrap().unwrap().unwrap();
        assert_eq!((&kept.value[..], kept.expires), (&b"499!"[..], None));
    }

    #[test]
    fn what_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.export");
        let store = filled();
        export(&store, &prefixes(), &path, now()).unwrap();
        assert_eq!(import(&store, &path, now()).unwrap().entries, 0);
    }

    #[test]
    fn a_file_that_is_not_whole_is_not_imported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.export");
        let small = MemoryState::default();
        let writes = (0..3).map(|n| Write::put(StateKey::new("tokens", format!("{n}")), "x", 900)).collect();
        small.write(writes, now()).wait().unwrap();
        export(&small, &prefixes(), &path, now()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let store = MemoryState::default();
        let refused = |octets: &[u8]| {
            std::fs::write(&path, octets).unwrap();
            let error = import(&store, &path, now()).unwrap_err();
            assert!(matches!(error, ExportError::Damaged(_)), "{error}");
            assert_eq!(store.usage(), []);
        };
        for end in 0..whole.len() {
            refused(whole.get(..end).unwrap());
        }
        for place in 0..whole.len() {
            let mut octets = whole.clone();
            octets[place] ^= 0x10;
            refused(&octets);
        }
        refused(&[&whole[..], b"x"].concat());
    }

    #[test]
    fn a_failed_export_leaves_the_last_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.export");
        let store = filled();
        export(&store, &prefixes(), &path, now()).unwrap();
        let before = std::fs::read(&path).unwrap();
        store.close().wait().unwrap();
        assert!(matches!(export(&store, &prefixes(), &path, now()), Err(ExportError::Store(_))));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
