//! `scores.toml`: what operators change of the defaults.
//!
//! ```toml
//! [groups]
//! dnsbl = { cap = 8.0 }
//! spamhaus = { cap = 6.0, within = "dnsbl" }
//!
//! [symbols]
//! ZEN_SBL = 4.0
//! HELO_BARE_IP = { score = 2.5, group = "helo" }
//!
//! [composites]
//! LISTED_AND_FORGED = { when = "ZEN_SBL & SPF_FAIL", score = 2.0, members = "keep", meaning = "listed, and SPF fails" }
//! FRIEND = { when = "CORRESPONDENT_PROVEN", score = 0.0, bounds = ["rules"], cap = 1.0, meaning = "rules count little" }
//! ```
//!
//! What the file does not name keeps its default. Every mistake is told at once, each with line, key and what to write.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Bound, CompositeDef, DefinitionError, Definitions, GroupDef, Members, ScoreBook, closest};
use crate::score::{Score, ScoreError};
use crate::symbol::{Symbol, SymbolDef};

/// Largest file that is read, in octets.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// One mistake in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// The line it is on, from 1.
    pub line: usize,
    /// The key: `symbols.ZEN_SBL.score`. Empty when the text is no TOML.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub message: String,
    /// The octets of the text that are meant.
    pub span: Range<usize>,
}

/// Without the file's name, which the caller knows: `line 3: symbols.ZEN_SBLL: there is no symbol …`.
impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.key.is_empty() { "" } else { ": " };
        write!(f, "line {}: {}{separator}{}", self.line, self.key, self.message)
    }
}

impl std::error::Error for FileError {}

impl ScoreBook {
    /// The book of `definitions`, with what `text`, a file like `scores.toml`, says otherwise.
    ///
    /// # Errors
    /// Every [`FileError`], in the order of the lines.
    pub fn with_file(definitions: Definitions, text: &str) -> Result<Self, Vec<FileError>> {
        let mut file = File { text, definitions, errors: Vec::new() };
        if text.len() > FILE_BYTES_MAX {
            file.wrong(0..0, String::new(), "the file is larger than 1 MiB".to_owned());
            return Err(file.errors);
        }
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => {
                let span = error.span().unwrap_or(text.len()..text.len());
                file.wrong(span, String::new(), format!("this is not TOML: {}", error.message()));
                return Err(file.errors);
            }
        };
        file.read(table.get_ref());
        file.finish(table.get_ref())
    }
}

struct File<'t> {
    text: &'t str,
    definitions: Definitions,
    errors: Vec<FileError>,
}

type Entry<'a, 't> = (&'a Spanned<Cow<'t, str>>, &'a Spanned<DeValue<'t>>);

impl<'t> File<'t> {
    fn read(&mut self, table: &DeTable<'t>) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let DeValue::Table(section) = value.get_ref() else {
                let sections = ["groups", "symbols", "composites"];
                let hint = if sections.contains(&name) { name } else { "symbols" };
                self.wrong(key.span(), name.to_owned(), format!("write it below a heading: [{hint}]"));
                continue;
            };
            for entry in section {
                match name {
                    "groups" => self.group(entry),
                    "symbols" => self.symbol(entry),
                    "composites" => self.composite(entry),
                    _ => break,
                }
            }
            if !["groups", "symbols", "composites"].contains(&name) {
                let hint = "there are [groups], [symbols] and [composites]";
                self.wrong(key.span(), name.to_owned(), format!("there is no section [{name}]; {hint}"));
            }
        }
    }

    fn group(&mut self, (key, value): Entry<'_, 't>) {
        let name = key.get_ref().as_ref();
        let place = format!("groups.{name}");
        let Some(fields) = self.fields(value, &place, &["cap", "floor", "within"], "{ cap = 8.0 }") else {
            return;
        };
        let at = self.definitions.groups.iter().position(|group| group.name == name);
        let fresh = GroupDef { name: name.to_owned().into(), cap: None, floor: None, within: None };
        let mut group = at.and_then(|at| self.definitions.groups.get(at).cloned()).unwrap_or(fresh);
        if let Some(value) = fields.get("cap") {
            group.cap = self.score(value, &format!("{place}.cap")).or(group.cap);
        }
        if let Some(value) = fields.get("floor") {
            group.floor = self.score(value, &format!("{place}.floor")).or(group.floor);
        }
        if let Some(value) = fields.get("within") {
            group.within = self.string(value, &format!("{place}.within")).map(Cow::Owned).or(group.within);
        }
        match at.and_then(|at| self.definitions.groups.get_mut(at)) {
            Some(there) => *there = group,
            None => self.definitions.groups.push(group),
        }
    }

    fn symbol(&mut self, (key, value): Entry<'_, 't>) {
        let name = key.get_ref().as_ref();
        let place = format!("symbols.{name}");
        let same = |def: &SymbolDef| def.symbol == *name;
        if !self.definitions.symbols.iter().any(same) {
            if self.definitions.unused.iter().any(|unused| *unused == *name) {
                return;
            }
            let message = self.no_such_symbol(name);
            self.wrong(key.span(), place, message);
            return;
        }
        let (mut score, mut group, mut meaning) = (None, None, None);
        if let DeValue::Table(_) = value.get_ref() {
            let known = ["score", "group", "meaning"];
            let Some(fields) = self.fields(value, &place, &known, "4.0") else { return };
            score = fields.get("score").and_then(|value| self.score(value, &format!("{place}.score")));
            group = fields.get("group").and_then(|value| self.string(value, &format!("{place}.group")));
            meaning = fields.get("meaning").and_then(|value| self.string(value, &format!("{place}.meaning")));
        } else {
            score = self.score(value, &place).or(score);
        }
        for def in self.definitions.symbols.iter_mut().filter(|def| same(def)) {
            def.score = score.unwrap_or(def.score);
            def.group = group.clone().map(Cow::Owned).or(def.group.take());
            if let Some(meaning) = &meaning {
                def.meaning = Cow::Owned(meaning.clone());
            }
        }
    }

    fn composite(&mut self, (key, value): Entry<'_, 't>) {
        let name = key.get_ref().as_ref();
        let place = format!("composites.{name}");
        let example = "{ when = \"A & !B\", score = 2.0, meaning = \"...\" }";
        let known = ["when", "score", "members", "group", "bounds", "cap", "meaning"];
        let Some(fields) = self.fields(value, &place, &known, example) else { return };
        let at = self.definitions.composites.iter().position(|def| def.symbol.symbol == *name);
        let mut def = match at.and_then(|at| self.definitions.composites.get(at).cloned()) {
            Some(there) => there,
            None => match self.new_composite(name, fields, key.span(), &place, example) {
                Some(fresh) => fresh,
                None => return,
            },
        };
        if let Some(value) = fields.get("when") {
            def.when = self.string(value, &format!("{place}.when")).map(Cow::Owned).unwrap_or(def.when);
        }
        if let Some(value) = fields.get("score") {
            def.symbol.score = self.score(value, &format!("{place}.score")).unwrap_or(def.symbol.score);
        }
        if let Some(value) = fields.get("group") {
            def.symbol.group =
                self.string(value, &format!("{place}.group")).map(Cow::Owned).or(def.symbol.group);
        }
        if let Some(value) = fields.get("meaning") {
            let meaning = self.string(value, &format!("{place}.meaning"));
            def.symbol.meaning = meaning.map(Cow::Owned).unwrap_or(def.symbol.meaning);
        }
        if let Some(value) = fields.get("members") {
            def.members = self.members(value, &format!("{place}.members")).unwrap_or(def.members);
        }
        self.bound(fields, &place, &mut def.bound);
        match at.and_then(|at| self.definitions.composites.get_mut(at)) {
            Some(there) => *there = def,
            None => self.definitions.composites.push(def),
        }
    }

    /// `bounds` and `cap`: one of them changes what is there, both make it.
    fn bound(&mut self, fields: &DeTable<'t>, place: &str, bound: &mut Option<Bound>) {
        let (groups, cap) = (fields.get("bounds"), fields.get("cap"));
        let fresh = Bound { groups: Vec::new(), cap: Score::ZERO };
        let mut changed = match bound.take() {
            Some(there) => there,
            None if groups.is_some() && cap.is_some() => fresh,
            None => {
                if let Some(one) = groups.or(cap) {
                    let message =
                        "`bounds` names groups and `cap` what they add at most: write both".to_owned();
                    self.wrong(one.span(), place.to_owned(), message);
                }
                return;
            }
        };
        if let Some(value) = groups {
            changed.groups = self.strings(value, &format!("{place}.bounds")).unwrap_or(changed.groups);
        }
        if let Some(value) = cap {
            changed.cap = self.score(value, &format!("{place}.cap")).unwrap_or(changed.cap);
        }
        *bound = Some(changed);
    }

    /// A composite that only the file knows must say all that matters.
    fn new_composite(
        &mut self,
        name: &str,
        fields: &DeTable<'t>,
        span: Range<usize>,
        place: &str,
        example: &str,
    ) -> Option<CompositeDef> {
        let lacking = ["when", "score", "meaning"].into_iter().find(|field| fields.get(*field).is_none());
        if let Some(field) = lacking {
            let message = format!("a new composite needs `{field}`: {name} = {example}");
            self.wrong(span, format!("{place}.{field}"), message);
            return None;
        }
        match Symbol::parse(name) {
            Ok(symbol) => Some(CompositeDef {
                symbol: SymbolDef { symbol, score: Score::ZERO, group: None, meaning: Cow::Borrowed("") },
                when: Cow::Borrowed(""),
                members: Members::Keep,
                bound: None,
            }),
            Err(error) => {
                self.wrong(span, place.to_owned(), error.to_string());
                None
            }
        }
    }

    fn finish(mut self, table: &DeTable<'t>) -> Result<ScoreBook, Vec<FileError>> {
        let book = ScoreBook::new(std::mem::take(&mut self.definitions));
        // What does not fit together is told only when each line is fine by itself: it may follow from those that are not.
        if self.errors.is_empty()
            && let Err(errors) = &book
        {
            for DefinitionError { key, message } in errors {
                self.wrong(span_of(table, key), key.clone(), message.clone());
            }
        }
        self.errors.sort_by_key(|error| error.span.start);
        match book {
            Ok(book) if self.errors.is_empty() => Ok(book),
            _ => Err(self.errors),
        }
    }

    /// The table at `value`, when it is one and has none but the `known` fields.
    fn fields<'a>(
        &mut self,
        value: &'a Spanned<DeValue<'t>>,
        place: &str,
        known: &[&str],
        example: &str,
    ) -> Option<&'a DeTable<'t>> {
        let DeValue::Table(table) = value.get_ref() else {
            let name = place.split('.').next_back().unwrap_or_default();
            self.wrong(value.span(), place.to_owned(), format!("write {name} = {example}"));
            return None;
        };
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let hint = closest(name, known.iter().copied())
                    .map_or_else(|| format!("known are: {}", known.join(", ")), super::did_you_mean);
                self.wrong(key.span(), format!("{place}.{name}"), format!("unknown key; {hint}"));
            }
        }
        Some(table)
    }

    fn score(&mut self, value: &Spanned<DeValue<'t>>, place: &str) -> Option<Score> {
        let number = match value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse().ok(),
            _ => None,
        };
        let score = number.ok_or(ScoreError).and_then(Score::from_f64);
        if let Err(error) = &score {
            self.wrong(value.span(), place.to_owned(), error.to_string());
        }
        score.ok()
    }

    fn string(&mut self, value: &Spanned<DeValue<'t>>, place: &str) -> Option<String> {
        if let DeValue::String(text) = value.get_ref() {
            return Some(text.clone().into_owned());
        }
        self.wrong(value.span(), place.to_owned(), "write a text in double quotes".to_owned());
        None
    }

    fn strings(&mut self, value: &Spanned<DeValue<'t>>, place: &str) -> Option<Vec<Cow<'static, str>>> {
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(value.span(), place.to_owned(), "write a list: [\"rules\", \"bayes\"]".to_owned());
            return None;
        };
        items.iter().map(|item| self.string(item, place).map(Cow::Owned)).collect()
    }

    fn members(&mut self, value: &Spanned<DeValue<'t>>, place: &str) -> Option<Members> {
        match self.string(value, place)?.as_str() {
            "keep" => Some(Members::Keep),
            "replace" => Some(Members::Replace),
            _ => {
                let message = "write \"keep\" (their points count too) or \"replace\" (they do not)";
                self.wrong(value.span(), place.to_owned(), message.to_owned());
                None
            }
        }
    }

    fn no_such_symbol(&self, name: &str) -> String {
        let composites = self.definitions.composites.iter().map(|def| def.symbol.symbol.as_str());
        if composites.clone().any(|composite| composite == name) {
            return format!("`{name}` is a composite: move it below [composites]");
        }
        let all = self.definitions.symbols.iter().map(|def| def.symbol.as_str()).chain(composites);
        let hint = closest(name, all).map_or_else(
            || "`staffetta symbols` lists all; one of your own is a line in [composites]".to_owned(),
            super::did_you_mean,
        );
        format!("there is no symbol `{name}`; {hint}")
    }

    fn wrong(&mut self, span: Range<usize>, key: String, message: String) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        self.errors.push(FileError { line, key, message, span });
    }
}

/// Where the key `symbols.NAME.field` stands in the file, or what of it is there.
fn span_of(table: &DeTable<'_>, key: &str) -> Range<usize> {
    let mut span = 0..0;
    let mut here = table;
    for step in key.split('.') {
        let Some((name, value)) = here.get_key_value(step) else { break };
        span = name.span();
        let DeValue::Table(inner) = value.get_ref() else { break };
        here = inner;
    }
    span
}
