//! The thread that writes the log, and the bounded buffer before it.
//!
//! Whoever logs appends to a buffer under a lock that is held for a copy of one line. The thread takes the whole
//! buffer at once, so that a busy server makes a hundred writes a second and not ten thousand. A sink that fails
//! (a closed pipe) costs the lines, which are counted, and nothing else.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// State that the thread and those who log share.
#[derive(Debug, Default)]
struct State {
    /// Whole lines that wait.
    buffer: Vec<u8>,
    /// Lines in it.
    lines: u64,
    /// Lines dropped, ever.
    lost: u64,
    /// Lines dropped that no line has told of yet.
    lost_untold: u64,
    /// The thread holds lines that it is writing.
    busy: bool,
    /// Someone waits for the buffer to be written: no lingering.
    hurry: bool,
    /// No more lines will come.
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Tells the thread that there is something to do.
    filled: Condvar,
    /// Tells who waits in `flush` that the thread is done.
    written: Condvar,
}

/// The buffer's end for those who log.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    buffer_bytes_max: usize,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        buffer_bytes_max: usize,
        linger: Duration,
        sink: Box<dyn Write + Send>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("maillog".into()).spawn(move || run(&theirs, linger, sink))?;
        Ok(Self { shared, buffer_bytes_max, thread: Some(thread) })
    }

    /// Appends a line, or counts it as lost when there is no room.
    pub(super) fn put(&self, line: &[u8]) {
        let mut state = lock(&self.shared);
        if state.buffer.len() + line.len() > self.buffer_bytes_max {
            state.lost += 1;
            state.lost_untold += 1;
            return;
        }
        let was_empty = state.buffer.is_empty();
        state.buffer.extend_from_slice(line);
        state.lines += 1;
        drop(state);
        if was_empty {
            self.shared.filled.notify_one();
        }
    }

    pub(super) fn lost(&self) -> u64 {
        lock(&self.shared).lost
    }

    /// Waits until everything so far is written or lost.
    pub(super) fn flush(&self) {
        let mut state = lock(&self.shared);
        while state.busy || !state.buffer.is_empty() {
            state.hurry = true;
            self.shared.filled.notify_one();
            state = self.shared.written.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.hurry = false;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        lock(&self.shared).closed = true;
        self.shared.filled.notify_one();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A panic while the lock was held can only have left a line half appended: go on.
fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(shared: &Shared, linger: Duration, mut sink: Box<dyn Write + Send>) {
    let mut batch = Vec::new();
    loop {
        let mut state = lock(shared);
        while state.buffer.is_empty() && !state.closed {
            state = shared.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.buffer.is_empty() {
            return;
        }
        if !state.hurry && !state.closed {
            // Let more lines come, unless someone asks for haste.
            let waited = shared.filled.wait_timeout_while(state, linger, |s| !s.hurry && !s.closed);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut batch, &mut state.buffer);
        let lines = std::mem::take(&mut state.lines);
        let untold = std::mem::take(&mut state.lost_untold);
        state.busy = true;
        drop(state);

        if untold > 0 {
            batch.extend_from_slice(
                format!("staffetta/notice: warning, {untold} log lines lost\n").as_bytes(),
            );
        }
        let result = sink.write_all(&batch).and_then(|()| sink.flush());
        batch.clear();

        let mut state = lock(shared);
        if result.is_err() {
            state.lost += lines;
        }
        state.busy = false;
        drop(state);
        shared.written.notify_all();
    }
}
