//! What a text has to hold for a pattern to match: short texts of which one is in every match.
//!
//! They are read off the pattern; ASCII letters are in lower case, for they are looked for in any case. Says nothing
//! rather than too much: a pattern without such texts has to be tried on every text. Pure, in time that grows with the
//! length of the pattern.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Shortest text that is worth looking for, in octets.
const BYTES_MIN: usize = 3;
/// Signs that are rare enough by themselves; so are octets that are not ASCII.
const RARE: &[u8] = b"$%{|[";
/// Longest text that is looked for, in octets: what comes behind tells little more.
const BYTES_MAX: usize = 8;
/// Texts for one pattern.
const TEXTS_MAX: usize = 32;
/// Octets in one place that are told apart: `[i1!]` is three texts.
const CLASS_MAX: usize = 4;

/// One of these is in every match; none when nothing is known.
type Texts = Option<Vec<Vec<u8>>>;

/// What is known of a piece of a pattern.
struct Known {
    /// All that it can match, when that is little.
    exact: Texts,
    /// What is in all that it matches.
    within: Texts,
}

/// The texts of which one is in everything that `pattern` matches; none when there are no such texts.
pub(super) fn of(pattern: &Hir) -> Texts {
    let known = known(pattern);
    let exact = known.exact.filter(|texts| is_telling(texts));
    let mut texts = better(exact, known.within)?;
    for text in &mut texts {
        text.truncate(BYTES_MAX);
    }
    texts.sort_unstable();
    texts.dedup();
    Some(texts)
}

fn known(hir: &Hir) -> Known {
    let exactly = |texts: Vec<Vec<u8>>| Known { exact: Some(texts), within: None };
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => exactly(vec![Vec::new()]),
        HirKind::Literal(literal) => exactly(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Class(class) => Known { exact: few(class), within: None },
        HirKind::Repetition(repetition) => {
            let inner = known(&repetition.sub);
            match (repetition.min, repetition.max) {
                (0, Some(1)) => {
                    let exact = inner.exact.and_then(|texts| together(texts, vec![Vec::new()]));
                    Known { exact, within: None }
                }
                (0, _) => Known { exact: None, within: None },
                (1, Some(1)) => inner,
                _ => {
                    Known { exact: None, within: better(inner.exact.filter(|t| is_telling(t)), inner.within) }
                }
            }
        }
        HirKind::Capture(capture) => known(&capture.sub),
        HirKind::Concat(parts) => in_a_row(parts),
        HirKind::Alternation(choices) => one_of(choices),
    }
}

/// The octets of a class, letters in lower case, when they are few.
fn few(class: &Class) -> Texts {
    let mut texts: Vec<Vec<u8>> = Vec::new();
    let mut put = |octets: Vec<u8>| {
        let lower = octets.to_ascii_lowercase();
        if !texts.contains(&lower) {
            texts.push(lower);
        }
        texts.len() <= CLASS_MAX
    };
    let fits = match class {
        Class::Bytes(class) => {
            class.ranges().iter().all(|range| (range.start()..=range.end()).all(|octet| put(vec![octet])))
        }
        Class::Unicode(class) => class
            .ranges()
            .iter()
            .all(|range| (range.start()..=range.end()).all(|c| put(c.to_string().into_bytes()))),
    };
    (fits && !texts.is_empty()).then_some(texts)
}

/// Pieces behind each other: what is known exactly of neighbours is known of both together.
fn in_a_row(parts: &[Hir]) -> Known {
    let mut within = None;
    let mut all_exact = true;
    let mut run = vec![Vec::new()];
    for part in parts {
        let part = known(part);
        let joined = part.exact.as_ref().and_then(|texts| behind(&run, texts));
        if let Some(joined) = joined {
            run = joined;
            continue;
        }
        all_exact = false;
        within = better(within, Some(run).filter(|texts| is_telling(texts)));
        within = better(within, part.within);
        // Too many to be joined: what comes next is joined to this piece alone.
        run = part.exact.unwrap_or_else(|| vec![Vec::new()]);
    }
    if all_exact {
        return Known { exact: Some(run), within: None };
    }
    Known { exact: None, within: better(within, Some(run).filter(|texts| is_telling(texts))) }
}

fn one_of(choices: &[Hir]) -> Known {
    let (mut exact, mut within) = (Some(Vec::new()), Some(Vec::new()));
    for choice in choices {
        let choice = known(choice);
        let inside = better(choice.exact.clone().filter(|texts| is_telling(texts)), choice.within);
        exact = exact.zip(choice.exact).and_then(|(all, more)| together(all, more));
        within = within.zip(inside).and_then(|(all, more)| together(all, more));
    }
    Known { exact, within }
}

/// Both lists, unless that is too much.
fn together(mut all: Vec<Vec<u8>>, more: Vec<Vec<u8>>) -> Texts {
    all.extend(more);
    all.sort_unstable();
    all.dedup();
    (all.len() <= TEXTS_MAX).then_some(all)
}

/// Each of the first with each of the second behind it, unless that is too much.
fn behind(first: &[Vec<u8>], second: &[Vec<u8>]) -> Texts {
    if first.len() * second.len() > TEXTS_MAX {
        return None;
    }
    let join =
        |head: &Vec<u8>| second.iter().map(move |tail| [head.as_slice(), tail].concat()).collect::<Vec<_>>();
    Some(first.iter().flat_map(join).collect())
}

/// All of them are long enough to be rare.
fn is_telling(texts: &[Vec<u8>]) -> bool {
    texts.iter().all(|text| {
        text.len() >= BYTES_MIN || text.iter().any(|octet| RARE.contains(octet) || !octet.is_ascii())
    })
}

fn shortest(texts: &[Vec<u8>]) -> usize {
    texts.iter().map(Vec::len).min().unwrap_or(0)
}

/// Those that are rarer: the longer the shortest of them, and then the fewer.
fn better(one: Texts, other: Texts) -> Texts {
    match (one, other) {
        (Some(one), Some(other)) => {
            let rank = |texts: &[Vec<u8>]| (shortest(texts).min(BYTES_MAX), usize::MAX - texts.len());
            Some(if rank(&other) > rank(&one) { other } else { one })
        }
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pattern: &str) -> Option<Vec<String>> {
        let hir =
            regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern).unwrap();
        let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
        Some(of(&hir)?.into_iter().map(text).collect())
    }

    #[test]
    fn what_a_pattern_needs_is_read_off_it() {
        for (pattern, want) in [
            ("(?i)\\bv[i1!]agra\\b", &["v!agra", "v1agra", "viagra"][..]),
            ("click (?:here|below)", &["click be", "click he"]),
            ("(?i)^(?:dear|hello) .{0,9}friend", &["friend"]),
            ("e-?mail", &["e-mail", "email"]),
            ("(?:abc)+", &["abc"]),
            ("a{3}bcd", &["bcd"]),
            ("[a-z]{3}(?:one|two three)?four", &["four", "onefour", "two thre"]),
            ("(?:first|[0-9]+second)", &["first", "second"]),
            ("a longer text than that", &["a longer"]),
            ("\\xff\\xfe\\xfd", &["\u{fffd}\u{fffd}\u{fffd}"]),
            ("(?:(?:us)?\\s?[$]|usd|eur) ?[0-9]", &["$", "eur", "usd"]),
        ] {
            assert_eq!(texts(pattern).unwrap(), want, "{pattern}");
        }
    }

    #[test]
    fn nothing_is_said_of_what_needs_nothing_telling() {
        for pattern in
            ["", "ab", "[a-z]+", "(?:abcd)?", "abcd|x", "(?:abcd|)", "\\d{3}", "(?:abcd){0,3}", "[^a]bc"]
        {
            assert_eq!(texts(pattern), None, "{pattern}");
        }
        let many: Vec<String> = (0..200).map(|number| format!("word{number}")).collect();
        assert_eq!(texts(&many.join("|")), None);
    }
}
