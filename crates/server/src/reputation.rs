//! The reputations of senders and networks over the life of the daemon: read at the start, written down now and then and at
//! the end.
//!
//! What is remembered, and what of it is worth a write, is for `antispam::reputation` to say. A store that does not answer
//! costs nobody anything: it is tried again, and the log tells once.

use std::time::Duration;

use crate::clock;
use crate::maillog::Level;
use crate::services::{Current, Services, Shared};

/// Time between two looks at what there is to write down: a crash forgets no more.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// How long a start or a stop waits for the store.
const PATIENCE: Duration = Duration::from_secs(3);

/// Reads what was remembered before a restart.
pub(crate) async fn load(shared: &Shared) {
    let loaded = tokio::time::timeout(PATIENCE, shared.reputation.load(clock::now())).await;
    let why = match loaded {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    shared.log.notice(Level::Error, &format!("the reputations of senders are not all known: {why}"));
}

/// Writes down what has changed, now and then.
pub(crate) async fn tend(current: Current) {
    let mut ticks = tokio::time::interval(SAVE_EVERY);
    let mut told = false;
    loop {
        ticks.tick().await;
        let services = current.get();
        let saved = services.judge.reputation().save(clock::now()).await.is_ok();
        if !saved && !told {
            tell(&services);
        }
        told = !saved;
    }
}

/// Writes down what has changed, for the last time.
pub(crate) async fn finish(services: &Services) {
    let saved = tokio::time::timeout(PATIENCE, services.judge.reputation().save(clock::now())).await;
    if !saved.is_ok_and(|saved| saved.is_ok()) {
        tell(services);
    }
}

fn tell(services: &Services) {
    services.shared.log.notice(Level::Warning, "the reputations of senders could not be written down");
}
