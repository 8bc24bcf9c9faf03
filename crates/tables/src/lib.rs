//! Read-only look-ups that operators write: every answer is Found, Absent or Unavailable.
//!
//! A table is named by a [`Spec`] such as `text:virtual`, opened with [`open`] and asked with [`Table::lookup`]. The
//! files have Postfix's syntax and meaning (texthash, regexp_table(5), pcre_table(5), cidr_table(5), aliases(5)), and are read again
//! when they change; a broken new file is reported and the old contents stay in use. What Postfix skips with a
//! warning is an error here, with file and line.
//!
//! A table that cannot answer says [`Answer::Unavailable`], never [`Answer::Absent`]: a failed look-up is no absence
//! (I9). This crate decides nothing about mail; [`aliases`] and [`address`] only know in which order to ask.

pub mod address;
pub mod aliases;
mod cidr;
mod file;
mod inline;
mod patterns;
mod pcre;
mod regexp;
mod rules;
mod source;
mod spec;
mod text;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

pub use spec::Spec;

use file::FileTable;

/// What a table says about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its value; never empty.
    Found(String),
    /// The table vouches that there is none.
    Absent,
    /// The table could not be asked: try again later. The text is for logs.
    Unavailable(String),
}

/// A look-up under way.
pub type Lookup<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// Contents being fetched; `None` for a kind of table that has none to hand out.
pub type Snapshot<'a> = Pin<Box<dyn Future<Output = Option<Arc<dyn Contents>>> + Send + 'a>>;

/// A table that can be asked. Keys may come in any case; each kind of table folds them as Postfix does.
pub trait Table: Send + Sync + std::fmt::Debug {
    /// Asks for a key.
    fn lookup<'a>(&'a self, key: &'a str) -> Lookup<'a>;

    /// What the table holds now, to be asked many times on a thread that may be busy.
    fn snapshot(&self) -> Snapshot<'_> {
        Box::pin(std::future::ready(None))
    }

    /// Reads the table again now, if it has changed. For a reload by command; reads files, so not for a session.
    ///
    /// # Errors
    /// [`TableError`] when the new contents are broken: the old ones stay in use.
    fn reload(&self) -> Result<(), TableError> {
        Ok(())
    }

    /// What is wrong with the table's present file, while it answers from older contents; `None` when all is well.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// What a table holds at one moment: whatever happens to its file, the same key has the same value here.
///
/// Computes and never waits. With `regexp:` and `pcre:` that may take a while: not for a thread that serves sessions.
pub trait Contents: Send + Sync + std::fmt::Debug + 'static {
    /// The value of a key.
    fn find(&self, key: &str) -> Answer;

    /// The value of a key that may be no UTF-8, as the header and body of a message may not.
    fn find_octets(&self, key: &[u8]) -> Answer {
        self.find(&String::from_utf8_lossy(key))
    }

    /// The line of the file, from 1, that gives the value of this key; asked after it was found, to tell an operator.
    fn line_of(&self, _key: &[u8]) -> Option<usize> {
        None
    }

    /// Every value there is, so that all of a file can be looked through when it is opened.
    fn entries(&self) -> Vec<Entry>;

    /// True when a look-up can take so long that no session should wait for it in its thread.
    fn may_take_long(&self) -> bool {
        false
    }
}

/// One value of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its line in the file, from 1; none where there is no file.
    pub line: Option<usize>,
    /// The value as written; what a match is put in for stands there as `$1`, and then [`Self::has_groups`] is true.
    pub value: String,
    /// Parts of the value are not known before there is a key.
    pub has_groups: bool,
}

/// Why a table cannot be opened or read again: what the administrator wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The name is none of a table.
    #[error("`{spec}` is no table: {why}")]
    Spec {
        /// What was written.
        spec: String,
        /// What is wrong with it, and what to write.
        why: String,
    },
    /// The file cannot be read.
    #[error("{}: {why}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// The system's words.
        why: String,
    },
    /// A line of the file is wrong.
    #[error("{}:{line}: {why}: `{text}`", file.display())]
    Line {
        /// Which file.
        file: PathBuf,
        /// Which line, from 1; the first one of a continued line.
        line: usize,
        /// The line, shortened.
        text: String,
        /// What is wrong with it, and what to write.
        why: String,
    },
}

/// A key of a table and its value, as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The line of the file it stands on, from 1; none for a table without a file.
    pub line: Option<usize>,
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// The rows of a table whose keys can be listed: `text:` and `inline:`; of other kinds none. Reads files.
///
/// # Errors
/// As [`open`].
pub fn rows(spec: &Spec, base: &Path) -> Result<Vec<Row>, TableError> {
    match spec {
        Spec::Text(path) => {
            let file = base.join(path);
            text::rows(&file, &source::read(&file)?)
        }
        Spec::Inline(pairs) => {
            let row =
                |(key, value): &(String, String)| Row { line: None, key: key.clone(), value: value.clone() };
            Ok(pairs.iter().map(row).collect())
        }
        Spec::Regexp(_) | Spec::Pcre(_) | Spec::Cidr(_) | Spec::Static(_) => Ok(Vec::new()),
    }
}

/// What else has to be right about the values of a table, beside its syntax: whoever uses it knows.
#[derive(Clone, Default)]
pub struct ValueCheck(Option<Arc<WrongValue>>);

/// Looks at a value; `Err` says what is wrong with it.
type WrongValue = dyn Fn(&Entry) -> Result<(), String> + Send + Sync;

impl ValueCheck {
    /// A check. It is run when a table is opened and when it is read again, not at look-ups.
    pub fn new(check: impl Fn(&Entry) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(check)))
    }

    /// The first value that is wrong, and why.
    fn first_wrong(&self, contents: &dyn Contents) -> Option<(Entry, String)> {
        let check = self.0.as_ref()?;
        contents.entries().into_iter().find_map(|entry| {
            let why = check(&entry).err()?;
            Some((entry, why))
        })
    }
}

impl std::fmt::Debug for ValueCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ValueCheck").field(&self.0.is_some()).finish()
    }
}

/// Opens a table. Relative paths are relative to `base`; files are read now.
///
/// # Errors
/// [`TableError`] with the file and line that is wrong.
pub fn open(spec: &Spec, base: &Path) -> Result<Arc<dyn Table>, TableError> {
    open_checked(spec, base, &ValueCheck::default())
}

/// Opens a table whose values have to pass a check. When its file changes and no longer passes, the old contents stay in
/// use, as with any broken file.
///
/// # Errors
/// [`TableError`] with the file and line that is wrong.
pub fn open_checked(spec: &Spec, base: &Path, check: &ValueCheck) -> Result<Arc<dyn Table>, TableError> {
    let checked = check.clone();
    Ok(match spec {
        Spec::Text(path) => Arc::new(FileTable::open_checked(base.join(path), text::parse, checked)?),
        Spec::Regexp(path) => Arc::new(FileTable::open_checked(base.join(path), regexp::parse, checked)?),
        Spec::Pcre(path) => Arc::new(FileTable::open_checked(base.join(path), pcre::parse, checked)?),
        Spec::Cidr(path) => Arc::new(FileTable::open_checked(base.join(path), cidr::parse, checked)?),
        Spec::Static(value) => Arc::new(on_the_spot(spec, inline::Static(value.clone()), check)?),
        Spec::Inline(pairs) => Arc::new(on_the_spot(spec, inline::Inline::new(pairs), check)?),
    })
}

fn on_the_spot<C: Contents>(spec: &Spec, contents: C, check: &ValueCheck) -> Result<C, TableError> {
    match check.first_wrong(&contents) {
        None => Ok(contents),
        Some((entry, why)) => {
            Err(TableError::Spec { spec: spec.to_string(), why: format!("{why}: `{}`", entry.value) })
        }
    }
}
