//! Links in what people read, with the domain that each leads to.
//!
//! In plain text they are what begins with a scheme or with `www.`; in HTML what an element leads to, and what its text
//! looks like. Nothing is fetched. A host is a name in the form that DNS knows (RFC 5890), or an address, however it is
//! written.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use memchr::memmem;

use super::html::Html;

/// Links of a message.
pub const LINKS_MAX: usize = 500;
/// Longest link that is kept, in octets; the rest of a longer one is left out.
pub const URL_BYTES_MAX: usize = 1_024;

/// Suffixes of the list that names of files have too.
const FILE_ENDINGS: [&str; 12] = ["zip", "mov", "sh", "py", "pl", "md", "rs", "ps", "so", "ai", "cab", "app"];

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Link {
    /// As it is written, cut to [`URL_BYTES_MAX`].
    pub url: String,
    /// Where it leads.
    pub host: Host,
    /// The host that its text shows, when it shows one; only in HTML.
    pub shown: Option<Host>,
}

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A name in lower case, with `xn--` where it has letters that are not ASCII; more than a public suffix.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl Host {
    /// The part that belongs to one organisation, by the list of public suffixes; none for an address.
    #[must_use]
    pub fn registrable(&self) -> Option<&str> {
        match self {
            Self::Name(name) => psl::domain_str(name),
            Self::Address(_) => None,
        }
    }

    /// The host that a link leads to, when it is a link to a host.
    #[must_use]
    pub fn of_url(url: &str) -> Option<Self> {
        let rest = match url.split_once("://") {
            Some((scheme, rest)) if is_web(scheme.trim()) => rest,
            Some(_) => return None,
            None => url.strip_prefix("//").or_else(|| starts_with_www(url).then_some(url))?,
        };
        Self::at(rest.trim_start_matches(['/', '\\']))
    }

    /// The host that a text names without a scheme. Names of files look like names of hosts: only what ends in a suffix
    /// that is in the list, and not as files do, is one.
    fn bare(text: &str) -> Option<Self> {
        let found = Self::at(text)?;
        let Self::Name(name) = &found else { return Some(found) };
        let is_known = psl::suffix(name.as_bytes()).is_some_and(|suffix| suffix.is_known());
        let ending = name.rsplit('.').next().unwrap_or_default();
        (is_known && !FILE_ENDINGS.contains(&ending)).then_some(found)
    }

    /// The host at the beginning of what stands behind a scheme.
    fn at(rest: &str) -> Option<Self> {
        let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
        let authority = rest.get(..end)?;
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if let Some(inside) = host.strip_prefix('[') {
            let address = inside.split_once(']')?.0.parse().ok()?;
            return Some(Self::Address(mail::canonical_ip(IpAddr::V6(address))));
        }
        Self::named(host.split(':').next()?)
    }

    fn named(host: &str) -> Option<Self> {
        let host = unescaped(host);
        let host = host.trim_end_matches(['.', ',', ';', '!', ')', '\'', '"', '*']);
        if host.is_empty() || host.len() > 253 {
            return None;
        }
        if let Some(address) = address(host) {
            return Some(Self::Address(address.into()));
        }
        let name =
            if host.is_ascii() { host.to_ascii_lowercase() } else { idna::domain_to_ascii(host).ok()? };
        let plain = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if !name.contains('.') || !name.split('.').all(plain) {
            return None;
        }
        psl::domain_str(&name)?;
        Some(Self::Name(name))
    }
}

/// `%41` in the name of a host is `A` to mail programs.
fn unescaped(host: &str) -> String {
    if !host.contains('%') {
        return host.to_owned();
    }
    let mut out = Vec::with_capacity(host.len());
    let mut rest = host.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits =
            behind.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let octet = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(octet.unwrap_or(*first));
        rest = if octet.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An IPv4 address as browsers take it: `192.0.2.1`, `3221225985`, `0xc0000201`, `192.0.513`, `0300.0.2.1`.
fn address(host: &str) -> Option<Ipv4Addr> {
    if !host.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let number = |part: &str| {
        let lower = part.to_ascii_lowercase();
        if let Some(digits) = lower.strip_prefix("0x") {
            u64::from_str_radix(digits, 16).ok()
        } else if part.len() > 1 && part.starts_with('0') {
            u64::from_str_radix(part, 8).ok()
        } else {
            part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten()
        }
    };
    let parts = host.split('.').take(5).map(number).collect::<Option<Vec<u64>>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 255) {
        return None;
    }
    // The last part fills what is left.
    let bits = 8 * (4 - u32::try_from(first.len()).ok()?);
    let all = first.iter().fold(0_u64, |all, part| (all << 8) | part);
    (*last < 1_u64 << bits)
        .then(|| (all << bits) | last)
        .and_then(|all| u32::try_from(all).ok())
        .map(Ipv4Addr::from)
}

fn is_web(scheme: &str) -> bool {
    ["http", "https", "ftp"].iter().any(|web| scheme.eq_ignore_ascii_case(web))
}

fn starts_with_www(text: &str) -> bool {
    text.as_bytes().get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"www."))
}

/// Collects the links of a message.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    links: Vec<Link>,
    seen: HashSet<Link>,
    is_cut: bool,
}

impl Gathering {
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    pub(super) fn finish(self) -> Vec<Link> {
        self.links
    }

    /// Links of plain text.
    pub(super) fn text(&mut self, text: &str) {
        for url in urls(text) {
            if self.is_cut {
                break;
            }
            self.put(url, None);
        }
    }

    /// Links of HTML, and those that stand in its text.
    pub(super) fn html(&mut self, html: &Html) {
        self.is_cut |= html.is_cut;
        for anchor in &html.links {
            self.put(&anchor.href, shown(&anchor.text));
        }
        self.text(&html.text);
    }

    fn put(&mut self, url: &str, shown: Option<Host>) {
        // White space within is taken out by mail programs.
        let url: String = url.chars().filter(|c| !c.is_control()).collect();
        let Some(host) = Host::of_url(url.trim()) else { return };
        let url = url.get(..url.floor_char_boundary(URL_BYTES_MAX)).unwrap_or_default().trim().to_owned();
        if self.links.len() >= LINKS_MAX {
            self.is_cut = true;
            return;
        }
        let link = Link { url, host, shown };
        if self.seen.insert(link.clone()) {
            self.links.push(link);
        }
    }
}

/// The host that the text of a link shows: a link, or a name alone, and nothing else.
fn shown(text: &str) -> Option<Host> {
    let text = text.trim().trim_matches(['<', '>', '"', '\'', '(', ')', '[', ']']);
    if text.is_empty()
        || text.len() > URL_BYTES_MAX
        || text.contains(char::is_whitespace)
        || text.contains('@')
    {
        return None;
    }
    Host::of_url(text).or_else(|| if text.contains("://") { None } else { Host::bare(text) })
}

/// What begins like a link, as long as it may be one.
fn urls(text: &str) -> impl Iterator<Item = &str> {
    let schemes = memmem::find_iter(text.as_bytes(), b"://").filter_map(move |at| {
        let before = text.as_bytes().get(at.saturating_sub(5)..at)?;
        let letters = before.iter().rev().take_while(|b| b.is_ascii_alphabetic()).count();
        let scheme = text.get(at - letters..at)?;
        // `xhttp://` is one too: what stands before it is no matter of the link.
        let scheme = ["https", "http", "ftp"].into_iter().find(|web| {
            let start = scheme.len().checked_sub(web.len());
            start.and_then(|start| scheme.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(web))
        })?;
        Some(at - scheme.len())
    });
    let names = memmem::find_iter(text.as_bytes(), b".").filter_map(move |at| {
        let start = at.checked_sub(3)?;
        let before = start.checked_sub(1).and_then(|before| text.as_bytes().get(before));
        let is_word = before.is_some_and(|b| b.is_ascii_alphanumeric() || b"/.-_@".contains(b));
        (!is_word && text.get(start..).is_some_and(starts_with_www)).then_some(start)
    });
    schemes.chain(names).filter_map(move |start| {
        let rest = text.get(start..)?;
        let rest = rest.get(..rest.floor_char_boundary(2 * URL_BYTES_MAX))?;
        let end = rest
            .find(|c: char| c.is_whitespace() || c.is_control() || "\"<>`".contains(c))
            .unwrap_or(rest.len());
        rest.get(..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(url: &str) -> String {
        match Host::of_url(url) {
            Some(Host::Name(name)) => name,
            Some(Host::Address(address)) => format!("[{address}]"),
            None => "none".to_owned(),
        }
    }

    #[test]
    fn hosts_are_found_however_they_are_written() {
        for (url, want) in [
            ("http://www.Example.COM/path", "www.example.com"),
            ("HTTPS://user:pw@example.co.uk:8443?x", "example.co.uk"),
            ("http://good.example@evil.example.org/", "evil.example.org"),
            ("http:\\\\example.com", "none"),
            ("http:///example.com", "example.com"),
            ("//example.com/x", "example.com"),
            ("www.example.com", "www.example.com"),
            ("http://example.com./", "example.com"),
            ("http://ex%61mple.com", "example.com"),
            ("http://b\u{fc}cher.example.com", "xn--bcher-kva.example.com"),
            ("http://192.0.2.1/x", "[192.0.2.1]"),
            ("http://3221225985/x", "[192.0.2.1]"),
            ("http://0xc0000201", "[192.0.2.1]"),
            ("http://0300.0.01.1", "[192.0.1.1]"),
            ("http://[2001:db8::1]:80/", "[2001:db8::1]"),
            ("mailto:joe@example.com", "none"),
            ("cid:part1", "none"),
            ("http://localhost/", "none"),
            ("http://com/", "none"),
            ("http://a.no-such-suffix-there/", "a.no-such-suffix-there"),
            ("#top", "none"),
        ] {
            assert_eq!(host(url), want, "{url}");
        }
    }

    #[test]
    fn links_stand_in_text() {
        let text = "See http://a.example.com/x, (https://b.example.com). www.c.example.com and mail.www.example.com ftp://d.example.com";
        let mut all = Gathering::default();
        all.text(text);
        let hosts: Vec<_> = all.finish().into_iter().map(|link| link.host).collect();
        let want = ["a.example.com", "b.example.com", "d.example.com", "www.c.example.com"];
        assert_eq!(hosts, want.map(|name| Host::Name(name.to_owned())));
    }

    #[test]
    fn the_text_of_a_link_may_show_another_host() {
        let host = |name: &str| Some(Host::Name(name.to_owned()));
        assert_eq!(shown(" https://bank.example.com/login "), host("bank.example.com"));
        assert_eq!(shown("bank.example.com"), host("bank.example.com"));
        assert_eq!(shown("<www.bank.example.com>"), host("www.bank.example.com"));
        for none in
            ["Click here", "readme.txt", "invoice.zip", "joe@example.com", "", "example", "see example.com"]
        {
            assert_eq!(shown(none), None, "{none}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_searched(text in "(http|https|ftp|www|://|\\.|[a-z0-9@:/?#%\\[\\] é\n]){0,40}") {
            let mut all = Gathering::default();
            all.text(&text);
            proptest::prop_assert!(all.finish().len() <= LINKS_MAX);
        }
    }
}
