//! What is wrong with a configuration, and how it is told: file, line, the offending text underlined, and the fix.
//!
//! A [`Report`] collects every problem that was found in one reading, so that one round of editing can mend them all.
//! Rendering never fails and never colours text unless it is asked to.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ariadne::{CharSet, Color, IndexType, Label, ReportKind, Source};
use serde::Serialize;

use crate::document::{Document, Place};

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The server does not start with this.
    Error,
    /// It starts, and the operator should know.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// The setting it is about, such as `domain[0].deliver`; empty for the file as a whole.
    pub key: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// A few words that stand under the offending text; may be empty.
    pub label: String,
    /// What to write instead; may be empty.
    pub help: String,
    /// The offending bytes of the file; none when the file could not be read.
    pub span: Option<Range<usize>>,
    /// Other places that explain it, each with a few words.
    pub also: Vec<(Range<usize>, String)>,
}

/// A file and what is wrong with it; empty when nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    file: PathBuf,
    text: Arc<str>,
    problems: Vec<Problem>,
}

/// How a report is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// ASCII without colours: for files, pipes and logs.
    #[default]
    Plain,
    /// Colours and box characters: for a terminal.
    Terminal,
}

impl Problem {
    /// An error about `place`, pointing at its value, or else at the section it belongs to.
    pub(crate) fn error(document: &Document<'_>, place: &Place, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            key: place.to_string(),
            message: message.into(),
            label: String::new(),
            help: String::new(),
            span: Some(document.nearest_span(place).unwrap_or(0..0)),
            also: Vec::new(),
        }
    }

    /// A warning about `place`.
    pub(crate) fn warning(document: &Document<'_>, place: &Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(document, place, message) }
    }

    /// A problem with the file as a whole, before there is anything to point at.
    pub(crate) fn with_file(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            key: String::new(),
            message: message.into(),
            label: String::new(),
            help: String::new(),
            span: None,
            also: Vec::new(),
        }
    }

    /// The words under the offending text.
    #[must_use]
    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// What to write instead.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// Points elsewhere than at the value.
    #[must_use]
    pub(crate) fn at(mut self, span: Option<Range<usize>>) -> Self {
        self.span = span.or(self.span);
        self
    }

    /// Points at a second place too.
    #[must_use]
    pub(crate) fn also(mut self, span: Option<Range<usize>>, words: impl Into<String>) -> Self {
        self.also.extend(span.map(|span| (span, words.into())));
        self
    }
}

impl Report {
    /// A report on `text`, errors first, each kind in the order of the file.
    pub(crate) fn new(file: &Path, text: Arc<str>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.severity, problem.span.as_ref().map(|span| span.start)));
        Self { file: file.to_owned(), text, problems }
    }

    /// The problems, errors first, then in the order of the file.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The file's text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// True when there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// True when the server cannot start with this.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// The line of a problem, from 1; 1 when it has no place.
    #[must_use]
    pub fn line(&self, problem: &Problem) -> usize {
        let start = problem.span.as_ref().map_or(0, |span| span.start);
        1 + self.text.bytes().take(start).filter(|byte| *byte == b'\n').count()
    }

    /// The report as people read it.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let pictures: Vec<String> =
            self.problems.iter().map(|problem| self.picture(problem, style)).collect();
        pictures.join("\n")
    }

    /// One line for each problem, `file:line: message; help`: for logs.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let line = |problem: &Problem| {
            let place = match problem.span {
                Some(_) => format!("{}:{}", self.file.display(), self.line(problem)),
                None => self.file.display().to_string(),
            };
            let help = if problem.help.is_empty() { String::new() } else { format!("; {}", problem.help) };
            format!("{place}: {}{}", problem.message, help.replace('\n', " "))
        };
        self.problems.iter().map(line).collect()
    }

    /// The report for programs: a list of objects with `severity`, `file`, `line`, `column`, `key`, `message`, `help`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let items: Vec<JsonProblem<'_>> = self.problems.iter().map(|problem| self.json(problem)).collect();
        serde_json::to_string_pretty(&items).unwrap_or_else(|_| "[]".to_owned())
    }

    /// Lines and columns from 1, columns in characters: as editors count.
    fn json<'a>(&'a self, problem: &'a Problem) -> JsonProblem<'a> {
        let start = problem.span.as_ref().map(|span| span.start);
        let column = start.map(|start| {
            let before = self.text.get(..start).unwrap_or_default();
            1 + before.rsplit('\n').next().unwrap_or_default().chars().count()
        });
        JsonProblem {
            severity: problem.severity,
            file: self.file.to_string_lossy().into_owned(),
            line: start.map(|_| self.line(problem)),
            column,
            key: &problem.key,
            message: &problem.message,
            help: &problem.help,
        }
    }

    /// One problem as a picture of its lines. Where drawing fails, the words alone.
    fn picture(&self, problem: &Problem, style: Style) -> String {
        let Some(span) = problem.span.clone() else { return bare(problem) };
        let file = self.file.to_string_lossy().into_owned();
        let terminal = style == Style::Terminal;
        let (kind, colour) = match problem.severity {
            Severity::Error => (ReportKind::Error, Color::Red),
            Severity::Warning => (ReportKind::Warning, Color::Yellow),
        };
        let place = |span: &Range<usize>| (file.clone(), characters(&self.text, visible(&self.text, span)));
        let config = ariadne::Config::new()
            .with_index_type(IndexType::Char)
            .with_color(terminal)
            .with_char_set(if terminal { CharSet::Unicode } else { CharSet::Ascii });
        let mut report =
            ariadne::Report::build(kind, place(&span)).with_config(config).with_message(&problem.message);
        let main = if problem.label.is_empty() { "here" } else { &problem.label };
        let main = (&span, main, colour);
        let others = problem.also.iter().map(|(span, words)| (span, words.as_str(), Color::Cyan));
        for (span, words, colour) in std::iter::once(main).chain(others) {
            // In the order of the file: a picture that goes back and forth starts anew at every turn.
            let order = i32::try_from(span.start).unwrap_or(i32::MAX);
            let label = Label::new(place(span)).with_message(words).with_color(colour).with_order(order);
            report = report.with_label(label);
        }
        if !problem.help.is_empty() {
            report = report.with_help(&problem.help);
        }
        let mut out = Vec::new();
        let source = (file.clone(), Source::from(self.text.as_ref()));
        match report.finish().write(source, &mut out) {
            Ok(()) => tidy(&String::from_utf8_lossy(&out)),
            Err(_) => bare(problem),
        }
    }
}

/// What [`Report::to_json`] prints of a problem.
#[derive(Serialize)]
struct JsonProblem<'a> {
    severity: Severity,
    file: String,
    line: Option<usize>,
    column: Option<usize>,
    key: &'a str,
    message: &'a str,
    help: &'a str,
}

/// A problem with nothing to point at.
fn bare(problem: &Problem) -> String {
    let kind = if problem.severity == Severity::Error { "Error" } else { "Warning" };
    let help = if problem.help.is_empty() { String::new() } else { format!("  Help: {}\n", problem.help) };
    format!("{kind}: {}\n{help}", problem.message)
}

/// An empty span would underline nothing: shows the last character before it on its line instead, or the one after.
fn visible(text: &str, span: &Range<usize>) -> Range<usize> {
    let end = span.end.min(text.len());
    let start = span.start.min(end);
    if start < end {
        return start..end;
    }
    let before = text.get(..start).and_then(|head| head.char_indices().next_back());
    match before {
        Some((at, c)) if c != '\n' => at..start,
        _ => {
            let next = text.get(start..).and_then(|tail| tail.chars().next()).map_or(0, char::len_utf8);
            start..start + next
        }
    }
}

/// Bytes to characters: the drawing library cuts characters in two where spans of bytes end in one.
fn characters(text: &str, span: Range<usize>) -> Range<usize> {
    let before = text.get(..span.start).unwrap_or_default().chars().count();
    before..before + text.get(span).unwrap_or_default().chars().count()
}

/// Lines without blanks at their ends, and only one line end at the end.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.trim_end().lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

impl std::error::Error for Report {}
