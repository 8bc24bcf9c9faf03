//! One delivery task: fetch the body, let the agent work, write the log lines, tell the runner.

use std::sync::Arc;
use std::time::Instant;

use delivery::{Agent, Job, Route};
use mail::Reply;
use queue::{DeliveryResult, Outcome, Trouble};
use store::QueueEntry;

use crate::clock;
use crate::maillog::DeliveryLine;
use crate::metrics::{AgentKind, Delivery};
use crate::services::Services;

use super::handle::{Message, RunnerHandle};

/// Delivers a message to recipients of one destination and reports one outcome for each.
pub async fn deliver(
    services: Arc<Services>,
    entry: Arc<QueueEntry>,
    recipients: Vec<(u32, Route)>,
    destination: Arc<str>,
    handle: RunnerHandle,
) {
    let started = Instant::now();
    let agent = recipients.first().map_or(AgentKind::None, |(_, route)| kind(route));
    let indexes: Vec<u32> = recipients.iter().map(|(index, _)| *index).collect();
    let outcomes = match services.shared.store.read_body(entry.record.id).await {
        Ok(body) => {
            let job = Job { entry: Arc::clone(&entry), recipients, body, now: clock::now() };
            services.agents.deliver(job).await
        }
        Err(error) => unreadable(&indexes, &error),
    };
    services.shared.metrics.attempt_took(agent, started.elapsed());
    for outcome in &outcomes {
        record(&services, &entry, agent, outcome);
    }
    handle.send(Message::Finished { id: entry.record.id, destination, outcomes }).await;
}

/// A body that cannot be read is our trouble, never a reason to bounce.
fn unreadable(indexes: &[u32], error: &store::StoreError) -> Vec<Outcome> {
    let reply = Reply::new(451, (4, 3, 0), format!("The message cannot be read: {error}"));
    let result = DeliveryResult::Deferred(Trouble::Local);
    indexes.iter().map(|&recipient| Outcome { recipient, result, peer: None, reply: reply.clone() }).collect()
}

fn kind(route: &Route) -> AgentKind {
    match &route.agent {
        Agent::Maildir(_) => AgentKind::Maildir,
        Agent::Peer(hop) if hop.lmtp => AgentKind::Lmtp,
        Agent::Peer(_) => AgentKind::Smtp,
        Agent::Discard => AgentKind::Discard,
    }
}

/// One log line and the counters for one outcome.
fn record(services: &Services, entry: &QueueEntry, agent: AgentKind, outcome: &Outcome) {
    let shared = &services.shared;
    let delay = clock::now().since(entry.record.arrived);
    let Some(recipient) =
        usize::try_from(outcome.recipient).ok().and_then(|i| entry.record.recipients.get(i))
    else {
        return;
    };
    let accepted_as = recipient.accepted_as.as_ref().map(ToString::to_string);
    shared.log.delivery(&DeliveryLine {
        id: entry.record.id,
        to: &recipient.address.to_string(),
        accepted_as: accepted_as.as_deref(),
        agent: crate::metrics::Label::name(agent),
        relay: outcome.peer.as_deref(),
        delay,
        result: outcome.result,
        reply: &outcome.reply,
    });
    let result = match outcome.result {
        DeliveryResult::Delivered => Delivery::Delivered,
        DeliveryResult::Relayed | DeliveryResult::RelayedWithDsn => Delivery::Relayed,
        DeliveryResult::Deferred(Trouble::Recipient) => Delivery::DeferredRecipient,
        DeliveryResult::Deferred(Trouble::Destination) => Delivery::DeferredDestination,
        DeliveryResult::Deferred(Trouble::Local) => Delivery::DeferredLocal,
        DeliveryResult::Deferred(Trouble::Dns) => Delivery::DeferredDns,
        DeliveryResult::Failed => Delivery::Failed,
        DeliveryResult::Discarded => Delivery::Discarded,
    };
    shared.metrics.delivery(agent, result);
    if matches!(result, Delivery::Delivered | Delivery::Relayed) {
        shared.metrics.arrived(agent, entry.record.size, delay);
    }
}
