//! A server for tests of its parts: the real services over stores in memory that fail where a test says so. No sockets, no
//! runner: what the runner is told can be read here.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use antispam::connect::rates::Rates;
use antispam::hashes::Hashes;
use mail::{QueueId, Timestamp};
use store::{
    BodyWriter, MemoryState, MemoryStore, NewMessage, Page, Pending, QueueEntry, QueueFigures, QueueStore,
    Settlement, StateEntry, StateKey, StateNotice, StatePage, StateStore, StateUsage, StoreError, StoredBody,
    Write, Written,
};
use tokio::sync::{mpsc, watch};

use crate::accounts::{Failures, Limits};
use crate::assemble;
use crate::clock::{self, IdMaker};
use crate::judge::{History, NoClerk};
use crate::learning::teacher::Teacher;
use crate::limits::{BodyRoom, SessionCounts};
use crate::maillog::{MailLog, Settings};
use crate::metrics::Metrics;
use crate::quarantine::digest;
use crate::runner::{Message, RunnerHandle};
use crate::services::{Current, Shared};
use crate::steward::{self, StewardHandle};

/// What every house has in its configuration: accounts joe and ann at a.test.
pub(crate) const CONFIGURATION: &str = "
hostname = \"mx.a.test\"
data_dir = \"data\"
[[listener]]
kind = \"mx\"
bind = [\"127.0.0.1:0\"]
[[domain]]
name = \"a.test\"
recipients = \"inline:{joe=x, ann=x}\"
deliver = \"maildir:mail/{domain}/{local}/\"
";

/// An answer for each item.
type Each<T> = Vec<Result<T, StoreError>>;

/// The services, what they stand on, and what the runner is told.
pub(crate) struct House {
    pub(crate) current: Current,
    pub(crate) store: Arc<FaultyQueue>,
    pub(crate) state: Arc<FaultyState>,
    pub(crate) letters: mpsc::Receiver<Message>,
    pub(crate) loaded: Arc<config::Loaded>,
    _folder: tempfile::TempDir,
}

impl House {
    /// With this behind the configuration of all; the data folder is a temporary one.
    pub(crate) async fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let loaded = config::parse(&format!("{CONFIGURATION}{more}"), &folder.path().join("staffetta.toml"));
        let loaded = Arc::new(loaded.map_err(|report| report.render(config::Style::Plain)).unwrap());
        std::fs::create_dir_all(loaded.data_dir()).unwrap();
        let (runner, letters) = RunnerHandle::new();
        let (steward, orders) = StewardHandle::new();
        let (teller, wishes) = digest::Teller::new();
        let (queue, faulty) = (Arc::new(FaultyQueue::default()), Arc::new(FaultyState::default()));
        let state: Arc<dyn StateStore> = Arc::clone(&faulty) as _;
        let log = MailLog::start(Settings::default(), clock::now, Box::new(std::io::sink())).unwrap();
        let shared = Arc::new(Shared {
            store: Arc::clone(&queue) as _,
            state: Arc::clone(&state),
            metrics: Arc::new(Metrics::new().unwrap()),
            history: Arc::new(History::start(Arc::clone(&state))),
            clerk: Arc::new(NoClerk),
            teacher: Teacher::default(),
            log,
            ids: IdMaker::default(),
            room: BodyRoom::new(1 << 20),
            places: Arc::new(SessionCounts::default()),
            failures: Arc::new(Failures::new(Limits::default())),
            rates: Arc::new(Rates::new(Arc::clone(&state))),
            threads: Hashes::new(antispam::correspondents::NAMESPACE, Arc::clone(&state)),
            sent: Hashes::new(antispam::backscatter::status::NAMESPACE, Arc::clone(&state)),
            reputation: antispam::reputation::Memory::new(state),
            runner,
            steward,
            teller,
            stopping: watch::channel(false).0,
        });
        let current = Current::new(assemble::services(&loaded, shared).await.unwrap());
        tokio::spawn(steward::run(current.clone(), orders));
        tokio::spawn(digest::rounds(current.clone(), wishes));
        Self { current, store: queue, state: faulty, letters, loaded, _folder: folder }
    }

    /// All that is in the queue.
    pub(crate) async fn all(&self) -> Vec<QueueEntry> {
        self.store.list(Page { after: None, limit: 100 }).await.unwrap()
    }
}

/// A queue in memory that does not take what it is told not to take.
#[derive(Default)]
pub(crate) struct FaultyQueue {
    inner: MemoryStore,
    /// Messages whose changes fail.
    pub(crate) unsettled: Mutex<BTreeSet<QueueId>>,
    /// What is said when these are asked for.
    pub(crate) unread: Mutex<BTreeMap<QueueId, StoreError>>,
    /// How many times one message was asked for.
    pub(crate) gets: AtomicUsize,
    /// How many times the queue was walked through from its beginning.
    pub(crate) walks: AtomicUsize,
}

impl QueueStore for FaultyQueue {
    fn enqueue(&self, message: NewMessage) -> Pending<()> {
        self.inner.enqueue(message)
    }

    fn spool(&self, id: QueueId) -> Result<BodyWriter, StoreError> {
        self.inner.spool(id)
    }

    fn room(&self) -> Result<(), StoreError> {
        self.inner.room()
    }

    fn settle(&self, settlements: Vec<Settlement>) -> Pending<Vec<Result<(), StoreError>>> {
        let unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        let each = settlements.into_iter().map(|settlement| {
            if unsettled.contains(&settlement.id) {
                return Err(StoreError::NotApplied("the test says so".to_owned()));
            }
            answered(self.inner.settle(vec![settlement]))?.remove(0)
        });
        Pending::ready(Ok(each.collect()))
    }

    fn due(
        &self,
        now: Timestamp,
        limit: usize,
        skip: Box<dyn Fn(QueueId) -> bool + Send>,
    ) -> Pending<Vec<QueueEntry>> {
        self.inner.due(now, limit, skip)
    }

    fn next_due(&self, now: Timestamp) -> Pending<Option<Timestamp>> {
        self.inner.next_due(now)
    }

    fn get(&self, id: QueueId) -> Pending<QueueEntry> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        let unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        unread.get(&id).map_or_else(|| self.inner.get(id), |why| Pending::ready(Err(why.clone())))
    }

    fn read_body(&self, id: QueueId) -> Pending<StoredBody> {
        self.inner.read_body(id)
    }

    fn list(&self, page: Page) -> Pending<Vec<QueueEntry>> {
        self.walks.fetch_add(usize::from(page.after.is_none()), Ordering::Relaxed);
        self.inner.list(page)
    }

    fn figures(&self) -> QueueFigures {
        self.inner.figures()
    }

    fn health(&self) -> Result<(), String> {
        self.inner.health()
    }

    fn close(&self) -> Pending<()> {
        self.inner.close()
    }
}

/// What is there already: a store in memory never keeps anybody waiting.
fn answered<T>(pending: Pending<T>) -> Result<T, StoreError> {
    match pin!(pending).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("a store in memory has the answer at once"),
    }
}

/// A state store in memory that does not answer when it is told not to.
#[derive(Default)]
pub(crate) struct FaultyState {
    inner: MemoryState,
    /// How many pages were asked for.
    pub(crate) scans: AtomicUsize,
    /// So many scans from now on fail.
    pub(crate) failing_scans: AtomicUsize,
}

impl StateStore for FaultyState {
    fn get(&self, keys: Vec<StateKey>, now: Timestamp) -> Pending<Each<Option<StateEntry>>> {
        self.inner.get(keys, now)
    }

    fn write(&self, writes: Vec<Write>, now: Timestamp) -> Pending<Each<Written>> {
        self.inner.write(writes, now)
    }

    fn scan(
        &self,
        prefix: StateKey,
        after: Option<StateKey>,
        limit: usize,
        now: Timestamp,
    ) -> Pending<StatePage> {
        self.scans.fetch_add(1, Ordering::Relaxed);
        let one_less = |left: usize| left.checked_sub(1);
        let is_failing =
            self.failing_scans.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok();
        if is_failing {
            return Pending::ready(Err(StoreError::NotApplied("the test says so".to_owned())));
        }
        self.inner.scan(prefix, after, limit, now)
    }

    fn tend(&self, now: Timestamp) -> Vec<StateNotice> {
        self.inner.tend(now)
    }

    fn usage(&self) -> Vec<(String, StateUsage)> {
        self.inner.usage()
    }

    fn health(&self) -> Result<(), String> {
        self.inner.health()
    }

    fn close(&self) -> Pending<()> {
        self.inner.close()
    }
}
