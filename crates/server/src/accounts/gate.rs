//! At most so many password hashes at once, and at most so many that wait.
//!
//! One hash takes tens of milliseconds and tens of megabytes: without a bound, a hundred clients that guess passwords
//! would stop the server. Hashing runs on the blocking pool, never on a thread that drives sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

/// The gate.
#[derive(Debug)]
pub(super) struct Gate {
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// Too many wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// One who waits; leaves the count when dropped, also when the session goes away.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Gate {
    pub(super) fn new(at_once: usize, waiting_max: usize) -> Self {
        Self { running: Arc::new(Semaphore::new(at_once.max(1))), waiting: AtomicUsize::new(0), waiting_max }
    }

    /// Runs `work` on the blocking pool when its turn comes.
    ///
    /// # Errors
    /// [`Full`] when too many wait, or when the runtime is stopping.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Full> {
        let permit = match Arc::clone(&self.running).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait().await?,
        };
        // The permit goes with the work: a session that gives up does not make room for a third hash.
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        done.await.map_err(|_| Full)
    }

    async fn wait(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Full> {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _place = Place(&self.waiting);
        if before >= self.waiting_max {
            return Err(Full);
        }
        Arc::clone(&self.running).acquire_owned().await.map_err(|_| Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_run_one_waits_the_next_is_turned_away() {
        let gate = Arc::new(Gate::new(2, 1));
        let (let_go, blocked) = mpsc::channel::<()>();
        let blocked = Arc::new(std::sync::Mutex::new(blocked));
        let running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        for _ in 0..3 {
            let (gate, blocked) = (Arc::clone(&gate), Arc::clone(&blocked));
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            tasks.push(tokio::spawn(async move {
                gate.run(move || {
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    let _ = blocked.lock().unwrap().recv();
                    running.fetch_sub(1, Ordering::SeqCst);
                })
                .await
            }));
        }
        while gate.waiting.load(Ordering::Acquire) < 1 || running.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.run(|| ()).await, Err(Full));
        for _ in 0..3 {
            let_go.send(()).unwrap();
        }
        for task in tasks {
            assert_eq!(task.await.unwrap(), Ok(()));
        }
        assert_eq!(most.load(Ordering::SeqCst), 2);
        assert_eq!(gate.run(|| 7).await, Ok(7));
    }
}
