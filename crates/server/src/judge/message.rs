//! After DATA: the message is looked at as a whole, each recipient gets a copy of its own verdict, and the queue is told.

use std::time::{Duration, Instant};

use mail::{Address, Disposition, QueueId, Reply};
use policy::judge::{AfterData, AfterDataRecipient, Client, Greylist, after_data};
use policy::{Action, Facts, MessageDecision, MessageFacts, Rules, Verdict};
use store::{HeaderEdit, StoreError};

use crate::clock;
use crate::session::body::ReceivedBody;

use super::case::Case;
use super::content::whole;

/// A message that wants a verdict.
pub struct Submitted<'a> {
    /// The name it will have.
    pub id: QueueId,
    /// Its recipients, as accepted.
    pub recipients: Vec<Address>,
    /// Its octets.
    pub body: &'a mut ReceivedBody,
}

/// A verdict in the queue's terms.
#[derive(Debug, Default)]
pub struct Judged {
    /// What the client is told, when the message is not taken.
    pub refused: Option<Reply>,
    /// For each recipient, in their order. Empty: nothing special for anybody.
    pub copies: Vec<Copy>,
    /// Copies go to these addresses too.
    pub bcc: Vec<Address>,
    /// An operator's rule wants it held.
    pub hold: bool,
    /// Lines that go on top, below Received; each with CRLF.
    pub trace: Vec<u8>,
    /// Changes to the header as received.
    pub edits: Vec<HeaderEdit>,
}

/// What becomes of one recipient's copy.
#[derive(Debug)]
pub struct Copy {
    /// Thrown away: accepted, and not delivered.
    pub discarded: bool,
    /// Inbox, junk, quarantine.
    pub disposition: Disposition,
    /// Header lines for this recipient alone, each with CRLF.
    pub header_lines: Vec<u8>,
    /// It goes to this address instead.
    pub redirect: Option<Address>,
}

impl Case {
    /// Judges a message.
    ///
    /// # Errors
    /// When the message cannot be read back from its file.
    pub async fn message(&mut self, submitted: Submitted<'_>) -> Result<Judged, StoreError> {
        let Some(mail) = self.mail.clone() else { return Ok(Judged::default()) };
        let (judge, started) = (std::sync::Arc::clone(&self.judge), Instant::now());
        if !mail.is_stranger() && !judge.looks_at_everything() {
            return Ok(Judged::default());
        }
        let deadline = judge.verdict_time();
        let left = || deadline.saturating_sub(started.elapsed());
        let message = whole(submitted.body, &judge.memory).await?;
        let mut facts = MessageFacts {
            mail,
            at: clock::now(),
            queue_id: submitted.id,
            recipients: submitted.recipients.into(),
            header: message.header.clone(),
            content: message.content.clone(),
            tagged: false,
            auth: self.sender_auth.clone(),
        };
        judge.authenticate(&mut facts, left()).await;
        let report = judge.pipeline.end_of_data.run(&facts, left()).await;
        self.dossier.add(report);
        let rules: Vec<_> = facts.recipients.iter().map(|address| judge.rules.of(address)).collect();
        let decision = self.after_data(&facts, &rules, left()).await;
        Ok(self.judged(&facts, decision))
    }

    async fn after_data(
        &self,
        facts: &MessageFacts,
        rules: &[std::sync::Arc<Rules>],
        left: Duration,
    ) -> MessageDecision {
        let recipients: Vec<AfterDataRecipient<'_>> = rules
            .iter()
            .enumerate()
            .map(|(number, rules)| AfterDataRecipient {
                evidence: self.dossier.evidence(Some(number)),
                rules,
            })
            .collect();
        let null_sender = facts.mail.reverse_path.mailbox().is_none();
        let mut case = AfterData {
            book: &self.judge.book,
            recipients: &recipients,
            client: Client { is_stranger: facts.is_stranger(), null_sender },
            greylist_after_data: self.judge.greylists_after_data(),
            greylist: Greylist::NotAsked,
        };
        let decision = after_data(&case);
        if !matches!(decision.verdict, Verdict::AskGreylist) {
            return decision;
        }
        let asked = self.judge.ask_greylist_for_all(facts);
        case.greylist = tokio::time::timeout(left, asked).await.unwrap_or(Greylist::Passed);
        after_data(&case)
    }

    fn judged(&self, facts: &MessageFacts, decision: MessageDecision) -> Judged {
        let refused = decision.verdict.reply(&facts.queue_id.to_string());
        let discarded = decision.verdict.action() == Action::Discard;
        let copies = decision.recipients.iter().map(|copy| Copy {
            discarded: discarded || copy.action == Action::Discard,
            disposition: copy.disposition,
            header_lines: Vec::new(),
            redirect: copy.redirect.clone(),
        });
        let mut trace = Vec::new();
        for line in &decision.prepend {
            trace.extend_from_slice(line.as_bytes());
            trace.extend_from_slice(b"\r\n");
        }
        Judged {
            refused,
            copies: copies.collect(),
            bcc: decision.bcc,
            hold: decision.hold,
            trace,
            edits: Vec::new(),
        }
    }
}
