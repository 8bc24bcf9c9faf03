//! Who is at the other end: client addresses in one form, and the network they are counted by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address a client is known by everywhere: IPv4 on a dual-stack socket (`::ffff:192.0.2.1`) is IPv4.
///
/// Called once at accept and once after PROXY; every list, table and key sees the result.
#[must_use]
pub fn canonical_ip(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The network that limits count by: /24 for IPv4, /64 for IPv6. One holder rarely has less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientNetwork(IpAddr);

impl ClientNetwork {
    /// The network of a canonical address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match canonical_ip(address) {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4) & 0xffff_ff00)),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) >> 64 << 64)),
        })
    }
}

impl std::fmt::Display for ClientNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.0, if self.0.is_ipv4() { 24 } else { 64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_ipv4_is_ipv4_and_networks_are_24_and_64() {
        let network = |text: &str| ClientNetwork::of(text.parse().unwrap()).to_string();
        assert_eq!(network("::ffff:192.0.2.77"), "192.0.2.0/24");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
    }
}
