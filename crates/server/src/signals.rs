//! Signals: SIGTERM and SIGINT stop, SIGHUP reloads. Also watches the store's health, which can end the daemon too.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use crate::error::Error;
use crate::reload::Reloader;
use crate::services::Shared;

/// How often the store is asked whether it can still be relied on.
const HEALTH_EVERY: Duration = Duration::from_secs(1);

/// Waits until the daemon is to stop. Reloads on the way.
///
/// # Errors
/// [`Error::Unhealthy`] when the store failed: the next start rebuilds from the journal.
pub async fn wait(reloader: &Mutex<Reloader>, shared: &Shared) -> Result<(), Error> {
    let take = |kind| signal(kind).map_err(Error::system("a signal handler"));
    let (mut term, mut int, mut hup) =
        (take(SignalKind::terminate())?, take(SignalKind::interrupt())?, take(SignalKind::hangup())?);
    let mut health = tokio::time::interval(HEALTH_EVERY);
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
            _ = hup.recv() => drop(reloader.lock().await.reload().await),
            _ = health.tick() => shared.store.health().map_err(Error::Unhealthy)?,
        }
    }
}
