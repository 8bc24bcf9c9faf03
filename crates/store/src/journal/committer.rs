//! Group commit: the thread that owns the [`Writer`], takes all that waits, makes one write and one sync of
//! it, and then answers.
//!
//! Lazy requests wait a few milliseconds for company before they are written, and longer for a sync; they are
//! answered after it, like all others. A request is answered exactly once, on this thread, whatever happens.
//! A panic in an answer is caught: it concerns nobody else. The waiting requests are not bounded here: who
//! appends waits for its answer, and is bounded itself.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::AppendError;
use super::writer::{Room, Writer};
use super::{Done, Durability, Figures, Payload, Position, Settings};

/// What waits for the committer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    requests: VecDeque<Request>,
    /// Requests among them that want a sync now.
    urgent: usize,
    /// When the committer, which is waiting, will look by itself.
    wakes_at: Option<Instant>,
    waiting: bool,
    closed: bool,
}

pub(super) struct Request {
    pub(super) payloads: Vec<Payload>,
    pub(super) durability: Durability,
    /// Lazy ones: to be written by then.
    pub(super) write_by: Option<Instant>,
    pub(super) done: Done,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({} payloads, {:?})", self.payloads.len(), self.durability)
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the request back when the queue has been closed.
    pub(super) fn push(&self, request: Request) -> Result<(), Request> {
        let mut state = self.state();
        if state.closed {
            return Err(request);
        }
        let in_time = match (request.write_by, state.wakes_at) {
            (Some(by), Some(at)) => at <= by,
            _ => false,
        };
        state.urgent += usize::from(request.write_by.is_none());
        state.requests.push_back(request);
        let wake = state.waiting && !in_time;
        drop(state);
        if wake {
            self.news.notify_one();
        }
        Ok(())
    }

    /// Takes no more requests; those that wait are still served.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.news.notify_one();
    }

    /// Waits for something to do: requests of up to `bytes_max` octets, or that `until` has come.
    fn take(&self, until: Option<Instant>, bytes_max: usize) -> Taken {
        let mut state = self.state();
        loop {
            let write_by = state.requests.front().and_then(|r| r.write_by);
            let due = state.urgent > 0 || state.closed || write_by.is_some_and(|by| by <= Instant::now());
            if due && !state.requests.is_empty() {
                return Taken::Requests(state.pop(bytes_max));
            }
            if state.closed {
                return Taken::Closed;
            }
            let wakes_at = [until, write_by].into_iter().flatten().min();
            let left = wakes_at.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) && until == wakes_at {
                let waits = !state.requests.is_empty();
                return if waits { Taken::Requests(state.pop(bytes_max)) } else { Taken::TimeUp };
            }
            (state.waiting, state.wakes_at) = (true, wakes_at);
            state = match left {
                None => self.news.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
            (state.waiting, state.wakes_at) = (false, None);
        }
    }
}

impl State {
    fn pop(&mut self, bytes_max: usize) -> Vec<Request> {
        let mut taken = Vec::with_capacity(self.requests.len().min(1024));
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some(request) = self.requests.pop_front()
        {
            bytes += request.payloads.iter().filter_map(Payload::length).map(|l| l as usize).sum::<usize>();
            self.urgent -= usize::from(request.write_by.is_none());
            taken.push(request);
        }
        taken
    }
}

enum Taken {
    Requests(Vec<Request>),
    TimeUp,
    Closed,
}

/// The thread's state.
#[derive(Debug)]
pub(super) struct Committer {
    writer: Writer,
    queue: Arc<Queue>,
    figures: Arc<Figures>,
    bytes_max: usize,
    /// After serving, the committer wakes by itself after so long: lazy requests need not wake it, and if
    /// there are none it is idle.
    look_again: Duration,
    open: Vec<Open>,
    /// The next moment of idleness is to be used.
    busy: bool,
}

/// A request that has not been answered.
struct Open {
    slots: Vec<Slot>,
    done: Done,
    /// To be synced by then; `None`: at once.
    sync_by: Option<Instant>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Open({} payloads)", self.slots.len())
    }
}

/// What has become of one payload.
enum Slot {
    Waiting,
    Written(Position),
    Settled(Result<Position, AppendError>),
}

/// Payloads that go into one write, and whose they are: indexes of the request and of its slot.
#[derive(Default)]
struct Run {
    owners: Vec<(usize, usize)>,
    payloads: Vec<Payload>,
    bytes: u32,
}

impl Committer {
    pub(super) fn new(writer: Writer, queue: Arc<Queue>, figures: Arc<Figures>, settings: &Settings) -> Self {
        let bytes_max = usize::try_from(settings.batch_bytes_max).unwrap_or(usize::MAX).max(1);
        Self {
            writer,
            queue,
            figures,
            bytes_max,
            look_again: settings.lazy_write(),
            open: Vec::new(),
            busy: true,
        }
    }

    /// Serves until the queue is closed and empty.
    pub(super) fn run(mut self) {
        loop {
            let sync_by = self.open.iter().filter_map(|o| o.sync_by).min();
            let idle_at = self.busy.then(|| Instant::now() + self.look_again);
            match self.queue.take([sync_by, idle_at].into_iter().flatten().min(), self.bytes_max) {
                Taken::Requests(requests) => {
                    self.serve(requests);
                    self.busy = true;
                }
                Taken::TimeUp if sync_by.is_some_and(|by| by <= Instant::now()) => self.sync(),
                Taken::TimeUp => self.idle(),
                Taken::Closed => break,
            }
        }
        self.sync();
        self.writer.mark();
        // Best effort: without it the last batch is only not known to be complete.
        drop(self.writer.sync());
    }

    /// Uses the time: the last batch gets its closing mark, and there will be a spare.
    pub(super) fn idle(&mut self) {
        self.writer.mark();
        self.writer.prepare();
        self.busy = false;
    }

    /// Writes the requests, syncs if one of them, or one before, wants it now, and answers.
    pub(super) fn serve(&mut self, requests: Vec<Request>) {
        let now = Instant::now();
        let mut run = Run::default();
        for request in requests {
            let owner = self.open.len();
            let sync_by = match request.durability {
                Durability::Lazy { within } => Some(now + within),
                Durability::Sync | Durability::Reserved => None,
            };
            let slots = request.payloads.iter().map(|_| Slot::Waiting).collect();
            self.open.push(Open { slots, done: request.done, sync_by });
            for (index, payload) in request.payloads.into_iter().enumerate() {
                self.place(&mut run, (owner, index), payload, request.durability);
            }
        }
        self.write(&mut run);
        if self.open.iter().any(|o| o.sync_by.is_none_or(|by| by <= now)) {
            self.sync_written();
        }
        self.answer_settled();
    }

    /// Adds a payload to the run, beginning a new segment when it does not fit.
    fn place(&mut self, run: &mut Run, owner: (usize, usize), payload: Payload, durability: Durability) {
        let mut room = self.writer.room(&payload, durability, run.bytes);
        if matches!(room, Room::Next) {
            self.write(run);
            self.sync_written();
            // If that failed, there is a new segment already, or none.
            room = self.writer.room(&payload, durability, 0);
        }
        if matches!(room, Room::Next) {
            room = self.writer.turn().map_or_else(Room::None, |()| Room::Here);
        }
        match room {
            Room::None(error) => self.settle(owner, Err(error)),
            Room::Here | Room::Next => {
                run.bytes += payload.length().and_then(super::frame::frame_bytes).unwrap_or_default();
                run.owners.push(owner);
                run.payloads.push(payload);
            }
        }
    }

    fn write(&mut self, run: &mut Run) {
        let Run { owners, payloads, bytes } = std::mem::take(run);
        if payloads.is_empty() {
            return;
        }
        let written = self.writer.put(&payloads);
        self.figures.written(payloads.len(), bytes);
        match written {
            Ok(positions) => {
                for (owner, position) in owners.into_iter().zip(positions) {
                    self.slot(owner, Slot::Written(position));
                }
            }
            Err(error) => {
                let refusal = self.abort(&error);
                for owner in owners {
                    self.settle(owner, Err(refusal.clone()));
                }
            }
        }
    }

    fn sync(&mut self) {
        self.sync_written();
        self.answer_settled();
    }

    /// Answers all who have nothing more to wait for.
    fn answer_settled(&mut self) {
        let (settled, open): (Vec<_>, _) =
            std::mem::take(&mut self.open).into_iter().partition(Open::is_settled);
        self.open = open;
        settled.into_iter().for_each(Open::answer);
    }

    fn sync_written(&mut self) {
        match self.writer.sync() {
            Ok(synced) => {
                self.figures.synced(synced);
                self.settle_written(Ok);
            }
            Err(error) => {
                self.abort(&error);
            }
        }
    }

    /// The disk failed: nothing that was not synced counts.
    fn abort(&mut self, error: &io::Error) -> AppendError {
        self.figures.failed();
        let refusal = self.writer.abort(error);
        self.settle_written(|_| Err(refusal.clone()));
        refusal
    }

    fn settle_written(&mut self, result: impl Fn(Position) -> Result<Position, AppendError>) {
        for slot in self.open.iter_mut().flat_map(|o| o.slots.iter_mut()) {
            if let Slot::Written(position) = slot {
                *slot = Slot::Settled(result(*position));
            }
        }
    }

    fn settle(&mut self, owner: (usize, usize), result: Result<Position, AppendError>) {
        self.slot(owner, Slot::Settled(result));
    }

    fn slot(&mut self, (open, slot): (usize, usize), value: Slot) {
        if let Some(place) = self.open.get_mut(open).and_then(|o| o.slots.get_mut(slot)) {
            *place = value;
        }
    }
}

impl Open {
    fn is_settled(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot, Slot::Settled(_)))
    }

    fn answer(self) {
        let lost = || Err(AppendError::Unknown("the journal lost track of it".into()));
        let results = self.slots.into_iter().map(|slot| match slot {
            Slot::Settled(result) => result,
            Slot::Waiting | Slot::Written(_) => lost(),
        });
        let results = results.collect();
        // An answer that panics has been reported by the panic hook, and must not stop everybody's mail.
        drop(catch_unwind(AssertUnwindSafe(|| (self.done)(results))));
    }
}
