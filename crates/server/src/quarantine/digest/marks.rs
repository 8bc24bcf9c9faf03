//! Until when each recipient has been told, in the state store's namespace `quarantine`; exported, so that a store that begins
//! anew repeats little.
//!
//! ```text
//! began          since when messages count, made with the first letters: a day before
//! ran            when letters were last sent
//! to ADDRESS     until when this recipient has been told, and of which messages that came shortly before
//! ```
//!
//! A message is in the list of the queue a moment after the time that stands in it. So those of the last minutes before a
//! letter are known by their names, and those that turn up later are new.

use std::time::Duration;

use mail::{Address, QueueId, Timestamp};
use store::{StateKey, StateStore, StoreError, Write, Written};

/// The namespace.
pub const NAMESPACE: &str = "quarantine";
/// How long before a letter a message may have come that is not seen by it.
const OVERLAP: Duration = Duration::from_secs(600);
/// Messages of that time that are remembered by name; of more, some may be told twice.
pub(super) const NAMES_MAX: usize = 500;
/// What lay there before the first letters, and still counts.
const BEFORE: Duration = Duration::from_secs(86_400);
const DAY_SECONDS: u64 = 86_400;
/// Days that a recipient is remembered whose messages are kept for ever.
const DAYS_FOR_EVER: u64 = 400;

/// Until when somebody has been told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    until: Timestamp,
    names: Vec<QueueId>,
}

impl Mark {
    /// Somebody who has never been told.
    pub(super) fn began(at: Timestamp) -> Self {
        Self { until: at.plus(OVERLAP), names: Vec::new() }
    }

    /// Somebody who is told at `now`; these, newest last, came shortly before.
    pub(super) fn told(now: Timestamp, late: impl DoubleEndedIterator<Item = QueueId>) -> Self {
        Self { until: now, names: late.rev().take(NAMES_MAX).collect() }
    }

    /// True for what came so shortly before a letter that it has to be known by its name.
    pub(super) fn is_late(arrived: Timestamp, now: Timestamp) -> bool {
        arrived.plus(OVERLAP) > now
    }

    /// True for a message of which nothing was said.
    pub(super) fn is_new(&self, arrived: Timestamp, id: QueueId) -> bool {
        arrived.plus(OVERLAP) > self.until && !self.names.contains(&id)
    }

    /// Octets of memory that it takes beside itself.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.names)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let numbers = std::iter::once(self.until.0).chain(self.names.iter().map(|id| id.0));
        numbers.flat_map(u64::to_be_bytes).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut numbers = bytes.as_chunks::<8>().0.iter().map(|number| u64::from_be_bytes(*number));
        Some(Self { until: Timestamp(numbers.next()?), names: numbers.map(QueueId).collect() })
    }
}

/// The marks as they are at `now`.
pub(super) struct Marks<'a> {
    pub(super) state: &'a dyn StateStore,
    pub(super) now: Timestamp,
}

impl Marks<'_> {
    /// When letters were last sent, or were to be sent for the first time.
    pub(super) async fn ran(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.get(key("ran")).await?.map(|mark| mark.until))
    }

    /// They are sent now.
    pub(super) async fn set_ran(&self) -> Result<(), StoreError> {
        self.put(key("ran"), &Mark { until: self.now, names: Vec::new() }, None).await
    }

    /// Since when messages count.
    pub(super) async fn begin(&self) -> Result<Timestamp, StoreError> {
        if let Some(began) = self.get(key("began")).await? {
            return Ok(began.until);
        }
        let before = u64::try_from(BEFORE.as_millis()).unwrap_or_default();
        let began = Timestamp(self.now.0.saturating_sub(before));
        self.put(key("began"), &Mark { until: began, names: Vec::new() }, None).await?;
        Ok(began)
    }

    /// Until when this recipient has been told; none when never.
    pub(super) async fn of(&self, recipient: &Address) -> Result<Option<Mark>, StoreError> {
        self.get(of(recipient)).await
    }

    /// A recipient has been told. Remembered for longer than messages are kept.
    pub(super) async fn set(&self, recipient: &Address, mark: &Mark, days: u32) -> Result<(), StoreError> {
        let days = if days == 0 { DAYS_FOR_EVER } else { u64::from(days) + 2 };
        self.put(of(recipient), mark, Some(days * DAY_SECONDS)).await
    }

    async fn get(&self, key: StateKey) -> Result<Option<Mark>, StoreError> {
        let found = self.state.get(vec![key], self.now).await?;
        let entry = found.into_iter().next().transpose()?.flatten();
        Ok(entry.and_then(|entry| Mark::from_bytes(&entry.value)))
    }

    async fn put(&self, key: StateKey, mark: &Mark, ttl_seconds: Option<u64>) -> Result<(), StoreError> {
        let op = store::Op::Put(mark.to_bytes().into());
        let written: Vec<Result<Written, StoreError>> =
            self.state.write(vec![Write { key, op, ttl_seconds }], self.now).await?;
        written.into_iter().try_for_each(|done| done.map(drop))
    }
}

fn key(name: &str) -> StateKey {
    StateKey::new(NAMESPACE, name)
}

fn of(recipient: &Address) -> StateKey {
    key(&format!("to {}", recipient.lookup_key()))
}

#[cfg(test)]
mod tests {
    use store::MemoryState;

    use super::*;

    const NOW: Timestamp = Timestamp(1_795_309_323_456);

    fn ago(seconds: u64) -> Timestamp {
        Timestamp(NOW.0 - seconds * 1000)
    }

    #[test]
    fn everything_is_told_once_however_late_it_turns_up() {
        let messages = [(ago(5_000), QueueId(1)), (ago(500), QueueId(2)), (NOW, QueueId(3))];
        let began = Mark::began(ago(86_400));
        assert!(messages.iter().all(|(arrived, id)| began.is_new(*arrived, *id)));
        assert!(!began.is_new(ago(90_000), QueueId(9)), "long before the first letters");
        let late = messages.iter().filter(|(arrived, _)| Mark::is_late(*arrived, NOW)).map(|(_, id)| *id);
        let mark = Mark::told(NOW, late);
        assert!(!messages.iter().any(|(arrived, id)| mark.is_new(*arrived, *id)));
        assert!(mark.is_new(ago(1), QueueId(4)), "it was being stored when the list was made");
        assert!(mark.is_new(NOW.plus(Duration::from_secs(1)), QueueId(5)));
        assert_eq!(Mark::from_bytes(&mark.to_bytes()), Some(mark));
    }

    #[test]
    fn a_flood_fits_into_what_is_remembered() {
        let mark = Mark::told(NOW, (0..5_000).map(QueueId));
        assert!(mark.to_bytes().len() <= store::state::VALUE_BYTES_MAX);
        assert!(!mark.is_new(ago(0), QueueId(4_999)), "the newest are known");
    }

    #[tokio::test]
    async fn marks_are_kept_for_each_recipient() {
        let state = MemoryState::default();
        let at = |now| Marks { state: &state, now };
        assert_eq!(at(NOW).ran().await, Ok(None));
        assert_eq!(at(NOW).begin().await, Ok(ago(86_400)));
        let later = NOW.plus(Duration::from_secs(1_000));
        at(later).set_ran().await.unwrap();
        assert_eq!(at(later).ran().await, Ok(Some(later)));
        assert_eq!(at(later).begin().await, Ok(ago(86_400)), "it began only once");
        let [joe, ann]: [Address; 2] = ["Joe@A.test", "ann@a.test"].map(|text| text.parse().unwrap());
        let mark = Mark::told(NOW, [QueueId(7)].into_iter());
        at(NOW).set(&joe, &mark, 2).await.unwrap();
        assert_eq!(at(later).of(&"joe@a.test".parse().unwrap()).await, Ok(Some(mark)));
        assert_eq!(at(later).of(&ann).await, Ok(None));
        let long_after = NOW.plus(Duration::from_secs(5 * DAY_SECONDS));
        assert_eq!(at(long_after).of(&joe).await, Ok(None), "what it was about is gone too");
        state.close().await.unwrap();
        assert!(at(NOW).of(&joe).await.is_err(), "what cannot be read is not absent");
    }
}
