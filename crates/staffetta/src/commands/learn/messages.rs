//! Messages in files, mailbox files, Maildirs and folders, for learning and scoring.
//!
//! Of each message the beginning is read, as far as the classifier looks or as far as is asked for. Below a folder that was named, files and folders
//! that begin with a dot are passed over, which in a Maildir are its subfolders, and `tmp`, which holds what is not
//! delivered. Links to folders are not followed.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use server::learning::READ_BYTES_MAX;

/// Folders within folders.
const DEPTH_MAX: usize = 32;
/// Longest line that is looked at as a whole, in octets.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// The files that a path stands for, and what could not be looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::commands) struct Found {
    /// Itself, or all within, in the order of their names.
    pub(in crate::commands) files: Vec<PathBuf>,
    /// A line for each thing that cannot be read, with its path.
    pub(in crate::commands) troubles: Vec<String>,
}

impl Found {
    fn fails(&mut self, path: &Path, error: &io::Error) {
        self.troubles.push(format!("{}: {error}", path.display()));
    }
}

/// The files that a path stands for.
pub(in crate::commands) fn files(path: &Path) -> Found {
    let mut found = Found::default();
    match fs::metadata(path) {
        Ok(data) if data.is_dir() => within(path, DEPTH_MAX, &mut found),
        Ok(_) => found.files.push(path.to_owned()),
        Err(error) => found.fails(path, &error),
    }
    found
}

fn within(folder: &Path, depth: usize, found: &mut Found) {
    let mut entries = match fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries,
        Err(error) => return found.fails(folder, &error),
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    let is_maildir = entries.iter().any(|entry| entry.file_name() == "cur");
    for entry in entries {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                if !(is_maildir && name == "tmp") && depth > 0 {
                    within(&entry.path(), depth - 1, found);
                }
            }
            // What lies beside cur and new are a mail program's own files.
            Ok(_) if !is_maildir && entry.path().is_file() => found.files.push(entry.path()),
            Ok(_) => {}
            Err(error) => found.fails(&entry.path(), &error),
        }
    }
}

/// True for what begins with a header field (RFC 5322 §2.2). A message may lack all else; what does not is a picture, a program
/// or a list of files that lies among messages, and has nothing to teach.
pub(super) fn has_header(octets: &[u8]) -> bool {
    let octets = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets).trim_ascii_start();
    // Of a mailbox file that was taken apart.
    let octets = if octets.starts_with(b">From ") || octets.starts_with(b"From ") {
        octets.splitn(2, |octet| *octet == b'\n').nth(1).unwrap_or_default()
    } else {
        octets
    };
    let ends = octets.iter().position(|octet| !(b'!'..=b'~').contains(octet) || *octet == b':');
    let (name, rest) = octets.split_at_checked(ends.unwrap_or(octets.len())).unwrap_or_default();
    name.first().is_some_and(u8::is_ascii_alphanumeric)
        && rest.iter().find(|octet| !matches!(octet, b' ' | b'\t')) == Some(&b':')
}

/// Does something with each message of a file: one, or all of a mailbox file.
pub(in crate::commands) fn each(path: &Path, message: impl FnMut(&[u8])) -> io::Result<()> {
    each_up_to(path, READ_BYTES_MAX, message)
}

/// The same, with so many octets of each.
pub(super) fn each_up_to(path: &Path, bytes_max: usize, mut message: impl FnMut(&[u8])) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(64 << 10, File::open(path)?);
    each_within(&mut reader, bytes_max, &mut message)
}

/// The same for what is read from anywhere.
pub(in crate::commands) fn each_of(
    input: &mut impl BufRead,
    message: &mut impl FnMut(&[u8]),
) -> io::Result<()> {
    each_within(input, READ_BYTES_MAX, message)
}

/// The same, with so many octets of each; a mailbox file's messages may be a line longer.
pub(super) fn each_within(
    input: &mut impl BufRead,
    bytes_max: usize,
    message: &mut impl FnMut(&[u8]),
) -> io::Result<()> {
    if !input.fill_buf()?.starts_with(b"From ") {
        let mut octets = Vec::new();
        input.take(u64::try_from(bytes_max).unwrap_or(u64::MAX)).read_to_end(&mut octets)?;
        // All of it: who writes to us shall not be told that we have gone.
        io::copy(input, &mut io::sink())?;
        if !octets.is_empty() {
            message(&octets);
        }
        return Ok(());
    }
    let (mut octets, mut line, mut is_behind_empty) = (Vec::new(), Vec::new(), true);
    loop {
        line.clear();
        let ended = input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0;
        let parts = is_behind_empty && line.starts_with(b"From ");
        if (ended || parts) && !octets.is_empty() {
            message(&octets);
            octets.clear();
        }
        if ended {
            return Ok(());
        }
        is_behind_empty = line.iter().all(|octet| matches!(octet, b'\r' | b'\n'));
        if !parts && octets.len() < bytes_max {
            // What began with From in the text was quoted when it was put here.
            let quoted = line.iter().position(|octet| *octet != b'>').unwrap_or(0);
            let is_quoted = quoted > 0 && line.get(quoted..).is_some_and(|rest| rest.starts_with(b"From "));
            octets.extend_from_slice(line.get(usize::from(is_quoted)..).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        each_of(&mut text.as_bytes(), &mut |message| {
            found.push(String::from_utf8(message.to_vec()).unwrap());
        })
        .unwrap();
        found
    }

    #[test]
    fn a_file_is_one_message_or_a_mailbox() {
        assert_eq!(all(""), Vec::<String>::new());
        assert_eq!(all("Subject: a\n\nFrom x\n"), ["Subject: a\n\nFrom x\n"]);
        let mailbox = "From a@b Thu\nSubject: a\n\nwords\nFrom here on\n>From there\n\nFrom c@d Fri\nSubject: b\n\n>>From x\n";
        assert_eq!(
            all(mailbox),
            ["Subject: a\n\nwords\nFrom here on\nFrom there\n\n", "Subject: b\n\n>From x\n"],
            "a line that begins with From within a text parts nothing"
        );
    }

    #[test]
    fn folders_and_maildirs() {
        let root = tempfile::tempdir().unwrap();
        for file in [
            "plain/b.eml",
            "plain/a.eml",
            "plain/.hidden",
            "Maildir/cur/1:2,S",
            "Maildir/new/2",
            "Maildir/tmp/3",
            "Maildir/.Junk/cur/4",
            "Maildir/dovecot.index",
        ] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let named = |path: &str| -> Vec<String> {
            let found = files(&root.path().join(path));
            assert_eq!(found.troubles, Vec::<String>::new());
            found.files.iter().map(|f| f.strip_prefix(root.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(named("plain"), ["plain/a.eml", "plain/b.eml"]);
        assert_eq!(named("Maildir"), ["Maildir/cur/1:2,S", "Maildir/new/2"]);
        assert_eq!(named("Maildir/.Junk"), ["Maildir/.Junk/cur/4"]);
        assert_eq!(named("plain/a.eml"), ["plain/a.eml"]);
        let absent = files(&root.path().join("absent"));
        assert!(absent.files.is_empty() && absent.troubles[0].contains("/absent: "), "{absent:?}");
    }

    #[test]
    fn what_begins_with_a_field_is_a_message() {
        for message in [
            "Subject: x\n\nwords",
            "X-Odd_Name.2 : x\n",
            "\r\n\r\nReceived: from a\r\n",
            "\u{feff}From: a@b.test\n",
            ">From a@b.test Thu\nReturn-Path: <a@b.test>\n",
        ] {
            assert!(has_header(message.as_bytes()), "{message}");
        }
        for other in [
            "",
            "\n",
            "{\"id\":1}",
            "#!/bin/sh\n",
            "\x7fELF: x",
            "Dear all: hello",
            "MZ\0:",
            "<html>",
            "From x",
        ] {
            assert!(!has_header(other.as_bytes()), "{other:?}");
        }
    }
}
