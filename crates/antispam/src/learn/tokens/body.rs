//! The parts of a message: words and pairs of them, layout, links, names of attachments, and the grams of its beginning.

use std::borrow::Cow;

use super::super::feature::{Gathering, Kind, hash, joined, mixed};
use super::words::{shape, words};
use crate::letter::links::{Host, Link};
use crate::letter::{self, Part};

/// Parts that are looked at.
pub(super) const PARTS_MAX: usize = 100;
/// Words of a message.
const WORDS_MAX: usize = 6000;
/// Longest word that is one, in characters: what is longer is counted by its length.
const WORD_CHARS_MAX: usize = 24;
/// Characters of the beginning that are read as grams.
const GRAM_CHARS_MAX: usize = 3000;
/// Characters of a gram.
const GRAM_CHARS: u32 = 5;
/// Lines whose layout is looked at.
const LINES_MAX: usize = 2000;
/// Links of a message.
const URLS_MAX: usize = 200;
/// Words of a link's path.
const PATH_WORDS_MAX: usize = 8;
/// Longest word of a link's path, in octets.
const PATH_WORD_BYTES_MAX: usize = 20;
/// Lines of a footer.
const FOOTER_LINES_MAX: usize = 12;
/// Shortest line of dashes above a footer.
const RULE_CHARS_MIN: usize = 5;

/// The text of a message while it is read.
#[derive(Debug)]
pub(super) struct Text {
    grams: Grams,
    words_left: usize,
    lines_left: usize,
}

impl Text {
    pub(super) fn new(subject: &str) -> Self {
        let mut grams = Grams::default();
        grams.text(subject);
        grams.text(" | ");
        Self { grams, words_left: WORDS_MAX, lines_left: LINES_MAX }
    }

    /// One part, with its own header.
    pub(super) fn part(&mut self, part: &Part, out: &mut Gathering) {
        described(part, out);
        let Some(text) = &part.text else { return };
        self.shown(text.shown(), out);
        if let letter::Text::Html(_, html) = text {
            for word in words(&html.hidden).take(self.words_left) {
                out.add(Kind::Hidden, word);
            }
            tags(&html.tags, out);
        }
    }

    /// What is left to say at the end.
    pub(super) fn finish(self, out: &mut Gathering) {
        self.grams.finish(out);
    }

    fn shown(&mut self, text: &str, out: &mut Gathering) {
        let text = without_footer(text);
        self.grams.text(text);
        let mut previous = None;
        for word in words(text).take(self.words_left) {
            self.words_left -= 1;
            let first_is_digit = word.starts_with(|c: char| c.is_ascii_digit());
            let word: Cow<'_, str> =
                if first_is_digit { Cow::Owned(levelled(word)) } else { Cow::Borrowed(word) };
            let is_long = word.len() > WORD_CHARS_MAX && word.chars().count() > WORD_CHARS_MAX;
            if is_long {
                out.hashed(Kind::Long, length_class(&word), || {
                    format!("{} characters", word.chars().count())
                });
            }
            let hashed = hash(&word);
            if !is_long {
                out.hashed(Kind::Word, hashed, || word.to_lowercase());
                case(&word, hashed, out);
            }
            if let Some((before, first)) = previous {
                out.hashed(Kind::Pair, joined(before, hashed), || format!("{first} {word}").to_lowercase());
            }
            previous = Some((hashed, word));
        }
        for line in text.lines().take(self.lines_left) {
            self.lines_left -= 1;
            layout(line.trim(), out);
        }
    }
}

/// Where links lead, and what they look like.
pub(super) fn links(links: &[Link], out: &mut Gathering) {
    for link in links.iter().take(URLS_MAX) {
        let url = link.url.split_once("://").map_or(link.url.as_str(), |(_, rest)| rest);
        match &link.host {
            Host::Name(name) => {
                out.add(Kind::UrlDomain, registrable(name));
                out.add(Kind::UrlTld, name.rsplit('.').next().unwrap_or(name));
            }
            Host::Address(address) => {
                out.add(Kind::UrlDomain, &address.to_string());
                out.add(Kind::UrlTld, "an address");
            }
        }
        out.exact(Kind::UrlShape, "", &shape(url));
        let path = url.get(url.find('/').unwrap_or(url.len())..).unwrap_or_default();
        let inside = path.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
        for word in inside.take(PATH_WORDS_MAX) {
            out.add(Kind::UrlPath, cut(word, PATH_WORD_BYTES_MAX));
        }
    }
}

/// The part of a name that belongs to one organisation.
pub(super) fn registrable(host: &str) -> &str {
    psl::domain_str(host).unwrap_or(host)
}

/// The first octets of a text, at most so many, whole characters.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

/// What MIME says of a part.
fn described(part: &Part, out: &mut Gathering) {
    out.add_in(Kind::Part, &part.media, &part.transfer_encoding);
    out.add_in(Kind::Part, "charset", part.charset.as_deref().unwrap_or("none"));
    if part.text.is_none() && !part.is_container() && !part.media.starts_with("text/") {
        let name = part.names.first().map_or("", String::as_str);
        out.add_in(Kind::Attachment, &part.media, name);
        out.add_in(Kind::Attachment, "ends", name.rsplit_once('.').map_or("", |(_, end)| end));
    }
}

fn tags(tags: &[String], out: &mut Gathering) {
    for tag in tags {
        out.add(Kind::Tag, tag);
    }
    for pair in tags.windows(2) {
        if let [first, second] = pair {
            out.add_in(Kind::TagPair, first, second);
        }
    }
}

/// Capitals: all of a word, or its first letter.
fn case(word: &str, hashed: u64, out: &mut Gathering) {
    let mut letters = word.chars();
    if !letters.next().is_some_and(char::is_uppercase) {
        return;
    }
    let mut all = word.chars().filter(|c| c.is_alphabetic());
    let is_shouted = word.len() > 2 && all.all(char::is_uppercase);
    let (class, mark) = if is_shouted { (1, "in capitals") } else { (2, "with a capital") };
    out.hashed(Kind::Case, joined(class, hashed), || format!("{} {mark}", word.to_lowercase()));
}

/// Digits are all 9: years, prices and counters drift.
fn levelled(word: &str) -> String {
    word.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect()
}

/// Words that are no words: by eights of characters.
fn length_class(word: &str) -> u64 {
    u64::try_from((word.chars().count() / 8).min(64)).unwrap_or_default()
}

/// How a line looks: quoted, introducing a quotation, a rule, a signature's beginning.
fn layout(line: &str, out: &mut Gathering) {
    if line.starts_with('>') {
        out.add(Kind::Quote, "quoted line");
    }
    if line.ends_with(" wrote:") || line.ends_with(" writes:") {
        out.add(Kind::Quote, "wrote");
    }
    if line == "--" {
        out.add(Kind::Quote, "signature");
    } else if let Some(rule) = rule(line, 3) {
        out.exact(Kind::Quote, "rule", rule.encode_utf8(&mut [0; 4]));
    }
}

/// The character of which a line consists.
fn rule(line: &str, chars_min: usize) -> Option<char> {
    let first = line.chars().next().filter(|c| "-_=*~".contains(*c))?;
    (line.len() >= chars_min && line.chars().all(|c| c == first)).then_some(first)
}

/// The text without what a list or a mail program has put below it: the last lines from a rule or `-- ` on.
fn without_footer(text: &str) -> &str {
    let text = text.trim_end();
    let mut end = text.len();
    for _ in 0..FOOTER_LINES_MAX {
        let start = text.get(..end).and_then(|text| text.rfind('\n')).map_or(0, |at| at + 1);
        let line = text.get(start..end).unwrap_or_default().trim_end_matches('\r');
        let first = line.trim_start().chars().next().filter(|c| "-_=*~".contains(*c));
        let run = first.map_or(0, |first| line.trim_start().chars().take_while(|c| *c == first).count());
        if run >= RULE_CHARS_MIN || line == "--" || line == "-- " {
            return text.get(..start).unwrap_or_default();
        }
        if start == 0 {
            break;
        }
        end = start - 1;
    }
    text
}

/// Pieces of [`GRAM_CHARS`] characters: in lower case, white space as one space, digits as 9.
#[derive(Debug, Default)]
struct Grams {
    text: String,
    chars: usize,
    read: usize,
}

impl Grams {
    fn text(&mut self, text: &str) {
        // The ends of lines are not the same in a file and on the way.
        for c in text.chars().filter(|c| *c != '\r') {
            if self.read >= GRAM_CHARS_MAX {
                return;
            }
            self.read += 1;
            let c = match c {
                c if c.is_whitespace() => ' ',
                c if c.is_ascii_digit() => '9',
                c if c.is_ascii() => c.to_ascii_lowercase(),
                c => c.to_lowercase().next().unwrap_or(c),
            };
            if c != ' ' || !self.text.ends_with(' ') {
                self.text.push(c);
                self.chars += 1;
            }
        }
        self.text.push(' ');
    }

    fn finish(self, out: &mut Gathering) {
        const BITS: u32 = 21;
        const MASK: u128 = (1 << (BITS * GRAM_CHARS)) - 1;
        let mut window: u128 = 0;
        let mut seen = 0;
        let mut starts = self.text.char_indices().map(|(at, _)| at);
        for (end, c) in self.text.char_indices() {
            window = ((window << BITS) | u128::from(u32::from(c))) & MASK;
            seen += 1;
            if seen < GRAM_CHARS {
                continue;
            }
            let start = starts.next().unwrap_or_default();
            #[allow(clippy::cast_possible_truncation)] // Both halves are taken.
            let (high, low) = ((window >> 64) as u64, window as u64);
            let hash =
                mixed(high ^ 0x517c_c1b7_2722_0a95).wrapping_add(low.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            out.hashed(Kind::Gram, hash, || {
                self.text.get(start..end + c.len_utf8()).unwrap_or_default().to_owned()
            });
        }
    }
}
