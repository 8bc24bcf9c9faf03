//! `rules.toml`: rules as operators write them, and what is wrong with them.
//!
//! ```toml
//! [[rule]]
//! name = "SUBJECT_PRICE"
//! score = 1.5
//! meaning = "the subject names a price"
//! header = "Subject"
//! matches = '\$\d+'
//! ```
//!
//! Every mistake is told at once, each with file, line and key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use policy::expression::Expression;
use policy::{Score, Symbol, SymbolDef};
use serde::Deserialize;
use toml::Spanned;

use super::search;
use crate::groups::RULES;

/// Rules of all files together: with room for all that can be taken over of SpamAssassin's.
pub const RULES_MAX: usize = 1_500;
/// Longest pattern, in octets.
pub const PATTERN_BYTES_MAX: usize = 4_096;
/// Largest file, in octets.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// The rules that are there without saying.
pub const OWN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../etc/rules.toml"));

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name.
    pub name: Symbol,
    /// Its points; none when it is only there for other rules.
    pub score: Option<Score>,
    /// What it means.
    pub meaning: String,
    /// When it holds.
    pub condition: Condition,
    /// Where it is written.
    pub place: Place,
}

/// Where something is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
}

/// What is searched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The text as it is read, with the subject before it.
    Body,
    /// The text as it was written: HTML with its tags.
    Source,
    /// Every link.
    Link,
    /// A field of the header.
    Header(Field),
    /// A field of the header of any part.
    Part(String),
}

/// A field of the header, and what of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field {
    /// In lower case. `all` is every field, `tocc` is To and Cc, `envelopefrom` is the reverse-path.
    pub name: String,
    /// Which part of it.
    pub part: FieldPart,
}

/// What of a field is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum FieldPart {
    /// All of it, decoded and unfolded.
    #[default]
    Decoded,
    /// All of it as it came.
    Raw,
    /// The addresses in it.
    Addresses,
    /// The names in it.
    Names,
}

/// When a rule holds.
#[derive(Debug, Clone)]
pub enum Condition {
    /// Something matches, or nothing does.
    Matches {
        /// Where.
        target: Target,
        /// What.
        pattern: String,
        /// It holds when nothing matches.
        negated: bool,
    },
    /// A field is there, or is not.
    Exists {
        /// Which.
        field: Field,
        /// It holds when it is not.
        negated: bool,
    },
    /// What other rules come to.
    Meta(Expression),
    /// So many of these rules hold at least.
    AtLeast(usize, Vec<Symbol>),
}

impl Condition {
    /// True for a rule about rules.
    #[must_use]
    pub const fn is_meta(&self) -> bool {
        matches!(self, Self::Meta(_) | Self::AtLeast(..))
    }

    /// True when it holds by these; never for what is no rule about rules.
    pub fn holds(&self, seen: &dyn Fn(&Symbol) -> bool) -> bool {
        match self {
            Self::Meta(expression) => expression.holds(seen),
            Self::AtLeast(least, of) => of.iter().filter(|symbol| seen(symbol)).count() >= *least,
            Self::Matches { .. } | Self::Exists { .. } => false,
        }
    }

    fn names(&self) -> Vec<Symbol> {
        match self {
            Self::Meta(expression) => expression.symbols().into_iter().cloned().collect(),
            Self::AtLeast(_, of) => of.clone(),
            Self::Matches { .. } | Self::Exists { .. } => Vec::new(),
        }
    }
}

impl Rule {
    /// As a symbol, when it has a score.
    #[must_use]
    pub fn symbol(&self) -> Option<SymbolDef> {
        let meaning = if self.meaning.is_empty() { "a rule".to_owned() } else { self.meaning.clone() };
        SymbolDef::configured(self.name.as_str(), self.score?, Some(RULES), meaning).ok()
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 for all of the file.
    pub line: usize,
    /// The rule and the key, as far as they are known.
    pub key: String,
    /// What is wrong, and what to write.
    pub message: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.key.is_empty() { "" } else { ": " };
        let line = if self.line == 0 { String::new() } else { format!(":{}", self.line) };
        write!(f, "{}{line}: {}{separator}{}", self.file, self.key, self.message)
    }
}

/// All mistakes, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleErrors(pub Vec<RuleError>);

impl fmt::Display for RuleErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for RuleErrors {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Spanned<Written>>,
}

/// A rule as it is written: exactly one of `header`, `body`, `rawbody`, `uri`, `mime`, `meta`, `of`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Spanned<String>,
    score: Option<Score>,
    #[serde(default)]
    meaning: String,
    header: Option<Spanned<String>>,
    body: Option<Spanned<String>>,
    rawbody: Option<Spanned<String>>,
    uri: Option<Spanned<String>>,
    mime: Option<Spanned<String>>,
    meta: Option<Spanned<String>>,
    of: Option<Spanned<Vec<String>>>,
    at_least: Option<usize>,
    /// With `header` and `mime`: the pattern. Without it: that the field is there.
    matches: Option<Spanned<String>>,
    #[serde(default)]
    not: bool,
}

/// Reads rules from files, each with its name, and puts each rule about rules behind those it names.
///
/// # Errors
/// Everything that is wrong with them.
pub fn read(files: &[(String, String)]) -> Result<Vec<Rule>, RuleErrors> {
    let mut reader = Reader::default();
    for (file, text) in files {
        reader.file(file, text);
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    rules: Vec<Rule>,
    names: BTreeSet<Symbol>,
    errors: Vec<RuleError>,
    is_full: bool,
}

impl Reader {
    fn wrong(&mut self, place: &Place, key: &str, message: impl Into<String>) {
        let (file, line) = (place.file.to_string(), place.line);
        self.errors.push(RuleError { file, line, key: key.to_owned(), message: message.into() });
    }

    fn file(&mut self, file: &str, text: &str) {
        let file: Arc<str> = file.into();
        let place = |at: usize| {
            let before = text.as_bytes().get(..at).unwrap_or_default();
            Place { file: Arc::clone(&file), line: 1 + memchr::memchr_iter(b'\n', before).count() }
        };
        if text.len() > FILE_BYTES_MAX {
            return self.wrong(&place(0), "", format!("the file is larger than {FILE_BYTES_MAX} octets"));
        }
        let written: File = match toml::from_str(text) {
            Ok(written) => written,
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                let message = match error.message() {
                    "invalid type: map, expected a sequence" => {
                        "write [[rule]], in two brackets, above each rule"
                    }
                    other => other,
                };
                return self.wrong(&place(at), "", message);
            }
        };
        for rule in written.rule {
            let rule = rule.into_inner();
            if self.rules.len() >= RULES_MAX {
                // What others build upon may be among those that are not read.
                self.is_full = true;
                return self.wrong(
                    &place(rule.name.span().start),
                    "",
                    format!("there are more than {RULES_MAX} rules"),
                );
            }
            self.rule(rule, &place);
        }
    }

    fn rule(&mut self, written: Written, place: &dyn Fn(usize) -> Place) {
        let at = place(written.name.span().start);
        let shown = written.name.get_ref().clone();
        let Ok(name) = Symbol::parse(&shown) else {
            return self.wrong(&at, "name", format!("`{shown}` is no name: {}", policy::SymbolError));
        };
        let condition = match condition(&written) {
            Ok(condition) => condition,
            Err(Wrong { key, at: span, message }) => {
                let at = span.map_or(at, place);
                return self.wrong(&at, &format!("{shown}.{key}"), message);
            }
        };
        if !self.names.insert(name.clone()) {
            let other = self.rules.iter().find(|rule| rule.name == name).map(|rule| &rule.place);
            let message = match other {
                Some(Place { file, .. }) if **file == *super::OWN_NAME => {
                    "one of the rules that come with the program has this name: scores.toml changes what it counts"
                        .to_owned()
                }
                Some(Place { file, line }) => format!("there are two rules of this name: see {file}:{line}"),
                None => "there are two rules of this name".to_owned(),
            };
            return self.wrong(&at, &shown, message);
        }
        let (score, meaning) = (written.score, written.meaning);
        self.rules.push(Rule { name, score, meaning, condition, place: at });
    }

    fn finish(mut self) -> Result<Vec<Rule>, RuleErrors> {
        for rule in std::mem::take(&mut self.rules) {
            let unknown = rule.condition.names().into_iter().find(|name| !self.names.contains(name));
            if let Some(unknown) = unknown.filter(|_| !self.is_full) {
                let words = format!(
                    "there is no rule {unknown}; what other checks find is for a composite in the file of scores"
                );
                self.wrong(&rule.place, &format!("{}.meta", rule.name), words);
            }
            self.rules.push(rule);
        }
        if !self.errors.is_empty() {
            return Err(RuleErrors(self.errors));
        }
        self.ordered()
    }

    /// Each rule behind those it names; in rounds, so that a circle is what is left.
    fn ordered(mut self) -> Result<Vec<Rule>, RuleErrors> {
        let mut waiting: BTreeMap<usize, Rule> =
            std::mem::take(&mut self.rules).into_iter().enumerate().collect();
        let mut done: BTreeSet<Symbol> = BTreeSet::new();
        let mut out = Vec::with_capacity(waiting.len());
        loop {
            let free = |rule: &Rule| rule.condition.names().iter().all(|name| done.contains(name));
            let ready: Vec<usize> =
                waiting.iter().filter(|(_, entry)| free(entry)).map(|(at, _)| *at).collect();
            if ready.is_empty() {
                break;
            }
            let ready: Vec<_> = ready.into_iter().filter_map(|at| waiting.remove(&at)).collect();
            done.extend(ready.iter().map(|rule| rule.name.clone()));
            out.extend(ready);
        }
        for rule in waiting.into_values() {
            self.wrong(&rule.place, &format!("{}.meta", rule.name), "it depends on itself");
        }
        if self.errors.is_empty() { Ok(out) } else { Err(RuleErrors(self.errors)) }
    }
}

struct Wrong {
    key: &'static str,
    at: Option<usize>,
    message: String,
}

fn wrong(key: &'static str, at: Option<usize>, message: impl Into<String>) -> Wrong {
    Wrong { key, at, message: message.into() }
}

fn condition(written: &Written) -> Result<Condition, Wrong> {
    let Written { header, body, rawbody, uri, mime, meta, of, .. } = written;
    let kinds = [header, body, rawbody, uri, mime, meta].iter().filter(|kind| kind.is_some()).count();
    if kinds + usize::from(of.is_some()) != 1 {
        return Err(wrong("name", None, "write exactly one of header, body, rawbody, uri, mime, meta, of"));
    }
    if written.matches.is_some() && header.is_none() && mime.is_none() {
        return Err(wrong("matches", None, "matches belongs to header and mime"));
    }
    if written.at_least.is_some() && of.is_none() {
        return Err(wrong("at_least", None, "at_least belongs to of"));
    }
    if written.not && (meta.is_some() || of.is_some()) {
        return Err(wrong("not", None, "write !(…) in meta instead"));
    }
    let matches = |target, key, text: &Spanned<String>| {
        let pattern =
            pattern(text.get_ref()).map_err(|message| wrong(key, Some(text.span().start), message))?;
        Ok(Condition::Matches { target, pattern, negated: written.not })
    };
    if let Some(text) = body {
        return matches(Target::Body, "body", text);
    }
    if let Some(text) = rawbody {
        return matches(Target::Source, "rawbody", text);
    }
    if let Some(text) = uri {
        return matches(Target::Link, "uri", text);
    }
    if let Some(name) = mime {
        let Some(text) = &written.matches else {
            return Err(wrong("mime", Some(name.span().start), "write matches = '…' too"));
        };
        return matches(Target::Part(name.get_ref().to_ascii_lowercase()), "matches", text);
    }
    if let Some(name) = header {
        let field =
            field(name.get_ref()).map_err(|message| wrong("header", Some(name.span().start), message))?;
        return match &written.matches {
            Some(text) => matches(Target::Header(field), "matches", text),
            None => Ok(Condition::Exists { field, negated: written.not }),
        };
    }
    if let Some(text) = meta {
        let parsed = Expression::parse(text.get_ref());
        return parsed
            .map(Condition::Meta)
            .map_err(|error| wrong("meta", Some(text.span().start), error.to_string()));
    }
    let Some(of) = of else { return Err(wrong("of", None, "nothing is there")) };
    let names = of.get_ref().iter().map(|name| Symbol::parse(name)).collect::<Result<Vec<_>, _>>();
    let names = names.map_err(|error| wrong("of", Some(of.span().start), error.to_string()))?;
    Ok(Condition::AtLeast(written.at_least.unwrap_or(1).max(1), names))
}

/// A pattern that can be compiled within its bounds.
pub(super) fn pattern(text: &str) -> Result<String, String> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err(format!("the pattern is longer than {PATTERN_BYTES_MAX} octets"));
    }
    match search::compile(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) if error.size_limit().is_some() => {
            Err("the pattern is too large when it is compiled".to_owned())
        }
        // The last line says what; those before show where, over several lines.
        Err(error) => {
            let words = error.syntax_error().map_or_else(|| error.to_string(), ToString::to_string);
            Err(format!("no pattern: {}", words.lines().last().unwrap_or_default().trim()))
        }
    }
}

fn field(text: &str) -> Result<Field, String> {
    let (name, part) = text.split_once(':').unwrap_or((text, ""));
    let part = match part {
        "" => FieldPart::Decoded,
        "raw" => FieldPart::Raw,
        "addr" => FieldPart::Addresses,
        "name" => FieldPart::Names,
        other => return Err(format!("`:{other}` is no part of a field: there are :raw, :addr and :name")),
    };
    // RFC 5322 §3.6.8.
    if name.is_empty() || name.len() > 128 || !name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("`{name}` is no name of a field"));
    }
    Ok(Field { name: name.to_ascii_lowercase(), part })
}
