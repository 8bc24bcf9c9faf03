//! Calling a peer: the connection, its greeting, EHLO, TLS and login, up to where MAIL may be said.
//!
//! mail-send supplies dialling, the STARTTLS exchange and AUTH; greeting and EHLO are read here, because what was read too
//! much must neither be lost nor cross into TLS (RFC 3207 §6). Under opportunistic TLS a host whose handshake fails is
//! called again in the clear, and remembered for a while. A password is never said in the clear, except to a loopback
//! address. Every step has its time limit; every failure is a value with the peer's own words where it had any.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mail::Reply;
use mail_send::{Credentials, SmtpClient};
use net::{ClientTls, Verify};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

use super::capabilities::Capabilities;
use super::connection::{Connection, WireError};
use super::wire::Wire;
use crate::figures::Figures;
use crate::settings::{OutboundSettings, Timeouts, TlsPolicy};
use mail::next_hop::TlsStart;

/// Hosts whose STARTTLS failed that are remembered at most; beyond it the memory starts anew.
const PLAIN_HOSTS_MAX: usize = 10_000;

/// One address to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The host's name, for TLS and the log; the address itself where there is none.
    pub(crate) name: String,
    pub(crate) place: Place,
}

/// Where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What is asked of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Demand {
    pub(crate) lmtp: bool,
    pub(crate) tls: TlsStart,
    pub(crate) policy: TlsPolicy,
    /// With the smart host's name and password.
    pub(crate) login: bool,
}

/// Nobody there to talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallFailure {
    pub(crate) peer: Arc<str>,
    pub(crate) reply: Reply,
    /// The host will never take mail (RFC 7504 §3: 521).
    pub(crate) is_final: bool,
    /// Our own set-up is to blame.
    pub(crate) is_ours: bool,
}

/// What all calls share.
#[derive(Debug)]
pub(crate) struct Caller {
    helo: String,
    timeouts: Timeouts,
    source_v4: Option<IpAddr>,
    source_v6: Option<IpAddr>,
    user: String,
    password_file: Option<PathBuf>,
    any: ClientTls,
    verified: ClientTls,
    plain_for: Duration,
    plain: Mutex<HashMap<SocketAddr, Instant>>,
    figures: Arc<Figures>,
}

/// A failure on the way, before it is known whose words it ends in.
enum Trouble {
    /// The peer said no, in its own words.
    Said(Reply),
    /// In ours.
    Ours(Reply),
    /// In ours, and our own set-up is to blame.
    OurFault(Reply),
    /// STARTTLS failed and may be done without.
    NoTls,
}

impl Caller {
    pub(crate) fn new(
        settings: &OutboundSettings,
        timeouts: &Timeouts,
        hostname: &str,
        figures: Arc<Figures>,
    ) -> Self {
        let helo = if settings.helo.is_empty() { hostname } else { &settings.helo };
        Self {
            helo: helo.to_owned(),
            timeouts: timeouts.clone(),
            source_v4: settings.source_ipv4.map(IpAddr::V4),
            source_v6: settings.source_ipv6.map(IpAddr::V6),
            user: settings.user.clone(),
            password_file: settings.password_file.clone(),
            any: ClientTls::new(Verify::None),
            verified: ClientTls::new(Verify::WebPki),
            plain_for: Duration::from_secs(settings.plain_fallback_seconds),
            plain: Mutex::default(),
            figures,
        }
    }

    /// Calls a peer, and is ready for MAIL.
    pub(crate) async fn call(
        &self,
        candidate: &Candidate,
        demand: Demand,
    ) -> Result<Connection, CallFailure> {
        let peer = peer_text(candidate);
        let demand = self.effective(candidate, demand);
        let mut in_the_clear = demand.policy == TlsPolicy::Off || self.is_plain(candidate);
        loop {
            let trouble = match self.attempt(candidate, demand, in_the_clear, &peer).await {
                Ok(connection) => {
                    self.figures.connections.up();
                    return Ok(connection);
                }
                Err(trouble) => trouble,
            };
            if matches!(trouble, Trouble::NoTls) && !in_the_clear {
                self.remember_plain(candidate);
                in_the_clear = true;
                continue;
            }
            self.figures.connections_failed.up();
            let (reply, is_ours) = match trouble {
                Trouble::Said(reply) | Trouble::Ours(reply) => (reply, false),
                Trouble::OurFault(reply) => (reply, true),
                Trouble::NoTls => (Reply::new(451, (4, 7, 5), "the TLS handshake failed"), false),
            };
            return Err(CallFailure { is_final: reply.code == 521, peer, reply, is_ours });
        }
    }

    /// With a password to say, TLS is not a matter of opportunity any more, loopback apart.
    fn effective(&self, candidate: &Candidate, mut demand: Demand) -> Demand {
        let loopback = match &candidate.place {
            Place::Tcp(address) => address.ip().is_loopback(),
            Place::Unix(_) => true,
        };
        demand.login &= !self.user.is_empty();
        if demand.login && !loopback && matches!(demand.policy, TlsPolicy::Opportunistic | TlsPolicy::Off) {
            demand.policy = TlsPolicy::Verified;
        }
        demand
    }

    async fn attempt(
        &self,
        candidate: &Candidate,
        demand: Demand,
        in_the_clear: bool,
        peer: &Arc<str>,
    ) -> Result<Connection, Trouble> {
        let wire = self.connect(&candidate.place).await?;
        let connection = if demand.tls == TlsStart::Implicit {
            self.implicit_tls(wire, candidate, demand, peer).await?
        } else {
            Connection::new(wire, Arc::clone(peer), &self.timeouts)
        };
        let mut connection = self.greeted(connection, demand).await?;
        let needed = demand.tls == TlsStart::StartTls
            || matches!(demand.policy, TlsPolicy::Required | TlsPolicy::Verified);
        if !connection.is_tls() && (needed || !in_the_clear) {
            if connection.capabilities.starttls {
                connection = self.start_tls(connection, candidate, demand, needed).await?;
                self.hello(&mut connection, demand).await?;
            } else if needed {
                let words = "TLS is required to this server, and it does not offer STARTTLS";
                return Err(Trouble::Ours(Reply::new(451, (4, 7, 4), words)));
            }
        }
        if demand.login {
            self.log_in(&mut connection).await?;
        }
        Ok(connection)
    }

    async fn connect(&self, place: &Place) -> Result<Wire, Trouble> {
        let limit = Duration::from_secs(self.timeouts.connect_seconds_max);
        let failed = |error: &dyn std::fmt::Display| {
            Trouble::Ours(Reply::new(451, (4, 4, 1), format!("no connection: {error}")))
        };
        let address = match place {
            Place::Tcp(address) => *address,
            Place::Unix(path) => {
                return match timeout(limit, UnixStream::connect(path)).await {
                    Ok(Ok(stream)) => Ok(Wire::Unix(stream)),
                    Ok(Err(error)) => Err(failed(&error)),
                    Err(_) => Err(failed(&WireError::TimedOut(limit))),
                };
            }
        };
        let source = if address.is_ipv4() { self.source_v4 } else { self.source_v6 };
        let client = match source {
            Some(local) => SmtpClient::connect_using(local, address, limit).await,
            None => SmtpClient::connect(address, limit).await,
        };
        match client {
            Ok(client) => {
                // Without it the kernel waits for more to say; a connection that is slower still delivers.
                let _ = client.stream.set_nodelay(true);
                Ok(Wire::Tcp(client.stream))
            }
            Err(mail_send::Error::Io(error)) => Err(failed(&error)),
            Err(mail_send::Error::Timeout) => Err(failed(&WireError::TimedOut(limit))),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn greeted(&self, mut connection: Connection, demand: Demand) -> Result<Connection, Trouble> {
        let greeting =
            connection.reply(self.timeouts.greeting()).await.map_err(|e| lost("the greeting", &e))?;
        if greeting.code != 220 {
            return Err(refused(greeting));
        }
        self.hello(&mut connection, demand).await?;
        Ok(connection)
    }

    /// RFC 5321 §3.2: EHLO, or HELO for those who do not know it. LMTP knows LHLO alone (RFC 2033 §4.1).
    async fn hello(&self, connection: &mut Connection, demand: Demand) -> Result<(), Trouble> {
        let verb = if demand.lmtp { "LHLO" } else { "EHLO" };
        let mut answer = self.say_hello(connection, verb).await?;
        if answer.is_permanent() && !demand.lmtp && !connection.is_tls() {
            answer = self.say_hello(connection, "HELO").await?;
            if answer.code == 250 {
                connection.capabilities = Capabilities::default();
                return Ok(());
            }
        }
        if answer.code != 250 {
            return Err(refused(answer));
        }
        connection.capabilities = Capabilities::read(&answer);
        Ok(())
    }

    async fn say_hello(&self, connection: &mut Connection, verb: &str) -> Result<Reply, Trouble> {
        let command = format!("{verb} {}\r\n", self.helo);
        let said = connection.say(command.as_bytes(), self.timeouts.block()).await;
        said.map_err(|error| lost(verb, &error))?;
        connection.reply(self.timeouts.command()).await.map_err(|error| lost(verb, &error))
    }

    fn tls(&self, demand: Demand) -> &ClientTls {
        if demand.policy == TlsPolicy::Verified { &self.verified } else { &self.any }
    }

    fn tls_seconds(&self) -> Duration {
        Duration::from_secs(self.timeouts.tls_seconds_max)
    }

    async fn implicit_tls(
        &self,
        wire: Wire,
        candidate: &Candidate,
        demand: Demand,
        peer: &Arc<str>,
    ) -> Result<Connection, Trouble> {
        let Wire::Tcp(stream) = wire else { return Err(no_tls("TLS needs TCP")) };
        let client = SmtpClient { stream, timeout: self.tls_seconds() };
        let shaken = client.into_tls(self.tls(demand).connector(), &candidate.name).await;
        let client = shaken.map_err(|error| {
            self.figures.tls_failed.up();
            no_tls(&error)
        })?;
        Ok(self.secured(client, peer))
    }

    /// STARTTLS, and the handshake (RFC 3207 §4).
    async fn start_tls(
        &self,
        connection: Connection,
        candidate: &Candidate,
        demand: Demand,
        needed: bool,
    ) -> Result<Connection, Trouble> {
        let peer = Arc::clone(&connection.peer);
        let Some(Wire::Tcp(stream)) = connection.into_wire() else {
            return Err(no_tls("the peer spoke out of turn before STARTTLS"));
        };
        let client = SmtpClient { stream, timeout: self.tls_seconds() };
        match client.start_tls(self.tls(demand).connector(), &candidate.name).await {
            Ok(client) => Ok(self.secured(client, &peer)),
            Err(error) => {
                self.figures.tls_failed.up();
                Err(if needed { no_tls(&error) } else { Trouble::NoTls })
            }
        }
    }

    fn secured(
        &self,
        client: SmtpClient<tokio_rustls::client::TlsStream<TcpStream>>,
        peer: &Arc<str>,
    ) -> Connection {
        let version = client.tls_connection().protocol_version();
        let is_13 = version == Some(rustls::ProtocolVersion::TLSv1_3);
        let count = if is_13 { &self.figures.tls_1_3 } else { &self.figures.tls_1_2 };
        count.up();
        Connection::new(Wire::Tls(Box::new(client.stream)), Arc::clone(peer), &self.timeouts)
    }

    /// RFC 4954. `PLAIN` or `LOGIN`, with the password as it stands in its file now.
    async fn log_in(&self, connection: &mut Connection) -> Result<(), Trouble> {
        let problem = |words: String| Trouble::OurFault(Reply::new(454, (4, 7, 0), words));
        let password = match &self.password_file {
            Some(path) => tokio::fs::read_to_string(path).await.map_err(|error| {
                problem(format!("the smart host's password file {}: {error}", path.display()))
            })?,
            None => return Err(problem("outbound.user is set and outbound.password_file is not".into())),
        };
        let secret = password.lines().next().unwrap_or_default().to_owned();
        let offered = connection.capabilities.for_login();
        if offered.auth_mechanisms == 0 {
            return Err(problem("the smart host offers neither AUTH PLAIN nor AUTH LOGIN".into()));
        }
        let credentials = Credentials::Plain { username: self.user.clone(), secret };
        let mut client = SmtpClient { stream: connection.wire(), timeout: self.timeouts.command() };
        match client.authenticate(&credentials, &offered).await {
            Ok(_) => Ok(()),
            // A refused password is ours to mend, and must not return anybody's mail.
            Err(error) => Err(problem(format!("the login at the smart host failed: {error}"))),
        }
    }

    fn is_plain(&self, candidate: &Candidate) -> bool {
        let Place::Tcp(address) = &candidate.place else { return true };
        let plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        plain.get(address).is_some_and(|until| Instant::now() < *until)
    }

    fn remember_plain(&self, candidate: &Candidate) {
        let Place::Tcp(address) = &candidate.place else { return };
        let mut plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        if plain.len() >= PLAIN_HOSTS_MAX {
            plain.clear();
        }
        plain.insert(*address, Instant::now() + self.plain_for);
    }
}

/// RFC 5321 §4.2.1: whatever the greeting or EHLO is answered with, another time it may be another. Only 521 is for ever
/// (RFC 7504 §3).
fn refused(reply: Reply) -> Trouble {
    Trouble::Said(if reply.code < 400 {
        Reply::new(451, (4, 5, 0), format!("the peer gave a reply out of place: {reply}"))
    } else {
        reply
    })
}

fn lost(step: &str, error: &WireError) -> Trouble {
    Trouble::Ours(Reply::new(451, (4, 4, 2), format!("{error}, waiting for the answer to {step}")))
}

fn no_tls(error: impl std::fmt::Display) -> Trouble {
    Trouble::Ours(Reply::new(451, (4, 7, 5), format!("TLS failed: {error}")))
}

fn peer_text(candidate: &Candidate) -> Arc<str> {
    match &candidate.place {
        Place::Unix(path) => path.display().to_string().into(),
        Place::Tcp(address) => {
            let (ip, port) = (address.ip(), address.port());
            if candidate.name == ip.to_string() {
                format!("[{ip}]:{port}").into()
            } else {
                format!("{}[{ip}]:{port}", candidate.name).into()
            }
        }
    }
}
