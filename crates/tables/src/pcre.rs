//! `pcre:`: patterns as Perl writes them and values, in order, the first match wins (pcre_table(5)).
//!
//! `/pattern/flags value`, `!/pattern/flags value` and `if` … `endif` blocks; `$1`, `${1}`, `$(1)` and `$$` in values.
//! Patterns are found anywhere in the key and in any case. Each flag turns its default over: `i` (any case, on), `s` (a
//! dot matches line ends too, on), `m` (`^` and `$` match at every line), `x` (white space and comments in patterns), `A`
//! (only at the start), `E` (`$` only at the very end), `U` (repetitions take as little as they can). `X` asks for what is
//! always so: a backslash before a letter without meaning is an error.
//!
//! A pattern of this kind can take for ever, so each match has a budget of steps, of depth and of memory. When it is used
//! up the table cannot be asked about that key (I9). No machine code is made of patterns: a process that may not write
//! code, as the unit file has it, can use them too.

use std::borrow::Cow;
use std::path::Path;

use pcre2::bytes::{Regex, RegexBuilder};

use crate::TableError;
use crate::patterns::{self, Engine, Groups, Patterns};

/// A file of patterns.
pub(crate) type Pcre = Patterns<Regex>;

/// Steps of one match; one takes some ten nanoseconds.
const MATCH_STEPS_MAX: u32 = 2_000_000;
/// Places to come back to that one match may have open at once.
const MATCH_DEPTH_MAX: u32 = 100_000;
/// Memory for them, in KiB.
const MATCH_KIB_MAX: u32 = 16 << 10;
/// What a match of a longer key has taken is given back at once; that of a shorter one is kept for the next.
const KEPT_KEY_BYTES_MAX: usize = 4 << 10;

/// Parses a file.
///
/// # Errors
/// The first line that is wrong.
pub(crate) fn parse(file: &Path, text: &str) -> Result<Pcre, TableError> {
    patterns::parse(file, text)
}

/// Flags, as they stand after their defaults were turned over.
#[derive(Debug, Clone, Copy)]
struct Flags {
    any_case: bool,
    dot_is_all: bool,
    lines: bool,
    spaced: bool,
    at_start: bool,
    end_only: bool,
    lazy: bool,
}

impl Flags {
    fn parse(text: &str) -> Result<Self, String> {
        let mut flags = Self {
            any_case: true,
            dot_is_all: true,
            lines: false,
            spaced: false,
            at_start: false,
            end_only: false,
            lazy: false,
        };
        for flag in text.chars() {
            let turned = match flag {
                'i' => &mut flags.any_case,
                's' => &mut flags.dot_is_all,
                'm' => &mut flags.lines,
                'x' => &mut flags.spaced,
                'A' => &mut flags.at_start,
                'E' => &mut flags.end_only,
                'U' => &mut flags.lazy,
                'X' => continue,
                other => return Err(format!("`{other}` is no flag: i, s, m, x, A, E, U and X are")),
            };
            *turned = !*turned;
        }
        Ok(flags)
    }
}

impl Engine for Regex {
    type Key = [u8];
    const SECOND_PATTERN: bool = false;

    fn key(octets: &[u8]) -> Cow<'_, [u8]> {
        Cow::Borrowed(octets)
    }

    fn compile(pattern: &str, flags: &str) -> Result<Self, String> {
        let flags = Flags::parse(flags)?;
        let pattern = bounded(pattern, flags)?;
        RegexBuilder::new()
            .caseless(flags.any_case)
            .dotall(flags.dot_is_all)
            .multi_line(flags.lines)
            .extended(flags.spaced)
            .build(&pattern)
            .map_err(|error| plain(&error))
    }

    fn groups(&self) -> usize {
        self.captures_len().saturating_sub(1)
    }

    fn matches(&self, key: &[u8]) -> Result<bool, String> {
        with_memory(self, key, |regex| regex.is_match(key))
    }

    fn captures(&self, key: &[u8]) -> Result<Option<Groups>, String> {
        with_memory(self, key, |regex| {
            let mut found = regex.capture_locations();
            let whole = regex.captures_read(&mut found, key)?;
            Ok(whole.map(|_| (0..found.len()).map(|n| found.get(n).map(|(from, to)| from..to)).collect()))
        })
    }
}

/// Matches with memory that is given back when the key is long.
fn with_memory<T>(
    regex: &Regex,
    key: &[u8],
    work: impl FnOnce(&Regex) -> Result<T, pcre2::Error>,
) -> Result<T, String> {
    let done = if key.len() > KEPT_KEY_BYTES_MAX { work(&regex.clone()) } else { work(regex) };
    done.map_err(|error| format!("the pattern needs too much for this text ({error})"))
}

/// What may stand at the very start of a pattern, in parentheses with a star, and is no part of what is matched.
const STARTS: &[&str] = &[
    "UTF",
    "UCP",
    "NO_",
    "NOTEMPTY",
    "CRLF",
    "CR",
    "LF",
    "ANYCRLF",
    "ANY",
    "NUL",
    "BSR_",
    "LIMIT_",
    "CASELESS_",
];

/// The pattern with its bounds, and with what the flags `A`, `E` and `U` mean.
fn bounded(pattern: &str, flags: Flags) -> Result<String, String> {
    let mut body = pattern;
    while let Some((start, rest)) = body.strip_prefix("(*").and_then(|rest| rest.split_once(')')) {
        if !STARTS.iter().any(|known| start.starts_with(known)) {
            break;
        }
        body = rest;
    }
    let starts = pattern.strip_suffix(body).unwrap_or_default();
    let limits = format!(
        "(*LIMIT_MATCH={MATCH_STEPS_MAX})(*LIMIT_DEPTH={MATCH_DEPTH_MAX})(*LIMIT_HEAP={MATCH_KIB_MAX})"
    );
    let lazy = if flags.lazy { "(?U)" } else { "" };
    // Where `^` and `$` match at every line, the library passes over E.
    let body = if flags.end_only && !flags.lines { ends_only(body, flags.spaced)? } else { body.to_owned() };
    // A comment may stand last: the line end closes it.
    let close = if flags.spaced { "\n)" } else { ")" };
    Ok(if flags.at_start {
        format!("{starts}{limits}{lazy}\\A(?:{body}{close}")
    } else {
        format!("{starts}{limits}{lazy}{body}")
    })
}

/// Flag E has no letter inside of patterns: every `$` that is an anchor becomes `\z`.
fn ends_only(pattern: &str, spaced: bool) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '\\' if rest.starts_with("\\Q") => rest.find("\\E").map_or(rest.len(), |at| at + 2),
            '\\' => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
            '[' => class_length(rest),
            '#' if spaced => rest.find('\n').map_or(rest.len(), |at| at + 1),
            '(' if rest.starts_with("(?#") => rest.find(')').map_or(rest.len(), |at| at + 1),
            '(' if changes_options(rest) => {
                return Err("flag E together with (?m) or (?x) in the pattern cannot be had: write \\z \
                            where the end is meant, and leave E out"
                    .to_owned());
            }
            _ => c.len_utf8(),
        };
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        out.push_str(if piece == "$" { "\\z" } else { piece });
        rest = behind;
    }
    Ok(out)
}

/// True for `(?m`, `(?i-x:` and their kin: what `$` or `#` means behind them is not known here.
fn changes_options(text: &str) -> bool {
    let Some(inside) = text.strip_prefix("(?") else { return false };
    let letters = |c: char| c.is_ascii_alphabetic() || c == '-' || c == '^';
    let end = inside.find(|c| !letters(c)).unwrap_or(inside.len());
    let (options, behind) = inside.split_at(end);
    options.contains(['m', 'x', '^']) && behind.starts_with([')', ':'])
}

/// Length of a bracket expression; of the bracket alone when it is not closed, which the library will say.
fn class_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    if bytes.get(at) == Some(&b'^') {
        at += 1;
    }
    if bytes.get(at) == Some(&b']') {
        at += 1;
    }
    while let Some(byte) = bytes.get(at) {
        at += match byte {
            b']' => return at + 1,
            b'\\' if bytes.get(at + 1) == Some(&b'Q') => {
                text.get(at..).and_then(|rest| rest.find("\\E")).map_or(bytes.len(), |end| end + 2)
            }
            b'\\' => 2,
            b'[' if bytes.get(at + 1) == Some(&b':') => {
                text.get(at..).and_then(|rest| rest.find(":]")).map_or(1, |end| end + 2)
            }
            _ => 1,
        };
    }
    1
}

/// The library's error in one line. Its offsets are of the pattern with its bounds, so they are left out.
fn plain(error: &pcre2::Error) -> String {
    let text = error.to_string();
    let words = text.rsplit_once(": ").map_or(text.as_str(), |(_, words)| words);
    format!("the pattern is no regular expression: {words}")
}

#[cfg(test)]
mod tests;
