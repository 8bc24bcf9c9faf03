//! How long the checks before the message may make a client wait, all of them together.
//!
//! Each stage has a limit of its own; with name servers that are slow to answer everything, their sum would be what every
//! message costs. Pure: it is told what was spent. Never less than a moment is left, so that what waits for nobody, such as
//! a table of the operator's, is always asked.

use std::time::Duration;

/// What each stage has at least.
const STAGE_TIME_MIN: Duration = Duration::from_secs(1);

/// What was spent on waiting.
#[derive(Debug, Default)]
pub(super) struct Waits {
    session: Duration,
    transaction: Duration,
}

impl Waits {
    /// What a stage may take that has a limit of its own, where all before the message have `all`.
    pub(super) fn left(&self, stage: Duration, all: Duration) -> Duration {
        all.saturating_sub(self.session + self.transaction).max(STAGE_TIME_MIN).min(stage)
    }

    /// The client waited for its connection or HELO.
    pub(super) fn in_session(&mut self, time: Duration) {
        self.session += time;
    }

    /// It waited for its MAIL.
    pub(super) fn in_transaction(&mut self, time: Duration) {
        self.transaction += time;
    }

    /// Another transaction: what the last one took is no matter.
    pub(super) fn end_transaction(&mut self) {
        self.transaction = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Duration = Duration::from_secs(14);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn the_stages_share_what_there_is_and_each_has_a_moment() {
        let mut waits = Waits::default();
        assert_eq!(waits.left(seconds(8), ALL), seconds(8));
        waits.in_session(seconds(4));
        waits.in_session(seconds(5));
        assert_eq!(waits.left(seconds(8), ALL), seconds(5));
        waits.in_transaction(seconds(5));
        assert_eq!(waits.left(seconds(8), ALL), STAGE_TIME_MIN);
        assert_eq!(waits.left(Duration::ZERO, ALL), Duration::ZERO);
        // The next message of the session has what the connection left over.
        waits.end_transaction();
        assert_eq!(waits.left(seconds(8), ALL), seconds(5));
    }
}
