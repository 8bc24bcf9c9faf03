//! What the types cannot say: settings that contradict each other, or that this host cannot fulfil.
//!
//! One file for each subject, all run every time, so that a report is complete. A check looks at files, users and routes;
//! it changes nothing and asks no network. An error is what makes the server fail or lose mail; a warning is what works
//! and surprises.

mod attachments;
mod bounds;
mod domains;
mod files;
mod host;
mod listeners;
mod networks;
mod outbound;
mod tls;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use tables::TableError;

use crate::document::{Document, Place};
use crate::{Config, Problem, split_advice};

/// Every finding about `config`, whose text is `document` and whose relative paths start at `base`, on a host behind
/// `gateways`.
pub(crate) fn check(
    config: &Config,
    document: &Document<'_>,
    base: &Path,
    gateways: &[IpAddr],
) -> Vec<Problem> {
    let mut findings = Findings { config, document, base, problems: Vec::new() };
    host::check(&mut findings);
    networks::check(&mut findings, gateways);
    listeners::check(&mut findings);
    tls::check(&mut findings);
    domains::check(&mut findings);
    outbound::check(&mut findings);
    bounds::check(&mut findings);
    attachments::check(&mut findings);
    findings.problems
}

/// What a check works with, and where it puts what it finds.
struct Findings<'a, 't> {
    config: &'a Config,
    document: &'a Document<'t>,
    base: &'a Path,
    problems: Vec<Problem>,
}

impl Findings<'_, '_> {
    /// An error at `place`, still to be pushed.
    fn error(&self, place: &Place, message: impl Into<String>) -> Problem {
        Problem::error(self.document, place, message)
    }

    /// A warning at `place`, still to be pushed.
    fn warning(&self, place: &Place, message: impl Into<String>) -> Problem {
        Problem::warning(self.document, place, message)
    }

    /// Adds a finding to the report.
    fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Reports what another crate's parser said of the value at `place`.
    fn refused(&mut self, place: &Place, error: &impl std::error::Error) {
        let words = error.to_string();
        let (message, help) = split_advice(&words);
        self.push(self.error(place, format!("`{}`: {message}", place.last_key())).help(help));
    }

    /// Reports what is wrong with a table or with its name; `or` is what could stand there instead of a table.
    fn table_refused(&mut self, place: &Place, error: &TableError, or: &str) {
        let key = place.last_key();
        let problem = match error {
            TableError::Spec { spec, why } => {
                let (why, help) = match why.strip_prefix("write ") {
                    Some(kinds) => ("not a table", format!("write {or}{kinds}")),
                    None => {
                        (why.as_str(), format!("write {or}text:PATH, regexp:PATH, static:VALUE and the like"))
                    }
                };
                self.error(place, format!("`{key}` cannot be \"{spec}\"")).label(why).help(help)
            }
            TableError::Line { file, line, text, why } => self
                .error(place, format!("{}:{line}: {why}", file.display()))
                .label("in this table")
                .help(format!("that line is `{text}`")),
            TableError::Read { .. } => self.error(place, error.to_string()),
        };
        self.push(problem);
    }

    /// A path of the configuration as an absolute one.
    fn path(&self, written: &Path) -> PathBuf {
        self.base.join(written)
    }
}
