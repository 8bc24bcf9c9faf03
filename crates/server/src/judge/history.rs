//! What is kept of verdicts, for `staffetta explain`: each [`VerdictRecord`] for `[antispam] history_days`, in the state
//! store's namespace `verdict`, found by id, by recipient and by time.
//!
//! Keys, newest first:
//!
//! ```text
//! t STAMP     records, several in a pack; STAMP is the time of the newest counted down, and a digest
//! a ID        the id under which a copy that is kept back was judged
//! ```
//!
//! There is no index: an index has rows for each verdict, and rows are what writing costs, under full load and for every
//! message; somebody asks now and then, and then all that is kept is read, from the newest on, in pieces, until enough is found.
//! An id tells when it was made: what is kept of that time is read first, and the rest only when nothing is there.
//! Writing never holds up a session: records go through a bounded queue to one task, and what finds no place there, or
//! cannot be written in time, is dropped and counted. When the namespace is full the oldest give way.
//! Never keeps a subject or a body: there is none in a record.

mod pack;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mail::{QueueId, Timestamp};
use policy::VerdictRecord;
use store::{Op, StateKey, StateStore, StoreError, Write};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use self::pack::{Pack, packs, unpack};
use crate::clock;

/// Records that wait to be written at most; further ones are dropped.
const WAITING_MAX: usize = 512;
/// Records that one answer holds at most.
const FOUND_MAX: usize = 1_000;
/// Packs that are looked at for one answer at most: more than a store of the default size holds.
const LOOKED_MAX: usize = 200_000;
/// Records written in one go: more would keep those waiting who ask the store for something.
const BATCH: usize = 64;
/// How long records are gathered for that: each write wakes two threads, and a pack costs as much as a record would.
const GATHER_TIME: Duration = Duration::from_millis(20);
/// Packs read in one go: some hundred KiB.
const PAGE: usize = 50;
/// How far the clock may have been set between an id and its verdict for that to be found at once.
const CLOCK_MARGIN: Duration = Duration::from_secs(600);
/// How long the store may take for one step.
const STEP_TIME: Duration = Duration::from_secs(5);
const NAMESPACE: &str = "verdict";
const DAY_SECONDS: u64 = 86_400;
/// Octets of a pack's digest in its key.
const DIGEST_BYTES: usize = 8;

/// The verdicts of the last days.
pub struct History {
    state: Arc<dyn StateStore>,
    jobs: mpsc::Sender<Job>,
    lost: Arc<AtomicU64>,
}

/// Which records are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Those of a message or session.
    Id(String),
    /// All, down to this time.
    Since(Timestamp),
    /// Those about a recipient, down to this time: `joe@example.test`; `joe@` in any domain; `@example.test` anybody there.
    Recipient(String, Timestamp),
}

/// What was found, newest first.
#[derive(Debug, Default)]
pub struct Found {
    /// The records.
    pub records: Vec<VerdictRecord>,
    /// There are more.
    pub more: bool,
}

enum Job {
    Keep(Box<VerdictRecord>, u64),
    Alias { copy: String, judged_as: String, ttl: u64 },
    Flush(oneshot::Sender<()>),
}

impl History {
    /// A history in this store. Must be called within a runtime: its writer is a task.
    #[must_use]
    pub fn start(state: Arc<dyn StateStore>) -> Self {
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        tokio::spawn(write_all(Arc::clone(&state), waiting, Arc::clone(&lost)));
        Self { state, jobs, lost }
    }

    /// Keeps a record for so many days; 0 keeps nothing. Returns at once.
    pub fn keep(&self, record: VerdictRecord, days: u32) {
        if days == 0 {
            return;
        }
        let ttl = u64::from(days) * DAY_SECONDS;
        if self.jobs.try_send(Job::Keep(Box::new(record), ttl)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A copy that is kept back has a queue id of its own: it leads to the verdict too. Returns at once.
    pub fn alias(&self, copy: QueueId, judged_as: QueueId, days: u32) {
        if days > 0 {
            let ttl = u64::from(days) * DAY_SECONDS;
            let job = Job::Alias { copy: copy.to_string(), judged_as: judged_as.to_string(), ttl };
            // Without it the verdict is still there, under the id of the message.
            let _ = self.jobs.try_send(job);
        }
    }

    /// How many records were dropped so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until what was given so far is written, or lost; at most a few seconds.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        let flushed = async {
            if self.jobs.send(Job::Flush(done)).await.is_ok() {
                drop(wait.await);
            }
        };
        drop(timeout(STEP_TIME, flushed).await);
    }

    /// Looks records up, newest first, at most `limit` (and at most `FOUND_MAX`). `session_max`: how long after an id was made
    /// there may be verdicts under it.
    ///
    /// # Errors
    /// What the store says: a failure is never "nothing there".
    pub async fn find(
        &self,
        wanted: &Wanted,
        limit: usize,
        (now, session_max): (Timestamp, Duration),
    ) -> Result<Found, StoreError> {
        let limit = limit.min(FOUND_MAX);
        let Wanted::Id(id) = wanted else { return self.look(&Filter::new(wanted), None, limit, now).await };
        let judged_as = self.judged_as(id, now).await?;
        let id: Option<QueueId> = judged_as.parse().ok();
        let wanted = Wanted::Id(judged_as);
        let whole = Filter::new(&wanted);
        if let Some(made) = id.map(QueueId::made) {
            let since = Timestamp(made.0.saturating_sub(millis(CLOCK_MARGIN)));
            let until = made.plus(session_max.saturating_add(CLOCK_MARGIN));
            let around = Filter { since, ..Filter::new(&wanted) };
            let found = self.look(&around, Some(before(until)), limit, now).await?;
            if !found.records.is_empty() {
                return Ok(found);
            }
        }
        // The clock was set, or what made the id had another.
        self.look(&whole, None, limit, now).await
    }

    /// Reads packs, those after a key, until enough is found or all that is left is too old.
    async fn look(
        &self,
        filter: &Filter<'_>,
        mut after: Option<StateKey>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Found, StoreError> {
        let (mut found, mut looked) = (Found::default(), 0);
        loop {
            let page = in_time(self.state.scan(all_packs(), after, PAGE, now)).await??;
            for entry in &page.entries {
                looked += 1;
                if time_of(&entry.key).is_some_and(|newest| newest < filter.since) {
                    return Ok(found.in_order());
                }
                // Of another version: what it holds cannot be told.
                let records = unpack(&entry.value).unwrap_or_default();
                for record in records.into_iter().filter(|record| filter.lets_through(record)) {
                    if found.records.len() == limit {
                        found.more = true;
                        return Ok(found.in_order());
                    }
                    found.records.push(record);
                }
            }
            found.more = page.next.is_some() && looked >= LOOKED_MAX;
            if page.next.is_none() || found.more {
                return Ok(found.in_order());
            }
            after = page.next;
        }
    }

    /// The id under which there is a verdict.
    async fn judged_as(&self, id: &str, now: Timestamp) -> Result<String, StoreError> {
        let found = in_time(self.state.get(vec![alias_key(id)], now)).await??;
        let entry = found.into_iter().next().transpose()?.flatten();
        let other = entry.and_then(|entry| String::from_utf8(entry.value.to_vec()).ok());
        Ok(other.unwrap_or_else(|| id.to_owned()))
    }

    /// Forgets every record that names this address, whoever else is in it. Gives their number. Reads all that is kept.
    ///
    /// # Errors
    /// What the store says; then some may be left.
    pub async fn erase(&self, address: &str, now: Timestamp) -> Result<u64, StoreError> {
        let address = address.trim_matches(['<', '>']).to_lowercase();
        self.flush().await;
        let (mut erased, mut after) = (0, None);
        loop {
            let page = in_time(self.state.scan(all_packs(), after, PAGE, now)).await??;
            let mut writes = Vec::new();
            for entry in page.entries {
                let Some(records) = unpack(&entry.value) else {
                    // Whom it names cannot be told, and nobody can read it.
                    writes.push(Write::delete(entry.key));
                    continue;
                };
                let count = records.len();
                let mut left = Pack::new();
                for record in records.into_iter().filter(|record| !names(record, &address)) {
                    left.push(record.about.at, &record.to_bytes());
                }
                let gone = count - left.count;
                erased += gone as u64;
                let ttl = entry.expires.map(|at| at.seconds().saturating_sub(now.seconds()));
                match (gone, left.count) {
                    (0, _) => {}
                    (_, 0) => writes.push(Write::delete(entry.key)),
                    _ => writes.push(Write {
                        key: entry.key,
                        op: Op::Put(left.bytes.into()),
                        ttl_seconds: ttl,
                    }),
                }
            }
            if !writes.is_empty() {
                in_time(self.state.write(writes, now))
                    .await??
                    .into_iter()
                    .try_for_each(|done| done.map(drop))?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(erased);
            }
        }
    }
}

impl Found {
    /// Newest first: of packs that were begun at about the same time, one may reach into the other.
    fn in_order(mut self) -> Self {
        self.records.sort_by_key(|record| std::cmp::Reverse(record.about.at));
        self
    }
}

/// Which records are meant.
struct Filter<'a> {
    since: Timestamp,
    whom: Whom<'a>,
}

enum Whom<'a> {
    Anybody,
    Id(&'a str),
    /// A local part, a domain, or both, in lower case.
    Recipient(Option<String>, Option<String>),
}

impl<'a> Filter<'a> {
    fn new(wanted: &'a Wanted) -> Self {
        match wanted {
            Wanted::Id(id) => Self { since: Timestamp(0), whom: Whom::Id(id) },
            Wanted::Since(since) => Self { since: *since, whom: Whom::Anybody },
            Wanted::Recipient(pattern, since) => {
                let (local, domain) = pattern.rsplit_once('@').unwrap_or((pattern, ""));
                let part = |text: &str| Some(text.to_lowercase()).filter(|text| !text.is_empty());
                Self { since: *since, whom: Whom::Recipient(part(local), part(domain)) }
            }
        }
    }

    fn lets_through(&self, record: &VerdictRecord) -> bool {
        let whom = match &self.whom {
            Whom::Anybody => true,
            Whom::Id(id) => record.about.id == *id || record.about.session == *id,
            Whom::Recipient(local, domain) => record.recipients.iter().any(|recipient| {
                let parts = recipient.address.rsplit_once('@');
                let same = |wanted: &Option<String>, part: &str| {
                    wanted.as_ref().is_none_or(|wanted| *wanted == part.to_lowercase())
                };
                parts.is_some_and(|(l, d)| same(local, l) && same(domain, d))
            }),
        };
        whom && record.about.at >= self.since
    }
}

/// The writer: until the last sender is gone.
async fn write_all(state: Arc<dyn StateStore>, mut jobs: mpsc::Receiver<Job>, lost: Arc<AtomicU64>) {
    let mut batch = Vec::with_capacity(BATCH);
    while gather(&mut jobs, &mut batch).await {
        let mut records: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        let (mut aliases, mut waiting) = (Vec::new(), Vec::new());
        for job in batch.drain(..) {
            match job {
                Job::Keep(record, ttl) => {
                    records.entry(ttl).or_default().push((record.about.at, record.to_bytes()));
                }
                Job::Alias { copy, judged_as, ttl } => {
                    aliases.push(Write::put(alias_key(&copy), judged_as.into_bytes(), ttl));
                }
                Job::Flush(done) => waiting.push(done),
            }
        }
        if !records.is_empty() {
            lost.fetch_add(write_packs(&*state, records).await, Ordering::Relaxed);
        }
        if !aliases.is_empty() {
            drop(in_time(state.write(aliases, clock::now())).await);
        }
        for done in waiting {
            let _ = done.send(());
        }
    }
}

/// Fills the batch with what comes within a short time; false when nothing will come any more. Who waits for a flush does not
/// wait for others.
async fn gather(jobs: &mut mpsc::Receiver<Job>, batch: &mut Vec<Job>) -> bool {
    let mut more = jobs.recv_many(batch, BATCH).await > 0;
    let until = tokio::time::Instant::now() + GATHER_TIME;
    while more && batch.len() < BATCH && !batch.iter().any(|job| matches!(job, Job::Flush(_))) {
        let room = BATCH - batch.len();
        match tokio::time::timeout_at(until, jobs.recv_many(batch, room)).await {
            Ok(count) => more = count > 0,
            Err(_) => break,
        }
    }
    !batch.is_empty()
}

/// Keeps records, by the seconds for which they are kept; gives how many are lost.
async fn write_packs(state: &dyn StateStore, records: BTreeMap<u64, Vec<(Timestamp, Vec<u8>)>>) -> u64 {
    let given: usize = records.values().map(Vec::len).sum();
    let (mut writes, mut counts) = (Vec::new(), Vec::new());
    for (ttl, mut records) in records {
        records.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        for pack in packs(records) {
            counts.push(pack.count);
            writes.push(Write::put(pack_key(&pack), pack.bytes, ttl));
        }
    }
    let kept = match in_time(state.write(writes, clock::now())).await {
        Ok(Ok(results)) => {
            results.iter().zip(counts).filter(|(r, _)| r.is_ok()).map(|(_, count)| count).sum()
        }
        Ok(Err(_)) | Err(_) => 0,
    };
    given.saturating_sub(kept) as u64
}

fn alias_key(id: &str) -> StateKey {
    StateKey::new(NAMESPACE, [b"a", id.as_bytes()].concat())
}

fn all_packs() -> StateKey {
    StateKey::new(NAMESPACE, "t")
}

/// Later times come first; two packs of one millisecond differ by their digest.
fn pack_key(pack: &Pack) -> StateKey {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &pack.bytes);
    let digest = digest.as_ref().get(..DIGEST_BYTES).unwrap_or_default();
    StateKey::new(NAMESPACE, [b"t", &(u64::MAX - pack.newest.0).to_be_bytes()[..], digest].concat())
}

/// The key behind which packs begin whose newest record is of this time, or older.
fn before(until: Timestamp) -> StateKey {
    StateKey::new(NAMESPACE, [b"t", &(u64::MAX - until.0).to_be_bytes()[..]].concat())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The time of the newest record in the pack with this key.
fn time_of(key: &StateKey) -> Option<Timestamp> {
    let time = key.rest().get(1..)?.first_chunk::<8>()?;
    Some(Timestamp(u64::MAX - u64::from_be_bytes(*time)))
}

/// True when any text of the record has this address (in lower case), by itself or within a sentence.
fn names(record: &VerdictRecord, address: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || "._+-=@".contains(c);
    let text = record.to_json().to_string().to_lowercase();
    record.mentions(address)
        || text.match_indices(address).any(|(at, _)| {
            let before = text.get(..at).and_then(|before| before.chars().next_back());
            // A dot may end the sentence, or go on with another domain.
            let after = text.get(at + address.len()..).unwrap_or_default();
            let goes_on = after.strip_prefix('.').unwrap_or(after).starts_with(char::is_alphanumeric);
            !before.is_some_and(is_part) && !goes_on && !after.starts_with(['-', '_'])
        })
}

async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, StoreError> {
    timeout(STEP_TIME, work)
        .await
        .map_err(|_| StoreError::NotApplied("the state store did not answer in time".to_owned()))
}

#[cfg(test)]
mod tests;
