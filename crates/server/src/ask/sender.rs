//! MAIL: may this client use this reverse-path, and is there room for what it wants to send?

use mail::{Reply, ReversePath};
use smtp::MailParameters;

use crate::clock;
use crate::intake::{self, submission};
use crate::judge::Why;
use crate::metrics::MessageResult;
use crate::session::transaction::Transaction;

use super::{Asker, tag};

impl Asker {
    /// The reply to MAIL; a positive one opens the transaction.
    pub(super) async fn mail(&mut self, reverse_path: ReversePath, params: MailParameters) -> Reply {
        // RFC 5321 §4.1.1.2: MAIL clears what was there before.
        self.transaction = None;
        if let Some(reply) = self.sender_limited().await {
            return self.sender_over_limit(reply);
        }
        let marks = self.services.judge.marks();
        let (reverse_path, tagged_sender) =
            tag::sender(marks, &self.services.router, reverse_path, clock::now());
        let is_ours = reverse_path.mailbox().is_some_and(|a| self.services.router.is_ours(&a.domain));
        if let Err((why, reply)) = self.may_send(&reverse_path).await {
            self.case.sender_refused(&reverse_path, &params, (&self.facts, is_ours), (why, &reply));
            self.services.shared.metrics.message(self.facts.door, intake::result_of(&reply), 0);
            self.log_refusal("mail", None, &reply);
            return reply;
        }
        self.case.sender(&reverse_path, &params, (&self.facts, is_ours)).await;
        let id = self.services.shared.ids.next();
        self.case.milters_hear(id, &params, &self.facts).await;
        let reply = Reply::new(250, (2, 1, 0), "Ok");
        self.transaction = Some(Transaction {
            id,
            reverse_path,
            tagged_sender,
            body_type: params.body,
            smtputf8: params.smtputf8,
            ret: params.ret,
            envid: params.envid,
            declared: params.size,
            recipients: Vec::new(),
        });
        reply
    }

    /// Is there room for mail, and may this client use this reverse-path? Else what says so, and the reply.
    async fn may_send(&self, reverse_path: &ReversePath) -> Result<(), (Why<'static>, Reply)> {
        // A store that would not take the message says so before the client sends it.
        if let Err(error) = self.services.shared.store.room() {
            return Err((super::message::NOT_STORED, intake::not_stored(&error)));
        }
        let owned = self.in_time(self.check_owner(reverse_path)).await;
        let late = || Err(Box::new(super::too_late()));
        owned.unwrap_or_else(late).map_err(|reply| (self.not_theirs(&reply), *reply))
    }

    fn sender_over_limit(&self, reply: Reply) -> Reply {
        self.services.shared.metrics.message(self.facts.door, MessageResult::Policy, 0);
        self.log_refusal("mail", None, &reply);
        reply
    }

    /// An authenticated user sends only as themselves: MAIL FROM is one of their addresses, or null.
    async fn check_owner(&self, reverse_path: &ReversePath) -> Result<(), Box<Reply>> {
        let Some(address) = reverse_path.mailbox() else { return Ok(()) };
        if submission::owns(&self.services, &self.facts, address).await? {
            return Ok(());
        }
        Err(Box::new(Reply::new(550, (5, 7, 1), format!("<{address}> is not an address of yours"))))
    }
}
