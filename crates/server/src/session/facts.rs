//! What the answerer knows of a client; grows as the session goes on.

use std::net::IpAddr;

use antispam::remote::milter::Choice;
use smtp::TlsInfo;

use crate::maillog::Client;
use crate::metrics::{Door, Label};
use crate::submit::Caller;

/// One client.
#[derive(Debug, Clone)]
pub struct ClientFacts {
    /// By which door it came.
    pub door: Door,
    /// Its canonical address; none for local users.
    pub client: Option<IpAddr>,
    /// Its port; 0 for local users.
    pub port: u16,
    /// The address of ours that it connected to.
    pub local: Option<IpAddr>,
    /// In a trusted network.
    pub trusted: bool,
    /// Its verified name, once it is known to have one: the name of its address, which leads back to it.
    pub verified_name: Option<String>,
    /// What it called itself.
    pub helo: Option<String>,
    /// It said EHLO or LHLO.
    pub extended: bool,
    /// It sent commands before it was told that it may (RFC 2920 §3.1).
    pub pipelined_early: bool,
    /// TLS, when it is up.
    pub tls: Option<TlsInfo>,
    /// The account that logged in.
    pub account: Option<String>,
    /// How it logged in: the name of a SASL mechanism.
    pub mechanism: Option<&'static str>,
    /// Which milters hear of it.
    pub milters: Choice,
    /// The local user, by the kernel's word.
    pub local_user: Option<Caller>,
}

impl ClientFacts {
    /// A client that has not spoken yet.
    #[must_use]
    pub fn new(door: Door, client: Option<IpAddr>, trusted: bool) -> Self {
        Self {
            door,
            client,
            port: 0,
            local: None,
            trusted,
            verified_name: None,
            helo: None,
            extended: false,
            pipelined_early: false,
            tls: None,
            account: None,
            mechanism: None,
            milters: Choice::All,
            local_user: None,
        }
    }

    /// As log lines name it.
    #[must_use]
    pub fn for_log(&self) -> Client<'_> {
        Client { name: self.verified_name.as_deref(), ip: self.client }
    }

    /// The door's name in logs.
    #[must_use]
    pub fn door_name(&self) -> &'static str {
        self.door.name()
    }

    /// True when it may send to any domain (invariant I4): authenticated, in a permitted network, or on this machine.
    #[must_use]
    pub fn may_relay(&self) -> bool {
        self.account.is_some() || self.trusted || self.local_user.is_some()
    }
}
