//! Tags in reverse-paths: `prvs=KDDDSSSSSS=joe@our.test` (draft-levine-smtp-batv, "simple private signature").
//!
//! K is the digit of the key, DDD the last day on which the tag holds, counted from 1970 modulo 1000, SSSSSS the first
//! three octets of HMAC-SHA1 over `KDDDjoe@our.test`. Case makes no difference, as some systems change it on the way. The day is
//! passed in. A tag is made once for a message, so that every attempt at delivery has the same sender for a greylist.

use mail::{Address, Timestamp};

use super::DAY_SECONDS;
use super::keys::{Key, Keys, hex, unhex};

/// RFC 5321 §4.5.3.1.1: what every server has to take. A longer local part may be refused on the way.
const LOCAL_PART_BYTES_MAX: usize = 64;
const PREFIX: &str = "prvs=";
const DAYS_ROUND: u64 = 1000;

/// An address with a tag, taken apart; whether the tag holds is for [`Tagged::check`] to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// The address without its tag, as everything else knows it.
    pub original: Address,
    digit: u8,
    day: u64,
    mark: [u8; 3],
}

/// What a tag is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// We made it, and it still holds.
    Holds,
    /// We made it, too long ago.
    Expired,
    /// We did not make it: wrong mark, or a key that is gone.
    Forged,
}

impl Tagged {
    /// Takes the tag off an address; `None` when it has none.
    #[must_use]
    pub fn parse(address: &Address) -> Option<Self> {
        let local = address.local.as_str();
        let prefix = local.get(..PREFIX.len()).filter(|start| start.eq_ignore_ascii_case(PREFIX))?;
        let (tag, rest) = local.get(prefix.len()..)?.split_once('=')?;
        let digits = tag.get(..4).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))?;
        let (digit, day) = (digits.get(..1)?.parse().ok()?, digits.get(1..)?.parse().ok()?);
        let mark = unhex(tag.get(4..)?)?.try_into().ok()?;
        let original = Address::new(rest, address.domain.clone()).ok()?;
        Some(Self { original, digit, day, mark })
    }

    /// Whether we have made the tag, for how long it holds being at most `days`.
    #[must_use]
    pub fn check(&self, keys: &Keys, now: Timestamp, days: u64) -> Validity {
        let Some(key) = keys.of(self.digit) else { return Validity::Forged };
        if mark(key, self.day, &self.original) != self.mark {
            return Validity::Forged;
        }
        // The day counts round: what lies further ahead than a tag can hold lies behind.
        let ahead = (self.day + DAYS_ROUND - today(now)) % DAYS_ROUND;
        if ahead <= days { Validity::Holds } else { Validity::Expired }
    }
}

/// The address with a tag that holds for so many `days`; `None` when it is better left as it is: it has a tag or another
/// coded form (VERP, SRS), is a list's, would get too long, or there is no key.
#[must_use]
pub fn sign(address: &Address, keys: &Keys, now: Timestamp, days: u64) -> Option<Address> {
    let local = address.local.as_str();
    if is_coded(local) || is_of_a_list(local) {
        return None;
    }
    let key = keys.newest()?;
    let day = (today(now) + days) % DAYS_ROUND;
    let tagged = format!("{PREFIX}{}{day:03}{}={local}", key.digit, hex(&mark(key, day, address)));
    let fits = tagged.len() <= LOCAL_PART_BYTES_MAX;
    fits.then(|| Address::new(&tagged, address.domain.clone()).ok()).flatten()
}

fn mark(key: &Key, day: u64, original: &Address) -> [u8; 3] {
    key.tag(&format!("{}{day:03}{}", key.digit, original.lookup_key()))
}

fn today(now: Timestamp) -> u64 {
    now.seconds() / DAY_SECONDS % DAYS_ROUND
}

/// VERP and other forms with an address inside have `=`; SRS0, SRS1 and tags of any kind have it too, or `+` or `-`.
fn is_coded(local: &str) -> bool {
    let start = local.get(..4).unwrap_or_default();
    local.contains('=') || start.eq_ignore_ascii_case("srs0") || start.eq_ignore_ascii_case("srs1")
}

/// Senders of lists, to which their programs know bounces by themselves.
fn is_of_a_list(local: &str) -> bool {
    let local = local.to_ascii_lowercase();
    let ends = ["-bounces", "-bounce", "-owner", "-return", "-request", "-admin"];
    let holds = ["-bounces+", "-return-"];
    local.starts_with("owner-")
        || ends.iter().any(|end| local.ends_with(end))
        || holds.iter().any(|word| local.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> Keys {
        Keys::new(vec![Key::new(3, Timestamp(2), b"three"), Key::new(2, Timestamp(1), b"two")])
    }

    fn day(day: u64) -> Timestamp {
        Timestamp::from_seconds(day * DAY_SECONDS + 70_000)
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn a_tag_holds_until_its_last_day_and_over_the_turn_of_a_thousand() {
        for start in [20_779, 20_990, 20_999, 21_000] {
            let tagged = sign(&address("Joe@our.test"), &keys(), day(start), 12).unwrap();
            let parsed = Tagged::parse(&tagged).unwrap();
            assert_eq!(parsed.original.to_string(), "Joe@our.test");
            for (after, expected) in [
                (0, Validity::Holds),
                (12, Validity::Holds),
                (13, Validity::Expired),
                (500, Validity::Expired),
            ] {
                assert_eq!(parsed.check(&keys(), day(start + after), 12), expected, "{start} {after}");
            }
        }
    }

    #[test]
    fn the_form_is_that_of_the_draft() {
        let tagged = sign(&address("joe@our.test"), &keys(), day(20_779), 12).unwrap().to_string();
        let rest = tagged.strip_prefix("prvs=3791").unwrap();
        let (mark, rest) = rest.split_once('=').unwrap();
        assert_eq!((mark.len(), rest), (6, "joe@our.test"));
        // HMAC-SHA1 of `3791joe@our.test` with the key `three`, computed by another program.
        assert_eq!(mark, "76dcb1");
    }

    #[test]
    fn any_change_of_case_is_survived_and_any_other_is_not() {
        let tagged = sign(&address("Joe@our.test"), &keys(), day(20_000), 12).unwrap().to_string();
        let check = |text: &str| Tagged::parse(&address(text)).map(|t| t.check(&keys(), day(20_001), 12));
        assert_eq!(check(&tagged.to_uppercase()), Some(Validity::Holds));
        assert_eq!(check(&tagged.to_lowercase()), Some(Validity::Holds));
        assert_eq!(check(&tagged.replace("Joe", "Jim")), Some(Validity::Forged));
        assert_eq!(check(&tagged.replace("our", "other")), Some(Validity::Forged));
        assert_eq!(check(&tagged.replace("prvs=3", "prvs=2")), Some(Validity::Forged));
        assert_eq!(check(&tagged.replace("prvs=3", "prvs=9")), Some(Validity::Forged), "no such key");
    }

    #[test]
    fn a_key_that_signs_no_more_still_verifies() {
        let old = Keys::new(vec![Key::new(2, Timestamp(1), b"two")]);
        let tagged = sign(&address("joe@our.test"), &old, day(20_000), 12).unwrap();
        assert_eq!(Tagged::parse(&tagged).unwrap().check(&keys(), day(20_003), 12), Validity::Holds);
    }

    #[test]
    fn coded_senders_lists_and_long_names_are_left_alone() {
        for text in [
            "news-joe=away.test@our.test",
            "SRS0=abcd=ef=away.test=joe@our.test",
            "srs1+x+y@our.test",
            "prvs=3791abcdef=joe@our.test",
            "people-bounces@our.test",
            "people-return-17@our.test",
            "owner-people@our.test",
            "a-name-of-fifty-octets-so-that-the-tag-is-too-long.@our.test",
        ] {
            let address =
                Address::new(text.split_once('@').unwrap().0, mail::Domain::parse("our.test").unwrap());
            assert_eq!(sign(&address.unwrap(), &keys(), day(20_000), 12), None, "{text}");
        }
        assert_eq!(sign(&address("joe@our.test"), &Keys::default(), day(20_000), 12), None);
    }

    #[test]
    fn what_only_looks_like_a_tag_is_an_address() {
        for text in [
            "prvs=joe@a.test",
            "prvs=12345=joe@a.test",
            "prvs=0791abcdeg=joe@a.test",
            "prvs=0791abcdef=@a.test",
        ] {
            assert_eq!(Tagged::parse(&address(text)), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_local_part_is_survived(local in "(prvs=)?\\PC{1,40}", now in 0_u64..u64::MAX) {
            if let Ok(address) = Address::new(&local, mail::Domain::parse("a.test").unwrap()) {
                let now = Timestamp(now);
                if let Some(tagged) = Tagged::parse(&address) {
                    prop_assert_ne!(tagged.check(&keys(), now, 12), Validity::Holds);
                }
                if let Some(signed) = sign(&address, &keys(), now, 12) {
                    let parsed = Tagged::parse(&signed).unwrap();
                    prop_assert_eq!(&parsed.original, &address);
                    prop_assert_eq!(parsed.check(&keys(), now, 12), Validity::Holds);
                }
            }
        }
    }
}
