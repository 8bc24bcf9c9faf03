//! Who is at the other end, and in which role we stand towards them. Facts that are given, never looked up.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a listener is for; it decides the greeting, the verbs and the rules about content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Mail exchanger, port 25: strangers bring mail for us (RFC 5321).
    Mx,
    /// Submission with STARTTLS, port 587 (RFC 6409).
    Submission,
    /// Submission over implicit TLS, port 465 (RFC 8314 §3.3).
    Submissions,
    /// LMTP: LHLO, and a reply per recipient after the end of data (RFC 2033).
    Lmtp,
    /// A program on this machine over a socket that tells who it runs as.
    Local,
}

/// Whether a listener offers AUTH, and whether mail is taken without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuthPolicy {
    /// AUTH is not offered.
    Off,
    /// AUTH is offered, under TLS only; strangers may still bring mail for us.
    Optional,
    /// No transaction without AUTH, and no AUTH without TLS.
    Required,
}

/// What TLS agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo {
    /// Protocol version as people write it, such as `TLSv1.3`.
    pub version: String,
    /// Cipher suite by its registered name.
    pub cipher: String,
    /// The server name the client asked for.
    pub sni: Option<String>,
    /// The `tls-exporter` channel binding (RFC 9266 §2), when the connection has one. Without it
    /// SCRAM-SHA-256-PLUS is not offered.
    pub channel_binding: Option<[u8; 32]>,
}

/// The peer of one session, and what the listener that took it allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// The client's address in canonical form ([`mail::canonical_ip`]), after PROXY.
    pub ip: IpAddr,
    /// The client's port.
    pub port: u16,
    /// Our end of the connection.
    pub local: SocketAddr,
    /// In a trusted network: bare newlines are mended instead of refused, and errors at RCPT are not counted.
    pub trusted: bool,
    /// Present when TLS is up before the greeting (Submissions).
    pub tls: Option<TlsInfo>,
    /// A certificate is there, so that STARTTLS can be offered.
    pub starttls: bool,
    /// The listener's rule about AUTH.
    pub auth: AuthPolicy,
    /// Somebody wants to hear of commands that are not known.
    pub tells_unknown: bool,
}

impl PeerInfo {
    /// A program on this machine: trusted, no TLS, no AUTH.
    #[must_use]
    pub fn on_this_machine() -> Self {
        let ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
        Self {
            ip,
            port: 0,
            local: SocketAddr::new(ip, 0),
            trusted: true,
            tls: None,
            starttls: false,
            auth: AuthPolicy::Off,
            tells_unknown: false,
        }
    }
}
