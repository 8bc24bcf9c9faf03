//! Asking DNS lists (RFC 5782): addresses with the time they may be kept, and failures in fixed words.
//!
//! A list's name can hold a customer's key, and the library's words for a failure hold the name that was asked for; so
//! nothing of what was asked comes back from here. Keeps nothing itself: a resolver that asks lists is best given
//! [`DnsSettings::cache_entries_max`](super::DnsSettings) 0 and a cache above it that can forget a list.

use std::net::Ipv4Addr;
use std::time::Duration;

use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::{Absence, DnsAnswer, Kind, Resolver, classify};

/// A records that are read of one answer; further ones are left out. Lists have a dozen codes at most.
pub const LIST_RECORDS_MAX: usize = 64;

/// What a list says about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListAnswer {
    /// Its A records, at least one.
    Found {
        /// All of them, up to [`LIST_RECORDS_MAX`].
        addresses: Vec<Ipv4Addr>,
        /// The shortest time to live of those.
        ttl: Duration,
    },
    /// NXDOMAIN or NODATA: not listed.
    Absent {
        /// How long that holds, by the SOA (RFC 2308 §5); zero without one.
        ttl: Duration,
    },
    /// Nobody knows.
    Failed(ListFailure),
}

/// Why nobody knows, in words without names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListFailure {
    /// The text asked for cannot be a name.
    NoName,
    /// SERVFAIL.
    ServFail,
    /// REFUSED.
    Refused,
    /// No answer in time.
    Silent,
    /// Another response code, a referral, or no connection.
    Other,
}

impl ListFailure {
    /// A few words for logs and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoName => "not a name",
            Self::ServFail => "SERVFAIL",
            Self::Refused => "REFUSED",
            Self::Silent => "no answer in time",
            Self::Other => "no usable answer",
        }
    }
}

impl Resolver {
    /// The A records of a list's name. A final dot is added where there is none: there is no search list.
    pub async fn list(&self, name: &str) -> ListAnswer {
        let Ok(mut name) = Name::from_ascii(name) else { return ListAnswer::Failed(ListFailure::NoName) };
        name.set_fqdn(true);
        let asked = self.any_server(&name, RecordType::A);
        let answer = match tokio::time::timeout(self.lookup_time_max, asked).await {
            Err(_) => ListAnswer::Failed(ListFailure::Silent),
            Ok(Err(error)) => absent_or_failed(&error),
            Ok(Ok(found)) => {
                let of_type = found.answers().iter().filter_map(|record| match record.data {
                    RData::A(address) => Some((address.0, record.ttl)),
                    _ => None,
                });
                let (addresses, ttls): (Vec<_>, Vec<_>) = of_type.take(LIST_RECORDS_MAX).unzip();
                let ttl = Duration::from_secs(ttls.into_iter().min().unwrap_or_default().into());
                if addresses.is_empty() {
                    ListAnswer::Absent { ttl: Duration::ZERO }
                } else {
                    ListAnswer::Found { addresses, ttl }
                }
            }
        };
        self.figures.count(Kind::Address, &as_figure(&answer));
        answer
    }
}

fn absent_or_failed(error: &NetError) -> ListAnswer {
    match classify(error) {
        Absence::NoName | Absence::NoData | Absence::Unproven => {
            let seconds = match error {
                NetError::Dns(DnsError::NoRecordsFound(none)) => none.negative_ttl.unwrap_or_default(),
                _ => 0,
            };
            ListAnswer::Absent { ttl: Duration::from_secs(seconds.into()) }
        }
        Absence::None => ListAnswer::Failed(match error {
            NetError::Timeout => ListFailure::Silent,
            NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => ListFailure::ServFail,
            NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => ListFailure::Refused,
            NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
                ResponseCode::ServFail => ListFailure::ServFail,
                ResponseCode::Refused => ListFailure::Refused,
                _ => ListFailure::Other,
            },
            _ => ListFailure::Other,
        }),
    }
}

fn as_figure(answer: &ListAnswer) -> DnsAnswer<()> {
    match answer {
        ListAnswer::Found { .. } => DnsAnswer::Found(()),
        ListAnswer::Absent { .. } => DnsAnswer::NoName,
        ListAnswer::Failed(_) => DnsAnswer::Failed(String::new()),
    }
}
