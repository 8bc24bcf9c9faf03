//! Greylisting: a sender that nobody knows is asked to come back in some minutes, which real servers do (RFC 5321 §4.5.4.1).
//!
//! By default only those are asked whose score calls for it. One attempt is known by several origins, all of which are
//! written and looked up: the domain that SPF vouches for, the organisation of the client's name, the client's network;
//! so pools of senders that retry from elsewhere pass. A retry that comes too early does not start the clock anew. An
//! origin that has passed often enough is not asked again.
//!
//! Never replies itself, never asks DNS, reads no clock. When the memory does not answer, nobody is asked to wait (I9: that
//! is no absence, and a delay without a memory would have no end). Entries expire: those that wait within days, so that a
//! flood of senders that never come back drives out nothing but itself.

pub mod manage;
mod origin;
mod record;
pub(crate) mod sender;

use std::sync::Arc;

use mail::{Address, Reply, ReversePath, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{StateStore, StoreError, Write};

pub use self::origin::{Origin, organisation};
use self::record::{Allowance, Entry};

/// Greylisting: `[antispam.greylist]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GreylistSettings {
    /// Who is asked to come back: `selective` (whose score reaches `thresholds.greylist`), `always` (all that are unknown),
    /// `off`.
    pub mode: GreylistMode,
    /// After how many seconds a retry is let in. Most servers try again after five minutes or more.
    pub delay_seconds: u64,
    /// Within how many seconds the retry has to come; then it begins anew. Two days.
    pub window_seconds: u64,
    /// For how many seconds a sender that has come back, and an origin that is allowed, is remembered after its last letter.
    pub allowed_seconds: u64,
    /// How many letters must have passed, at most one an hour, until their origin is not asked any more.
    pub successes_min: u32,
    /// Ask also when the score is reached only after DATA. Such a letter is sent twice in full, to all its recipients.
    pub after_data: bool,
}

impl Default for GreylistSettings {
    fn default() -> Self {
        Self {
            mode: GreylistMode::Selective,
            delay_seconds: 300,
            window_seconds: 2 * 86_400,
            allowed_seconds: 35 * 86_400,
            successes_min: 5,
            after_data: false,
        }
    }
}

/// Who is asked to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GreylistMode {
    /// Those whose score calls for it.
    #[default]
    Selective,
    /// All that are unknown.
    Always,
    /// Nobody.
    Off,
}

/// When it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// At RCPT, for one recipient.
    Rcpt,
    /// After DATA.
    EndOfData,
}

/// What others know of the sender; each of them is reason enough not to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Known {
    /// It has logged in, or is in a network that may relay.
    pub trusted: bool,
    /// A list of good senders has the client, at medium level or better.
    pub listed_as_good: bool,
    /// One of our users has written to this sender in the last 30 days.
    pub correspondent: bool,
}

/// One letter on its way to one recipient.
#[derive(Debug, Clone)]
pub struct Attempt<'a> {
    /// Who brings it, from [`Origin::all`].
    pub origins: Vec<Origin>,
    /// MAIL FROM.
    pub sender: &'a ReversePath,
    /// RCPT TO.
    pub recipient: &'a Address,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Let it in.
    Pass(Pass),
    /// Ask it to come back in so many seconds: [`reply`].
    Wait {
        /// At least 1.
        seconds: u64,
    },
}

/// Why an attempt is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pass {
    /// Nobody asks for greylisting: the mode, or the score.
    NotAsked,
    /// It is never asked: of [`Known`], or a null sender at RCPT.
    Exempt,
    /// This origin has passed often enough.
    Allowed(Origin),
    /// It has come back to this recipient, now or earlier.
    CameBack(Origin),
    /// The memory did not answer.
    Unavailable(String),
}

/// True when the mode and the score ask for greylisting at this moment, and nothing that is known forbids it.
///
/// `score_reached`: the score of the session so far has reached `thresholds.greylist`.
///
/// # Errors
/// Why it is let in.
pub fn asked(
    settings: &GreylistSettings,
    moment: Moment,
    sender: &ReversePath,
    known: Known,
    score_reached: bool,
) -> Result<(), Pass> {
    // Call-outs ask at RCPT with the null sender whether an address is there: they get their 250.
    let call_out = sender.is_null() && moment == Moment::Rcpt;
    if known.trusted || known.listed_as_good || known.correspondent || call_out {
        return Err(Pass::Exempt);
    }
    let wanted = match settings.mode {
        GreylistMode::Off => false,
        GreylistMode::Always => true,
        GreylistMode::Selective => score_reached,
    };
    let timely = moment == Moment::Rcpt || settings.after_data;
    if wanted && timely { Ok(()) } else { Err(Pass::NotAsked) }
}

/// The memory of who came when.
#[derive(Clone)]
pub struct Greylist {
    settings: GreylistSettings,
    state: Arc<dyn StateStore>,
}

impl Greylist {
    /// By these settings, remembered there.
    #[must_use]
    pub fn new(settings: GreylistSettings, state: Arc<dyn StateStore>) -> Self {
        Self { settings, state }
    }

    /// Looks the attempt up and writes it down. To be called when [`asked`] says so.
    pub async fn answer(&self, attempt: &Attempt<'_>, now: Timestamp) -> Answer {
        match self.look(attempt, now).await {
            Ok(answer) => answer,
            Err(error) => Answer::Pass(Pass::Unavailable(error.to_string())),
        }
    }

    async fn look(&self, attempt: &Attempt<'_>, now: Timestamp) -> Result<Answer, StoreError> {
        let seen = Seen::read(self.state.as_ref(), attempt, now).await?;
        if let Some(origin) = seen.allowed(self.settings.successes_min) {
            let pass = Pass::Allowed(origin.clone());
            drop(self.write(seen.successes(&self.settings, now), now).await);
            return Ok(Answer::Pass(pass));
        }
        match seen.first() {
            Some((origin, first)) => {
                let waited = now.since(first.first).as_secs();
                if first.passed || waited >= self.settings.delay_seconds {
                    let pass = Pass::CameBack(origin.clone());
                    let mut writes = seen.passed(first, &self.settings);
                    writes.extend(seen.successes(&self.settings, now));
                    // It has come back: that it cannot be written down is no reason to send it away again.
                    drop(self.write(writes, now).await);
                    return Ok(Answer::Pass(pass));
                }
                let end = first.first.seconds().saturating_add(self.settings.window_seconds);
                let left = end.saturating_sub(now.seconds()).max(1);
                // Other ways on which the same letter comes share its clock.
                self.write(seen.missing(first, left), now).await?;
                Ok(Answer::Wait { seconds: (self.settings.delay_seconds - waited).max(1) })
            }
            None => {
                seen.failure()?;
                let entry = Entry::new(now, attempt.sender, attempt.recipient);
                self.write(seen.missing(&entry, self.settings.window_seconds), now).await?;
                Ok(Answer::Wait { seconds: self.settings.delay_seconds.max(1) })
            }
        }
    }

    /// Fails when none of the writes is known to have been done: who cannot be remembered must not be asked to come back.
    async fn write(&self, writes: Vec<Write>, now: Timestamp) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let mut failed = None;
        for written in self.state.write(writes, now).await? {
            match written {
                Ok(_) => return Ok(()),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// What the memory has of one attempt, for each of its origins.
struct Seen<'a> {
    attempt: &'a Attempt<'a>,
    letter: record::Letter,
    of: Vec<(&'a Origin, Option<Entry>, Option<Allowance>)>,
    failed: Option<StoreError>,
}

impl<'a> Seen<'a> {
    async fn read(
        state: &dyn StateStore,
        attempt: &'a Attempt<'a>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let letter = record::Letter::of(attempt.sender, attempt.recipient);
        let keys =
            attempt.origins.iter().flat_map(|o| [record::entry_key(o, &letter), record::allowance_key(o)]);
        let mut answers = state.get(keys.collect(), now).await?.into_iter();
        let mut failed = None;
        let mut value = || match answers.next() {
            Some(Ok(found)) => found.map(|entry| entry.value),
            Some(Err(error)) => {
                failed = Some(error);
                None
            }
            None => None,
        };
        let of = attempt.origins.iter().map(|origin| {
            let entry = value().and_then(|value| Entry::decode(&value));
            (origin, entry, value().and_then(|value| Allowance::decode(&value)))
        });
        let of = of.collect();
        Ok(Self { attempt, letter, of, failed })
    }

    fn allowed(&self, successes_min: u32) -> Option<&'a Origin> {
        let allowed = |a: &Allowance| a.by_operator || a.successes >= successes_min;
        self.of
            .iter()
            .find(|(.., allowance)| allowance.as_ref().is_some_and(allowed))
            .map(|(origin, ..)| *origin)
    }

    /// The entry that has been there for longest, one that has passed before all others.
    fn first(&self) -> Option<(&'a Origin, &Entry)> {
        let entries =
            self.of.iter().filter_map(|(origin, entry, _)| entry.as_ref().map(|entry| (*origin, entry)));
        entries.min_by_key(|(_, entry)| (!entry.passed, entry.first))
    }

    /// What could not be read may have been there.
    fn failure(&self) -> Result<(), StoreError> {
        self.failed.as_ref().map_or(Ok(()), |error| Err(StoreError::Unknown(error.to_string())))
    }

    fn missing(&self, entry: &Entry, ttl_seconds: u64) -> Vec<Write> {
        let missing = self.of.iter().filter(|(_, known, _)| known.is_none());
        let key = |origin: &Origin| record::entry_key(origin, &self.letter);
        missing.map(|(origin, ..)| Write::put_if_absent(key(origin), entry.encode(), ttl_seconds)).collect()
    }

    /// It has come back: now all its origins are known for it.
    fn passed(&self, first: &Entry, settings: &GreylistSettings) -> Vec<Write> {
        let value = Entry { passed: true, ..first.clone() }.encode();
        let key = |origin: &Origin| record::entry_key(origin, &self.letter);
        let origins = self.attempt.origins.iter();
        origins.map(|origin| Write::put(key(origin), value.clone(), settings.allowed_seconds)).collect()
    }

    /// One more letter of its origins, at most one an hour. Two at once may count as one: it takes a letter more.
    fn successes(&self, settings: &GreylistSettings, now: Timestamp) -> Vec<Write> {
        let origins = self.of.iter().filter_map(|(origin, _, allowance)| {
            let next = allowance.unwrap_or_default().succeeded(now)?;
            Some(Write::put(record::allowance_key(origin), next.encode(), settings.allowed_seconds))
        });
        origins.collect()
    }
}

/// `451 4.7.1` with the seconds to wait.
#[must_use]
pub fn reply(seconds: u64) -> Reply {
    let text = format!("Greylisted: please try again in {seconds} seconds");
    Reply::new(451, (4, 7, 1), text)
}

#[cfg(test)]
mod tests;
