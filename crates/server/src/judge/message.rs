//! After DATA: the message is looked at as a whole, each recipient gets a copy of its own verdict, and the queue is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use antispam::authentication::{self, Authenticated};
use antispam::backscatter::out::Sender;
use antispam::end_of_data::attachments::rename;
use antispam::end_of_data::content_checks::Note;
use antispam::end_of_data::own_filters::Heard;
use antispam::end_of_data::reputation::without_own;
use antispam::remote::milter::Changes;
use antispam::reputation::Subject;
use bytes::Bytes;
use mail::{Address, Disposition, NextHop, QueueId, Reply};
use policy::headers::{OURS, spam_fields};
use policy::judge::{AfterData, AfterDataRecipient, Client, Greylist, after_data};
use policy::{
    About, Action, Addressed, Content, DecidedBy, Facts, MessageDecision, MessageFacts, Mode, Order, Rules,
    Ruling, Score, Shared, Stage, StageReport, Verdict, VerdictRecord,
};
use store::{Edit, SenderProof, StoreError};

use crate::clock;
use crate::intake::submission::header_of;
use crate::learning::teacher;
use crate::session::body::ReceivedBody;

use super::Judge;
use super::case::{Case, required};
use super::content::{Whole, whole};
use super::own_filters;

/// How long DNS is asked for the keys and policies of a message: the rest of the time is for its tables.
const VERIFYING_TIME_MAX: Duration = Duration::from_secs(10);

/// A message that wants a verdict.
pub struct Submitted<'a> {
    /// The name it will have.
    pub id: QueueId,
    /// Its recipients, as accepted.
    pub recipients: Vec<Address>,
    /// Whose mailbox each of them leads to, in the same order, where that is one of ours; empty when nobody has looked.
    pub mailboxes: Vec<Option<Address>>,
    /// As whom they were written to, all together.
    pub addressed: Addressed,
    /// Its octets.
    pub body: &'a mut ReceivedBody,
    /// Our Received field, as it will stand on top of them.
    pub received: Bytes,
    /// What a header lacks that our own users' mail is given; milters see it.
    pub missing: Missing<'a>,
}

/// What a header lacks, as edits of it.
type Missing<'a> = &'a (dyn Fn(&[u8]) -> Vec<Edit> + Send + Sync);

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
    /// What milters want changed of envelope and body; the header is among the edits.
    pub changes: Changes,
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
    /// Kept back for the score alone: no rule, scanner or milter is against it.
    pub may_release: bool,
}

impl Case {
    /// Judges a message.
    ///
    /// # Errors
    /// When the message cannot be read back from its file.
    pub async fn message(&mut self, submitted: Submitted<'_>) -> Result<Judged, StoreError> {
        let Some(mail) = self.mail.clone() else { return Ok(Judged::default()) };
        let (judge, started) = (Arc::clone(&self.judge), Instant::now());
        let is_shown = !self.milters.session.is_empty();
        // A table that is asked about everybody may have ordered something about our own, too.
        let is_judged = mail.is_stranger() || judge.looks_at_everything() || self.dossier.has_rulings();
        if !is_judged && !is_shown {
            let edits = self.unforged(&header_of(submitted.body));
            return Ok(Judged { edits, ..Judged::default() });
        }
        let deadline = judge.verdict_time();
        let left = || deadline.saturating_sub(started.elapsed());
        let mailboxes = submitted.mailboxes;
        let mut message = whole(submitted.body, &judge.memory, left()).await?;
        let facts = MessageFacts {
            mail,
            at: clock::now(),
            queue_id: submitted.id,
            recipients: submitted.recipients.into(),
            header: message.header.clone(),
            content: Content::Memory(message.octets.clone()),
            received: submitted.received,
            addressed: submitted.addressed,
            auth: self.sender_auth.clone(),
            shared: Shared::default(),
        };
        let scan = judge.content.run(&facts, left()).await;
        let (mut notes, tables) = (scan.notes, scan.edits);
        // What the tables refuse milters do not see at all.
        let (checked, shown) = if is_shown && !scan.rulings.iter().any(refuses) {
            let with = (tables.as_slice(), submitted.missing, &mut notes);
            let checking = self.check_with_milters((facts, &mailboxes), &mut message, with, left());
            let (checked, shown) = Box::pin(checking).await;
            (checked, Some(shown))
        } else {
            (judge.check(facts, &mailboxes, left()).await, None)
        };
        let Checked { facts, known, mut report, own } = checked;
        own_filters::told_apart(&mut report, own, facts.recipients.len());
        self.clerk.checked(&report);
        self.dossier.add(report);
        self.dossier.add(StageReport { rulings: scan.rulings, ..StageReport::new(Stage::EndOfData) });
        let rules: Vec<_> = facts.recipients.iter().map(|address| judge.rules.of(address)).collect();
        let decision = self.after_data(&facts, &rules, left()).await;
        self.tell_message(&facts, &decision, &rules);
        let tallies = decision.recipients.iter().map(|copy| &copy.tally);
        if let Some(class) = teacher::sure(&judge.settings.learn, tallies).filter(|_| facts.is_stranger()) {
            self.clerk.learns(&facts, class);
        }
        self.welcome(&facts, &decision);
        judge.count(&facts, &decision);
        let sender = self.sender_proof(&facts, &decision, &rules);
        let prepended = lines(&decision.prepend);
        let judged = self.judged(&facts, decision, &rules);
        let (mut edits, changes) = match shown {
            Some(shown) => shown,
            None if judged.refused.is_none() => {
                let renamed = judge.renamed(&facts, left(), &mut notes).await;
                (self.own_edits(&facts, rename::over(renamed, tables)), Changes::default())
            }
            None => Default::default(),
        };
        // Last: what a rule adds is not removed for being ours to write.
        edits.extend(prepended.map(Edit::Prepend));
        let trace = known.map(|known| known.trace).unwrap_or_default();
        Ok(Judged { edits, notes, sender, trace, changes, ..judged })
    }

    /// Asks all checks, with milters beside them; the second: the edits, and what else milters have changed. They see what
    /// tables have made of the message, with files renamed and with what it lacked.
    async fn check_with_milters(
        &mut self,
        (facts, mailboxes): (MessageFacts, &[Option<Address>]),
        message: &mut Whole,
        (tables, missing, notes): (&[Edit], Missing<'_>, &mut Vec<Note>),
        time: Duration,
    ) -> (Checked, (Vec<Edit>, Changes)) {
        let (judge, started) = (Arc::clone(&self.judge), Instant::now());
        let renamed = judge.renamed(&facts, time, notes).await;
        let mut edits = self.own_edits(&facts, rename::over(renamed, tables.to_vec()));
        edits.extend(missing(&store::edited(&facts.header, &edits).concat()));
        let left = time.saturating_sub(started.elapsed());
        let mut milters = std::mem::take(&mut self.milters);
        let shown = milters.shown(&judge, message, &edits, left);
        let (checked, (report, changes)) = tokio::join!(judge.check(facts, mailboxes, left), shown);
        self.milters = milters;
        self.clerk.checked(&report);
        self.dossier.add(report);
        (checked, (changed(edits, &changes), changes))
    }

    /// Edits of ours and of operators' tables, which act on everybody's mail.
    fn own_edits(&self, facts: &MessageFacts, tables: Vec<Edit>) -> Vec<Edit> {
        // What other hosts and our own users say of their mail is theirs; strangers may not say it in our name.
        let mut edits = if facts.is_stranger() { forged_fields() } else { Vec::new() };
        edits.extend(tables);
        // After the tables: these fields go whatever a table has made of them.
        edits.extend(self.unforged(&facts.header));
        edits
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

    /// By the score, and nothing that decides alone would have kept it back or refused it.
    fn is_by_score(&self, copy: &policy::Decision, number: usize) -> bool {
        let against =
            |ruling: &&Ruling| refuses(ruling) || matches!(ruling.order, Order::Quarantine | Order::Hold);
        matches!(copy.decided, DecidedBy::Threshold { .. })
            && !self.dossier.evidence(Some(number)).rulings.iter().any(against)
    }

    fn judged(&self, facts: &MessageFacts, decision: MessageDecision, rules: &[Arc<Rules>]) -> Judged {
        let stranger = facts.is_stranger();
        let refused = decision.verdict.reply(&facts.queue_id.to_string());
        let discarded = decision.verdict.action() == Action::Discard;
        let copies = decision.recipients.iter().zip(rules).enumerate().map(|(number, (copy, rules))| Copy {
            may_release: copy.disposition == Disposition::Quarantine && self.is_by_score(copy, number),
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
            ..Judged::default()
        }
    }
}

/// What the checks have brought.
struct Checked {
    facts: MessageFacts,
    known: Option<Authenticated>,
    report: StageReport,
    /// What filters of recipients have said.
    own: Option<Heard>,
}

impl Judge {
    /// Verifies who a stranger's message is from, then asks all checks.
    async fn check(&self, mut facts: MessageFacts, mailboxes: &[Option<Address>], time: Duration) -> Checked {
        let started = Instant::now();
        let left = || time.saturating_sub(started.elapsed());
        let mut known = if facts.is_stranger() {
            let verified =
                authentication::of_message(&self.resolver, &self.us, &facts, left().min(VERIFYING_TIME_MAX));
            tokio::time::timeout(left(), verified).await.ok().flatten()
        } else {
            None
        };
        if let Some(known) = &known {
            facts.auth.learn(known.facts.clone());
        }
        let checks = self.pipeline.end_of_data.run(&facts, left());
        let own = self.ask_own_filters(&facts, mailboxes, left());
        let (mut report, own) = tokio::join!(checks, own);
        if let Some(known) = &mut known {
            report.dns.splice(0..0, std::mem::take(&mut known.dns));
        }
        let own = own.map(|(own, took)| {
            report.times.push(took);
            own
        });
        Checked { facts, known, report, own }
    }
}

impl Judge {
    /// What a stranger's letter came to is remembered of its sender and network: as it speaks against it most, once it is
    /// taken or refused for good.
    fn count(&self, facts: &MessageFacts, decision: &MessageDecision) {
        let is_final =
            !matches!(decision.verdict.action(), Action::Greylist | Action::Defer | Action::Separate);
        let scores = decision.recipients.iter().map(|copy| without_own(&copy.tally));
        if let Some(score) =
            scores.max().filter(|_| is_final && facts.is_stranger() && self.reputation.is_on())
        {
            self.reputation.count(&Subject::all(facts), score, facts.at);
        }
    }
}

fn refuses(ruling: &Ruling) -> bool {
    matches!(ruling.order, Order::Reject(_) | Order::Defer(_) | Order::Discard)
}

/// Edits that were shown to milters, with what these have made of them.
fn changed(mut edits: Vec<Edit>, changes: &Changes) -> Vec<Edit> {
    let is_body = |edit: &Edit| matches!(edit, Edit::Body { .. });
    if changes.body.is_some() {
        edits.retain(|edit| !is_body(edit));
    }
    if let Some(header) = &changes.header {
        edits.retain(is_body);
        edits.extend(header.iter().cloned());
    }
    edits
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
