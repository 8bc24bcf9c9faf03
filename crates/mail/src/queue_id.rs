//! The name of a queued message: what 250 tells the sender and every log line repeats.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A queue id: 64 bits, unique over the life of a data folder, ordered by the time of acceptance.
///
/// The upper 44 bits are milliseconds since 1970, the lower 20 a counter; printed as 13 digits of Crockford's base 32
/// (no `I`, `L`, `O`, `U`), so that it can be read over the telephone and sorts as it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueId(pub u64);

/// The text is not 13 digits of Crockford's base 32.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a queue id: 13 letters and digits such as 00JX4M8ZQ0001 are expected")]
pub struct QueueIdError;

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl QueueId {
    /// The id for the `counter`th message of the millisecond `millis`.
    ///
    /// The caller sees to it that no pair is used twice; a counter over 20 bits runs on into the next milliseconds.
    #[must_use]
    pub fn from_parts(millis: u64, counter: u64) -> Self {
        Self((millis << 20).wrapping_add(counter))
    }

    /// When it was made, as the clock had it; a little later when very many were made at once, or the clock was set back.
    #[must_use]
    pub fn made(self) -> Timestamp {
        Timestamp(self.0 >> 20)
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for i in (0..13).rev() {
            let digit = usize::try_from((self.0 >> (i * 5)) & 31).unwrap_or_default();
            write!(f, "{}", char::from(DIGITS.get(digit).copied().unwrap_or(b'0')))?;
        }
        Ok(())
    }
}

impl FromStr for QueueId {
    type Err = QueueIdError;
    fn from_str(text: &str) -> Result<Self, QueueIdError> {
        if text.len() != 13 {
            return Err(QueueIdError);
        }
        let mut value: u128 = 0;
        for b in text.bytes() {
            let upper = b.to_ascii_uppercase();
            let digit = DIGITS.iter().position(|&d| d == upper).ok_or(QueueIdError)?;
            value = value << 5 | digit as u128;
        }
        u64::try_from(value).map(Self).map_err(|_| QueueIdError)
    }
}

impl TryFrom<String> for QueueId {
    type Error = QueueIdError;
    fn try_from(text: String) -> Result<Self, QueueIdError> {
        text.parse()
    }
}

impl From<QueueId> for String {
    fn from(id: QueueId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_prints_parses_back_and_sorts_alike(a: u64, b: u64) {
            prop_assert_eq!(QueueId(a).to_string().parse(), Ok(QueueId(a)));
            prop_assert_eq!(QueueId::from_parts(a >> 20, b >> 44).made(), Timestamp(a >> 20));
            prop_assert_eq!(QueueId(a).to_string().to_lowercase().parse(), Ok(QueueId(a)));
            prop_assert_eq!(QueueId(a).to_string().cmp(&QueueId(b).to_string()), a.cmp(&b));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "0", "ZZZZZZZZZZZZZ", "00000000000U0", "00000000000000"] {
            assert!(text.parse::<QueueId>().is_err(), "{text}");
        }
    }
}
