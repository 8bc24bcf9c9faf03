//! What milters have changed of a message's envelope and body is carried out here, before it is stored.
//!
//! A milter's word is the operator's will: recipients that it adds may be anywhere, and no rule for clients is asked. They are
//! looked up as at RCPT, aliases and all. What cannot be looked up is 451 (I9).

use antispam::remote::milter::AddedRecipient;
use bytes::Bytes;
use delivery::Resolution;
use mail::{Address, Disposition, ForwardPath, Reply, header};
use policy::{Addressed, Source};

use crate::intake::{self, submission};
use crate::judge::{Copy, Judged, Why};
use crate::maillog::Level;
use crate::session::body::{BodySink, ReceivedBody};
use crate::session::transaction::{AcceptedRecipient, Transaction};

use super::Asker;
use super::message::{NOT_STORED, Refused};

/// A recipient that a milter wants could not be looked up.
const NOT_FOUND_OUT: Why<'static> = Why { source: Source::Unavailable, key: "antispam.milter" };

impl Asker {
    /// Makes the changes.
    pub(super) async fn change(
        &self,
        transaction: &mut Transaction,
        body: &mut ReceivedBody,
        judged: &mut Judged,
    ) -> Result<(), Refused> {
        let changes = std::mem::take(&mut judged.changes);
        if let Some(octets) = changes.body {
            self.replace_body(transaction, body, octets).await?;
        }
        if let Some(sender) = changes.sender {
            transaction.reverse_path = sender;
            transaction.tagged_sender = None;
            // Whose word it is now is known.
            judged.sender = None;
        }
        if changes.added.is_empty() && changes.deleted.is_empty() {
            return Ok(());
        }
        judged.copies.resize_with(transaction.recipients.len(), plain);
        // What the message has come to holds for those who are added too.
        let like = judged.copies.first().map_or_else(plain, like);
        for (recipient, copy) in transaction.recipients.iter().zip(&mut judged.copies) {
            copy.discarded |= changes.deleted.contains(&recipient.accepted_as);
        }
        for added in changes.added {
            if let Some(recipient) = self.added(transaction, added).await? {
                transaction.recipients.push(recipient);
                judged.copies.push(self::like(&like));
            }
        }
        Ok(())
    }

    /// The header as received with another body behind it.
    async fn replace_body(
        &self,
        transaction: &Transaction,
        body: &mut ReceivedBody,
        octets: Bytes,
    ) -> Result<(), Refused> {
        let services = &self.services;
        let mut head = submission::header_of(body);
        if header::body_offset(&head) == header::fields_end(&head) {
            head.extend_from_slice(b"\r\n");
        }
        // Who waits for room holds none.
        drop(body.room.take());
        let size = (head.len() + octets.len()) as u64;
        let bounds = (services.inline_bytes_max, services.smtp.header_bytes_max);
        let store = std::sync::Arc::clone(&services.shared.store);
        let (room, id) = (&services.shared.room, services.shared.ids.next());
        let Some(mut sink) = BodySink::open(store, room, id, Some(size), bounds).await else {
            let reply = Reply::new(451, (4, 3, 1), "Too much mail is coming in at once, try again later");
            return Err(Refused::Ours(NOT_STORED, reply));
        };
        sink.push(head.into()).await;
        sink.push(octets).await;
        let stored = sink.finish().await;
        let lost = |error| Refused::Ours(NOT_STORED, intake::refusal(services, transaction.id, &error));
        *body = stored.map_err(lost)?;
        Ok(())
    }

    /// A recipient that a milter has added; none when there is nobody of that name, which the log tells.
    async fn added(
        &self,
        transaction: &Transaction,
        AddedRecipient { address, notify, original }: AddedRecipient,
    ) -> Result<Option<AcceptedRecipient>, Refused> {
        let path = ForwardPath::Mailbox(address.clone());
        let resolution = self.in_time(self.services.router.resolve(&path)).await;
        let finals = match resolution {
            Some(Resolution::Local { recipients }) => recipients,
            Some(Resolution::Elsewhere(address)) => vec![address],
            None | Some(Resolution::Unavailable(_) | Resolution::Full) => {
                let words = "A recipient could not be looked up, try again later";
                return Err(Refused::Ours(NOT_FOUND_OUT, Reply::new(451, (4, 3, 0), words)));
            }
            Some(_) => {
                let text =
                    format!("{}: a milter wants <{address}> to get it: there is nobody", transaction.id);
                self.services.shared.log.notice(Level::Warning, &text);
                return Ok(None);
            }
        };
        Ok(Some(AcceptedRecipient {
            releases: None,
            accepted_as: address,
            addressed: Addressed::Plainly,
            finals,
            notify,
            original,
        }))
    }
}

/// A copy like any other.
fn plain() -> Copy {
    Copy {
        discarded: false,
        disposition: Disposition::Inbox,
        header_lines: Vec::new(),
        redirect: None,
        may_release: false,
    }
}

/// A copy of which the same is known, for somebody else.
fn like(copy: &Copy) -> Copy {
    let Copy { discarded, disposition, header_lines, .. } = copy;
    Copy {
        may_release: false,
        discarded: *discarded,
        disposition: *disposition,
        header_lines: header_lines.clone(),
        redirect: None::<Address>,
    }
}
