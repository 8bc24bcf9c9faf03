//! What was refused without asking the checks: the record tells by which rule, and what else was known by then.
//!
//! The refusals themselves are decided in `ask` and `intake`, whatever the score. Here they are only written down, so that
//! `staffetta explain` knows of them. Recipients of that kind: [`Case::turned_away`].

use bytes::Bytes;
use mail::{Address, QueueId, Reply, ReversePath};
use policy::judge::{AfterData, AfterDataRecipient, Client, Greylist, after_data};
use policy::{
    About, Action, Content, DecidedBy, MessageFacts, Order, Ruling, Score, Source, Stage, StageReport,
    VerdictRecord,
};
use smtp::MailParameters;

use crate::clock;
use crate::session::facts::ClientFacts;

use super::case::Case;

/// What refused, and which line of the configuration stands behind it.
#[derive(Debug, Clone, Copy)]
pub struct Why<'a> {
    /// Who rules.
    pub source: Source,
    /// The configuration key.
    pub key: &'a str,
}

impl Why<'_> {
    fn ruling(self, reply: &Reply, evidence: &str) -> Ruling {
        let order =
            if reply.is_permanent() { Order::Reject(reply.clone()) } else { Order::Defer(reply.clone()) };
        Ruling::new(self.source, order, self.key, evidence)
    }
}

impl Case {
    /// MAIL was refused. A client that has not said HELO has no record: nothing is known of it.
    pub fn sender_refused(
        &mut self,
        reverse_path: &ReversePath,
        params: &MailParameters,
        about: (&ClientFacts, bool),
        (why, reply): (Why<'_>, &Reply),
    ) {
        self.end_transaction();
        let Some(facts) = self.mail_facts(reverse_path, params, about) else { return };
        let evidence = reverse_path.mailbox().map(ToString::to_string).unwrap_or_default();
        let decided = DecidedBy::from(&why.ruling(reply, &evidence));
        let action = if reply.is_permanent() { Action::Reject } else { Action::Defer };
        let about = About::mail(&facts, Stage::Mail, clock::now());
        let record = VerdictRecord::new(about, &self.dossier, action, decided, &[]).replied(reply);
        self.tell(record, None, Score::ZERO);
    }

    /// A message was refused: before it was judged, or because it could not be kept.
    pub fn message_refused(
        &mut self,
        id: QueueId,
        recipients: Vec<Address>,
        (why, reply): (Why<'_>, &Reply),
    ) {
        let Some(mail) = self.mail.clone() else { return };
        let rulings = vec![why.ruling(reply, "")];
        // The client may try once more: that is judged without this.
        let before = self.dossier.clone();
        self.dossier.add(StageReport { rulings, ..StageReport::new(Stage::EndOfData) });
        let facts = MessageFacts {
            mail,
            at: clock::now(),
            queue_id: id,
            recipients: recipients.into(),
            header: Bytes::new(),
            content: Content::Memory(Bytes::new()),
            received: Bytes::new(),
            addressed: policy::Addressed::default(),
            auth: self.sender_auth.clone(),
            shared: policy::Shared::default(),
        };
        let rules: Vec<_> = facts.recipients.iter().map(|address| self.judge.rules.of(address)).collect();
        let copies: Vec<_> = rules
            .iter()
            .enumerate()
            .map(|(number, rules)| AfterDataRecipient {
                evidence: self.dossier.evidence(Some(number)),
                rules,
            })
            .collect();
        let decision = after_data(&AfterData {
            book: &self.judge.book,
            recipients: &copies,
            client: Client::default(),
            greylist_after_data: false,
            greylist: Greylist::NotAsked,
        });
        self.tell_message(&facts, &decision, &rules);
        self.dossier = before;
    }
}
