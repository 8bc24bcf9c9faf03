//! Bounces of what we never sent: how our own mail is marked, and how a message without a sender proves to be about it.
//!
//! Marks are made once, when a message is taken in: a tag in the reverse-path (BATV, draft-levine-smtp-batv) and a check in the
//! Message-IDs that we add; of others' Message-IDs a keyed hash is remembered. A message with the null reverse-path to one of
//! our users proves itself by any of the three. What proves none is forged. Nothing here replies to a client: it is a
//! ruling in the words of `policy`, which acts in mode `enforce` alone. A look-up that fails is neither proof nor forgery
//! (invariant I9).
//!
//! Tags and checks are proven by a key alone. What is remembered of others' Message-IDs is in [`crate::hashes`], which a crash
//! may rob of its last seconds: that costs the proof only of mail that left in them without a tag.

pub mod batv;
pub mod judge;
pub mod keys;
pub mod message_id;
pub mod out;
pub mod status;
pub mod unsigned;

use std::path::PathBuf;
use std::sync::Arc;

use mail::{Address, Timestamp};
use policy::Addressed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::batv::{Tagged, Validity};
pub use self::judge::{Backscatter, Judgement, Proof};
pub use self::keys::{KeyError, Keys};
pub use self::unsigned::UnsignedTo;

/// Days that a report may come later than the queue gives up: the other side has a queue too.
const DAYS_AFTER_QUEUE: u64 = 7;
/// A tag tells its day in three digits, so that no validity may come near 1000 days.
const DAYS_MAX: u64 = 400;
const DAY_SECONDS: u64 = 86_400;

/// Bounces of what we never sent: `[antispam.backscatter]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackscatterSettings {
    /// Sign the reverse-path of what your users send to other servers with a tag (BATV, `prvs=`), by which bounces of it are
    /// known. Lists, VERP, SRS and names that would get too long are left alone. Off, and in mode `off`, nothing is
    /// signed, and tags that were made before are still understood. Turn it off for domains whose own servers sign.
    pub sign: bool,
    /// What is done with a message without a sender that proves not to be about mail of ours: `off`, `observe` (it is
    /// counted and recorded), `enforce` (550 5.7.1 after DATA). Watch `staffetta backscatter status` first.
    pub mode: BackscatterMode,
    /// The folder of the keys, one file for each; not set: `backscatter` in the data folder. The first key is made at start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<PathBuf>,
    /// Domains (without those below them) and addresses to which reverse-paths are not signed: of lists that know their
    /// members by the reverse-path. Bounces from there are known by their Message-IDs alone.
    #[schemars(with = "Vec<String>")]
    pub unsigned_to: Vec<UnsignedTo>,
}

impl Default for BackscatterSettings {
    fn default() -> Self {
        Self { sign: true, mode: BackscatterMode::Observe, keys: None, unsigned_to: Vec::new() }
    }
}

/// What is done about forged bounces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackscatterMode {
    /// Nothing is looked at.
    Off,
    /// Counted and recorded.
    #[default]
    Observe,
    /// Refused after DATA.
    Enforce,
}

/// How our own mail is marked, so that reports about it are known.
#[derive(Debug, Clone)]
pub struct Marks {
    /// The keys.
    pub keys: Arc<Keys>,
    /// For how many days a mark holds.
    pub days: u64,
    /// Reverse-paths get tags.
    pub sign: bool,
    /// To whom they go without.
    pub unsigned_to: Vec<UnsignedTo>,
}

/// An address of ours whose tag was taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untagged {
    /// The address as everything else knows it.
    pub original: Address,
    /// What the tag was worth.
    pub validity: Validity,
}

impl Marks {
    /// Marks that hold for so many days, as the settings want them.
    #[must_use]
    pub fn new(keys: Keys, days: u64, settings: &BackscatterSettings) -> Self {
        let BackscatterSettings { sign, mode, unsigned_to, .. } = settings.clone();
        // Where nobody looks at bounces a tag is of no use.
        let sign = sign && mode != BackscatterMode::Off;
        Self { keys: Arc::new(keys), days, sign, unsigned_to }
    }

    /// A sender of ours with a tag; `None` when it goes as it is.
    #[must_use]
    pub fn signed(&self, sender: &Address, now: Timestamp) -> Option<Address> {
        if self.sign { batv::sign(sender, &self.keys, now, self.days) } else { None }
    }

    /// True when this recipient is told the sender without a tag.
    #[must_use]
    pub fn is_unsigned_to(&self, recipient: &Address) -> bool {
        self.unsigned_to.iter().any(|entry| entry.means(recipient))
    }

    /// Takes the tag off an address in a domain of ours; `None` when it has none that is our business. Whoever does not sign
    /// only knows those that were made before: others may be a server's behind this one.
    #[must_use]
    pub fn untagged(&self, address: &Address, now: Timestamp) -> Option<Untagged> {
        let tagged = Tagged::parse(address)?;
        let validity = tagged.check(&self.keys, now, self.days);
        let is_ours = self.sign || validity != Validity::Forged;
        is_ours.then_some(Untagged { original: tagged.original, validity })
    }
}

impl Untagged {
    /// What it tells of a recipient.
    #[must_use]
    pub fn addressed(&self) -> Addressed {
        if self.validity == Validity::Holds { Addressed::Tagged } else { Addressed::BadlyTagged }
    }
}

/// For how many days a mark holds, when the queue gives up after so many seconds.
#[must_use]
pub fn validity_days(queue_lifetime_seconds: u64) -> u64 {
    queue_lifetime_seconds.div_ceil(DAY_SECONDS).saturating_add(DAYS_AFTER_QUEUE).min(DAYS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backscatter::keys::Key;

    const NOW: Timestamp = Timestamp(1_795_309_323_000);

    fn marks(text: &str) -> Marks {
        let keys = Keys::new(vec![Key::new(1, NOW, b"secret")]);
        Marks::new(keys, 12, &toml::from_str(text).unwrap())
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn who_stops_signing_still_knows_what_was_signed_and_leaves_other_tags_to_others() {
        let (on, off) = (marks(""), marks("sign = false"));
        assert!(!marks("mode = \"off\"").sign);
        let joe = address("joe@our.test");
        let tagged = on.signed(&joe, NOW).unwrap();
        let forged = address("prvs=1791abcdef=joe@our.test");
        for marks in [&on, &off] {
            let untagged = marks.untagged(&tagged, NOW).unwrap();
            assert_eq!((&untagged.original, untagged.addressed()), (&joe, Addressed::Tagged));
            assert_eq!(marks.untagged(&joe, NOW), None);
        }
        assert_eq!(off.signed(&joe, NOW), None);
        let late = Timestamp::from_seconds(NOW.seconds() + 13 * DAY_SECONDS);
        assert_eq!(
            off.untagged(&tagged, late).map(|u| u.addressed()),
            Some(Addressed::BadlyTagged),
            "too old"
        );
        assert_eq!(on.untagged(&forged, NOW).map(|u| u.addressed()), Some(Addressed::BadlyTagged));
        assert_eq!(off.untagged(&forged, NOW), None);
    }

    #[test]
    fn domains_and_addresses_are_left_unsigned() {
        let marks = marks("unsigned_to = [\"lists.away.test\", \"people@far.test\"]");
        for (recipient, unsigned) in [
            ("a@lists.away.test", true),
            ("a@away.test", false),
            ("people@far.test", true),
            ("a@far.test", false),
        ] {
            assert_eq!(marks.is_unsigned_to(&address(recipient)), unsigned, "{recipient}");
        }
    }
}
