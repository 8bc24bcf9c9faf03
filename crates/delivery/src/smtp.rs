//! The SMTP and LMTP agent: one message to one destination, over a kept connection or the best host that answers.
//!
//! A kept connection is used without asking DNS. Else the destination's addresses are called in order; what one host
//! refuses for the time being another may take (RFC 5321 §5.1), except after the final dot. Every recipient gets an
//! outcome, and every wait has its limit. Never decides about retries or reports: that is the queue's.

mod cache;
mod capabilities;
mod command;
mod connection;
mod hello;
mod mx;
mod reply;
mod stuffing;
mod transaction;
mod wire;

pub use mx::interface_addresses;

use std::sync::Arc;
use std::time::Duration;

use mail::{Address, Domain, Reply};
use net::Resolver;
use queue::{DeliveryResult, Outcome, Trouble};
use store::{MessageRecord, RecipientRecord};

use crate::content::Content;
use crate::figures::Figures;
use crate::settings::{OutboundSettings, Timeouts, TlsPolicy};
use cache::Cache;
use command::Nature;
use connection::Connection;
use hello::{CallFailure, Caller, Candidate, Demand, Place};
use mail::next_hop::{Endpoint, Host, TlsStart};
pub use mx::Ourselves;
use mx::{Finder, NoHost};
use transaction::{Stage, Transaction, Verdict};

/// Where a message is handed over, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The socket.
    pub endpoint: Endpoint,
    /// LMTP (RFC 2033): final delivery, and a reply per recipient.
    pub lmtp: bool,
    /// How TLS begins.
    pub tls: TlsStart,
    /// How much TLS is asked for.
    pub policy: TlsPolicy,
    /// Log in with `outbound.user`.
    pub login: bool,
    /// The operator wrote the host down: that it is not in DNS is a mistake to mend, not a reason to return mail.
    pub is_configured: bool,
}

/// One content for those recipients that share it.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    pub(crate) content: Content,
    pub(crate) eight_bit: bool,
    pub(crate) header_eight_bit: bool,
    /// Who sends it, as these recipients are told; none for the null reverse-path.
    pub(crate) sender: Option<&'a Address>,
    pub(crate) recipients: Vec<(u32, &'a RecipientRecord)>,
}

/// The agent.
#[derive(Debug)]
pub(crate) struct Smtp {
    caller: Caller,
    finder: Finder,
    cache: Arc<Cache>,
    timeouts: Timeouts,
    chunking: bool,
    messages_per_connection_max: u32,
    figures: Arc<Figures>,
}

/// A recipient on its way.
struct Slot<'a> {
    index: u32,
    recipient: &'a RecipientRecord,
    group: usize,
    /// The best that is known so far.
    outcome: Option<Outcome>,
    /// It may yet be offered to a host.
    open: bool,
    /// It was offered on this connection.
    offered: bool,
}

/// How a connection was left.
#[derive(PartialEq, Eq)]
enum Left {
    /// Everything was offered.
    Done,
    /// It may not take more messages, and some recipients were not offered.
    UsedUp,
}

impl Smtp {
    pub(crate) fn new(
        settings: &OutboundSettings,
        timeouts: &Timeouts,
        hostname: &Domain,
        resolver: Resolver,
        ourselves: Ourselves,
        figures: Arc<Figures>,
    ) -> Self {
        let finder = Finder {
            resolver,
            ourselves,
            interfaces: interface_addresses(),
            addresses_max: settings.addresses_max,
        };
        Self {
            caller: Caller::new(settings, timeouts, hostname.as_str(), Arc::clone(&figures)),
            finder,
            cache: Cache::new(Duration::from_secs(settings.idle_seconds_max), settings.idle_connections_max),
            timeouts: timeouts.clone(),
            chunking: settings.chunking,
            messages_per_connection_max: settings.messages_per_connection_max.max(1),
            figures,
        }
    }

    /// Closes the kept connections.
    pub(crate) async fn close(&self) {
        self.cache.close().await;
    }

    /// Hands a message over. One outcome per recipient.
    pub(crate) async fn deliver(
        &self,
        hop: &Hop,
        key: &Arc<str>,
        record: &MessageRecord,
        groups: &[Group<'_>],
    ) -> Vec<Outcome> {
        let mut slots: Vec<Slot<'_>> = Vec::new();
        for (group, members) in groups.iter().enumerate() {
            slots.extend(members.recipients.iter().map(|(index, recipient)| Slot {
                index: *index,
                recipient,
                group,
                outcome: None,
                open: true,
                offered: false,
            }));
        }
        let delivery = Delivery { agent: self, hop, key, record, groups };
        delivery.run(&mut slots).await;
        slots.into_iter().map(Slot::outcome).collect()
    }
}

/// One message on its way to one destination.
struct Delivery<'a> {
    agent: &'a Smtp,
    hop: &'a Hop,
    key: &'a Arc<str>,
    record: &'a MessageRecord,
    groups: &'a [Group<'a>],
}

impl Delivery<'_> {
    async fn run(&self, slots: &mut [Slot<'_>]) {
        let tried = self.over_kept_connection(slots).await;
        if !slots.iter().any(|slot| slot.open) {
            return;
        }
        let candidates = match self.candidates().await {
            Ok(candidates) => candidates,
            Err(no_host) => return self.no_host(slots, &no_host),
        };
        let mut refused_for_ever = true;
        for candidate in candidates {
            if !slots.iter().any(|slot| slot.open) {
                return;
            }
            if self.at_candidate(&candidate, tried.as_deref(), slots).await {
                refused_for_ever = false;
            }
        }
        if refused_for_ever {
            // RFC 7504 §3: every host of the destination says that it takes no mail, ever.
            for slot in slots.iter_mut().filter(|slot| slot.open) {
                slot.fail();
            }
        }
    }

    /// Offers the message on a connection that was kept; gives the peer's name when that said anything at all.
    async fn over_kept_connection(&self, slots: &mut [Slot<'_>]) -> Option<Arc<str>> {
        let mut connection = self.agent.cache.take(self.key)?;
        self.agent.figures.connections_reused.up();
        let left = self.offer(&mut connection, slots).await;
        if !connection.heard {
            // It was dead already: nothing was learnt of the peer.
            slots.iter_mut().for_each(Slot::forget);
            return None;
        }
        let peer = Arc::clone(&connection.peer);
        let is_broken = connection.is_broken;
        self.keep(connection);
        (left == Left::Done && !is_broken).then_some(peer)
    }

    async fn candidates(&self) -> Result<Vec<Candidate>, NoHost> {
        match &self.hop.endpoint {
            Endpoint::Unix(path) => {
                Ok(vec![Candidate { name: "localhost".into(), place: Place::Unix(path.clone()) }])
            }
            Endpoint::Inet(Host::ByMx(name), port) if self.hop.lmtp => {
                // LMTP is spoken within a site; MX records are for SMTP.
                self.agent.finder.find(&Host::Exact(name.clone()), *port).await
            }
            Endpoint::Inet(host, port) => self.agent.finder.find(host, *port).await,
        }
    }

    fn no_host(&self, slots: &mut [Slot<'_>], why: &NoHost) {
        let result = match (why.is_transient, self.hop.is_configured) {
            (true, _) => DeliveryResult::Deferred(Trouble::Dns),
            (false, true) => DeliveryResult::Deferred(Trouble::Local),
            (false, false) => DeliveryResult::Failed,
        };
        for slot in slots.iter_mut().filter(|slot| slot.open && slot.outcome.is_none()) {
            slot.outcome =
                Some(Outcome { recipient: slot.index, result, peer: None, reply: why.reply.clone() });
        }
    }

    /// Calls one address and offers the message, over further connections where one does not take all. `false`: it said
    /// that it never takes mail.
    async fn at_candidate(&self, candidate: &Candidate, tried: Option<&str>, slots: &mut [Slot<'_>]) -> bool {
        let hop = self.hop;
        let demand = Demand { lmtp: hop.lmtp, tls: hop.tls, policy: hop.policy, login: hop.login };
        loop {
            let mut connection = match self.agent.caller.call(candidate, demand).await {
                Ok(connection) => connection,
                Err(failure) => {
                    slots.iter_mut().for_each(|slot| slot.not_reached(&failure));
                    return !failure.is_final;
                }
            };
            if tried == Some(&*connection.peer)
                && slots.iter().all(|slot| !slot.open || slot.outcome.is_some())
            {
                // It was asked a moment ago.
                self.keep(connection);
                return true;
            }
            slots.iter_mut().for_each(|slot| slot.offered = false);
            let open_before = slots.iter().filter(|slot| slot.open).count();
            let left = self.offer(&mut connection, slots).await;
            self.keep(connection);
            let progress = slots.iter().filter(|slot| slot.open).count() < open_before;
            if left == Left::Done || !progress {
                return true;
            }
        }
    }

    /// Offers every open recipient, in as many transactions as the peer's limits ask for.
    async fn offer(&self, connection: &mut Connection, slots: &mut [Slot<'_>]) -> Left {
        loop {
            let chosen = self.next_chunk(connection, slots);
            let Some(group) =
                chosen.first().and_then(|i| slots.get(*i)).and_then(|s| self.groups.get(s.group))
            else {
                return Left::Done;
            };
            if self.is_used_up(connection) {
                return Left::UsedUp;
            }
            let recipients: Vec<&RecipientRecord> =
                chosen.iter().filter_map(|i| slots.get(*i)).map(|slot| slot.recipient).collect();
            let verdicts = self.transact(connection, group, &recipients).await;
            let context = Context {
                peer: &connection.peer,
                is_final: self.hop.lmtp,
                has_dsn: connection.capabilities.dsn,
            };
            for (i, verdict) in chosen.into_iter().zip(verdicts) {
                if let Some(slot) = slots.get_mut(i) {
                    slot.take(verdict, &context);
                }
            }
            if connection.is_broken {
                return Left::Done;
            }
        }
    }

    async fn transact(
        &self,
        connection: &mut Connection,
        group: &Group<'_>,
        recipients: &[&RecipientRecord],
    ) -> Vec<Verdict> {
        connection.messages += 1;
        let record = self.record;
        let foreign = |address: &Address| !address.is_ascii();
        let international = (record.smtputf8 && group.header_eight_bit)
            || group.sender.is_some_and(foreign)
            || recipients.iter().any(|recipient| foreign(&recipient.address));
        let nature = Nature { size: group.content.size(), eight_bit: group.eight_bit, international };
        let transaction = Transaction {
            record,
            sender: group.sender,
            recipients,
            content: &group.content,
            nature,
            lmtp: self.hop.lmtp,
            chunking: self.agent.chunking,
            timeouts: &self.agent.timeouts,
        };
        let verdicts = transaction.run(connection).await;
        if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Taken(_))) {
            self.agent.figures.messages_sent.up();
            self.agent.figures.bytes_sent.add(nature.size);
        }
        verdicts
    }

    /// Open recipients of one group that were not offered here yet, as many as the peer takes at once (RFC 9422 §4).
    fn next_chunk(&self, connection: &Connection, slots: &[Slot<'_>]) -> Vec<usize> {
        let limits = connection.capabilities.limits;
        let mut chosen: Vec<usize> = Vec::new();
        let mut domains: Vec<&Domain> = Vec::new();
        let mut group = None;
        for (i, slot) in slots.iter().enumerate().filter(|(_, slot)| slot.open && !slot.offered) {
            if limits.rcpt_max.is_some_and(|max| chosen.len() >= max) {
                break;
            }
            if *group.get_or_insert(slot.group) != slot.group {
                continue;
            }
            if let Some(max) = limits.rcpt_domain_max
                && !domains.contains(&&slot.recipient.address.domain)
            {
                if domains.len() >= max {
                    continue;
                }
                domains.push(&slot.recipient.address.domain);
            }
            chosen.push(i);
        }
        chosen
    }

    fn is_used_up(&self, connection: &Connection) -> bool {
        let limit = connection.capabilities.limits.mail_max.unwrap_or(u32::MAX);
        connection.messages >= limit.min(self.agent.messages_per_connection_max)
    }

    fn keep(&self, connection: Connection) {
        if connection.is_broken || self.is_used_up(&connection) {
            tokio::spawn(connection.quit());
        } else {
            self.agent.cache.put(self.key, connection);
        }
    }
}

/// What a verdict was spoken in.
struct Context<'a> {
    peer: &'a str,
    is_final: bool,
    has_dsn: bool,
}

impl Slot<'_> {
    /// Takes note of a verdict.
    fn take(&mut self, verdict: Verdict, context: &Context<'_>) {
        self.offered = true;
        let deferred = DeliveryResult::Deferred;
        let (result, reply, open) = match verdict {
            Verdict::Taken(reply) => (taken(context), reply, false),
            Verdict::TooMany(reply) => {
                self.offered = false;
                (deferred(Trouble::Recipient), reply, true)
            }
            Verdict::Refused(stage, reply) if reply.is_transient() => {
                (deferred(whose(stage, reply.code)), reply, stage != Stage::End)
            }
            Verdict::Refused(_, reply) | Verdict::Unfit(reply) => (DeliveryResult::Failed, reply, false),
            Verdict::Broken(stage, words) => {
                (deferred(Trouble::Destination), Reply::new(451, (4, 4, 2), words), stage != Stage::End)
            }
            Verdict::Unreadable(words) => {
                (deferred(Trouble::Local), Reply::new(451, (4, 3, 0), words), false)
            }
        };
        self.open = open;
        self.outcome =
            Some(Outcome { recipient: self.index, result, peer: Some(context.peer.to_owned()), reply });
    }

    /// A call that failed says less than what a host said about this recipient.
    fn not_reached(&mut self, failure: &CallFailure) {
        let spoken = self
            .outcome
            .as_ref()
            .is_some_and(|outcome| outcome.result == DeliveryResult::Deferred(Trouble::Recipient));
        if !self.open || spoken {
            return;
        }
        let trouble = if failure.is_ours { Trouble::Local } else { Trouble::Destination };
        self.outcome = Some(Outcome {
            recipient: self.index,
            result: DeliveryResult::Deferred(trouble),
            peer: Some(failure.peer.to_string()),
            reply: failure.reply.clone(),
        });
    }

    fn forget(&mut self) {
        if self.open {
            (self.outcome, self.offered) = (None, false);
        }
    }

    fn fail(&mut self) {
        if let Some(outcome) = &mut self.outcome {
            outcome.result = DeliveryResult::Failed;
        }
    }

    fn outcome(self) -> Outcome {
        self.outcome.unwrap_or_else(|| Outcome {
            recipient: self.index,
            result: DeliveryResult::Deferred(Trouble::Destination),
            peer: None,
            reply: Reply::new(451, (4, 4, 1), "no host of the destination could be asked"),
        })
    }
}

/// RFC 3461 §5.2.2: who makes the report on success, if one is wanted.
fn taken(context: &Context<'_>) -> DeliveryResult {
    match (context.is_final, context.has_dsn) {
        (true, _) => DeliveryResult::Delivered,
        (false, true) => DeliveryResult::RelayedWithDsn,
        (false, false) => DeliveryResult::Relayed,
    }
}

fn whose(stage: Stage, code: u16) -> Trouble {
    match stage {
        _ if code == 421 => Trouble::Destination,
        Stage::Mail | Stage::Data => Trouble::Destination,
        Stage::Rcpt | Stage::End => Trouble::Recipient,
    }
}
