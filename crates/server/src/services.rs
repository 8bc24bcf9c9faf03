//! What sessions and deliveries work with: one set made from one configuration, swapped whole at a reload.
//!
//! A session keeps the set that it began with (invariant I8); what outlives a reload (queue, metrics, log, counters)
//! is in [`Shared`] and the same in every set.

use std::sync::{Arc, PoisonError, RwLock};

use config::Config;
use delivery::{Agents, Router};
use mail::{Address, Timestamp};
use net::tls::Expiry;
use net::{Networks, Resolver, ServerTls};
use store::{QueueStore, StateStore};

use antispam::connect::rates::Rates;
use antispam::hashes::Hashes;
use antispam::reputation::Memory;

use crate::accounts::{Accounts, Failures};
use crate::clock::IdMaker;
use crate::judge::{Clerk, History, Judge};
use crate::learning::teacher::Teacher;
use crate::limits::{BodyRoom, SessionCounts};
use crate::maillog::MailLog;
use crate::metrics::Metrics;
use crate::quarantine::digest::Teller;
use crate::runner::RunnerHandle;
use crate::steward::StewardHandle;
use crate::submit::Senders;

/// All that depends on the configuration, and a way to what does not.
pub struct Services {
    /// The configuration that this set was made from.
    pub config: Arc<Config>,
    /// Bounds of a session.
    pub smtp: Arc<smtp::Settings>,
    /// Where recipients lead.
    pub router: Arc<Router>,
    /// Who judges.
    pub judge: Arc<Judge>,
    /// Who delivers.
    pub agents: Arc<Agents>,
    /// Who may log in, and as whom they may send.
    pub accounts: Arc<Accounts>,
    /// Keys to sign with.
    pub dkim: Option<Arc<msgauth::dkim::KeyStore>>,
    /// Certificates, when there are any.
    pub tls: Option<Arc<ServerTls>>,
    /// Networks that may relay without authentication.
    pub trusted: Networks,
    /// Which addresses local users may send from.
    pub senders: Senders,
    /// Where `<postmaster>` goes.
    pub postmaster: Address,
    /// Octets up to which a body stays in memory.
    pub inline_bytes_max: usize,
    /// DNS.
    pub resolver: Resolver,
    /// What outlives this set.
    pub shared: Arc<Shared>,
}

impl Services {
    /// Lays out the counters of every check and symbol there is, all at zero.
    pub fn show_checks(&self) {
        let symbols = self.judge.book().symbols().map(|(symbol, _)| symbol.as_str());
        self.shared.metrics.lay_out(self.judge.checks(), symbols);
    }

    /// Tells the metrics when the certificates in use expire: the first one under our host name.
    pub fn show_certificates(&self) {
        let Some(tls) = &self.tls else {
            return self.shared.metrics.certificates_expire(&[(String::new(), Timestamp(0))]);
        };
        let mut expiries = Vec::new();
        for Expiry { names, at } in tls.expiries() {
            if names.is_empty() {
                expiries.push((self.config.hostname.to_string(), at));
            }
            expiries.extend(names.into_iter().map(|name| (name, at)));
        }
        self.shared.metrics.certificates_expire(&expiries);
    }
}

/// What every set of services shares, over the whole life of the daemon.
pub struct Shared {
    /// The queue.
    pub store: Arc<dyn QueueStore>,
    /// What the judging of mail remembers.
    pub state: Arc<dyn StateStore>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Why mail was taken or refused, for as long as it is told.
    pub history: Arc<History>,
    /// Who writes down what is judged.
    pub clerk: Arc<dyn Clerk>,
    /// Letters from which the classifier learns by itself.
    pub teacher: Teacher,
    /// The mail log.
    pub log: MailLog,
    /// Names for messages.
    pub ids: IdMaker,
    /// Room for bodies in memory.
    pub room: BodyRoom,
    /// Places for sessions.
    pub places: Arc<SessionCounts>,
    /// Failed logins by client network: a reload forgives nobody.
    pub failures: Arc<Failures>,
    /// What clients and accounts did lately, and which accounts are locked.
    pub rates: Arc<Rates>,
    /// The letters by which answers to our users are known.
    pub threads: Hashes,
    /// The Message-IDs by which reports about mail of ours are known.
    pub sent: Hashes,
    /// What senders and networks have sent lately.
    pub reputation: Memory,
    /// The queue runner.
    pub runner: RunnerHandle,
    /// Who takes messages off hold, and throws them away.
    pub steward: StewardHandle,
    /// Who writes to recipients about what is kept back for them.
    pub teller: Teller,
    /// Becomes true when the daemon stops: sessions end at the next sane point.
    pub stopping: tokio::sync::watch::Sender<bool>,
}

/// The set that new sessions and deliveries take. Clones share it.
#[derive(Clone)]
pub struct Current(Arc<RwLock<Arc<Services>>>);

impl Current {
    /// Begins with this set.
    #[must_use]
    pub fn new(services: Arc<Services>) -> Self {
        Self(Arc::new(RwLock::new(services)))
    }

    /// The set of the moment.
    #[must_use]
    pub fn get(&self) -> Arc<Services> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces it: all at once, or (when this is not called) not at all.
    pub fn set(&self, services: Arc<Services>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = services;
    }
}
