//! Addresses by which a recipient releases one message: `release-00JX4M8ZQ0001-000051800a1b…@` a domain of ours.
//!
//! The local part names the message, the recipient by its place in it, the last day on which it is good for something, the
//! key, and a check over these and the domain. So it is of use for one copy of one message, and to nobody who has not read
//! the letter that it stood in; and whether we have made it is known before anything is looked up. Case makes no
//! difference: some programs change it. The keys are those of [`crate::backscatter`]. Pure; the time is passed in.
//!
//! ```text
//! release-00JX4M8ZQ0001-0000 5180 0 1f0e…
//!         queue id      │    │    │ └ 12 octets of HMAC-SHA256
//!                       │    │    └ digit of the key
//!                       │    └ the day, counted from 1970-01-01
//!                       └ the place of the recipient
//! ```

use aws_lc_rs::constant_time::verify_slices_are_equal;
use mail::{Domain, QueueId, Timestamp};

use crate::backscatter::keys::{Key, Keys};

/// With what such a local part begins.
pub const PREFIX: &str = "release-";
/// Octets of the check: 2^96 guesses, by mail.
const CHECK_BYTES: usize = 12;
const QUEUE_ID_BYTES: usize = 13;
/// Digits of the place, and of the day.
const NUMBER_DIGITS: usize = 4;
const DAY_SECONDS: u64 = 86_400;

/// The local part by which the recipient at this place of a message, in `domain`, releases it, through the day of `until`;
/// none without a key, and beyond the 65,536th recipient.
#[must_use]
pub fn local_part(
    keys: &Keys,
    (id, recipient): (QueueId, usize),
    domain: &Domain,
    until: Timestamp,
) -> Option<String> {
    let key = keys.newest()?;
    let recipient = u16::try_from(recipient).ok()?;
    let day = u16::try_from(until.seconds() / DAY_SECONDS).unwrap_or(u16::MAX);
    let check = check(key, (id, recipient, day), domain);
    let check: String = check.iter().map(|octet| format!("{octet:02x}")).collect();
    Some(format!("{PREFIX}{id}-{recipient:04x}{day:04x}{}{check}", key.digit))
}

/// What such a local part says, not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Which message.
    pub id: QueueId,
    /// The place of the recipient among those of the message.
    pub recipient: u16,
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
        let (recipient, rest) = rest.strip_prefix('-')?.split_at_checked(NUMBER_DIGITS)?;
        let (day, rest) = rest.split_at_checked(NUMBER_DIGITS)?;
        let (digit, check) = rest.split_at_checked(1)?;
        let is_hex = |text: &str| text.bytes().all(|octet| octet.is_ascii_hexdigit());
        if ![recipient, day, check].into_iter().all(is_hex) || check.len() != 2 * CHECK_BYTES {
            return None;
        }
        let mut octets = [0; CHECK_BYTES];
        for (octet, at) in octets.iter_mut().zip((0..).step_by(2)) {
            *octet = u8::from_str_radix(check.get(at..at + 2)?, 16).ok()?;
        }
        let number = |text: &str| u16::from_str_radix(text, 16).ok();
        let (recipient, day) = (number(recipient)?, number(day)?);
        Some(Self { id: id.parse().ok()?, recipient, day, digit: digit.parse().ok()?, check: octets })
    }

    /// True when we have made it, for a recipient in this domain, and it is still good.
    #[must_use]
    pub fn is_ours(&self, keys: &Keys, domain: &Domain, now: Timestamp) -> bool {
        let Some(key) = keys.of(self.digit) else { return false };
        let expected = check(key, (self.id, self.recipient, self.day), domain);
        let same = verify_slices_are_equal(&expected, &self.check).is_ok();
        same && now.seconds() / DAY_SECONDS <= u64::from(self.day)
    }
}

fn check(key: &Key, (id, recipient, day): (QueueId, u16, u16), domain: &Domain) -> [u8; CHECK_BYTES] {
    key.id("quarantine-release", &format!("{id} {recipient} {day} {domain}"))
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

    fn ours() -> Domain {
        Domain::parse("Our.test").unwrap()
    }

    fn made(keys: &Keys, until: Timestamp) -> String {
        local_part(keys, (ID, 2), &ours(), until).unwrap()
    }

    #[test]
    fn it_is_for_one_recipient_of_one_message_until_its_day_is_over() {
        let local = made(&keys(), later(7));
        assert!(local.len() <= 64 && local.starts_with("release-0"), "{local}: RFC 5321 §4.5.3.1.1");
        for text in [local.clone(), local.to_ascii_uppercase(), local.to_ascii_lowercase()] {
            let claim = Claim::read(&text).unwrap();
            assert_eq!((claim.id, claim.recipient), (ID, 2));
            let good = |claim: &Claim, keys: &Keys, now| claim.is_ours(keys, &ours(), now);
            assert!(good(&claim, &keys(), NOW) && good(&claim, &keys(), later(7)));
            assert!(!good(&claim, &keys(), later(8)), "too late");
            assert!(!good(&Claim { recipient: 3, ..claim.clone() }, &keys(), NOW), "another's copy");
            assert!(!claim.is_ours(&keys(), &Domain::parse("other.test").unwrap(), NOW));
            assert!(!good(&Claim { id: QueueId(7), ..claim.clone() }, &keys(), NOW), "another message");
            assert!(!good(&Claim { day: claim.day + 1, ..claim.clone() }, &keys(), NOW), "longer");
            assert!(!good(&claim, &Keys::new(vec![Key::new(3, Timestamp(2), b"else")]), NOW));
            assert!(!good(&claim, &Keys::default(), NOW));
        }
    }

    #[test]
    fn ordinary_names_are_not_claims() {
        let local = made(&keys(), NOW);
        for text in ["joe", "release-", "release-notes", &local[..local.len() - 1], &format!("{local}0")] {
            assert_eq!(Claim::read(text), None, "{text}");
        }
        assert_eq!(Claim::read(&local.replace("release-", "released")), None);
        assert_eq!(local_part(&keys(), (ID, 0x1_0000), &ours(), NOW), None);
    }

    proptest! {
        #[test]
        fn whatever_it_is_it_is_read_or_not(text in "(release-)?[0-9A-Za-z-]{0,20}(-[0-9a-fA-Fé]{0,40})?") {
            if let Some(claim) = Claim::read(&text) {
                prop_assert!(!claim.is_ours(&keys(), &ours(), NOW));
            }
        }

        #[test]
        fn no_digit_can_be_changed(at in 8_usize..55, other in "[0-9a-f]") {
            let mut local = made(&keys(), NOW);
            let was = local.get(at..=at).unwrap().to_ascii_lowercase();
            local.replace_range(at..=at, &other);
            let holds = Claim::read(&local).is_some_and(|claim| claim.is_ours(&keys(), &ours(), NOW));
            prop_assert_eq!(holds, was == other);
        }
    }
}
