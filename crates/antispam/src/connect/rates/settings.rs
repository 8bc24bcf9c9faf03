//! `[antispam.rates]`: what may happen in an hour.

use net::Networks;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Event;

/// What may happen in an hour: `[antispam.rates]`. 0: no limit. Who is over a limit is asked to come back later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateSettings {
    /// Connections of a stranger's network (/24, /64) in an hour. The defaults are far above what the largest senders bring
    /// to one server from one network; they are there for floods.
    pub connections_per_hour_max: u64,
    /// Messages of a stranger's network in an hour.
    pub messages_per_hour_max: u64,
    /// Recipients of a stranger's network in an hour.
    pub recipients_per_hour_max: u64,
    /// Failures of a stranger's network in an hour: unknown recipients, refused logins, refused mail.
    pub failures_per_hour_max: u64,
    /// Seconds that a stranger waits for the answer about a recipient who does not exist, from the fourth of a session on:
    /// who guesses names gets slow answers. At most 30; 0: none waits.
    pub guessing_seconds: u64,
    /// Messages of an account in an hour.
    pub account_messages_per_hour_max: u64,
    /// Recipients of an account in an hour.
    pub account_recipients_per_hour_max: u64,
    /// Recipients elsewhere in an hour to whom an account had not written within `correspondent_days`. Over this it is
    /// slowed, over twice as many its mail is held, over four times as many it is locked: somebody may have stolen its
    /// password. Needs `correspondent_days`.
    pub account_new_recipients_per_hour_max: u64,
    /// Messages of an account that come back in an hour; the same three steps.
    pub account_bounces_per_hour_max: u64,
    /// Seconds that MAIL of a slowed account waits for its answer.
    pub slow_seconds: u64,
    /// Networks of strangers that are not counted. Networks that are trusted or exempt from all judging never are.
    pub exempt_networks: Networks,
    /// Accounts that are not counted, by their addresses: what sends newsletters, say.
    #[schemars(example = &["news@example.test"])]
    pub exempt_accounts: Vec<String>,
}

impl Default for RateSettings {
    fn default() -> Self {
        Self {
            connections_per_hour_max: 20_000,
            messages_per_hour_max: 20_000,
            recipients_per_hour_max: 100_000,
            failures_per_hour_max: 1_000,
            guessing_seconds: 1,
            account_messages_per_hour_max: 1_000,
            account_recipients_per_hour_max: 5_000,
            account_new_recipients_per_hour_max: 200,
            account_bounces_per_hour_max: 50,
            slow_seconds: 10,
            exempt_networks: Networks::default(),
            exempt_accounts: Vec::new(),
        }
    }
}

impl RateSettings {
    /// True when this account is not counted.
    #[must_use]
    pub fn is_exempt(&self, account: &str) -> bool {
        self.exempt_accounts.iter().any(|exempt| exempt.eq_ignore_ascii_case(account))
    }

    /// The setting for an event of a stranger's network, and its value.
    pub(super) fn of_client(&self, event: Event) -> (&'static str, u64) {
        match event {
            Event::Connection => ("antispam.rates.connections_per_hour_max", self.connections_per_hour_max),
            Event::Message => ("antispam.rates.messages_per_hour_max", self.messages_per_hour_max),
            Event::Recipient => ("antispam.rates.recipients_per_hour_max", self.recipients_per_hour_max),
            Event::Failure => ("antispam.rates.failures_per_hour_max", self.failures_per_hour_max),
            Event::NewRecipient | Event::Bounce => ("antispam.rates", 0),
        }
    }

    /// The setting for an event of an account, and its value.
    pub(super) fn of_account(&self, event: Event) -> (&'static str, u64) {
        match event {
            Event::Message => {
                ("antispam.rates.account_messages_per_hour_max", self.account_messages_per_hour_max)
            }
            Event::Recipient => {
                ("antispam.rates.account_recipients_per_hour_max", self.account_recipients_per_hour_max)
            }
            Event::NewRecipient => (
                "antispam.rates.account_new_recipients_per_hour_max",
                self.account_new_recipients_per_hour_max,
            ),
            Event::Bounce => {
                ("antispam.rates.account_bounces_per_hour_max", self.account_bounces_per_hour_max)
            }
            Event::Connection | Event::Failure => ("antispam.rates", 0),
        }
    }
}
