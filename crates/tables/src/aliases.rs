//! aliases(5): the system's file, `name: target, target`, and the list of targets that `virtual` tables give too.
//!
//! Names are local parts, found in any case. A target is an address, a local name, another domain's mailbox of the same
//! name (`@other.test`, in virtual tables), or a list in a file (`:include:/path`, read when it is asked for). Commands
//! (`|command`) and files (`/path`) are recognised and refused: mail runs no programs and writes no files here. Nothing is
//! expanded further than one step: loops and depth are the router's.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use mail::{Address, Domain};

use crate::file::FileTable;
use crate::{Answer, Contents, Entry, Lookup, Row, Table, TableError, source};

/// The system's aliases file. Also a [`Table`], whose values are the lists as written.
#[derive(Debug)]
pub struct Aliases(FileTable<Entries>);

/// Where an alias leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A whole address.
    Address(Address),
    /// A local part without a domain, unquoted: a name of this system.
    Name(String),
    /// `@domain`: the same local part there.
    SameNameAt(Domain),
    /// `:include:/path`: the addresses in a file.
    Include(PathBuf),
}

/// What an alias comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// It leads here; never an empty list.
    Found(Vec<Target>),
    /// There is no such alias.
    Absent,
    /// It could not be looked up: try again later.
    Unavailable(String),
}

/// Largest file that `:include:` reads, in octets.
pub const INCLUDE_BYTES_MAX: u64 = 4 << 20;

impl Aliases {
    /// Reads the file. It is read again when it changes.
    ///
    /// # Errors
    /// [`TableError`] with the line that is wrong.
    pub fn open(file: &Path) -> Result<Self, TableError> {
        FileTable::open(file.to_owned(), parse).map(Self)
    }

    /// Where a local name leads, one step, `:include:` files already read.
    pub async fn targets(&self, name: &str) -> Targets {
        match self.lookup(name).await {
            Answer::Found(list) => targets(&list).await,
            Answer::Absent => Targets::Absent,
            Answer::Unavailable(why) => Targets::Unavailable(why),
        }
    }
}

impl Table for Aliases {
    fn lookup<'a>(&'a self, key: &'a str) -> Lookup<'a> {
        self.0.lookup(key)
    }

    fn reload(&self) -> Result<(), TableError> {
        self.0.reload()
    }

    fn trouble(&self) -> Option<String> {
        self.0.trouble()
    }
}

/// The targets in a table's value, `:include:` files read. A value that is no list is [`Targets::Unavailable`]: mail
/// for a mistyped alias waits for the administrator rather than bounces.
pub async fn targets(value: &str) -> Targets {
    let list = match parse_list(value) {
        Ok(list) => list,
        Err(why) => return Targets::Unavailable(why),
    };
    let mut found = Vec::with_capacity(list.len());
    for target in list {
        let Target::Include(file) = target else {
            found.push(target);
            continue;
        };
        match tokio::task::spawn_blocking(move || include(&file)).await {
            Ok(Ok(more)) => found.extend(more),
            Ok(Err(error)) => return Targets::Unavailable(error.to_string()),
            Err(error) => return Targets::Unavailable(error.to_string()),
        }
    }
    if found.is_empty() { Targets::Absent } else { Targets::Found(found) }
}

/// The list in a value, as written: separated by commas, outside quotes.
///
/// # Errors
/// Which target is none, and what to write.
pub fn parse_list(value: &str) -> Result<Vec<Target>, String> {
    let items = split_list(value);
    if items.is_empty() {
        return Err("there is no target".to_owned());
    }
    items.into_iter().map(|item| target(&item)).collect()
}

/// The addresses in an `:include:` file: a list on each line. Further includes are refused.
fn include(file: &Path) -> Result<Vec<Target>, TableError> {
    let wrong = |why: String| TableError::Read { file: file.to_owned(), why };
    let size = std::fs::metadata(file).map_err(|error| wrong(error.to_string()))?.len();
    if size > INCLUDE_BYTES_MAX {
        return Err(wrong(format!("a list may have {INCLUDE_BYTES_MAX} octets; split it")));
    }
    let mut found = Vec::new();
    for line in source::logical_lines(file, &source::read(file)?)? {
        for target in parse_list(&line.text).map_err(|why| line.wrong(file, why))? {
            if matches!(target, Target::Include(_)) {
                return Err(line.wrong(file, "an included file may not include another"));
            }
            found.push(target);
        }
    }
    Ok(found)
}

/// Names in lower case, and their lists as written.
#[derive(Debug)]
struct Entries(HashMap<Box<str>, Box<str>>);

impl Contents for Entries {
    fn find(&self, key: &str) -> Answer {
        match self.0.get(key.to_lowercase().as_str()) {
            Some(list) => Answer::Found(list.to_string()),
            None => Answer::Absent,
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let lists = self.0.values();
        lists.map(|list| Entry { line: None, value: list.to_string(), has_groups: false }).collect()
    }
}

/// The names of an aliases file, with their lists as written. Reads it anew.
///
/// # Errors
/// [`TableError`] with the line that is wrong.
pub fn rows(file: &Path) -> Result<Vec<Row>, TableError> {
    parse_rows(file, &source::read(file)?)
}

fn parse(file: &Path, text: &str) -> Result<Entries, TableError> {
    let rows = parse_rows(file, text)?.into_iter();
    Ok(Entries(rows.map(|row| (row.key.to_lowercase().into(), row.value.into())).collect()))
}

fn parse_rows(file: &Path, text: &str) -> Result<Vec<Row>, TableError> {
    let (mut rows, mut seen) = (Vec::new(), HashSet::new());
    for line in source::logical_lines(file, text)? {
        let (name, list) = split_name(&line.text)
            .ok_or_else(|| line.wrong(file, "there must be a name, a colon and targets on each line"))?;
        if name.contains('@') {
            let why = "names here have no domain; put whole addresses into a domain's `aliases` table";
            return Err(line.wrong(file, why));
        }
        parse_list(list).map_err(|why| line.wrong(file, why))?;
        if !seen.insert(name.to_lowercase()) {
            return Err(line.wrong(file, "this name has already been given targets above"));
        }
        rows.push(Row { line: Some(line.number), key: name, value: list.trim().to_owned() });
    }
    Ok(rows)
}

/// The name before the colon, unquoted, and the rest.
fn split_name(line: &str) -> Option<(String, &str)> {
    let (name, list) = match line.strip_prefix('"') {
        Some(quoted) => {
            let end = quoted.find('"')?;
            let (name, rest) = quoted.split_at(end);
            (name, rest.get(1..)?.trim_start().strip_prefix(':')?)
        }
        None => line.split_once(':')?,
    };
    let name = name.trim();
    (!name.is_empty()).then(|| (name.to_owned(), list))
}

/// Splits at commas outside quotes; quotes around a whole item are kept for [`target`].
fn split_list(value: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in value.chars() {
        match c {
            ',' if !quoted => {
                items.push(String::new());
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        if let Some(item) = items.last_mut() {
            item.push(c);
        }
    }
    items.iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

fn target(item: &str) -> Result<Target, String> {
    // "|command with, commas" is quoted as a whole; "joe smith"@a.test is an address.
    let whole =
        item.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|inner| !inner.contains('"'));
    let plain = whole.unwrap_or(item);
    if plain.starts_with('|') {
        return Err(format!(
            "`{item}` is a command; mail runs no programs here. Deliver to a mailbox or over LMTP"
        ));
    }
    if plain.starts_with('/') {
        return Err(format!("`{item}` is a file; mail is written to mailboxes only. Give an address"));
    }
    if let Some(path) = plain.get(..9).filter(|tag| tag.eq_ignore_ascii_case(":include:")).and(plain.get(9..))
    {
        return if path.starts_with('/') {
            Ok(Target::Include(path.into()))
        } else {
            Err(format!("`{item}` needs a whole path: :include:/path"))
        };
    }
    if let Some(domain) = plain.strip_prefix('@') {
        let domain = Domain::parse(domain).map_err(|error| format!("`{item}`: {error}"))?;
        return Ok(Target::SameNameAt(domain));
    }
    // A leading backslash asks for delivery without further aliases, which a name that leads to itself gets anyway.
    let plain = plain.strip_prefix('\\').unwrap_or(plain);
    if let Some(name) = whole.filter(|name| !name.contains('@')) {
        return Ok(Target::Name(name.to_owned()));
    }
    if !plain.contains('@') {
        return mail::LocalPart::parse(plain)
            .map(|name| Target::Name(name.as_str().to_owned()))
            .map_err(|_| format!("`{item}` is no address; separate targets with commas"));
    }
    Address::parse(plain).map(Target::Address).map_err(|error| format!("`{item}` is no address: {error}"))
}

#[cfg(test)]
mod tests;
