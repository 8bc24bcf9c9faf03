//! The sections of the configuration file as types. Their doc comments are the reference documentation.
//!
//! The settings of the crates below are theirs and are only put together here; each file beside this one is a section
//! that belongs to no single crate.

mod accounts;
mod domain;
mod observe;
mod principal;
mod server;
mod submission;

use std::path::PathBuf;

use mail::{Address, Domain};
use net::{DnsSettings, ListenerSettings, Networks, TlsSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use accounts::AccountsSettings;
pub use domain::DomainSettings;
pub use observe::{LogFormat, ObserveSettings};
pub use principal::{Principal, PrincipalError};
pub use server::ServerSettings;
pub use submission::SubmissionSettings;

/// Everything that can be configured: one file, each section a field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name this server gives itself: in its greeting, in EHLO, in Received lines, in the Message-IDs it makes. It
    /// should be a full name whose address leads here and whose address leads back to it (PTR record).
    #[schemars(with = "String", example = &"mx.example.test")]
    pub hostname: Domain,
    /// Where the server keeps all that it must not lose: the queue, keys, `admin.sock`. On a real disk.
    #[serde(default = "data_dir")]
    pub data_dir: PathBuf,
    /// The user the server becomes after it has bound its ports: a name or a number. Started as root without it, it stays
    /// root, with a loud warning. Started as anybody else, it stays who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"staffetta")]
    pub user: Option<Principal>,
    /// The group that goes with `user`, a name or a number. Not set: that user's primary group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"staffetta")]
    pub group: Option<Principal>,
    /// Networks whose clients may send to anybody without logging in. Empty: nobody may. Wider than /8 (IPv4) or /32 (IPv6)
    /// is refused; never list a network in which strangers seem to be, such as that of a container's gateway.
    #[serde(default)]
    #[schemars(example = ["192.0.2.0/24", "2001:db8:1::/48"])]
    pub trusted_networks: Networks,
    /// Where mail for the bare `<postmaster>` goes (RFC 5321 §4.5.1). Not set: `postmaster@` the first domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = &"postmaster@example.test")]
    pub postmaster: Option<Address>,
    /// The largest message in bytes, announced with SIZE (RFC 1870). 52,428,800 (50 MiB): attachments grow by a third on
    /// their way, and few servers take more.
    #[serde(default = "message_bytes_max")]
    pub message_bytes_max: u64,
    /// The doors for mail. Without any, only `sendmail` on this host brings mail.
    #[serde(default)]
    pub listener: Vec<ListenerSettings>,
    /// Our certificates and what is demanded of clients. Without this section TLS is not offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSettings>,
    /// Which name servers are asked, how long they may take, and what is remembered.
    #[serde(default)]
    pub dns: DnsSettings,
    /// The domains this server is responsible for.
    #[serde(default)]
    pub domain: Vec<DomainSettings>,
    /// Mailboxes with passwords, and how local names are read.
    #[serde(default)]
    pub accounts: AccountsSettings,
    /// What is done to mail that our own users hand in.
    #[serde(default)]
    pub submission: SubmissionSettings,
    /// How strangers and their mail are judged.
    #[serde(default)]
    pub antispam: antispam::Settings,
    /// Where mail for other domains goes, and how connections there are made.
    #[serde(default)]
    pub outbound: delivery::OutboundSettings,
    /// How the delivery agents and the alias expansion work.
    #[serde(default)]
    pub delivery: delivery::DeliverySettings,
    /// Retries, warnings, expiry and limits of the queue.
    #[serde(default)]
    pub queue: queue::Settings,
    /// How the queue is kept on disk, and how much memory it may take.
    #[serde(default)]
    pub store: store::Settings,
    /// Bounds on what one SMTP session may send, and for how long.
    #[serde(default)]
    pub limits: smtp::Settings,
    /// Bounds on all sessions together, and how the daemon stops.
    #[serde(default)]
    pub server: ServerSettings,
    /// Metrics, health and the mail log.
    #[serde(default)]
    pub observe: ObserveSettings,
}

/// As the file system hierarchy has it for what a service keeps.
fn data_dir() -> PathBuf {
    PathBuf::from("/var/lib/staffetta")
}

/// 50 MiB.
fn message_bytes_max() -> u64 {
    52_428_800
}

impl Config {
    /// Every domain that is ours, in the order of the file.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.domain.iter().flat_map(DomainSettings::domains)
    }
}
