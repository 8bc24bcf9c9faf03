//! The PROXY protocol, versions 1 and 2: who the client behind a load balancer is.
//!
//! Reads exactly the header and not one octet more, within a time and a size. What is said is believed, so it is only
//! to be called for peers that the configuration trusts with it. `UNKNOWN` (v1), `LOCAL` and `UNSPEC` (v2), and
//! socket families other than TCP over IP give no source: the connection itself counts. Anything else that is no
//! header is a [`ProxyError`], after which the connection is to be closed without a word (the specification, §2).
//! Specification: "The PROXY protocol", HAProxy, 2020.

use std::net::SocketAddr;
use std::time::Duration;

use proxy_header::{ParseConfig, ProxyHeader as Parsed};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::listener::canonical;

/// What every version 2 header begins with (specification §2.2).
const SIGNATURE_V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const PREFIX_V2: usize = 16;
/// Longest version 1 line with its CRLF (specification §2.1).
const LINE_V1_MAX: usize = 107;

/// Bounds of reading a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyLimits {
    /// Until the whole header is there. 5 seconds: it is the first thing a load balancer sends.
    pub time_max: Duration,
    /// Octets of a version 2 header with its extensions. 2,048.
    pub header_bytes_max: usize,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        Self { time_max: Duration::from_secs(5), header_bytes_max: 2_048 }
    }
}

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The client, canonical; `None` when the proxy speaks for itself (a health check).
    pub source: Option<SocketAddr>,
    /// The address the client connected to, canonical.
    pub destination: Option<SocketAddr>,
}

/// Why there is no header: the peer's doing. The connection is to be closed.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Not a PROXY header, or a broken one.
    #[error("the connection does not begin with a valid PROXY header")]
    Malformed,
    /// Longer than allowed.
    #[error("the PROXY header is longer than {0} octets")]
    TooLong(usize),
    /// Not complete in time.
    #[error("no PROXY header came in time")]
    TimedOut,
    /// The connection ended or broke first.
    #[error("the connection ended before its PROXY header: {0}")]
    Io(#[from] std::io::Error),
}

/// Reads the header that a connection must begin with.
///
/// # Errors
/// [`ProxyError`]: close the connection.
pub async fn read_header<S>(stream: &mut S, limits: ProxyLimits) -> Result<ProxyHeader, ProxyError>
where
    S: AsyncRead + Unpin,
{
    match timeout(limits.time_max, read(stream, limits.header_bytes_max)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ProxyError::TimedOut),
    }
}

/// Whether the first octets of a connection are a PROXY header, which from an untrusted peer is to be refused.
///
/// `PROXY` is no SMTP verb and the other form no text at all, so there is nothing else it could be.
#[must_use]
pub fn begins_like_header(octets: &[u8]) -> bool {
    octets.starts_with(b"PROXY ") || octets.starts_with(SIGNATURE_V2)
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S, bytes_max: usize) -> Result<ProxyHeader, ProxyError> {
    // Both versions are longer than this: the shortest is "PROXY UNKNOWN" CRLF.
    let mut start = [0; SIGNATURE_V2.len()];
    stream.read_exact(&mut start).await?;
    let header = if start == *SIGNATURE_V2 {
        read_v2(stream, start.to_vec(), bytes_max).await?
    } else if start.starts_with(b"PROXY ") {
        read_v1(stream, start.to_vec()).await?
    } else {
        return Err(ProxyError::Malformed);
    };
    interpret(&header)
}

async fn read_v2<S>(stream: &mut S, mut header: Vec<u8>, bytes_max: usize) -> Result<Vec<u8>, ProxyError>
where
    S: AsyncRead + Unpin,
{
    let mut rest = [0; PREFIX_V2 - SIGNATURE_V2.len()];
    stream.read_exact(&mut rest).await?;
    header.extend_from_slice(&rest);
    let [_, _, high, low] = rest;
    let whole = PREFIX_V2 + usize::from(u16::from_be_bytes([high, low]));
    if whole > bytes_max {
        return Err(ProxyError::TooLong(bytes_max));
    }
    header.resize(whole, 0);
    let body = header.get_mut(PREFIX_V2..).unwrap_or_default();
    stream.read_exact(body).await?;
    Ok(header)
}

/// Octet by octet: the line's length is not known, and what follows it is the session's.
async fn read_v1<S: AsyncRead + Unpin>(stream: &mut S, mut header: Vec<u8>) -> Result<Vec<u8>, ProxyError> {
    while !header.ends_with(b"\n") {
        if header.len() == LINE_V1_MAX {
            return Err(ProxyError::TooLong(LINE_V1_MAX));
        }
        header.push(stream.read_u8().await?);
    }
    if header.ends_with(b"\r\n") { Ok(header) } else { Err(ProxyError::Malformed) }
}

fn interpret(header: &[u8]) -> Result<ProxyHeader, ProxyError> {
    // The library takes any text after UNKNOWN, as the specification demands, and reads only whole headers.
    let (parsed, used) = Parsed::parse(header, ParseConfig::default()).map_err(|_| ProxyError::Malformed)?;
    if used != header.len() {
        return Err(ProxyError::Malformed);
    }
    let address =
        parsed.proxied_address().filter(|address| address.protocol == proxy_header::Protocol::Stream);
    Ok(ProxyHeader {
        source: address.map(|address| canonical(address.source)),
        destination: address.map(|address| canonical(address.destination)),
    })
}

#[cfg(test)]
mod tests;
