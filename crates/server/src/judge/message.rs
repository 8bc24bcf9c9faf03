//! After DATA: the message is looked at as a whole, each recipient gets a copy of its own verdict, and the queue is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use antispam::authentication;
use antispam::backscatter::out::Sender;
use antispam::end_of_data::attachments::rename;
use antispam::end_of_data::content_checks::Note;
use mail::{Address, Disposition, NextHop, QueueId, Reply};
use policy::headers::{OURS, spam_fields};
use policy::judge::{AfterData, AfterDataRecipient, Client, Greylist, after_data};
use policy::{
    About, Action, Addressed, Facts, MessageDecision, MessageFacts, Mode, Rules, Score, Shared, Stage,
    StageReport, Verdict, VerdictRecord,
};
use store::{Edit, SenderProof, StoreError};

use crate::clock;
use crate::intake::submission::header_of;
use crate::learning::teacher;
use crate::session::body::ReceivedBody;

use super::case::{Case, required};
use super::content::whole;

/// How long DNS is asked for the keys and policies of a message: the rest of the time is for its tables.
const VERIFYING_TIME_MAX: Duration = Duration::from_secs(10);

/// A message that wants a verdict.
pub struct Submitted<'a> {
    /// The name it will have.
    pub id: QueueId,
    /// Its recipients, as accepted.
    pub recipients: Vec<Address>,
    /// As whom they were written to, all together.
    pub addressed: Addressed,
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
    /// A rule hands it to this next hop.
    pub filter: Option<NextHop>,
    /// Our results, to stand on top of the message, below Received; each line with CRLF.
    pub trace: Vec<u8>,
    /// Changes to the header as received, and lines that a rule wants put before it.
    pub edits: Vec<Edit>,
    /// What operators' tables want told.
    pub notes: Vec<Note>,
    /// Whether the sender is who it says; none when nobody has looked.
    pub sender: Option<SenderProof>,
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
        let (judge, started) = (Arc::clone(&self.judge), Instant::now());
        // A table that is asked about everybody may have ordered something about our own, too.
        if !mail.is_stranger() && !judge.looks_at_everything() && !self.dossier.has_rulings() {
            let edits = self.unforged(&header_of(submitted.body));
            return Ok(Judged { edits, ..Judged::default() });
        }
        let deadline = judge.verdict_time();
        let left = || deadline.saturating_sub(started.elapsed());
        let message = whole(submitted.body, &judge.memory, left()).await?;
        let mut facts = MessageFacts {
            mail,
            at: clock::now(),
            queue_id: submitted.id,
            recipients: submitted.recipients.into(),
            header: message.header.clone(),
            content: message.content.clone(),
            addressed: submitted.addressed,
            auth: self.sender_auth.clone(),
            shared: Shared::default(),
        };
        let known = if facts.is_stranger() {
            let time = left().min(VERIFYING_TIME_MAX);
            let verified = authentication::of_message(&judge.resolver, &judge.us, &facts, time);
            tokio::time::timeout(left(), verified).await.ok().flatten()
        } else {
            None
        };
        if let Some(known) = &known {
            facts.auth.learn(known.facts.clone());
        }
        let report = judge.pipeline.end_of_data.run(&facts, left()).await;
        self.clerk.checked(&report);
        self.dossier.add(report);
        let scan = judge.content.run(&facts, left()).await;
        let rulings = scan.rulings;
        self.dossier.add(StageReport { rulings, ..StageReport::new(Stage::EndOfData) });
        let rules: Vec<_> = facts.recipients.iter().map(|address| judge.rules.of(address)).collect();
        let decision = self.after_data(&facts, &rules, left()).await;
        self.tell_message(&facts, &decision, &rules);
        let tallies = decision.recipients.iter().map(|copy| &copy.tally);
        if let Some(class) = teacher::sure(&judge.settings.learn, tallies).filter(|_| facts.is_stranger()) {
            self.clerk.learns(&facts.content, class);
        }
        self.welcome(&facts, &decision);
        let sender = self.sender_proof(&facts, &decision, &rules);
        let prepended = lines(&decision.prepend);
        let mut judged = self.judged(&facts, decision, &rules);
        // Tables act on everybody's mail.
        judged.notes = scan.notes;
        let is_taken = judged.refused.is_none();
        let renamed =
            if is_taken { judge.renamed(&facts, left(), &mut judged.notes).await } else { Vec::new() };
        judged.edits.extend(rename::over(renamed, scan.edits));
        judged.sender = sender;
        // After the tables: these fields go whatever a table has made of them.
        judged.edits.extend(self.unforged(&facts.header));
        // Last: what a rule adds is not removed for being ours to write.
        judged.edits.extend(prepended.map(Edit::Prepend));
        judged.trace = known.map(|known| known.trace).unwrap_or_default();
        Ok(judged)
    }

    /// Who brings what everybody gets into the inbox is known from then on.
    fn welcome(&self, facts: &MessageFacts, decision: &MessageDecision) {
        let inbox = |copy: &policy::Decision| copy.action == Action::Accept && copy.would.is_none();
        if decision.verdict.action() == Action::Accept && decision.recipients.iter().all(inbox) {
            self.judge.known.welcome(facts.connect().client, facts.at);
        }
    }

    /// What others say of a message in our name is not passed on, whoever they are (RFC 8601 §5); the checks have seen it.
    fn unforged(&self, header: &[u8]) -> Vec<Edit> {
        authentication::forged(&self.judge.us, header).into_iter().map(without).collect()
    }

    async fn after_data(
        &self,
        facts: &MessageFacts,
        rules: &[Arc<Rules>],
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
        let asked = self.ask_greylist_for_all(facts);
        case.greylist = tokio::time::timeout(left, asked).await.unwrap_or(Greylist::Passed);
        after_data(&case)
    }

    /// May a report be sent to this sender? Nobody asks about our own, and nothing is kept back unless verdicts act.
    fn sender_proof(
        &self,
        facts: &MessageFacts,
        decision: &MessageDecision,
        rules: &[Arc<Rules>],
    ) -> Option<SenderProof> {
        if !facts.is_stranger() || self.judge.settings.mode != Mode::Enforce {
            return None;
        }
        let suspect = decision
            .recipients
            .iter()
            .zip(rules)
            .any(|(copy, rules)| rules.reached(policy::Threshold::Tag, copy.tally.total).is_some());
        let sender = Sender {
            domain_is_ours: facts.mail.sender_is_ours,
            vouched: Sender::vouched(&facts.auth, &facts.mail.reverse_path),
            below_tag: !suspect,
            ..Sender::default()
        };
        Some(sender.proof())
    }

    /// Hands the verdict about a message to the clerk.
    pub(super) fn tell_message(
        &mut self,
        facts: &MessageFacts,
        decision: &MessageDecision,
        rules: &[Arc<Rules>],
    ) {
        let about = About::mail(&facts.mail, Stage::EndOfData, clock::now()).queued_as(facts.queue_id);
        let copies: Vec<_> = facts
            .recipients
            .iter()
            .zip(&decision.recipients)
            .zip(rules)
            .map(|((address, decision), rules)| (address, decision, &**rules))
            .collect();
        let worst = copies.iter().max_by_key(|(_, decision, _)| decision.tally.total);
        let required = worst.map_or(Score::ZERO, |(_, _, rules)| required(rules));
        // An accepted message is as far from the inbox as its worst copy.
        let strictest = decision.recipients.iter().max_by_key(|copy| copy.action);
        let (action, decided) = match (&decision.verdict, strictest) {
            (Verdict::Accept, Some(copy)) => (copy.action, copy.decided.clone()),
            (verdict, _) => (verdict.action(), decision.decided.clone()),
        };
        let mut record = VerdictRecord::new(about, &self.dossier, action, decided, &copies);
        if let Some(reply) = decision.verdict.reply(&facts.queue_id.to_string()) {
            record = record.replied(&reply);
        }
        self.tell(record, Some(facts.queue_id), required);
    }

    fn judged(&self, facts: &MessageFacts, decision: MessageDecision, rules: &[Arc<Rules>]) -> Judged {
        // What other hosts and our own users say of their mail is theirs; strangers may not say it in our name.
        let stranger = facts.is_stranger();
        let refused = decision.verdict.reply(&facts.queue_id.to_string());
        let discarded = decision.verdict.action() == Action::Discard;
        let copies = decision.recipients.iter().zip(rules).map(|(copy, rules)| Copy {
            discarded: discarded || copy.action == Action::Discard,
            disposition: copy.disposition,
            header_lines: if stranger { spam_fields(copy, rules) } else { Vec::new() },
            redirect: copy.redirect.clone(),
        });
        Judged {
            refused,
            copies: copies.collect(),
            bcc: decision.bcc,
            hold: decision.hold,
            filter: decision.filter,
            trace: Vec::new(),
            edits: if stranger { forged_fields() } else { Vec::new() },
            notes: Vec::new(),
            sender: None,
        }
    }
}

/// Fields in one piece, each line with its CRLF; none when there are none.
fn lines(fields: &[String]) -> Option<Vec<u8>> {
    let lines = fields.iter().flat_map(|field| field.split('\n'));
    let all: Vec<u8> = lines.flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect();
    (!all.is_empty()).then_some(all)
}

/// What a stranger says in the fields that are ours to write goes.
fn forged_fields() -> Vec<Edit> {
    OURS.iter().map(|name| Edit::Remove((*name).to_owned())).collect()
}

/// Leaves one field of the header out.
fn without(number: u32) -> Edit {
    Edit::Field { number, with: Vec::new() }
}
