//! Whether one list can be believed, for one address family. Pure: a state machine that is told answers and the time.
//!
//! ```text
//!              probe passes                      probe fails, unusable answer, lists too many, three silent probes
//!  Unproven ───────────────▶ Healthy ─────────────────────────────────────────▶ Suspended
//!     └── probe fails or is silent ──▶ Suspended      ◀──── probe passes, and the hold is over ────┘
//! ```
//!
//! Only a healthy list is asked about clients. Nothing but a probe by RFC 5782 §5 makes it healthy. A list that breaks
//! again within a day of its return is probed less and less often, at the least once an hour, and one that listed too
//! many is kept out longer each time, at most for a day.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use mail::Timestamp;
use net::ListFailure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::Verdict;

/// `[antispam.dnsbl_health]`: when a DNS list is no longer believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSettings {
    /// Seconds between two probes of a list that works: is 127.0.0.2 listed, and 127.0.0.1 not (RFC 5782 section 5)?
    /// 3,600: an hour.
    pub probe_seconds: u64,
    /// A list that has more than so many percent of all clients is suspended: dead lists list the world. 97: on a busy
    /// server nine of ten strangers really are listed. 100 switches this off.
    pub listed_percent_max: u8,
    /// Clients that must have been asked about before that share means anything. 200.
    pub listed_sample_min: u32,
    /// Answers kept for each list. 10,000: about a megabyte.
    pub cache_entries_max: usize,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            probe_seconds: 3_600,
            listed_percent_max: 97,
            listed_sample_min: 200,
            cache_entries_max: 10_000,
        }
    }
}

/// Probes in a row without an answer after which a list that worked is suspended.
pub const SILENT_PROBES_MAX: u32 = 3;
/// Questions about clients in a row without an answer after which a list is probed at once, and suspended when that is
/// not answered either: each client has waited for it.
pub const SILENT_ANSWERS_MAX: u32 = 5;
/// Seconds until a probe without an answer is repeated, and between the first probes of a suspended list.
const RETRY_SECONDS: u64 = 60;
/// Longest time between two probes of a suspended list, in seconds.
const RETRY_SECONDS_MAX: u64 = 3_600;
/// For how long a list that lists too many is kept out the first time, and at most, in seconds.
const HOLD_SECONDS: u64 = 3_600;
const HOLD_SECONDS_MAX: u64 = 86_400;
/// A list that works for so long has a clean record again.
const FORGIVEN_SECONDS: u64 = 86_400;

/// Whether a list is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not probed yet: not asked.
    Unproven,
    /// Asked.
    Healthy {
        /// Since when.
        since: Timestamp,
    },
    /// Not asked.
    Suspended {
        /// Since when.
        since: Timestamp,
        /// Why.
        why: Why,
    },
}

/// Why a list is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The entry that every list must have is not there: the list is empty, or is no list.
    TestEntryMissing,
    /// 127.0.0.1 is listed: it lists the world.
    ListsEverything,
    /// It gave an answer that says that it may or can not be used.
    Unusable(Ipv4Addr),
    /// It has too large a share of our clients.
    ListsTooMany {
        /// Its share, in percent, rounded up.
        percent: u32,
    },
    /// It does not answer.
    Silent(ListFailure),
}

impl Why {
    /// The same kind of trouble, whatever its figures: not worth another log line.
    fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// A fixed word for metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TestEntryMissing => "test_entry_missing",
            Self::ListsEverything => "lists_everything",
            Self::Unusable(_) => "unusable_answer",
            Self::ListsTooMany { .. } => "lists_too_many",
            Self::Silent(_) => "silent",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TestEntryMissing => {
                f.write_str("its test entry 127.0.0.2 is not listed: it is empty or gone")
            }
            Self::ListsEverything => f.write_str("it lists 127.0.0.1, and so probably everybody"),
            Self::Unusable(code) if code.octets().starts_with(&[127, 255, 255]) => {
                write!(f, "it answers {code}: it refuses our resolver, or its name is mistyped")
            }
            Self::Unusable(code) if code.is_loopback() => {
                write!(f, "it answers {code}: it does not want to be asked by our resolver")
            }
            Self::Unusable(code) => write!(f, "it answers {code}, which is no answer of a list"),
            Self::ListsTooMany { percent } => write!(f, "it lists {percent} % of all clients"),
            Self::Silent(failure) => write!(f, "it does not answer: {}", failure.as_str()),
        }
    }
}

/// What has changed: worth a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is not asked any more, or still not, for another reason.
    Suspended(Why),
    /// It is asked again.
    Recovered,
}

/// The outcome of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// All is as it should be.
    Passed,
    /// The list cannot be believed.
    Failed(Why),
    /// Not all was answered.
    Unknown(ListFailure),
}

impl Probe {
    /// Judges the answers for the entry that must be listed and for the one that must not (RFC 5782 §5).
    #[must_use]
    pub fn of(listed: &Verdict, unlisted: &Verdict) -> Self {
        match (listed, unlisted) {
            (Verdict::Unusable(code), _) | (_, Verdict::Unusable(code)) => Self::Failed(Why::Unusable(*code)),
            (_, Verdict::Listed(_)) => Self::Failed(Why::ListsEverything),
            (Verdict::NotListed, _) => Self::Failed(Why::TestEntryMissing),
            (Verdict::Unknown(why), _) | (_, Verdict::Unknown(why)) => Self::Unknown(*why),
            (Verdict::Listed(_), Verdict::NotListed) => Self::Passed,
        }
    }
}

/// See above.
#[derive(Debug, Clone)]
pub struct Health {
    state: State,
    probe_at: Timestamp,
    /// Not before this, whatever probes say.
    hold_until: Timestamp,
    /// Suspensions since the record was clean.
    strikes: u32,
    silent_probes: u32,
    silent_answers: u32,
    /// Clients of late, and how many of them were listed.
    seen: u32,
    listed: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            state: State::Unproven,
            probe_at: Timestamp::default(),
            hold_until: Timestamp::default(),
            strikes: 0,
            silent_probes: 0,
            silent_answers: 0,
            seen: 0,
            listed: 0,
        }
    }
}

impl Health {
    /// Whether the list is asked.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// True when the list is to be asked about clients.
    #[must_use]
    pub const fn is_healthy(&self) -> bool {
        matches!(self.state, State::Healthy { .. })
    }

    /// When the next probe is due. The first one is due at once.
    #[must_use]
    pub const fn probe_at(&self) -> Timestamp {
        self.probe_at
    }

    /// Of the clients of late: how many were asked about, and how many were listed.
    #[must_use]
    pub const fn share(&self) -> (u32, u32) {
        (self.seen, self.listed)
    }

    /// An answer about a client has come in, from the list itself. One that comes after a suspension changes nothing.
    pub fn answered(
        &mut self,
        verdict: &Verdict,
        now: Timestamp,
        settings: &HealthSettings,
    ) -> Option<Change> {
        if !self.is_healthy() {
            return None;
        }
        match verdict {
            Verdict::Unknown(_) => {
                self.silent_answers = self.silent_answers.saturating_add(1);
                if self.silent_answers == SILENT_ANSWERS_MAX {
                    self.probe_at = self.probe_at.min(now);
                }
                return None;
            }
            Verdict::Unusable(code) => return self.suspend(Why::Unusable(*code), now),
            Verdict::Listed(_) => self.listed += 1,
            Verdict::NotListed => {}
        }
        self.seen += 1;
        self.silent_answers = 0;
        let percent = (u64::from(self.listed) * 100).div_ceil(u64::from(self.seen.max(1)));
        let sample = settings.listed_sample_min.max(1);
        if self.seen >= sample && percent > u64::from(settings.listed_percent_max) {
            let percent = u32::try_from(percent).unwrap_or(100);
            return self.suspend(Why::ListsTooMany { percent }, now);
        }
        // Old answers count less and less, so that a list that dies is noticed however long it lived.
        if self.seen >= sample.saturating_mul(2) {
            self.seen /= 2;
            self.listed /= 2;
        }
        None
    }

    /// A probe has ended.
    pub fn probed(&mut self, probe: Probe, now: Timestamp, settings: &HealthSettings) -> Option<Change> {
        match (probe, self.state) {
            (Probe::Passed, State::Suspended { .. }) if now < self.hold_until => {
                self.probe_at = self.hold_until;
                None
            }
            (Probe::Passed, was) => self.passed(was, now, settings),
            (Probe::Unknown(failure), State::Healthy { .. }) => {
                self.silent_probes += 1;
                self.probe_at = now.plus(Duration::from_secs(RETRY_SECONDS));
                // Clients wait for it already, or it had its chances.
                if self.silent_probes < SILENT_PROBES_MAX && self.silent_answers < SILENT_ANSWERS_MAX {
                    return None;
                }
                self.suspend(Why::Silent(failure), now)
            }
            (Probe::Unknown(failure), State::Unproven) => self.suspend(Why::Silent(failure), now),
            (Probe::Unknown(_), State::Suspended { since, .. }) => {
                self.probe_at = now.plus(pause(since, now));
                None
            }
            (Probe::Failed(why), State::Suspended { since, why: old }) => {
                self.state = State::Suspended { since, why };
                self.probe_at = now.plus(pause(since, now));
                (!why.is_like(old)).then_some(Change::Suspended(why))
            }
            (Probe::Failed(why), _) => self.suspend(why, now),
        }
    }

    fn passed(&mut self, was: State, now: Timestamp, settings: &HealthSettings) -> Option<Change> {
        self.probe_at = now.plus(Duration::from_secs(settings.probe_seconds));
        self.silent_probes = 0;
        self.silent_answers = 0;
        if let State::Healthy { since } = was {
            if now.since(since) >= Duration::from_secs(FORGIVEN_SECONDS) {
                self.strikes = 0;
            }
            return None;
        }
        (self.seen, self.listed) = (0, 0);
        self.state = State::Healthy { since: now };
        matches!(was, State::Suspended { .. }).then_some(Change::Recovered)
    }

    fn suspend(&mut self, why: Why, now: Timestamp) -> Option<Change> {
        self.state = State::Suspended { since: now, why };
        let doubled = |seconds: u64, max: u64| {
            let times = 1_u64.checked_shl(self.strikes).unwrap_or(u64::MAX);
            Duration::from_secs(seconds.saturating_mul(times).min(max))
        };
        self.probe_at = now.plus(doubled(RETRY_SECONDS, RETRY_SECONDS_MAX));
        // Such a list passes its probes: only time, and then its clients, can tell.
        let hold = matches!(why, Why::ListsTooMany { .. });
        self.hold_until = if hold { now.plus(doubled(HOLD_SECONDS, HOLD_SECONDS_MAX)) } else { now };
        self.strikes = self.strikes.saturating_add(1).min(32);
        Some(Change::Suspended(why))
    }
}

/// A list that has been out for long is probed less often.
fn pause(since: Timestamp, now: Timestamp) -> Duration {
    now.since(since).clamp(Duration::from_secs(RETRY_SECONDS), Duration::from_secs(RETRY_SECONDS_MAX))
}

#[cfg(test)]
mod tests;
