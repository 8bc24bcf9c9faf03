//! `regexp:`: patterns and values in order, the first match wins (regexp_table(5)).
//!
//! `/pattern/flags value`, `!/pattern/flags value`, `/pattern/!/not this/ value`, and `if` … `endif` blocks. Patterns
//! are POSIX extended regular expressions, found anywhere in the key and in any case unless flag `i` says otherwise; flag
//! `m` lets `^` and `$` match at every line, flag `x` turns to basic expressions. `$1` (also `${1}`, `$(1)`) in the value
//! stands for what the first parenthesis matched, `$$` for a dollar sign.
//!
//! Matching takes time in proportion to the key, whatever the pattern. Back-references (`\1` in a pattern) need more
//! than that and are refused. Where several matches are possible, parentheses hold the first alternative rather than the
//! longest.

mod posix;

use std::borrow::Cow;
use std::path::Path;

use regex::{Regex, RegexBuilder};

use crate::TableError;
use crate::patterns::{self, Engine, Groups, Patterns};

/// A file of patterns.
pub(crate) type Regexp = Patterns<Regex>;

/// Largest compiled pattern in octets, so that a mistyped repetition does not take all memory.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// Parses a file.
///
/// # Errors
/// The first line that is wrong.
pub(crate) fn parse(file: &Path, text: &str) -> Result<Regexp, TableError> {
    patterns::parse(file, text)
}

impl Engine for Regex {
    type Key = str;
    const SECOND_PATTERN: bool = true;

    fn key(octets: &[u8]) -> Cow<'_, str> {
        String::from_utf8_lossy(octets)
    }

    fn compile(pattern: &str, flags: &str) -> Result<Self, String> {
        // Each flag turns its default over (regexp_table(5)).
        let (mut any_case, mut lines, mut extended) = (true, false, true);
        for flag in flags.chars() {
            match flag {
                'i' => any_case = !any_case,
                'm' => lines = !lines,
                'x' => extended = !extended,
                other => return Err(format!("`{other}` is no flag: i, m and x are")),
            }
        }
        let translated = posix::translate(pattern, extended)?;
        RegexBuilder::new(&translated)
            .case_insensitive(any_case)
            .multi_line(lines)
            .dot_matches_new_line(!lines)
            .size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| plain(&error))
    }

    fn groups(&self) -> usize {
        self.captures_len() - 1
    }

    fn matches(&self, key: &str) -> Result<bool, String> {
        Ok(self.is_match(key))
    }

    fn captures(&self, key: &str) -> Result<Option<Groups>, String> {
        let captures = Self::captures(self, key);
        Ok(captures.map(|found| found.iter().map(|group| group.map(|group| group.range())).collect()))
    }
}

/// The library's error in one line, without its drawing of the translated pattern.
fn plain(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    format!("the pattern is no regular expression: {}", last.trim_start_matches("error: "))
}

#[cfg(test)]
mod tests;
