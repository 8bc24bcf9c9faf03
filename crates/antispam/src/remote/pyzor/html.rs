//! The text of HTML as Pyzor sees it: what stands between tags, each piece trimmed, all joined by blanks; scripts, style sheets
//! and comments left out. Pure, and no more of HTML than that needs.

use mail_parser::decoders::html::add_html_token;

/// Elements whose contents are no text.
const UNSEEN: [&str; 2] = ["script", "style"];
/// Characters at the end in which a reference that is not finished takes the whole rest with it.
const UNFINISHED_CHARS: usize = 34;
/// Longest name of a reference.
const NAME_CHARS_MAX: usize = 32;
/// Names that are known without a semicolon behind them, too.
const BARE: [&str; 7] = ["amp", "lt", "gt", "quot", "nbsp", "copy", "reg"];
/// What numbers from 128 to 159 are taken for (WHATWG HTML §13.2.5.80); 0 where they stay what they are.
const C1: [u16; 32] = [
    0x20ac, 0, 0x201a, 0x192, 0x201e, 0x2026, 0x2020, 0x2021, 0x2c6, 0x2030, 0x160, 0x2039, 0x152, 0, 0x17d,
    0, 0, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x2dc, 0x2122, 0x161, 0x203a, 0x153, 0,
    0x17e, 0x178,
];

/// The text.
#[must_use]
pub(crate) fn text(html: &str) -> String {
    let mut pieces: Vec<String> = Vec::new();
    let mut rest = html;
    while !rest.is_empty() {
        let Some(tag) = rest.find('<') else {
            if !ends_unfinished(rest) {
                push(&mut pieces, rest);
            }
            break;
        };
        let (data, markup) = rest.split_at(tag);
        push(&mut pieces, data);
        match after(markup) {
            Next::Markup(behind) => rest = behind,
            Next::Data(behind) => {
                pieces.push("<".to_owned());
                rest = behind;
            }
            Next::Unfinished => break,
        }
    }
    pieces.join(" ")
}

/// What stands at a `<`.
enum Next<'a> {
    /// A tag, a comment or the like; this is behind it.
    Markup(&'a str),
    /// Nothing of that: it is text.
    Data(&'a str),
    /// Something that does not end.
    Unfinished,
}

fn after(markup: &str) -> Next<'_> {
    let inner = markup.get(1..).unwrap_or_default();
    let to = |end: &str| match markup.split_once(end) {
        Some((_, behind)) => Next::Markup(behind),
        None => Next::Unfinished,
    };
    match inner.chars().next() {
        Some(c) if c.is_ascii_alphabetic() => start_tag(inner),
        Some('!') if inner.starts_with("!--") => match inner.get(3..).and_then(comment_end) {
            Some(behind) => Next::Markup(behind),
            None => Next::Unfinished,
        },
        Some('/' | '?' | '!') => to(">"),
        Some(_) => Next::Data(inner),
        None => Next::Unfinished,
    }
}

/// Behind `--`, white space and `>`.
fn comment_end(text: &str) -> Option<&str> {
    let mut ends = text.match_indices('>').filter_map(|(at, _)| text.split_at_checked(at));
    let (_, end) = ends.find(|(before, _)| before.trim_end().ends_with("--"))?;
    end.get(1..)
}

/// Behind a start tag, quotes respected; behind all of an element that holds no text.
fn start_tag(inner: &str) -> Next<'_> {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in inner.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') if before == '=' => quote = Some(c),
            (None, '>') => {
                let (tag, behind) =
                    (inner.get(..at).unwrap_or_default(), inner.get(at + 1..).unwrap_or_default());
                let name = tag.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default();
                let unseen = UNSEEN.iter().find(|unseen| name.eq_ignore_ascii_case(unseen));
                return match unseen {
                    Some(unseen) if before != '/' => behind_element(behind, unseen),
                    _ => Next::Markup(behind),
                };
            }
            _ => {}
        }
        if !c.is_whitespace() {
            before = c;
        }
    }
    Next::Unfinished
}

/// Behind the end tag of this name.
fn behind_element<'a>(text: &'a str, name: &str) -> Next<'a> {
    for (at, _) in text.match_indices("</") {
        let tag = text.get(at + 2..).unwrap_or_default().trim_start();
        if tag.get(..name.len()).is_some_and(|have| have.eq_ignore_ascii_case(name))
            && let Some(behind) = tag.get(name.len()..).and_then(|tag| tag.trim_start().strip_prefix('>'))
        {
            return Next::Markup(behind);
        }
    }
    Next::Unfinished
}

fn push(pieces: &mut Vec<String>, data: &str) {
    let data = unescaped(data);
    let data = data.trim();
    if !data.is_empty() {
        pieces.push(data.to_owned());
    }
}

/// The reference stops to wait for more then.
fn ends_unfinished(text: &str) -> bool {
    let from = text.char_indices().rev().nth(UNFINISHED_CHARS - 1).map_or(0, |(at, _)| at);
    let tail = text.get(from..).unwrap_or_default();
    let reference = tail.rfind('&').and_then(|at| tail.get(at..));
    reference.is_some_and(|reference| !reference.contains(|c: char| c.is_whitespace() || c == ';'))
}

/// Character references resolved; those that are none stay.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let (before, reference) = rest.split_at(at);
        out.push_str(before);
        let ends = |c: char| matches!(c, '\t' | '\n' | '\u{c}' | ' ' | '<' | '&' | ';');
        let inner = reference.get(1..).unwrap_or_default();
        let name = inner.split(ends).next().unwrap_or_default();
        let closed = inner.get(name.len()..).is_some_and(|behind| behind.starts_with(';'));
        let taken = resolve(name, closed, &mut out);
        if taken == 0 {
            out.push('&');
        }
        // The ampersand, what was understood, and its semicolon.
        let semicolon = usize::from(closed && taken == name.len() && taken > 0);
        rest = inner.get(taken + semicolon..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Writes what a reference of this name stands for; how many octets of the name were understood.
fn resolve(name: &str, closed: bool, out: &mut String) -> usize {
    if let Some(number) = name.strip_prefix('#') {
        return resolve_number(number, out).map_or(0, |digits| digits + 1);
    }
    if closed && name.chars().count() <= NAME_CHARS_MAX && !name.is_empty() {
        let (mut found, token) = (String::new(), format!("&{name};"));
        add_html_token(&mut found, token.as_bytes(), false);
        if found != token {
            out.push_str(&found);
            return name.len();
        }
    }
    let Some(bare) = BARE.iter().find(|bare| name.starts_with(**bare)) else { return 0 };
    add_html_token(out, format!("&{bare};").as_bytes(), false);
    bare.len()
}

fn resolve_number(number: &str, out: &mut String) -> Option<usize> {
    let (prefix, radix) = if number.starts_with(['x', 'X']) { (1, 16) } else { (0, 10) };
    let digits = number.get(prefix..)?;
    let length = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    if length == 0 {
        return None;
    }
    let code =
        digits.get(..length).and_then(|digits| u32::from_str_radix(digits, radix).ok()).unwrap_or(u32::MAX);
    let c1 = code.checked_sub(0x80).and_then(|at| C1.get(at as usize)).map_or(0, |code| u32::from(*code));
    let code = if c1 == 0 { code } else { c1 };
    out.push(char::from_u32(code).filter(|c| *c != '\0').unwrap_or(char::REPLACEMENT_CHARACTER));
    Some(prefix + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn whatever_it_is_it_is_read(html in "[<>&;/!?#x\"'= -]{0,40}|(<|</|<!--|-->|>|script|style|&#|&amp|[a-z\u{e9}\u{85}] ?){0,60}") {
            let text = text(&html);
            // A reference is never shorter than what it stands for.
            proptest::prop_assert!(text.chars().count() <= html.chars().count() * 2);
        }
    }

    #[test]
    fn text_is_what_stands_between_tags() {
        for (html, want) in [
            ("<p>Hello <b>dear</b> friend</p>", "Hello dear friend"),
            ("a<!-- b -- > c<!-- d --->e<!-->f-->g<!-- h", "a c e g"),
            ("<STYLE a='>'>x</style >y<script>if (a<b) </b> </Script>z", "y z"),
            ("<img alt=\"a > b\">c<br/>d", "c d"),
            ("1 < 2 <unfinished", "1 < 2"),
            (
                "a &amp; b &lt;c&gt; &#65;&#x42; &#150; &nosuch; &copy 2 & d;",
                "a & b <c> AB – &nosuch; © 2 & d;",
            ),
            ("kept. lost &unfinished", ""),
            ("</>a</ b>c<?php x ?>d<!doctype html>e", "a c d e"),
            ("<script src=x />a", "a"),
            ("", ""),
        ] {
            assert_eq!(text(html), want, "{html}");
        }
    }
}
