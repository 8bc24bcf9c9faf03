//! Where octets of messages are worked on: hashing, tables of patterns, walks through MIME.
//!
//! The threads that serve sessions do little of it: what is short is done at once, everything else on threads of the
//! blocking pool, and there only so many pieces at a time ([`AT_ONCE_MAX`]), in the whole process: messages made to be
//! expensive make others like them wait, and neither sessions nor files, which need that pool too. A piece of work
//! whose asker has gone keeps its place until it has ended. Never bounds a single piece: whoever hands work in has
//! limits of its own for that.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};

use tokio::sync::Semaphore;

/// Pieces that are worked on at once, in the whole process. Few enough to leave the pool's threads to others, more than
/// most machines have processors.
pub const AT_ONCE_MAX: usize = 8;
/// Longest message, in octets, whose hashing is done at once: to hand it to another thread would take longer.
pub const SHORT_BYTES_MAX: usize = 32 << 10;

/// The work was given up: it broke down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the analysis broke down: {0}")]
pub struct BrokeDown(String);

static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(AT_ONCE_MAX)));

/// Does a piece of work on another thread, when there is a place.
///
/// # Errors
/// [`BrokeDown`] when it panics.
pub async fn heavy<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, BrokeDown> {
    // The semaphore is never closed.
    let place = Arc::clone(&PLACES).acquire_owned().await.map_err(|closed| BrokeDown(closed.to_string()))?;
    let done = tokio::task::spawn_blocking(move || {
        let _place = place;
        work()
    });
    done.await.map_err(|panic| BrokeDown(panic.to_string()))
}

/// Does a piece of work about `bytes` octets: at once when they are few, like [`heavy`] when not.
///
/// # Errors
/// [`BrokeDown`] when it panics.
pub async fn hashing<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BrokeDown> {
    if bytes > SHORT_BYTES_MAX {
        return heavy(work).await;
    }
    std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(|_| BrokeDown("it panicked".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// However many expensive messages there are, and whoever waits for them no longer: so many at once, and the runtime's
    /// own thread goes on.
    #[tokio::test]
    async fn expensive_work_is_bounded_and_keeps_nobody_else_waiting() {
        let (begin, begun) = mpsc::channel();
        let mut ends = Vec::new();
        let mut askers = Vec::new();
        for _ in 0..AT_ONCE_MAX + 4 {
            let (end, ended) = mpsc::channel::<()>();
            let begin = begin.clone();
            ends.push(end);
            askers.push(tokio::spawn(heavy(move || {
                begin.send(()).unwrap();
                let _ = ended.recv();
            })));
        }
        let (begun, first) = tokio::task::spawn_blocking(move || {
            for _ in 0..AT_ONCE_MAX {
                begun.recv().unwrap();
            }
            let more = begun.try_recv().is_ok();
            (begun, more)
        })
        .await
        .unwrap();
        assert!(!first, "no more than there are places");
        assert_eq!(PLACES.available_permits(), 0);
        assert_eq!(hashing(SHORT_BYTES_MAX, || 7).await, Ok(7), "short work needs no place");
        // Who gives up gets no place for another one: the work goes on.
        askers.iter().take(2).for_each(tokio::task::JoinHandle::abort);
        tokio::task::yield_now().await;
        assert_eq!(PLACES.available_permits(), 0);
        drop(ends);
        for asker in askers {
            drop(asker.await);
        }
        assert_eq!(begun.try_iter().count(), 4, "all that waited were worked on");
    }

    #[tokio::test]
    async fn work_that_breaks_down_says_so() {
        let failed = heavy(|| -> u8 { panic!("a mistake") }).await;
        assert!(failed.is_err_and(|error| error.to_string().contains("broke down")));
        assert!(hashing(1, || -> u8 { panic!("a mistake") }).await.is_err());
    }
}
