//! The delivery agents behind one door: a job goes in, an outcome per recipient comes out.
//!
//! Never panics, never hangs: every agent bounds its waits, and what goes wrong is an outcome. A message that names this
//! recipient in `Delivered-To:` has been here before and is returned instead of going round again.

use std::sync::Arc;

use mail::{Address, Disposition, Reply, Timestamp};
use net::Resolver;
use queue::{DeliveryResult, Outcome, Trouble};
use store::{MessageRecord, QueueEntry, RecipientRecord, StoredBody};

use crate::content::{Source, Top};
use crate::error::DeliveryError;
use crate::figures::Figures;
use crate::maildir::{Begun, Maildir, MaildirDelivery, MaildirError, Owner};
use crate::settings::{DeliverySettings, OutboundSettings};
use crate::smtp::{Group, Hop, Ourselves, Smtp};
use mail::next_hop::MaildirPath;

/// Who delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agent {
    /// A folder of this machine.
    Maildir(MaildirPath),
    /// A peer, with SMTP or LMTP.
    Peer(Arc<Hop>),
    /// Nobody.
    Discard,
}

/// Where one recipient goes: the router's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Who delivers.
    pub agent: Agent,
    /// The destination: what shares concurrency, back-off and kept connections.
    pub key: Arc<str>,
    /// The canonical mailbox name, for recipients of ours.
    pub mailbox: Option<String>,
}

/// One message for recipients of one destination.
#[derive(Debug, Clone)]
pub struct Job {
    /// The message.
    pub entry: Arc<QueueEntry>,
    /// Indexes of its recipients, each with its route; all of one key.
    pub recipients: Vec<(u32, Route)>,
    /// Header and body as received.
    pub body: StoredBody,
    /// When.
    pub now: Timestamp,
}

/// What the agents need from outside.
#[derive(Debug)]
pub struct AgentParts<'a> {
    /// `[outbound]`.
    pub outbound: &'a OutboundSettings,
    /// `[delivery]`.
    pub delivery: &'a DeliverySettings,
    /// Our name.
    pub hostname: &'a mail::Domain,
    /// DNS.
    pub resolver: Resolver,
    /// What we listen on.
    pub listening: Vec<std::net::SocketAddr>,
    /// Whose Maildirs are, if not the server's own user.
    pub mailbox_owner: Option<Owner>,
}

/// All agents. Make one; it keeps connections and threads.
#[derive(Debug)]
pub struct Agents {
    maildir: Maildir,
    smtp: Smtp,
    figures: Arc<Figures>,
}

impl Agents {
    /// Sets the agents up. Opens nothing yet.
    ///
    /// # Errors
    /// [`DeliveryError`] for settings that make no sense.
    pub fn new(parts: AgentParts<'_>) -> Result<Self, DeliveryError> {
        let figures = Arc::<Figures>::default();
        let maildir = Maildir::new(&parts.delivery.maildir, parts.mailbox_owner, parts.hostname.as_str())?;
        let ourselves = Ourselves {
            names: vec![parts.hostname.clone()],
            addresses: parts.outbound.own_addresses.clone(),
            listening: parts.listening,
        };
        let smtp = Smtp::new(
            parts.outbound,
            &parts.delivery.timeouts,
            parts.hostname,
            parts.resolver,
            ourselves,
            Arc::clone(&figures),
        );
        Ok(Self { maildir, smtp, figures })
    }

    /// The counts of all agents.
    #[must_use]
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    /// The Maildir agent, which the router asks whether a mailbox is full.
    #[must_use]
    pub fn maildir(&self) -> &Maildir {
        &self.maildir
    }

    /// Closes kept connections politely, at the end.
    pub async fn close(&self) {
        self.smtp.close().await;
    }

    /// Delivers. One outcome per recipient, in any order.
    pub async fn deliver(&self, job: Job) -> Vec<Outcome> {
        let body = job.body.clone();
        let opened = match &body {
            StoredBody::Memory(_) => Source::open(&body),
            StoredBody::File { .. } => {
                let opened = tokio::task::spawn_blocking(move || Source::open(&body)).await;
                opened.unwrap_or_else(|error| Err(std::io::Error::other(error)))
            }
        };
        let source = match opened {
            Ok(mut source) => {
                source.edit_body(&job.entry.record.edits);
                source
            }
            Err(error) => {
                let reply =
                    Reply::new(451, (4, 3, 0), format!("the stored message could not be read: {error}"));
                let deferred = |(index, _): &(u32, Route)| {
                    outcome(*index, DeliveryResult::Deferred(Trouble::Local), reply.clone())
                };
                return job.recipients.iter().map(deferred).collect();
            }
        };
        Delivery { agents: self, record: &job.entry.record, source, now: job.now }.run(&job.recipients).await
    }
}

fn outcome(recipient: u32, result: DeliveryResult, reply: Reply) -> Outcome {
    Outcome { recipient, result, peer: None, reply }
}

/// A recipient and its index.
type Member<'a> = (u32, &'a RecipientRecord);

/// What a peer sees of a message for one recipient.
#[derive(PartialEq, Eq)]
struct Look<'a> {
    delivered_to: Option<&'a Address>,
    header_lines: &'a [u8],
    sender: Option<&'a Address>,
}

/// A job whose message is open.
struct Delivery<'a> {
    agents: &'a Agents,
    record: &'a MessageRecord,
    source: Source,
    now: Timestamp,
}

impl Delivery<'_> {
    async fn run(&self, recipients: &[(u32, Route)]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(recipients.len());
        let mut peers: Vec<(&Arc<Hop>, &Arc<str>, Vec<Member<'_>>)> = Vec::new();
        let mut maildirs = Vec::new();
        for (index, route) in recipients {
            let Some(recipient) = usize::try_from(*index).ok().and_then(|i| self.record.recipients.get(i))
            else {
                let reply = Reply::new(550, (5, 3, 5), "the message has no such recipient");
                outcomes.push(outcome(*index, DeliveryResult::Failed, reply));
                continue;
            };
            if self.goes_round(recipient, &route.agent) {
                let words =
                    format!("the message was delivered to {} before: it goes in a circle", recipient.address);
                outcomes.push(outcome(*index, DeliveryResult::Failed, Reply::new(554, (5, 4, 6), words)));
                continue;
            }
            match &route.agent {
                // All are begun before the first is waited for, so that they share their syncs.
                Agent::Maildir(path) => maildirs.push(self.begin_maildir(*index, recipient, path)),
                Agent::Discard => {
                    let reply = Reply::new(250, (2, 0, 0), "discarded");
                    outcomes.push(outcome(*index, DeliveryResult::Discarded, reply));
                }
                Agent::Peer(hop) => match peers.iter_mut().find(|(known, _, _)| *known == hop) {
                    Some((_, _, list)) => list.push((*index, recipient)),
                    None => peers.push((hop, &route.key, vec![(*index, recipient)])),
                },
            }
        }
        for (index, size, begun) in maildirs {
            let done = begun.done().await;
            outcomes.push(self.maildir_outcome(index, size, done));
        }
        for (hop, key, list) in peers {
            let groups = self.groups(hop, list).await;
            outcomes.extend(self.agents.smtp.deliver(hop, key, self.record, &groups).await);
        }
        outcomes
    }

    /// What `Delivered-To:` will say: the mailbox at final delivery; when an alias sends mail on, the alias.
    fn delivered_to<'r>(recipient: &'r RecipientRecord, agent: &Agent) -> Option<&'r Address> {
        match agent {
            Agent::Maildir(_) => Some(&recipient.address),
            Agent::Peer(hop) if hop.lmtp => Some(&recipient.address),
            Agent::Peer(_) => recipient.accepted_as.as_ref().filter(|alias| **alias != recipient.address),
            Agent::Discard => None,
        }
    }

    fn goes_round(&self, recipient: &RecipientRecord, agent: &Agent) -> bool {
        Self::delivered_to(recipient, agent).is_some_and(|address| self.source.was_delivered_to(address))
    }

    /// Recipients that may share one copy: same lines on top, and the same sender told.
    async fn groups<'r>(&'r self, hop: &Arc<Hop>, list: Vec<Member<'r>>) -> Vec<Group<'r>> {
        let agent = Agent::Peer(Arc::clone(hop));
        let mut sorted: Vec<(Look<'_>, Vec<Member<'_>>)> = Vec::new();
        for (index, recipient) in list {
            // An LMTP server makes the final delivery and writes these lines itself (RFC 5321 §4.4).
            let delivered_to = Self::delivered_to(recipient, &agent).filter(|_| !hop.lmtp);
            // What it hands to a mailbox shows the plain sender: no report comes back from there but by our own hand.
            let sender =
                if hop.lmtp { self.record.reverse_path.mailbox() } else { self.record.sender_for(recipient) };
            let look = Look { delivered_to, header_lines: &recipient.header_lines, sender };
            match sorted.iter_mut().find(|(known, _)| *known == look) {
                Some((_, members)) => members.push((index, recipient)),
                None => sorted.push((look, vec![(index, recipient)])),
            }
        }
        let tail_eight_bit = self.source.tail_has_eight_bit().await;
        let header_eight_bit = !self.source.header().is_ascii();
        let group = |(look, recipients): (Look<'r>, _)| {
            let Look { delivered_to, header_lines, sender } = look;
            let top = Top { return_path: None, delivered_to, header_lines };
            let content = self.source.assemble(self.record, &top);
            let eight_bit = tail_eight_bit || content.has_eight_bit();
            Group { content, eight_bit, header_eight_bit, sender, recipients }
        };
        sorted.into_iter().map(group).collect()
    }

    fn begin_maildir(
        &self,
        index: u32,
        recipient: &RecipientRecord,
        path: &MaildirPath,
    ) -> (u32, u64, Begun) {
        let top = Top {
            return_path: Some(&self.record.reverse_path),
            delivered_to: Some(&recipient.address),
            header_lines: &recipient.header_lines,
        };
        let content = self.source.assemble(self.record, &top);
        let size = content.size();
        let junk = recipient.disposition == Disposition::Junk;
        let delivery = MaildirDelivery { path: path.clone(), junk, content, now: self.now };
        (index, size, self.agents.maildir.begin(delivery))
    }

    fn maildir_outcome(&self, index: u32, size: u64, done: Result<(), MaildirError>) -> Outcome {
        let (result, reply) = match done {
            Ok(()) => {
                self.agents.figures.maildir_messages.up();
                self.agents.figures.maildir_bytes.add(size);
                (DeliveryResult::Delivered, Reply::new(250, (2, 0, 0), "delivered to mailbox"))
            }
            Err(error) => maildir_trouble(&error),
        };
        outcome(index, result, reply)
    }
}

fn maildir_trouble(error: &MaildirError) -> (DeliveryResult, Reply) {
    let (trouble, code, enhanced) = match error {
        MaildirError::Full => (Trouble::Recipient, 452, (4, 2, 2)),
        MaildirError::Link(_) => (Trouble::Local, 451, (4, 3, 5)),
        MaildirError::Io { .. } if error.is_no_space() => (Trouble::Local, 452, (4, 3, 1)),
        MaildirError::Io { .. } | MaildirError::Late => (Trouble::Local, 451, (4, 3, 0)),
    };
    (DeliveryResult::Deferred(trouble), Reply::new(code, enhanced, error.to_string()))
}
