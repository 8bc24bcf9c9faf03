//! What is kept of verdicts, for `staffetta explain`: each [`VerdictRecord`] for `[antispam] history_days`, in the state
//! store's namespace `verdict`, found by id, by recipient and by time.
//!
//! Keys, newest first in each index (`STAMP` is the time counted down, and a digest of the record):
//!
//! ```text
//! t STAMP                        the record
//! i ID \0 STAMP                  by queue id, and by session
//! r LOCAL-PART \0 STAMP DOMAIN   by recipient, in lower case
//! a ID                           the id under which a copy that is kept back was judged
//! ```
//!
//! Writing never holds up a session: records go through a bounded queue to one task, and what finds no place there, or
//! cannot be written in time, is dropped and counted. When the namespace is full the oldest give way. An index may
//! outlive its record; then it leads nowhere. Never keeps a subject or a body: there is none in a record.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mail::{QueueId, Timestamp};
use policy::VerdictRecord;
use store::{StateKey, StateStore, StoreError, Write};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::clock;

/// Records that wait to be written at most; further ones are dropped.
const WAITING_MAX: usize = 512;
/// Records that one answer holds at most.
const FOUND_MAX: usize = 1_000;
/// Entries of an index that are looked at for one answer at most.
const SCANNED_MAX: usize = 20_000;
/// Records written in one go: more would keep those waiting who ask the store for something.
const BATCH: usize = 16;
/// How long records are gathered for that: each write wakes two threads.
const GATHER_TIME: Duration = Duration::from_millis(20);
/// Entries read in one go.
const PAGE: usize = 500;
/// How long the store may take for one step.
const STEP_TIME: Duration = Duration::from_secs(5);
const NAMESPACE: &str = "verdict";
const DAY_SECONDS: u64 = 86_400;
/// Octets of `STAMP`.
const STAMP_BYTES: usize = 16;

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

    /// Looks records up, newest first, at most `limit` (and at most `FOUND_MAX`).
    ///
    /// # Errors
    /// What the store says: a failure is never "nothing there".
    pub async fn find(&self, wanted: &Wanted, limit: usize, now: Timestamp) -> Result<Found, StoreError> {
        let limit = limit.min(FOUND_MAX);
        let alias;
        let wanted = match wanted {
            Wanted::Id(id) => {
                alias = Wanted::Id(self.judged_as(id, now).await?);
                &alias
            }
            other => other,
        };
        let (prefix, since, filter) = match wanted {
            Wanted::Id(id) => (prefix(b'i', id), Timestamp(0), Filter::Any),
            Wanted::Since(since) => (vec![b't'], *since, Filter::Any),
            Wanted::Recipient(pattern, since) => match pattern.rsplit_once('@') {
                Some(("", domain)) => (vec![b't'], *since, Filter::SomebodyAt(domain.to_lowercase())),
                Some((local, "")) => (prefix(b'r', local), *since, Filter::Any),
                Some((local, domain)) => {
                    (prefix(b'r', local), *since, Filter::Domain(domain.to_lowercase().into_bytes()))
                }
                None => (prefix(b'r', pattern), *since, Filter::Any),
            },
        };
        self.walk(&prefix, since, &filter, limit, now).await
    }

    /// The id under which there is a verdict.
    async fn judged_as(&self, id: &str, now: Timestamp) -> Result<String, StoreError> {
        let found = in_time(self.state.get(vec![alias_key(id)], now)).await??;
        let entry = found.into_iter().next().transpose()?.flatten();
        let other = entry.and_then(|entry| String::from_utf8(entry.value.to_vec()).ok());
        Ok(other.unwrap_or_else(|| id.to_owned()))
    }

    async fn walk(
        &self,
        prefix: &[u8],
        since: Timestamp,
        filter: &Filter,
        limit: usize,
        now: Timestamp,
    ) -> Result<Found, StoreError> {
        let mut found = Found::default();
        let (mut after, mut scanned) = (None, 0);
        loop {
            let page = self.state.scan(StateKey::new(NAMESPACE, prefix), after, PAGE, now);
            let page = in_time(page).await??;
            let mut stamps = Vec::new();
            let mut ended = page.next.is_none();
            for entry in &page.entries {
                scanned += 1;
                let Some((stamp, rest)) = split(entry.key.rest().get(prefix.len()..)) else { continue };
                if time_of(&stamp) < since {
                    ended = true;
                    break;
                }
                if filter.lets_through_key(rest) && stamps.last() != Some(&stamp) {
                    stamps.push(stamp);
                }
            }
            for record in self.records(&stamps, now).await? {
                if !filter.lets_through(&record) {
                    continue;
                }
                if found.records.len() == limit {
                    found.more = true;
                    return Ok(found);
                }
                found.records.push(record);
            }
            found.more = !ended && scanned >= SCANNED_MAX;
            if ended || found.more {
                return Ok(found);
            }
            after = page.next;
        }
    }

    async fn records(
        &self,
        stamps: &[[u8; STAMP_BYTES]],
        now: Timestamp,
    ) -> Result<Vec<VerdictRecord>, StoreError> {
        let mut records = Vec::with_capacity(stamps.len());
        for stamps in stamps.chunks(PAGE) {
            let keys = stamps.iter().map(record_key).collect();
            for entry in in_time(self.state.get(keys, now)).await?? {
                // Gone before its index, or of another version: neither can be told.
                records.extend(entry?.and_then(|entry| VerdictRecord::from_bytes(&entry.value).ok()));
            }
        }
        Ok(records)
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
            let prefix = StateKey::new(NAMESPACE, "t");
            let page = in_time(self.state.scan(prefix, after, PAGE, now)).await??;
            let mut doomed = BTreeSet::new();
            for entry in &page.entries {
                let stamp = split(entry.key.rest().get(1..)).map(|(stamp, _)| stamp);
                let record = VerdictRecord::from_bytes(&entry.value).ok();
                if let (Some(stamp), Some(record)) = (stamp, record)
                    && names(&record, &address)
                {
                    erased += 1;
                    doomed.extend(keys(&record, &stamp));
                    doomed.insert(record_key(&stamp));
                }
            }
            self.delete(doomed, now).await?;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.erase_index(&address, now).await?;
        Ok(erased)
    }

    /// What leads from this recipient to records that no longer name it for want of room.
    async fn erase_index(&self, address: &str, now: Timestamp) -> Result<(), StoreError> {
        let Some((local, domain)) = address.rsplit_once('@') else { return Ok(()) };
        let (prefix, mut after) = (prefix(b'r', local), None);
        loop {
            let page = self.state.scan(StateKey::new(NAMESPACE, &prefix), after, PAGE, now);
            let page = in_time(page).await??;
            let own = page.entries.iter().map(|entry| &entry.key);
            let own = own.filter(|key| {
                split(key.rest().get(prefix.len()..)).is_some_and(|(_, rest)| rest == domain.as_bytes())
            });
            self.delete(own.cloned().collect(), now).await?;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn delete(&self, keys: BTreeSet<StateKey>, now: Timestamp) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let writes = keys.into_iter().map(Write::delete).collect();
        in_time(self.state.write(writes, now)).await??.into_iter().try_for_each(|done| done.map(drop))
    }
}

/// What an index cannot tell apart by its prefix alone.
enum Filter {
    Any,
    Domain(Vec<u8>),
    SomebodyAt(String),
}

impl Filter {
    fn lets_through_key(&self, rest: &[u8]) -> bool {
        match self {
            Self::Domain(domain) => rest == domain.as_slice(),
            Self::Any | Self::SomebodyAt(_) => true,
        }
    }

    fn lets_through(&self, record: &VerdictRecord) -> bool {
        match self {
            Self::SomebodyAt(wanted) => record
                .recipients
                .iter()
                .filter_map(|recipient| recipient.address.rsplit_once('@'))
                .any(|(_, domain)| domain.eq_ignore_ascii_case(wanted)),
            Self::Any | Self::Domain(_) => true,
        }
    }
}

/// The writer: until the last sender is gone.
async fn write_all(state: Arc<dyn StateStore>, mut jobs: mpsc::Receiver<Job>, lost: Arc<AtomicU64>) {
    let mut batch = Vec::with_capacity(BATCH);
    while gather(&mut jobs, &mut batch).await {
        let (mut writes, mut records, mut waiting) = (Vec::new(), 0, Vec::new());
        let mut aliases = Vec::new();
        for job in batch.drain(..) {
            match job {
                Job::Keep(record, ttl) => {
                    records += 1;
                    writes.extend(writes_of(&record, ttl));
                }
                Job::Alias { copy, judged_as, ttl } => {
                    aliases.push(Write::put(alias_key(&copy), judged_as.into_bytes(), ttl));
                }
                Job::Flush(done) => waiting.push(done),
            }
        }
        if !writes.is_empty() {
            let failed = match in_time(state.write(writes, clock::now())).await {
                // The first write of a record is the record itself; an index that is missing loses a way, not the thing.
                Ok(Ok(results)) => results.iter().filter(|result| result.is_err()).count().min(records),
                Ok(Err(_)) | Err(_) => records,
            };
            lost.fetch_add(failed as u64, Ordering::Relaxed);
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

fn writes_of(record: &VerdictRecord, ttl: u64) -> Vec<Write> {
    let bytes = record.to_bytes();
    let stamp = stamp(record.about.at, &bytes);
    let mut writes = vec![Write::put(record_key(&stamp), bytes, ttl)];
    writes.extend(keys(record, &stamp).map(|key| Write::put(key, Vec::new(), ttl)));
    writes
}

/// The ways that lead to a record.
fn keys(record: &VerdictRecord, stamp: &[u8; STAMP_BYTES]) -> impl Iterator<Item = StateKey> {
    let about = &record.about;
    let mut ids = vec![about.id.as_str()];
    if about.session != about.id {
        ids.push(about.session.as_str());
    }
    let by_id = ids.into_iter().map(|id| [prefix(b'i', id), stamp.to_vec()].concat());
    let by_recipient = record.recipients.iter().filter_map(|recipient| {
        let (local, domain) = recipient.address.rsplit_once('@')?;
        Some([prefix(b'r', local), stamp.to_vec(), domain.to_lowercase().into_bytes()].concat())
    });
    by_id.chain(by_recipient).map(|rest| StateKey::new(NAMESPACE, rest)).collect::<Vec<_>>().into_iter()
}

fn alias_key(id: &str) -> StateKey {
    StateKey::new(NAMESPACE, [b"a", id.as_bytes()].concat())
}

fn record_key(stamp: &[u8; STAMP_BYTES]) -> StateKey {
    StateKey::new(NAMESPACE, [b"t".as_slice(), stamp].concat())
}

/// What all keys of one index and name begin with. The zero keeps `joe` apart from `joerg`.
fn prefix(index: u8, name: &str) -> Vec<u8> {
    let mut prefix = vec![index];
    let name = if index == b'i' { name.to_owned() } else { name.to_lowercase() };
    prefix.extend_from_slice(name.as_bytes());
    prefix.push(0);
    prefix
}

/// Later times come first; two records of one millisecond differ by their digest.
fn stamp(at: Timestamp, bytes: &[u8]) -> [u8; STAMP_BYTES] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut stamp = [0; STAMP_BYTES];
    let octets = (u64::MAX - at.0).to_be_bytes().into_iter().chain(digest.as_ref().iter().copied());
    stamp.iter_mut().zip(octets).for_each(|(place, octet)| *place = octet);
    stamp
}

fn time_of(stamp: &[u8; STAMP_BYTES]) -> Timestamp {
    let time = stamp.first_chunk::<8>().map_or(0, |time| u64::from_be_bytes(*time));
    Timestamp(u64::MAX - time)
}

/// The stamp and what follows it.
fn split(rest: Option<&[u8]>) -> Option<([u8; STAMP_BYTES], &[u8])> {
    rest?.split_first_chunk::<STAMP_BYTES>().map(|(stamp, rest)| (*stamp, rest))
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
