//! HTML as a reader sees it: the text that is shown, the text that is hidden, the tags.
//!
//! Not a browser: no tree is built, nothing is repaired. Comments vanish, so that a word parted by one is whole; other tags
//! part words. Scripts and style sheets are neither text. Text is hidden where an element says so itself (`hidden`, or a
//! style with `display:none`, `visibility:hidden`, a font of no size, or no opacity). Every input gives a result, in time that grows with its
//! length.

use mail_parser::decoders::html::add_html_token;

use crate::normalised::positions;

/// Tags that are kept.
const TAGS_MAX: usize = 2000;
/// Longest name of a tag or entity, in octets.
const NAME_BYTES_MAX: usize = 32;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::learn) struct Html {
    /// What is shown.
    pub text: String,
    /// What is not.
    pub hidden: String,
    /// Names of tags in lower case, closing ones with `/`.
    pub tags: Vec<String>,
}

/// Reads HTML.
pub(in crate::learn) fn read(source: &str) -> Html {
    let mut reader = Reader { out: Html::default(), hidden_in: None, hidden_depth: 0 };
    reader.out.text.reserve(source.len());
    let mut rest = source;
    while let Some(at) = rest.find('<') {
        let (text, markup) = rest.split_at_checked(at).unwrap_or((rest, ""));
        reader.text(text);
        rest = reader.markup(markup);
    }
    reader.text(rest);
    reader.out
}

struct Reader {
    out: Html,
    /// The element that began what is hidden.
    hidden_in: Option<String>,
    /// Elements of the same name that are open within it.
    hidden_depth: usize,
}

impl Reader {
    fn sink(&mut self) -> &mut String {
        if self.hidden_in.is_some() { &mut self.out.hidden } else { &mut self.out.text }
    }

    /// Text between tags, with its entities.
    fn text(&mut self, text: &str) {
        let sink = self.sink();
        let mut rest = text;
        while let Some(at) = rest.find('&') {
            let (before, behind) = rest.split_at_checked(at).unwrap_or((rest, ""));
            sink.push_str(before);
            let end = behind.bytes().take(NAME_BYTES_MAX).position(|octet| octet == b';');
            let entity = end.and_then(|end| behind.get(..=end)).filter(|entity| is_entity(entity));
            rest = match entity {
                Some(entity) => {
                    add_html_token(sink, entity.as_bytes(), false);
                    behind.get(entity.len()..).unwrap_or_default()
                }
                None => {
                    sink.push('&');
                    behind.get(1..).unwrap_or_default()
                }
            };
        }
        sink.push_str(rest);
    }

    /// A tag or a comment at the beginning of `markup`; what comes behind it.
    fn markup<'a>(&mut self, markup: &'a str) -> &'a str {
        if markup.starts_with("<!--") {
            return behind(markup, "-->");
        }
        let name_at = if markup.starts_with("</") { 2 } else { 1 };
        let named = markup.get(name_at..).unwrap_or_default();
        let name_len = named.bytes().take(NAME_BYTES_MAX).position(|octet| !octet.is_ascii_alphanumeric());
        let name = named.get(..name_len.unwrap_or(0)).unwrap_or_default();
        if name.is_empty() && !named.starts_with(['!', '?']) {
            // A sign of its own: `a < b`.
            self.sink().push('<');
            return markup.get(1..).unwrap_or_default();
        }
        let Some(end) = end_of_tag(markup) else { return "" };
        let name = name.to_ascii_lowercase();
        let is_end = name_at == 2;
        let rest = markup.get(end..).unwrap_or_default();
        let attributes = markup.get(..end).unwrap_or_default();
        self.sink().push(' ');
        self.element(&name, is_end, attributes);
        if self.out.tags.len() < TAGS_MAX {
            self.out.tags.push(if is_end { format!("/{name}") } else { name.clone() });
        }
        if !is_end && matches!(name.as_str(), "script" | "style") { skipped(rest, &name) } else { rest }
    }

    fn element(&mut self, name: &str, is_end: bool, attributes: &str) {
        if let Some(hidden) = &self.hidden_in {
            if hidden == name {
                if is_end {
                    self.hidden_depth = self.hidden_depth.saturating_sub(1);
                } else {
                    self.hidden_depth += 1;
                }
                if self.hidden_depth == 0 {
                    self.hidden_in = None;
                }
            }
        } else if !is_end && !is_void(name) && hides(attributes) {
            self.hidden_in = Some(name.to_owned());
            self.hidden_depth = 1;
        }
    }
}

/// `&amp;`, `&#65;`: only letters and digits.
fn is_entity(text: &str) -> bool {
    let inside = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    let inside = inside.strip_prefix('#').unwrap_or(inside);
    !inside.is_empty() && inside.bytes().all(|octet| octet.is_ascii_alphanumeric())
}

/// Elements without content.
fn is_void(name: &str) -> bool {
    matches!(name, "br" | "img" | "hr" | "input" | "meta" | "link" | "col" | "area" | "base" | "wbr")
}

/// An element that says of itself that nobody sees it.
fn hides(attributes: &str) -> bool {
    let bytes = attributes.as_bytes();
    if positions(bytes, b"hidden").next().is_none() && positions(bytes, b"style").next().is_none() {
        return false;
    }
    let squeezed: String = attributes
        .chars()
        .filter(|c| !c.is_whitespace())
        .take(1024)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let says = ["display:none", "visibility:hidden", "mso-hide:all"];
    let zero = |property: &str| {
        let mut values = squeezed.split(property).skip(1);
        values.any(|value| value.strip_prefix('0').is_some_and(|rest| !rest.starts_with(['.', '0'])))
    };
    let told = says.iter().any(|word| squeezed.contains(word)) || zero("font-size:") || zero("opacity:");
    let bare = attributes
        .split_ascii_whitespace()
        .skip(1)
        .any(|word| word.trim_end_matches('>').eq_ignore_ascii_case("hidden"));
    told || bare
}

/// Where a tag ends, behind its `>`; quoted attributes may hold one. What is quoted without end ends at the first.
fn end_of_tag(markup: &str) -> Option<usize> {
    let mut quote = None;
    for (at, octet) in markup.bytes().enumerate() {
        match (quote, octet) {
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') if markup.as_bytes().get(at.wrapping_sub(1)) == Some(&b'=') => {
                quote = Some(octet);
            }
            (Some(open), octet) if open == octet => quote = None,
            _ => {}
        }
        if at > TAG_BYTES_MAX {
            break;
        }
    }
    markup.find('>').map(|at| at + 1)
}

/// Longest tag whose quotes are looked at, in octets.
const TAG_BYTES_MAX: usize = 2048;

fn behind<'a>(text: &'a str, end: &str) -> &'a str {
    text.find(end).and_then(|at| text.get(at + end.len()..)).unwrap_or_default()
}

/// What comes behind the end of a script or style sheet.
fn skipped<'a>(rest: &'a str, name: &str) -> &'a str {
    let end = positions(rest.as_bytes(), b"</").find(|at| {
        let tag = rest.as_bytes().get(at + 2..at + 2 + name.len());
        tag.is_some_and(|tag| tag.eq_ignore_ascii_case(name.as_bytes()))
    });
    end.and_then(|at| rest.get(at..)).unwrap_or_default()
}
