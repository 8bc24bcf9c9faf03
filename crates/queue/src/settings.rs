//! The `[queue]` section: when we try, when we warn, when we give up, and how much at once.
//!
//! Read by the scheduler, the reports and the auditor. Never read from a file here: the configuration does that.

use std::time::Duration;

use mail::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Retries, warnings, expiry and limits of the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Seconds from the first failed attempt to the next one. Each further interval is twice as long, up to
    /// `retry_seconds_max`. Five minutes pass most greylisting at the second attempt.
    pub retry_seconds_min: u64,
    /// Seconds between attempts at most. RFC 5321 section 4.5.4.1 wants a few attempts in the first hours and then one
    /// every two or three hours.
    pub retry_seconds_max: u64,
    /// How far an interval may be stretched or shortened by chance, in percent, so that messages that failed together do
    /// not come back together. Never beyond `retry_seconds_min` and `retry_seconds_max`.
    pub retry_jitter_percent: u64,
    /// Seconds between attempts at most when the trouble is on this machine (a table, a disk): it is usually mended sooner
    /// than other people's. The first such interval is a fifth of `retry_seconds_min`.
    pub retry_local_seconds_max: u64,
    /// Seconds after which the sender of a message that is still waiting is warned, once. 0: never. Senders can ask not to be
    /// (NOTIFY without DELAY).
    pub warn_seconds: u64,
    /// Seconds after which a message that could not be delivered is returned. RFC 5321 section 4.5.4.1 asks for four or five
    /// days.
    pub lifetime_seconds: u64,
    /// Messages that are worked on at once. Further ones wait on disk, so that memory does not grow with the queue.
    pub active_max: usize,
    /// Recipients of the messages that are worked on at once; bounds memory when messages have many recipients.
    pub active_recipients_max: usize,
    /// Deliveries that run at once, to all destinations together.
    pub deliveries_max: u32,
    /// Recipients handed over in one transaction. RFC 5321 section 4.5.3.1.8 has every server take 100.
    pub recipients_per_job: usize,
    /// Deliveries that run at once to a destination that is not known yet.
    pub destination_deliveries_start: u32,
    /// Deliveries that run at once to one destination, when all goes well there.
    pub destination_deliveries_max: u32,
    /// Deliveries that run at once into Maildirs that share a `deliver`. From the start: those that run together share
    /// their syncs, so that more at once are less work for the disk.
    pub maildir_deliveries_max: u32,
    /// Deliveries in a row that a destination may fail as a whole (no connection, 421, no answer) before it is left
    /// alone for a while; its messages then wait without being tried.
    pub destination_failures_max: u32,
    /// Seconds that a failing destination is left alone at most. The first time is `retry_seconds_min`, and each
    /// failed probe doubles it.
    pub destination_retry_seconds_max: u64,
    /// Seconds that messages may wait for their turn at a slow destination while others wait on disk for a place among
    /// the active ones. What would wait longer makes room and comes back later.
    pub destination_wait_seconds_max: u64,
    /// Destinations whose condition is remembered. The longest unused are forgotten first.
    pub destinations_max: usize,
    /// Seconds after which a delivery that has not ended is given up as lost. It is a safety net far beyond the
    /// time limits of delivery itself.
    pub delivery_seconds_max: u64,
    /// Seconds after which a message that is due, or whose time is over, and that nobody attends to is shown as overdue
    /// and put right.
    pub overdue_seconds: u64,
    /// Octets of the returned message in a report, when the sender asked for all of it (RET=FULL); of larger messages only
    /// the header is returned. Also bounds the returned header.
    pub report_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retry_seconds_min: 300,
            retry_seconds_max: 14_400,
            retry_jitter_percent: 20,
            retry_local_seconds_max: 900,
            warn_seconds: 14_400,
            lifetime_seconds: 432_000,
            active_max: 2_000,
            active_recipients_max: 20_000,
            deliveries_max: 200,
            recipients_per_job: 100,
            destination_deliveries_start: 5,
            destination_deliveries_max: 20,
            maildir_deliveries_max: 100,
            destination_failures_max: 3,
            destination_retry_seconds_max: 1_800,
            destination_wait_seconds_max: 60,
            destinations_max: 10_000,
            delivery_seconds_max: 7_200,
            overdue_seconds: 900,
            report_bytes_max: 51_200,
        }
    }
}

/// The settings contradict each other; the operator's to mend. Each message names the keys and the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A bound that must be at least 1.
    #[error("queue.{key} is 0, so that nothing would ever be delivered; give it 1 or more")]
    Zero {
        /// The key.
        key: &'static str,
    },
    /// A pair in the wrong order.
    #[error("queue.{low} is greater than queue.{high}; lower the first or raise the second")]
    Order {
        /// The key that must not be greater.
        low: &'static str,
        /// The key that it is compared with.
        high: &'static str,
    },
    /// A share of more than all.
    #[error("queue.retry_jitter_percent is more than 90; 20 is usual")]
    Jitter,
}

impl Settings {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// [`SettingsError`], the first one found.
    pub fn check(&self) -> Result<(), SettingsError> {
        let positive = [
            ("retry_seconds_min", self.retry_seconds_min),
            ("lifetime_seconds", self.lifetime_seconds),
            ("active_max", self.active_max as u64),
            ("active_recipients_max", self.active_recipients_max as u64),
            ("deliveries_max", self.deliveries_max.into()),
            ("recipients_per_job", self.recipients_per_job as u64),
            ("destination_deliveries_start", self.destination_deliveries_start.into()),
            ("maildir_deliveries_max", self.maildir_deliveries_max.into()),
            ("destination_failures_max", self.destination_failures_max.into()),
            ("destination_wait_seconds_max", self.destination_wait_seconds_max),
            ("delivery_seconds_max", self.delivery_seconds_max),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(SettingsError::Zero { key });
        }
        let order = |low, high, fine| if fine { Ok(()) } else { Err(SettingsError::Order { low, high }) };
        order("retry_seconds_min", "retry_seconds_max", self.retry_seconds_min <= self.retry_seconds_max)?;
        order("retry_seconds_min", "lifetime_seconds", self.retry_seconds_min <= self.lifetime_seconds)?;
        order(
            "destination_deliveries_start",
            "destination_deliveries_max",
            self.destination_deliveries_start <= self.destination_deliveries_max,
        )?;
        if self.retry_jitter_percent > 90 { Err(SettingsError::Jitter) } else { Ok(()) }
    }

    /// When a message that arrived then is returned (RFC 5321 §4.5.4.1).
    #[must_use]
    pub fn expires_at(&self, arrived: Timestamp) -> Timestamp {
        arrived.plus(Duration::from_secs(self.lifetime_seconds))
    }

    /// When the sender of a message that arrived then is warned, if ever.
    #[must_use]
    pub fn warns_at(&self, arrived: Timestamp) -> Option<Timestamp> {
        (self.warn_seconds > 0).then(|| arrived.plus(Duration::from_secs(self.warn_seconds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_contradictions_name_their_keys() {
        assert_eq!(Settings::default().check(), Ok(()));
        let broken = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        assert!(broken(|s| s.active_max = 0).contains("queue.active_max is 0"));
        assert!(broken(|s| s.retry_seconds_min = 20_000).contains("retry_seconds_max"));
        assert!(broken(|s| s.lifetime_seconds = 10).contains("lifetime_seconds"));
        assert!(broken(|s| s.destination_deliveries_start = 50).contains("destination_deliveries_max"));
        assert!(broken(|s| s.retry_jitter_percent = 91).contains("retry_jitter_percent"));
    }

    #[test]
    fn a_warning_can_be_switched_off() {
        let never = Settings { warn_seconds: 0, ..Settings::default() };
        assert_eq!(never.warns_at(Timestamp(5)), None);
        assert_eq!(Settings::default().warns_at(Timestamp(5)), Some(Timestamp(14_400_005)));
    }
}
