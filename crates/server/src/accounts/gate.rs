//! At most so many password hashes at once, and at most so many that wait.
//!
//! One hash takes tens of milliseconds and tens of megabytes: without a bound, a hundred clients that guess passwords
//! would stop the server. Hashing has threads of its own, never one that drives sessions. Nor is it done on the
//! pool for blocking calls: each thread keeps the memory of a hash for the next one, and a pool has many threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

/// A thread without work for so long gives its memory back.
const IDLE: Duration = Duration::from_secs(5);

/// A hash to be made.
type Work = Box<dyn FnOnce() + Send>;

/// The gate. Its threads end when it is dropped.
#[derive(Debug)]
pub(super) struct Gate {
    work: Sender<Work>,
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
        let at_once = at_once.max(1);
        let (work, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..at_once {
            let receiver = Arc::clone(&receiver);
            // Without a thread, everybody is told to come back later.
            drop(std::thread::Builder::new().name("passwords".into()).spawn(move || serve(&receiver)));
        }
        let running = Arc::new(Semaphore::new(at_once));
        Self { work, running, waiting: AtomicUsize::new(0), waiting_max }
    }

    /// Runs `work` on a thread of the gate when its turn comes.
    ///
    /// # Errors
    /// [`Full`] when too many wait, or when the work panics.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Full> {
        let permit = match Arc::clone(&self.running).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait().await?,
        };
        let (sender, done) = oneshot::channel();
        // The permit goes with the work: a session that gives up does not make room for a third hash.
        let work = move || {
            let result = work();
            drop(permit);
            drop(sender.send(result));
        };
        self.work.send(Box::new(work)).map_err(|_| Full)?;
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

/// Does what comes, until nobody is left to ask. A panic costs one answer, not the thread.
fn serve(work: &Mutex<Receiver<Work>>) {
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(IDLE);
        match next {
            Ok(next) => drop(catch_unwind(AssertUnwindSafe(next))),
            Err(RecvTimeoutError::Timeout) => super::password::release_memory(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_run_one_waits_the_next_is_turned_away() {
        let gate = Arc::new(Gate::new(2, 1));
        let (let_go, blocked) = channel::<()>();
        let blocked = Arc::new(Mutex::new(blocked));
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
        assert_eq!(gate.run(|| panic!("a hash that fails")).await, Err::<(), _>(Full));
        assert_eq!(gate.run(|| 8).await, Ok(8));
        assert_eq!(gate.run(|| 9).await, Ok(9));
    }
}
