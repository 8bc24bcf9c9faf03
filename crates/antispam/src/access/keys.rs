//! In which order an access table is asked: access(5).
//!
//! Tables of patterns and networks are asked for the whole name or address, once and in the case it was written in. Others also for its parts, the longest
//! first. Postfix finds either `domain` or `.domain` for what is below a domain, by a setting; here both are tried, so that
//! files made for either work.

use std::net::IpAddr;

use mail::{Address, ReversePath};
use tables::{Spec, address::without_tag};

/// Most keys that one question makes; a longer name is asked for its nearest parents only.
pub const KEYS_MAX: usize = 64;

/// What stands for the null sender.
pub const NULL_SENDER: &str = "<>";
/// What stands for a client without a name that leads back to it.
pub const UNKNOWN_NAME: &str = "unknown";

/// Whether parts of a name are asked for too.
#[must_use]
pub const fn tries_parts(table: &Spec) -> bool {
    matches!(table, Spec::Text(_) | Spec::Inline(_) | Spec::Static(_))
}

/// Keys of a client's address: all of it, then without its last part, and so on.
///
/// An IPv6 address is shortened as it is written, at its colons: `2001:db8::1`, `2001:db8:`, `2001:db8`, `2001`.
#[must_use]
pub fn of_address(address: IpAddr, parts: bool) -> Vec<String> {
    let whole = address.to_string();
    let delimiter = if address.is_ipv4() { '.' } else { ':' };
    let mut keys = vec![whole.clone()];
    let mut rest = whole.as_str();
    while let Some((shorter, _)) =
        rest.rsplit_once(delimiter).filter(|(shorter, _)| parts && !shorter.is_empty())
    {
        keys.push(shorter.to_owned());
        rest = shorter;
    }
    keys
}

/// Keys of a host's name: all of it, then `.parent` and `parent` of each parent up to the top.
#[must_use]
pub fn of_name(name: &str, parts: bool) -> Vec<String> {
    if !parts {
        return Vec::from_iter((!name.is_empty()).then(|| name.to_owned()));
    }
    // A name in HELO may end in a dot, or be an address: those have no parents.
    let whole = name.strip_suffix('.').unwrap_or(name).to_lowercase();
    let is_address = whole.starts_with('[') || whole.parse::<IpAddr>().is_ok();
    let mut keys = vec![whole.clone()];
    if !is_address {
        keys.extend(parents(&whole));
    }
    keys.retain(|key| !key.is_empty());
    keys
}

/// Keys of a sender: as those of an address, and `<>` for the null sender.
#[must_use]
pub fn of_sender(sender: &ReversePath, delimiter: Option<char>, parts: bool) -> Vec<String> {
    match sender.mailbox() {
        None => vec![NULL_SENDER.to_owned()],
        Some(address) => of_mailbox(address, delimiter, parts),
    }
}

/// Keys of a mailbox: `user+tag@domain`, `user@domain`, the domain and its parents, `user+tag@`, `user@`.
#[must_use]
pub fn of_mailbox(address: &Address, delimiter: Option<char>, parts: bool) -> Vec<String> {
    if !parts {
        return vec![address.to_string()];
    }
    let bare = without_tag(address, delimiter);
    let mut keys = vec![address.to_string().to_lowercase()];
    keys.extend(bare.as_ref().map(|bare| bare.to_string().to_lowercase()));
    keys.extend(of_name(address.domain.as_str(), true));
    keys.push(format!("{}@", address.local).to_lowercase());
    keys.extend(bare.map(|bare| format!("{}@", bare.local).to_lowercase()));
    keys
}

fn parents(name: &str) -> impl Iterator<Item = String> {
    let dots = name.match_indices('.').map(|(at, _)| at).filter(|at| *at > 0);
    let both = dots.flat_map(|at| [name.get(at..), name.get(at + 1..)]);
    both.flatten().filter(|key| !key.is_empty() && *key != ".").map(ToOwned::to_owned).take(KEYS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_tried_from_the_longest_on() {
        let ip = |text: &str| of_address(text.parse().unwrap(), true);
        assert_eq!(ip("192.0.2.9"), ["192.0.2.9", "192.0.2", "192.0", "192"]);
        assert_eq!(ip("2001:db8::1"), ["2001:db8::1", "2001:db8:", "2001:db8", "2001"]);
        assert_eq!(ip("::1"), ["::1", ":"]);
        assert_eq!(
            of_name("Mx.A.Example.Test.", true),
            [
                "mx.a.example.test",
                ".a.example.test",
                "a.example.test",
                ".example.test",
                "example.test",
                ".test",
                "test"
            ]
        );
        for whole in ["[192.0.2.1]", "192.0.2.1", "localhost"] {
            assert_eq!(of_name(whole, true), [whole]);
        }
        assert_eq!(of_name("", true), Vec::<String>::new());
        assert!(of_name(&"a.".repeat(500), true).len() <= KEYS_MAX + 1);
    }

    #[test]
    fn mailboxes_are_tried_whole_then_by_domain_then_by_user() {
        let joe = Address::parse("Joe+Tag@Sub.a.Test").unwrap();
        assert_eq!(
            of_mailbox(&joe, Some('+'), true),
            [
                "joe+tag@sub.a.test",
                "joe@sub.a.test",
                "sub.a.test",
                ".a.test",
                "a.test",
                ".test",
                "test",
                "joe+tag@",
                "joe@"
            ]
        );
        assert_eq!(of_mailbox(&joe, None, true).last().map(String::as_str), Some("joe+tag@"));
        assert_eq!(of_sender(&ReversePath::Null, Some('+'), true), ["<>"]);
    }

    #[test]
    fn tables_of_patterns_are_asked_for_the_whole() {
        assert!(tries_parts(&Spec::Text("x".into())) && !tries_parts(&Spec::Cidr("x".into())));
        assert!(!tries_parts(&Spec::Pcre("x".into())) && !tries_parts(&Spec::Regexp("x".into())));
        assert_eq!(of_address("192.0.2.9".parse().unwrap(), false), ["192.0.2.9"]);
        assert_eq!(of_name("mx.a.test", false), ["mx.a.test"]);
        let joe = Address::parse("Joe+Tag@a.Test").unwrap();
        assert_eq!(of_mailbox(&joe, Some('+'), false), ["Joe+Tag@a.test"]);
    }
}
