//! DATA and the end of data: open a place for the message, then judge, complete, sign and store it.

use mail::Reply;
use store::{Origin, OriginKind};

use crate::intake::{self, Intake, submission, trace};
use crate::metrics::Door;
use crate::session::body::{BodySink, ReceivedBody};
use crate::session::transaction::Transaction;

use super::Asker;

impl Asker {
    /// Before 354: waits for room.
    pub(super) async fn data(&mut self) -> Reply {
        let Some(transaction) = &self.transaction else {
            return Reply::new(503, (5, 5, 1), "MAIL first");
        };
        let services = &self.services;
        let bounds = (services.inline_bytes_max, services.smtp.header_bytes_max);
        let store = std::sync::Arc::clone(&services.shared.store);
        let sink =
            BodySink::open(store, &services.shared.room, transaction.id, transaction.declared, bounds).await;
        let Some(sink) = sink else {
            let reply = Reply::new(451, (4, 3, 1), "Too much mail is coming in at once, try again later");
            self.log_refusal("data", None, &reply);
            return reply;
        };
        self.sink = Some(sink);
        Reply::plain(354, "End data with <CR><LF>.<CR><LF>")
    }

    /// The one reply that may be 250 with a queue id.
    pub(super) async fn end_of_data(&mut self) -> Reply {
        let (Some(transaction), Some(sink)) = (self.transaction.take(), self.sink.take()) else {
            return Reply::new(503, (5, 5, 1), "MAIL and RCPT first");
        };
        let door = self.facts.door;
        let bytes;
        let reply = match sink.finish().await {
            Ok(body) => {
                bytes = body.bytes;
                self.take_over(transaction, body).await
            }
            Err(error) => {
                bytes = 0;
                intake::refusal(&self.services, transaction.id, &error)
            }
        };
        self.services.shared.metrics.message(door, intake::result_of(&reply), bytes);
        if reply.is_positive() {
            self.bytes_accepted += bytes;
        } else {
            self.log_refusal("data", None, &reply);
        }
        reply
    }

    async fn take_over(&self, transaction: Transaction, mut body: ReceivedBody) -> Reply {
        let services = &self.services;
        let mut edits = Vec::new();
        let mut trace = Vec::new();
        let ours = self.facts.account.is_some() || self.facts.local_user.is_some();
        if ours {
            let head = submission::header_of(&body);
            if let Err(refusal) = submission::check_identity(services, &self.facts, &head).await {
                return *refusal;
            }
            if services.config.submission.add_missing_headers {
                edits = submission::complete(services, transaction.id, &head);
            }
            if services.config.submission.sign {
                match submission::sign(services, &head, &edits, &mut body).await {
                    Ok(signature) => trace = signature.unwrap_or_default(),
                    Err(refusal) => return *refusal,
                }
            }
        }
        let mut top = trace::received(services, &self.facts, &transaction);
        top.extend_from_slice(&trace);
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
        };
        intake::commit(services, &self.facts, Intake { transaction, origin, trace: top, edits, body }).await
    }
}
