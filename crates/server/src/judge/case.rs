//! One session before its judge: facts are gathered stage by stage, and each recipient gets its verdict.
//!
//! The checks of a stage run in the session's own task, under the stage's deadline. What they find about the client stays
//! for the session, what they find about a transaction goes with it. Never replies 250: a positive verdict is no reply.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use mail::{Address, Domain, Reply, ReversePath, Timestamp};
use policy::judge::{AtRcpt, Client, Greylist, Greylisting, at_rcpt};
use policy::{
    About, Action, AuthFacts, BeforeGreeting, ConnectFacts, DecidedBy, Decision, Door, Dossier, Evidence,
    Facts, HeloFacts, MailFacts, Order, RcptFacts, Rules, Ruling, Score, Source, Stage, StageReport,
    Threshold, Verdict, VerdictRecord,
};
use smtp::{MailParameters, RecipientParameters};

use crate::clock;
use crate::metrics;
use crate::session::facts::ClientFacts;

use super::Judge;
use super::clerk::{Clerk, NoClerk, Told};
use super::known::Asking;
use super::milters;
use super::waits::Waits;

/// Verdicts of one session that are kept at most; further ones are logged and counted.
pub const KEPT_PER_SESSION_MAX: usize = 100;

/// What is known and was found of one session.
pub struct Case {
    pub(super) judge: Arc<Judge>,
    /// The session's name.
    pub(super) id: Arc<str>,
    began: Timestamp,
    pub(super) connect: Option<Arc<ConnectFacts>>,
    /// The checks of the address of a client who was greeted without waiting for them.
    pub(super) asking: Option<Asking>,
    helo: Option<Arc<HeloFacts>>,
    pub(super) mail: Option<Arc<MailFacts>>,
    /// What authentication found about the client.
    pub(super) auth: AuthFacts,
    /// The same, and about the sender of the transaction.
    pub(super) sender_auth: AuthFacts,
    pub(super) dossier: Dossier,
    /// What holds for the first recipient of the transaction.
    first: Option<Arc<Rules>>,
    transactions: usize,
    unknown_recipients: usize,
    /// Who is told what was found and decided.
    pub(super) clerk: Arc<dyn Clerk>,
    /// Verdicts that are to be kept so far.
    kept: usize,
    /// For how long checks have kept it waiting.
    pub(super) waits: Waits,
    /// Who else follows it.
    pub(super) milters: milters::Told,
}

impl Case {
    pub(super) fn new(judge: Arc<Judge>, id: Arc<str>, began: Timestamp) -> Self {
        Self {
            judge,
            id,
            began,
            connect: None,
            asking: None,
            helo: None,
            mail: None,
            auth: AuthFacts::default(),
            sender_auth: AuthFacts::default(),
            dossier: Dossier::default(),
            first: None,
            transactions: 0,
            unknown_recipients: 0,
            clerk: Arc::new(NoClerk),
            kept: 0,
            waits: Waits::default(),
            milters: milters::Told::default(),
        }
    }

    /// With somebody who is told what is found and decided.
    #[must_use]
    pub fn told_to(mut self, clerk: Arc<dyn Clerk>) -> Self {
        self.clerk = clerk;
        self
    }

    /// The session's name, for logs and replies.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name of the client's address that leads back to it, as far as it is known.
    #[must_use]
    pub fn verified_name(&self) -> Option<&Domain> {
        let iprev = self.auth.iprev.as_ref().filter(|iprev| iprev.result.is_pass())?;
        iprev.name.as_ref()
    }

    /// A client has connected. Waits for the checks of its address, unless its mail was welcome lately.
    pub async fn connected(&mut self, client: &ClientFacts) {
        let facts = Arc::new(self.connect_facts(client));
        if facts.known {
            self.asking = Some(Asking::about(&self.judge, &facts));
        } else {
            let report = self.judge.pipeline.connect.run(&facts, self.judge.greeting_time()).await;
            let took = report.took;
            self.address_checked(report, took);
        }
        self.connect = Some(facts);
        self.milters = milters::Told::new(self.judge.milters.session(&client.milters));
    }

    /// The client, or its account, is asked to come back for doing too much: for the record. `why`: who says so, by which
    /// setting, and what there was too much of.
    pub fn limited(&mut self, client: &ClientFacts, stage: Stage, why: (Source, &str, &str), reply: &Reply) {
        let now = clock::now();
        let about = match (&self.mail, &self.helo, &self.connect) {
            (Some(mail), ..) if stage == Stage::Rcpt => About::mail(mail, stage, now),
            (_, Some(helo), _) => About::helo(helo, stage, now),
            (.., Some(connect)) => About::connect(connect, stage, now),
            _ => About::connect(&self.connect_facts(client), stage, now),
        };
        let (source, key, evidence) = why;
        let decided = DecidedBy::Ruling {
            source,
            order: "defer".to_owned(),
            key: key.to_owned(),
            evidence: evidence.to_owned(),
        };
        let record = VerdictRecord::new(about, &self.dossier, Action::Defer, decided, &[]).replied(reply);
        self.tell(record, None, Score::ZERO);
    }

    /// True when this symbol was found of the client or the transaction.
    #[must_use]
    pub fn found(&self, symbol: &str) -> bool {
        self.dossier.evidence(None).findings.iter().any(|finding| finding.symbol == *symbol)
    }

    fn connect_facts(&self, client: &ClientFacts) -> ConnectFacts {
        let ip = client.client.unwrap_or(IpAddr::V6(Ipv6Addr::LOCALHOST));
        ConnectFacts {
            session: Arc::clone(&self.id),
            at: self.began,
            client: ip,
            port: client.port,
            local: client.local,
            door: door(client.door),
            trusted: client.trusted || self.judge.is_exempt(ip),
            known: self.judge.known.knows(ip, self.began),
            before_greeting: BeforeGreeting::NotWatched,
            auth: AuthFacts::default(),
        }
    }

    /// What the client sent before it was greeted, in octets.
    pub fn before_greeting(&mut self, bytes: usize) {
        let Some(connect) = self.connect.as_mut().map(Arc::make_mut) else { return };
        connect.before_greeting =
            if bytes == 0 { BeforeGreeting::Silent } else { BeforeGreeting::Spoke { bytes } };
        connect.auth = self.auth.clone();
    }

    /// HELO or EHLO.
    pub async fn helo(&mut self, name: &str, client: &ClientFacts) {
        self.end_transaction();
        self.know_address().await;
        let Some(connect) = &self.connect else { return };
        let facts = Arc::new(HeloFacts {
            connect: Arc::clone(connect),
            name: name.into(),
            esmtp: client.extended,
            tls: client.tls.is_some(),
            pipelined_early: client.pipelined_early,
            auth: self.auth.clone(),
        });
        // Said again, often after STARTTLS: the same name is the same finding.
        let again = self.helo.as_ref().is_some_and(|before| before.name == facts.name);
        if !again {
            let time = self.waits.left(self.judge.command_time(), self.judge.waiting_time());
            let report = self.judge.pipeline.helo.run(&facts, time).await;
            self.waits.in_session(report.took);
            self.clerk.checked(&report);
            self.auth.learn(report.learnt.clone());
            self.dossier.add(report);
        }
        self.helo = Some(facts);
    }

    /// MAIL was accepted so far: what do the checks say of this sender?
    pub async fn sender(
        &mut self,
        reverse_path: &ReversePath,
        params: &MailParameters,
        (client, is_ours): (&ClientFacts, bool),
    ) {
        self.end_transaction();
        if client.account.is_some() {
            // Somebody of ours, from wherever: what was found while it was a stranger says nothing of its mail.
            self.dossier = Dossier::default();
            self.auth = AuthFacts::default();
        }
        let Some(facts) = self.mail_facts(reverse_path, params, (client, is_ours)) else { return };
        self.transactions += 1;
        let time = self.waits.left(self.judge.command_time(), self.judge.waiting_time());
        let report = self.judge.pipeline.mail.run(&facts, time).await;
        self.waits.in_transaction(report.took);
        self.clerk.checked(&report);
        self.sender_auth = self.auth.clone();
        self.sender_auth.learn(report.learnt.clone());
        self.dossier.add(report);
        self.mail = Some(Arc::new(facts));
    }

    /// MAIL as facts; none before HELO.
    pub(super) fn mail_facts(
        &self,
        reverse_path: &ReversePath,
        params: &MailParameters,
        (client, is_ours): (&ClientFacts, bool),
    ) -> Option<MailFacts> {
        Some(MailFacts {
            helo: Arc::clone(self.helo.as_ref()?),
            at: clock::now(),
            account: client.account.as_deref().map(Arc::from),
            reverse_path: reverse_path.clone(),
            size: params.size,
            body_type: params.body,
            smtputf8: params.smtputf8,
            sender_is_ours: is_ours,
            earlier_transactions: self.transactions,
            auth: self.auth.clone(),
        })
    }

    /// A recipient that may be accepted: is it? `said`: as RCPT had it.
    ///
    /// # Errors
    /// The reply that refuses it.
    pub async fn recipient(
        &mut self,
        recipient: &Address,
        said: Option<&Address>,
        (is_ours, params): (bool, &RecipientParameters),
    ) -> Result<(), Box<Reply>> {
        let Some(mail) = self.mail.clone() else { return Ok(()) };
        let facts = RcptFacts {
            mail: Arc::clone(&mail),
            at: clock::now(),
            recipient: recipient.clone(),
            said: said.cloned(),
            is_ours,
            exists: is_ours.then_some(true),
            accepted_before: self.dossier.recipients().len(),
            unknown_before: self.unknown_recipients,
            auth: self.sender_auth.clone(),
        };
        let report = self.judge.pipeline.rcpt.run(&facts, self.judge.command_time()).await;
        self.clerk.checked(&report);
        let number = self.dossier.add_recipient(recipient.clone(), report);
        let rules = self.judge.rules.of(recipient);
        let mut decision = self.decide(&facts, number, &rules).await;
        if matches!(decision.verdict, Verdict::Accept)
            && let Some(report) = self.milters_recipient((recipient, is_ours), params).await
        {
            self.dossier.add_to_recipient(number, report);
            decision = at_rcpt(&self.at_rcpt(
                &facts,
                &self.dossier.evidence(Some(number)),
                &rules,
                Greylist::Passed,
            ));
        }
        match decision.verdict.reply(&self.id) {
            Some(reply) => {
                self.tell_refusal(&mail, (recipient, &decision, &rules), &reply);
                self.dossier.forget_recipient(number);
                Err(Box::new(reply))
            }
            None => {
                self.clerk.passed(recipient, &decision);
                self.first.get_or_insert(rules);
                Ok(())
            }
        }
    }

    async fn decide(&self, facts: &RcptFacts, number: usize, rules: &Rules) -> Decision {
        let evidence = self.dossier.evidence(Some(number));
        let mut case = self.at_rcpt(facts, &evidence, rules, Greylist::NotAsked);
        let decision = at_rcpt(&case);
        if !matches!(decision.verdict, Verdict::AskGreylist) {
            return decision;
        }
        case.greylist = self.ask_greylist(facts).await;
        at_rcpt(&case)
    }

    fn at_rcpt<'a>(
        &'a self,
        facts: &RcptFacts,
        evidence: &'a Evidence<'a>,
        rules: &'a Rules,
        greylist: Greylist,
    ) -> AtRcpt<'a> {
        AtRcpt {
            book: &self.judge.book,
            evidence,
            rules,
            first: self.first.as_deref(),
            client: client_of(facts),
            greylisting: self.judge.greylisting(&facts.recipient),
            greylist,
        }
    }

    /// A recipient was refused because there is nobody of that name.
    pub fn unknown_recipient(&mut self) {
        self.unknown_recipients += 1;
    }

    /// How many recipients of this session do not exist.
    #[must_use]
    pub const fn unknown_recipients(&self) -> usize {
        self.unknown_recipients
    }

    /// A recipient was refused for what it is, whatever the score: the record tells what else was known. `key`: what of the
    /// configuration says so.
    pub fn turned_away(&mut self, recipient: &Address, (source, key): (Source, &str), reply: &Reply) {
        let Some(mail) = self.mail.clone() else { return };
        let order =
            if reply.is_permanent() { Order::Reject(reply.clone()) } else { Order::Defer(reply.clone()) };
        let ruling = Ruling::new(source, order, key, &recipient.to_string());
        let report = StageReport { rulings: vec![ruling], ..StageReport::new(Stage::Rcpt) };
        let number = self.dossier.add_recipient(recipient.clone(), report);
        let rules = self.judge.rules.of(recipient);
        let decision = at_rcpt(&AtRcpt {
            book: &self.judge.book,
            evidence: &self.dossier.evidence(Some(number)),
            rules: &rules,
            first: None,
            client: Client::default(),
            greylisting: Greylisting::Off,
            greylist: Greylist::NotAsked,
        });
        self.tell_refusal(&mail, (recipient, &decision, &rules), reply);
        self.dossier.forget_recipient(number);
    }

    fn tell_refusal(&mut self, mail: &MailFacts, copy: (&Address, &Decision, &Rules), reply: &Reply) {
        let about = About::mail(mail, Stage::Rcpt, clock::now());
        let (_, decision, rules) = copy;
        let (action, decided) = (decision.action, decision.decided.clone());
        let record = VerdictRecord::new(about, &self.dossier, action, decided, &[copy]).replied(reply);
        self.tell(record, None, required(rules));
    }

    /// Hands a verdict to the clerk. Beyond [`KEPT_PER_SESSION_MAX`] it is told and not kept.
    pub(super) fn tell(&mut self, record: VerdictRecord, id: Option<mail::QueueId>, required: Score) {
        self.kept += 1;
        let days = if self.kept > KEPT_PER_SESSION_MAX { 0 } else { self.judge.history_days() };
        self.clerk.decided(Told { record, id, required, days });
    }

    /// The transaction is over, or never came to anything.
    pub fn end_transaction(&mut self) {
        self.mail = None;
        self.first = None;
        self.dossier.end_transaction();
        self.waits.end_transaction();
        self.milters.session.end_message();
    }
}

/// From which score on a message is marked for who has these rules; 0 when none is.
pub(super) fn required(rules: &Rules) -> Score {
    rules.limit(Threshold::Tag).map_or(Score::ZERO, |limit| limit.value)
}

/// What greylisting needs to know.
fn client_of(facts: &RcptFacts) -> Client {
    Client { is_stranger: facts.is_stranger(), null_sender: facts.mail.reverse_path.mailbox().is_none() }
}

fn door(door: metrics::Door) -> Door {
    match door {
        metrics::Door::Mx => Door::Mx,
        metrics::Door::Submission | metrics::Door::Submissions => Door::Submission,
        metrics::Door::Lmtp => Door::Lmtp,
        metrics::Door::Local => Door::Local,
    }
}
