//! How full a mailbox is: Maildir++'s `maildirsize`, kept so that no delivery has to count the folders.
//!
//! The file's first line is the quota it was made for, every further one a difference of octets and messages. It is made
//! anew when it is missing, was made for another quota, has grown over 5,120 octets, or says "full" and is older than
//! 15 minutes (somebody may have deleted mail with a program that does not know of it).

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::{Duration, SystemTime};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstatat};

use super::MaildirError;
use super::beneath::open_below;

const NAME: &str = "maildirsize";
/// Maildir++: beyond this the file is made anew.
const FILE_BYTES_MAX: u64 = 5120;
/// Maildir++: a "full" that is older than this is checked.
const FULL_AGE_MAX: Duration = Duration::from_secs(15 * 60);
/// Entries of one folder that are looked at in a count; a bound, not a quota.
const ENTRIES_MAX: usize = 10_000_000;

/// What a mailbox may hold; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quota {
    pub(super) bytes_max: u64,
    pub(super) messages_max: u64,
}

/// What it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Usage {
    pub(super) bytes: u64,
    pub(super) messages: u64,
}

impl Quota {
    pub(super) fn is_unlimited(self) -> bool {
        self.bytes_max == 0 && self.messages_max == 0
    }

    /// True when `size` octets in one more message do not fit.
    pub(super) fn refuses(self, usage: Usage, size: u64) -> bool {
        (self.bytes_max > 0 && usage.bytes.saturating_add(size) > self.bytes_max)
            || (self.messages_max > 0 && usage.messages >= self.messages_max)
    }

    /// The first line of `maildirsize`.
    fn definition(self) -> String {
        let limit = |max: u64, unit| (max > 0).then(|| format!("{max}{unit}"));
        [limit(self.bytes_max, 'S'), limit(self.messages_max, 'C')]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(",")
    }
}

/// True when `size` more octets do not fit into this mailbox; counts again where the file cannot be trusted.
pub(super) fn is_over(
    mailbox: &File,
    quota: Quota,
    size: u64,
    now: SystemTime,
    mode: Mode,
) -> Result<bool, MaildirError> {
    if let Some((usage, age)) = recorded(mailbox, quota, now) {
        if !quota.refuses(usage, size) {
            return Ok(false);
        }
        if age < FULL_AGE_MAX {
            return Ok(true);
        }
    }
    let usage = count(mailbox)?;
    record_anew(mailbox, quota, usage, mode).map_err(|error| MaildirError::at(NAME, error))?;
    Ok(quota.refuses(usage, size))
}

/// Adds one delivered message. A failure is none of the delivery's: the next count mends it.
pub(super) fn add(mailbox: &File, bytes: u64) -> io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(mailbox, NAME, flags, Mode::empty())?);
    file.write_all(format!("{bytes} 1\n").as_bytes())
}

/// What the file says and how old it is, when it is there and fit to be believed.
fn recorded(mailbox: &File, quota: Quota, now: SystemTime) -> Option<(Usage, Duration)> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = File::from(openat(mailbox, NAME, flags, Mode::empty()).ok()?);
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return None;
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).ok()?;
    let mut lines = text.lines();
    if lines.next()? != quota.definition() {
        return None;
    }
    let (mut bytes, mut messages) = (0i64, 0i64);
    for line in lines {
        let mut numbers = line.split_ascii_whitespace();
        bytes = bytes.checked_add(numbers.next()?.parse().ok()?)?;
        messages = messages.checked_add(numbers.next()?.parse().ok()?)?;
    }
    let age = metadata.modified().ok().and_then(|at| now.duration_since(at).ok()).unwrap_or_default();
    Some((Usage { bytes: u64::try_from(bytes).ok()?, messages: u64::try_from(messages).ok()? }, age))
}

fn record_anew(mailbox: &File, quota: Quota, usage: Usage, mode: Mode) -> io::Result<()> {
    let temporary = format!("{NAME}.{}", std::process::id());
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(mailbox, temporary.as_str(), flags, mode)?);
    file.write_all(format!("{}\n{} {}\n", quota.definition(), usage.bytes, usage.messages).as_bytes())?;
    Ok(renameat(mailbox, temporary.as_str(), mailbox, NAME)?)
}

/// Counts `new` and `cur` of the mailbox and of its folders, `.Trash` apart.
fn count(mailbox: &File) -> Result<Usage, MaildirError> {
    let mut usage = Usage::default();
    count_folder(mailbox, &mut usage)?;
    for name in names_in(mailbox)? {
        if name.starts_with('.') && !matches!(name.as_str(), "." | ".." | ".Trash") {
            // A plain file or a link with such a name is no folder.
            if let Ok(Some(folder)) = open_below(mailbox, &name, None) {
                count_folder(&folder, &mut usage)?;
            }
        }
    }
    Ok(usage)
}

fn count_folder(folder: &File, usage: &mut Usage) -> Result<(), MaildirError> {
    for part in ["new", "cur"] {
        let Some(part) = open_below(folder, part, None)? else { continue };
        for name in names_in(&part)?.iter().filter(|name| !name.starts_with('.')) {
            let size = match size_in_name(name) {
                Some(size) => size,
                None => match fstatat(&part, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                    Ok(stat) => u64::try_from(stat.st_size).unwrap_or_default(),
                    // It was read or deleted meanwhile.
                    Err(Errno::ENOENT) => continue,
                    Err(errno) => return Err(MaildirError::at(name, errno)),
                },
            };
            usage.bytes = usage.bytes.saturating_add(size);
            usage.messages += 1;
        }
    }
    Ok(())
}

/// `,S=<octets>` in a file's name saves asking the file system.
fn size_in_name(name: &str) -> Option<u64> {
    let (_, after) = name.split_once(",S=")?;
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    after.get(..digits)?.parse().ok()
}

fn names_in(folder: &File) -> Result<Vec<String>, MaildirError> {
    let failed = |errno: Errno| MaildirError::at("the mailbox", errno);
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut open = Dir::openat(folder, ".", flags, Mode::empty()).map_err(failed)?;
    let mut names = Vec::new();
    for entry in open.iter().take(ENTRIES_MAX) {
        if let Ok(name) = entry.map_err(failed)?.file_name().to_str() {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
