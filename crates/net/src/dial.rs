//! Dialling: one connection to a host that has several addresses, without waiting long for the dead ones.
//!
//! Addresses are tried in the order given, the families taking turns, the next one starting while the last is still
//! silent (RFC 8305 §4, §5); the first connection wins and the others are dropped. Never resolves a name, never
//! tries more than [`DialSettings::addresses_max`]. When all fail, [`DialError`] has every address with its reason.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How connections to other hosts are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DialSettings {
    /// Seconds until one address counts as dead. 30, the time Postfix gives it.
    pub connect_seconds_max: u64,
    /// Milliseconds after which the next address is tried as well, while this one is still silent. 1,000: a working
    /// host answers sooner, and a busy one is not bothered twice.
    pub next_address_milliseconds: u64,
    /// Addresses tried for one host. 6: a host with more is not more reachable.
    pub addresses_max: usize,
    /// Our own address for IPv4 connections; the system's choice when not set.
    pub bind_ipv4: Option<Ipv4Addr>,
    /// Our own address for IPv6 connections; the system's choice when not set.
    pub bind_ipv6: Option<Ipv6Addr>,
}

impl Default for DialSettings {
    fn default() -> Self {
        Self {
            connect_seconds_max: 30,
            next_address_milliseconds: 1_000,
            addresses_max: 6,
            bind_ipv4: None,
            bind_ipv6: None,
        }
    }
}

/// No address could be reached.
#[derive(Debug)]
pub struct DialError {
    /// Each address that was tried and what came of it, in the order of failing.
    pub tried: Vec<(SocketAddr, io::Error)>,
}

impl DialError {
    /// Whether an address refused the connection: the host is there, its mail server is not.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.tried.iter().any(|(_, error)| error.kind() == io::ErrorKind::ConnectionRefused)
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tried.is_empty() {
            return f.write_str("there is no address to connect to");
        }
        for (place, (address, error)) in self.tried.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}connect to {address}: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for DialError {}

/// Connects to the first address that answers. `TCP_NODELAY` is set.
///
/// # Errors
/// [`DialError`] when none did, or none was given.
pub async fn dial(addresses: &[IpAddr], port: u16, settings: &DialSettings) -> Result<TcpStream, DialError> {
    let mut waiting = in_turns(addresses, settings.addresses_max);
    let mut running = JoinSet::new();
    let mut tried = Vec::new();
    loop {
        if let Some(address) = waiting.pop_front() {
            running.spawn(connect(SocketAddr::new(address, port), settings.clone()));
        }
        let pause = Duration::from_millis(settings.next_address_milliseconds);
        tokio::select! {
            done = running.join_next() => match done {
                // The rest of the set is dropped with it, which ends the other attempts.
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(failure))) => tried.push(failure),
                Some(Err(_)) => {}
                None if waiting.is_empty() => return Err(DialError { tried }),
                None => {}
            },
            () = sleep(pause), if !waiting.is_empty() => {}
        }
    }
}

/// RFC 8305 §4: the families take turns, beginning with the first address's.
fn in_turns(addresses: &[IpAddr], max: usize) -> VecDeque<IpAddr> {
    let first_is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (mut one, mut other): (VecDeque<IpAddr>, VecDeque<IpAddr>) =
        addresses.iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut turns = VecDeque::new();
    while turns.len() < max {
        let Some(next) = one.pop_front().or_else(|| other.pop_front()) else { break };
        turns.push_back(next);
        std::mem::swap(&mut one, &mut other);
    }
    turns
}

async fn connect(address: SocketAddr, settings: DialSettings) -> Result<TcpStream, (SocketAddr, io::Error)> {
    let limit = Duration::from_secs(settings.connect_seconds_max);
    let outcome = match timeout(limit, open(address, &settings)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out")),
    };
    outcome.map_err(|error| (address, error))
}

async fn open(address: SocketAddr, settings: &DialSettings) -> io::Result<TcpStream> {
    let (socket, own) = match address {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, settings.bind_ipv4.map(IpAddr::V4)),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, settings.bind_ipv6.map(IpAddr::V6)),
    };
    if let Some(own) = own {
        socket.bind(SocketAddr::new(own, 0))?;
    }
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_the_number_is_bounded() {
        let addresses: Vec<IpAddr> =
            ["::1", "::2", "::3", "192.0.2.1"].iter().map(|text| text.parse().unwrap()).collect();
        let turns: Vec<String> = in_turns(&addresses, 6).iter().map(ToString::to_string).collect();
        assert_eq!(turns, ["::1", "192.0.2.1", "::2", "::3"]);
        assert_eq!(in_turns(&addresses, 2).len(), 2);
        assert_eq!(in_turns(&[], 2).len(), 0);
    }

    #[test]
    fn the_error_names_every_address_and_reason() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = DialError { tried: vec![("192.0.2.1:25".parse().unwrap(), refused)] };
        assert!(error.is_refused());
        assert!(error.to_string().contains("192.0.2.1:25"), "{error}");
        assert!(DialError { tried: vec![] }.to_string().contains("no address"));
    }
}
