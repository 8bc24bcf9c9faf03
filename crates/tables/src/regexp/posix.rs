//! POSIX regular expressions (IEEE 1003.1 chapter 9, with glibc's additions) in the syntax of the library that runs them.
//!
//! The two differ in bracket expressions (a backslash is plain there, `[` needs none), in braces that are no repetition,
//! and, for basic expressions, in which of `( ) { } + ? |` need a backslash to be special.

use std::iter::Peekable;
use std::str::Chars;

/// Translates a pattern; `extended` tells the two kinds apart.
///
/// # Errors
/// What cannot be said in linear time, or is no expression at all.
pub(super) fn translate(pattern: &str, extended: bool) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut chars = pattern.chars().peekable();
    // Where a new branch begins, `*` and (in basic expressions) `^` mean something else.
    let mut at_start = true;
    while let Some(c) = chars.next() {
        let starts = at_start;
        at_start = false;
        match c {
            '\\' => match chars.next() {
                None => return Err("the pattern ends with a backslash".to_owned()),
                Some(c) if !extended && "(){}+?|".contains(c) => at_start = special(c, &mut chars, &mut out),
                Some(c) => escaped(c, &mut out)?,
            },
            '[' => bracket(&mut chars, &mut out)?,
            c if extended && "(){}+?|".contains(c) => at_start = special(c, &mut chars, &mut out),
            '*' if starts && !extended => out.push_str("\\*"),
            '^' if !starts && !extended => out.push_str("\\^"),
            '$' if !extended && !ends_branch(&chars) => out.push_str("\\$"),
            '^' => {
                out.push('^');
                at_start = true;
            }
            c if "*.$".contains(c) => out.push(c),
            c => literal(c, &mut out),
        }
    }
    Ok(out)
}

/// A character that is special in the library's syntax too. True when a branch begins behind it.
fn special(c: char, chars: &mut Peekable<Chars<'_>>, out: &mut String) -> bool {
    match c {
        '(' if chars.peek() == Some(&'?') => out.push_str("(\\"),
        '{' if chars.peek().is_some_and(|next| *next == ',' || next.is_ascii_digit()) => {
            out.push_str(if chars.peek() == Some(&',') { "{0" } else { "{" });
            while let Some(count) = chars.next_if(|next| *next == ',' || next.is_ascii_digit()) {
                out.push(count);
            }
        }
        '{' => out.push_str("\\{"),
        // One that closes no repetition is plain; the library takes it so.
        c => out.push(c),
    }
    c == '(' || c == '|'
}

/// In a basic expression `$` is an anchor only at the end of a branch.
fn ends_branch(chars: &Peekable<Chars<'_>>) -> bool {
    let rest: String = chars.clone().take(2).collect();
    rest.is_empty() || rest == "\\)" || rest == "\\|"
}

fn escaped(c: char, out: &mut String) -> Result<(), String> {
    match c {
        '1'..='9' => return Err(format!("\\{c} in a pattern (a back-reference) is not supported")),
        // glibc: word characters, white space, word boundaries, both ends of the text.
        'w' => out.push_str("[[:word:]]"),
        'W' => out.push_str("[^[:word:]]"),
        's' => out.push_str("[[:space:]]"),
        'S' => out.push_str("[^[:space:]]"),
        'b' | 'B' => out.extend(['\\', c]),
        '<' => out.push_str("\\b{start}"),
        '>' => out.push_str("\\b{end}"),
        '`' => out.push_str("\\A"),
        '\'' => out.push_str("\\z"),
        c => literal(c, out),
    }
    Ok(())
}

/// A character that stands for itself.
fn literal(c: char, out: &mut String) {
    // The library reads \< and \> as the bounds of a word.
    if c.is_ascii_punctuation() && !"<>".contains(c) {
        out.push('\\');
    }
    out.push(c);
}

/// A bracket expression, behind its `[`.
fn bracket(chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    let unclosed = || "a [ in the pattern has no closing ]".to_owned();
    out.push('[');
    if chars.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    let mut first = true;
    loop {
        let c = chars.next().ok_or_else(unclosed)?;
        match (c, chars.peek().copied()) {
            (']', _) if !first => break,
            ('[', Some(':')) => out.push_str(&class(chars).ok_or_else(unclosed)?),
            ('[', Some('.' | '=')) => {
                return Err("collating elements such as [.a.] and [=a=] are not supported".to_owned());
            }
            ('-', next) if !first && next != Some(']') => out.push('-'),
            _ => literal(c, out),
        }
        first = false;
    }
    out.push(']');
    Ok(())
}

/// `[:name:]`, behind its `[`.
fn class(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut class = String::from("[");
    loop {
        class.push(chars.next()?);
        if class.ends_with(":]") && class.len() > 3 {
            return Some(class);
        }
    }
}
