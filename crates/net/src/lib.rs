//! The outside: resolver, TLS configuration and certificates, listeners, PROXY protocol, dialling.
//!
//! Everything here meets the network or a file that the administrator wrote, and hands the inside plain values:
//! [`DnsAnswer`], [`TlsInfo`], [`ProxyHeader`], an accepted or dialled socket with its addresses in canonical form.
//! It never speaks SMTP, decides no policy, and never calls the C library's name service (the program is linked
//! statically): names go through the resolver here.
//!
//! What a peer can cause is a value or a small error of its own ([`ProxyError`], [`DialError`]); what the
//! administrator or the system broke is [`TlsError`], [`ListenError`], [`ResolverError`] or [`NetworkError`], and
//! names the file or address and the remedy.

pub mod dial;
pub mod dns;
pub mod listener;
pub mod network;
pub mod proxy;
pub mod tls;

pub use dial::{DialError, DialSettings, dial};
pub use dns::{
    DnsAnswer, DnsName, DnsSettings, Exchange, Family, Heard, Mx, NameServer, Resolver, ResolverError,
};
pub use dns::{LIST_RECORDS_MAX, ListAnswer, ListFailure};
pub use listener::{Accepted, AuthPolicy, ListenError, ListenerKind, ListenerSettings};
pub use network::{Network, NetworkError, Networks};
pub use proxy::{ProxyError, ProxyHeader, ProxyLimits};
pub use tls::{ClientTls, ServerTls, TlsError, TlsInfo, TlsSettings, Verify};
