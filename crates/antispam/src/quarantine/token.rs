//! Addresses by which a recipient releases one message: `release-00JX4M8ZQ0001-51800a1b…@` a domain of ours.
//!
//! The local part names the message, the last day on which it is good for something, the key, and a check over these and the
//! recipient. So it is of use for one copy of one message, and to nobody who has not read the letter that it stood in. Case
//! makes no difference: some programs change it. The keys are those of [`crate::backscatter`]. Pure; the time is passed in.
//!
//! ```text
//! release-00JX4M8ZQ0001-5180 0 1f0e…
//!         queue id      │    │ └ 12 octets of HMAC-SHA256
//!                       │    └ digit of the key
//!                       └ the day, counted from 1970-01-01
//! ```

use aws_lc_rs::constant_time::verify_slices_are_equal;
use mail::{Address, QueueId, Timestamp};

use crate::backscatter::keys::{Key, Keys};

/// With what such a local part begins.
pub const PREFIX: &str = "release-";
/// Octets of the check: 2^96 guesses, by mail.
const CHECK_BYTES: usize = 12;
const QUEUE_ID_BYTES: usize = 13;
const DAY_DIGITS: usize = 4;
const DAY_SECONDS: u64 = 86_400;

/// The local part by which `recipient` releases this message, through the day of `until`; none without a key.
#[must_use]
pub fn local_part(keys: &Keys, id: QueueId, recipient: &Address, until: Timestamp) -> Option<String> {
    let key = keys.newest()?;
    let day = u16::try_from(until.seconds() / DAY_SECONDS).unwrap_or(u16::MAX);
    let check: String = check(key, id, day, recipient).iter().map(|octet| format!("{octet:02x}")).collect();
    Some(format!("{PREFIX}{id}-{day:04x}{}{check}", key.digit))
}

/// What such a local part says, not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Which message.
    pub id: QueueId,
    day: u16,
    digit: u8,
    check: [u8; CHECK_BYTES],
}

impl Claim {
    /// Reads a local part; none when it is an ordinary one.
    #[must_use]
    pub fn read(local: &str) -> Option<Self> {
        let begins = local.get(..PREFIX.len())?.eq_ignore_ascii_case(PREFIX);
        let (id, rest) = local.get(PREFIX.len()..).filter(|_| begins)?.split_at_checked(QUEUE_ID_BYTES)?;
        let (day, rest) = rest.strip_prefix('-')?.split_at_checked(DAY_DIGITS)?;
        let (digit, check) = rest.split_at_checked(1)?;
        let is_hex = |text: &str| text.bytes().all(|octet| octet.is_ascii_hexdigit());
        if !is_hex(day) || !is_hex(check) || check.len() != 2 * CHECK_BYTES {
            return None;
        }
        let mut octets = [0; CHECK_BYTES];
        for (octet, at) in octets.iter_mut().zip((0..).step_by(2)) {
            *octet = u8::from_str_radix(check.get(at..at + 2)?, 16).ok()?;
        }
        let digit = digit.parse().ok()?;
        Some(Self { id: id.parse().ok()?, day: u16::from_str_radix(day, 16).ok()?, digit, check: octets })
    }

    /// True when we have made it for this recipient, and it is still good.
    #[must_use]
    pub fn is_for(&self, keys: &Keys, recipient: &Address, now: Timestamp) -> bool {
        let Some(key) = keys.of(self.digit) else { return false };
        let expected = check(key, self.id, self.day, recipient);
        let same = verify_slices_are_equal(&expected, &self.check).is_ok();
        same && now.seconds() / DAY_SECONDS <= u64::from(self.day)
    }
}

fn check(key: &Key, id: QueueId, day: u16, recipient: &Address) -> [u8; CHECK_BYTES] {
    key.id("quarantine-release", &format!("{id} {day} {}", recipient.lookup_key()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_795_309_323_000);
    const ID: QueueId = QueueId(0x1_2345_6789);

    fn keys() -> Keys {
        Keys::new(vec![Key::new(3, Timestamp(2), b"three"), Key::new(2, Timestamp(1), b"two")])
    }

    fn later(days: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(days * DAY_SECONDS))
    }

    fn joe() -> Address {
        "Joe@our.test".parse().unwrap()
    }

    #[test]
    fn it_is_for_one_recipient_of_one_message_until_its_day_is_over() {
        let local = local_part(&keys(), ID, &joe(), later(7)).unwrap();
        assert!(local.len() <= 64 && local.starts_with("release-0"), "{local}: RFC 5321 §4.5.3.1.1");
        for text in [local.clone(), local.to_ascii_uppercase(), local.to_ascii_lowercase()] {
            let claim = Claim::read(&text).unwrap();
            assert_eq!(claim.id, ID);
            assert!(claim.is_for(&keys(), &joe(), NOW) && claim.is_for(&keys(), &joe(), later(7)));
            assert!(!claim.is_for(&keys(), &joe(), later(8)), "too late");
            assert!(!claim.is_for(&keys(), &"ann@our.test".parse().unwrap(), NOW), "another's copy");
            assert!(!claim.is_for(&keys(), &"joe@other.test".parse().unwrap(), NOW));
            assert!(
                !Claim { id: QueueId(7), ..claim.clone() }.is_for(&keys(), &joe(), NOW),
                "another message"
            );
            assert!(!Claim { day: claim.day + 1, ..claim.clone() }.is_for(&keys(), &joe(), NOW), "longer");
            assert!(!claim.is_for(&Keys::new(vec![Key::new(3, Timestamp(2), b"else")]), &joe(), NOW));
            assert!(!claim.is_for(&Keys::default(), &joe(), NOW));
        }
    }

    #[test]
    fn ordinary_names_are_not_claims() {
        let local = local_part(&keys(), ID, &joe(), NOW).unwrap();
        for text in ["joe", "release-", "release-notes", &local[..local.len() - 1], &format!("{local}0")] {
            assert_eq!(Claim::read(text), None, "{text}");
        }
        assert_eq!(Claim::read(&local.replace("release-", "released")), None);
    }

    proptest! {
        #[test]
        fn whatever_it_is_it_is_read_or_not(text in "(release-)?[0-9A-Za-z-]{0,20}(-[0-9a-fA-Fé]{0,40})?") {
            if let Some(claim) = Claim::read(&text) {
                prop_assert!(!claim.is_for(&keys(), &joe(), NOW));
            }
        }

        #[test]
        fn no_digit_can_be_changed(at in 8_usize..51, other in "[0-9a-f]") {
            let mut local = local_part(&keys(), ID, &joe(), NOW).unwrap();
            let was = local.get(at..=at).unwrap().to_ascii_lowercase();
            local.replace_range(at..=at, &other);
            let holds = Claim::read(&local).is_some_and(|claim| claim.is_for(&keys(), &joe(), NOW));
            prop_assert_eq!(holds, was == other);
        }
    }
}
