//! How much a client network, or an account, may do in an hour: connections, messages, recipients, failures.
//!
//! Counted in memory, an hour at a time, and weighed with the hour before, so that a burst over the turn of an hour is seen
//! whole; to count costs a lock and no waiting. Counts that come near a limit are added to the state store now and then
//! ([`Rates::save`]), so that a restart forgives nobody; small ones are not worth a write. Decisions are values: nothing here
//! replies or waits. An account that writes to many whom it has not written to before, or whose mail comes back, is taken
//! for broken into: slowed, then its mail is held, then it is locked ([`locks`]), and the operator is told of each step once.
//! What the memory has no room for is forgotten, those first who did least. A store that does not answer limits nobody.

mod counters;
pub mod locks;
mod settings;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use mail::{ClientNetwork, Timestamp};
use serde::{Deserialize, Serialize};
use store::{StateKey, StateStore, StoreError, Write, Written};

use self::counters::{Counters, Subject};
use self::locks::{Lock, Locks};
pub use self::settings::RateSettings;

/// Counters, and what operators were told of.
const NAMESPACE: &str = "rate";
const HOUR_SECONDS: u64 = 3600;
/// A counter is needed until the hour behind its own is over.
const TTL_SECONDS: u64 = 2 * HOUR_SECONDS + 60;
/// Over so many times the limit, mail is held.
pub const HOLD_TIMES: u64 = 2;
/// Over so many times the limit, the account is locked.
pub const LOCK_TIMES: u64 = 4;
/// With what the mark of an account begins whose mail is being put on hold.
const SWEEP: &[u8] = b"sweep/";
/// For how long such a mark is of use: no mail stays in the queue for longer.
const SWEEP_TTL_SECONDS: u64 = 30 * 24 * HOUR_SECONDS;
/// Entries that are read from the store at once.
const PAGE: usize = 500;
/// Writes that go to the store at once.
const WRITES_MAX: usize = 500;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A connection.
    Connection,
    /// A message that was taken.
    Message,
    /// A recipient that was taken.
    Recipient,
    /// Something that was refused for good.
    Failure,
    /// A recipient to whom an account had not written before.
    NewRecipient,
    /// Mail of an account that came back.
    Bounce,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Connection, Self::Message, Self::Recipient, Self::Failure, Self::NewRecipient, Self::Bounce];

    /// Its name in keys, records and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Message => "message",
            Self::Recipient => "recipient",
            Self::Failure => "failure",
            Self::NewRecipient => "new_recipient",
            Self::Bounce => "bounce",
        }
    }

    /// In words, as many.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Connection => "connections",
            Self::Message => "messages",
            Self::Recipient => "recipients",
            Self::Failure => "failures",
            Self::NewRecipient => "recipients to whom it had not written before",
            Self::Bounce => "messages that came back",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == name)
    }
}

/// Too many of something in the last hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// Of what.
    pub event: Event,
    /// How often it was.
    pub count: u64,
    /// How often it may be.
    pub limit: u64,
    /// The setting that says so.
    pub key: &'static str,
}

/// How far it has come with an account, the mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Its answers take their time.
    Slow,
    /// What it sends is taken and held.
    Hold,
    /// It may not log in until an operator says so.
    Lock,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Slow, Self::Hold, Self::Lock];

    /// Its name in records and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Hold => "hold",
            Self::Lock => "lock",
        }
    }
}

/// The counters and locks.
pub struct Rates {
    state: Arc<dyn StateStore>,
    counters: Mutex<Counters>,
    locks: Locks,
}

impl Rates {
    /// Nothing counted so far; kept there.
    #[must_use]
    pub fn new(state: Arc<dyn StateStore>) -> Self {
        Self { locks: Locks::new(Arc::clone(&state)), state, counters: Mutex::default() }
    }

    /// Counts `amount` of what a stranger does. Nothing is counted without a limit.
    pub fn count_client(
        &self,
        settings: &RateSettings,
        network: ClientNetwork,
        (event, amount): (Event, u64),
        now: Timestamp,
    ) {
        if settings.of_client(event).1 > 0 {
            self.counters().add(&Subject::Network(network), (event, amount), now);
        }
    }

    /// What a stranger has used up of these; none when of nothing too much.
    #[must_use]
    pub fn client_over(
        &self,
        settings: &RateSettings,
        network: ClientNetwork,
        events: &[Event],
        now: Timestamp,
    ) -> Option<Over> {
        let mut counters = self.counters();
        events.iter().find_map(|event| {
            let (key, limit) = settings.of_client(*event);
            over(&mut counters, &Subject::Network(network), (*event, key, limit), now)
        })
    }

    /// Counts `amount` of what an account does. Nothing is counted without a limit.
    pub fn count_account(
        &self,
        settings: &RateSettings,
        account: &str,
        (event, amount): (Event, u64),
        now: Timestamp,
    ) {
        if settings.of_account(event).1 > 0 {
            self.counters().add(&Subject::Account(account.into()), (event, amount), now);
        }
    }

    /// What of its messages and recipients an account has used up.
    #[must_use]
    pub fn account_over(
        &self,
        settings: &RateSettings,
        account: &str,
        events: &[Event],
        now: Timestamp,
    ) -> Option<Over> {
        let mut counters = self.counters();
        events.iter().find_map(|event| {
            let (key, limit) = settings.of_account(*event);
            over(&mut counters, &Subject::Account(account.into()), (*event, key, limit), now)
        })
    }

    /// How far it has come with an account, and by what: the furthest of what tells of a break-in.
    #[must_use]
    pub fn standing(&self, settings: &RateSettings, account: &str, now: Timestamp) -> Option<(Step, Over)> {
        let mut counters = self.counters();
        let subject = Subject::Account(account.into());
        let steps = [Event::NewRecipient, Event::Bounce].into_iter().filter_map(|event| {
            let (key, limit) = settings.of_account(event);
            let count = counters.sum(&subject, event, now);
            Some((step(count, limit)?, Over { event, count, limit, key }))
        });
        steps.max_by_key(|(step, over)| (*step, over.count))
    }

    /// A bounce has come from outside; true when it counts. Reports can be sent again and again by who has one: they may
    /// bring an account's mail to be held, and no further, however many come at once.
    pub fn count_returned(&self, settings: &RateSettings, account: &str, now: Timestamp) -> bool {
        let limit = settings.of_account(Event::Bounce).1.saturating_mul(LOCK_TIMES);
        let subject = Subject::Account(account.into());
        let mut counters = self.counters();
        let counts = counters.sum(&subject, Event::Bounce, now) < limit;
        if counts {
            counters.add(&subject, (Event::Bounce, 1), now);
        }
        counts
    }

    /// True the first time in an hour that this step of an account, or that a network is over a limit, is to be told.
    pub async fn is_news(&self, who: &str, what: &str, now: Timestamp) -> bool {
        if !self.counters().is_news(who, what, now) {
            return false;
        }
        let write = Write::put_if_absent(told(who, what), Vec::new(), HOUR_SECONDS);
        let written = self.state.write(vec![write], now).await.ok();
        // Better told twice than never.
        !matches!(written.as_deref(), Some([Ok(Written::Refused(_))]))
    }

    /// The accounts that may not log in.
    #[must_use]
    pub fn locks(&self) -> &Locks {
        &self.locks
    }

    /// Lets an account log in again, and forgets what spoke against it. True when it was locked.
    ///
    /// # Errors
    /// [`StoreError`] when the state store does not answer; then it stays locked.
    pub async fn unlock(&self, account: &str, now: Timestamp) -> Result<bool, StoreError> {
        let was_locked = self.locks.remove(account, now).await?;
        self.counters().forget(account);
        let hour = now.seconds() / HOUR_SECONDS;
        let mut writes = Vec::new();
        for event in Event::ALL {
            for hour in [hour, hour.saturating_sub(1)] {
                let key = counters::key(hour, event, &Subject::Account(account.into()));
                writes.push(Write::delete(key));
            }
        }
        writes.extend(Step::ALL.map(|step| Write::delete(told(account, step.as_str()))));
        writes.push(Write::delete(sweep(account)));
        for written in self.state.write(writes, now).await? {
            written?;
        }
        Ok(was_locked)
    }

    /// Locks an account. True when it was not locked before.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be written down: it holds until a restart.
    pub async fn lock(&self, account: &str, lock: Lock, now: Timestamp) -> Result<bool, StoreError> {
        self.locks.add(account, lock, now).await
    }

    /// What an account has queued is about to be put on hold; until that [is done](Self::sweep_ends) a start does it anew.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be written down: a stop meanwhile leaves the rest as it is.
    pub async fn sweep_begins(&self, account: &str, now: Timestamp) -> Result<(), StoreError> {
        self.mark(Write::put(sweep(account), Vec::new(), SWEEP_TTL_SECONDS), now).await
    }

    /// All that an account has queued is on hold.
    ///
    /// # Errors
    /// [`StoreError`]: then the next start looks once more, which does no harm.
    pub async fn sweep_ends(&self, account: &str, now: Timestamp) -> Result<(), StoreError> {
        self.mark(Write::delete(sweep(account)), now).await
    }

    /// Accounts whose queued mail must be on hold before anything is delivered: those that are locked, and those with which
    /// the last run was not done. To be asked at start, again and again until there is an answer: from then on those accounts
    /// are locked, too, whether or not [`Rates::load`] could do it.
    ///
    /// # Errors
    /// [`StoreError`] when the state store does not answer.
    pub async fn to_be_held(&self, now: Timestamp) -> Result<BTreeSet<String>, StoreError> {
        self.locks.load(now).await?;
        let mut accounts: BTreeSet<String> =
            self.locks.all().into_iter().map(|(account, _)| account).collect();
        let mut after = None;
        loop {
            let page = self.state.scan(sweep(""), after, PAGE, now).await?;
            let names = page.entries.iter().filter_map(|entry| entry.key.rest().strip_prefix(SWEEP));
            accounts.extend(names.filter_map(|name| String::from_utf8(name.to_vec()).ok()));
            after = page.next;
            if after.is_none() {
                return Ok(accounts);
            }
        }
    }

    async fn mark(&self, write: Write, now: Timestamp) -> Result<(), StoreError> {
        self.state.write(vec![write], now).await?.into_iter().try_for_each(|written| written.map(drop))
    }

    /// Reads what was counted and locked before a restart. To be called once, before clients come.
    ///
    /// # Errors
    /// [`StoreError`] when the state store does not answer.
    pub async fn load(&self, now: Timestamp) -> Result<(), StoreError> {
        self.locks.load(now).await?;
        let mut after = None;
        loop {
            let page = self.state.scan(StateKey::new(NAMESPACE, ""), after, PAGE, now).await?;
            for entry in page.entries {
                if let Some(total) = entry.total().and_then(|total| u64::try_from(total).ok()) {
                    self.counters().load(entry.key.rest(), total, now);
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Writes down what was counted since the last time, of those who come near a limit. What cannot be written is tried
    /// again.
    ///
    /// # Errors
    /// [`StoreError`] when the state store does not answer.
    pub async fn save(&self, settings: &RateSettings, now: Timestamp) -> Result<(), StoreError> {
        let due = self.counters().take_unsaved(|subject, event| match subject {
            Subject::Network(_) => settings.of_client(event).1,
            Subject::Account(_) => settings.of_account(event).1,
        });
        let mut failed = None;
        for some in due.chunks(WRITES_MAX) {
            let add = |one: &counters::Due| {
                let amount = i64::try_from(one.amount).unwrap_or(i64::MAX);
                Write::add(counters::key(one.hour, one.event, &one.subject), amount, TTL_SECONDS)
            };
            match self.state.write(some.iter().map(add).collect(), now).await {
                Ok(written) => failed = written.into_iter().find_map(Result::err).or(failed),
                Err(error) => {
                    self.counters().give_back(some);
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn counters(&self) -> std::sync::MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn over(
    counters: &mut Counters,
    subject: &Subject,
    (event, key, limit): (Event, &'static str, u64),
    now: Timestamp,
) -> Option<Over> {
    if limit == 0 {
        return None;
    }
    let count = counters.sum(subject, event, now);
    (count >= limit).then_some(Over { event, count, limit, key })
}

fn step(count: u64, limit: u64) -> Option<Step> {
    if limit == 0 || count <= limit {
        None
    } else if count > limit.saturating_mul(LOCK_TIMES) {
        Some(Step::Lock)
    } else if count > limit.saturating_mul(HOLD_TIMES) {
        Some(Step::Hold)
    } else {
        Some(Step::Slow)
    }
}

/// Apart from the counters, which begin with a number.
fn told(who: &str, what: &str) -> StateKey {
    StateKey::new(NAMESPACE, format!("told/{what}/{who}"))
}

/// Apart from both.
fn sweep(account: &str) -> StateKey {
    StateKey::new(NAMESPACE, [SWEEP, account.as_bytes()].concat())
}

#[cfg(test)]
mod tests;
