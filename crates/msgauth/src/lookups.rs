//! What verification asks of DNS: the shared resolver, under one limit of time.
//!
//! One [`Lookups`] serves all methods of a message (SPF, DKIM, ARC, DMARC, iprev) at once. When its time is up every
//! further question has failed, so that each method ends by itself, with a temporary error and never with an absence
//! (I9). Answers are kept by the resolver's own cache, whose size and times are bounded by `[dns]`.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use mail::Domain;
use net::{DnsAnswer, DnsName, Family, Resolver};
use tokio::time::{Instant, timeout_at};

/// The resolver, and until when it may be asked. Cheap to clone; clones share the limit.
#[derive(Debug, Clone)]
pub struct Lookups {
    resolver: Resolver,
    end: Instant,
}

impl Lookups {
    /// Questions to `resolver` that have `time_max` together, from now on; at most a day.
    #[must_use]
    pub fn new(resolver: &Resolver, time_max: Duration) -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self { resolver: resolver.clone(), end: Instant::now() + time_max.min(DAY) }
    }

    /// TXT records, octet for octet, each with its strings joined.
    pub(crate) async fn txt(&self, name: &DnsName) -> DnsAnswer<Vec<Vec<u8>>> {
        self.in_time(self.resolver.txt_octets(name)).await
    }

    /// Addresses of one family.
    pub(crate) async fn addresses(&self, name: &DnsName, family: Family) -> DnsAnswer<Vec<IpAddr>> {
        self.in_time(self.resolver.addresses_in(name, family)).await
    }

    /// Hosts that take a domain's mail; a null MX is the root.
    pub(crate) async fn mx(&self, name: &DnsName) -> DnsAnswer<Vec<DnsName>> {
        self.in_time(self.resolver.mx_names(name)).await
    }

    /// The names that an address claims.
    pub(crate) async fn ptr(&self, address: IpAddr) -> DnsAnswer<Vec<Domain>> {
        self.in_time(self.resolver.ptr(address)).await
    }

    async fn in_time<T>(&self, question: impl Future<Output = DnsAnswer<T>>) -> DnsAnswer<T> {
        timeout_at(self.end, question)
            .await
            .unwrap_or_else(|_| DnsAnswer::Failed("the time for all look-ups is used up".to_owned()))
    }
}
