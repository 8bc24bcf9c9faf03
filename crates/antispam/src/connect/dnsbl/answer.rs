//! What an answer of a DNS list means, and the names under which a list is asked (RFC 5782 §2.1, §2.4). Pure.
//!
//! Only true absence is "not listed". Codes by which lists say "you may not ask me" are never a listing: somebody would
//! be punished for the resolver's troubles.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use net::{ListAnswer, ListFailure};

use super::filter::ReplyFilter;

/// An answer, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Listed, under these codes, in ascending order and each once.
    Listed(Vec<Ipv4Addr>),
    /// The list vouches that it is not there.
    NotListed,
    /// No listing but a sign that the list cannot be used: this answer.
    Unusable(Ipv4Addr),
    /// Nobody knows.
    Unknown(ListFailure),
}

impl Verdict {
    /// Understands an answer. `errors` are the list's own codes for trouble, beside those of all lists.
    #[must_use]
    pub fn of(answer: &ListAnswer, errors: &[ReplyFilter]) -> Self {
        match answer {
            ListAnswer::Absent { .. } => Self::NotListed,
            ListAnswer::Failed(why) => Self::Unknown(*why),
            ListAnswer::Found { addresses, .. } => {
                let is_error =
                    |code: &&Ipv4Addr| is_error(**code) || errors.iter().any(|e| e.matches(**code));
                if let Some(code) = addresses.iter().find(is_error) {
                    return Self::Unusable(*code);
                }
                let mut codes = addresses.clone();
                codes.sort_unstable();
                codes.dedup();
                Self::Listed(codes)
            }
        }
    }
}

/// Shortest time that a listing is kept.
pub const LISTED_SECONDS_MIN: u64 = 60;
/// Longest time that any answer is kept.
pub const KEPT_SECONDS_MAX: u64 = 3_600;

/// How long an answer is kept: a listing by its time to live within bounds, an absence by the SOA of the list, anything
/// else not at all.
#[must_use]
pub fn kept_for(answer: &ListAnswer) -> Duration {
    let (shortest, longest) =
        (Duration::from_secs(LISTED_SECONDS_MIN), Duration::from_secs(KEPT_SECONDS_MAX));
    match answer {
        ListAnswer::Found { ttl, .. } => (*ttl).clamp(shortest, longest),
        ListAnswer::Absent { ttl } => (*ttl).min(longest),
        ListAnswer::Failed(_) => Duration::ZERO,
    }
}

/// Codes that no list uses for a listing.
///
/// 127.255.255.0/24: typing error in the name, open resolver, too many questions. 127.0.0.1: the bit by which bitmask
/// lists say "blocked"; RFC 5782 §2.1 advises against it as a listing. 127.0.0.255 and 127.0.1.255: refusals as well.
/// Outside of 127/8: somebody sells the domain, or answers for every name that is not there.
fn is_error(code: Ipv4Addr) -> bool {
    match code.octets() {
        [127, 255, 255, _] | [127, 0, 0, 1 | 255] | [127, 0, 1, 255] => true,
        [first, ..] => first != 127,
    }
}

/// The name under which `zone` knows an address: reversed octets or nibbles, with a final dot.
#[must_use]
pub fn question(address: IpAddr, zone: &str) -> String {
    let zone = zone.trim_end_matches('.');
    match mail::canonical_ip(address) {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.{zone}.")
        }
        IpAddr::V6(v6) => nibbles(v6, zone),
    }
}

fn nibbles(address: Ipv6Addr, zone: &str) -> String {
    let mut name = String::with_capacity(66 + zone.len());
    for octet in address.octets().iter().rev() {
        for nibble in [octet & 0xf, octet >> 4] {
            name.extend(char::from_digit(u32::from(nibble), 16));
            name.push('.');
        }
    }
    name.push_str(zone);
    name.push('.');
    name
}

/// What a list is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A client, canonical.
    Address(IpAddr),
    /// A domain, in lower case, as DNS has it; never an address, which lists of domains do not want to be asked about.
    Domain(String),
}

impl Subject {
    /// Which half of a list knows it.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::Address(address) => Family::of(*address),
            Self::Domain(_) => Family::Domain,
        }
    }

    /// The name under which `zone` knows it, with a final dot.
    #[must_use]
    pub fn question(&self, zone: &str) -> String {
        match self {
            Self::Address(address) => question(*address, zone),
            Self::Domain(domain) => format!("{domain}.{}.", zone.trim_end_matches('.')),
        }
    }
}

/// What a list is about, and the entries that prove it (RFC 5782 §5): the first must be listed, the second must not. They
/// are asked for as they stand: [`question`] would take the IPv6 forms for IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// 127.0.0.2 and 127.0.0.1.
    V4,
    /// `::FFFF:7F00:2` and `::FFFF:7F00:1`.
    V6,
    /// Domains: `TEST`, or what the list has in its place, and `INVALID`.
    Domain,
}

impl Family {
    /// The family of a canonical address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// For logs, status and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
            Self::Domain => "domain",
        }
    }

    /// The names to ask: the one that must be listed, the one that must not.
    #[must_use]
    pub fn probes(self, zone: &str, test_domain: &str) -> [String; 2] {
        let domains = [test_domain, "invalid"];
        let addresses = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::LOCALHOST];
        [0, 1]
            .map(|at: usize| match self {
                Self::V4 => addresses.get(at).map(|address| question((*address).into(), zone)),
                Self::V6 => addresses
                    .get(at)
                    .map(|address| nibbles(address.to_ipv6_mapped(), zone.trim_end_matches('.'))),
                Self::Domain => domains.get(at).map(|name| format!("{name}.{}.", zone.trim_end_matches('.'))),
            })
            .map(Option::unwrap_or_default)
    }
}

/// True for addresses that lists of the Internet know something about. Never asked: loopback, private (RFC 1918,
/// RFC 4193), shared (RFC 6598), link-local, multicast and reserved ones; a list learns our inside from such questions.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match mail::canonical_ip(address) {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let shared = first == 100 && (64..128).contains(&second);
            let special = v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_multicast();
            !(special || shared || first == 0 || first >= 240)
        }
        IpAddr::V6(v6) => {
            let special = v6.is_loopback() || v6.is_unspecified() || v6.is_multicast();
            !(special || v6.is_unique_local() || v6.is_unicast_link_local())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(codes: &[&str]) -> ListAnswer {
        let addresses = codes.iter().map(|code| code.parse().unwrap()).collect();
        ListAnswer::Found { addresses, ttl: Duration::from_secs(5) }
    }

    #[test]
    fn errors_are_no_listings() {
        for code in [
            "127.255.255.252",
            "127.255.255.254",
            "127.255.255.255",
            "127.0.0.1",
            "127.0.0.255",
            "127.0.1.255",
            "203.0.113.80",
            "0.0.0.0",
            "126.255.255.255",
            "128.0.0.2",
        ] {
            let address = code.parse().unwrap();
            assert_eq!(Verdict::of(&found(&[code]), &[]), Verdict::Unusable(address));
            assert_eq!(Verdict::of(&found(&["127.0.0.2", code]), &[]), Verdict::Unusable(address), "{code}");
        }
        let own: ReplyFilter = "127.0.0.9".parse().unwrap();
        let answer = Verdict::of(&found(&["127.0.0.9"]), &[own]);
        assert_eq!(answer, Verdict::Unusable(Ipv4Addr::new(127, 0, 0, 9)));
    }

    #[test]
    fn all_codes_are_read_once() {
        let codes = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<Ipv4Addr>>();
        let answer = Verdict::of(&found(&["127.0.0.10", "127.0.0.2", "127.0.0.4", "127.0.0.2"]), &[]);
        assert_eq!(answer, Verdict::Listed(codes(&["127.0.0.2", "127.0.0.4", "127.0.0.10"])));
    }

    #[test]
    fn what_is_not_known_is_no_absence() {
        for why in [ListFailure::ServFail, ListFailure::Refused, ListFailure::Silent, ListFailure::Other] {
            assert_eq!(Verdict::of(&ListAnswer::Failed(why), &[]), Verdict::Unknown(why));
        }
        assert_eq!(Verdict::of(&ListAnswer::Absent { ttl: Duration::ZERO }, &[]), Verdict::NotListed);
    }

    #[test]
    fn listings_are_kept_between_a_minute_and_an_hour() {
        let kept = |seconds| {
            let ttl = Duration::from_secs(seconds);
            let found = ListAnswer::Found { addresses: vec![Ipv4Addr::LOCALHOST], ttl };
            (kept_for(&found).as_secs(), kept_for(&ListAnswer::Absent { ttl }).as_secs())
        };
        assert_eq!([kept(0), kept(300), kept(86_400)], [(60, 0), (300, 300), (3600, 3600)]);
        assert_eq!(kept_for(&ListAnswer::Failed(ListFailure::Silent)), Duration::ZERO);
    }

    #[test]
    fn addresses_are_reversed_and_fully_qualified() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(question(ip("192.0.2.99"), "bl.test"), "99.2.0.192.bl.test.");
        assert_eq!(question(ip("::ffff:192.0.2.99"), "bl.test."), "99.2.0.192.bl.test.");
        // The example of RFC 5782 §2.4.
        assert_eq!(
            question(ip("2001:db8:1:2:3:4:567:89ab"), "ugly.example.com"),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ugly.example.com."
        );
    }

    #[test]
    fn the_test_entries_are_those_of_the_rfc() {
        assert_eq!(Family::V4.probes("bl.test", ""), ["2.0.0.127.bl.test.", "1.0.0.127.bl.test."]);
        let rest = "0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.test.";
        assert_eq!(Family::V6.probes("bl.test", ""), [format!("2.{rest}"), format!("1.{rest}")]);
        assert_eq!(Family::Domain.probes("uri.test.", "test"), ["test.uri.test.", "invalid.uri.test."]);
    }

    #[test]
    fn only_public_addresses_are_asked_about() {
        for yes in ["192.0.2.1", "100.128.0.1", "2001:db8::1", "::ffff:198.51.100.1", "172.32.0.1"] {
            assert!(is_public(yes.parse().unwrap()), "{yes}");
        }
        for no in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_public(no.parse().unwrap()), "{no}");
        }
    }
}
