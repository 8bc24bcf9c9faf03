//! Opening sled, for the queue's index and for the state store.
//!
//! sled 0.34 panics in `open` on some damage, may take minutes, and holds the lock of its folder for a moment after it was
//! dropped. All that becomes an error with a sentence, or a short wait, here. Its own flusher is never used.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What sled says when its folder is in use.
const LOCKED: &str = "could not acquire lock";
/// How soon a folder that is in use is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(5);

/// Opens the database in `folder`, or makes it. A panic, or more time than `limit`, is an error: the thread that hangs
/// is left behind. `cache_bytes` of it are kept in memory, as sled counts.
pub(crate) fn open(folder: &Path, cache_bytes: u64, limit: Duration) -> Result<sled::Db, String> {
    let (sender, receiver) = mpsc::channel();
    let path = folder.to_owned();
    let open = move || {
        let opened = std::panic::catch_unwind(|| open_here(&path, cache_bytes, limit));
        drop(sender.send(opened.unwrap_or_else(|_| Err("it panicked in open".into()))));
    };
    std::thread::Builder::new().name("sled-open".into()).spawn(open).map_err(|error| error.to_string())?;
    receiver.recv_timeout(limit).unwrap_or_else(|_| Err("it did not open in time".into()))
}

fn open_here(path: &Path, cache_bytes: u64, limit: Duration) -> Result<sled::Db, String> {
    let begun = Instant::now();
    loop {
        let config = sled::Config::new().path(path).cache_capacity(cache_bytes).flush_every_ms(None);
        match config.open() {
            Ok(db) => return Ok(db),
            // Threads of sled's outlive a store that was dropped in this process by a moment, with its lock.
            Err(error) if error.to_string().contains(LOCKED) && begun.elapsed() < limit / 2 => {
                std::thread::sleep(LOCK_RETRY);
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}
