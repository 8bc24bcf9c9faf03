//! From a host as written to the addresses to call, in order (RFC 5321 §5.1, RFC 7505).
//!
//! Hosts in order of preference, equal ones shuffled, the address families taking turns. Where we are in the MX set
//! ourselves, we and all that are not preferred to us are left out. Only a true NXDOMAIN or NODATA is an absence; a look-up
//! that fails is tried again later. Literals never cause a look-up.

use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, SocketAddr};

use mail::{Domain, Reply};
use net::{DnsAnswer, Exchange, Mx, Resolver};

use super::hello::{Candidate, Place};
use mail::next_hop::Host;

/// Who we are, to find ourselves in an MX set.
#[derive(Debug, Clone, Default)]
pub struct Ourselves {
    /// Our names: the host name.
    pub names: Vec<Domain>,
    /// Addresses that lead to us whatever the port (`outbound.own_addresses`).
    pub addresses: Vec<IpAddr>,
    /// What we listen on; an unspecified address stands for all of this machine's.
    pub listening: Vec<SocketAddr>,
}

/// No address to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoHost {
    pub(crate) reply: Reply,
    /// DNS gave no answer: later.
    pub(crate) is_transient: bool,
}

/// Finds the addresses of a next hop.
#[derive(Debug)]
pub(crate) struct Finder {
    pub(crate) resolver: Resolver,
    pub(crate) ourselves: Ourselves,
    /// The addresses of this machine's interfaces.
    pub(crate) interfaces: Vec<IpAddr>,
    pub(crate) addresses_max: usize,
}

impl Finder {
    /// The addresses to call, at most `addresses_max`, never none.
    pub(crate) async fn find(&self, host: &Host, port: u16) -> Result<Vec<Candidate>, NoHost> {
        let candidate = |name: String, ip: &IpAddr| Candidate { name, place: Place::Tcp((*ip, port).into()) };
        let mut found = match host {
            Host::Address(ip) => vec![candidate(ip.to_string(), ip)],
            Host::Exact(name) => {
                let addresses = self.addresses(name).await?;
                taking_turns(addresses).iter().map(|ip| candidate(name.to_string(), ip)).collect()
            }
            Host::ByMx(domain) => match domain.literal() {
                Some(ip) if self.is_ours(ip, port) => return Err(loops(domain)),
                Some(ip) => vec![candidate(ip.to_string(), &ip)],
                None => self.by_mx(domain, port).await?,
            },
        };
        found.truncate(self.addresses_max.max(1));
        Ok(found)
    }

    async fn addresses(&self, name: &Domain) -> Result<Vec<IpAddr>, NoHost> {
        match self.resolver.addresses(name).await {
            DnsAnswer::Found(addresses) => Ok(addresses),
            DnsAnswer::Failed(why) => Err(unknown(&why)),
            DnsAnswer::NoName | DnsAnswer::NoData => Err(NoHost {
                reply: Reply::new(550, (5, 4, 4), format!("the host {name} has no address in DNS")),
                is_transient: false,
            }),
        }
    }

    async fn by_mx(&self, domain: &Domain, port: u16) -> Result<Vec<Candidate>, NoHost> {
        match self.resolver.mx(domain).await {
            DnsAnswer::Found(records) => self.by_records(domain, &records, port).await,
            // RFC 5321 §5.1: no MX at all, so the domain is its own with preference 0.
            DnsAnswer::NoData => {
                let implicit = Mx { preference: 0, exchange: Exchange::Host(domain.clone()) };
                self.by_records(domain, &[implicit], port).await
            }
            DnsAnswer::NoName => Err(NoHost {
                reply: Reply::new(550, (5, 1, 2), format!("the domain {domain} does not exist")),
                is_transient: false,
            }),
            DnsAnswer::Failed(why) => Err(unknown(&why)),
        }
    }

    async fn by_records(&self, domain: &Domain, records: &[Mx], port: u16) -> Result<Vec<Candidate>, NoHost> {
        // RFC 7505 §3: the root alone says that the domain takes no mail; beside others it is a mistake.
        if records.iter().all(|record| record.exchange == Exchange::Null) {
            let words = format!("the domain {domain} does not accept mail (null MX)");
            return Err(NoHost { reply: Reply::new(556, (5, 1, 10), words), is_transient: false });
        }
        let mut found: Vec<Candidate> = Vec::new();
        let mut failed = None;
        for level in records.chunk_by(|one, next| one.preference == next.preference) {
            let Some(mut level) = self.level(level, port, &mut failed).await else {
                // RFC 5321 §5.1: we and what is not preferred to us are left out, or mail would go in a circle.
                if found.is_empty() && failed.is_none() {
                    return Err(loops(domain));
                }
                break;
            };
            level.retain(|candidate| found.iter().all(|other| other.place != candidate.place));
            found.extend(level);
            if found.len() >= self.addresses_max {
                break;
            }
        }
        match (found.is_empty(), failed) {
            (false, _) => Ok(found),
            (true, Some(why)) => Err(unknown(&why)),
            (true, None) => Err(NoHost {
                reply: Reply::new(
                    550,
                    (5, 4, 4),
                    format!("no mail exchanger of {domain} has an address in DNS"),
                ),
                is_transient: false,
            }),
        }
    }

    /// The hosts of one preference, shuffled (RFC 5321 §5.1). `None`: we are among them.
    async fn level(&self, level: &[Mx], port: u16, failed: &mut Option<String>) -> Option<Vec<Candidate>> {
        let mut hosts: Vec<&Domain> = Vec::new();
        for record in level {
            if let Exchange::Host(name) = &record.exchange {
                if self.ourselves.names.contains(name) {
                    return None;
                }
                hosts.push(name);
            }
        }
        shuffle(&mut hosts);
        let mut all: Vec<(&Domain, IpAddr)> = Vec::new();
        for name in hosts {
            match self.resolver.addresses(name).await {
                DnsAnswer::Found(addresses) if addresses.iter().any(|ip| self.is_ours(*ip, port)) => {
                    return None;
                }
                DnsAnswer::Found(addresses) => all.extend(addresses.into_iter().map(|ip| (name, ip))),
                DnsAnswer::Failed(why) => *failed = Some(why),
                DnsAnswer::NoName | DnsAnswer::NoData => {}
            }
        }
        let (v6, v4): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, ip)| ip.is_ipv6());
        let place = |ip| Place::Tcp(SocketAddr::new(ip, port));
        let turns = alternate(v6, v4).into_iter();
        Some(turns.map(|(name, ip)| Candidate { name: name.to_string(), place: place(ip) }).collect())
    }

    fn is_ours(&self, ip: IpAddr, port: u16) -> bool {
        let on_this_machine = || ip.is_loopback() || self.interfaces.contains(&ip);
        self.ourselves.addresses.contains(&ip)
            || self
                .ourselves
                .listening
                .iter()
                .filter(|own| own.port() == port)
                .any(|own| own.ip() == ip || (own.ip().is_unspecified() && on_this_machine()))
    }
}

fn taking_turns(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (v6, v4) = addresses.into_iter().partition(IpAddr::is_ipv6);
    alternate(v6, v4)
}

/// One of each in turn, so that a family that is dead here costs one attempt, not all.
fn alternate<T>(one: Vec<T>, other: Vec<T>) -> Vec<T> {
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut all = Vec::new();
    loop {
        let pair = (one.next(), other.next());
        if pair.0.is_none() && pair.1.is_none() {
            return all;
        }
        all.extend(pair.0);
        all.extend(pair.1);
    }
}

/// Fisher and Yates, with the randomness of the standard library's hasher keys: load is spread, nothing is guarded.
fn shuffle<T>(list: &mut [T]) {
    for i in (1..list.len()).rev() {
        let random = std::hash::RandomState::new().build_hasher().finish();
        let j = usize::try_from(random % (i as u64 + 1)).unwrap_or(0);
        list.swap(i, j);
    }
}

fn loops(domain: &Domain) -> NoHost {
    let words = format!("mail for {domain} would come back to this server");
    NoHost { reply: Reply::new(550, (5, 4, 6), words), is_transient: false }
}

fn unknown(why: &str) -> NoHost {
    NoHost { reply: Reply::new(451, (4, 4, 3), format!("DNS gave no answer: {why}")), is_transient: true }
}

/// The addresses of this machine's interfaces; none when the kernel does not say.
#[must_use]
pub fn interface_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let ip = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    interfaces.filter_map(ip).map(mail::canonical_ip).collect()
}
