//! DATA and the end of data: open a place for the message, then judge, complete, sign and store it.

use std::sync::Arc;

use antispam::backscatter::judge::PROVEN_SYMBOL;
use antispam::connect::rates::Event;
use bytes::Bytes;
use mail::{Address, Reply};
use policy::{Addressed, Source};
use store::{Edit, Origin, OriginKind, SenderProof};

use crate::clock;
use crate::intake::{self, Intake, correspondents, submission, trace};
use crate::judge::{Judged, Submitted, Why};
use crate::maillog::Level;
use crate::metrics::{Door, MessageResult};
use crate::session::body::{BodySink, ReceivedBody};
use crate::session::transaction::Transaction;

use super::Asker;

/// Why a message was not taken.
pub(super) enum Refused {
    /// Something of ours stood in the way, or it is not the sender's to send: there is no verdict of it yet.
    Ours(Why<'static>, Reply),
    /// A rule or the score.
    Judged(Reply),
}

/// Mail cannot be kept.
pub(super) const NOT_STORED: Why<'static> = Why { source: Source::Unavailable, key: "store" };

/// Bodies of other messages take all the memory there is for them.
const NO_ROOM: Why<'static> = Why { source: Source::Limit, key: "server.body_memory_bytes_max" };

impl Asker {
    /// Somebody may not send as this, or it could not be found out in time.
    pub(super) fn not_theirs(&self, reply: &Reply) -> Why<'static> {
        match (reply.is_permanent(), &self.facts.local_user) {
            (true, None) => Why { source: Source::Sender, key: "accounts.file" },
            (true, Some(_)) => Why { source: Source::Sender, key: "submission.trusted_users" },
            (false, _) => Why { source: Source::Unavailable, key: "server.answer_seconds_max" },
        }
    }

    /// Before 354: waits for room.
    pub(super) async fn data(&mut self) -> Reply {
        let Some(transaction) = &self.transaction else {
            return Reply::new(503, (5, 5, 1), "MAIL first");
        };
        let services = &self.services;
        let bounds = (services.inline_bytes_max, services.smtp.header_bytes_max);
        let store = Arc::clone(&services.shared.store);
        let sink =
            BodySink::open(store, &services.shared.room, transaction.id, transaction.declared, bounds).await;
        let Some(sink) = sink else {
            let reply = Reply::new(451, (4, 3, 1), "Too much mail is coming in at once, try again later");
            self.case.message_refused(transaction.id, accepted(transaction).collect(), (NO_ROOM, &reply));
            self.log_refusal("data", None, &reply);
            return reply;
        };
        self.sink = Some(sink);
        self.case.data().await;
        Reply::plain(354, "End data with <CR><LF>.<CR><LF>")
    }

    /// The one reply that may be 250 with a queue id.
    pub(super) async fn end_of_data(&mut self) -> Reply {
        let (Some(transaction), Some(sink)) = (self.transaction.take(), self.sink.take()) else {
            return Reply::new(503, (5, 5, 1), "MAIL and RCPT first");
        };
        let door = self.facts.door;
        let id = transaction.id;
        let recipients: Vec<Address> = accepted(&transaction).collect();
        let (bytes, reply) = match sink.finish().await {
            Ok(body) => (body.bytes, self.take_over(transaction, body).await),
            Err(error) => (0, Err(Refused::Ours(NOT_STORED, intake::refusal(&self.services, id, &error)))),
        };
        let (reply, result) = match reply {
            Ok(reply) => (reply, MessageResult::Accepted),
            Err(Refused::Ours(why, reply)) => {
                self.case.message_refused(id, recipients, (why, &reply));
                let result = intake::result_of(&reply);
                (reply, result)
            }
            Err(Refused::Judged(reply)) => {
                if reply.is_permanent() {
                    self.count(Event::Failure, 1);
                }
                (reply, MessageResult::Policy)
            }
        };
        self.services.shared.metrics.message(door, result, bytes);
        if reply.is_positive() {
            self.bytes_accepted += bytes;
            if self.facts.account.is_none() {
                self.count(Event::Message, 1);
            }
        } else {
            self.log_refusal("data", None, &reply);
        }
        reply
    }

    /// What a message of our own users gets when all its other changes are known: missing fields, and a signature over what
    /// will be delivered, to stand on top of it. `Err`: the refusal.
    async fn complete(
        &self,
        id: mail::QueueId,
        head: &Bytes,
        edits: &mut Vec<Edit>,
        body: &mut ReceivedBody,
    ) -> Result<Vec<u8>, Box<Reply>> {
        let services = &self.services;
        if services.config.submission.add_missing_headers {
            let missing = submission::missing(services, id, &store::edited(head, edits).concat());
            edits.extend(missing);
        }
        if !services.config.submission.sign {
            return Ok(Vec::new());
        }
        let signature = submission::sign(services, head, edits, body).await?;
        Ok(signature.unwrap_or_default())
    }

    async fn take_over(
        &mut self,
        transaction: Transaction,
        mut body: ReceivedBody,
    ) -> Result<Reply, Refused> {
        let services = Arc::clone(&self.services);
        let services = &*services;
        let ours = self.facts.account.is_some() || self.facts.local_user.is_some();
        if ours {
            let head = submission::header_of(&body);
            self.or_late(submission::check_identity(services, &self.facts, &head)).await?;
        }
        // The checks see the message as it came. Then their edits, then what is missing, then the signature over all that.
        let at = clock::now();
        let received = trace::received(services, &self.facts, &transaction, at);
        let mut judged = self.judge(&transaction, (&mut body, received), ours).await?;
        let mut transaction = transaction;
        self.change(&mut transaction, &mut body, &mut judged).await?;
        // After milters: with another body behind it, a header may have got the empty line that it lacked. What strangers send
        // needs no copy of it.
        let looked_at = self.facts.may_relay();
        let head = if looked_at { submission::header_of(&body).into() } else { Bytes::new() };
        let mut edits = judged.edits.clone();
        let mut top = trace::received(services, &self.facts, &transaction, at);
        top.extend_from_slice(&judged.trace);
        if ours {
            top.extend(self.or_late(self.complete(transaction.id, &head, &mut edits, &mut body)).await?);
        }
        if self.facts.may_relay() {
            submission::remember(services, &transaction.reverse_path, &head, &edits);
            let new = correspondents::remember(services, &self.facts, &transaction, (&head, &edits)).await;
            judged.hold |= self.account_sends(transaction.id, new.unwrap_or_default()).await;
        } else if transaction.reverse_path.is_null() && self.case.found(PROVEN_SYMBOL) {
            self.report_returned(&intake::copies::accounts(services, &transaction)).await;
        }
        let origin = Origin {
            kind: match self.facts.door {
                Door::Local => OriginKind::Local,
                _ if self.facts.account.is_some() => OriginKind::Submission,
                _ => OriginKind::Mx,
            },
            client: self.facts.client,
            account: self
                .facts
                .account
                .clone()
                .or_else(|| self.facts.local_user.as_ref().map(|u| u.user.clone())),
            helo: self.facts.helo.clone(),
            // Who may relay is known by more than a reverse-path that anybody can write.
            sender: match judged.sender {
                _ if self.facts.may_relay() => SenderProof::Proven,
                found => found.unwrap_or_default(),
            },
        };
        let intake = Intake { transaction, origin, trace: top, edits, body, judged };
        let reply = intake::commit(services, &self.facts, intake).await;
        if reply.is_positive() { Ok(reply) } else { Err(Refused::Ours(NOT_STORED, reply)) }
    }

    /// What this comes to, within the time that a client may be kept waiting.
    async fn or_late<T>(&self, work: impl Future<Output = Result<T, Box<Reply>>>) -> Result<T, Refused> {
        let done = self.in_time(work).await.unwrap_or_else(|| Err(Box::new(super::too_late())));
        done.map_err(|refusal| Refused::Ours(self.not_theirs(&refusal), *refusal))
    }

    /// What the judge says of a message as a whole, and whether it is taken at all.
    async fn judge(
        &mut self,
        transaction: &Transaction,
        (body, received): (&mut ReceivedBody, Vec<u8>),
        ours: bool,
    ) -> Result<Judged, Refused> {
        let recipients = accepted(transaction).collect();
        let addressed = Addressed::together(transaction.recipients.iter().map(|r| r.addressed));
        let services = Arc::clone(&self.services);
        let completes = ours && services.config.submission.add_missing_headers;
        let missing = |head: &[u8]| {
            if completes { submission::missing(&services, transaction.id, head) } else { Vec::new() }
        };
        let finals = transaction.recipients.iter().map(|recipient| recipient.finals.as_slice());
        let mailboxes = services.judge.mailboxes(&services.router, finals);
        let mailboxes = self.in_time(mailboxes).await.unwrap_or_default();
        let submitted = Submitted {
            id: transaction.id,
            recipients,
            mailboxes,
            addressed,
            body,
            received: received.into(),
            missing: &missing,
        };
        let judged = self.case.message(submitted).await;
        let unread =
            |error| Refused::Ours(NOT_STORED, intake::refusal(&self.services, transaction.id, &error));
        let judged = judged.map_err(unread)?;
        for note in &judged.notes {
            let text = format!("{}: {}: {}", transaction.id, note.key, note.text);
            self.services.shared.log.notice(Level::Info, &text);
        }
        match judged.refused {
            Some(reply) => Err(Refused::Judged(reply)),
            None => Ok(judged),
        }
    }
}

/// The recipients of a message, as they were accepted.
fn accepted(transaction: &Transaction) -> impl Iterator<Item = Address> {
    transaction.recipients.iter().map(|recipient| recipient.accepted_as.clone())
}
