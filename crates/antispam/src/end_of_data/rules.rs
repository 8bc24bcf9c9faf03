//! Rules about what letters say: patterns over header, text, source, links and the headers of parts, and rules about rules.
//!
//! What all patterns about one thing need is looked for in one pass, and a pattern is tried only where that was found; each
//! in time that grows with the length of the text only. A rule with a score is a symbol; one without is there for others to build upon. Which
//! rules there are is known at start: [`mod@file`] reads them and says what is wrong. Alone they mark a letter and never refuse
//! it: the group has a cap. Nothing of a text is kept or told, only which rule it was.

pub mod file;
pub mod import;
mod literals;
mod matching;
mod search;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use policy::{Check, Definitions, EndOfData, Findings, MessageFacts, Symbol, SymbolDef, Work};

use crate::letter::{self, Letter};
use crate::work;
use file::{Condition, Place, Rule, RuleError, RuleErrors};
use matching::Patterns;

/// What a letter is searched for, in octets of each of text and source.
pub const TEXT_BYTES_MAX: usize = 128 << 10;

/// The rules, ready to be asked.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    ready: Arc<Ready>,
    symbols: Vec<SymbolDef>,
    /// Where each symbol is written.
    places: Vec<Place>,
}

/// In place of a file's name.
const OWN_NAME: &str = "our own rules";

#[derive(Debug, Default)]
struct Ready {
    patterns: Patterns,
    /// Rules about rules, each behind those it names.
    metas: Vec<(Symbol, Condition)>,
    /// Those that are symbols, in the order of the files.
    told: Vec<Symbol>,
}

impl Rules {
    /// Reads and compiles files with rules, `files` starting in `base`, and our own if they are wanted.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn open(files: &[PathBuf], own: bool, base: &Path) -> Result<Self, RuleErrors> {
        let mut texts = Vec::new();
        let mut errors = Vec::new();
        if own {
            texts.push((OWN_NAME.to_owned(), file::OWN.to_owned()));
        }
        for path in files {
            let path = base.join(path);
            let name = path.display().to_string();
            match text_of(&path) {
                Ok(text) => texts.push((name, text)),
                Err(error) => {
                    let message = error.to_string();
                    errors.push(RuleError { file: name, line: 0, key: "antispam.rules".to_owned(), message });
                }
            }
        }
        if !errors.is_empty() {
            return Err(RuleErrors(errors));
        }
        Self::new(file::read(&texts)?).map_err(|message| {
            let file = texts.last().map(|(name, _)| name.clone()).unwrap_or_default();
            RuleErrors(vec![RuleError { file, line: 0, key: "antispam.rules".to_owned(), message }])
        })
    }

    /// Compiles rules that [`file::read`] has read.
    ///
    /// # Errors
    /// In words: together they are too large.
    pub fn new(rules: Vec<Rule>) -> Result<Self, String> {
        let written = rules.iter().filter_map(|rule| Some((rule.symbol()?, rule.place.clone())));
        let (symbols, places): (Vec<SymbolDef>, Vec<Place>) = written.unzip();
        let told = symbols.iter().map(|def| def.symbol.clone()).collect();
        let (metas, plain): (Vec<_>, Vec<_>) = rules.into_iter().partition(|rule| rule.condition.is_meta());
        let metas = metas.into_iter().map(|rule| (rule.name, rule.condition)).collect();
        let ready = Ready { patterns: Patterns::new(plain)?, metas, told };
        Ok(Self { ready: Arc::new(ready), symbols, places })
    }

    /// Sees to it that no rule of an operator has a name that something else has, which is counted differently. `all`:
    /// every symbol there is, those of these rules too.
    ///
    /// # Errors
    /// Each of them, with its file and line.
    pub fn apart_from(&self, all: &Definitions) -> Result<(), RuleErrors> {
        let own: BTreeMap<&Symbol, (&SymbolDef, &Place)> =
            self.symbols.iter().zip(&self.places).map(|(def, place)| (&def.symbol, (def, place))).collect();
        let mut errors = BTreeMap::new();
        let composites = all.composites.iter().map(|composite| &composite.symbol);
        for other in all.symbols.iter().chain(composites) {
            let Some((def, place)) = own.get(&other.symbol) else { continue };
            if *def == other || *place.file == *OWN_NAME {
                continue;
            }
            let error = RuleError {
                file: place.file.to_string(),
                line: place.line,
                key: def.symbol.to_string(),
                message: "the program has a symbol of this name already: give the rule another one; what the program's counts \
                          is changed in scores.toml"
                    .to_owned(),
            };
            errors.insert((Arc::clone(&place.file), place.line), error);
        }
        if errors.is_empty() { Ok(()) } else { Err(RuleErrors(errors.into_values().collect())) }
    }
}

/// A file's text; of one that is too large so much that it is seen to be.
fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(file::FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

impl Ready {
    /// Which rules hold, those without a score too.
    fn seen(&self, letter: &Letter, facts: &MessageFacts) -> Vec<Symbol> {
        let mut seen: BTreeSet<Symbol> = self.patterns.matching(letter, facts);
        for (name, condition) in &self.metas {
            if condition.holds(&|symbol| seen.contains(symbol)) {
                seen.insert(name.clone());
            }
        }
        self.told.iter().filter(|symbol| seen.contains(symbol)).cloned().collect()
    }
}

impl Check<EndOfData> for Rules {
    fn name(&self) -> &'static str {
        "rules"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        self.symbols.clone()
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn run<'a>(&'a self, facts: &'a MessageFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(async move {
            if self.ready.told.is_empty() {
                return;
            }
            let letter = match letter::of(facts).await {
                Ok(letter) => letter,
                Err(why) => return found.unfinished(&why),
            };
            let (ready, facts) = (Arc::clone(&self.ready), facts.clone());
            let length = letter.octets().len();
            match work::hashing(length, move || ready.seen(&letter, &facts)).await {
                Ok(seen) => seen.into_iter().for_each(|symbol| found.saw(symbol, "")),
                Err(broken) => found.unfinished(&broken.to_string()),
            }
        })
    }
}
