//! Where a scanner listens: `unix:/path`, `192.0.2.7:3310`, `[::1]:3310` or `scanner.example.test:3310`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use mail::Domain;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An address of a stream socket, or of a datagram one where a protocol has it so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Address {
    /// A socket in the file system; its absolute path.
    Unix(PathBuf),
    /// A host, an address as a literal, and a port.
    Inet(Domain, u16),
}

/// The text is no address of a scanner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address of a scanner: write unix:/absolute/path, 192.0.2.7:port, [2001:db8::7]:port or host:port"
)]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Unix(path)) } else { Err(wrong()) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|inside| inside.strip_suffix(']'));
        // A bare IPv6 address would swallow its port.
        let domain = match bare.unwrap_or(host).parse() {
            Ok(ip @ std::net::IpAddr::V6(_)) if bare.is_some() => Domain::from_ip(ip),
            Ok(ip @ std::net::IpAddr::V4(_)) => Domain::from_ip(ip),
            Ok(_) => return Err(wrong()),
            Err(_) => Domain::parse(host).map_err(|_| wrong())?,
        };
        Ok(Self::Inet(domain, port))
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inet(host, port) => match host.literal() {
                Some(ip) => std::net::SocketAddr::new(ip, *port).fmt(f),
                None => write!(f, "{host}:{port}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_hosts_are_read_and_written_alike() {
        for text in [
            "unix:/run/clamav/clamd.ctl",
            "127.0.0.1:3310",
            "[::1]:783",
            "scanner.example.test:11333",
            "localhost:1",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "unix:relative",
            "/run/x",
            "127.0.0.1",
            "::1:783",
            "host:",
            "host:0",
            "host:99999",
            ":1",
            "a b:1",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.to_string().contains("write unix:"), "{text}: {error}");
        }
    }
}
