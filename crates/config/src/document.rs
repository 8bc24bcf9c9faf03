//! The text of a configuration file as a tree in which every key and value knows where it stands.
//!
//! Looks places up; judges nothing. [`Place`] names a spot in the tree (`domain[0].deliver`), [`Document`] says which
//! bytes of the file it is. Follows TOML 1.1 through the `toml` crate.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One step down the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Item(usize),
}

/// The name of a spot in the tree, such as `domain[0].deliver`; the root is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Place(Vec<Step>);

impl Place {
    /// The top of the file.
    pub(crate) fn root() -> Self {
        Self::default()
    }

    /// A key of the file's top level.
    pub(crate) fn of(key: &str) -> Self {
        Self::root().key(key)
    }

    /// The key `key` of the table here.
    #[must_use]
    pub(crate) fn key(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Self(steps)
    }

    /// The item number `index`, from 0, of the list here.
    #[must_use]
    pub(crate) fn item(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Item(index));
        Self(steps)
    }

    /// The last key on the way here; empty at the root.
    pub(crate) fn last_key(&self) -> &str {
        self.keys().next_back().unwrap_or_default()
    }

    /// The keys on the way here, without the numbers of items.
    pub(crate) fn keys(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.iter().filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Item(_) => None,
        })
    }

    /// How the section here is headed in the file: `[tls]`, or `[[domain]]` for an item of a list of sections.
    pub(crate) fn heading(&self) -> String {
        let keys: Vec<&str> = self.keys().collect();
        match self.0.last() {
            None => "the top of the file".to_owned(),
            Some(Step::Item(_)) => format!("[[{}]]", keys.join(".")),
            Some(Step::Key(_)) => format!("[{}]", keys.join(".")),
        }
    }

    /// The place one step up; none at the root.
    fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_last()?;
        Some(Self(rest.to_vec()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Item(index) => write!(f, "[{index}]")?,
                Step::Key(key) if number == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

/// A parsed file.
#[derive(Debug)]
pub(crate) struct Document<'t> {
    text: &'t str,
    root: Spanned<DeValue<'t>>,
}

/// What keeps a text from being TOML: the message and where.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    /// The parser's words.
    pub(crate) message: String,
    /// The offending bytes; may be empty where something is missing.
    pub(crate) span: Range<usize>,
}

impl<'t> Document<'t> {
    /// Parses a file's text.
    ///
    /// # Errors
    /// The first [`SyntaxError`]; what comes after it is guesswork.
    pub(crate) fn parse(text: &'t str) -> Result<Self, SyntaxError> {
        match DeTable::parse(text) {
            Ok(table) => {
                let span = table.span();
                Ok(Self { text, root: Spanned::new(span, DeValue::Table(table.into_inner())) })
            }
            Err(error) => Err(SyntaxError {
                message: error.message().to_owned(),
                span: error.span().unwrap_or(text.len()..text.len()),
            }),
        }
    }

    /// The whole tree, a table.
    pub(crate) fn root(&self) -> &Spanned<DeValue<'t>> {
        &self.root
    }

    /// The bytes at `span`; empty when it is not within the text.
    pub(crate) fn slice(&self, span: Range<usize>) -> &'t str {
        self.text.get(span).unwrap_or_default()
    }

    /// The value at `place`, when the file has one.
    fn value(&self, place: &Place) -> Option<&Spanned<DeValue<'t>>> {
        place.0.iter().try_fold(&self.root, |here, step| match (here.get_ref(), step) {
            (DeValue::Table(table), Step::Key(key)) => table.get(key.as_str()),
            (DeValue::Array(items), Step::Item(index)) => items.get(*index),
            _ => None,
        })
    }

    /// True when the file itself says something there, rather than a default.
    pub(crate) fn has(&self, place: &Place) -> bool {
        self.value(place).is_some()
    }

    /// Where the value stands that was written for `place`; for a section, its heading.
    pub(crate) fn value_span(&self, place: &Place) -> Option<Range<usize>> {
        self.value(place).map(Spanned::span)
    }

    /// Where the key itself stands.
    pub(crate) fn key_span(&self, place: &Place) -> Option<Range<usize>> {
        let (Some(Step::Key(key)), Some(parent)) = (place.0.last(), place.parent()) else { return None };
        let DeValue::Table(table) = self.value(&parent)?.get_ref() else { return None };
        table.get_key_value(key.as_str()).map(|(key, _)| key.span())
    }

    /// The place whose value stands at exactly `span`; the root when there is none.
    pub(crate) fn place_at(&self, span: &Range<usize>) -> Place {
        find(&self.root, span, &Place::root()).unwrap_or_default()
    }

    /// The item of the list at `place` whose text stands in backquotes in `words`; else `place`.
    pub(crate) fn item_named(&self, place: &Place, words: &str) -> Place {
        let items = self.value(place).and_then(|value| value.get_ref().as_array());
        let named = |value: &Spanned<DeValue<'_>>| {
            value.get_ref().as_str().is_some_and(|text| words.contains(&format!("`{text}`")))
        };
        let index = items.and_then(|items| items.iter().position(named));
        index.map_or_else(|| place.clone(), |index| place.item(index))
    }

    /// Where to point for `place`: its value, or the heading of the nearest section around it that is in the file.
    pub(crate) fn nearest_span(&self, place: &Place) -> Option<Range<usize>> {
        let mut here = place.clone();
        loop {
            here = match self.value_span(&here) {
                Some(_) if here.0.is_empty() => return None,
                Some(span) => return Some(span),
                None => here.parent()?,
            };
        }
    }
}

/// Searches the tree in depth: the innermost value that stands at exactly these bytes. Sections are no candidates, for
/// their span is that of a heading, which several of them may share.
fn find(here: &Spanned<DeValue<'_>>, span: &Range<usize>, place: &Place) -> Option<Place> {
    match here.get_ref() {
        DeValue::Table(table) => {
            table.iter().find_map(|(key, value)| find(value, span, &place.key(key.get_ref())))
        }
        DeValue::Array(items) => {
            let mut items = items.iter().enumerate();
            let inner = items.find_map(|(index, value)| find(value, span, &place.item(index)));
            inner.or_else(|| (here.span() == *span).then(|| place.clone()))
        }
        _ => (here.span() == *span).then(|| place.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "a = 1\nx.y = \"z\"\n[tls]\nkey = 'k'\n[[domain]]\nname = 'a'\n[[domain]]\nnames = ['b', 'c']\n";

    #[test]
    fn every_place_finds_its_bytes() {
        let document = Document::parse(TEXT).unwrap();
        let at = |place: &Place| document.slice(document.value_span(place).unwrap());
        assert_eq!(at(&Place::of("a")), "1");
        assert_eq!(at(&Place::of("x").key("y")), "\"z\"");
        assert_eq!(at(&Place::of("tls")), "[tls]");
        assert_eq!(at(&Place::of("domain").item(1)), "[[domain]]");
        assert_eq!(at(&Place::of("domain").item(1).key("names").item(1)), "'c'");
        assert_eq!(document.slice(document.key_span(&Place::of("tls").key("key")).unwrap()), "key");
        let name = Place::of("domain").item(1).key("names").item(1);
        assert_eq!(document.place_at(&document.value_span(&name).unwrap()), name);
    }

    #[test]
    fn what_is_not_written_points_at_its_section() {
        let document = Document::parse(TEXT).unwrap();
        let missing = Place::of("tls").key("certificate");
        assert!(!document.has(&missing));
        assert_eq!(document.slice(document.nearest_span(&missing).unwrap()), "[tls]");
        assert_eq!(document.nearest_span(&Place::of("hostname")), None);
    }

    #[test]
    fn places_print_as_people_write_them() {
        let place = Place::of("outbound").key("route").item(2).key("to");
        assert_eq!(place.to_string(), "outbound.route[2].to");
        assert_eq!(place.last_key(), "to");
        assert_eq!(Place::of("outbound").key("route").item(2).heading(), "[[outbound.route]]");
        assert_eq!(Place::of("tls").heading(), "[tls]");
    }
}
