//! The default gateways of this host, from the kernel's routing tables.
//!
//! Behind a container's network or a NAT with hidden sources every client seems to be the gateway. Who trusts the
//! network it is in runs an open relay, which is why [`crate::checks`] asks here. Reads `/proc` only; what cannot be read
//! or understood counts as "no gateway", for this is advice and no protection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Every default gateway of both families.
pub(crate) fn default_gateways() -> Vec<IpAddr> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut all = from_ipv4_routes(&read("/proc/net/route"));
    all.extend(from_ipv6_routes(&read("/proc/net/ipv6_route")));
    all
}

/// `/proc/net/route`: interface, destination, gateway, … with addresses as hexadecimal numbers in the host's byte order.
fn from_ipv4_routes(text: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let destination = u32::from_str_radix(fields.next()?, 16).ok()?;
        let gateway = u32::from_str_radix(fields.next()?, 16).ok()?;
        let address = Ipv4Addr::from(gateway.to_ne_bytes());
        (destination == 0 && !address.is_unspecified()).then_some(IpAddr::V4(address))
    };
    text.lines().skip(1).filter_map(gateway).collect()
}

/// `/proc/net/ipv6_route`: destination, its prefix length, source, its prefix length, next hop, … in hexadecimal.
fn from_ipv6_routes(text: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let destination = u128::from_str_radix(fields.next()?, 16).ok()?;
        let prefix = u8::from_str_radix(fields.next()?, 16).ok()?;
        let next_hop = Ipv6Addr::from(u128::from_str_radix(fields.nth(2)?, 16).ok()?);
        (destination == 0 && prefix == 0 && !next_hop.is_unspecified()).then_some(IpAddr::V6(next_hop))
    };
    text.lines().filter_map(gateway).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_names_the_gateway() {
        let hex = format!("{:08X}", u32::from_ne_bytes([172, 17, 0, 1]));
        let text = format!(
            "Iface\tDestination\tGateway \tFlags\neth0\t00000000\t{hex}\t0003\t0\neth0\t000011AC\t00000000\t0001\t0\n"
        );
        assert_eq!(from_ipv4_routes(&text), vec!["172.17.0.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn the_ipv6_default_route_too() {
        let zero = "0".repeat(32);
        let text = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 0 0 00000003 eth0\n\
             fe80000000000000 40 {zero} 00 {zero} 00000100 0 0 1 eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo\n"
        );
        assert_eq!(from_ipv6_routes(&text), vec!["fe80::1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn nonsense_is_no_gateway() {
        for text in ["", "one line", "h\neth0 zz zz\n", "h\neth0\n"] {
            assert_eq!(from_ipv4_routes(text), Vec::<IpAddr>::new(), "{text}");
            assert_eq!(from_ipv6_routes(text), Vec::<IpAddr>::new(), "{text}");
        }
    }
}
