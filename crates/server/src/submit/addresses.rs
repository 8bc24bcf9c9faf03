//! Finds the addresses in a header field, as programs write them: RFC 5322 §3.4, leniently.
//!
//! Knows comments, quoted strings, angle brackets, groups, source routes, and names without a domain (`root (Cron
//! Daemon)`), which are what local programs write most. Gives each address with its place in the text, so that a domain
//! can be added without touching anything else. Never decodes, never judges: what it finds may be malformed.

use std::ops::Range;

/// An address as it stands in a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its text, without comments, white space around `@` and `.`, or source route.
    pub text: String,
    /// Where it ends in the field's value: a domain that is missing goes there.
    pub end: usize,
}

/// What the scanner is in the middle of.
#[derive(Default)]
struct Scan {
    found: Vec<Found>,
    /// Words outside of brackets since the last comma.
    plain: String,
    plain_end: usize,
    /// What stands in brackets, once there are some.
    angle: Option<String>,
    angle_end: usize,
    /// White space was seen: the next word is another one.
    gap: bool,
}

/// All addresses in the value of an address field.
#[must_use]
pub fn find(value: &str) -> Vec<Found> {
    let mut scan = Scan::default();
    let mut in_angle = false;
    let mut at = 0;
    while let Some(c) = value.get(at..).and_then(|rest| rest.chars().next()) {
        let length = token_length(value, at, c);
        let range = at..at + length;
        match c {
            '(' => scan.gap = true,
            c if c.is_whitespace() => scan.gap = true,
            '<' => {
                in_angle = true;
                scan.angle = Some(String::new());
                scan.angle_end = range.end;
            }
            '>' => in_angle = false,
            // The route of `<@a,@b:user@c>` ends here (RFC 5322 §4.4 `obs-route`); outside, a group begins.
            ':' if in_angle => scan.angle = Some(String::new()),
            ':' => scan.reset(),
            ',' | ';' if !in_angle => scan.take(),
            _ => scan.word(value.get(range.clone()).unwrap_or_default(), &range, in_angle),
        }
        at = range.end;
    }
    scan.take();
    scan.found
}

impl Scan {
    fn word(&mut self, text: &str, range: &Range<usize>, in_angle: bool) {
        if let Some(angle) = self.angle.as_mut().filter(|_| in_angle) {
            angle.push_str(text);
            self.angle_end = range.end;
        } else if self.angle.is_none() {
            // RFC 5322 §4.4: white space may stand around `.` and `@`; anywhere else it parts two words.
            let joined = self.plain.ends_with(['@', '.']) || text.starts_with(['@', '.']);
            if self.gap && !joined && !self.plain.is_empty() {
                self.plain.push(' ');
            }
            self.plain.push_str(text);
            self.plain_end = range.end;
        }
        self.gap = false;
    }

    fn take(&mut self) {
        let (text, end) = match self.angle.take() {
            Some(angle) => (angle, self.angle_end),
            None => (std::mem::take(&mut self.plain), self.plain_end),
        };
        if !text.is_empty() {
            self.found.push(Found { text, end });
        }
        self.reset();
    }

    fn reset(&mut self) {
        self.plain.clear();
        self.angle = None;
        self.gap = false;
    }
}

/// Length of what begins at `at`: a whole comment or quoted string, or one character.
fn token_length(value: &str, at: usize, first: char) -> usize {
    let rest = value.get(at..).unwrap_or_default();
    let (mut depth, mut escaped) = (0_usize, false);
    if first != '(' && first != '"' {
        return first.len_utf8();
    }
    for (i, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' if first == '"' && i > 0 => return i + 1,
            '(' if first == '(' => depth += 1,
            ')' if first == '(' => {
                depth -= 1;
                if depth == 0 {
                    return i + 1;
                }
            }
            _ => {}
        }
    }
    rest.len()
}

/// The value with `@domain` put after every address that has none. `None` when all have one.
#[must_use]
pub fn qualify(value: &str, domain: &str) -> Option<String> {
    let bare: Vec<usize> = find(value).into_iter().filter(|a| is_bare(&a.text)).map(|a| a.end).collect();
    if bare.is_empty() {
        return None;
    }
    let mut out = String::with_capacity(value.len() + bare.len() * (domain.len() + 1));
    let mut from = 0;
    for end in bare {
        out.push_str(value.get(from..end).unwrap_or_default());
        out.push('@');
        out.push_str(domain);
        from = end;
    }
    out.push_str(value.get(from..).unwrap_or_default());
    Some(out)
}

/// True for a single word without a domain. Several words are no address, and stay what they are.
#[must_use]
pub fn is_bare(text: &str) -> bool {
    let unquoted =
        if text.starts_with('"') { text.rsplit_once('"').map_or("", |(_, after)| after) } else { text };
    !unquoted.contains('@') && !unquoted.contains(' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(value: &str) -> Vec<String> {
        find(value).into_iter().map(|f| f.text).collect()
    }

    #[test]
    fn addresses_are_found_in_every_dress() {
        for (value, want) in [
            ("a@b.test", vec!["a@b.test"]),
            (
                "a@b.test, \"c, d\" <c@d.test>,\r\n e@f.test (comment, with (nested) comma)",
                vec!["a@b.test", "c@d.test", "e@f.test"],
            ),
            ("g: h@i.test, J K <j@k.test>; l@m.test", vec!["h@i.test", "j@k.test", "l@m.test"]),
            ("undisclosed-recipients:;", vec![]),
            ("root (Cron Daemon)", vec!["root"]),
            ("Anna \"Quoted (x\" Rossi <anna>", vec!["anna"]),
            ("a @ b . test", vec!["a@b.test"]),
            ("<@x.test,@y.test:a@b.test>", vec!["a@b.test"]),
            (r#""odd, name"@b.test"#, vec![r#""odd, name"@b.test"#]),
            ("<>", vec![]),
            (", ,", vec![]),
            ("John Doe", vec!["John Doe"]),
            ("jörg@bücher.example", vec!["jörg@bücher.example"]),
        ] {
            assert_eq!(texts(value), want, "{value}");
        }
    }

    #[test]
    fn names_without_a_domain_get_one_and_nothing_else_changes() {
        for (value, want) in [
            ("root (Cron Daemon)", Some("root@mx.test (Cron Daemon)")),
            ("Anna <anna>, b@c.test,\r\n d", Some("Anna <anna@mx.test>, b@c.test,\r\n d@mx.test")),
            ("\"a b\" <\"x@y\">", Some("\"a b\" <\"x@y\"@mx.test>")),
            ("a@b.test", None),
            ("John Doe", None),
            ("undisclosed-recipients:;", None),
            ("g: h;", Some("g: h@mx.test;")),
        ] {
            assert_eq!(qualify(value, "mx.test").as_deref(), want, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_text_ends_and_what_is_qualified_has_no_bare_names_left(value in "\\PC{0,60}") {
            if let Some(done) = qualify(&value, "mx.test") {
                prop_assert!(find(&done).len() >= find(&value).len());
            }
        }
    }
}
