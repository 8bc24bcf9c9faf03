//! Logical lines of a table's file, as Postfix joins them.
//!
//! Empty lines and lines whose first visible character is `#` do not count, wherever they stand. A line that begins
//! with white space continues the line before it, its white space kept (postmap(1)).

use std::path::Path;

use crate::TableError;

/// One logical line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Number of its first line, from 1.
    pub number: usize,
    /// Its text, continuations joined, white space at the end dropped.
    pub text: String,
}

impl Line {
    /// An error about this line.
    pub(crate) fn wrong(&self, file: &Path, why: impl Into<String>) -> TableError {
        const SHOWN_MAX: usize = 80;
        let mut text: String = self.text.chars().take(SHOWN_MAX).collect();
        if text.len() < self.text.len() {
            text.push('…');
        }
        TableError::Line { file: file.to_owned(), line: self.number, text, why: why.into() }
    }
}

/// Splits a file into logical lines.
///
/// # Errors
/// A continuation with nothing to continue.
pub(crate) fn logical_lines(file: &Path, contents: &str) -> Result<Vec<Line>, TableError> {
    let mut lines: Vec<Line> = Vec::new();
    for (index, raw) in contents.lines().enumerate() {
        let visible = raw.trim_start();
        if visible.is_empty() || visible.starts_with('#') {
            continue;
        }
        let number = index + 1;
        if visible.len() == raw.len() {
            lines.push(Line { number, text: raw.to_owned() });
        } else if let Some(last) = lines.last_mut() {
            last.text.push_str(raw);
        } else {
            let line = Line { number, text: raw.to_owned() };
            return Err(
                line.wrong(file, "the first line begins with white space, which continues a line before it")
            );
        }
    }
    for line in &mut lines {
        line.text.truncate(line.text.trim_end().len());
    }
    Ok(lines)
}

/// A file as text.
///
/// # Errors
/// [`TableError::Read`], or the first line that is not UTF-8.
pub(crate) fn read(file: &Path) -> Result<String, TableError> {
    let wrong = |why: String| TableError::Read { file: file.to_owned(), why };
    let octets = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    String::from_utf8(octets).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..good).unwrap_or_default();
        let line = before.iter().filter(|octet| **octet == b'\n').count() + 1;
        wrong(format!("line {line} is not UTF-8: save the file as UTF-8"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_empty_lines_do_not_end_a_logical_line() {
        let text = "# top\n\na 1  \n  two\n# between\n\n\tthree \n  # not this\nb 2\r\n";
        let lines = logical_lines(Path::new("t"), text).unwrap();
        let seen: Vec<_> = lines.iter().map(|line| (line.number, line.text.as_str())).collect();
        assert_eq!(seen, [(3, "a 1    two\tthree"), (9, "b 2")]);
    }

    #[test]
    fn a_continuation_of_nothing_and_wrong_octets_are_errors_with_their_line() {
        let error = logical_lines(Path::new("t"), "# x\n a 1\n").unwrap_err().to_string();
        assert!(error.starts_with("t:2: "), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("latin1");
        std::fs::write(&file, b"a 1\nb \xe9\n").unwrap();
        let error = read(&file).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("latin1"), "{error}");
    }

    #[test]
    fn a_long_line_is_shown_shortened() {
        let line = Line { number: 7, text: "x".repeat(500) };
        let error = line.wrong(Path::new("t"), "too long").to_string();
        assert!(error.contains("t:7: too long") && error.len() < 120, "{error}");
    }
}
