//! MAIL: may this client use this reverse-path, and is there room for what it wants to send?

use std::sync::atomic::Ordering;

use mail::{Reply, ReversePath};
use smtp::MailParameters;

use crate::intake::submission;
use crate::metrics::MessageResult;
use crate::session::transaction::Transaction;

use super::Asker;

impl Asker {
    /// The reply to MAIL; a positive one opens the transaction.
    pub(super) async fn mail(&mut self, reverse_path: ReversePath, params: MailParameters) -> Reply {
        // RFC 5321 §4.1.1.2: MAIL clears what was there before.
        self.transaction = None;
        let shared = &self.services.shared;
        if shared.disk_full.load(Ordering::Relaxed) {
            let reply = Reply::new(452, (4, 3, 1), "Insufficient system storage, try again later");
            shared.metrics.message(self.facts.door, MessageResult::DiskFull, 0);
            self.log_refusal("mail", None, &reply);
            return reply;
        }
        if let Some(reply) = self.not_theirs(&reverse_path).await {
            shared.metrics.message(self.facts.door, MessageResult::NotOwner, 0);
            self.log_refusal("mail", None, &reply);
            return reply;
        }
        let reply = Reply::new(250, (2, 1, 0), "Ok");
        self.transaction = Some(Transaction {
            id: shared.ids.next(),
            reverse_path,
            body_type: params.body,
            smtputf8: params.smtputf8,
            ret: params.ret,
            envid: params.envid,
            declared: params.size,
            recipients: Vec::new(),
        });
        reply
    }

    /// An authenticated user sends only as themselves: MAIL FROM is one of their addresses, or null.
    async fn not_theirs(&self, reverse_path: &ReversePath) -> Option<Reply> {
        let address = reverse_path.mailbox()?;
        let theirs = submission::owns(&self.services, &self.facts, address).await;
        (!theirs).then(|| Reply::new(550, (5, 7, 1), format!("<{address}> is not an address of yours")))
    }
}
