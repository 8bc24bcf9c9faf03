//! How many messages without a sender there were, and how many proved to be about our mail: what `staffetta backscatter
//! status` shows, so that an operator sees what `enforce` would refuse before it does.
//!
//! Counted by day in the state store; never a peer's words.

use mail::Timestamp;
use store::{StateKey, StateStore, StoreError, Write};

use super::DAY_SECONDS;
use super::judge::Judgement;

/// Where all of this is kept in the state store.
pub const NAMESPACE: &str = "backscatter";
/// Days that are counted together.
pub const DAYS_MAX: u64 = 30;

/// The counts of some days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Messages that proved to be about mail of ours.
    pub proven: u64,
    /// Messages that proved nothing, and were or would have been refused.
    pub forged: u64,
    /// Dispositions, automatic replies and complaints that proved nothing: scored.
    pub scored: u64,
    /// Messages of which it could not be found out.
    pub unknown: u64,
}

impl Counts {
    /// The share of all that `enforce` refuses, in thousandths; 0 when there were none.
    #[must_use]
    pub fn refused_thousandths(&self) -> u64 {
        let all = self.proven + self.forged + self.scored + self.unknown;
        self.forged.saturating_mul(1000).checked_div(all).unwrap_or_default()
    }
}

/// What counts a judgement.
pub(super) fn count(judgement: &Judgement, now: Timestamp) -> Write {
    Write::add(place(now.seconds() / DAY_SECONDS, judgement.as_str()), 1, (DAYS_MAX + 1) * DAY_SECONDS)
}

/// The counts of the last [`DAYS_MAX`] days.
///
/// # Errors
/// [`StoreError`] when the state store does not answer.
pub async fn counts(state: &dyn StateStore, now: Timestamp) -> Result<Counts, StoreError> {
    let today = now.seconds() / DAY_SECONDS;
    let days = today.saturating_sub(DAYS_MAX - 1)..=today;
    let keys = days.flat_map(|day| Judgement::WORDS.iter().map(move |word| place(day, word))).collect();
    let mut counts = Counts::default();
    for (entry, word) in state.get(keys, now).await?.into_iter().zip(Judgement::WORDS.iter().cycle()) {
        let total = entry?.and_then(|entry| entry.total()).and_then(|total| u64::try_from(total).ok());
        let slot = match *word {
            "proven" => &mut counts.proven,
            "forged" => &mut counts.forged,
            "scored" => &mut counts.scored,
            _ => &mut counts.unknown,
        };
        *slot = slot.saturating_add(total.unwrap_or_default());
    }
    Ok(counts)
}

fn place(day: u64, word: &str) -> StateKey {
    StateKey::new(NAMESPACE, format!("n/{day}/{word}"))
}
