//! The time of day where the machine is, for people: `mailq` has always printed it so.
//!
//! Reads the time zone file itself (RFC 9636) instead of calling the C library. Without one, or after the last change
//! that it lists, the last offset that is known holds; without any, UTC.

use mail::Timestamp;

/// A zone file longer than this is none.
const ZONE_BYTES_MAX: usize = 1 << 20;

/// `Sun Nov 22 01:48:02`, local time.
pub(super) fn arrival_time(seconds: u64) -> String {
    written(seconds, zone().and_then(|zone| offset_at(&zone, seconds)).unwrap_or(0))
}

fn written(seconds: u64, offset: i64) -> String {
    let local = Timestamp::from_seconds(seconds.saturating_add_signed(offset)).rfc5322();
    // "Sun, 22 Nov 2026 01:48:02 +0000"
    let mut words = local.split_whitespace();
    let mut next = || words.next().unwrap_or_default();
    let (weekday, day, month, _, time) = (next(), next(), next(), next(), next());
    format!("{} {month} {day:>2} {time}", weekday.trim_end_matches(','))
}

/// The zone file of `TZ`, or of the machine.
fn zone() -> Option<Vec<u8>> {
    let path = match std::env::var("TZ") {
        Ok(name) if !name.is_empty() => {
            let name = name.trim_start_matches(':').to_owned();
            if name.contains("..") || name.starts_with('/') {
                return None;
            }
            format!("/usr/share/zoneinfo/{name}")
        }
        _ => "/etc/localtime".to_owned(),
    };
    std::fs::read(path).ok().filter(|bytes| bytes.len() <= ZONE_BYTES_MAX)
}

/// The counts in the header of a block (RFC 9636 §3.1).
struct Counts {
    utc: usize,
    standard: usize,
    leaps: usize,
    times: usize,
    types: usize,
    letters: usize,
}

/// Length of a header.
const HEADER_BYTES: usize = 44;

impl Counts {
    fn of(header: &[u8]) -> Option<Self> {
        if header.get(..4)? != b"TZif" {
            return None;
        }
        let count = |n: usize| -> Option<usize> {
            let at = 20 + n * 4;
            let bytes: [u8; 4] = header.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_be_bytes(bytes)).ok().filter(|count| *count <= ZONE_BYTES_MAX)
        };
        Some(Self {
            utc: count(0)?,
            standard: count(1)?,
            leaps: count(2)?,
            times: count(3)?,
            types: count(4)?,
            letters: count(5)?,
        })
    }

    /// Length of the block with times of so many octets.
    fn block_bytes(&self, time_bytes: usize) -> usize {
        self.times * (time_bytes + 1)
            + self.types * 6
            + self.letters
            + self.leaps * (time_bytes + 4)
            + self.standard
            + self.utc
    }
}

/// Seconds east of UTC at that time.
fn offset_at(zone: &[u8], seconds: u64) -> Option<i64> {
    // The first block has times of 32 bits; the second one, in every file of this century, of 64.
    let first = Counts::of(zone)?;
    let second = zone.get(HEADER_BYTES + first.block_bytes(4)..)?;
    let counts = Counts::of(second)?;
    let block = second.get(HEADER_BYTES..)?;
    let now = i64::try_from(seconds).ok()?;
    let times = block.get(..counts.times * 8)?.chunks_exact(8);
    let past =
        times.filter_map(|t| t.try_into().ok().map(i64::from_be_bytes)).take_while(|t| *t <= now).count();
    let kind = match past {
        0 => 0,
        n => usize::from(*block.get(counts.times * 8 + n - 1)?),
    };
    let at = counts.times * 9 + kind * 6;
    let offset: [u8; 4] = block.get(at..at + 4)?.try_into().ok()?;
    Some(i64::from(i32::from_be_bytes(offset)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A zone at +1 h that goes to +2 h at 1,000,000, and back at 2,000,000.
    fn sample() -> Vec<u8> {
        let header = |times: u32, types: u32, letters: u32| {
            let mut bytes = b"TZif2".to_vec();
            bytes.extend([0; 15]);
            for count in [0, 0, 0, times, types, letters] {
                bytes.extend(count.to_be_bytes());
            }
            bytes
        };
        let mut bytes = header(0, 1, 1);
        bytes.extend([0; 7]);
        bytes.extend(header(2, 2, 1));
        bytes.extend(1_000_000_i64.to_be_bytes());
        bytes.extend(2_000_000_i64.to_be_bytes());
        bytes.extend([1, 0]);
        for offset in [3600_i32, 7200] {
            bytes.extend(offset.to_be_bytes());
            bytes.extend([0, 0]);
        }
        bytes.push(0);
        bytes
    }

    #[test]
    fn offsets_change_when_the_zone_says_so() {
        for (seconds, offset) in
            [(0, 3600), (999_999, 3600), (1_000_000, 7200), (2_000_000, 3600), (9_000_000, 3600)]
        {
            assert_eq!(offset_at(&sample(), seconds), Some(offset), "{seconds}");
        }
    }

    #[test]
    fn a_broken_zone_is_none_and_never_a_panic() {
        let whole = sample();
        for cut in 0..whole.len() {
            let _ = offset_at(&whole[..cut], 1_500_000);
        }
        assert_eq!(offset_at(&whole[..50], 0), None);
        assert_eq!(offset_at(b"", 0), None);
    }

    #[test]
    fn times_are_written_as_mailq_writes_them() {
        assert_eq!(written(1_795_312_082, 0), "Sun Nov 22 01:48:02");
        assert_eq!(written(1_793_580_300, -3600), "Sun Nov  1 23:45:00");
    }
}
