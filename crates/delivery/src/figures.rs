//! What the agents count: plain atomics, read by whoever shows metrics. Nothing here grows with peers or messages.

use std::sync::atomic::{AtomicU64, Ordering};

/// One count that only rises.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn up(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts of all agents since the start.
#[derive(Debug, Default)]
pub struct Figures {
    /// Connections to SMTP and LMTP peers that were made.
    pub connections: Count,
    /// Attempts to make one that failed, for whatever reason.
    pub connections_failed: Count,
    /// Transactions on a connection that was kept from an earlier message.
    pub connections_reused: Count,
    /// TLS 1.2 connections among them.
    pub tls_1_2: Count,
    /// TLS 1.3 connections among them.
    pub tls_1_3: Count,
    /// TLS handshakes that failed.
    pub tls_failed: Count,
    /// Messages that a peer took, for at least one recipient.
    pub messages_sent: Count,
    /// Octets of those messages.
    pub bytes_sent: Count,
    /// Messages written into Maildirs.
    pub maildir_messages: Count,
    /// Octets of those.
    pub maildir_bytes: Count,
}
