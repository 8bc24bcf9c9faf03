//! `[server]`: bounds on all sessions together, and how the daemon stops.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bounds on all sessions together, and how the daemon stops.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSettings {
    /// Sessions at once, on all listeners. Who comes when all are taken hears `421 4.3.2`. An idle one costs some
    /// kilobytes.
    pub sessions_max: usize,
    /// Sessions at once from one client network (/24 for IPv4, /64 for IPv6), `trusted_networks` excepted. A quarter
    /// of all: nobody can take every place alone.
    pub sessions_per_network_max: usize,
    /// Bytes of messages that may wait in memory to be written to disk, of all sessions together. Who finds no room
    /// waits. 67,108,864 (64 MiB).
    pub body_memory_bytes_max: usize,
    /// Seconds within which it must be known whether a login, sender, recipient or message is good, passwords and tables
    /// included; then the client hears 451 (or 454) and tries again. RFC 5321 §4.5.3.2 lets clients wait 300.
    pub answer_seconds_max: u64,
    /// Seconds after SIGTERM within which sessions may finish the message in hand; then they are cut, and their clients
    /// send again. Give systemd's `TimeoutStopSec` and the like a little more.
    pub stop_seconds_max: u64,
    /// Seconds between looks at tables and certificates for changes.
    pub reload_check_seconds: u64,
    /// Passwords that are hashed at once. Each takes some 20 MB and 20 milliseconds of a processor.
    pub password_hashes_max: usize,
    /// Clients that may wait for their password to be hashed; further ones hear `454 4.7.0` and try again.
    pub password_waiting_max: usize,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            sessions_max: 5_000,
            sessions_per_network_max: 1_250,
            body_memory_bytes_max: 64 << 20,
            answer_seconds_max: 60,
            stop_seconds_max: 60,
            reload_check_seconds: 1,
            password_hashes_max: 2,
            password_waiting_max: 64,
        }
    }
}
