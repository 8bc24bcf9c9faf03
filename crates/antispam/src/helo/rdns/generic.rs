//! Whether a host's name is one that a provider gives to its customers' lines by the thousand. Pure.
//!
//! Two kinds of evidence: the address is in the name (decimal, joined, padded, hexadecimal, in any order), or a label
//! says how the line is given out (`dyn`, `dsl`, `pool`, …). A word counts only as a whole part of a label and never in
//! the two labels that are somebody's own name: `mail.pool-supplies.com` sells pools. Words that mean a server
//! (`static`, `mail`, `mx`) speak against.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a name looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// Somebody has chosen it.
    Chosen,
    /// Made by a rule, for a line that stays with its customer.
    Generic,
    /// Made by a rule, for a line that changes its customer.
    Dynamic,
}

/// Parts of a label that say that the address changes hands.
const DYNAMIC: &[&str] = &[
    "dyn",
    "dynamic",
    "dynamicip",
    "dynip",
    "dhcp",
    "dial",
    "dialup",
    "dialin",
    "dip",
    "pool",
    "pools",
    "ppp",
    "pppoe",
    "adsl",
    "vdsl",
    "xdsl",
    "dsl",
    "cable",
    "cablemodem",
    "catv",
    "hfc",
    "docsis",
    "modem",
    "mobile",
    "wireless",
    "gprs",
    "umts",
    "lte",
    "customer",
    "customers",
    "cust",
    "client",
    "clients",
    "subscriber",
    "res",
    "residential",
    "broadband",
    "bb",
    "fttx",
    "ftth",
    "wifi",
    "hsd",
];
/// Of these, those that are no more than a hint: without the address in the name they say nothing.
const HINTS: &[&str] = &[
    "customer",
    "customers",
    "cust",
    "client",
    "clients",
    "mobile",
    "wireless",
    "res",
    "bb",
    "lte",
    "dial",
    "dip",
    "pool",
    "pools",
    "modem",
    "cable",
    "wifi",
    "hsd",
];
/// Parts of a label that say that a server is there, or that the line stays.
const STEADY: &[&str] = &[
    "static",
    "stat",
    "fixed",
    "fix",
    "mail",
    "mailer",
    "mailout",
    "mta",
    "mx",
    "smtp",
    "smtpout",
    "out",
    "outbound",
    "relay",
    "server",
    "srv",
    "vps",
    "colo",
    "business",
    "biz",
    "dedicated",
    "cloud",
    "email",
];

/// Judges the name that leads back to `address`.
#[must_use]
pub fn look(name: &str, address: IpAddr) -> Look {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let labels: Vec<&str> = name.split('.').collect();
    let own = labels.get(..labels.len().saturating_sub(registered(&name))).unwrap_or_default();
    let address_in = holds_address(&own.join("."), mail::canonical_ip(address));
    let mut words = own.iter().flat_map(|label| words_of(label));
    let has = |list: &[&str]| own.iter().flat_map(|label| words_of(label)).any(|word| list.contains(&word));
    let steady = has(STEADY);
    let dynamic = words.any(|word| DYNAMIC.contains(&word) && (address_in || !HINTS.contains(&word)));
    match (dynamic, address_in, steady) {
        (true, _, false) => Look::Dynamic,
        // `static.dsl…` and `mail.dyn…`: half of each.
        (true, true, true) | (_, true, _) => Look::Generic,
        _ => Look::Chosen,
    }
}

/// Labels at the end that somebody has registered. What providers have put on the list of public suffixes for their own
/// customers is not meant: `192-0-2-1.compute.example` would be a registration.
fn registered(name: &str) -> usize {
    let suffix = psl::suffix(name.as_bytes()).filter(|suffix| suffix.typ() == Some(psl::Type::Icann));
    let dots = suffix.map_or(0, |suffix| suffix.as_bytes().iter().filter(|byte| **byte == b'.').count());
    dots + 2
}

/// `adsl-12a` has the words `adsl` and `a`; digits and signs part words.
fn words_of(label: &str) -> impl Iterator<Item = &str> {
    label.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty())
}

fn holds_address(labels: &str, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => holds_v4(labels, v4),
        IpAddr::V6(v6) => holds_v6(labels, v6),
    }
}

/// All four octets as numbers in this or reverse order, or three neighbours of them, or all run together.
fn holds_v4(labels: &str, address: Ipv4Addr) -> bool {
    let octets = address.octets();
    let mut reversed = octets;
    reversed.reverse();
    let numbers: Vec<Option<u8>> = labels
        .split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().ok())
        .collect();
    let run = |wanted: &[u8]| {
        numbers.windows(wanted.len()).any(|found| found.iter().zip(wanted).all(|(f, w)| *f == Some(*w)))
    };
    [octets, reversed].iter().any(|order| {
        // Three of four are enough: the first often is in the labels of the network. Small numbers may be chance.
        let telling = |part: &[u8]| part.iter().filter(|octet| **octet > 9).count() >= 2;
        order.windows(3).any(|part| telling(part) && run(part)) || run(order) || holds_joined(labels, *order)
    })
}

/// `192000002001`, `c0000201`, `3221225985`, and `1920.002.001`, without signs between.
fn holds_joined(labels: &str, octets: [u8; 4]) -> bool {
    let [a, b, c, d] = octets;
    let padded = format!("{a:03}{b:03}{c:03}{d:03}");
    let hex = format!("{a:02x}{b:02x}{c:02x}{d:02x}");
    let number = u32::from_be_bytes(octets).to_string();
    let runs = |text: &str, is_part: fn(&char) -> bool, wanted: &str| {
        text.split(|c: char| !is_part(&c))
            .any(|run| run == wanted || run.ends_with(wanted) && wanted.len() == 8)
    };
    let digits: fn(&char) -> bool = char::is_ascii_digit;
    let hexadecimal: fn(&char) -> bool = char::is_ascii_hexdigit;
    runs(labels, digits, &padded)
        || runs(labels, digits, &number)
        || runs(labels, hexadecimal, &hex)
        || runs(&labels.replace(['-', '.'], ""), digits, &padded)
        || pieces(labels) == [format!("{a:02x}"), format!("{b:02x}"), format!("{c:02x}"), format!("{d:02x}")]
}

/// The first four parts of a label with two hexadecimal digits each: `c0-00-02-01`.
fn pieces(labels: &str) -> Vec<String> {
    let parts = labels.split(['-', '.']).filter(|part| part.len() == 2);
    parts.filter(|part| part.bytes().all(|b| b.is_ascii_hexdigit())).take(4).map(str::to_owned).collect()
}

/// The last 64 bits, or all of them, as hexadecimal digits with or without signs between, in this or reverse order.
fn holds_v6(labels: &str, address: Ipv6Addr) -> bool {
    let full: String = address.octets().iter().map(|octet| format!("{octet:02x}")).collect();
    let plain: String = labels.chars().filter(char::is_ascii_hexdigit).collect();
    let (network, host) = full.split_at(16);
    let backwards: String = full.chars().rev().collect();
    let signed = labels
        .replace('.', "-")
        .split('-')
        .filter_map(|part| u16::from_str_radix(part, 16).ok())
        .collect::<Vec<_>>();
    let segments = address.segments();
    let written: Vec<u16> = segments.into_iter().filter(|segment| *segment != 0).collect();
    let host_bits = host.trim_start_matches('0');
    [full.as_str(), &backwards, network].iter().any(|wanted| plain.contains(*wanted))
        || host_bits.len() >= 8 && plain.contains(host_bits)
        || written.len() >= 3 && signed.windows(written.len()).any(|found| found == written)
        || written.len() >= 4
            && signed
                .iter()
                .filter(|part| **part != 0)
                .copied()
                .collect::<Vec<_>>()
                .windows(4)
                .any(|found| written.windows(4).any(|wanted| wanted == found))
}

#[cfg(test)]
mod tests;
