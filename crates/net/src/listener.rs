//! Listeners: sockets bound as the configuration says or taken over from systemd, and connections accepted from them.
//!
//! `[::]:25` takes IPv4 too, unless the same list binds `0.0.0.0:25` beside it; on a kernel without IPv6 it becomes
//! `0.0.0.0:25`. Peer and local addresses come out in canonical form. A connection that dies while it is accepted
//! is skipped; when descriptors run out, accepting pauses instead of spinning. Binding fails with a [`ListenError`]
//! that names the address and the remedy.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use listenfd::ListenFd;
use mail::canonical_ip;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use socket2::{Domain as Family, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::Networks;

/// Connections that may wait to be accepted. The kernel cuts it to `net.core.somaxconn`.
pub const BACKLOG: i32 = 4_096;

/// How long accepting rests when the process or the system is out of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// What a listener is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ListenerKind {
    /// Mail from other servers: port 25 (RFC 5321).
    #[default]
    Mx,
    /// Mail from our users, STARTTLS before authentication: port 587 (RFC 6409).
    Submission,
    /// Mail from our users, TLS from the first octet: port 465 (RFC 8314 §3.3).
    Submissions,
}

impl ListenerKind {
    /// Its name, as in the configuration and in systemd's `FileDescriptorName=`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mx => "mx",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
        }
    }
}

/// Whether clients may, or must, authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuthPolicy {
    /// AUTH is not offered.
    Off,
    /// AUTH is offered under TLS.
    Optional,
    /// Nothing is accepted without it.
    Required,
}

/// `[[listener]]`: one door for mail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerSettings {
    /// What it is for: `mx` (from other servers), `submission` (from users, STARTTLS) or `submissions` (from users,
    /// TLS at once).
    pub kind: ListenerKind,
    /// Addresses with ports. `[::]:25` takes IPv4 too. A socket that systemd passes under the listener's kind as
    /// its name is used instead.
    #[schemars(example = ["[::]:25"])]
    pub bind: Vec<SocketAddr>,
    /// Authentication: `off`, `optional` or `required`. Not set: off for mx, required for the others.
    pub auth: Option<AuthPolicy>,
    /// Networks whose connections must begin with a PROXY protocol header (version 1 or 2): your load balancers.
    /// From elsewhere such a header is refused. Empty, the default: nobody.
    pub proxy_protocol_from: Networks,
    /// Names of the milters (`[[antispam.milter]]`) that are shown what comes in here, in this order. Not set: all, in theirs;
    /// `[]`: none.
    #[schemars(example = &["opendkim"])]
    pub milters: Option<Vec<String>>,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            kind: ListenerKind::Mx,
            bind: Vec::new(),
            auth: None,
            proxy_protocol_from: Networks::default(),
            milters: None,
        }
    }
}

impl ListenerSettings {
    /// The authentication policy, with the default of its kind filled in.
    #[must_use]
    pub fn auth(&self) -> AuthPolicy {
        self.auth.unwrap_or(match self.kind {
            ListenerKind::Mx => AuthPolicy::Off,
            ListenerKind::Submission | ListenerKind::Submissions => AuthPolicy::Required,
        })
    }
}

/// Why a listener is not there: the administrator's or the system's doing.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address could not be bound.
    #[error("cannot listen on {address}: {error}{}", advice(*address, error))]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// systemd passed something that is not a listening TCP socket.
    #[error("the socket that systemd passed as `{name}` is no listening TCP socket: {error}")]
    Inherited {
        /// Its `FileDescriptorName=`.
        name: String,
        /// Why.
        error: io::Error,
    },
}

fn advice(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "; ports below 1024 need root, CAP_NET_BIND_SERVICE or a systemd socket: start so, or use a higher port than {}",
            address.port()
        ),
        io::ErrorKind::AddrInUse => {
            "; another mail server is running there: stop it, or use another port".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has that address".to_owned(),
        _ => String::new(),
    }
}

/// Binds every address of one listener. Port 0 takes a free one.
///
/// The sockets are non-blocking and become tokio's with [`TcpListener::from_std`].
///
/// # Errors
/// [`ListenError::Bind`] with the first address that cannot be bound.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<std::net::TcpListener>, ListenError> {
    addresses.iter().map(|address| bind_one(*address, addresses)).collect()
}

fn bind_one(address: SocketAddr, all: &[SocketAddr]) -> Result<std::net::TcpListener, ListenError> {
    let only_v6 = match address.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() => {
            address.port() != 0
                && all.contains(&SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
        }
        _ => true,
    };
    let bound = open(address, only_v6).or_else(|error| match address.ip() {
        // A kernel without IPv6: EAFNOSUPPORT from socket(2), EADDRNOTAVAIL from bind(2) with it disabled.
        IpAddr::V6(ip) if ip.is_unspecified() && !only_v6 && is_without_ipv6(&error) => {
            open(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()), false)
        }
        _ => Err(error),
    });
    bound.map_err(|error| ListenError::Bind { address, error })
}

fn is_without_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.raw_os_error() == Some(EAFNOSUPPORT) || error.kind() == io::ErrorKind::AddrNotAvailable
}

fn open(address: SocketAddr, only_v6: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Family::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    // So that a restart binds while old connections linger.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Listening sockets that systemd passed (`sd_listen_fds(3)`), by their `FileDescriptorName=`.
///
/// To be called once, early: the environment variables belong to this process only then.
#[derive(Debug, Default)]
pub struct Inherited(HashMap<String, Vec<std::net::TcpListener>>);

impl Inherited {
    /// Takes the sockets over. None were passed: none are held.
    ///
    /// # Errors
    /// [`ListenError::Inherited`] for what is no listening TCP socket.
    pub fn from_environment() -> Result<Self, ListenError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self::take(&mut ListenFd::from_env(), &names)
    }

    fn take(passed: &mut ListenFd, names: &str) -> Result<Self, ListenError> {
        let mut names = names.split(':');
        let mut found: HashMap<String, Vec<std::net::TcpListener>> = HashMap::new();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or("unknown").to_owned();
            let listener = passed.take_tcp_listener(index).and_then(|listener| {
                listener.map(|listener| listener.set_nonblocking(true).map(|()| listener)).transpose()
            });
            match listener {
                Ok(Some(listener)) => found.entry(name).or_default().push(listener),
                Ok(None) => {}
                Err(error) => return Err(ListenError::Inherited { name, error }),
            }
        }
        Ok(Self(found))
    }

    /// Gives away the sockets of one listener; none when systemd passed none under that name.
    pub fn for_listener(&mut self, kind: ListenerKind) -> Vec<std::net::TcpListener> {
        self.0.remove(kind.as_str()).unwrap_or_default()
    }

    /// Names under which sockets are left that no listener asked for.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// A connection, just accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The connection, with `TCP_NODELAY`.
    pub stream: TcpStream,
    /// The client, canonical.
    pub peer: SocketAddr,
    /// The address it came to, canonical.
    pub local: SocketAddr,
}

/// The next connection.
///
/// Connections that died on the way are skipped, and want of descriptors or memory is waited out.
///
/// # Errors
/// Only when the listening socket itself is broken.
pub async fn accept(listener: &TcpListener) -> io::Result<Accepted> {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Ok(local) = stream.local_addr() else { continue };
                // A peer that is gone already makes this fail; the session will notice.
                let _ = stream.set_nodelay(true);
                return Ok(Accepted { stream, peer: canonical(peer), local: canonical(local) });
            }
            Err(error) => match gravity(&error) {
                Gravity::Connection => {}
                Gravity::Exhausted => tokio::time::sleep(EXHAUSTED_PAUSE).await,
                Gravity::Listener => return Err(error),
            },
        }
    }
}

/// A socket address whose IP address is canonical.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(canonical_ip(address.ip()), address.port())
}

/// What an error of accept(2) is about.
#[derive(Debug, PartialEq)]
enum Gravity {
    Connection,
    Exhausted,
    Listener,
}

fn gravity(error: &io::Error) -> Gravity {
    // accept(2): ENFILE, EMFILE, ENOBUFS, ENOMEM.
    const EXHAUSTED: [i32; 4] = [23, 24, 105, 12];
    // accept(2): EBADF, EINVAL, ENOTSOCK, EOPNOTSUPP. Everything else is an error of the connection.
    const BROKEN: [i32; 4] = [9, 22, 88, 95];
    match error.raw_os_error() {
        Some(code) if EXHAUSTED.contains(&code) => Gravity::Exhausted,
        Some(code) if BROKEN.contains(&code) => Gravity::Listener,
        _ => Gravity::Connection,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auth_defaults_go_by_the_kind() {
        let auth = |kind| ListenerSettings { kind, ..ListenerSettings::default() }.auth();
        assert_eq!(auth(ListenerKind::Mx), AuthPolicy::Off);
        assert_eq!(auth(ListenerKind::Submission), AuthPolicy::Required);
        assert_eq!(auth(ListenerKind::Submissions), AuthPolicy::Required);
        let optional = ListenerSettings { auth: Some(AuthPolicy::Optional), ..ListenerSettings::default() };
        assert_eq!(optional.auth(), AuthPolicy::Optional);
    }

    #[test]
    fn errors_of_accept_are_told_apart() {
        for (code, is) in [(24, Gravity::Exhausted), (103, Gravity::Connection), (9, Gravity::Listener)] {
            assert_eq!(gravity(&io::Error::from_raw_os_error(code)), is, "{code}");
        }
    }

    #[tokio::test]
    async fn the_v6_wildcard_takes_ipv4_and_the_client_is_an_ipv4_client() {
        let listener = bind(&["[::]:0".parse().unwrap()]).unwrap().remove(0);
        let port = listener.local_addr().unwrap().port();
        let listener = TcpListener::from_std(listener).unwrap();
        let client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let accepted = accept(&listener).await.unwrap();
        assert_eq!(accepted.peer, client.local_addr().unwrap());
        assert_eq!(accepted.local, client.peer_addr().unwrap());
        assert!(accepted.stream.nodelay().unwrap());
    }

    #[test]
    fn both_wildcards_of_one_port_can_be_bound_together() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let both = [format!("[::]:{free}").parse().unwrap(), format!("0.0.0.0:{free}").parse().unwrap()];
        assert_eq!(bind(&both).unwrap().len(), 2);
    }

    #[test]
    fn a_port_in_use_is_named_with_the_remedy() {
        let taken = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = taken[0].local_addr().unwrap();
        let error = bind(&[address]).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("another port"), "{error}");
    }
}
