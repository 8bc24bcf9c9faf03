//! Words in any writing, and what they look like.
//!
//! A word is letters and digits, with an apostrophe, a hyphen or a dot between them; a run of `!`, `$` and `%` is one too.
//! Where words are not parted by spaces (Chinese, Japanese), each character is a word, and pairs of them say the rest.

/// The words of a text, in their order.
#[derive(Debug, Clone)]
pub(in crate::learn) struct Words<'a> {
    rest: &'a str,
}

/// The words of a text.
pub(in crate::learn) fn words(text: &str) -> Words<'_> {
    Words { rest: text }
}

fn is_sign(c: char) -> bool {
    matches!(c, '!' | '$' | '%')
}

fn is_joiner(c: char) -> bool {
    matches!(c, '\'' | '’' | '-' | '.')
}

/// Han, Hiragana, Katakana.
fn is_word_alone(c: char) -> bool {
    matches!(u32::from(c), 0x3040..=0x30ff | 0x3400..=0x9fff | 0xf900..=0xfaff | 0x2_0000..=0x2_ffff)
}

fn is_letter(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphanumeric() } else { c.is_alphanumeric() && !is_word_alone(c) }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let start = self.rest.find(|c: char| is_letter(c) || is_sign(c) || is_word_alone(c))?;
        let text = self.rest.get(start..)?;
        let first = text.chars().next()?;
        let end = if is_sign(first) {
            text.find(|c: char| !is_sign(c)).unwrap_or(text.len())
        } else if is_letter(first) {
            end_of_word(text)
        } else {
            first.len_utf8()
        };
        let (word, rest) = text.split_at_checked(end)?;
        self.rest = rest;
        Some(word)
    }
}

/// Where the word at the beginning of `text` ends.
fn end_of_word(text: &str) -> usize {
    let mut end = 0;
    let mut joiner = false;
    for (at, c) in text.char_indices() {
        if is_letter(c) {
            end = at + c.len_utf8();
            joiner = false;
        } else if is_joiner(c) && !joiner {
            joiner = true;
        } else {
            break;
        }
    }
    end
}

/// Longest shape, in octets.
const SHAPE_BYTES_MAX: usize = 40;

/// What a text looks like: runs of capitals are `A`, of small letters `a`, of digits `9`, of what is not ASCII `u`; the
/// rest stays. The first so many characters.
pub(in crate::learn) fn shape(text: &str) -> String {
    let mut shape = String::with_capacity(SHAPE_BYTES_MAX);
    let mut last = '\0';
    for c in text.chars() {
        let class = match c {
            'A'..='Z' => 'A',
            'a'..='z' => 'a',
            '0'..='9' => '9',
            '\n' | '\r' | '\t' => ' ',
            c if c.is_ascii() => c,
            _ => 'u',
        };
        if class != last || !matches!(class, 'A' | 'a' | '9' | 'u' | ' ') {
            if shape.len() >= SHAPE_BYTES_MAX {
                break;
            }
            shape.push(class);
        }
        last = class;
    }
    shape
}
