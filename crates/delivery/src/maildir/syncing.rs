//! Syncs of many files side by side.
//!
//! A device needs about as long for one flush as for many that are asked for together, and a file system with a journal
//! commits once for all who wait. So the files of a batch are not synced one after the other but by several threads. The
//! thread that asks works too, and alone when there is no other: nothing here waits for a free thread, and nothing
//! is left out. Never says that a file is synced before its sync has returned.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use tokio::runtime::Handle;

/// Syncs every file, by `threads_max` threads at most, and gives each one's result, in order.
pub(super) fn sync_all(files: Vec<Arc<File>>, threads_max: usize) -> Vec<io::Result<()>> {
    let count = files.len();
    let helpers = threads_max.min(count.div_ceil(FILES_PER_THREAD)).saturating_sub(1);
    let runtime = Handle::try_current().ok().filter(|_| helpers > 0);
    let Some(runtime) = runtime else { return files.iter().map(|file| file.sync_all()).collect() };
    let work = Arc::new(Work { files, next: AtomicUsize::new(0) });
    let (done, results) = mpsc::channel();
    for _ in 0..helpers {
        let (work, done) = (Arc::clone(&work), done.clone());
        // Not waited for: one that starts late finds nothing left to do.
        drop(runtime.spawn_blocking(move || work.help(&done)));
    }
    work.help(&done);
    drop(done);
    let lost = || Err(io::Error::other("the sync gave no result"));
    let mut all: Vec<io::Result<()>> = (0..count).map(|_| lost()).collect();
    // Ends early only when a thread died with its file.
    for (index, result) in results.into_iter().take(count) {
        if let Some(slot) = all.get_mut(index) {
            *slot = result;
        }
    }
    all
}

/// A thread is worth waking for so many files.
const FILES_PER_THREAD: usize = 2;

/// Files, of which everybody who helps takes the next.
struct Work {
    files: Vec<Arc<File>>,
    next: AtomicUsize,
}

impl Work {
    fn help(&self, done: &mpsc::Sender<(usize, io::Result<()>)>) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = self.files.get(index) else { return };
            // Whoever asked waits for all results.
            drop(done.send((index, file.sync_all())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four files, of which the third cannot be synced: it is a pipe.
    fn files() -> Vec<Arc<File>> {
        let (_, pipe) = nix::unistd::pipe().unwrap();
        let mut files: Vec<_> = (0..4).map(|_| Arc::new(tempfile::tempfile().unwrap())).collect();
        files[2] = Arc::new(File::from(pipe));
        files
    }

    fn fine(results: &[io::Result<()>]) -> Vec<bool> {
        results.iter().map(Result::is_ok).collect()
    }

    #[test]
    fn each_file_has_its_own_result_with_and_without_helpers() {
        let want = [true, true, false, true];
        assert_eq!(fine(&sync_all(files(), 8)), want, "outside of a runtime the caller does it alone");
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        for threads in [1, 2, 8] {
            let asked = async move { tokio::task::spawn_blocking(move || sync_all(files(), threads)).await };
            assert_eq!(fine(&runtime.block_on(asked).unwrap()), want, "{threads} threads");
        }
        assert!(sync_all(Vec::new(), 8).is_empty());
    }

    #[test]
    fn it_does_not_wait_for_helpers_that_find_no_thread() {
        let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(1).build().unwrap();
        let asked = async { tokio::task::spawn_blocking(|| sync_all(files(), 8)).await };
        assert_eq!(fine(&runtime.block_on(asked).unwrap()), [true, true, false, true]);
    }
}
