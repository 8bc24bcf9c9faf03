//! `postmap`: ask tables for a key, or say whether a table's file can be read. postmap(1).
//!
//! `-q KEY` prints the value, or ends with code 1; `-q -` reads keys from standard input. Without `-q` nothing is built,
//! as tables are read from their text: the file is only looked through, so that scripts that call `postmap` after a change go
//! on and learn of mistakes. What cannot be done is `EX_USAGE`, with the reason.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tables::{Spec, Table};

use super::exit::Exit;
use crate::commands::table_query::{self, QueryError};

/// What the command line says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    key: Option<String>,
    tables: Vec<String>,
}

impl Options {
    fn parse(words: &[String]) -> Result<Self, Exit> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let letters = match word.strip_prefix('-') {
                Some("-") => {
                    options.tables.extend(words.cloned());
                    break;
                }
                Some(letters) if !letters.is_empty() => letters,
                _ => {
                    options.tables.push(word.clone());
                    continue;
                }
            };
            for (place, letter) in letters.char_indices() {
                let rest = letters.get(place + letter.len_utf8()..).unwrap_or_default();
                let mut value = || {
                    let value = if rest.is_empty() { words.next().cloned() } else { Some(rest.to_owned()) };
                    value.ok_or_else(|| Exit::usage(format!("-{letter} wants a value")))
                };
                match letter {
                    'q' => options.key = Some(value()?),
                    // Another server's configuration.
                    'c' => drop(value()?),
                    // About index files, of which there are none; or about how much is told.
                    'N' | 'n' | 'o' | 'p' | 'r' | 'u' | 'v' | 'w' => continue,
                    other => {
                        return Err(Exit::usage(format!("-{other} is not supported; -q KEY and -q - are")));
                    }
                }
                break;
            }
        }
        if options.tables.is_empty() {
            return Err(Exit::usage("name a table: postmap -q KEY TYPE:FILE"));
        }
        Ok(options)
    }
}

/// Does what the command line says.
pub(super) fn run(words: &[String]) -> Result<ExitCode, Exit> {
    let options = Options::parse(words)?;
    let tables = options.tables.iter().map(|name| open(name)).collect::<Result<Vec<_>, _>>()?;
    let mut out = std::io::stdout().lock();
    let found = match options.key.as_deref() {
        None => Ok(true),
        Some("-") => table_query::all(&tables, &mut std::io::stdin().lock(), &mut out),
        Some(key) => table_query::one(&tables, key, &mut out),
    };
    match found {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        Err(QueryError::Io(error)) => Err(Exit::io(&error)),
        Err(error) => Err(Exit::temporary(error.to_string())),
    }
}

/// A name without a type is that of a text file, as Postfix's default type is made from one.
fn open(name: &str) -> Result<Arc<dyn Table>, Exit> {
    let name = if name.contains(':') { name.to_owned() } else { format!("text:{name}") };
    let spec = Spec::parse(&name).map_err(|error| Exit::usage(error.to_string()))?;
    tables::open(&spec, Path::new(".")).map_err(|error| Exit::config(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Exit> {
        Options::parse(&line.split('|').map(ToOwned::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_key_may_stand_anywhere() {
        for line in
            ["-q|k|pcre:f", "-qk|pcre:f", "-vq|k|pcre:f", "-c|/etc/postfix|-q|k|--|pcre:f", "pcre:f|-qk"]
        {
            let options = parse(line).unwrap();
            assert_eq!(
                (options.key.as_deref(), options.tables.as_slice()),
                (Some("k"), &["pcre:f".to_owned()][..]),
                "{line}"
            );
        }
        assert_eq!(parse("-q|-|f").unwrap().key.as_deref(), Some("-"));
        assert_eq!(parse("hash:/etc/x").unwrap().key, None);
    }

    #[test]
    fn what_cannot_be_done_is_a_mistake_of_usage() {
        for line in ["-q|k", "-q", "-s|hash:x", "-d|k|hash:x", "-i|hash:x", "-hmq|-|pcre:x"] {
            assert_eq!(parse(line).unwrap_err().code, 64, "{line}");
        }
        assert_eq!(open("mysql:x").unwrap_err().code, 64);
        assert_eq!(open("pcre:/nonexistent/x").unwrap_err().code, 78);
    }
}
