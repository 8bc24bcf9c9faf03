//! The settings of delivery: `[outbound]` (who gets mail for elsewhere) and `[delivery]` (how agents work).
//!
//! Plain data with defaults; the doc comments are the reference documentation. Nothing is read from disk here.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where mail for other domains goes, and how connections there are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutboundSettings {
    /// The server that takes all mail for which no route is given: `smtp:[host]:port`, `submission:[host]:587` (STARTTLS
    /// needed) or `submissions:[host]:465` (TLS from the start). Brackets mean this very host, without them its MX is
    /// asked for. Empty: every domain's own mail exchangers.
    pub smart_host: String,
    /// The name to log in to the smart host with. Empty: no login.
    pub user: String,
    /// The file with the password for it, alone on its first line. Re-read for every new connection. The password is
    /// never sent without TLS, except to a loopback address.
    pub password_file: Option<PathBuf>,
    /// Next hops for single domains, `[[outbound.route]]`: the most specific one wins, before the smart host.
    pub route: Vec<OutboundRoute>,
    /// TLS to other servers: `opportunistic` (with TLS where it is offered, the certificate not verified, in the clear
    /// where it fails), `required` (never in the clear), `verified` (and with a certificate that is good for the host's
    /// name), `off`. To a smart host with a login it is always at least `verified`.
    pub tls: TlsPolicy,
    /// For how many seconds a host whose STARTTLS failed is sent to in the clear, under `opportunistic`. An hour: long
    /// enough to spare it a failed attempt per message, short enough to notice that it was mended.
    pub plain_fallback_seconds: u64,
    /// Messages are sent with BDAT (RFC 3030) in one go where the peer offers it: a round trip less for each.
    pub chunking: bool,
    /// The name in EHLO. Empty: the server's `hostname`.
    pub helo: String,
    /// The local IPv4 address to send from, where the machine has several.
    pub source_ipv4: Option<std::net::Ipv4Addr>,
    /// The local IPv6 address to send from, where the machine has several.
    pub source_ipv6: Option<std::net::Ipv6Addr>,
    /// Addresses under which this server is reached although no interface has them (address translation, load
    /// balancers): an MX that leads to one of them leads back here.
    pub own_addresses: Vec<IpAddr>,
    /// Addresses that are tried for one destination in one attempt. Five, as a domain with more is rarely all down.
    pub addresses_max: usize,
    /// Messages sent over one connection before it is closed, so that load spreads over the peer's servers.
    pub messages_per_connection_max: u32,
    /// Seconds that an idle connection is kept for the next message to the same destination. Short: it occupies a place
    /// at the peer.
    pub idle_seconds_max: u64,
    /// Idle connections kept in all.
    pub idle_connections_max: usize,
}

/// One line of the transport table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutboundRoute {
    /// A domain, `.domain` for its subdomains, or `*` for all.
    #[serde(rename = "match")]
    pub matches: String,
    /// The next hop, as for `smart_host`; also `lmtp:`, `mx` (the domain's own mail exchangers, in spite of a smart host)
    /// and `discard`.
    pub to: String,
    /// TLS for this route; default: `outbound.tls`.
    #[serde(default)]
    pub tls: Option<TlsPolicy>,
}

/// How much TLS is asked of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TlsPolicy {
    /// Never.
    Off,
    /// Where it works (RFC 7435).
    #[default]
    Opportunistic,
    /// Always, with any certificate.
    Required,
    /// Always, with a certificate that the public roots vouch for under the host's name.
    Verified,
}

impl Default for OutboundSettings {
    fn default() -> Self {
        Self {
            smart_host: String::new(),
            user: String::new(),
            password_file: None,
            route: Vec::new(),
            tls: TlsPolicy::default(),
            plain_fallback_seconds: 3600,
            chunking: true,
            helo: String::new(),
            source_ipv4: None,
            source_ipv6: None,
            own_addresses: Vec::new(),
            addresses_max: 5,
            messages_per_connection_max: 1000,
            idle_seconds_max: 10,
            idle_connections_max: 200,
        }
    }
}

/// How the delivery agents and the alias expansion work.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeliverySettings {
    /// Maildirs on this machine.
    pub maildir: MaildirSettings,
    /// Aliases and how far they are followed.
    pub alias: AliasSettings,
    /// How long SMTP and LMTP peers are waited for.
    pub timeouts: Timeouts,
}

/// Maildirs: modes, quota, folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MaildirSettings {
    /// Permissions of a delivered message, in octal.
    pub file_mode: String,
    /// Permissions of folders that are made, in octal. Where `mailbox_user` is another user than the server, the group
    /// (the server's) gets the owner's permissions too, or it could not deliver there again.
    pub folder_mode: String,
    /// Folder for what was judged to be junk, in Maildir++ notation.
    pub junk_folder: String,
    /// Octets that a mailbox may hold, all its folders but `.Trash` together (Maildir++ `maildirsize`); 0: no limit. A
    /// full mailbox is answered 452 4.2.2.
    pub quota_bytes_max: u64,
    /// Messages that a mailbox may hold, counted likewise; 0: no limit.
    pub quota_messages_max: u64,
    /// Threads that write at a time. Two: what waits meanwhile shares the next syncs, and more threads make smaller groups.
    pub writers_max: usize,
    /// Messages that one thread writes before it syncs their folders together.
    pub batch_max: usize,
    /// Threads that sync the messages of one such group at a time: a device flushes once for many who ask together.
    pub syncs_max: usize,
    /// Seconds that one delivery may take; then it counts as deferred, and may come twice.
    pub write_seconds_max: u64,
}

impl Default for MaildirSettings {
    fn default() -> Self {
        Self {
            file_mode: "0600".into(),
            folder_mode: "0700".into(),
            junk_folder: ".Junk".into(),
            quota_bytes_max: 0,
            quota_messages_max: 0,
            writers_max: 2,
            batch_max: 64,
            syncs_max: 8,
            write_seconds_max: 300,
        }
    }
}

/// How far aliases are followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AliasSettings {
    /// Aliases that may lead to one another in a chain.
    pub depth_max: usize,
    /// Recipients that one alias may lead to in the end.
    pub recipients_max: usize,
}

impl Default for AliasSettings {
    fn default() -> Self {
        Self { depth_max: 20, recipients_max: 1000 }
    }
}

/// How long each step with a peer may take. The defaults are those of RFC 5321 §4.5.3.2 where it names one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Seconds for a connection to one address to be made.
    pub connect_seconds_max: u64,
    /// Seconds until the peer's greeting.
    pub greeting_seconds_max: u64,
    /// Seconds for a TLS handshake.
    pub tls_seconds_max: u64,
    /// Seconds for the reply to EHLO, AUTH, MAIL or RCPT.
    pub command_seconds_max: u64,
    /// Seconds for the reply to DATA.
    pub data_seconds_max: u64,
    /// Seconds for the peer to take one block of the message.
    pub block_seconds_max: u64,
    /// Seconds for the reply to the end of the message. Long: a peer that is cut off here may have taken the message, and
    /// gets it twice (RFC 1047).
    pub end_of_data_seconds_max: u64,
    /// Octets of one reply, all its lines together.
    pub reply_bytes_max: usize,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_seconds_max: 30,
            greeting_seconds_max: 300,
            tls_seconds_max: 60,
            command_seconds_max: 300,
            data_seconds_max: 120,
            block_seconds_max: 180,
            end_of_data_seconds_max: 600,
            reply_bytes_max: 32 * 1024,
        }
    }
}

impl Timeouts {
    /// RFC 5321 §4.5.3.2.2 and .3.
    #[must_use]
    pub fn command(&self) -> Duration {
        Duration::from_secs(self.command_seconds_max)
    }

    /// Until the greeting (RFC 5321 §4.5.3.2.1).
    #[must_use]
    pub fn greeting(&self) -> Duration {
        Duration::from_secs(self.greeting_seconds_max)
    }

    /// For the reply to DATA (RFC 5321 §4.5.3.2.4).
    #[must_use]
    pub fn data(&self) -> Duration {
        Duration::from_secs(self.data_seconds_max)
    }

    /// For one block (RFC 5321 §4.5.3.2.5).
    #[must_use]
    pub fn block(&self) -> Duration {
        Duration::from_secs(self.block_seconds_max)
    }

    /// For the reply to the end of data (RFC 5321 §4.5.3.2.6).
    #[must_use]
    pub fn end_of_data(&self) -> Duration {
        Duration::from_secs(self.end_of_data_seconds_max)
    }
}
