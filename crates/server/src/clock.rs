//! The one place where the daemon reads the wall clock, and makes queue ids from it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use mail::{QueueId, Timestamp};

/// Now, as the system's clock has it; 1970 when that clock is before 1970.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Makes queue ids: never the same twice in a process, and, as the clock goes on, none of an earlier process.
#[derive(Debug)]
pub struct IdMaker {
    last: AtomicU64,
}

impl Default for IdMaker {
    /// Starts at a random place within the current millisecond's range, so that two processes that start in one
    /// millisecond (a restart after a clock step) hardly meet.
    fn default() -> Self {
        let mut random = [0_u8; 8];
        // Without randomness the ids still differ by their time.
        let offset = getrandom::fill(&mut random).map_or(0, |()| u64::from_le_bytes(random) & 0x7_ffff);
        Self { last: AtomicU64::new(QueueId::from_parts(now().0, offset).0) }
    }
}

impl IdMaker {
    /// The next id.
    pub fn next(&self) -> QueueId {
        let floor = QueueId::from_parts(now().0, 0).0;
        let step = |last: u64| Some(last.wrapping_add(1).max(floor));
        let (Ok(last) | Err(last)) = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        QueueId(last.wrapping_add(1).max(floor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_and_never_repeat() {
        let maker = IdMaker::default();
        let ids: Vec<QueueId> = (0..10_000).map(|_| maker.next()).collect();
        assert!(ids.windows(2).all(|pair| matches!(pair, [a, b] if a < b)));
    }
}
