//! What strangers' networks and accounts may do in an hour, as a session feels it: the greeting, MAIL and RCPT of who is over
//! a limit are answered "come back later", and an account that looks broken into waits, has its mail held, or is locked.
//!
//! Strangers are never refused for good for their number. Counting waits for nothing; what is done about accounts is in
//! [`crate::rates`].

use std::time::Duration;

use antispam::connect::rates::{Event, Over, Step};
use mail::{ClientNetwork, QueueId, Reply};
use policy::{Source, Stage};

use crate::accounts::Login;
use crate::clock;
use crate::maillog::Level;
use crate::metrics::{self, Limited};
use crate::rates::{act, queued};

use super::Asker;

/// MAIL of a slowed account waits for so many seconds at most, whatever the settings say: clients give up after five
/// minutes (RFC 5321 §4.5.3.2.2).
const SLOW_SECONDS_MAX: u64 = 120;

/// Unknown recipients of a session that are answered at once: addresses are mistyped, and people leave.
const GUESSES_MIN: usize = 3;
/// The answer about an unknown recipient waits for so many seconds at most, whatever the settings say (RFC 5321 §4.5.3.2.3
/// gives a client five minutes).
const GUESSING_SECONDS_MAX: u64 = 30;

impl Asker {
    /// A stranger who guesses recipients waits for each answer.
    pub(super) async fn slow_guessing(&self) {
        let seconds = self.services.config.antispam.rates.guessing_seconds.min(GUESSING_SECONDS_MAX);
        if seconds > 0 && self.case.unknown_recipients() > GUESSES_MIN && self.counted().is_some() {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
    }

    /// The network of a stranger who is counted.
    fn counted(&self) -> Option<ClientNetwork> {
        let antispam = &self.services.config.antispam;
        let client = self.facts.client?;
        let is_counted = self.facts.door == metrics::Door::Mx
            && !self.facts.may_relay()
            && !antispam.exempt_networks.contains(client)
            && !antispam.rates.exempt_networks.contains(client);
        is_counted.then(|| ClientNetwork::of(client))
    }

    /// The account that is counted.
    fn counted_account(&self) -> Option<&str> {
        let account = self.facts.account.as_deref()?;
        (!self.services.config.antispam.rates.is_exempt(account)).then_some(account)
    }

    /// Counts something that a stranger has done, or an account where it is an account's.
    pub(super) fn count(&self, event: Event, amount: u64) {
        let (rates, settings) = (&self.services.shared.rates, &self.services.config.antispam.rates);
        if let Some(network) = self.counted() {
            rates.count_client(settings, network, (event, amount), clock::now());
        } else if let Some(account) = self.counted_account() {
            rates.count_account(settings, account, (event, amount), clock::now());
        }
    }

    /// What this client, or its account, has used up of these.
    fn over(&self, events: &[Event]) -> Option<(Limited, Over)> {
        let (rates, settings) = (&self.services.shared.rates, &self.services.config.antispam.rates);
        if let Some(network) = self.counted() {
            return Some((Limited::Client, rates.client_over(settings, network, events, clock::now())?));
        }
        let account = self.counted_account()?;
        Some((Limited::Account, rates.account_over(settings, account, events, clock::now())?))
    }

    /// Who connects too often, or fails too often, is not greeted. Counts the connections that are.
    pub(super) async fn connection_limited(&mut self) -> Option<Reply> {
        let Some(over) = self.over(&[Event::Connection, Event::Failure]) else {
            self.count(Event::Connection, 1);
            return None;
        };
        self.limited(Stage::Connect, over, 421).await
    }

    /// MAIL: of a locked account nothing is taken, of a slowed one slowly; of anybody no more than there may be.
    pub(super) async fn sender_limited(&mut self) -> Option<Reply> {
        if let Some(reply) = self.lock_reply() {
            return Some(reply);
        }
        if let Some(over) = self.over(&[Event::Message, Event::Failure]) {
            return self.limited(Stage::Mail, over, 450).await;
        }
        if let Some(account) = self.counted_account() {
            let (rates, settings) = (&self.services.shared.rates, &self.services.config.antispam.rates);
            if rates.standing(settings, account, clock::now()).is_some() {
                tokio::time::sleep(Duration::from_secs(settings.slow_seconds.min(SLOW_SECONDS_MAX))).await;
            }
        }
        None
    }

    /// RCPT: too many recipients, or too many that there are not.
    pub(super) async fn recipient_limited(&mut self) -> Option<Reply> {
        let over = self.over(&[Event::Recipient, Event::Failure])?;
        self.limited(Stage::Rcpt, over, 450).await
    }

    /// What a locked account is told; none when it is not locked.
    pub(super) fn lock_reply(&self) -> Option<Reply> {
        let account = self.facts.account.as_deref()?;
        self.services.shared.rates.locks().of(account).map(|_| Login::Locked.reply())
    }

    /// The reply, and its counters; `staffetta explain` knows of the first one in an hour.
    async fn limited(&mut self, stage: Stage, (who, over): (Limited, Over), code: u16) -> Option<Reply> {
        let whose = match who {
            Limited::Client => "your network",
            Limited::Account => "this account",
        };
        let text = format!("Too many {} of {whose} within an hour, try again later", over.event.words());
        let reply = Reply::new(code, (4, 7, 1), text);
        self.services.shared.metrics.rate_limited(who, over.event);
        let subject = match (who, self.facts.client) {
            (Limited::Account, _) => self.facts.account.clone().unwrap_or_default(),
            (Limited::Client, client) => {
                client.map_or_else(String::new, |ip| ClientNetwork::of(ip).to_string())
            }
        };
        if self.services.shared.rates.is_news(&subject, over.event.as_str(), clock::now()).await {
            let evidence = format!("{} {} of {subject} within an hour", over.count, over.event.words());
            self.case.limited(&self.facts, stage, (Source::Limit, over.key, &evidence), &reply);
        }
        Some(reply)
    }

    /// A message of an account is going to be taken, with so many recipients that are new to it. True when it is to be held.
    pub(super) async fn account_sends(&self, id: QueueId, new_recipients: u64) -> bool {
        let Some(account) = self.counted_account() else { return false };
        self.count(Event::Message, 1);
        if new_recipients > 0 {
            self.count(Event::NewRecipient, new_recipients);
        }
        let held = act(&self.services, account).await >= Some(Step::Hold);
        if held {
            let text = queued::line(id, account);
            self.services.shared.log.notice(Level::Warning, &text);
        }
        held
    }

    /// A report about mail of ours has come from outside: it counts for the accounts it goes to.
    pub(super) async fn report_returned(&self, accounts: &[String]) {
        let (rates, settings) = (&self.services.shared.rates, &self.services.config.antispam.rates);
        for account in accounts.iter().filter(|account| !settings.is_exempt(account)) {
            if rates.count_returned(settings, account, clock::now()) {
                act(&self.services, account).await;
            }
        }
    }
}
