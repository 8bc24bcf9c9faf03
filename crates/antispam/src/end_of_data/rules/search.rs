//! Searching a text for many patterns, in time that hardly grows with their number.
//!
//! What a pattern needs to match ([`literals`]) is looked for first, for all patterns in one pass; a pattern itself is
//! tried only where that occurs, and only as far around it as a match can reach. One automaton for all patterns would have
//! more states than there is room for: with letters that differ, it would be built anew again and again. Patterns are
//! compiled when they are first tried: most of them never are.

use std::ops::Range;
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex_automata::meta::{BuildError, Config, Regex};
use regex_automata::util::syntax;
use regex_automata::{Input, Span};

use super::literals;

/// What one pattern may take when it is compiled, in octets.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// What one pattern may take while it works, in octets, for each thread.
const WORKING_BYTES_MAX: usize = 64 << 10;
/// Texts that are looked for with a table of all transitions, which is the fastest way; more of them take less room.
const TABLE_TEXTS_MAX: usize = 500;

/// Patterns about one thing.
#[derive(Debug)]
pub(super) struct Search {
    patterns: Vec<Pattern>,
    /// Finds what patterns need, in any case.
    needed: Option<AhoCorasick>,
    /// Whose each of these texts is.
    owners: Vec<usize>,
    /// Patterns that need nothing that could be looked for.
    always: Vec<usize>,
}

#[derive(Debug)]
struct Pattern {
    text: String,
    /// The longest that it can match, in octets; none when there is no such length.
    longest: Option<usize>,
    compiled: OnceLock<Option<Regex>>,
}

/// Where what a pattern needs was seen: the first end and the last beginning.
#[derive(Clone, Copy)]
struct Seen {
    first_end: usize,
    last_start: usize,
}

fn syntax() -> syntax::Config {
    // Over octets: a letter's text is UTF-8, and its words are ASCII for `\b` and `\w`.
    syntax::Config::new().unicode(false).utf8(false).multi_line(true)
}

/// Compiles a pattern.
///
/// # Errors
/// It is none, or too large.
pub(super) fn compile(pattern: &str) -> Result<Regex, Box<BuildError>> {
    let config = Config::new()
        .utf8_empty(false)
        .nfa_size_limit(Some(COMPILED_BYTES_MAX))
        .onepass_size_limit(Some(COMPILED_BYTES_MAX))
        .hybrid_cache_capacity(WORKING_BYTES_MAX);
    Regex::builder().configure(config).syntax(syntax()).build(pattern).map_err(Box::new)
}

impl Pattern {
    /// True when it matches somewhere within these octets of a text; what stands around them is seen, and no part of it.
    fn is_in(&self, text: &[u8], within: Range<usize>) -> bool {
        let compiled = self.compiled.get_or_init(|| compile(&self.text).ok());
        let within = Span::from(within);
        compiled.as_ref().is_some_and(|compiled| compiled.is_match(Input::new(text).span(within)))
    }
}

impl Search {
    /// A search for patterns, each of which [`compile`] has compiled before.
    ///
    /// # Errors
    /// In words: together they are too large.
    pub(super) fn new(patterns: Vec<String>) -> Result<Self, String> {
        let (mut texts, mut owners, mut always) = (Vec::new(), Vec::new(), Vec::new());
        let mut all = Vec::with_capacity(patterns.len());
        for (number, text) in patterns.into_iter().enumerate() {
            let parsed = syntax::parse_with(&text, &syntax()).map_err(|error| error.to_string())?;
            match literals::of(&parsed) {
                Some(needed) => {
                    owners.resize(owners.len() + needed.len(), number);
                    texts.extend(needed);
                }
                None => always.push(number),
            }
            let longest = parsed.properties().maximum_len();
            all.push(Pattern { text, longest, compiled: OnceLock::new() });
        }
        let kind = if texts.len() <= TABLE_TEXTS_MAX {
            AhoCorasickKind::DFA
        } else {
            AhoCorasickKind::ContiguousNFA
        };
        let needed = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(kind))
            .build(&texts)
            .map_err(|error| error.to_string())?;
        let needed = (!texts.is_empty()).then_some(needed);
        Ok(Self { patterns: all, needed, owners, always })
    }

    /// How many patterns there are.
    pub(super) fn len(&self) -> usize {
        self.patterns.len()
    }

    /// Notes which patterns match somewhere in a text; those that were noted before are not tried again.
    pub(super) fn search(&self, text: &str, matched: &mut [bool]) {
        let text = text.as_bytes();
        let mut seen: Vec<Option<Seen>> = vec![None; self.patterns.len()];
        for found in self.needed.iter().flat_map(|needed| needed.find_overlapping_iter(text)) {
            let owner = self.owners.get(found.pattern().as_usize());
            let Some(seen) = owner.and_then(|owner| seen.get_mut(*owner)) else { continue };
            let (start, end) = (found.start(), found.end());
            let so_far = seen.get_or_insert(Seen { first_end: end, last_start: start });
            so_far.first_end = so_far.first_end.min(end);
            so_far.last_start = so_far.last_start.max(start);
        }
        for number in &self.always {
            if let Some(seen) = seen.get_mut(*number) {
                *seen = Some(Seen { first_end: 0, last_start: text.len() });
            }
        }
        for ((pattern, seen), matched) in self.patterns.iter().zip(seen).zip(matched) {
            let Some(seen) = seen.filter(|_| !*matched) else { continue };
            let within = match pattern.longest {
                Some(longest) => {
                    seen.first_end.saturating_sub(longest)
                        ..seen.last_start.saturating_add(longest).min(text.len())
                }
                None => 0..text.len(),
            };
            *matched = pattern.is_in(text, within);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATTERNS: [&str; 12] = [
        "(?i)\\bcat\\b",
        "^dog$",
        "(?i)cat.{0,4}dog",
        "cat[^\\n]*dog",
        "(?s)\\Acat.*dog\\z",
        "(?i)\\b(?:cat|dog)s?\\b !",
        "(?:dog|[0-9]cat) cat",
        "[0-9]{2}",
        "!{2}",
        "\\bdog",
        "(?i)CATDOG",
        "x?",
    ];

    fn matching(search: &Search, text: &str) -> Vec<bool> {
        let mut matched = vec![false; search.len()];
        search.search(text, &mut matched);
        matched
    }

    #[test]
    fn what_was_matched_in_one_text_stays_matched() {
        let search = Search::new(["(?i)cat", "dog", "horse"].map(ToOwned::to_owned).to_vec()).unwrap();
        let mut matched = vec![false; 3];
        search.search("a Cat", &mut matched);
        search.search("a DOG", &mut matched);
        assert_eq!(matched, [true, false, false]);
        assert!(search.patterns.last().is_some_and(|horse| horse.compiled.get().is_none()), "never tried");
    }

    #[test]
    fn what_is_no_pattern_or_too_large_is_told() {
        assert!(compile("(").is_err_and(|error| error.syntax_error().is_some()));
        assert!(compile("(?:[a-z]{1000}){1000}").is_err_and(|error| error.size_limit().is_some()));
    }

    proptest::proptest! {
        /// However they are searched for: what matches is what each pattern matches by itself.
        #[test]
        fn all_together_find_what_each_finds(text in "(cat|dog|CAT|Dog|s|[0-9]|!| |\n|[a-d]){0,40}") {
            let all = Search::new(PATTERNS.map(ToOwned::to_owned).to_vec()).unwrap();
            let alone: Vec<bool> =
                PATTERNS.iter().map(|pattern| compile(pattern).unwrap().is_match(text.as_bytes())).collect();
            proptest::prop_assert_eq!(matching(&all, &text), alone);
        }
    }
}
