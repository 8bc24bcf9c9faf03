//! Macro strings of SPF (RFC 7208 §7): read once, expanded with the facts of a check. Pure.

use std::net::IpAddr;

/// A macro string that is right by the grammar of RFC 7208 §7.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MacroString(Vec<Token>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(String),
    Expand(Expand),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Expand {
    letter: Letter,
    /// Upper case: the value is escaped for URLs (RFC 7208 §7.3).
    escaped: bool,
    /// How many labels stay, from the right; `None` keeps all.
    labels: Option<usize>,
    reversed: bool,
    delimiters: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letter {
    Sender,
    Local,
    SenderDomain,
    Domain,
    Address,
    ValidatedName,
    Version,
    Helo,
    /// Only in explanations, as are the two that follow.
    ReadableAddress,
    Receiver,
    Time,
}

/// Where a macro string stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a record: no spaces, and none of the letters c, r and t.
    Record,
    /// In the text of an explanation (RFC 7208 §6.2).
    Explanation,
}

/// The facts that letters stand for.
#[derive(Debug)]
pub(super) struct Values<'a> {
    pub(super) local: &'a str,
    pub(super) sender_domain: &'a str,
    pub(super) domain: &'a str,
    pub(super) client: IpAddr,
    /// `unknown` where there is none.
    pub(super) validated_name: &'a str,
    pub(super) helo: &'a str,
    pub(super) receiver: &'a str,
    pub(super) now_seconds: u64,
}

/// Longest expanded name in octets (RFC 7208 §7.3).
const NAME_BYTES_MAX: usize = 253;

impl MacroString {
    /// Reads a macro string.
    pub(super) fn parse(text: &str, place: Place) -> Option<Self> {
        Self::parse_with_tail(text, place).map(|(tokens, _)| tokens)
    }

    /// Reads a domain-spec: a macro string that ends in a macro or a top-level label (RFC 7208 §7.1).
    pub(super) fn parse_domain(text: &str) -> Option<Self> {
        let (tokens, tail) = Self::parse_with_tail(text, Place::Record)?;
        let ends_in_macro = tail.is_empty() && !text.is_empty();
        (ends_in_macro || ends_in_top_label(tail)).then_some(tokens)
    }

    /// A macro string, and what follows its last macro.
    fn parse_with_tail(text: &str, place: Place) -> Option<(Self, &str)> {
        let mut tokens = Vec::new();
        let mut rest = text;
        loop {
            let (literal, after) = rest.split_once('%').map_or((rest, None), |(l, after)| (l, Some(after)));
            let printable = |c: char| c.is_ascii_graphic() || (c == ' ' && place == Place::Explanation);
            if !literal.chars().all(printable) {
                return None;
            }
            push_literal(&mut tokens, literal);
            let Some(after) = after else { return Some((Self(tokens), literal)) };
            rest = match after.strip_prefix('{') {
                Some(body) => {
                    let (inner, after) = body.split_once('}')?;
                    tokens.push(Token::Expand(Expand::parse(inner, place)?));
                    after
                }
                None => {
                    let mut chars = after.chars();
                    push_literal(&mut tokens, escape_sequence(chars.next()?)?);
                    chars.as_str()
                }
            };
        }
    }

    /// Whether `%{p}` stands in it: then the client's names have to be known first.
    pub(super) fn needs_validated_name(&self) -> bool {
        let asks = |token: &Token| matches!(token, Token::Expand(e) if e.letter == Letter::ValidatedName);
        self.0.iter().any(asks)
    }

    /// The text with every macro replaced.
    pub(super) fn expand(&self, values: &Values<'_>) -> String {
        let mut text = String::new();
        for token in &self.0 {
            match token {
                Token::Literal(literal) => text.push_str(literal),
                Token::Expand(expand) => text.push_str(&expand.value(values)),
            }
        }
        text
    }

    /// The name with every macro replaced, shortened from the left to what DNS can hold (RFC 7208 §7.3).
    pub(super) fn expand_name(&self, values: &Values<'_>) -> String {
        let text = self.expand(values);
        let mut name = text.strip_suffix('.').unwrap_or(&text);
        while name.len() > NAME_BYTES_MAX {
            let Some((_, shorter)) = name.split_once('.') else { break };
            name = shorter;
        }
        name.to_owned()
    }
}

fn push_literal(tokens: &mut Vec<Token>, text: &str) {
    match tokens.last_mut() {
        _ if text.is_empty() => {}
        Some(Token::Literal(before)) => before.push_str(text),
        _ => tokens.push(Token::Literal(text.to_owned())),
    }
}

/// RFC 7208 §7.1: `%%`, `%_` and `%-`.
fn escape_sequence(c: char) -> Option<&'static str> {
    match c {
        '%' => Some("%"),
        '_' => Some(" "),
        '-' => Some("%20"),
        _ => None,
    }
}

/// RFC 7208 §7.1: `"." toplabel [ "." ]`, where a top-level label has a letter, or a hyphen inside.
fn ends_in_top_label(tail: &str) -> bool {
    let tail = tail.strip_suffix('.').unwrap_or(tail);
    let Some((_, label)) = tail.rsplit_once('.') else { return false };
    let shape = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let has_letter = label.chars().any(|c| c.is_ascii_alphabetic() || c == '-');
    shape && has_letter && !label.starts_with('-') && !label.ends_with('-') && !label.is_empty()
}

impl Expand {
    /// What stands between the braces: letter, transformers, delimiters.
    fn parse(text: &str, place: Place) -> Option<Self> {
        let mut chars = text.chars();
        let first = chars.next()?;
        let letter = Letter::parse(first.to_ascii_lowercase(), place)?;
        let rest = chars.as_str();
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = rest.split_at_checked(digits)?;
        let labels = match number {
            "" => None,
            // More labels than a name can have are all of them.
            number => Some(number.parse::<usize>().unwrap_or(usize::MAX)).filter(|n| *n > 0).map(Some)?,
        };
        let delimiters = rest.strip_prefix(['r', 'R']);
        let reversed = delimiters.is_some();
        let delimiters = delimiters.unwrap_or(rest);
        delimiters.chars().all(|c| ".-+,/_=".contains(c)).then(|| Self {
            letter,
            escaped: first.is_ascii_uppercase(),
            labels,
            reversed,
            delimiters: delimiters.to_owned(),
        })
    }

    fn value(&self, values: &Values<'_>) -> String {
        let value = self.letter.value(values);
        let splits =
            |c: char| if self.delimiters.is_empty() { c == '.' } else { self.delimiters.contains(c) };
        let mut parts: Vec<&str> = value.split(splits).collect();
        if self.reversed {
            parts.reverse();
        }
        let first = self.labels.map_or(0, |keep| parts.len().saturating_sub(keep));
        let text = parts.get(first..).unwrap_or_default().join(".");
        if self.escaped { escape(&text) } else { text }
    }
}

impl Letter {
    fn parse(c: char, place: Place) -> Option<Self> {
        Some(match c {
            's' => Self::Sender,
            'l' => Self::Local,
            'o' => Self::SenderDomain,
            'd' => Self::Domain,
            'i' => Self::Address,
            'p' => Self::ValidatedName,
            'v' => Self::Version,
            'h' => Self::Helo,
            'c' if place == Place::Explanation => Self::ReadableAddress,
            'r' if place == Place::Explanation => Self::Receiver,
            't' if place == Place::Explanation => Self::Time,
            _ => return None,
        })
    }

    fn value(self, values: &Values<'_>) -> String {
        match self {
            Self::Sender => format!("{}@{}", values.local, values.sender_domain),
            Self::Local => values.local.to_owned(),
            Self::SenderDomain => values.sender_domain.to_owned(),
            Self::Domain => values.domain.to_owned(),
            Self::Address => dotted(values.client),
            Self::ValidatedName => values.validated_name.to_owned(),
            Self::Version => if values.client.is_ipv4() { "in-addr" } else { "ip6" }.to_owned(),
            Self::Helo => values.helo.to_owned(),
            Self::ReadableAddress => values.client.to_string(),
            Self::Receiver => values.receiver.to_owned(),
            Self::Time => values.now_seconds.to_string(),
        }
    }
}

/// RFC 7208 §7.3: dotted quads, or the 32 nibbles of IPv6 with dots between.
fn dotted(client: IpAddr) -> String {
    match client {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let nibbles = v6.octets().into_iter().flat_map(|octet| [octet >> 4, octet & 15]);
            nibbles.map(|nibble| format!("{nibble:X}")).collect::<Vec<_>>().join(".")
        }
    }
}

/// RFC 3986 §2.3: all but the unreserved characters as percent and two digits.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            escaped.push(char::from(octet));
        } else {
            escaped.push_str(&format!("%{octet:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(client: &str) -> Values<'_> {
        Values {
            local: "strong-bad",
            sender_domain: "email.example.com",
            domain: "email.example.com",
            client: client.parse().unwrap(),
            validated_name: "mx.example.org",
            helo: "mail.example.org",
            receiver: "mx.example.test",
            now_seconds: 1_000,
        }
    }

    /// RFC 7208 §7.4, every example.
    #[test]
    fn the_rfc_s_examples() {
        for (text, meant) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d3}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l}", "strong-bad"),
            ("%{l-}", "strong.bad"),
            ("%{lr}", "strong-bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
            ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
            ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        ] {
            let read = MacroString::parse_domain(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(read.expand_name(&values("192.0.2.3")), meant, "{text}");
        }
        let v6 = MacroString::parse_domain("%{ir}.%{v}._spf.%{d2}")
            .unwrap()
            .expand_name(&values("2001:db8::cb01"));
        let meant = "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com";
        assert_eq!(v6.to_lowercase(), meant);
    }

    #[test]
    fn escapes_and_the_letters_of_explanations() {
        let explain =
            |text| MacroString::parse(text, Place::Explanation).unwrap().expand(&values("2001:db8::1"));
        assert_eq!(explain("100%% of%_it%-now"), "100% of it%20now");
        assert_eq!(
            explain("%{S} %{c} %{r} %{t} %{p}"),
            "strong-bad%40email.example.com 2001:db8::1 mx.example.test 1000 mx.example.org"
        );
        assert!(MacroString::parse("%{c}", Place::Record).is_none());
        assert!(MacroString::parse("a b", Place::Record).is_none());
    }

    #[test]
    fn what_is_no_domain_spec() {
        for bad in [
            "",
            "com",
            "example",
            ".",
            "a..",
            "1.2.3.4",
            "a.-b",
            "a.b-",
            "%",
            "a.%",
            "%{",
            "%{d",
            "%{x}.com",
            "%{d0}",
            "%{d!}",
            "%{d}com",
            "a.b%",
            "example.com:8080",
            "\u{e9}.com",
            "a.b/",
            "%x.com",
        ] {
            assert!(MacroString::parse_domain(bad).is_none(), "{bad}");
        }
        for good in [
            "a.b",
            "a.b.",
            "%{d}.com",
            "a%{d}",
            "a%%",
            "a%_",
            "x:y/z.com",
            "a.b-c",
            "a.1b",
            "%{d}.a%%b.c",
            "a.%_-b.c",
        ] {
            assert!(MacroString::parse_domain(good).is_some(), "{good}");
        }
    }

    #[test]
    fn a_long_name_loses_labels_from_the_left() {
        let long = format!("{}.%{{d}}", "abcdefghi.".repeat(30).trim_end_matches('.'));
        let name = MacroString::parse_domain(&long).unwrap().expand_name(&values("192.0.2.3"));
        assert!(
            name.len() <= NAME_BYTES_MAX
                && name.starts_with("abcdefghi.")
                && name.ends_with("email.example.com")
        );
    }
}
