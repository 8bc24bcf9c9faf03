//! What is done now and then: look at the disk's space, at certificates and tables, watch over the queue and what is kept
//! back, let the classifier learn.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use config::Loaded;
use tokio::task::JoinSet;

use crate::clock;
use crate::control::Daemon;
use crate::hashes;
use crate::learning::{self, rounds::Places};
use crate::maillog::Level;
use crate::memory;
use crate::rates;
use crate::reputation;
use crate::runner::auditor;
use crate::services::{Current, Services};

/// Time between two looks at the store's room.
const ROOM_EVERY: Duration = Duration::from_secs(1);

/// Longest time between two looks at the DNS lists.
const LISTS_EVERY: Duration = Duration::from_secs(5);

/// Time between two looks at what scanners have to tell.
const SCANNERS_EVERY: Duration = Duration::from_secs(2);

/// Starts them.
pub fn start(tasks: &mut JoinSet<()>, loaded: &Loaded, current: &Current, daemon: &Arc<Daemon>) {
    tasks.spawn(room(current.clone()));
    let shared = Arc::clone(&current.get().shared);
    tasks.spawn(hashes::tend(Arc::clone(&shared)));
    tasks.spawn(memory::tend(shared, loaded.data_dir()));
    let every = Duration::from_secs(loaded.config.server.reload_check_seconds.max(1));
    tasks.spawn(certificates(current.clone(), every));
    tasks.spawn(tables(current.clone(), every));
    tasks.spawn(lists(current.clone()));
    tasks.spawn(scanners(current.clone()));
    tasks.spawn(rates::tend(current.clone()));
    tasks.spawn(reputation::tend(current.clone()));
    tasks.spawn(auditor::rounds(current.clone(), Arc::clone(daemon)));
    tasks.spawn(learning::rounds::rounds(current.clone(), Places::of(loaded)));
}

/// Tells when the store begins to refuse mail (the disk is nearly full, say) and when it takes mail again. MAIL asks the
/// store itself; this is for whoever reads the log.
async fn room(current: Current) {
    let mut ticks = tokio::time::interval(ROOM_EVERY);
    let mut refused = false;
    loop {
        ticks.tick().await;
        let shared = Arc::clone(&current.get().shared);
        let store = Arc::clone(&shared.store);
        let Ok(room) = tokio::task::spawn_blocking(move || store.room()).await else { continue };
        match room {
            Err(ref error) if !refused => {
                shared.log.notice(Level::Error, &format!("no mail is accepted: {error}"));
            }
            Ok(()) if refused => shared.log.notice(Level::Info, "mail is accepted again"),
            _ => {}
        }
        refused = room.is_err();
    }
}

/// Looks after the DNS lists: which of them are to be believed. A list is not asked about anybody before it was looked at.
async fn lists(current: Current) {
    loop {
        let services = current.get();
        let lists = services.judge.lists();
        let next = lists.tend(clock::now()).await;
        for notice in lists.notices() {
            services.shared.log.notice(Level::Warning, &notice.to_string());
        }
        // A reload brings other lists: they do not wait for long.
        let wait = next.since(clock::now()).clamp(Duration::from_millis(100), LISTS_EVERY);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = lists.woken() => {}
        }
    }
}

/// Tells when a scanner is not asked any more, and when it answers again.
async fn scanners(current: Current) {
    let mut ticks = tokio::time::interval(SCANNERS_EVERY);
    loop {
        ticks.tick().await;
        let services = current.get();
        for notice in services.judge.scanners().notices() {
            services.shared.log.notice(Level::Warning, &notice.to_string());
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
            Ok(Ok(net::tls::Reload::Changed)) => {
                log.notice(Level::Info, "new certificates are in use");
                services.show_certificates();
            }
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(error)) => log.notice(Level::Error, &format!("the old certificates stay in use: {error}")),
        }
    }
}

/// Tells once of each filter of a domain or account that cannot be read: mail is judged without it.
fn filters(services: &Services, told: &BTreeSet<String>) -> BTreeSet<String> {
    let troubles = services.judge.own_filters().troubles();
    for trouble in troubles.difference(told) {
        services.shared.log.notice(Level::Warning, trouble);
    }
    troubles
}

/// Tells once of each table, or accounts file, that cannot be read again and is used as it was; and when all are well.
async fn tables(current: Current, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    let (mut told, mut silent) = (BTreeSet::new(), BTreeSet::new());
    loop {
        ticks.tick().await;
        let services = current.get();
        silent = filters(&services, &silent);
        let mut troubles = services.router.troubles();
        troubles.extend(services.judge.troubles());
        troubles.extend(services.accounts.trouble());
        services.shared.metrics.tables_in_trouble(troubles.len());
        let log = &services.shared.log;
        for trouble in troubles.difference(&told) {
            log.notice(Level::Error, &format!("what was read before stays in use: {trouble}"));
        }
        if troubles.is_empty() && !told.is_empty() {
            log.notice(Level::Info, "all tables are good again");
        }
        told = troubles;
    }
}
