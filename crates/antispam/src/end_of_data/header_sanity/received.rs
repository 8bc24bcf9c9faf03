//! Received fields that somebody made up to look as if we had had the letter before (RFC 5321 §4.4).
//!
//! Letters that really come back to us (from a list, a forwarder) hold Received fields of ours, and of servers that had
//! them from us. So only two things are told: that the topmost field, which the client itself should have written, was
//! written in our name; and that somebody by our name was seen at an address that is not ours, without its reverse name
//! being ours either.

use std::net::IpAddr;

use mail::{Domain, canonical_ip};

use crate::helo::claim::Ours;

/// Received fields that are looked at.
pub(super) const FIELDS_MAX: usize = 100;

/// Why a Received field, on one line, cannot be true; none when it may be.
pub(super) fn forged(text: &str, is_top: bool, ours: &Ours, local: Option<IpAddr>) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().take(64).collect();
    let behind = |keyword: &str| -> Option<&str> {
        let place = words.iter().position(|word| word.eq_ignore_ascii_case(keyword))?;
        words.get(place + 1).copied()
    };
    if is_top && let Some(by) = behind("by").filter(|by| is_ours(by, ours)) {
        return Some(format!("the topmost Received is by {by}, which is us"));
    }
    let (from, rest) = from_part(text)?;
    let name = said_name(from, rest).filter(|name| is_ours(name, ours))?;
    let comment = comment(rest)?;
    // Exim writes an address without a name in the name's place.
    let seen: Vec<IpAddr> = addresses(from).chain(addresses(comment)).collect();
    let is_us =
        |address: &IpAddr| Some(*address) == local || ours.addresses.contains(address) || is_inside(*address);
    if seen.is_empty() || seen.iter().any(is_us) {
        return None;
    }
    // `(name [address])`: the name is what reverse DNS said, to somebody who asked.
    let reverse = comment.split(['[', ' ', '(']).next().unwrap_or_default();
    if is_ours(reverse.trim_end_matches('.'), ours) {
        return None;
    }
    let address = seen.first()?;
    Some(format!("a Received is from {name} at {address}, which is not us"))
}

/// The word behind `from`, and what follows up to `by`.
fn from_part(text: &str) -> Option<(&str, &str)> {
    let (keyword, rest) = text.trim_start().split_once(char::is_whitespace)?;
    if !keyword.eq_ignore_ascii_case("from") {
        return None;
    }
    let rest = rest.trim_start();
    let end = rest.to_ascii_lowercase().find(" by ").unwrap_or(rest.len());
    let part = rest.get(..end)?;
    Some(part.split_once(char::is_whitespace).unwrap_or((part, "")))
}

/// What the peer called itself: in the comment where that tells of HELO, else the word behind `from`.
fn said_name<'a>(from: &'a str, rest: &'a str) -> Option<&'a str> {
    let lower = rest.to_ascii_lowercase();
    for mark in ["helo=", "ehlo=", "helo ", "ehlo "] {
        if let Some(place) = lower.find(mark) {
            let name = rest.get(place + mark.len()..)?;
            return name.split([' ', ')', '(', '[', ']', ';']).find(|word| !word.is_empty());
        }
    }
    Some(from)
}

/// What stands in the first parentheses, or all of it where another one follows directly: `(HELO x) (1.2.3.4)`.
fn comment(rest: &str) -> Option<&str> {
    let (_, inside) = rest.split_once('(')?;
    Some(inside)
}

fn addresses(comment: &str) -> impl Iterator<Item = IpAddr> + '_ {
    let parts = comment.split(|c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':'));
    parts
        .filter(|part| part.contains('.') || part.contains("::") || part.matches(':').count() == 7)
        .filter_map(|part| part.trim_matches(':').parse().or_else(|_| part.parse()).ok().map(canonical_ip))
}

/// Addresses that others use within their own walls say nothing.
fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local()
        }
    }
}

/// A name without a domain, or one that every host has, is nobody's: half of the world's desks are `localhost`, and a server
/// that was never told its own name is as well.
fn is_ours(name: &str, ours: &Ours) -> bool {
    let name = name.trim_matches(['.', ';', ',']);
    let is_anybodys = |name: &Domain| {
        let name = name.as_str();
        !name.contains('.') || name.starts_with("localhost.") || name.ends_with(".localhost")
    };
    Domain::parse(name).is_ok_and(|name| !is_anybodys(&name) && ours.names.contains(&name))
}
