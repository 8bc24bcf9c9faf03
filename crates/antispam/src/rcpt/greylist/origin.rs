//! Who brings a letter, in the forms by which greylisting knows it again.
//!
//! Pure. The list of public suffixes is compiled in.

use std::fmt;
use std::str::FromStr;

use mail::{ClientNetwork, Domain};
use policy::AuthFacts;

/// Origins that one attempt has at most.
const ORIGINS_MAX: usize = 3;

/// One form of who brings a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A domain for whose sender SPF passes.
    Spf(Domain),
    /// The organisation of the client's name, which leads back to the client.
    Organisation(Domain),
    /// The client's /24 or /64.
    Network(ClientNetwork),
}

impl Origin {
    /// All forms for a client. `generic_name`: the client's name is one that providers give to whom they connect, so that
    /// it tells of no organisation. For the null sender, whose SPF is that of HELO, the network alone: the whole world has it.
    #[must_use]
    pub fn all(
        client: std::net::IpAddr,
        auth: &AuthFacts,
        null_sender: bool,
        generic_name: bool,
    ) -> Vec<Self> {
        let mut origins = Vec::with_capacity(ORIGINS_MAX);
        if !null_sender {
            let spf = auth.spf.as_ref().filter(|spf| spf.result.is_pass());
            origins.extend(spf.and_then(|spf| spf.domain.clone()).map(Self::Spf));
            let iprev = auth.iprev.as_ref().filter(|iprev| iprev.result.is_pass() && !generic_name);
            let name = iprev.and_then(|iprev| iprev.name.as_ref());
            origins.extend(name.and_then(organisation).map(Self::Organisation));
        }
        origins.push(Self::Network(ClientNetwork::of(client)));
        origins
    }

    /// All forms that an operator may mean by a domain, an address, or a network. `None` for a network of another size
    /// than those that clients are known by: it would be taken for one that it is not.
    #[must_use]
    pub fn named(text: &str) -> Option<Vec<Self>> {
        if let Ok(origin) = text.parse() {
            return Some(vec![origin]);
        }
        if let Some(network) = network(text) {
            return Some(vec![Self::Network(network)]);
        }
        let domain = Domain::parse(text).ok()?;
        Some(vec![Self::Spf(domain.clone()), Self::Organisation(domain)])
    }
}

/// The part of a name that somebody has registered: `example.co.uk` of `mx1.example.co.uk`.
#[must_use]
pub fn organisation(name: &Domain) -> Option<Domain> {
    psl::domain_str(name.as_str()).and_then(|registered| Domain::parse(registered).ok())
}

/// The network of an address, or the one that is written with its prefix length.
fn network(text: &str) -> Option<ClientNetwork> {
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let network = ClientNetwork::of(address.parse().ok()?);
    let own = network.to_string();
    let fits = length.is_none_or(|length| own.rsplit_once('/').is_some_and(|(_, own)| own == length));
    fits.then_some(network)
}

/// As it stands in keys and lists: `spf:example.org`, `name:example.org`, `net:192.0.2.0/24`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spf(domain) => write!(f, "spf:{domain}"),
            Self::Organisation(domain) => write!(f, "name:{domain}"),
            Self::Network(network) => write!(f, "net:{network}"),
        }
    }
}

/// The text is no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an origin is spf:DOMAIN, name:DOMAIN or net:ADDRESS")]
pub struct OriginError;

impl FromStr for Origin {
    type Err = OriginError;
    fn from_str(text: &str) -> Result<Self, OriginError> {
        let (kind, value) = text.split_once(':').ok_or(OriginError)?;
        let domain = || Domain::parse(value).map_err(|_| OriginError);
        match kind {
            "spf" => domain().map(Self::Spf),
            "name" => domain().map(Self::Organisation),
            "net" => network(value).map(Self::Network).ok_or(OriginError),
            _ => Err(OriginError),
        }
    }
}
