//! SPF records (RFC 7208 §4.6, §5, §6, §12): one text, read whole before anything is evaluated. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::macros::{MacroString, Place};
use crate::AuthResult;

/// A record that is right by the grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) directives: Vec<Directive>,
    pub(super) redirect: Option<MacroString>,
    pub(super) explanation: Option<MacroString>,
}

/// A mechanism with its qualifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    /// The result where the mechanism matches.
    pub(super) result: AuthResult,
    pub(super) mechanism: Mechanism,
    /// As it stands in the record.
    pub(super) text: String,
}

/// RFC 7208 §5. A missing domain-spec is the domain that is being judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mechanism {
    All,
    Include(MacroString),
    Address(Option<MacroString>, Prefixes),
    Mx(Option<MacroString>, Prefixes),
    Ptr(Option<MacroString>),
    Network(IpAddr, u8),
    Exists(MacroString),
}

/// How many leading bits of an address count, by family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefixes {
    pub(super) v4: u8,
    pub(super) v6: u8,
}

/// Whether a TXT record is an SPF record of this version (RFC 7208 §4.5).
pub(super) fn is_spf(text: &[u8]) -> bool {
    let Some((version, rest)) = text.split_at_checked(6) else { return false };
    version.eq_ignore_ascii_case(b"v=spf1") && matches!(rest.first(), None | Some(b' '))
}

impl Record {
    /// Reads a text for which [`is_spf`] holds.
    ///
    /// # Errors
    /// The term that is wrong (RFC 7208 §4.6: a mistake anywhere is `permerror`).
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let printable = text.iter().all(|octet| matches!(octet, b' '..=b'~'));
        let text = std::str::from_utf8(text).ok().filter(|_| printable);
        let text = text.ok_or("the record has characters other than printable ASCII")?;
        let mut record = Self { directives: Vec::new(), redirect: None, explanation: None };
        for term in text.split(' ').skip(1).filter(|term| !term.is_empty()) {
            record.term(term).ok_or_else(|| format!("the record has a mistake in `{term}`"))?;
        }
        Ok(record)
    }

    fn term(&mut self, term: &str) -> Option<()> {
        let end = term.find([':', '/', '=']).unwrap_or(term.len());
        let (name, rest) = term.split_at_checked(end)?;
        if let Some(value) = rest.strip_prefix('=') {
            return self.modifier(name, value);
        }
        let (result, name) = qualified(name);
        let mechanism = mechanism(&name.to_ascii_lowercase(), rest)?;
        self.directives.push(Directive { result, mechanism, text: term.to_owned() });
        Some(())
    }

    /// RFC 7208 §6: redirect and exp once each; modifiers that nobody knows are ignored.
    fn modifier(&mut self, name: &str, value: &str) -> Option<()> {
        if !name.starts_with(|c: char| c.is_ascii_alphabetic())
            || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        {
            return None;
        }
        let known = match name.to_ascii_lowercase().as_str() {
            "redirect" => &mut self.redirect,
            "exp" => &mut self.explanation,
            _ => return MacroString::parse(value, Place::Record).map(|_| ()),
        };
        known.replace(MacroString::parse_domain(value)?).is_none().then_some(())
    }
}

fn qualified(name: &str) -> (AuthResult, &str) {
    let rest = name.get(1..).unwrap_or_default();
    match name.chars().next() {
        Some('+') => (AuthResult::Pass, rest),
        Some('-') => (AuthResult::Fail, rest),
        Some('~') => (AuthResult::SoftFail, rest),
        Some('?') => (AuthResult::Neutral, rest),
        _ => (AuthResult::Pass, name),
    }
}

/// `rest` is empty or begins with `:` or `/`.
fn mechanism(name: &str, rest: &str) -> Option<Mechanism> {
    let argument = rest.strip_prefix(':');
    match name {
        "all" => rest.is_empty().then_some(Mechanism::All),
        "include" => MacroString::parse_domain(argument?).map(Mechanism::Include),
        "exists" => MacroString::parse_domain(argument?).map(Mechanism::Exists),
        "ptr" if rest.is_empty() => Some(Mechanism::Ptr(None)),
        "ptr" => MacroString::parse_domain(argument?).map(|domain| Mechanism::Ptr(Some(domain))),
        "a" => domain_and_prefixes(rest).map(|(domain, prefixes)| Mechanism::Address(domain, prefixes)),
        "mx" => domain_and_prefixes(rest).map(|(domain, prefixes)| Mechanism::Mx(domain, prefixes)),
        "ip4" => network(argument?, |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4), 32),
        "ip6" => network(argument?, |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6), 128),
        _ => None,
    }
}

fn network(text: &str, address: impl Fn(&str) -> Option<IpAddr>, bits_max: u8) -> Option<Mechanism> {
    let (text, bits) = match text.split_once('/') {
        Some((text, bits)) => (text, bits_of(bits, bits_max)?),
        None => (text, bits_max),
    };
    Some(Mechanism::Network(address(text)?, bits))
}

/// RFC 7208 §5.3: `[":" domain-spec] [dual-cidr-length]`. A domain-spec may have slashes itself, so the end is read first.
fn domain_and_prefixes(rest: &str) -> Option<(Option<MacroString>, Prefixes)> {
    let mut prefixes = Prefixes { v4: 32, v6: 128 };
    let mut head = rest;
    if let Some((before, bits)) = split_bits(head, "//") {
        prefixes.v6 = bits_of(bits, 128)?;
        head = before;
    }
    if let Some((before, bits)) = split_bits(head, "/") {
        prefixes.v4 = bits_of(bits, 32)?;
        head = before;
    }
    match head.strip_prefix(':') {
        Some(domain) => Some((Some(MacroString::parse_domain(domain)?), prefixes)),
        None => head.is_empty().then_some((None, prefixes)),
    }
}

/// What stands before and after the last `mark`, where digits follow it to the end.
fn split_bits<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let (before, bits) = text.rsplit_once(mark)?;
    (!bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit())).then_some((before, bits))
}

/// RFC 7208 §5.6: `0`, or digits that do not begin with one.
fn bits_of(text: &str, max: u8) -> Option<u8> {
    let shape = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    text.parse::<u8>().ok().filter(|bits| shape && *bits <= max)
}

/// Whether two addresses agree in their leading bits; never across families.
pub(super) fn same_network(one: IpAddr, other: IpAddr, bits: u8) -> bool {
    let shift = |width: u32| width.saturating_sub(u32::from(bits));
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            (one.to_bits() ^ other.to_bits()).checked_shr(shift(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            (one.to_bits() ^ other.to_bits()).checked_shr(shift(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_spf_record() {
        for yes in ["v=spf1", "v=spf1 ", "V=SPF1 -all"] {
            assert!(is_spf(yes.as_bytes()), "{yes}");
        }
        for no in ["", "v=spf", "v=spf10 -all", "v=spf1\t-all", " v=spf1", "spf2.0/pra"] {
            assert!(!is_spf(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn records_that_are_right() {
        for terms in [
            "",
            "-all",
            "?ALL",
            "a",
            "a/24",
            "a//64",
            "a/24//64",
            "a:b.c/0//0",
            "mx:b.c/24",
            "ptr",
            "ptr:b.c",
            "ip4:192.0.2.0/24",
            "ip6:2001:db8::/32",
            "ip6:::1",
            "exists:%{ir}.b.c",
            "include:b.c",
            "redirect=b.c",
            "exp=%{d}.b.c",
            "unknown=anything:goes/%{d}",
            "moo.cow-far_out=x",
            "a:x/y.c",
            "a:b:c.d",
            "  -all  ",
        ] {
            assert!(Record::parse(format!("v=spf1 {terms}").as_bytes()).is_ok(), "{terms}");
        }
        let record = Record::parse(b"v=spf1 ~MX/25 -all redirect=b.c").unwrap();
        let results: Vec<_> = record.directives.iter().map(|d| (d.result, d.text.as_str())).collect();
        assert_eq!(results, [(AuthResult::SoftFail, "~MX/25"), (AuthResult::Fail, "-all")]);
    }

    #[test]
    fn records_that_are_wrong() {
        for terms in [
            "all:b.c",
            "all/8",
            "a:",
            "a/33",
            "a/024",
            "a//129",
            "a/24/64",
            "a/",
            "a:b",
            "mx:",
            "ptr:",
            "ptr/24",
            "include",
            "include:",
            "exists",
            "exists:b.c/24",
            "ip4",
            "ip4:192.0.2.0/33",
            "ip4:192.0.2",
            "ip4:192.0.2.0//24",
            "ip4:2001:db8::1",
            "ip6:192.0.2.1",
            "ip6:2001:db8::/129",
            "ip6:2001:db8::/",
            "redirect=",
            "redirect=b.c redirect=d.e",
            "exp=b.c exp=b.c",
            "exp=b",
            "=b.c",
            "1a=b",
            "gone",
            "--all",
            "un%known=x",
            "u=%x",
            "a:b.c\u{e9}",
            "-all\u{7f}",
        ] {
            let parsed = Record::parse(format!("v=spf1 {terms}").as_bytes());
            assert!(parsed.is_err(), "{terms}: {parsed:?}");
        }
    }

    #[test]
    fn networks() {
        let same =
            |one: &str, other: &str, bits| same_network(one.parse().unwrap(), other.parse().unwrap(), bits);
        assert!(same("192.0.2.1", "192.0.2.255", 24) && !same("192.0.2.1", "192.0.3.1", 24));
        assert!(same("192.0.2.1", "8.8.8.8", 0) && !same("192.0.2.1", "192.0.2.2", 32));
        assert!(same("2001:db8::1", "2001:db8::ffff", 112) && same("::1", "2001::", 0));
        assert!(!same("::", "0.0.0.0", 0));
    }
}
