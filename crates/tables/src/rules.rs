//! What `regexp:`, `pcre:` and `cidr:` have in common: rules in order, the first match wins, `if` … `endif` blocks.
//!
//! A block whose condition fails is skipped as a whole; blocks nest. An `if` without its `endif`, or the reverse, is an
//! error here (Postfix warns).

use std::path::Path;

use crate::TableError;
use crate::source::{self, Line};

/// How one kind of table reads its patterns.
pub(crate) trait Pattern: Sized {
    /// What a rule that matches gives.
    type Result;

    /// The pattern at the start of a line, and the text after it.
    ///
    /// # Errors
    /// What is wrong with it.
    fn parse(text: &str) -> Result<(Self, &str), String>;

    /// The result text that belongs to a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    fn result(&self, text: &str) -> Result<Self::Result, String>;
}

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule<P, R> {
    /// Its line in the file, from 1.
    pub(crate) line: usize,
    pub(crate) pattern: P,
    pub(crate) action: Action<R>,
}

/// What happens when a rule's pattern matches, or does not.
#[derive(Debug)]
pub(crate) enum Action<R> {
    /// It matches: this is the answer.
    Give(R),
    /// It does not: go on with the rule of this index, behind the `endif`.
    SkipTo(usize),
}

/// Parses a file of rules.
///
/// # Errors
/// The first line that is wrong.
pub(crate) fn parse<P: Pattern>(file: &Path, text: &str) -> Result<Vec<Rule<P, P::Result>>, TableError> {
    let mut rules: Vec<Rule<P, P::Result>> = Vec::new();
    let mut open: Vec<(usize, Line)> = Vec::new();
    for line in source::logical_lines(file, text)? {
        match keyword(&line.text) {
            Keyword::If(rest) => {
                let (pattern, after) = P::parse(rest).map_err(|why| line.wrong(file, why))?;
                if !after.trim().is_empty() {
                    let why =
                        "nothing may stand behind the pattern of an `if`; do not indent the lines inside";
                    return Err(line.wrong(file, why));
                }
                rules.push(Rule { line: line.number, pattern, action: Action::SkipTo(usize::MAX) });
                open.push((rules.len() - 1, line));
            }
            Keyword::EndIf(rest) => {
                if !rest.is_empty() {
                    return Err(line.wrong(file, "nothing may stand behind `endif`"));
                }
                let (start, _) =
                    open.pop().ok_or_else(|| line.wrong(file, "there is no `if` for this `endif`"))?;
                let end = rules.len();
                if let Some(rule) = rules.get_mut(start) {
                    rule.action = Action::SkipTo(end);
                }
            }
            Keyword::None => rules.push(rule(&line).map_err(|why| line.wrong(file, why))?),
        }
    }
    match open.pop() {
        Some((_, line)) => Err(line.wrong(file, "this `if` has no `endif`")),
        None => Ok(rules),
    }
}

fn rule<P: Pattern>(line: &Line) -> Result<Rule<P, P::Result>, String> {
    let (pattern, rest) = P::parse(&line.text)?;
    let rest = rest.trim();
    if rest.is_empty() {
        return Err("there is no result behind the pattern".to_owned());
    }
    let action = Action::Give(pattern.result(rest)?);
    Ok(Rule { line: line.number, pattern, action })
}

/// The first word of a line, when it is one of ours.
enum Keyword<'a> {
    If(&'a str),
    EndIf(&'a str),
    None,
}

fn keyword(line: &str) -> Keyword<'_> {
    let (word, rest) = line.split_at(line.find(char::is_whitespace).unwrap_or(line.len()));
    if word.eq_ignore_ascii_case("if") {
        Keyword::If(rest.trim())
    } else if word.eq_ignore_ascii_case("endif") {
        Keyword::EndIf(rest.trim())
    } else {
        Keyword::None
    }
}

/// A rule that matched: its line in the file, its result, what its pattern found.
pub(crate) type Match<'r, R, M> = (usize, &'r R, M);

/// Applies rules in order; `matches` gives what a pattern found, `None` when it does not match.
///
/// # Errors
/// That of the first pattern that cannot be matched: what stands behind it must not answer in its place (I9).
pub(crate) fn first_match<P, R, M, E>(
    rules: &[Rule<P, R>],
    mut matches: impl FnMut(&P) -> Result<Option<M>, E>,
) -> Result<Option<Match<'_, R, M>>, E> {
    let mut next = 0;
    while let Some(rule) = rules.get(next) {
        next += 1;
        match (&rule.action, matches(&rule.pattern)?) {
            (Action::Give(result), Some(found)) => return Ok(Some((rule.line, result, found))),
            (Action::SkipTo(end), None) => next = *end,
            (Action::Give(_), None) | (Action::SkipTo(_), Some(_)) => {}
        }
    }
    Ok(None)
}

/// The results of all rules, with their lines.
pub(crate) fn results<P, R>(rules: &[Rule<P, R>]) -> impl Iterator<Item = (usize, &R)> {
    rules.iter().filter_map(|rule| match &rule.action {
        Action::Give(result) => Some((rule.line, result)),
        Action::SkipTo(_) => None,
    })
}
