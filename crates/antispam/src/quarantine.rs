//! `[antispam.quarantine]`: how long what is kept back is kept, and when its recipients are told.
//!
//! Settings, and the arithmetic of times of day. Messages are kept in the queue; nothing is kept, thrown away or sent here.

pub mod token;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use mail::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Seconds of a day.
const DAY_SECONDS: u64 = 86_400;
/// Days for which what stands in a letter releases a message at most.
const RELEASE_DAYS_MAX: u32 = 30;

/// `[antispam.quarantine]`: messages that were accepted and are kept from their recipients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuarantineSettings {
    /// Days that they are kept; 0 keeps them for ever. 30. Then they are thrown away, with a line in the log; nobody is told.
    pub days: u32,
    /// Messages that are kept at most; 0: no limit. 100,000. Looked at once a minute; the oldest are thrown away then, each with
    /// a line in the log (`order=displace`).
    pub messages_max: u64,
    /// Bytes of them at most, as received; 0: no limit. 4,294,967,296 (4 GiB). As `messages_max`.
    pub bytes_max: u64,
    /// Times of day, in UTC, at which each recipient in a domain of yours is written to about what is new in quarantine
    /// for it. None by default: nobody is written to. Example: `["06:00"]`
    #[schemars(example = &["06:00"])]
    pub digest_times_utc: Vec<TimeOfDay>,
    /// Messages that one such letter shows, the newest; further ones are counted. 100.
    pub digest_entries_max: usize,
    /// Such a letter has an address beside each message that was kept back for its score; whoever writes to it has the message
    /// delivered to that recipient. false: only you release. What a rule, a scanner or a milter keeps back only you release,
    /// in any case. true.
    pub recipients_release: bool,
}

impl Default for QuarantineSettings {
    fn default() -> Self {
        Self {
            days: 30,
            messages_max: 100_000,
            bytes_max: 4 << 30,
            digest_times_utc: Vec::new(),
            digest_entries_max: 100,
            recipients_release: true,
        }
    }
}

impl QuarantineSettings {
    /// True when what came then has been kept for long enough.
    #[must_use]
    pub fn is_over(&self, arrived: Timestamp, now: Timestamp) -> bool {
        self.days > 0 && now.since(arrived).as_secs() >= u64::from(self.days) * DAY_SECONDS
    }

    /// When what came then will have been kept for long enough; none when that is never.
    #[must_use]
    pub fn ends(&self, arrived: Timestamp) -> Option<Timestamp> {
        (self.days > 0).then(|| arrived.plus(Duration::from_secs(u64::from(self.days) * DAY_SECONDS)))
    }

    /// How many messages and bytes there are too many of.
    #[must_use]
    pub fn excess(&self, messages: u64, bytes: u64) -> (u64, u64) {
        let over = |have: u64, max: u64| if max == 0 { 0 } else { have.saturating_sub(max) };
        (over(messages, self.messages_max), over(bytes, self.bytes_max))
    }

    /// Until when a recipient may release what it is told of now: as long as it is kept, and never longer than 30 days.
    #[must_use]
    pub fn release_ends(&self, now: Timestamp) -> Timestamp {
        let days = match self.days {
            0 => RELEASE_DAYS_MAX,
            days => days.min(RELEASE_DAYS_MAX),
        };
        now.plus(Duration::from_secs(u64::from(days) * DAY_SECONDS))
    }

    /// The last moment up to `now` at which recipients were to be told; none when they never are.
    #[must_use]
    pub fn last_digest_time(&self, now: Timestamp) -> Option<Timestamp> {
        let midnight = now.seconds() - now.seconds() % DAY_SECONDS;
        let last = |time: &TimeOfDay| {
            let today = midnight + u64::from(time.minutes) * 60;
            if today <= now.seconds() { Some(today) } else { today.checked_sub(DAY_SECONDS) }
        };
        self.digest_times_utc.iter().filter_map(last).max().map(Timestamp::from_seconds)
    }
}

/// A time of day. Prints as `06:30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct TimeOfDay {
    minutes: u16,
}

/// The text is no time of day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a time of day from 00:00 to 23:59 is expected, such as 06:30")]
pub struct TimeOfDayError;

impl FromStr for TimeOfDay {
    type Err = TimeOfDayError;

    fn from_str(text: &str) -> Result<Self, TimeOfDayError> {
        let number = |digits: &str, below: u16| {
            let plain = digits.len() == 2 && digits.bytes().all(|octet| octet.is_ascii_digit());
            digits.parse::<u16>().ok().filter(|number| plain && *number < below)
        };
        let (hours, minutes) = text.split_once(':').ok_or(TimeOfDayError)?;
        let (hours, minutes) = number(hours, 24).zip(number(minutes, 60)).ok_or(TimeOfDayError)?;
        Ok(Self { minutes: hours * 60 + minutes })
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = TimeOfDayError;
    fn try_from(text: String) -> Result<Self, TimeOfDayError> {
        text.parse()
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_four_digits() {
        for text in ["00:00", "06:30", "23:59"] {
            assert_eq!(text.parse::<TimeOfDay>().unwrap().to_string(), text);
        }
        for text in ["", "6:30", "06:3", "24:00", "06:60", "0630", "+6:30", "06:30:00", "aa:bb"] {
            assert_eq!(text.parse::<TimeOfDay>(), Err(TimeOfDayError), "{text}");
        }
    }

    #[test]
    fn the_last_time_is_of_today_or_of_yesterday() {
        let times = |all: &[&str]| QuarantineSettings {
            digest_times_utc: all.iter().map(|text| text.parse().unwrap()).collect(),
            ..QuarantineSettings::default()
        };
        // 2026-11-22 01:02:03.456 UTC.
        let now = Timestamp(1_795_309_323_456);
        let last = |all: &[&str]| times(all).last_digest_time(now).map(|at| at.to_string());
        assert_eq!(last(&[]), None);
        assert_eq!(last(&["06:00"]).unwrap(), "2026-11-21T06:00:00.000Z");
        assert_eq!(last(&["01:02"]).unwrap(), "2026-11-22T01:02:00.000Z");
        assert_eq!(last(&["18:00", "00:00", "06:00"]).unwrap(), "2026-11-22T00:00:00.000Z");
        assert_eq!(times(&["06:00"]).last_digest_time(Timestamp(0)), None);
    }

    #[test]
    fn too_much_is_what_is_over_a_limit_that_there_is() {
        let settings =
            QuarantineSettings { messages_max: 10, bytes_max: 1000, ..QuarantineSettings::default() };
        assert_eq!(settings.excess(10, 1000), (0, 0));
        assert_eq!(settings.excess(12, 1500), (2, 500));
        let unbounded = QuarantineSettings { messages_max: 0, bytes_max: 0, ..settings };
        assert_eq!(unbounded.excess(u64::MAX, u64::MAX), (0, 0));
    }

    #[test]
    fn what_is_kept_for_days_is_over_to_the_second() {
        let settings = QuarantineSettings { days: 2, ..QuarantineSettings::default() };
        let (arrived, end) = (Timestamp(5_000), Timestamp(5_000 + 2 * 86_400_000));
        assert_eq!(settings.ends(arrived), Some(end));
        assert!(settings.is_over(arrived, end) && !settings.is_over(arrived, Timestamp(end.0 - 1)));
        let for_ever = QuarantineSettings { days: 0, ..settings };
        assert!(!for_ever.is_over(arrived, Timestamp(u64::MAX)) && for_ever.ends(arrived).is_none());
    }
}
