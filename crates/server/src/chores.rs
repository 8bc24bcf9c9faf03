//! What is done now and then: look at the disk's space and at certificates, watch over the queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use config::Loaded;
use tokio::task::JoinSet;

use crate::control::Daemon;
use crate::maillog::Level;
use crate::runner::auditor;
use crate::services::Current;

/// Time between two looks at the disk's space.
const DISK_EVERY: Duration = Duration::from_secs(1);

/// Starts them.
pub fn start(tasks: &mut JoinSet<()>, loaded: &Loaded, current: &Current, daemon: &Arc<Daemon>) {
    tasks.spawn(disk(current.clone(), loaded.data_dir()));
    let every = Duration::from_secs(loaded.config.server.reload_check_seconds.max(1));
    tasks.spawn(certificates(current.clone(), every));
    tasks.spawn(auditor::rounds(current.clone(), Arc::clone(daemon)));
}

/// Closes MAIL while the disk is nearly full, and opens it again: mail that is here keeps its room.
async fn disk(current: Current, data: std::path::PathBuf) {
    let mut ticks = tokio::time::interval(DISK_EVERY);
    loop {
        ticks.tick().await;
        let services = current.get();
        let minimum = services.config.store.disk_free_bytes_min;
        let folder = data.clone();
        let looked = tokio::task::spawn_blocking(move || nix::sys::statvfs::statvfs(&folder)).await;
        let Ok(Ok(facts)) = looked else { continue };
        let free = facts.blocks_available().saturating_mul(facts.fragment_size());
        let full = free < minimum;
        if services.shared.disk_full.swap(full, Ordering::Relaxed) != full {
            let text = if full {
                format!(
                    "the disk is nearly full ({free} octets free, {minimum} wanted): MAIL is answered 452"
                )
            } else {
                "the disk has room again: mail is accepted".to_owned()
            };
            services.shared.log.notice(if full { Level::Error } else { Level::Info }, &text);
        }
    }
}

/// Takes certificates into use when their files change. Broken new files are told once; the old ones stay.
async fn certificates(current: Current, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        let services = current.get();
        let Some(tls) = services.tls.clone() else { continue };
        let log = services.shared.log.clone();
        match tokio::task::spawn_blocking(move || tls.reload_if_changed()).await {
            Ok(Ok(net::tls::Reload::Changed)) => log.notice(Level::Info, "new certificates are in use"),
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(error)) => log.notice(Level::Error, &format!("the old certificates stay in use: {error}")),
        }
    }
}
