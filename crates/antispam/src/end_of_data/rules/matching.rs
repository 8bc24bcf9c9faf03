//! Patterns at work: what is searched, and which rules hold then.

use std::collections::{BTreeMap, BTreeSet};

use mail::header;
use mail_parser::{HeaderValue, MessageParser};
use policy::{MessageFacts, Symbol};

use super::TEXT_BYTES_MAX;
use super::file::{Condition, Field, FieldPart, Rule, Target};
use super::search::Search;
use crate::letter::Letter;

/// Octets of fields that are searched for one pattern.
const FIELDS_BYTES_MAX: usize = 32 << 10;

/// See above.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    sets: Vec<(Target, Set)>,
    /// Fields that must be there, or must not be.
    existing: Vec<(Symbol, Field, bool)>,
}

#[derive(Debug)]
struct Set {
    patterns: Search,
    /// In the order of the patterns: the rule, and whether it holds when nothing matches.
    rules: Vec<(Symbol, bool)>,
}

impl Patterns {
    /// Compiles rules that are not about rules.
    pub(super) fn new(rules: Vec<Rule>) -> Result<Self, String> {
        let mut by_target: BTreeMap<Target, Vec<(Symbol, String, bool)>> = BTreeMap::new();
        let mut existing = Vec::new();
        for rule in rules {
            match rule.condition {
                Condition::Matches { target, pattern, negated } => {
                    by_target.entry(target).or_default().push((rule.name, pattern, negated));
                }
                Condition::Exists { field, negated } => existing.push((rule.name, field, negated)),
                Condition::Meta(_) | Condition::AtLeast(..) => {}
            }
        }
        let mut sets = Vec::with_capacity(by_target.len());
        for (target, rules) in by_target {
            let patterns = rules.iter().map(|(_, pattern, _)| pattern.clone()).collect();
            let patterns = Search::new(patterns)
                .map_err(|error| format!("the rules about {target:?} do not fit together: {error}"))?;
            let rules = rules.into_iter().map(|(name, _, negated)| (name, negated)).collect();
            sets.push((target, Set { patterns, rules }));
        }
        Ok(Self { sets, existing })
    }

    /// The rules that hold.
    pub(super) fn matching(&self, letter: &Letter, facts: &MessageFacts) -> BTreeSet<Symbol> {
        let mut seen = BTreeSet::new();
        let subject = Field { name: "subject".to_owned(), part: FieldPart::Decoded };
        let mut header = Fields::new(facts);
        for (target, set) in &self.sets {
            match target {
                Target::Body => {
                    let texts = letter.parts.iter().filter_map(|part| Some(part.text.as_ref()?.shown()));
                    set.search(&[joined(header.text(&subject), texts, squeezed)], &mut seen);
                }
                Target::Source => {
                    let texts = letter.parts.iter().filter_map(|part| Some(part.text.as_ref()?.source()));
                    set.search(&[joined("", texts, |text, out| out.push_str(text))], &mut seen);
                }
                Target::Link => {
                    let links: Vec<_> = letter.links.iter().map(|link| link.url.as_str()).collect();
                    set.search(&links, &mut seen);
                }
                Target::Header(field) => set.search(&[header.text(field)], &mut seen),
                Target::Part(name) => {
                    let fields: Vec<String> =
                        letter.parts.iter().map(|part| of_part(letter.header(part), name)).collect();
                    set.search(&fields, &mut seen);
                }
            }
        }
        for (symbol, field, negated) in &self.existing {
            if header.is_there(field) != *negated {
                seen.insert(symbol.clone());
            }
        }
        seen
    }
}

impl Set {
    /// Searches texts for all patterns.
    fn search(&self, texts: &[impl AsRef<str>], seen: &mut BTreeSet<Symbol>) {
        let mut matched = vec![false; self.patterns.len()];
        for text in texts {
            self.patterns.search(text.as_ref(), &mut matched);
        }
        for ((symbol, negated), matched) in self.rules.iter().zip(matched) {
            if matched != *negated {
                seen.insert(symbol.clone());
            }
        }
    }
}

/// Texts below each other, at most [`TEXT_BYTES_MAX`] of them.
fn joined<'a>(first: &str, texts: impl Iterator<Item = &'a str>, put: impl Fn(&str, &mut String)) -> String {
    let mut out = String::new();
    put(first, &mut out);
    for text in texts {
        let left = TEXT_BYTES_MAX.saturating_sub(out.len());
        if left == 0 {
            break;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        put(text.get(..text.floor_char_boundary(left)).unwrap_or_default(), &mut out);
    }
    out
}

/// Paragraphs as lines, and white space within as one space: how a text was broken into lines does not matter.
fn squeezed(text: &str, out: &mut String) {
    out.reserve(text.len());
    let mut breaks = 0;
    let mut space = false;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            breaks += usize::from(first == '\n');
            space = true;
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        }
        if breaks > 1 {
            out.push('\n');
        } else if space {
            out.push(' ');
        }
        (breaks, space) = (0, false);
        // White space that is not ASCII begins with one of these octets; most of what does is a letter.
        let may_be_space = |octet: &u8| matches!(octet, 0x09..=0x0d | b' ' | 0xc2 | 0xe1..=0xe3);
        let run = rest.bytes().skip(first.len_utf8()).position(|octet| may_be_space(&octet));
        let (word, behind) =
            rest.split_at_checked(run.map_or(rest.len(), |at| first.len_utf8() + at)).unwrap_or((rest, ""));
        out.push_str(word);
        rest = behind;
    }
}

/// A field of a part's header, unfolded.
fn of_part(head: &[u8], name: &str) -> String {
    let mut out = String::new();
    for field in header::fields(head).filter(|field| field.is(name)) {
        if out.len() >= FIELDS_BYTES_MAX {
            break;
        }
        out.push_str(&field.text());
        out.push('\n');
    }
    out
}

/// The header of a message, each field as rules want it, worked out once.
struct Fields<'a> {
    facts: &'a MessageFacts,
    all: Vec<header::Field<'a>>,
    decoded: BTreeMap<&'a Field, String>,
}

impl<'a> Fields<'a> {
    fn new(facts: &'a MessageFacts) -> Self {
        Self { facts, all: header::fields(&facts.header).collect(), decoded: BTreeMap::new() }
    }

    fn is_there(&self, wanted: &Field) -> bool {
        match wanted.name.as_str() {
            "all" => true,
            "envelopefrom" => !self.facts.mail.reverse_path.is_null(),
            "tocc" => self.all.iter().any(|field| field.is("To") || field.is("Cc")),
            name => self.all.iter().any(|field| field.is(name)),
        }
    }

    fn text(&mut self, wanted: &'a Field) -> &str {
        if !self.decoded.contains_key(wanted) {
            let text = self.make(wanted);
            self.decoded.insert(wanted, text);
        }
        self.decoded.get(wanted).map_or("", String::as_str)
    }

    fn make(&self, wanted: &Field) -> String {
        if wanted.name == "envelopefrom" {
            return self.facts.mail.reverse_path.mailbox().map(ToString::to_string).unwrap_or_default();
        }
        let mut out = String::new();
        for field in &self.all {
            let is_wanted = match wanted.name.as_str() {
                "all" => true,
                "tocc" => field.is("To") || field.is("Cc"),
                name => field.is(name),
            };
            if !is_wanted {
                continue;
            }
            if out.len() >= FIELDS_BYTES_MAX {
                break;
            }
            let raw = field.raw();
            let raw = raw.get(..FIELDS_BYTES_MAX).unwrap_or(raw);
            if wanted.name == "all" {
                out.push_str(&String::from_utf8_lossy(raw));
            } else {
                out.push_str(&of_field(raw, field, wanted.part));
                out.push('\n');
            }
        }
        out
    }
}

fn of_field(raw: &[u8], field: &header::Field<'_>, part: FieldPart) -> String {
    match part {
        FieldPart::Raw => {
            String::from_utf8_lossy(field.value().get(..FIELDS_BYTES_MAX).unwrap_or(field.value()))
                .into_owned()
        }
        FieldPart::Decoded => decoded(raw),
        FieldPart::Addresses | FieldPart::Names => {
            let Some(parsed) = MessageParser::new().with_address_headers().parse_headers(raw) else {
                return String::new();
            };
            let mut out = String::new();
            for header in parsed.headers() {
                let HeaderValue::Address(addresses) = header.value() else { continue };
                for one in addresses.iter() {
                    let text = if part == FieldPart::Names { one.name() } else { one.address() };
                    out.push_str(text.unwrap_or_default());
                    out.push('\n');
                }
            }
            out
        }
    }
}

/// A field's value with encoded words decoded (RFC 2047), unfolded.
fn decoded(raw: &[u8]) -> String {
    let value = memchr::memchr(b':', raw).and_then(|at| raw.get(at + 1..)).unwrap_or_default();
    let field = [b"Subject:", value].concat();
    let parsed =
        MessageParser::new().header_text(mail_parser::HeaderName::Subject).parse_headers(field.as_slice());
    parsed.and_then(|parsed| parsed.subject().map(ToOwned::to_owned)).unwrap_or_default()
}
