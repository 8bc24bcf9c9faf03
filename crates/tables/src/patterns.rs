//! What `regexp:` and `pcre:` have in common: `/pattern/flags value`, negation, and `$1` in values.
//!
//! How a pattern is written inside its delimiters and what its flags mean is the business of an [`Engine`]. An engine may
//! give up on a key; the table then cannot be asked about it (I9), and no later rule answers in its place.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::rules::{self, Match, Rule};
use crate::{Answer, Contents, Entry, TableError};

/// Longest time that one look-up may take with an engine that backtracks. Each pattern is bounded by itself; this bounds
/// a long table of bad ones.
const LOOKUP_TIME_MAX: Duration = Duration::from_millis(1000);

/// Where the groups of a match lie in the key, in octets; the whole match first.
pub(crate) type Groups = Vec<Option<Range<usize>>>;

/// One kind of regular expressions.
pub(crate) trait Engine: Sized + Send + Sync + std::fmt::Debug + 'static {
    /// What it searches: text, or octets of any kind.
    type Key: ?Sized + ToOwned + AsRef<[u8]>;

    /// True when a second pattern may follow, which must not match: `/this/!/not this/`.
    const SECOND_PATTERN: bool;

    /// Compiles what stands between the delimiters, with the flags behind them.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    fn compile(pattern: &str, flags: &str) -> Result<Self, String>;

    /// A key as it is searched.
    fn key(octets: &[u8]) -> Cow<'_, Self::Key>;

    /// How many parentheses there are that `$1` and so on could stand for.
    fn groups(&self) -> usize;

    /// True when it is found in the key.
    ///
    /// # Errors
    /// Why it could not be found out.
    fn matches(&self, key: &Self::Key) -> Result<bool, String>;

    /// Where it is found in the key, with its groups.
    ///
    /// # Errors
    /// Why it could not be found out.
    fn captures(&self, key: &Self::Key) -> Result<Option<Groups>, String>;
}

/// A file of patterns.
#[derive(Debug)]
pub(crate) struct Patterns<E>(Vec<Rule<Pattern<E>, Vec<Piece>>>);

/// A pattern, perhaps negated, perhaps with one that must not match beside it.
#[derive(Debug)]
pub(crate) struct Pattern<E> {
    expression: E,
    negated: bool,
    unless: Option<E>,
    /// Its text, for what is said when it cannot be matched.
    text: Box<str>,
}

/// A part of a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Group(usize),
}

/// Parses a file.
///
/// # Errors
/// The first line that is wrong.
pub(crate) fn parse<E: Engine>(file: &Path, text: &str) -> Result<Patterns<E>, TableError> {
    rules::parse(file, text).map(Patterns)
}

impl<E: Engine> rules::Pattern for Pattern<E> {
    type Result = Vec<Piece>;

    fn parse(text: &str) -> Result<(Self, &str), String> {
        let bare = text.trim_start_matches(|c: char| c == '!' || c.is_whitespace());
        let negated = text.strip_suffix(bare).unwrap_or_default().matches('!').count() % 2 == 1;
        let (expression, mut rest) = expression(bare)?;
        let mut unless = None;
        if let Some(second) = rest.strip_prefix('!').filter(|_| E::SECOND_PATTERN) {
            let (second, behind) = self::expression(second)?;
            unless = Some(second);
            rest = behind;
        }
        let text = bare.strip_suffix(rest).unwrap_or_default().into();
        Ok((Self { expression, negated, unless, text }, rest))
    }

    fn result(&self, text: &str) -> Result<Vec<Piece>, String> {
        let pieces = pieces(text)?;
        let groups = self.expression.groups();
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

impl<E: Engine> Pattern<E> {
    /// What it found: the groups, none for a pattern with `!`.
    fn find(&self, key: &E::Key) -> Result<Option<Groups>, String> {
        if let Some(unless) = &self.unless
            && unless.matches(key)?
        {
            return Ok(None);
        }
        if self.negated {
            return Ok((!self.expression.matches(key)?).then(Vec::new));
        }
        self.expression.captures(key)
    }
}

/// `/pattern/flags` at the start of a text, and what follows.
fn expression<E: Engine>(text: &str) -> Result<(E, &str), String> {
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
    let ends = |c: char| c.is_whitespace() || (c == '!' && E::SECOND_PATTERN);
    let (flags, rest) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
    Ok((E::compile(pattern, flags)?, rest))
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

impl<E: Engine> Patterns<E> {
    /// The first rule that matches.
    fn rule_for(&self, key: &E::Key) -> Result<Option<Match<'_, Vec<Piece>, Groups>>, String> {
        let begun = Instant::now();
        rules::first_match(&self.0, |pattern: &Pattern<E>| {
            if begun.elapsed() > LOOKUP_TIME_MAX {
                return Err(format!("the patterns before {} took too long", pattern.text));
            }
            pattern.find(key).map_err(|why| format!("{}: {why}", pattern.text))
        })
    }

    fn answer(&self, octets: &[u8]) -> Result<Option<String>, String> {
        let key = E::key(octets);
        let Some((_, value, groups)) = self.rule_for(&key)? else { return Ok(None) };
        let mut out: Vec<u8> = Vec::new();
        for piece in value {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Group(number) => {
                    let range = groups.get(*number).cloned().flatten();
                    let key: &[u8] = (*key).as_ref();
                    out.extend_from_slice(range.and_then(|range| key.get(range)).unwrap_or_default());
                }
            }
        }
        // Where a pattern counts octets, a group may end inside of a letter.
        let value =
            String::from_utf8(out).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned());
        // An empty value is none, in every kind of table.
        Ok((!value.is_empty()).then_some(value))
    }
}

impl<E: Engine> Contents for Patterns<E> {
    fn find(&self, key: &str) -> Answer {
        self.find_octets(key.as_bytes())
    }

    fn find_octets(&self, key: &[u8]) -> Answer {
        match self.answer(key) {
            Ok(Some(value)) => Answer::Found(value),
            Ok(None) => Answer::Absent,
            Err(why) => Answer::Unavailable(why),
        }
    }

    fn line_of(&self, key: &[u8]) -> Option<usize> {
        self.rule_for(&E::key(key)).ok().flatten().map(|(line, _, _)| line)
    }

    fn entries(&self) -> Vec<Entry> {
        rules::results(&self.0).map(|(line, pieces)| entry(line, pieces)).collect()
    }

    fn may_take_long(&self) -> bool {
        true
    }
}

fn entry(line: usize, pieces: &[Piece]) -> Entry {
    let mut value = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => value.push_str(text),
            // Writing to a string cannot fail.
            Piece::Group(number) => drop(write!(value, "${number}")),
        }
    }
    let has_groups = pieces.iter().any(|piece| matches!(piece, Piece::Group(_)));
    Entry { line: Some(line), value, has_groups }
}
