//! What others than this crate find out about a setting, told as if it had been found here.

use crate::Loaded;
use crate::document::{Document, Place};
use crate::report::{Problem, Report, Severity};

/// Something wrong with a file that a setting names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Error or warning.
    pub severity: Severity,
    /// The setting it is about.
    pub setting: Setting,
    /// What is wrong, in one sentence, with file and line.
    pub message: String,
    /// A few words that stand under the setting.
    pub label: String,
    /// What to do.
    pub help: String,
}

/// A setting whose file is looked into by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// `[accounts] file`.
    AccountsFile,
    /// `[accounts] aliases`.
    SystemAliases,
    /// `aliases` of the `[[domain]]` with this number, from 0.
    DomainAliases(usize),
    /// `[antispam]` as a whole, with the files that it names.
    Antispam,
}

impl Setting {
    fn place(self) -> Place {
        match self {
            Self::AccountsFile => Place::of("accounts").key("file"),
            Self::SystemAliases => Place::of("accounts").key("aliases"),
            Self::Antispam => Place::of("antispam"),
            Self::DomainAliases(index) => Place::of("domain").item(index).key("aliases"),
        }
    }
}

impl Loaded {
    /// The warnings, and these findings among them.
    #[must_use]
    pub fn report_with(&self, findings: Vec<Finding>) -> Report {
        let text = self.warnings.text();
        // It has been parsed before.
        let Ok(document) = Document::parse(text) else { return self.warnings.clone() };
        let mut problems = self.warnings.problems().to_vec();
        problems.extend(findings.into_iter().map(|finding| {
            let problem = Problem::error(&document, &finding.setting.place(), finding.message);
            Problem { severity: finding.severity, ..problem }.label(finding.label).help(finding.help)
        }));
        Report::new(&self.file, text.into(), problems)
    }
}
