//! The DNS records that a domain needs for mail, as lines of a zone file.

use std::fmt::Write as _;
use std::net::{IpAddr, UdpSocket};

use ::config::Loaded;
use msgauth::dkim::KeyStore;
use net::ListenerKind;

use super::{Plan, port_of};
use crate::commands::dkim;

/// All records, with a comment each. Addresses are this host's own where they are public, else a hint.
pub(super) fn zone(plan: &Plan, loaded: &Loaded) -> Result<String, Box<dyn std::error::Error>> {
    let (domain, hostname) = (&plan.domain, &loaded.config.hostname);
    let mut text = String::new();
    let mut say = |record: String, comment: &str| {
        let _ = writeln!(text, "  ; {comment}\n  {record}");
    };
    let addresses = own_addresses();
    for address in &addresses {
        let kind = if address.is_ipv4() { "A" } else { "AAAA" };
        say(
            format!("{hostname}. IN {kind} {address}"),
            "this host; let its provider point the address back (PTR) to this name",
        );
    }
    if addresses.is_empty() {
        let words =
            "put this host's public address in; let its provider point the address back (PTR) to this name";
        say(format!("{hostname}. IN A 192.0.2.1"), words);
    }
    // RFC 5321 §5.1
    say(format!("{domain}. IN MX 10 {hostname}."), "mail for the domain goes to this host");
    // RFC 7208
    say(
        format!("{domain}. IN TXT \"v=spf1 mx -all\""),
        "SPF: mail from the domain comes from this host alone",
    );
    for record in KeyStore::open(&dkim::folder(loaded))?.dns_records(domain) {
        say(record.to_string(), "DKIM: the key that mail from the domain is signed with");
    }
    // RFC 7489 §6.3
    let policy = format!("_dmarc.{domain}. IN TXT \"v=DMARC1; p=none; rua=mailto:postmaster@{domain}\"");
    say(policy, "DMARC: reports first; p=quarantine or p=reject when they show nothing amiss");
    // RFC 8314 §5.1
    if let Some(port) = port_of(loaded, ListenerKind::Submissions) {
        let record = format!("_submissions._tcp.{domain}. IN SRV 0 1 {port} {hostname}.");
        say(record, "where mail programs find the server for outgoing mail");
    }
    Ok(text)
}

/// The addresses from which this host reaches the world, if they are public. No packet is sent: connecting a datagram
/// socket only asks the routing table.
fn own_addresses() -> Vec<IpAddr> {
    let source = |local: &str, far: &str| {
        let socket = UdpSocket::bind(local).ok()?;
        socket.connect(far).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    let all = [source("0.0.0.0:0", "192.0.2.1:9"), source("[::]:0", "[2001:db8::1]:9")];
    all.into_iter().flatten().filter(is_public).collect()
}

/// Neither private (RFC 1918, RFC 4193, RFC 6598), nor of this host or link alone, nor for documentation.
fn is_public(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let shared = first == 100 && (64..128).contains(&second);
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_documentation()
                || v4.is_unspecified()
                || shared)
        }
        IpAddr::V6(v6) => {
            v6.segments().first().is_some_and(|first| first & 0xe000 == 0x2000) && !is_documentation(*v6)
        }
    }
}

/// RFC 3849.
fn is_documentation(address: std::net::Ipv6Addr) -> bool {
    address.segments().starts_with(&[0x2001, 0x0db8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_the_world_can_reach_are_published() {
        for address in ["8.8.8.8", "2a01:4f8::1"] {
            assert!(is_public(&address.parse().unwrap()), "{address}");
        }
        for address in [
            "10.1.2.3",
            "172.17.0.2",
            "192.168.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "192.0.2.1",
            "::1",
            "fe80::1",
            "fd00::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(&address.parse().unwrap()), "{address}");
        }
    }
}
