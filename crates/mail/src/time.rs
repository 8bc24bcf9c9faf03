//! Points in time as data. Nothing here reads a clock: whoever calls passes the time in.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00 UTC, leap seconds not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

/// A date in parts, UTC.
struct Civil {
    year: u64,
    month: usize,
    day: u64,
    weekday: usize,
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

impl Timestamp {
    /// From seconds since 1970.
    #[must_use]
    pub fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// Later by `by`; stops at the end of time instead of wrapping.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier`; zero when it is not after.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// RFC 5322 §3.3 date-time, in UTC: `Sun, 22 Nov 2026 01:02:03 +0000`.
    #[must_use]
    pub fn rfc5322(self) -> String {
        let (c, s) = (self.civil(), self.seconds());
        format!(
            "{}, {} {} {} {:02}:{:02}:{:02} +0000",
            WEEKDAYS.get(c.weekday).copied().unwrap_or_default(),
            c.day,
            MONTHS.get(c.month - 1).copied().unwrap_or_default(),
            c.year,
            s / 3600 % 24,
            s / 60 % 60,
            s % 60
        )
    }

    /// Days to a date by the proleptic Gregorian calendar: 146,097 days are 400 years.
    fn civil(self) -> Civil {
        let days = self.seconds() / 86_400;
        let z = days + 719_468;
        let (era, day_of_era) = (z / 146_097, z % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let index = |n: u64| usize::try_from(n).unwrap_or_default();
        Civil { year, month: index(month), day, weekday: index(days % 7) }
    }
}

/// RFC 3339 with milliseconds, in UTC: `2026-11-22T01:02:03.004Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (c, s) = (self.civil(), self.seconds());
        let (hour, minute, second) = (s / 3600 % 24, s / 60 % 60, s % 60);
        write!(
            f,
            "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
            c.year,
            c.month,
            c.day,
            self.0 % 1000
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "Thu, 1 Jan 1970 00:00:00 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_795_309_323, "Sun, 22 Nov 2026 01:02:03 +0000"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 +0000"),
        ] {
            assert_eq!(Timestamp::from_seconds(seconds).rfc5322(), text);
        }
        assert_eq!(Timestamp(1_795_309_323_004).to_string(), "2026-11-22T01:02:03.004Z");
    }
}
