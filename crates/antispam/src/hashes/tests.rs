//! What is kept outlives a restart, what the store refuses is tried again, and what is not read is not absent.

use store::state::Each;
use store::{
    EmbeddedState, MemoryState, Op, Pending, StateEntry, StateNotice, StatePage, StateSettings, StateUsage,
    Written,
};

use super::*;
use crate::testing::NOW;

const DAY: u64 = 86_400;

fn hash(n: u64) -> Hash {
    let [_, _, hash @ ..] = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    hash
}

fn over(state: &Arc<MemoryState>) -> Hashes {
    Hashes::new("test", state.clone())
}

fn later(seconds: u64) -> Timestamp {
    Timestamp(NOW.0 + seconds * 1000)
}

async fn knows(hashes: &Hashes, n: u64, now: Timestamp) -> bool {
    hashes.look(&[hash(n)], now).await.unwrap() == [true]
}

fn rows(state: &MemoryState) -> u64 {
    state.usage().iter().map(|(_, usage)| usage.entries).sum()
}

#[tokio::test]
async fn what_was_written_down_outlives_a_restart() {
    let state = Arc::new(MemoryState::default());
    let hashes = over(&state);
    for n in 0..1_000 {
        hashes.note([hash(n)], 30 * DAY, NOW);
        if n % 7 == 0 {
            hashes.save(NOW).await.unwrap();
        }
    }
    hashes.save(NOW).await.unwrap();
    assert_eq!(rows(&state), 6, "170 in each");
    hashes.note([hash(1_000)], 30 * DAY, NOW);
    assert!(knows(&hashes, 1_000, NOW).await, "at once");

    let again = over(&state);
    for n in 0..1_000 {
        assert!(knows(&again, n, later(30 * DAY - 1)).await, "{n}");
    }
    assert!(!knows(&again, 1_000, NOW).await, "it was not written down");
    assert!(!knows(&again, 0, later(30 * DAY + 3_600)).await);
    // What comes now goes into rows of its own.
    again.note([hash(2_000)], 30 * DAY, later(1));
    again.save(later(1)).await.unwrap();
    assert_eq!(rows(&state), 7);
    assert!(knows(&over(&state), 0, later(1)).await && knows(&over(&state), 2_000, later(1)).await);
}

#[tokio::test]
async fn it_is_the_same_upon_a_disk() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Arc::new(EmbeddedState::open(folder.path(), StateSettings::default()).unwrap());
    let state = open();
    let hashes = Hashes::new("test", state.clone());
    for n in 0..1_000 {
        hashes.note([hash(n)], 30 * DAY, NOW);
        if n % 50 == 0 {
            hashes.save(NOW).await.unwrap();
        }
    }
    hashes.save(NOW).await.unwrap();
    state.close().await.unwrap();
    drop((hashes, state));

    let state = open();
    let hashes = Hashes::new("test", state.clone());
    let all: Vec<Hash> = (0..1_001).map(hash).collect();
    let known = hashes.look(&all, later(30 * DAY - 1)).await.unwrap();
    assert!(known[..1_000].iter().all(|is_known| *is_known) && !known[1_000]);
    assert_eq!(hashes.look(&all, later(31 * DAY)).await.unwrap(), [false; 1_001]);
    state.close().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_read_is_not_absent_and_what_cannot_be_written_waits() {
    let state = Arc::new(MemoryState::default());
    let hashes = over(&state);
    state.close().await.unwrap();
    hashes.note([hash(1)], DAY, NOW);
    assert!(hashes.look(&[hash(2)], NOW).await.is_err());
    assert!(hashes.save(NOW).await.is_err());
    let unsaved = hashes.table().take_unsaved();
    assert_eq!(unsaved.rows.len(), 1, "it is tried again");
}

/// Gives no answer to what is written, and forgets it, as one that hangs and is begun anew.
struct Hanging(MemoryState);

impl StateStore for Hanging {
    fn get(&self, keys: Vec<StateKey>, now: Timestamp) -> Pending<Each<Option<StateEntry>>> {
        self.0.get(keys, now)
    }
    fn write(&self, _: Vec<Write>, _: Timestamp) -> Pending<Each<Written>> {
        let (answer, pending) = Pending::channel();
        std::mem::forget(answer);
        pending
    }
    fn scan(
        &self,
        prefix: StateKey,
        after: Option<StateKey>,
        limit: usize,
        now: Timestamp,
    ) -> Pending<StatePage> {
        self.0.scan(prefix, after, limit, now)
    }
    fn tend(&self, now: Timestamp) -> Vec<StateNotice> {
        self.0.tend(now)
    }
    fn usage(&self) -> Vec<(String, StateUsage)> {
        self.0.usage()
    }
    fn health(&self) -> Result<(), String> {
        self.0.health()
    }
    fn close(&self) -> Pending<()> {
        self.0.close()
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waited_for_is_written_by_the_next() {
    let hashes = Hashes::new("test", Arc::new(Hanging(MemoryState::default())));
    for n in 0..200 {
        hashes.note([hash(n)], DAY, NOW);
    }
    let saved = tokio::time::timeout(Duration::from_secs(3), hashes.save(NOW)).await;
    assert!(saved.is_err());
    let sizes: Vec<usize> = hashes.table().take_unsaved().rows.iter().map(|row| row.value.len()).collect();
    assert_eq!(sizes, [1 + 170 * HASH_BYTES, 1 + 30 * HASH_BYTES]);
}

#[tokio::test]
async fn reading_goes_on_where_it_was_cut_off() {
    let state = Arc::new(MemoryState::default());
    let hashes = over(&state);
    let many = PAGE as u64 * 170 * 2 + 170;
    hashes.note((0..many).map(hash), DAY, NOW);
    hashes.save(NOW).await.unwrap();
    let again = over(&state);
    *again.inner.reading.lock().await = {
        let page = state.scan(StateKey::new("test", PREFIX), None, PAGE, NOW).await.unwrap();
        page.next
    };
    again.read(NOW).await.unwrap();
    assert_eq!(again.len() as u64, many - PAGE as u64 * 170, "as if the first page had been read");
    again.read_again().await;
    assert!(knows(&again, 0, NOW).await);
    assert_eq!(again.len() as u64, many);
}

/// The store has begun anew, and what was exported comes back later.
#[tokio::test]
async fn what_comes_back_is_read() {
    let (old, new) = (Arc::new(MemoryState::default()), Arc::new(MemoryState::default()));
    let hashes = over(&old);
    hashes.note([hash(1)], DAY, NOW);
    hashes.save(NOW).await.unwrap();
    let hashes = over(&new);
    hashes.note([hash(2)], DAY, NOW);
    assert!(!knows(&hashes, 1, NOW).await);
    for entry in old.scan(StateKey::new("test", ""), None, 10, NOW).await.unwrap().entries {
        let put = Write { key: entry.key, op: Op::Put(entry.value), ttl_seconds: Some(DAY) };
        new.write(vec![put], NOW).await.unwrap();
    }
    hashes.read_again().await;
    assert!(knows(&hashes, 1, NOW).await && knows(&hashes, 2, NOW).await);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_hears_of_news_alone() {
    let hashes = over(&Arc::default());
    let hears =
        async |hashes: &Hashes| tokio::time::timeout(Duration::from_secs(1), hashes.changed()).await.is_ok();
    hashes.note([], DAY, NOW);
    assert!(!hears(&hashes).await);
    hashes.note([hash(1)], DAY, NOW);
    assert!(hears(&hashes).await && !hears(&hashes).await);
    hashes.note([hash(1)], DAY, later(60));
    assert!(!hears(&hashes).await, "it is known for as long");
    assert!(!hashes.is_empty());
}

#[tokio::test]
async fn what_others_wrote_is_passed_over() {
    let state = Arc::new(MemoryState::default());
    let odd: [(&[u8], &[u8]); 5] = [
        (b"p/0123456789", b""),
        (b"p/0123456789a", b"\x01abcdef"),
        (b"p/012", b"\x01abcdef"),
        (b"p/012345678A", b"\x02abcdef"),
        (b"p/012345678B", b"\x01abcdefghi"),
    ];
    let writes = odd.map(|(key, value)| Write::put(StateKey::new("test", key), value, DAY));
    state.write(writes.to_vec(), NOW).await.unwrap();
    let hashes = over(&state);
    assert_eq!(hashes.look(&[*b"abcdef", *b"ghi\0\0\0"], NOW).await.unwrap(), [true, false]);
    assert_eq!(hashes.len(), 1);
}
