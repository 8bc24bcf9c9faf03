//! Message-IDs that prove to be ours: those we add carry a check, of the others a keyed hash is remembered, in
//! [`crate::hashes`]. Rows of `m/`, one for each, were kept before and are passed over until they expire.
//!
//! A Message-ID that somebody else has chosen is never changed. Ours are `<queue id>.<key's digit><check>@<host>`; the queue id
//! tells the time, and so when the proof ends. Case makes no difference. The time is passed in.

use std::time::Duration;

use mail::{Domain, QueueId, Timestamp};

use super::DAY_SECONDS;
use super::keys::{Key, Keys, hex};
use crate::hashes::{HASH_BYTES, Hash};

/// Octets of HMAC-SHA256 that a Message-ID carries: 2^64 guesses, by mail.
const CHECK_BYTES: usize = 8;
/// Length of a queue id in text.
const QUEUE_ID_BYTES: usize = 13;
/// How far ahead the clock may have been that made an id.
const CLOCK_SECONDS_OFF_MAX: u64 = 3600;

/// The Message-ID for a message that has none, without brackets; without a key it proves nothing.
#[must_use]
pub fn make(keys: &Keys, id: QueueId, host: &Domain) -> String {
    match keys.newest() {
        Some(key) => format!("{id}.{}{}@{host}", key.digit, check(key, &id.to_string(), host.as_str())),
        None => format!("{id}@{host}"),
    }
}

/// True when we have made this Message-ID, without brackets, in the last `days`.
#[must_use]
pub fn proves(keys: &Keys, message_id: &str, now: Timestamp, days: u64) -> bool {
    let proven = || -> Option<bool> {
        let (local, host) = message_id.rsplit_once('@')?;
        let (id, rest) = (local.get(..QUEUE_ID_BYTES)?, local.get(QUEUE_ID_BYTES..)?.strip_prefix('.')?);
        let (digit, claimed) = (rest.get(..1)?.parse().ok()?, rest.get(1..)?);
        let queue_id: QueueId = id.parse().ok()?;
        let expected = check(keys.of(digit)?, &queue_id.to_string(), &host.to_ascii_lowercase());
        let made = queue_id.made();
        let timely = now.since(made).as_secs() <= days * DAY_SECONDS
            && made <= now.plus(Duration::from_secs(CLOCK_SECONDS_OFF_MAX));
        Some(timely && expected.eq_ignore_ascii_case(claimed))
    };
    proven().unwrap_or(false)
}

/// By what a Message-ID that somebody else has chosen, without brackets, is remembered; nothing without a key.
#[must_use]
pub fn remembered(keys: &Keys, message_id: &str) -> Option<Hash> {
    keys.newest().map(|key| hash(key, message_id))
}

/// By what it may be remembered: one for each key, the newest first.
pub(super) fn hashes(keys: &Keys, message_id: &str) -> impl Iterator<Item = Hash> {
    keys.iter().map(move |key| hash(key, message_id))
}

fn hash(key: &Key, message_id: &str) -> Hash {
    key.id::<HASH_BYTES>("remembered", message_id.trim())
}

fn check(key: &Key, id: &str, host: &str) -> String {
    hex(&key.id::<CHECK_BYTES>("message-id", &format!("{id}@{host}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> Keys {
        Keys::new(vec![Key::new(3, Timestamp(2), b"three"), Key::new(2, Timestamp(1), b"two")])
    }

    const NOW: Timestamp = Timestamp(1_795_309_323_000);

    #[test]
    fn what_we_made_proves_itself_for_its_days() {
        let host = Domain::parse("mx.our.test").unwrap();
        let id = make(&keys(), QueueId::from_parts(NOW.0, 5), &host);
        let later = |days: u64| NOW.plus(Duration::from_secs(days * DAY_SECONDS));
        assert!(proves(&keys(), &id, NOW, 12));
        assert!(proves(&keys(), &id.to_ascii_lowercase(), later(12), 12));
        assert!(proves(&keys(), &id.to_ascii_uppercase(), later(12), 12));
        assert!(!proves(&keys(), &id, later(13), 12), "too old");
        assert!(!proves(&keys(), &id, Timestamp(NOW.0 - 7_200_000), 12), "from the future");
        assert!(!proves(&keys(), &id.replace("our", "other"), NOW, 12));
        let other = Keys::new(vec![Key::new(3, Timestamp(2), b"another")]);
        assert!(!proves(&other, &id, NOW, 12));
        let unkeyed = make(&Keys::default(), QueueId::from_parts(NOW.0, 5), &host);
        assert!(!proves(&keys(), &unkeyed, NOW, 12));
        let old = Keys::new(vec![Key::new(2, Timestamp(1), b"two")]);
        assert!(proves(&keys(), &make(&old, QueueId::from_parts(NOW.0, 6), &host), NOW, 12), "a former key");
    }

    #[test]
    fn a_remembered_id_is_a_hash_that_a_former_key_may_have_made() {
        let old = Keys::new(vec![Key::new(2, Timestamp(1), b"two")]);
        let kept = remembered(&old, "Letter-1@desk.test").unwrap();
        assert!(hashes(&keys(), "Letter-1@desk.test").any(|hash| hash == kept));
        assert!(
            !hashes(&keys(), "letter-1@desk.test").any(|hash| hash == kept),
            "others' ids keep their case"
        );
        assert_eq!(remembered(&Keys::default(), "a@b"), None);
    }

    proptest! {
        #[test]
        fn nothing_else_proves_anything(text in "\\PC{0,60}", id in "[0-9A-Z]{13}\\.[0-9][0-9a-f]{16}@a\\.test") {
            prop_assert!(!proves(&keys(), &text, NOW, 12));
            prop_assert!(!proves(&keys(), &id, NOW, 12));
        }
    }
}
