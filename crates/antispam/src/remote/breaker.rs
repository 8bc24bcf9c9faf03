//! Whether a scanner is asked at all. Pure: a state machine that is told how askings ended, and the time.
//!
//! ```text
//!            so many failures in a row                 the pause is over
//!   Closed ────────────────────────────▶ Open ────────────────────────────▶ one asking on trial
//!     ▲                                   ▲ └───── it fails: as long again ──────────┘ │
//!     └───────────────────────────────────┼───────────── it is answered ──────────────┘
//! ```
//!
//! While it is open nobody waits for a scanner that is away. It never decides what becomes of the message then.

use std::time::{Duration, Instant};

/// When it opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Failures in a row that open it; 0 never does.
    pub failures: u32,
    /// How long the scanner is left alone.
    pub pause: Duration,
}

/// What an operator wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The scanner is not asked any more.
    Opened,
    /// It is asked again.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    Trial,
}

/// See above.
#[derive(Debug, Clone)]
pub struct Breaker {
    limits: Limits,
    state: State,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: State::Closed { failures: 0 } }
    }

    /// May the scanner be asked? A yes after a pause is a trial: everybody else is told no until it has ended.
    pub fn admit(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until } if now >= until => {
                self.state = State::Trial;
                true
            }
            State::Open { .. } | State::Trial => false,
        }
    }

    /// The scanner has answered, whatever it said.
    pub fn answered(&mut self) -> Option<Change> {
        let was = std::mem::replace(&mut self.state, State::Closed { failures: 0 });
        (!matches!(was, State::Closed { .. })).then_some(Change::Closed)
    }

    /// The scanner could not be asked, or has not answered.
    pub fn failed(&mut self, now: Instant) -> Option<Change> {
        let open = State::Open { until: now + self.limits.pause };
        match &mut self.state {
            State::Closed { failures } => {
                *failures = failures.saturating_add(1);
                if self.limits.failures == 0 || *failures < self.limits.failures {
                    return None;
                }
                self.state = open;
                Some(Change::Opened)
            }
            // Askings that began before it opened end late; they tell nothing new.
            State::Open { .. } => None,
            State::Trial => {
                self.state = open;
                None
            }
        }
    }

    /// An asking was given up for reasons of our own: it says nothing about the scanner.
    pub fn abandoned(&mut self, now: Instant) {
        if self.state == State::Trial {
            self.state = State::Open { until: now };
        }
    }

    /// True while the scanner is asked as always.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);

    fn breaker(failures: u32) -> (Breaker, Instant) {
        (Breaker::new(Limits { failures, pause: PAUSE }), Instant::now())
    }

    #[test]
    fn so_many_failures_in_a_row_open_it() {
        let (mut breaker, now) = breaker(3);
        for _ in 0..2 {
            assert!(breaker.admit(now));
            assert_eq!(breaker.failed(now), None);
        }
        assert_eq!(breaker.answered(), None, "an answer in between, and counting begins anew");
        assert_eq!([(); 3].map(|()| breaker.failed(now)), [None, None, Some(Change::Opened)]);
        assert!(!breaker.admit(now) && !breaker.is_closed());
        assert_eq!(breaker.failed(now), None, "told once");
        assert!(!breaker.admit(now + PAUSE - Duration::from_millis(1)));
    }

    #[test]
    fn after_the_pause_one_tries_for_all() {
        let (mut breaker, now) = breaker(1);
        assert_eq!(breaker.failed(now), Some(Change::Opened));
        let later = now + PAUSE;
        assert!(breaker.admit(later));
        assert!(!breaker.admit(later), "one at a time");
        assert_eq!(breaker.failed(later), None);
        assert!(!breaker.admit(later + PAUSE / 2));
        assert!(breaker.admit(later + PAUSE));
        assert_eq!(breaker.answered(), Some(Change::Closed));
        assert!(breaker.admit(later) && breaker.admit(later));
    }

    #[test]
    fn a_trial_that_nobody_waits_for_is_made_again() {
        let (mut breaker, now) = breaker(1);
        breaker.failed(now);
        assert!(breaker.admit(now + PAUSE));
        breaker.abandoned(now + PAUSE);
        assert!(!breaker.is_closed() && breaker.admit(now + PAUSE));
        assert_eq!(breaker.answered(), Some(Change::Closed));
        breaker.abandoned(now);
        assert!(breaker.is_closed());
    }

    #[test]
    fn it_can_be_switched_off() {
        let (mut breaker, now) = breaker(0);
        for _ in 0..1000 {
            assert_eq!(breaker.failed(now), None);
        }
        assert!(breaker.admit(now));
    }
}
