//! Why the daemon does not start, or cannot go on. All of it is the operator's or the system's to mend.

use std::io;
use std::path::PathBuf;

/// Why the daemon ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder or file of ours cannot be used.
    #[error("{path}: {error}")]
    Path {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another process uses the same data folder.
    #[error(
        "{0} is in use by another Staffetta: stop that one first, or give this one a data_dir of its own"
    )]
    Locked(PathBuf),
    /// A port could not be bound.
    #[error(transparent)]
    Listen(#[from] net::ListenError),
    /// The address of `[observe] http` could not be bound.
    #[error("cannot listen on {address} for [observe] http: {error}")]
    Observe {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// Root could not be given up.
    #[error(transparent)]
    Privileges(#[from] crate::privileges::PrivilegeError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] net::TlsError),
    /// The resolver.
    #[error(transparent)]
    Resolver(#[from] net::ResolverError),
    /// The accounts file.
    #[error(transparent)]
    Accounts(#[from] crate::accounts::AccountsError),
    /// A table.
    #[error(transparent)]
    Table(#[from] tables::TableError),
    /// Next hops, mailboxes.
    #[error(transparent)]
    Delivery(#[from] delivery::DeliveryError),
    /// Signing keys.
    #[error(transparent)]
    Keys(#[from] msgauth::dkim::KeyError),
    /// The queue could not be opened.
    #[error("the queue cannot be opened: {0}")]
    Store(String),
    /// The queue can no longer be relied on: the next start rebuilds what can be rebuilt.
    #[error("stopping, the queue can no longer be relied on: {0}")]
    Unhealthy(String),
    /// The counters could not be made.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The checks of mail.
    #[error(transparent)]
    Checks(#[from] antispam::SetUpError),
    /// Keys of marks by which bounces are known.
    #[error(transparent)]
    Marks(#[from] antispam::backscatter::keys::KeyError),
    /// What symbols are worth does not fit together.
    #[error("scores: {0}")]
    Scores(String),
    /// The system refused a thread, a signal handler or a socket.
    #[error("{what}: {error}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
}

impl Error {
    /// For `map_err` on something the system does.
    pub fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { what, error }
    }
}
