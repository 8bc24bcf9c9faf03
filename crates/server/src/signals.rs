//! Signals: SIGTERM and SIGINT stop, SIGHUP reloads. Also watches the store's health, which can end the daemon too.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::Error;
use crate::reload::ReloadHandle;
use crate::services::Shared;

/// How often the store is asked whether it can still be relied on.
const HEALTH_EVERY: Duration = Duration::from_secs(1);

/// Signals that are caught from now on; until then each of them would end the process on the spot.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    /// Catches them: to be called before anybody can know that the daemon runs. What comes before [`Self::wait`] is kept.
    ///
    /// # Errors
    /// [`Error::System`] when the system does not permit it.
    pub fn catch() -> Result<Self, Error> {
        let take = |kind| signal(kind).map_err(Error::system("a signal handler"));
        Ok(Self {
            term: take(SignalKind::terminate())?,
            int: take(SignalKind::interrupt())?,
            hup: take(SignalKind::hangup())?,
        })
    }

    /// Waits until the daemon is to stop. Has the configuration read again on the way, and does not wait for that.
    ///
    /// # Errors
    /// [`Error::Unhealthy`] when the store failed: the next start rebuilds from the journal.
    pub async fn wait(mut self, reloader: &ReloadHandle, shared: &Shared) -> Result<(), Error> {
        let mut health = tokio::time::interval(HEALTH_EVERY);
        loop {
            tokio::select! {
                _ = self.term.recv() => return Ok(()),
                _ = self.int.recv() => return Ok(()),
                _ = self.hup.recv() => reloader.wish(),
                _ = health.tick() => shared.store.health().map_err(Error::Unhealthy)?,
            }
        }
    }
}
