//! Telling Pyzor's servers what a text is: `report` for spam, `whitelist` for what is none.
//!
//! Done when a person says so, never by a verdict. Only a digest leaves this host, said by nobody in particular (user
//! `anonymous`); servers may let nobody in particular clear a text, and say so then. Nothing is said twice: an answer that
//! is lost is a failure, for who says it again would count twice.

use mail::Timestamp;
use net::Resolver;

use super::super::settings::{Kind, ScannerSettings};
use super::super::station::Station;
use super::{Operation, digest, say};
use crate::learn::Class;

/// Octets of a message beyond which it is not digested: what is looked at when mail is judged, by default.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// What servers know a text by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(String);

impl Text {
    /// Of a message; none when it has too little text to be known by.
    #[must_use]
    pub fn of(message: &[u8]) -> Option<Self> {
        let lines = digest::lines(message);
        // The digest of nothing is everybody's.
        (!lines.is_empty()).then(|| Self(digest::of(&lines)))
    }
}

/// A server was not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{server}: {why}")]
pub struct NotTold {
    /// The name and the address of the server.
    pub server: String,
    /// What went wrong.
    pub why: String,
}

/// All Pyzor servers of a configuration.
#[derive(Debug)]
pub struct Reporter(Vec<(String, Station)>);

impl Reporter {
    /// Those among the scanners; none when there are none. Each is reached within its `seconds_max`, and is left alone after
    /// `breaker_failures`.
    #[must_use]
    pub fn new(all: &[ScannerSettings], resolver: &Resolver) -> Option<Self> {
        let of_pyzor = all.iter().filter(|scanner| scanner.kind == Kind::Pyzor);
        let servers = of_pyzor.map(|scanner| {
            let mut contact = scanner.contact();
            contact.retries = 0;
            let server = format!("{} ({})", contact.name, contact.address);
            (server, Station::new(contact, resolver.clone()))
        });
        let servers: Vec<_> = servers.collect();
        (!servers.is_empty()).then_some(Self(servers))
    }

    /// Tells every server at `at` what a text is; gives those that could not be told.
    pub async fn tell(&self, text: &Text, class: Class, at: Timestamp) -> Vec<NotTold> {
        let operation = match class {
            Class::Spam => Operation::Report,
            Class::Ham => Operation::Whitelist,
        };
        let mut failed = Vec::new();
        for (server, station) in &self.0 {
            if let Err(failure) = station.ask(|| say(station, operation, &text.0, at)).await {
                failed.push(NotTold { server: server.clone(), why: failure.to_string() });
            }
        }
        failed
    }
}
