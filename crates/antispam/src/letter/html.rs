//! HTML as a reader sees it: the text that is shown, the text that is hidden, the tags, the links with their text.
//!
//! Not a browser: no tree is built, nothing is repaired. Comments vanish, so that a word parted by one is whole; other tags
//! part words. Scripts and style sheets are neither text. Text is hidden where an element says so itself (`hidden`, or a
//! style with `display:none`, `visibility:hidden`, a font of no size, or no opacity). Every input gives a result, in time
//! that grows with its length.

use mail_parser::decoders::html::add_html_token;
use memchr::memmem;

/// Tags that are kept.
const TAGS_MAX: usize = 2_000;
/// Links that are kept.
const LINKS_MAX: usize = 500;
/// Longest name of a tag or entity, in octets.
const NAME_BYTES_MAX: usize = 32;
/// Longest tag whose quotes are looked at, in octets.
const TAG_BYTES_MAX: usize = 4_096;
/// Octets in which a text shows itself to be HTML.
const LOOK_BYTES_MAX: usize = 2_048;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Html {
    /// What is shown.
    pub text: String,
    /// What is not.
    pub hidden: String,
    /// Names of tags in lower case, closing ones with `/`.
    pub tags: Vec<String>,
    /// Links, in the order they stand.
    pub links: Vec<Anchor>,
    /// There are more.
    pub is_cut: bool,
}

/// A link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Anchor {
    /// Where it leads, its entities decoded.
    pub href: String,
    /// The text that is to be clicked; empty for pictures, forms and style sheets.
    pub text: String,
}

/// HTML that is declared to be plain text.
#[must_use]
pub fn looks_like(text: &str) -> bool {
    let head = text.as_bytes().get(..LOOK_BYTES_MAX).unwrap_or(text.as_bytes());
    find_word(head, b"<html").is_some()
}

/// Reads HTML.
#[must_use]
pub fn read(source: &str) -> Html {
    let mut reader = Reader::default();
    reader.out.text.reserve(source.len() / 2);
    let mut rest = source;
    while let Some(at) = rest.find('<') {
        let (text, markup) = rest.split_at_checked(at).unwrap_or((rest, ""));
        reader.text(text);
        rest = reader.markup(markup);
    }
    reader.text(rest);
    reader.end_link();
    reader.out
}

#[derive(Default)]
struct Reader {
    out: Html,
    /// The element that began what is hidden.
    hidden_in: Option<String>,
    /// Elements of the same name that are open within it.
    hidden_depth: usize,
    /// The link that is open: its number, and where its text begins.
    link_from: Option<(usize, usize)>,
}

impl Reader {
    fn sink(&mut self) -> &mut String {
        if self.hidden_in.is_some() { &mut self.out.hidden } else { &mut self.out.text }
    }

    /// Text between tags, with its entities.
    fn text(&mut self, text: &str) {
        unescape(text, self.sink());
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
        let attributes = markup.get(name_at + name.len()..end.saturating_sub(1)).unwrap_or_default();
        self.link(&name, is_end, attributes);
        self.sink().push(' ');
        self.element(&name, is_end, attributes);
        let skipped = !is_end && matches!(name.as_str(), "script" | "style");
        let rest = if skipped { behind_element(rest, &name) } else { rest };
        if self.out.tags.len() < TAGS_MAX {
            self.out.tags.push(if is_end { format!("/{name}") } else { name });
        }
        rest
    }

    fn element(&mut self, name: &str, is_end: bool, attributes: &str) {
        if let Some(hidden) = &self.hidden_in {
            if hidden == name {
                self.hidden_depth =
                    if is_end { self.hidden_depth.saturating_sub(1) } else { self.hidden_depth + 1 };
                if self.hidden_depth == 0 {
                    self.hidden_in = None;
                }
            }
        } else if !is_end && !is_void(name) && hides(attributes) {
            self.hidden_in = Some(name.to_owned());
            self.hidden_depth = 1;
        }
    }

    fn link(&mut self, name: &str, is_end: bool, attributes: &str) {
        let is_anchor = matches!(name, "a" | "area");
        if is_anchor {
            self.end_link();
        }
        let wanted = match name {
            "a" | "area" | "base" | "link" => "href",
            "img" | "iframe" | "frame" | "script" | "embed" => "src",
            "form" => "action",
            _ => return,
        };
        if is_end {
            return;
        }
        let Some(value) = attribute(attributes, wanted).filter(|value| !value.is_empty()) else { return };
        if self.out.links.len() >= LINKS_MAX {
            self.out.is_cut = true;
            return;
        }
        let mut href = String::with_capacity(value.len());
        unescape(value, &mut href);
        self.out.links.push(Anchor { href, text: String::new() });
        if is_anchor {
            self.link_from = Some((self.out.links.len() - 1, self.out.text.len()));
        }
    }

    /// What stands between the beginning of a link and here is its text.
    fn end_link(&mut self) {
        let Some((number, from)) = self.link_from.take() else { return };
        let text = self.out.text.get(from..).unwrap_or_default().trim();
        let text = text.get(..text.floor_char_boundary(TAG_BYTES_MAX)).unwrap_or_default().to_owned();
        if let Some(link) = self.out.links.get_mut(number) {
            link.text = text;
        }
    }
}

/// Text with its entities decoded, put behind `sink`.
fn unescape(text: &str, sink: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let (before, behind) = rest.split_at_checked(at).unwrap_or((rest, ""));
        sink.push_str(before);
        let end = behind.bytes().take(NAME_BYTES_MAX).position(|octet| octet == b';');
        let entity = end.and_then(|end| behind.get(..=end)).filter(|entity| is_entity(entity));
        rest = if let Some(entity) = entity {
            add_html_token(sink, entity.as_bytes(), false);
            behind.get(entity.len()..).unwrap_or_default()
        } else {
            sink.push('&');
            behind.get(1..).unwrap_or_default()
        };
    }
    sink.push_str(rest);
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
    if let Some(style) = attribute(attributes, "style") {
        let squeezed: String =
            style.chars().filter(|c| !c.is_whitespace()).take(1024).map(|c| c.to_ascii_lowercase()).collect();
        let zero = |property: &str| {
            let mut values = squeezed.split(property).skip(1);
            values.any(|value| value.strip_prefix('0').is_some_and(|rest| !rest.starts_with(['.', '0'])))
        };
        let says = ["display:none", "visibility:hidden", "mso-hide:all"];
        if says.iter().any(|word| squeezed.contains(word)) || zero("font-size:") || zero("opacity:") {
            return true;
        }
    }
    attribute(attributes, "hidden").is_some()
}

/// The value of an attribute, as written; empty when it has none.
fn attribute<'a>(attributes: &'a str, wanted: &str) -> Option<&'a str> {
    let space = |c: char| c.is_ascii_whitespace() || c == '/';
    let mut rest = attributes;
    loop {
        rest = rest.trim_start_matches(space);
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(|c: char| space(c) || c == '=').unwrap_or(rest.len());
        // An equals sign where a name should be.
        let (name, behind) = rest.split_at_checked(end.max(1)).unwrap_or((rest, ""));
        let (value, behind) = match behind.trim_start().strip_prefix('=') {
            Some(behind) => value(behind.trim_start()),
            None => ("", behind),
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value.trim());
        }
        rest = behind;
    }
}

/// The value at the beginning of `text`, and what comes behind it.
fn value(text: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(inside) = text.strip_prefix(quote) {
            return inside.split_once(quote).unwrap_or((inside, ""));
        }
    }
    let end = text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Where a tag ends, behind its `>`; quoted attributes may hold one. What is quoted without end ends at the first.
fn end_of_tag(markup: &str) -> Option<usize> {
    let mut quote = None;
    let mut previous = 0;
    for (at, octet) in markup.bytes().enumerate().take(TAG_BYTES_MAX) {
        match (quote, octet) {
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') if previous == b'=' => quote = Some(octet),
            (Some(open), octet) if open == octet => quote = None,
            _ => {}
        }
        if !octet.is_ascii_whitespace() {
            previous = octet;
        }
    }
    markup.find('>').map(|at| at + 1)
}

fn behind<'a>(text: &'a str, end: &str) -> &'a str {
    memmem::find(text.as_bytes(), end.as_bytes())
        .and_then(|at| text.get(at + end.len()..))
        .unwrap_or_default()
}

/// What comes behind the end of a script or style sheet; its closing tag is left.
fn behind_element<'a>(rest: &'a str, name: &str) -> &'a str {
    let end = memmem::find_iter(rest.as_bytes(), b"</").find(|at| {
        let tag = rest.as_bytes().get(at + 2..at + 2 + name.len());
        tag.is_some_and(|tag| tag.eq_ignore_ascii_case(name.as_bytes()))
    });
    end.and_then(|at| rest.get(at..)).unwrap_or_default()
}

/// Where a word, which is in lower case and begins with a sign, stands in any case.
fn find_word(text: &[u8], word: &[u8]) -> Option<usize> {
    let first = *word.first()?;
    memchr::memchr_iter(first, text)
        .find(|at| text.get(*at..at + word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_and_what_is_hidden_are_told_apart() {
        let html = read(
            "<p>Fr<!-- x -->ee &amp; <b>easy</b></p><script>no</script><div style='font-size: 0'>never <div>seen</div> \
             that</div> a < b &#65;&unknown;",
        );
        let words: Vec<_> = html.text.split_whitespace().collect();
        assert_eq!(words, ["Free", "&", "easy", "a", "<", "b", "A&unknown;"]);
        assert_eq!(html.hidden.split_whitespace().collect::<Vec<_>>(), ["never", "seen", "that"]);
        assert!(looks_like("x <HTML>") && !looks_like("<htm"));
    }

    #[test]
    fn links_have_their_text() {
        let html = read(
            "<A class=x HREF = \"http://a.test/?x=1&amp;y=2\"><img src='cid:1'>go <b>there</b></a> <a href=b.test>b<a href='c'>\
             <form action=\"https://d.test\">",
        );
        let links: Vec<_> = html.links.iter().map(|link| (link.href.as_str(), link.text.as_str())).collect();
        assert_eq!(
            links,
            [
                ("http://a.test/?x=1&y=2", "go  there"),
                ("cid:1", ""),
                ("b.test", "b"),
                ("c", ""),
                ("https://d.test", "")
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn anything_is_read(source in "[<>a/=\"' &;#x!-]{0,80}") {
            let html = read(&source);
            proptest::prop_assert!(html.text.len() + html.hidden.len() <= 4 * source.len());
        }
    }
}
