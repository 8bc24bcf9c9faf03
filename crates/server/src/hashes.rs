//! What is remembered of letters that leave, over the life of the daemon: read at the start, written down a moment after it
//! came, and at the end.
//!
//! How it is kept is for `antispam::hashes` to say. A store that does not answer costs nobody anything: it is tried again,
//! and the log tells once. Nothing wakes while nothing leaves.

use std::sync::Arc;
use std::time::Duration;

use antispam::hashes::GATHER_TIME;

use crate::clock;
use crate::maillog::Level;
use crate::services::Shared;

/// How long a start or a stop waits for the store.
const PATIENCE: Duration = Duration::from_secs(3);
/// Time between two attempts to write down what could not be.
const AGAIN_EVERY: Duration = Duration::from_secs(5);

/// Reads what was remembered before a restart. Where that fails, whoever asks first tries again.
pub(crate) async fn load(shared: &Shared) {
    let now = clock::now();
    let all = async {
        shared.threads.read(now).await?;
        shared.sent.read(now).await
    };
    let loaded = tokio::time::timeout(PATIENCE, all).await;
    let why = match loaded {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    shared.log.notice(Level::Error, &format!("the letters that users have sent are not all known: {why}"));
}

/// Writes down what has come, until the future is dropped.
pub(crate) async fn tend(shared: Arc<Shared>) {
    let mut told = false;
    loop {
        tokio::select! {
            () = shared.threads.changed() => {}
            () = shared.sent.changed() => {}
        }
        tokio::time::sleep(GATHER_TIME).await;
        while !save(&shared).await {
            if !told {
                tell(&shared);
            }
            told = true;
            tokio::time::sleep(AGAIN_EVERY).await;
        }
        told = false;
    }
}

/// Writes down what has come, for the last time.
pub(crate) async fn finish(shared: &Shared) {
    if !save(shared).await {
        tell(shared);
    }
}

async fn save(shared: &Shared) -> bool {
    let now = clock::now();
    let both = async { tokio::join!(shared.threads.save(now), shared.sent.save(now)) };
    let saved = tokio::time::timeout(PATIENCE, both).await;
    saved.is_ok_and(|(threads, sent)| threads.is_ok() && sent.is_ok())
}

fn tell(shared: &Shared) {
    shared.log.notice(Level::Warning, "the letters that users have sent could not be written down");
}
