//! What is not TOML, told to people who have never read TOML's grammar.

use std::ops::Range;

use crate::document::SyntaxError;
use crate::report::{Problem, Severity};

/// The problem behind a parser's complaint, with the usual cause and its cure.
pub(crate) fn explain(text: &str, error: &SyntaxError) -> Problem {
    let line = line_around(text, error.span.start);
    let found = text.get(error.span.clone()).unwrap_or_default();
    let (message, label, help) = match error.message.as_str() {
        words if words.starts_with("duplicate key") => (
            format!("`{found}` is there twice"),
            "the second time".to_owned(),
            "keep one of the two; a list of sections has double brackets: [[domain]]".to_owned(),
        ),
        words if words.starts_with("string values must be quoted") => {
            let value = value_of(text.get(line.clone()).unwrap_or_default());
            let help = match value {
                Some((key, "")) => format!("write a value after the equals sign: `{key} = \"...\"`"),
                Some((key, value)) => format!("write `{key} = \"{value}\"`"),
                None => "write texts in double quotes".to_owned(),
            };
            ("text must stand in quotes".to_owned(), "quotes are missing".to_owned(), help)
        }
        words if words.contains("invalid basic string") || words.contains("invalid literal string") => (
            "the text has no closing quote".to_owned(),
            "it ends here".to_owned(),
            "close it with the quote that opened it".to_owned(),
        ),
        words if words.starts_with("key with no value") => (
            "a key without a value".to_owned(),
            "an equals sign and a value belong here".to_owned(),
            "write `key = value`, each on a line of its own".to_owned(),
        ),
        words => (format!("this is not TOML: {words}"), String::new(), String::new()),
    };
    let span = if error.span.is_empty() && !line.is_empty() {
        widen(&error.span, &line)
    } else {
        error.span.clone()
    };
    let also = match error.message.as_str() {
        "duplicate key" => first_use(text, found, error.span.start).into_iter().collect(),
        _ => Vec::new(),
    };
    Problem { severity: Severity::Error, key: String::new(), message, label, help, span: Some(span), also }
}

/// The bytes of the line that `at` is on, without its end and the blanks around it.
fn line_around(text: &str, at: usize) -> Range<usize> {
    let start = text.get(..at).and_then(|head| head.rfind('\n')).map_or(0, |newline| newline + 1);
    let end = text.get(at..).and_then(|tail| tail.find('\n')).map_or(text.len(), |length| at + length);
    let line = text.get(start..end).unwrap_or_default();
    let indent = line.len() - line.trim_start().len();
    start + indent..start + line.trim_end().len()
}

/// Where nothing is, the whole line is shown when the place is at its end.
fn widen(span: &Range<usize>, line: &Range<usize>) -> Range<usize> {
    if span.start >= line.end { line.clone() } else { span.clone() }
}

/// Key and value of a `key = value` line.
fn value_of(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    Some((key.trim(), value.split('#').next().unwrap_or_default().trim()))
}

/// Where the key or section stood first.
fn first_use(text: &str, key: &str, before: usize) -> Option<(Range<usize>, String)> {
    let mut start = 0;
    for line in text.get(..before)?.split_inclusive('\n') {
        let name = line.trim_start().trim_start_matches('[');
        let at = start + line.len() - name.len();
        let ends = name.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(['=', ']', '.']));
        if ends && at < before {
            return Some((at..at + key.len(), "the first time".to_owned()));
        }
        start += line.len();
    }
    None
}
