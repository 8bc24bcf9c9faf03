//! Connections that are kept for the next message to the same destination.
//!
//! The one used last is taken first. Before it is used again it is looked at without waiting: a peer that said 421 or
//! closed meanwhile is not written to. What stays idle too long is closed politely. Bounded in number.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;

/// The kept connections, by destination key.
#[derive(Debug)]
pub(crate) struct Cache {
    kept: Mutex<Kept>,
    idle_max: Duration,
    connections_max: usize,
}

#[derive(Debug, Default)]
struct Kept {
    idle: HashMap<Arc<str>, Vec<(Instant, Connection)>>,
    count: usize,
    is_swept: bool,
}

impl Cache {
    pub(crate) fn new(idle_max: Duration, connections_max: usize) -> Arc<Self> {
        Arc::new(Self { kept: Mutex::default(), idle_max, connections_max })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that is fit for use.
    pub(crate) fn take(&self, key: &str) -> Option<Connection> {
        loop {
            let mut connection = self.kept().pop(key)?;
            if connection.is_quiet() {
                connection.heard = false;
                return Some(connection);
            }
            // Dropped: it was closed at the other end, or about to be.
        }
    }

    /// Keeps a connection, or closes it when there is no room.
    pub(crate) fn put(self: &Arc<Self>, key: &Arc<str>, connection: Connection) {
        if self.idle_max.is_zero() {
            tokio::spawn(connection.quit());
            return;
        }
        let mut kept = self.kept();
        if kept.count >= self.connections_max {
            drop(kept);
            tokio::spawn(connection.quit());
            return;
        }
        kept.push(key, connection);
        if !std::mem::replace(&mut kept.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self), self.idle_max));
        }
    }

    /// Takes all out, at the end.
    pub(crate) async fn close(&self) {
        let all: Vec<Connection> = {
            let mut kept = self.kept();
            kept.count = 0;
            kept.idle.drain().flat_map(|(_, list)| list).map(|(_, connection)| connection).collect()
        };
        let mut closing = tokio::task::JoinSet::new();
        all.into_iter().for_each(|connection| drop(closing.spawn(connection.quit())));
        while closing.join_next().await.is_some() {}
    }
}

impl Kept {
    fn pop(&mut self, key: &str) -> Option<Connection> {
        let list = self.idle.get_mut(key)?;
        let (_, connection) = list.pop()?;
        self.count -= 1;
        if list.is_empty() {
            self.idle.remove(key);
        }
        Some(connection)
    }

    fn push(&mut self, key: &Arc<str>, connection: Connection) {
        self.idle.entry(Arc::clone(key)).or_default().push((Instant::now(), connection));
        self.count += 1;
    }

    /// Takes out what has been idle since before `limit`.
    fn expired(&mut self, limit: Instant) -> Vec<Connection> {
        let mut old = Vec::new();
        for list in self.idle.values_mut() {
            // The oldest stand first.
            let count = list.iter().take_while(|(since, _)| *since < limit).count();
            old.extend(list.drain(..count).map(|(_, connection)| connection));
        }
        self.idle.retain(|_, list| !list.is_empty());
        self.count -= old.len();
        self.is_swept = !self.idle.is_empty();
        old
    }
}

/// Closes what is idle too long; ends when nothing is kept, and is started again with the next connection.
async fn sweep(cache: Weak<Cache>, idle_max: Duration) {
    loop {
        tokio::time::sleep(idle_max / 2).await;
        let Some(cache) = cache.upgrade() else { return };
        let now = Instant::now();
        let (old, go_on) = {
            let mut kept = cache.kept();
            let old = kept.expired(now.checked_sub(idle_max).unwrap_or(now));
            (old, kept.is_swept)
        };
        for connection in old {
            tokio::spawn(connection.quit());
        }
        if !go_on {
            return;
        }
    }
}
