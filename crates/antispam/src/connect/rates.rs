//! How much a client network, or an account, may do in an hour: connections, messages, recipients, failures.
//!
//! Counters in the state store, one for each hour, weighed with the hour before, so that a burst over the turn of an hour is
//! seen whole. Decisions are values: nothing here replies, waits or locks. An account that writes to many whom it has not
//! written to before, or whose mail comes back, is taken for broken into: slowed, then its mail is held, then it is locked, and
//! the operator is told of each step once. A memory that does not answer is an error, upon which nobody is limited.

use std::sync::Arc;

use aws_lc_rs::digest;
use mail::{Address, ClientNetwork, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{StateKey, StateStore, StoreError, Write, Written};

/// Counters, and what operators were told of.
const NAMESPACE: &str = "rate";
/// To whom accounts have written: apart, so that it cannot drive out the counters.
const KNOWN: &str = "rate-known";
const HOUR_SECONDS: u64 = 3600;
/// A counter is needed until the hour behind its own is over.
const TTL_SECONDS: u64 = 2 * HOUR_SECONDS + 60;
/// Octets of the hash that stands for names of any length.
const HASH_BYTES: usize = 16;
/// Over so many times the limit, mail is held.
const HOLD_TIMES: u64 = 2;
/// Over so many times the limit, the account is locked.
const LOCK_TIMES: u64 = 4;

/// What may happen in an hour: `[antispam.rates]`. 0: no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateSettings {
    /// Connections of a client network (/24, /64) in an hour.
    pub connections_per_hour_max: u64,
    /// Messages of a client network in an hour.
    pub messages_per_hour_max: u64,
    /// Recipients of a client network in an hour.
    pub recipients_per_hour_max: u64,
    /// Failures of a client network in an hour: unknown recipients, refused logins and commands.
    pub failures_per_hour_max: u64,
    /// Messages of an account in an hour.
    pub account_messages_per_hour_max: u64,
    /// Recipients of an account in an hour.
    pub account_recipients_per_hour_max: u64,
    /// Recipients in an hour to whom an account had not written before. Over this it is slowed, over twice as many its mail is
    /// held, over four times as many it is locked.
    pub account_new_recipients_per_hour_max: u64,
    /// Bounces of an account's mail in an hour; the same three steps.
    pub account_bounces_per_hour_max: u64,
}

impl Default for RateSettings {
    fn default() -> Self {
        Self {
            connections_per_hour_max: 2_000,
            messages_per_hour_max: 2_000,
            recipients_per_hour_max: 10_000,
            failures_per_hour_max: 200,
            account_messages_per_hour_max: 300,
            account_recipients_per_hour_max: 1_000,
            account_new_recipients_per_hour_max: 200,
            account_bounces_per_hour_max: 50,
        }
    }
}

/// What is counted of a client network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientEvent {
    /// A connection.
    Connection,
    /// A message that was taken.
    Message,
    /// A recipient that was taken.
    Recipient,
    /// Something that was refused for good.
    Failure,
}

/// What is counted of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccountEvent {
    /// A message that was taken.
    Message,
    /// A recipient that was taken.
    Recipient,
    /// A recipient to whom it had not written before: counted by [`Rates::new_recipient`].
    NewRecipient,
    /// A report that mail of it failed.
    Bounce,
}

/// What is to be done about a client network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientDecision {
    /// Nothing.
    Go,
    /// It is to come back later.
    Refuse {
        /// How often it was, in the last hour.
        count: u64,
        /// How often it may be.
        limit: u64,
    },
}

/// How far it has come with an account, the mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Nothing is wrong.
    Go,
    /// It is to come back later.
    Slow,
    /// What it sends is taken and held.
    Hold,
    /// It may not log in until an operator says so.
    Lock,
}

/// What is to be done about an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountDecision {
    /// The step.
    pub step: Step,
    /// The operator is to be told: the first time in an hour that this step is reached.
    pub tell: bool,
    /// How often it was, in the last hour.
    pub count: u64,
    /// From how often on it is slowed; 0 without a limit.
    pub limit: u64,
}

/// The counters.
#[derive(Clone)]
pub struct Rates {
    settings: RateSettings,
    state: Arc<dyn StateStore>,
}

impl Rates {
    /// By these settings, counted there.
    #[must_use]
    pub fn new(settings: RateSettings, state: Arc<dyn StateStore>) -> Self {
        Self { settings, state }
    }

    /// Counts `amount` of an event of a client, and says whether that is too often. Not to be asked of trusted networks.
    ///
    /// # Errors
    /// [`StoreError`] when the state store does not answer.
    pub async fn client(
        &self,
        network: ClientNetwork,
        event: ClientEvent,
        amount: u64,
        now: Timestamp,
    ) -> Result<ClientDecision, StoreError> {
        let (word, limit) = match event {
            ClientEvent::Connection => ("connection", self.settings.connections_per_hour_max),
            ClientEvent::Message => ("message", self.settings.messages_per_hour_max),
            ClientEvent::Recipient => ("recipient", self.settings.recipients_per_hour_max),
            ClientEvent::Failure => ("failure", self.settings.failures_per_hour_max),
        };
        if limit == 0 {
            return Ok(ClientDecision::Go);
        }
        let count = self.count(&format!("c/{network}/{word}"), amount, now).await?;
        Ok(if count > limit { ClientDecision::Refuse { count, limit } } else { ClientDecision::Go })
    }

    /// Counts `amount` of an event of an account, and says how far it has come.
    ///
    /// # Errors
    /// [`StoreError`] when the state store does not answer.
    pub async fn account(
        &self,
        account: &str,
        event: AccountEvent,
        amount: u64,
        now: Timestamp,
    ) -> Result<AccountDecision, StoreError> {
        let (word, limit) = match event {
            AccountEvent::Message => ("message", self.settings.account_messages_per_hour_max),
            AccountEvent::Recipient => ("recipient", self.settings.account_recipients_per_hour_max),
            AccountEvent::NewRecipient => {
                ("new_recipient", self.settings.account_new_recipients_per_hour_max)
            }
            AccountEvent::Bounce => ("bounce", self.settings.account_bounces_per_hour_max),
        };
        if limit == 0 {
            return Ok(AccountDecision { step: Step::Go, tell: false, count: 0, limit });
        }
        let name = hashed(account);
        let count = self.count(&format!("a/{name}/{word}"), amount, now).await?;
        let step = step(event, count, limit);
        let mut tell = false;
        if step != Step::Go {
            let told = StateKey::new(NAMESPACE, format!("t/{name}/{word}/{}", step.as_str()));
            tell = self.is_new(told, HOUR_SECONDS, now).await?;
        }
        Ok(AccountDecision { step, tell, count, limit })
    }

    /// Counts a recipient to whom the account has not written within `memory_seconds`, which are days; each once.
    ///
    /// # Errors
    /// [`StoreError`] when the state store does not answer.
    pub async fn new_recipient(
        &self,
        account: &str,
        recipient: &Address,
        memory_seconds: u64,
        now: Timestamp,
    ) -> Result<AccountDecision, StoreError> {
        let pair = StateKey::new(KNOWN, hashed(&format!("{account}\0{}", recipient.lookup_key())));
        let amount = u64::from(self.is_new(pair, memory_seconds, now).await?);
        self.account(account, AccountEvent::NewRecipient, amount, now).await
    }

    /// True the first time in so many seconds.
    async fn is_new(&self, key: StateKey, ttl_seconds: u64, now: Timestamp) -> Result<bool, StoreError> {
        let written = self.state.write(vec![Write::put_if_absent(key, Vec::new(), ttl_seconds)], now).await?;
        written.into_iter().next().map_or(Ok(false), |written| Ok(written? == Written::Applied))
    }

    /// Adds to this hour, and gives the sum of the last sixty minutes: all of this hour, and of the one before the share that
    /// still lies within them.
    async fn count(&self, name: &str, amount: u64, now: Timestamp) -> Result<u64, StoreError> {
        let (hour, into) = (now.seconds() / HOUR_SECONDS, now.seconds() % HOUR_SECONDS);
        let place = |hour: u64| StateKey::new(NAMESPACE, format!("{name}/{hour}"));
        let number = |total: i64| u64::try_from(total).unwrap_or_default();
        let add = Write::add(place(hour), i64::try_from(amount).unwrap_or(i64::MAX), TTL_SECONDS);
        let this = match self.state.write(vec![add], now).await?.into_iter().next() {
            Some(Ok(Written::Total(total))) => number(total),
            Some(Err(error)) => return Err(error),
            _ => return Err(StoreError::Unknown("a counter gave no total".to_owned())),
        };
        let before = self.state.get(vec![place(hour.saturating_sub(1))], now).await?.into_iter().next();
        let before = before.transpose()?.flatten().and_then(|entry| entry.total()).map_or(0, number);
        Ok(this.saturating_add(before.saturating_mul(HOUR_SECONDS - into) / HOUR_SECONDS))
    }
}

/// Much mail alone only slows: a newsletter is no burglar. Strangers written to and mail that comes back tell more.
fn step(event: AccountEvent, count: u64, limit: u64) -> Step {
    let telling = matches!(event, AccountEvent::NewRecipient | AccountEvent::Bounce);
    if count <= limit {
        Step::Go
    } else if telling && count > limit.saturating_mul(LOCK_TIMES) {
        Step::Lock
    } else if telling && count > limit.saturating_mul(HOLD_TIMES) {
        Step::Hold
    } else {
        Step::Slow
    }
}

impl Step {
    /// Its name in records and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Slow => "slow",
            Self::Hold => "hold",
            Self::Lock => "lock",
        }
    }
}

fn hashed(text: &str) -> String {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let octets = hash.as_ref().iter().take(HASH_BYTES);
    octets.fold(String::with_capacity(2 * HASH_BYTES), |all, octet| all + &format!("{octet:02x}"))
}

#[cfg(test)]
mod tests {
    use store::MemoryState;

    use super::*;

    fn rates() -> (Rates, Arc<MemoryState>) {
        let state = Arc::new(MemoryState::default());
        let settings = RateSettings {
            messages_per_hour_max: 10,
            account_messages_per_hour_max: 10,
            account_new_recipients_per_hour_max: 10,
            connections_per_hour_max: 0,
            ..RateSettings::default()
        };
        (Rates::new(settings, state.clone()), state)
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(500_000 * HOUR_SECONDS + seconds)
    }

    fn network(text: &str) -> ClientNetwork {
        ClientNetwork::of(text.parse().unwrap())
    }

    #[tokio::test]
    async fn a_network_is_counted_as_one_and_over_the_turn_of_the_hour() {
        let (rates, _) = rates();
        let send = |client, seconds| {
            let rates = rates.clone();
            async move { rates.client(network(client), ClientEvent::Message, 1, at(seconds)).await.unwrap() }
        };
        for last in 1..=10 {
            let client = format!("192.0.2.{last}");
            let decision = rates.client(network(&client), ClientEvent::Message, 1, at(3000)).await.unwrap();
            assert_eq!(decision, ClientDecision::Go);
        }
        assert_eq!(send("192.0.2.200", 3599).await, ClientDecision::Refuse { count: 11, limit: 10 });
        assert_eq!(send("198.51.100.1", 3599).await, ClientDecision::Go);
        // Five minutes into the next hour, eleven twelfths of the last one still count.
        assert_eq!(send("192.0.2.200", 3900).await, ClientDecision::Refuse { count: 11, limit: 10 });
        assert_eq!(send("192.0.2.200", 7100).await, ClientDecision::Go);
    }

    #[tokio::test]
    async fn no_limit_is_no_limit_and_costs_nothing() {
        let (rates, state) = rates();
        let decision = rates.client(network("192.0.2.1"), ClientEvent::Connection, 1_000_000, at(0)).await;
        assert_eq!(decision.unwrap(), ClientDecision::Go);
        assert!(state.usage().iter().all(|(_, usage)| usage.entries == 0));
    }

    #[tokio::test]
    async fn an_account_that_writes_to_strangers_is_slowed_held_and_locked_and_each_is_told_once() {
        let (rates, _) = rates();
        let mut told = Vec::new();
        for number in 1..=45 {
            let recipient = Address::parse(&format!("r{number}@away.test")).unwrap();
            for _ in 0..2 {
                let decision = rates.new_recipient("mara", &recipient, 86_400, at(60)).await.unwrap();
                let expected = match number {
                    ..=10 => Step::Go,
                    11..=20 => Step::Slow,
                    21..=40 => Step::Hold,
                    _ => Step::Lock,
                };
                assert_eq!(decision.step, expected, "{number}");
                told.extend(decision.tell.then_some((number, decision.step)));
            }
        }
        assert_eq!(told, [(11, Step::Slow), (21, Step::Hold), (41, Step::Lock)]);
        let known_to_mara = Address::parse("r1@away.test").unwrap();
        let decision = rates.new_recipient("john", &known_to_mara, 86_400, at(60)).await.unwrap();
        assert_eq!((decision.step, decision.count), (Step::Go, 1), "another account");
    }

    #[tokio::test]
    async fn much_mail_to_the_same_people_is_only_slowed() {
        let (rates, _) = rates();
        let decision = rates.account("mara", AccountEvent::Message, 1000, at(0)).await.unwrap();
        assert_eq!((decision.step, decision.tell, decision.limit), (Step::Slow, true, 10));
    }

    #[tokio::test]
    async fn a_memory_that_does_not_answer_is_an_error_and_no_decision() {
        let (rates, state) = rates();
        state.close().await.unwrap();
        assert!(rates.client(network("192.0.2.1"), ClientEvent::Message, 1, at(0)).await.is_err());
        assert!(rates.account("mara", AccountEvent::Bounce, 1, at(0)).await.is_err());
    }
}
