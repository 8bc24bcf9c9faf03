//! Learns from what users move into the Junk folder of their Maildir, and out of it.
//!
//! A message in Junk that does not say of itself `X-Spam-Flag: YES` was put there by its owner: it is spam. One that says so
//! was filed there by its score, which teaches nothing. When either turns up in another folder, its owner wants it: it is
//! ham. What goes to the trash, or away, has been dealt with and changes nothing. Messages are known again by inode,
//! size and time, which moving and marking leave as they are, and by a digest of what they say, as inodes are given again.
//!
//! What was seen is kept in a file for each mailbox, beside the filter. Without it messages are read once more, and learnt
//! once all the same. Never changes anything in a mailbox, and follows no links in it. Reads at most as many messages as it is told
//! to, the beginning of each; a folder beyond [`FILES_MAX`] is passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use mail::header;

use super::files::{self, Reader, put_u32, put_u64};
use super::samples::{Class, Digest};
use super::tokens::{READ_BYTES_MAX, Read, read};

/// First line of a file of what was seen.
const FORMAT: &[u8] = b"staffetta junk 1\n";
/// Messages of a Junk folder that are looked at; a larger folder is passed over.
pub const FILES_MAX: usize = 20_000;
/// Entries of other folders among which a message that has left Junk is looked for.
const SEARCHED_MAX: usize = 500_000;

/// What was found to learn, and what is to be remembered when that waits to be learnt.
#[derive(Debug, Default)]
pub struct Found {
    /// To be learnt.
    pub messages: Vec<(Read, Class)>,
    /// Messages that cannot be read.
    pub unreadable: usize,
    /// Not all could be looked at this time.
    pub is_cut: bool,
    seen: Option<(PathBuf, Vec<u8>)>,
}

impl Found {
    /// Remembers what was seen. To be called when the messages wait to be learnt, or are.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn remember(&self) -> io::Result<()> {
        let Some((path, content)) = &self.seen else { return Ok(()) };
        if let Some(folder) = path.parent() {
            files::make_folder(folder)?;
        }
        files::replace(path, content)
    }
}

/// How mailboxes are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Watch<'a> {
    /// The filter's folder.
    pub filter: &'a Path,
    /// Such as `.Junk`.
    pub junk: &'a str,
    /// Folders that say nothing.
    pub trash: &'a [String],
}

/// A file, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    inode: u64,
    bytes: u64,
    /// Nanoseconds since 1970.
    changed: u64,
}

impl Key {
    fn of(data: &fs::Metadata) -> Self {
        let seconds = u64::try_from(data.mtime()).unwrap_or_default();
        let nanoseconds = u64::try_from(data.mtime_nsec()).unwrap_or_default();
        let changed = seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds);
        Self { inode: data.ino(), bytes: data.len(), changed }
    }
}

type Seen = BTreeMap<Key, Digest>;

impl Watch<'_> {
    /// Looks at one mailbox; reads at most so many messages, and counts them down.
    ///
    /// # Errors
    /// When its folders cannot be listed: then nothing counts as gone.
    pub fn look(&self, mailbox: &Path, reads_left: &mut usize) -> io::Result<Found> {
        let path = self.seen_in(mailbox);
        let before = load(&path);
        let mut found = Found::default();
        let Some(present) = listed(&mailbox.join(self.junk), FILES_MAX)? else {
            found.is_cut = true;
            return Ok(found);
        };
        let mut now = Seen::new();
        for (key, file) in &present {
            if let Some(digest) = before.get(key) {
                now.insert(*key, *digest);
            } else if let Some((octets, message)) = beginning(file, reads_left, &mut found) {
                now.insert(*key, message.digest);
                if !is_flagged(&octets) {
                    found.messages.push((message, Class::Spam));
                }
            }
        }
        let mut gone: Seen =
            before.iter().filter(|(key, _)| !present.contains_key(key)).map(|(k, d)| (*k, *d)).collect();
        if !gone.is_empty() {
            self.search(mailbox, &mut gone, reads_left, &mut found)?;
            // Those whose turn has not come are looked for again.
            now.append(&mut gone);
        }
        if now != before {
            found.seen = Some((path, written(&now)));
        }
        Ok(found)
    }

    /// Looks for messages that have left Junk in all other folders that say something. Leaves those that could not be read in
    /// `gone`.
    fn search(
        &self,
        mailbox: &Path,
        gone: &mut Seen,
        reads_left: &mut usize,
        found: &mut Found,
    ) -> io::Result<()> {
        let inodes: BTreeSet<u64> = gone.keys().map(|key| key.inode).collect();
        let (mut left, mut later) = (SEARCHED_MAX, Seen::new());
        for folder in self.others(mailbox)? {
            for file in with_inodes(&folder, &inodes, &mut left)? {
                let Ok(data) = fs::symlink_metadata(&file) else { continue };
                let key = Key::of(&data);
                let Some(known) = gone.get(&key).copied().filter(|_| data.is_file()) else { continue };
                if *reads_left == 0 {
                    found.is_cut = true;
                    later.insert(key, known);
                } else if let Some((_, message)) = beginning(&file, reads_left, found)
                    && message.digest == known
                {
                    found.messages.push((message, Class::Ham));
                }
            }
        }
        *gone = later;
        Ok(())
    }

    /// The inbox, and the folders beside it.
    fn others(&self, mailbox: &Path) -> io::Result<Vec<PathBuf>> {
        let mut all = vec![mailbox.to_owned()];
        for entry in fs::read_dir(mailbox)? {
            let entry = entry?;
            let name = entry.file_name();
            let says_nothing = |folder: &str| {
                let rest = name.as_bytes().strip_prefix(folder.as_bytes());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
            };
            let is_other = name.as_bytes().starts_with(b".")
                && !says_nothing(self.junk)
                && !self.trash.iter().any(|folder| says_nothing(folder));
            if is_other && entry.file_type()?.is_dir() {
                all.push(entry.path());
            }
        }
        Ok(all)
    }

    fn seen_in(&self, mailbox: &Path) -> PathBuf {
        let name = digest(&SHA256, mailbox.as_os_str().as_bytes());
        let name: String = name.as_ref().iter().take(16).map(|octet| format!("{octet:02x}")).collect();
        self.filter.join("junk").join(name)
    }
}

/// The messages of a folder; none when there are too many. A folder that is not there is empty.
fn listed(folder: &Path, files_max: usize) -> io::Result<Option<BTreeMap<Key, PathBuf>>> {
    let mut all = BTreeMap::new();
    if entries_of(folder)?.is_none() {
        return Ok(Some(all));
    }
    for part in parts(folder) {
        let Some(entries) = entries_of(&part)? else { continue };
        for entry in entries {
            let entry = entry?;
            // It may be renamed or removed meanwhile.
            let Ok(data) = entry.metadata() else { continue };
            if data.is_file() {
                all.insert(Key::of(&data), entry.path());
            }
            if all.len() > files_max {
                return Ok(None);
            }
        }
    }
    Ok(Some(all))
}

/// Files with one of these inodes; looks at `left` entries at most.
fn with_inodes(folder: &Path, inodes: &BTreeSet<u64>, left: &mut usize) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for part in parts(folder) {
        let Some(entries) = entries_of(&part)? else { continue };
        for entry in entries {
            let entry = entry?;
            let Some(fewer) = left.checked_sub(1) else { return Ok(found) };
            *left = fewer;
            if inodes.contains(&entry.ino()) {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

fn parts(folder: &Path) -> [PathBuf; 2] {
    ["cur", "new"].map(|part| folder.join(part))
}

/// What is in a folder; none when it is no folder, or a link to one.
fn entries_of(folder: &Path) -> io::Result<Option<fs::ReadDir>> {
    match fs::symlink_metadata(folder) {
        Ok(data) if data.is_dir() => fs::read_dir(folder).map(Some),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The beginning of a message, and what it is made of; none when it cannot be read, or no more may be.
fn beginning(file: &Path, reads_left: &mut usize, found: &mut Found) -> Option<(Vec<u8>, Read)> {
    let Some(fewer) = reads_left.checked_sub(1) else {
        found.is_cut = true;
        return None;
    };
    let mut octets = Vec::new();
    let limit = u64::try_from(READ_BYTES_MAX).unwrap_or(u64::MAX);
    match File::open(file).and_then(|file| file.take(limit).read_to_end(&mut octets)) {
        Ok(_) => {
            *reads_left = fewer;
            let message = read(&octets);
            Some((octets, message))
        }
        // It has just been moved or marked: the next look finds it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => {
            found.unreadable += 1;
            None
        }
    }
}

/// True for what was filed into Junk by its score. The first such field is ours: those that strangers bring are removed.
fn is_flagged(octets: &[u8]) -> bool {
    header::find(octets, "X-Spam-Flag").is_some_and(|field| field.text().trim().eq_ignore_ascii_case("yes"))
}

fn written(seen: &Seen) -> Vec<u8> {
    let mut records = Vec::with_capacity(seen.len() * 40);
    for (key, digest) in seen {
        put_u64(&mut records, key.inode);
        put_u64(&mut records, key.bytes);
        put_u64(&mut records, key.changed);
        records.extend_from_slice(digest);
    }
    let mut content = FORMAT.to_vec();
    put_u32(&mut content, crc32c::crc32c(&records));
    content.extend_from_slice(&records);
    content
}

/// What was seen before; nothing when there is no such file, or it is damaged: then all is read again.
fn load(path: &Path) -> Seen {
    let seen = || -> Option<Seen> {
        let content = fs::read(path).ok()?;
        let mut input = Reader::new(content.strip_prefix(FORMAT)?);
        let sum = input.u32()?;
        let records = input.bytes(input.len())?;
        if crc32c::crc32c(records) != sum {
            return None;
        }
        let mut input = Reader::new(records);
        let mut seen = Seen::new();
        while !input.is_empty() {
            let key = Key { inode: input.u64()?, bytes: input.u64()?, changed: input.u64()? };
            seen.insert(key, input.array()?);
        }
        Some(seen)
    };
    seen().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Mailbox {
        folder: tempfile::TempDir,
        trash: Vec<String>,
    }

    impl Mailbox {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for part in ["cur", "new", ".Junk/cur", ".Junk/new", ".Trash/cur", ".Work/cur"] {
                fs::create_dir_all(folder.path().join("mail").join(part)).unwrap();
            }
            Self { folder, trash: vec![".Trash".to_owned()] }
        }

        fn put(&self, place: &str, words: &str, flag: &str) {
            let text =
                format!("X-Spam-Flag: {flag}\nSubject: {words}\nFrom: a@a.test\n\nThis is about {words}.\n");
            fs::write(self.folder.path().join("mail").join(place), text).unwrap();
        }

        fn shift(&self, from: &str, to: &str) {
            let at = |place: &str| self.folder.path().join("mail").join(place);
            fs::rename(at(from), at(to)).unwrap();
        }

        /// How many were learnt as spam and as ham.
        fn look_with(&self, reads: usize) -> (usize, usize, bool) {
            let filter = self.folder.path().join("bayes");
            let watch = Watch { filter: &filter, junk: ".Junk", trash: &self.trash };
            let found = watch.look(&self.folder.path().join("mail"), &mut { reads }).unwrap();
            found.remember().unwrap();
            let of = |class| found.messages.iter().filter(|(_, one)| *one == class).count();
            (of(Class::Spam), of(Class::Ham), found.is_cut)
        }

        fn look(&self) -> (usize, usize) {
            let (spam, ham, is_cut) = self.look_with(1_000);
            assert!(!is_cut);
            (spam, ham)
        }
    }

    #[test]
    fn what_is_moved_in_is_spam_and_what_is_moved_out_is_ham() {
        let mailbox = Mailbox::new();
        assert_eq!(mailbox.look(), (0, 0));
        mailbox.put("cur/1:2,", "pills for all", "NO");
        mailbox.put(".Junk/new/2", "wanted after all", "YES");
        assert_eq!(mailbox.look(), (0, 0), "what was filed by its score teaches nothing");
        mailbox.shift("cur/1:2,", ".Junk/cur/1:2,S");
        assert_eq!(mailbox.look(), (1, 0));
        assert_eq!(mailbox.look(), (0, 0), "once");
        mailbox.shift(".Junk/cur/1:2,S", ".Junk/cur/1:2,RS");
        assert_eq!(mailbox.look(), (0, 0), "marks are no moves");
        mailbox.shift(".Junk/new/2", ".Work/cur/2:2,S");
        assert_eq!(mailbox.look(), (0, 1));
        mailbox.shift(".Junk/cur/1:2,RS", "cur/1:2,RS");
        assert_eq!(mailbox.look(), (0, 1), "somebody has changed his mind");
        mailbox.shift("cur/1:2,RS", ".Junk/cur/1:2,RS");
        assert_eq!(mailbox.look(), (1, 0), "and again");
        mailbox.shift(".Junk/cur/1:2,RS", ".Trash/cur/1:2,RS");
        assert_eq!(mailbox.look(), (0, 0), "trash says nothing");
        mailbox.shift(".Trash/cur/1:2,RS", "cur/1:2,RS");
        assert_eq!(mailbox.look(), (0, 0), "it is not followed for ever");
    }

    #[test]
    fn a_file_that_only_looks_like_one_that_was_there_is_another() {
        let mailbox = Mailbox::new();
        mailbox.put(".Junk/cur/1:2,", "pills for all", "NO");
        assert_eq!(mailbox.look(), (1, 0));
        // The same inode, size and time, and other words.
        let path = mailbox.folder.path().join("mail/.Junk/cur/1:2,");
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        mailbox.shift(".Junk/cur/1:2,", "cur/1:2,");
        mailbox.put("cur/1:2,", "lunch at nine", "NO");
        let path = mailbox.folder.path().join("mail/cur/1:2,");
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        assert_eq!(mailbox.look(), (0, 0));
    }

    #[test]
    fn work_is_bounded_and_goes_on_the_next_time() {
        let mailbox = Mailbox::new();
        for n in 0..5 {
            mailbox.put(&format!(".Junk/cur/{n}:2,"), &format!("offer number {n}"), "NO");
        }
        assert_eq!(mailbox.look_with(2), (2, 0, true));
        assert_eq!(mailbox.look_with(2), (2, 0, true));
        assert_eq!(mailbox.look_with(2), (1, 0, false));
        for n in 0..3 {
            mailbox.shift(&format!(".Junk/cur/{n}:2,"), &format!("cur/{n}:2,"));
        }
        assert_eq!(mailbox.look_with(2), (0, 2, true));
        assert_eq!(mailbox.look_with(2), (0, 1, false));
    }

    #[test]
    fn what_was_forgotten_or_damaged_is_only_read_again() {
        let mailbox = Mailbox::new();
        mailbox.put(".Junk/cur/1:2,", "pills for all", "NO");
        assert_eq!(mailbox.look(), (1, 0));
        let seen = fs::read_dir(mailbox.folder.path().join("bayes/junk")).unwrap().next().unwrap().unwrap();
        fs::write(seen.path(), b"staffetta junk 1\nxxxxyyy").unwrap();
        assert_eq!(mailbox.look(), (1, 0));
        fs::remove_dir_all(mailbox.folder.path().join("mail/.Junk")).unwrap();
        assert_eq!(mailbox.look(), (0, 0));
    }

    #[test]
    fn links_lead_nowhere() {
        let mailbox = Mailbox::new();
        let mail = mailbox.folder.path().join("mail");
        fs::remove_dir_all(mail.join(".Junk")).unwrap();
        mailbox.put("cur/1:2,", "lunch", "NO");
        std::os::unix::fs::symlink(&mail, mail.join(".Junk")).unwrap();
        let found = mailbox.look();
        std::os::unix::fs::symlink(mail.join("cur/1:2,"), mail.join("new/2")).unwrap();
        assert_eq!((found, mailbox.look()), ((0, 0), (0, 0)));
    }
}
