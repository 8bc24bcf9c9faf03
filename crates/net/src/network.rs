//! Networks in CIDR notation, and lists of them: who may relay, who must speak PROXY, who is counted together.
//!
//! Addresses are compared in canonical form, so that an IPv4 client on a dual-stack socket is an IPv4 client
//! (`::ffff:192.0.2.1` is in `192.0.2.0/24`). Never resolves names. A text that is no network is a [`NetworkError`]
//! which says what to write instead. Notation: RFC 4632 §3.1, RFC 4291 §2.3.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use mail::canonical_ip;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A network: an address and how many of its leading bits count.
///
/// Host bits are zero and IPv4-mapped IPv6 networks of /96 and longer are IPv4 networks, so that equal networks
/// are equal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// The part before the slash is no IP address.
    #[error(
        "`{0}` is not an IP network: write an address such as 192.0.2.7 or a network such as 192.0.2.0/24"
    )]
    Address(String),
    /// The part after the slash is no prefix length of that family.
    #[error("`{0}` has no valid prefix length: IPv4 takes /0 to /32, IPv6 /0 to /128")]
    Prefix(String),
    /// Bits after the prefix are set: probably a mistake in one of the two.
    #[error("`{text}` has address bits after its prefix: write {meant}")]
    HostBits {
        /// What was written.
        text: String,
        /// The network that contains it.
        meant: Network,
    },
}

impl Network {
    /// The network of `prefix` bits around an address; further bits are dropped. `None` when the prefix is too long.
    #[must_use]
    pub fn around(address: IpAddr, prefix: u8) -> Option<Self> {
        match address {
            IpAddr::V4(v4) => v4_network(v4, prefix),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) if (96..=128).contains(&prefix) => v4_network(v4, prefix - 96),
                _ => v6_network(v6, prefix),
            },
        }
    }

    /// The network of one address alone.
    #[must_use]
    pub fn single(address: IpAddr) -> Self {
        let address = canonical_ip(address);
        Self { address, prefix: bits_of(address) }
    }

    /// Whether an address, in any of its forms, lies in this network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, canonical_ip(address)) {
            (IpAddr::V4(mine), IpAddr::V4(other)) => same_bits_v4(mine, other, self.prefix),
            (IpAddr::V6(mine), IpAddr::V6(other)) => same_bits_v6(mine, other, self.prefix),
            // ::/0 is every IPv6 client, and an IPv4 client is none of them.
            _ => false,
        }
    }

    /// The network's first address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits count: 0 to 32, or 0 to 128.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether it holds more than anyone should trust by network alone: wider than /8, or /32 for IPv6.
    #[must_use]
    pub fn is_too_wide_to_trust(&self) -> bool {
        self.prefix < if self.address.is_ipv4() { 8 } else { 32 }
    }
}

fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn v4_network(address: Ipv4Addr, prefix: u8) -> Option<Network> {
    let kept = mask_v4(prefix)? & u32::from(address);
    Some(Network { address: IpAddr::V4(Ipv4Addr::from(kept)), prefix })
}

fn v6_network(address: Ipv6Addr, prefix: u8) -> Option<Network> {
    let kept = mask_v6(prefix)? & u128::from(address);
    Some(Network { address: IpAddr::V6(Ipv6Addr::from(kept)), prefix })
}

fn mask_v4(prefix: u8) -> Option<u32> {
    (prefix <= 32).then(|| u32::MAX.checked_shl(u32::from(32 - prefix)).unwrap_or(0))
}

fn mask_v6(prefix: u8) -> Option<u128> {
    (prefix <= 128).then(|| u128::MAX.checked_shl(u32::from(128 - prefix)).unwrap_or(0))
}

fn same_bits_v4(one: Ipv4Addr, other: Ipv4Addr, prefix: u8) -> bool {
    mask_v4(prefix).is_some_and(|mask| (u32::from(one) ^ u32::from(other)) & mask == 0)
}

fn same_bits_v6(one: Ipv6Addr, other: Ipv6Addr, prefix: u8) -> bool {
    mask_v6(prefix).is_some_and(|mask| (u128::from(one) ^ u128::from(other)) & mask == 0)
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        // Postfix writes IPv6 networks in brackets: [2001:db8::]/32.
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let address: IpAddr = bare.parse().map_err(|_| NetworkError::Address(text.to_owned()))?;
        let Some(prefix) = prefix else { return Ok(Self::single(address)) };
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: u8 = prefix
            .parse()
            .ok()
            .filter(|bits| digits && *bits <= bits_of(address))
            .ok_or_else(|| NetworkError::Prefix(text.to_owned()))?;
        let network = Self::around(address, prefix).ok_or_else(|| NetworkError::Prefix(text.to_owned()))?;
        if network.address == canonical_ip(address) {
            Ok(network)
        } else {
            Err(NetworkError::HostBits { text: text.to_owned(), meant: network })
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;
    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

/// A list of networks. An empty one contains nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// Whether an address, in any of its forms, lies in one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = canonical_ip(address);
        self.0.iter().any(|network| network.contains(address))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them, as written.
    pub fn iter(&self) -> impl Iterator<Item = &Network> {
        self.0.iter()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn contains_goes_by_the_prefix_in_both_families_and_in_mapped_form() {
        for (net, address, inside) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.0/24", "::ffff:192.0.2.9", true),
            ("192.0.2.0/31", "192.0.2.1", true),
            ("192.0.2.0/31", "192.0.2.2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "::ffff:192.0.2.9", false),
            ("2001:db8::/32", "2001:db8:ffff::", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("[2001:db8::]/33", "2001:db8:8000::", false),
            ("::1", "::1", true),
            ("::ffff:10.0.0.0/104", "10.9.9.9", true),
        ] {
            assert_eq!(network(net).contains(address.parse().unwrap()), inside, "{net} {address}");
        }
    }

    #[test]
    fn what_it_prints_it_parses_back() {
        for text in ["192.0.2.0/24", "10.0.0.0/8", "2001:db8::/32", "::1/128", "0.0.0.0/0", "::/0"] {
            assert_eq!(network(text).to_string(), text);
            assert_eq!(network(&network(text).to_string()), network(text));
        }
        assert_eq!(network("::ffff:10.0.0.0/104"), network("10.0.0.0/8"));
        assert_eq!(network("192.0.2.7").to_string(), "192.0.2.7/32");
    }

    #[test]
    fn what_is_no_network_is_told_what_to_write() {
        for (text, words) in [
            ("localhost", "not an IP network"),
            ("10.0.0/8", "not an IP network"),
            ("10.0.0.0/33", "/0 to /32"),
            ("10.0.0.0/", "prefix length"),
            ("10.0.0.0/+8", "prefix length"),
            ("::/129", "prefix length"),
            ("192.0.2.7/24", "write 192.0.2.0/24"),
            ("2001:db8::1/64", "write 2001:db8::/64"),
        ] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(text), "{text}: {error}");
        }
    }

    #[test]
    fn too_wide_is_wider_than_8_or_32() {
        for (text, wide) in
            [("10.0.0.0/8", false), ("10.0.0.0/7", true), ("2001:db8::/32", false), ("::/0", true)]
        {
            assert_eq!(network(text).is_too_wide_to_trust(), wide, "{text}");
        }
    }

    #[test]
    fn a_list_contains_what_one_of_them_contains_and_an_empty_one_nothing() {
        let list: Networks = ["127.0.0.0/8", "::1"].iter().map(|text| network(text)).collect();
        assert!(list.contains("::ffff:127.0.0.1".parse().unwrap()));
        assert!(list.contains("::1".parse().unwrap()));
        assert!(!list.contains("192.0.2.1".parse().unwrap()));
        assert!(!Networks::default().contains("127.0.0.1".parse().unwrap()));
    }
}
