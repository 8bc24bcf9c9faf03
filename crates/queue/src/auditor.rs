//! The auditor: looks at every record of the queue, independently of the scheduler, for messages that nobody looks after.
//!
//! Every queued message must have an owner and a deadline: somebody works on it, or it is due at a time within its life, or an
//! operator holds it. The runner pages through the store now and then, asks [`audit`] about each entry, shows the findings
//! (`staffetta_queue_overdue`) and carries out what mends them. Pure; knows nothing of the scheduler's state but whether the
//! message is being worked on, so that a fault there cannot hide itself here. RFC 5321 §4.5.4.1 for the deadlines.

use std::time::Duration;

use mail::{QueueId, Timestamp};
use store::{Change, QueueEntry, RecipientState, Settlement};

use crate::settings::Settings;

/// A message that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which one.
    pub id: QueueId,
    /// What is wrong.
    pub problem: Problem,
    /// What puts it right.
    pub mend: Mend,
}

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Problem {
    /// It has been due for longer than `overdue_seconds`, and nobody works on it.
    Overdue,
    /// Its lifetime has been over for longer than `overdue_seconds`, and it is still here, worked on or not.
    Expired,
    /// Its next attempt lies later than any interval allows: the clock was wrong when it was set.
    Unreachable,
    /// Nothing is left to do for it, and it is still here.
    Leftover,
    /// It has not one status for each recipient: its record is damaged.
    Misshapen,
}

/// How it is put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mend {
    /// Ask the store for due messages now: [`crate::Event::Retry`] with no ids. It is taken when there is room.
    Load,
    /// Settle this, then as [`Mend::Load`].
    Settle(Settlement),
    /// The scheduler does it by itself at its next sweep; shown so that one that does not is seen.
    Wait,
    /// Only an operator can: it is to be held as damaged.
    Operator,
}

/// What is wrong with this message at `now`, if anything is. `working`: it is in the scheduler's window.
#[must_use]
pub fn audit(entry: &QueueEntry, working: bool, settings: &Settings, now: Timestamp) -> Option<Finding> {
    let (problem, mend) = problem(entry, working, settings, now)?;
    Some(Finding { id: entry.record.id, problem, mend })
}

fn problem(
    entry: &QueueEntry,
    working: bool,
    settings: &Settings,
    now: Timestamp,
) -> Option<(Problem, Mend)> {
    let state = &entry.state;
    let settle = |change| Mend::Settle(Settlement { id: entry.record.id, changes: vec![change] });
    if state.recipients.len() != entry.record.recipients.len() {
        return Some((Problem::Misshapen, Mend::Operator));
    }
    if state.recipients.iter().all(|r| r.state != RecipientState::Pending) {
        // Nothing pending: nobody loses anything, and the store looks at it once more.
        return (!working).then(|| (Problem::Leftover, settle(Change::Deleted)));
    }
    if state.hold.is_some() {
        // Its owner is the operator, its deadline theirs to set.
        return None;
    }
    let grace = Duration::from_secs(settings.overdue_seconds);
    let expired = now > settings.expires_at(entry.runs_since()).plus(grace);
    if working {
        let longest = grace + Duration::from_secs(settings.delivery_seconds_max);
        let stuck = now > settings.expires_at(entry.runs_since()).plus(longest);
        return stuck.then_some((Problem::Expired, Mend::Wait));
    }
    let due_now = || settle(Change::Retry { next_attempt: now, attempts: state.attempts });
    if expired {
        let mend = if state.next_attempt > now { due_now() } else { Mend::Load };
        return Some((Problem::Expired, mend));
    }
    let interval = settings.retry_seconds_max.max(settings.destination_retry_seconds_max).saturating_mul(2);
    if state.next_attempt > now.plus(Duration::from_secs(interval) + grace) {
        return Some((Problem::Unreachable, due_now()));
    }
    (now > state.next_attempt.plus(grace)).then_some((Problem::Overdue, Mend::Load))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{START, at, plain};
    use store::Hold;

    fn found(change: impl FnOnce(&mut QueueEntry), working: bool, now: Timestamp) -> Option<(Problem, Mend)> {
        let mut entry = plain(1, 2);
        change(&mut entry);
        audit(&entry, working, &Settings::default(), now).map(|f| (f.problem, f.mend))
    }

    fn retry_at(now: Timestamp) -> Mend {
        let changes = vec![Change::Retry { next_attempt: now, attempts: 0 }];
        Mend::Settle(Settlement { id: QueueId(1), changes })
    }

    #[test]
    fn a_message_with_owner_and_deadline_is_fine() {
        assert_eq!(found(|_| (), false, START), None);
        assert_eq!(found(|_| (), false, at(900)), None, "a little late is no finding");
        assert_eq!(found(|_| (), true, at(100_000)), None, "being worked on");
        assert_eq!(found(|e| e.state.next_attempt = at(14_400), false, START), None);
        assert_eq!(found(|e| e.state.hold = Some(Hold::Operator), false, at(9_000_000)), None);
    }

    #[test]
    fn what_nobody_works_on_is_overdue() {
        assert_eq!(found(|_| (), false, at(901)), Some((Problem::Overdue, Mend::Load)));
    }

    #[test]
    fn what_outlives_its_time_is_found_wherever_it_is() {
        let late = at(432_000 + 901);
        assert_eq!(found(|_| (), false, late), Some((Problem::Expired, Mend::Load)));
        let released = |e: &mut QueueEntry| e.state.released = Some(late);
        assert_eq!(
            found(released, true, late.plus(Duration::from_secs(7_200))),
            None,
            "it has its whole time"
        );
        let hidden = found(|e| e.state.next_attempt = at(500_000), false, late);
        assert_eq!(hidden, Some((Problem::Expired, retry_at(late))));
        assert_eq!(found(|_| (), true, late), None, "its last attempt may take its time");
        assert_eq!(
            found(|_| (), true, late.plus(Duration::from_secs(7_200))),
            Some((Problem::Expired, Mend::Wait))
        );
    }

    #[test]
    fn an_attempt_that_a_wrong_clock_put_far_away_is_brought_back() {
        let now = at(10);
        let far = found(|e| e.state.next_attempt = at(90_000), false, now);
        assert_eq!(far, Some((Problem::Unreachable, retry_at(now))));
    }

    #[test]
    fn what_is_finished_or_damaged_does_not_lie_about() {
        let done = |e: &mut QueueEntry| {
            e.state.recipients.iter_mut().for_each(|r| r.state = RecipientState::Delivered);
        };
        assert!(matches!(found(done, false, START), Some((Problem::Leftover, Mend::Settle(_)))));
        assert_eq!(found(done, true, START), None, "it is about to be settled");
        let damaged = found(|e| drop(e.state.recipients.pop()), false, START);
        assert_eq!(damaged, Some((Problem::Misshapen, Mend::Operator)));
    }
}
