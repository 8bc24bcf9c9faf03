//! The doors: accepts connections, reads PROXY headers where they are due, finds a place for each session.
//!
//! A session that finds no place is told 421 and let go at once, so that a flood of connections costs little. Decides
//! nothing about mail.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use antispam::remote::milter::Choice;
use net::{Accepted, ListenerKind, ListenerSettings};
use smtp::{PeerInfo, Role};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::limits::{NoPlace, SessionPlace};
use crate::maillog::Level;
use crate::metrics::{Door, SessionEnd};
use crate::services::{Current, Services};
use crate::session;
use crate::session::facts::ClientFacts;

/// One door.
#[derive(Debug)]
pub struct DoorSettings {
    /// From `[[listener]]`; a reload puts others in force for the sessions to come.
    pub listener: RwLock<Arc<ListenerSettings>>,
}

impl DoorSettings {
    fn get(&self) -> Arc<ListenerSettings> {
        Arc::clone(&self.listener.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Accepts until `closed` becomes true.
pub async fn accept(
    door: Arc<DoorSettings>,
    listener: TcpListener,
    current: Current,
    mut closed: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => return,
            accepted = net::listener::accept(&listener) => accepted,
        };
        match accepted {
            Ok(accepted) => {
                let services = current.get();
                tokio::spawn(greet(door.get(), services, accepted));
            }
            Err(error) => {
                let log = current.get().shared.log.clone();
                log.notice(
                    Level::Error,
                    &format!("a listener of kind {} broke: {error}", door.get().kind.as_str()),
                );
                return;
            }
        }
    }
}

/// From an accepted connection to the end of its session.
async fn greet(door: Arc<ListenerSettings>, services: Arc<Services>, accepted: Accepted) {
    let Accepted { mut stream, mut peer, mut local } = accepted;
    let metrics_door = metrics_door(door.kind);
    if door.proxy_protocol_from.contains(peer.ip()) {
        match net::proxy::read_header(&mut stream, net::ProxyLimits::default()).await {
            Ok(header) => {
                peer = header.source.unwrap_or(peer);
                local = header.destination.unwrap_or(local);
            }
            Err(_) => {
                services.shared.metrics.session_ended(
                    metrics_door,
                    SessionEnd::Refused,
                    std::time::Duration::ZERO,
                );
                return;
            }
        }
    }
    let trusted = services.trusted.contains(peer.ip());
    match place(&services, peer.ip()) {
        Ok(place) => {
            serve(&door, services, stream, (peer, local), trusted).await;
            drop(place);
        }
        Err(why) => turn_away(&services, metrics_door, stream, why).await,
    }
}

fn place(services: &Services, client: IpAddr) -> Result<SessionPlace, NoPlace> {
    let limits = &services.config.server;
    // Networks that we trust are load balancers and applications: many sessions are their business.
    let trusted = services.trusted.contains(client);
    let network_max = if trusted { limits.sessions_max } else { limits.sessions_per_network_max };
    services.shared.places.enter(Some(client), limits.sessions_max, network_max)
}

async fn serve(
    door: &ListenerSettings,
    services: Arc<Services>,
    stream: TcpStream,
    (peer, local): (SocketAddr, SocketAddr),
    trusted: bool,
) {
    let facts = ClientFacts {
        port: peer.port(),
        local: Some(local.ip()),
        milters: door.milters.as_ref().map_or(Choice::All, |names| Choice::Named(names.as_slice().into())),
        ..ClientFacts::new(metrics_door(door.kind), Some(peer.ip()), trusted)
    };
    let info = PeerInfo {
        ip: peer.ip(),
        port: peer.port(),
        local,
        trusted,
        tls: None,
        starttls: services.tls.is_some(),
        auth: match door.auth() {
            net::AuthPolicy::Off => smtp::AuthPolicy::Off,
            net::AuthPolicy::Optional => smtp::AuthPolicy::Optional,
            net::AuthPolicy::Required => smtp::AuthPolicy::Required,
        },
        tells_unknown: services.judge.has_milters(&facts.milters),
    };
    Box::pin(session::serve_tcp(services, stream, role(door.kind), info, facts)).await;
}

/// RFC 5321 §3.8: 421, and the connection is closed.
async fn turn_away(services: &Services, door: Door, mut stream: TcpStream, why: NoPlace) {
    services.shared.metrics.session_ended(door, SessionEnd::Crowded, std::time::Duration::ZERO);
    let text = match why {
        NoPlace::Full => "421 4.3.2 Too many connections, try again later\r\n",
        NoPlace::Network => "421 4.7.0 Too many connections from your network, try again later\r\n",
    };
    // A few octets fit the socket's buffer: this does not wait for the peer.
    drop(stream.write_all(text.as_bytes()).await);
}

fn role(kind: ListenerKind) -> Role {
    match kind {
        ListenerKind::Mx => Role::Mx,
        ListenerKind::Submission => Role::Submission,
        ListenerKind::Submissions => Role::Submissions,
    }
}

fn metrics_door(kind: ListenerKind) -> Door {
    match kind {
        ListenerKind::Mx => Door::Mx,
        ListenerKind::Submission => Door::Submission,
        ListenerKind::Submissions => Door::Submissions,
    }
}
