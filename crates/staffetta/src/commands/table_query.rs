//! `staffetta table query`: what a table says about a key, read from its file as the server would read it.
//!
//! Asks the table and nothing else: no parent domains, no address without its tag. Never talks to a running server.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;

use tables::{Answer, Spec, Table};

use super::Outcome;

/// Tables: ask one for a key
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta table query pcre:header_checks 'Subject: hello'
  staffetta table query cidr:client_access 192.0.2.9")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print the value of a key; exit code 1 when there is none, 2 when the table cannot be asked
    #[command(after_help = "\
Examples:
  staffetta table query text:virtual joe@example.test
  staffetta table query pcre:header_checks 'Received: from localhost'
  staffetta table query regexp:recipients - < addresses     one key a line, each with its value

A file that is broken is an error that names its line.")]
    Query {
        /// The table, as TYPE:FILE; the type is text, regexp, pcre, cidr, static or inline
        table: Spec,
        /// The key; - reads keys from standard input and prints each with its value
        key: String,
    },
}

/// Exit code when the table cannot be asked: that is no absence (invariant I9).
const CANNOT_ASK: u8 = 2;

/// Opens the table and asks.
pub(crate) fn run(args: &Args) -> Outcome {
    let What::Query { table, key } = &args.what;
    let found = query(table, key).unwrap_or_else(|error| {
        eprintln!("staffetta: {error}");
        ExitCode::from(CANNOT_ASK)
    });
    Ok(found)
}

fn query(table: &Spec, key: &str) -> Outcome {
    let table = tables::open(table, Path::new("."))?;
    let tables = [table];
    let mut out = std::io::stdout().lock();
    let found = if key == "-" {
        all(&tables, &mut std::io::stdin().lock(), &mut out)?
    } else {
        one(&tables, key, &mut out)?
    };
    Ok(if found { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    /// The table could not be asked.
    #[error("cannot be asked about `{key}`: {why}")]
    Unavailable {
        /// What was asked for.
        key: String,
        /// What the table says.
        why: String,
    },
    /// Reading keys or writing values failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Prints the value of one key; true when there is one.
pub(crate) fn one(
    tables: &[std::sync::Arc<dyn Table>],
    key: &str,
    out: &mut dyn Write,
) -> Result<bool, QueryError> {
    let value = ask(&runtime()?, tables, key)?;
    if let Some(value) = &value {
        writeln!(out, "{value}")?;
    }
    Ok(value.is_some())
}

/// Prints every key of the input that has a value, a tab, and the value; true when there was one.
pub(crate) fn all(
    tables: &[std::sync::Arc<dyn Table>],
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> Result<bool, QueryError> {
    let runtime = runtime()?;
    let mut found = false;
    for key in input.lines() {
        let key = key?;
        if let Some(value) = ask(&runtime, tables, &key)? {
            writeln!(out, "{key}\t{value}")?;
            found = true;
        }
    }
    Ok(found)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The value in the first table that has one. A table that cannot be asked ends the search (I9).
fn ask(
    runtime: &tokio::runtime::Runtime,
    tables: &[std::sync::Arc<dyn Table>],
    key: &str,
) -> Result<Option<String>, QueryError> {
    for table in tables {
        match runtime.block_on(table.lookup(key)) {
            Answer::Found(value) => return Ok(Some(value)),
            Answer::Absent => {}
            Answer::Unavailable(why) => return Err(QueryError::Unavailable { key: key.to_owned(), why }),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(spec: &str) -> std::sync::Arc<dyn Table> {
        tables::open(&Spec::parse(spec).unwrap(), Path::new("/")).unwrap()
    }

    #[test]
    fn values_are_printed_and_absence_is_told() {
        let tables = [open("inline:{a=1}"), open("inline:{a=2, b=3}")];
        let mut out = Vec::new();
        assert!(one(&tables, "a", &mut out).unwrap());
        assert!(!one(&tables, "c", &mut out).unwrap());
        assert!(all(&tables, &mut "b\nc\nA\n".as_bytes(), &mut out).unwrap());
        assert!(!all(&tables, &mut "".as_bytes(), &mut out).unwrap());
        assert_eq!(String::from_utf8(out).unwrap(), "1\nb\t3\nA\t1\n");
    }

    #[test]
    fn a_table_that_cannot_be_asked_ends_the_search() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p");
        std::fs::write(&file, "/^(a+)+$/ x\n").unwrap();
        let tables = [open(&format!("pcre:{}", file.display())), open("static:ok")];
        let error =
            one(&tables, &format!("{}!", "a".repeat(3_000)), &mut Vec::new()).unwrap_err().to_string();
        assert!(error.starts_with("cannot be asked about `aaa"), "{error}");
    }
}
