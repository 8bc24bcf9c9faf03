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

use std::path::Path;

use regex::{Captures, Regex, RegexBuilder};

use crate::file::Contents;
use crate::rules::{self, Rule};
use crate::{Answer, TableError};

/// A file of patterns.
#[derive(Debug)]
pub(crate) struct Regexp(Vec<Rule<Pattern, Vec<Piece>>>);

/// A pattern, perhaps negated, perhaps with one that must not match beside it.
#[derive(Debug)]
struct Pattern {
    expression: Regex,
    negated: bool,
    unless: Option<Regex>,
}

/// A part of a value.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Group(usize),
}

/// What a pattern found: the groups, where there are any.
type Found<'k> = Option<Captures<'k>>;

/// Largest compiled pattern in octets, so that a mistyped repetition does not take all memory.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// Parses a file.
///
/// # Errors
/// The first line that is wrong.
pub(crate) fn parse(file: &Path, text: &str) -> Result<Regexp, TableError> {
    rules::parse(file, text).map(Regexp)
}

impl rules::Pattern for Pattern {
    type Result = Vec<Piece>;

    fn parse(text: &str) -> Result<(Self, &str), String> {
        let bare = text.trim_start_matches(|c: char| c == '!' || c.is_whitespace());
        let negated = text.strip_suffix(bare).unwrap_or_default().matches('!').count() % 2 == 1;
        let (expression, rest) = expression(bare)?;
        let Some(second) = rest.strip_prefix('!') else {
            return Ok((Self { expression, negated, unless: None }, rest));
        };
        let (unless, rest) = self::expression(second)?;
        Ok((Self { expression, negated, unless: Some(unless) }, rest))
    }

    fn result(&self, text: &str) -> Result<Vec<Piece>, String> {
        let pieces = pieces(text)?;
        let groups = self.expression.captures_len() - 1;
        for piece in &pieces {
            match piece {
                Piece::Group(_) if self.negated => {
                    return Err("a pattern with ! matches nothing that $1 could stand for".to_owned());
                }
                Piece::Group(number) if *number > groups => {
                    return Err(format!("${number} is more than the pattern's {groups} parentheses"));
                }
                _ => {}
            }
        }
        Ok(pieces)
    }
}

impl Pattern {
    fn find<'k>(&self, key: &'k str) -> Option<Found<'k>> {
        if self.unless.as_ref().is_some_and(|unless| unless.is_match(key)) {
            return None;
        }
        if self.negated {
            return (!self.expression.is_match(key)).then_some(None);
        }
        self.expression.captures(key).map(Some)
    }
}

/// `/pattern/flags` at the start of a text, and what follows.
fn expression(text: &str) -> Result<(Regex, &str), String> {
    let delimiter = text.chars().next().filter(|c| !c.is_alphanumeric());
    let Some(delimiter) = delimiter else {
        return Err("a rule begins with a pattern between slashes: /pattern/ value".to_owned());
    };
    let inside = text.get(delimiter.len_utf8()..).unwrap_or_default();
    let end = closing(inside, delimiter).ok_or_else(|| {
        format!("the pattern has no closing {delimiter}; a {delimiter} inside it needs a backslash")
    })?;
    let (pattern, rest) = inside.split_at(end);
    let rest = rest.get(delimiter.len_utf8()..).unwrap_or_default();
    let (flags, rest) =
        rest.split_at(rest.find(|c: char| c == '!' || c.is_whitespace()).unwrap_or(rest.len()));
    Ok((compile(pattern, flags)?, rest))
}

/// Index of the delimiter that closes a pattern: the first one without a backslash.
fn closing(text: &str, delimiter: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(place, c)| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == delimiter => return Some(place),
            _ => {}
        }
        None
    })
}

fn compile(pattern: &str, flags: &str) -> Result<Regex, String> {
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

/// The library's error in one line, without its drawing of the translated pattern.
fn plain(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    format!("the pattern is no regular expression: {}", last.trim_start_matches("error: "))
}

/// Splits a value at its `$` signs.
fn pieces(value: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            text.push('$');
            rest = after;
            continue;
        }
        let (name, after) = name(after);
        let number = name.parse().ok().filter(|number| *number > 0);
        let number =
            number.ok_or_else(|| format!("`${name}` is no parenthesis; write $1, ${{1}}, or $$ for a $"))?;
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        pieces.push(Piece::Group(number));
        rest = after;
    }
    text.push_str(rest);
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// The name behind a `$`: in braces or parentheses, or as far as letters, digits and underscores go.
fn name(text: &str) -> (&str, &str) {
    for (open, close) in [('{', '}'), ('(', ')')] {
        if let Some((name, rest)) = text.strip_prefix(open).and_then(|inside| inside.split_once(close)) {
            return (name, rest);
        }
    }
    text.split_at(text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len()))
}

impl Contents for Regexp {
    fn find(&self, key: &str) -> Answer {
        let Some((value, groups)) = rules::first_match(&self.0, |pattern| pattern.find(key)) else {
            return Answer::Absent;
        };
        let text_of = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Group(number) => {
                let group = groups.as_ref().and_then(|groups| groups.get(*number));
                group.map(|group| group.as_str().to_owned()).unwrap_or_default()
            }
        };
        let value: String = value.iter().map(text_of).collect();
        // An empty value is none, in every kind of table.
        if value.is_empty() { Answer::Absent } else { Answer::Found(value) }
    }
}

#[cfg(test)]
mod tests;
