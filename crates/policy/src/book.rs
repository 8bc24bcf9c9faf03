//! What every symbol is worth: points, groups and their caps, composites.
//!
//! Defaults are compiled in with the checks ([`SymbolDef`]); `scores.toml` changes them ([`mod@file`]). An unknown symbol in
//! it is an error: a score that nobody can reach is a mistake, never a wish. Pure: files are read elsewhere.

pub mod file;
mod render;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::expression::{Expression, ExpressionError};
use crate::score::Score;
use crate::symbol::{Symbol, SymbolDef, is_symbol};

/// Symbols and composites in all: with [`Score::WRITTEN_MAX`] each, no sum of theirs overflows.
pub const SYMBOLS_MAX: usize = 2000;
/// Groups in all.
pub const GROUPS_MAX: usize = 200;
/// The group that all DNS lists are in, directly or within another group: together they stay below the reject threshold.
pub const LISTS: &str = "dnsbl";

/// A group as it is declared: correlated symbols that together count only so much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDef {
    /// Its name: lower-case letters, digits and underscores.
    pub name: Cow<'static, str>,
    /// Its symbols together add at most this.
    pub cap: Option<Score>,
    /// Its symbols together take away at most this; not above zero.
    pub floor: Option<Score>,
    /// The group that it is part of, whose cap holds too.
    pub within: Option<Cow<'static, str>>,
}

impl GroupDef {
    /// A group of its own.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>, cap: Score) -> Self {
        Self { name: name.into(), cap: Some(cap), floor: None, within: None }
    }

    /// As part of another group.
    #[must_use]
    pub fn within(mut self, other: impl Into<Cow<'static, str>>) -> Self {
        self.within = Some(other.into());
        self
    }
}

/// What becomes of the points of the symbols that a composite is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Members {
    /// They count as well.
    #[default]
    Keep,
    /// The composite's points stand in their place.
    Replace,
}

/// What a composite does to others: while it is seen, symbols of some groups together add only so much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Of which groups, with those within them.
    pub groups: Vec<Cow<'static, str>>,
    /// The most that they add, all together; what they take away is not bounded.
    pub cap: Score,
}

/// A composite as it is declared: a symbol that follows from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompositeDef {
    /// Its own symbol.
    pub symbol: SymbolDef,
    /// When it is seen.
    pub when: Cow<'static, str>,
    /// What becomes of the symbols it is made of.
    pub members: Members,
    /// What it leaves of others.
    pub bound: Option<Bound>,
}

/// All that is compiled in, or configured, before `scores.toml` is read.
#[derive(Debug, Clone, Default)]
pub struct Definitions {
    /// Symbols of the checks: `Pipeline::symbols`.
    pub symbols: Vec<SymbolDef>,
    /// Groups.
    pub groups: Vec<GroupDef>,
    /// Composites.
    pub composites: Vec<CompositeDef>,
    /// Names that the program knows and this configuration has no use for, such as those of lists that are not asked: a file
    /// may speak of them, and nothing ever finds them.
    pub unused: Vec<Symbol>,
}

/// Why definitions do not fit together. `key` and the words are for operators, since files define too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct DefinitionError {
    /// As in `scores.toml`: `symbols.ZEN_SBL`, `groups.dnsbl.within`.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// One symbol's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worth {
    /// Its points.
    pub score: Score,
    /// The group it is in.
    pub group: Option<String>,
    /// What it means.
    pub meaning: String,
}

/// One group's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its symbols together add at most this.
    pub cap: Option<Score>,
    /// Its symbols together take away at most this.
    pub floor: Option<Score>,
    /// The group that it is part of.
    pub within: Option<String>,
}

/// One composite's entry; its points and meaning are those of its symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composite {
    /// Its symbol.
    pub symbol: Symbol,
    /// When it is seen.
    pub when: Expression,
    /// What becomes of the symbols it is made of.
    pub members: Members,
    /// What it leaves of others.
    pub bound: Option<Bound>,
}

/// What every symbol is worth.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScoreBook {
    symbols: BTreeMap<Symbol, Worth>,
    groups: BTreeMap<String, Group>,
    composites: BTreeMap<Symbol, Composite>,
    /// Composites after those they are made of.
    order: Vec<Symbol>,
    /// Groups before those they are within.
    inner_first: Vec<String>,
    /// What composites may name although it is never seen.
    unused: BTreeSet<Symbol>,
}

impl ScoreBook {
    /// The book of these definitions.
    ///
    /// # Errors
    /// Every [`DefinitionError`]: malformed names, symbols with two meanings, groups or symbols that are not there,
    /// circles.
    pub fn new(definitions: Definitions) -> Result<Self, Vec<DefinitionError>> {
        let mut book = Self { unused: definitions.unused.into_iter().collect(), ..Self::default() };
        let mut errors = Vec::new();
        for group in definitions.groups {
            errors.extend(book.define_group(group).err());
        }
        for def in definitions.symbols {
            errors.extend(book.define_symbol(def).err());
        }
        for composite in definitions.composites {
            errors.extend(book.define_composite(composite).err());
        }
        if errors.is_empty() {
            errors = book.settle();
        }
        if errors.is_empty() { Ok(book) } else { Err(errors) }
    }

    /// What a symbol is worth; none when there is no such symbol.
    #[must_use]
    pub fn worth(&self, symbol: &Symbol) -> Option<&Worth> {
        self.symbols.get(symbol)
    }

    /// Every symbol, by name.
    pub fn symbols(&self) -> impl Iterator<Item = (&Symbol, &Worth)> {
        self.symbols.iter()
    }

    /// A group's caps.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Every group, those within others before these.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.inner_first.iter().filter_map(|name| Some((name.as_str(), self.groups.get(name)?)))
    }

    /// Every composite, after those it is made of.
    pub fn composites(&self) -> impl Iterator<Item = &Composite> {
        self.order.iter().filter_map(|symbol| self.composites.get(symbol))
    }

    /// The composite of this name.
    #[must_use]
    pub fn composite(&self, symbol: &Symbol) -> Option<&Composite> {
        self.composites.get(symbol)
    }

    /// True when `symbol` is in `group`, or in a group within it.
    #[must_use]
    pub fn is_in(&self, symbol: &Symbol, group: &str) -> bool {
        let own = self.symbols.get(symbol).and_then(|worth| worth.group.as_deref());
        self.chain(own).any(|name| name == group)
    }

    /// `group` and all it is within, from the inside.
    pub(crate) fn chain<'a>(&'a self, group: Option<&'a str>) -> impl Iterator<Item = &'a str> {
        let up = |name: &&'a str| self.groups.get(*name)?.within.as_deref();
        std::iter::successors(group, up).take(GROUPS_MAX)
    }

    /// The most that all DNS lists together can add, composites of them included; none when nothing bounds it.
    #[must_use]
    pub fn ceiling_of_lists(&self) -> Option<Score> {
        let listed = |symbol: &Symbol| self.is_in(symbol, LISTS);
        if !self.symbols.keys().any(listed) {
            return Some(Score::ZERO);
        }
        let cap = self.groups.get(LISTS)?.cap?;
        // Composites of composites: what follows from lists alone is like a list.
        let mut from_lists: Vec<&Symbol> = Vec::new();
        let mut ceiling = cap;
        for composite in self.composites() {
            let only = |symbol: &Symbol| listed(symbol) || from_lists.contains(&symbol);
            // What asks for no list is nothing that a list adds.
            let by_lists =
                composite.when.members().into_iter().any(&only) && composite.when.could_hold(&only);
            if by_lists && !listed(&composite.symbol) {
                from_lists.push(&composite.symbol);
                let score = self.worth(&composite.symbol).map_or(Score::ZERO, |worth| worth.score);
                ceiling = ceiling + score.max(Score::ZERO);
            }
        }
        Some(ceiling)
    }

    /// The name closest to `wanted`, for "did you mean".
    #[must_use]
    pub fn closest_symbol(&self, wanted: &str) -> Option<&str> {
        closest(wanted, self.symbols.keys().map(Symbol::as_str))
    }

    fn define_group(&mut self, def: GroupDef) -> Result<(), DefinitionError> {
        let key = format!("groups.{}", def.name);
        let plain =
            |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if def.name.is_empty() || def.name.len() > 64 || !plain(&def.name) {
            return Err(wrong(&key, "a group's name is lower-case letters, digits and underscores"));
        }
        if def.cap.is_some_and(Score::is_negative) {
            return Err(wrong(&format!("{key}.cap"), "a cap is not below 0; `floor` bounds negative points"));
        }
        if def.floor.is_some_and(Score::is_positive) {
            return Err(wrong(
                &format!("{key}.floor"),
                "a floor is not above 0; `cap` bounds positive points",
            ));
        }
        if self.groups.len() >= GROUPS_MAX {
            return Err(wrong(&key, "there are more than 200 groups"));
        }
        let within = def.within.map(Cow::into_owned);
        self.groups.insert(def.name.into_owned(), Group { cap: def.cap, floor: def.floor, within });
        Ok(())
    }

    /// Checks of several stages may share a symbol, if they mean the same by it.
    fn define_symbol(&mut self, def: SymbolDef) -> Result<(), DefinitionError> {
        let key = format!("symbols.{}", def.symbol);
        if !is_symbol(def.symbol.as_str()) {
            return Err(wrong(&key, "a symbol is upper-case letters, digits and underscores, at most 64"));
        }
        if def.score.abs() > Score::WRITTEN_MAX {
            return Err(wrong(&key, "a score is between -1000 and 1000"));
        }
        if self.symbols.len() >= SYMBOLS_MAX {
            return Err(wrong(&key, "there are more than 2000 symbols"));
        }
        let worth = Worth {
            score: def.score,
            group: def.group.map(Cow::into_owned),
            meaning: def.meaning.into_owned(),
        };
        match self.symbols.get(&def.symbol) {
            Some(other) if *other != worth => Err(wrong(
                &key,
                "two checks have this symbol, and count it differently: give your rule or list another name",
            )),
            _ => {
                self.symbols.insert(def.symbol, worth);
                Ok(())
            }
        }
    }

    fn define_composite(&mut self, def: CompositeDef) -> Result<(), DefinitionError> {
        let key = format!("composites.{}", def.symbol.symbol);
        if self.symbols.contains_key(&def.symbol.symbol) {
            return Err(wrong(&key, "a symbol of this name is there already; choose another name"));
        }
        let explain = |error: ExpressionError| wrong(&format!("{key}.when"), &error.to_string());
        let when = Expression::parse(&def.when).map_err(explain)?;
        let symbol = def.symbol.symbol.clone();
        self.define_symbol(def.symbol)
            .map_err(|error| DefinitionError { key: key.clone(), message: error.message })?;
        if def.bound.as_ref().is_some_and(|bound| bound.cap.is_negative()) {
            return Err(wrong(&format!("{key}.cap"), "a cap is not below 0"));
        }
        let composite = Composite { symbol: symbol.clone(), when, members: def.members, bound: def.bound };
        self.composites.insert(symbol, composite);
        Ok(())
    }

    /// Sees to it that all that is named is there and that nothing goes in circles; puts things in order.
    fn settle(&mut self) -> Vec<DefinitionError> {
        let mut errors: Vec<DefinitionError> = Vec::new();
        for (symbol, worth) in &self.symbols {
            let table = if self.composites.contains_key(symbol) { "composites" } else { "symbols" };
            let key = format!("{table}.{symbol}.group");
            errors.extend(worth.group.as_deref().and_then(|name| self.missing_group(&key, name)));
        }
        for (name, group) in &self.groups {
            let key = format!("groups.{name}.within");
            errors.extend(group.within.as_deref().and_then(|outer| self.missing_group(&key, outer)));
        }
        for composite in self.composites.values() {
            let key = format!("composites.{}.when", composite.symbol);
            let is_known =
                |symbol: &Symbol| self.symbols.contains_key(symbol) || self.unused.contains(symbol);
            let unknown = composite.when.symbols().into_iter().filter(|symbol| !is_known(symbol));
            errors.extend(unknown.map(|symbol| wrong(&key, &self.no_such_symbol(symbol.as_str()))));
            let key = format!("composites.{}.bounds", composite.symbol);
            let bounded = composite.bound.iter().flat_map(|bound| &bound.groups);
            errors.extend(bounded.filter_map(|group| self.missing_group(&key, group)));
        }
        if errors.is_empty() {
            errors.extend(self.sort_groups().err());
            errors.extend(self.sort_composites().err());
        }
        errors
    }

    fn missing_group(&self, key: &str, name: &str) -> Option<DefinitionError> {
        if self.groups.contains_key(name) {
            return None;
        }
        let hint = closest(name, self.groups.keys().map(String::as_str))
            .map_or_else(|| format!("add `{name} = {{ cap = ... }}` to [groups]"), did_you_mean);
        Some(wrong(key, &format!("there is no group `{name}`; {hint}")))
    }

    pub(crate) fn no_such_symbol(&self, name: &str) -> String {
        let hint = self.closest_symbol(name).map_or_else(
            || "`staffetta symbols` lists all; one of your own is a line in [composites]".to_owned(),
            did_you_mean,
        );
        format!("there is no symbol `{name}`; {hint}")
    }

    fn sort_groups(&mut self) -> Result<(), DefinitionError> {
        let mut depths: Vec<(usize, String)> = Vec::new();
        for name in self.groups.keys() {
            // A chain without a circle is no longer than the number of groups.
            let depth = self.chain(Some(name)).take(self.groups.len() + 1).count();
            if depth > self.groups.len() || depth >= GROUPS_MAX {
                return Err(wrong(&format!("groups.{name}.within"), "the group is within itself"));
            }
            depths.push((depth, name.clone()));
        }
        depths.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        self.inner_first = depths.into_iter().map(|(_, name)| name).collect();
        Ok(())
    }

    fn sort_composites(&mut self) -> Result<(), DefinitionError> {
        let mut waiting: Vec<&Composite> = self.composites.values().collect();
        let mut order: Vec<Symbol> = Vec::new();
        while !waiting.is_empty() {
            let open: Vec<Symbol> = waiting.iter().map(|composite| composite.symbol.clone()).collect();
            let (ready, rest): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|composite| !composite.when.symbols().iter().any(|symbol| open.contains(symbol)));
            let Some(first) = rest.first().filter(|_| ready.is_empty()) else {
                order.extend(ready.into_iter().map(|composite| composite.symbol.clone()));
                waiting = rest;
                continue;
            };
            return Err(wrong(
                &format!("composites.{}.when", first.symbol),
                "the composite depends on itself",
            ));
        }
        self.order = order;
        Ok(())
    }
}

fn wrong(key: &str, message: &str) -> DefinitionError {
    DefinitionError { key: key.to_owned(), message: message.to_owned() }
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

/// The candidate that differs from `wanted` in few letters; none when all differ in many.
pub(crate) fn closest<'a>(wanted: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: String = wanted.chars().take(64).collect();
    let far = |name: &str| strsim::damerau_levenshtein(&wanted.to_uppercase(), &name.to_uppercase());
    let (distance, name) = candidates.map(|name| (far(name), name)).min()?;
    (distance <= (wanted.len() / 3).max(2) && distance < wanted.len()).then_some(name)
}

#[cfg(test)]
mod tests;
