//! A whole session before the judge without a client: what would be said to it, and why, stage by stage.
//!
//! The judge, its checks and the router are those that a server with this configuration would have, DNS is asked; but
//! nothing is remembered, nothing is queued, and no file is made. Greylisting has never seen anybody, and counts of what
//! came before are at nothing; reputations, correspondents and their letters are those that a running server has told.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use antispam::backscatter::keys::Keys;
use antispam::backscatter::status;
use antispam::correspondents;
use antispam::correspondents::acquaintance::{Acquaintance, Claims};
use antispam::hashes::Hashes;
use antispam::reputation::{Line, Memory, Subject};
use bytes::Bytes;
use config::Loaded;
use delivery::{Resolution, Router};
use mail::received::{FromClause, Received, Source, With};
use mail::{Address, ForwardPath, QueueId, Reply, ReversePath};
use net::Resolver;
use policy::tally::{self, Capped};
use policy::{
    Action, Addressed, CheckTime, Decision, DnsAnswer, Finding, Score, Stage, StageReport, Tally,
    VerdictRecord,
};
use serde::Serialize;
use smtp::{MailParameters, RecipientParameters};
use store::{MemoryState, NewBody, StateStore};

use crate::accounts::manage;
use crate::ask::recipient as rcpt;
use crate::ask::tag::{self, Said};
use crate::clock;
use crate::error::Error;
use crate::judge::{Case, Clerk, Judge, Submitted, Told};
use crate::metrics::{Door, RecipientRefusal};
use crate::session::body::ReceivedBody;
use crate::session::facts::ClientFacts;
use crate::{aliases, assemble};

/// How long the DNS lists may take to be tried before the session.
const LISTS_TIME: Duration = Duration::from_secs(10);
/// The session's name.
const NAME: &str = "rehearsal";

/// What the client says.
#[derive(Debug)]
pub struct Script {
    /// Where it comes from.
    pub ip: IpAddr,
    /// HELO.
    pub helo: String,
    /// MAIL.
    pub reverse_path: ReversePath,
    /// RCPT, in this order.
    pub recipients: Vec<Address>,
    /// The message, with CRLF; none ends the session before DATA.
    pub message: Option<Vec<u8>>,
    /// What a server has told of those whom [`Script::claims`] names.
    pub reputations: Vec<Line>,
    /// What it has told of [`Script::acquaintance`].
    pub acquaintances: Vec<Acquaintance>,
}

impl Script {
    /// Whose reputations may matter, as [`crate::admin::Request::Reputation`] has them.
    #[must_use]
    pub fn claims(&self) -> Vec<String> {
        let claimed = Subject::claimed(self.ip, self.reverse_path.mailbox(), self.head());
        claimed.iter().map(ToString::to_string).collect()
    }

    /// Whom our users may know, and what they may have written, as [`crate::admin::Request::Acquaintance`] has it.
    #[must_use]
    pub fn acquaintance(&self) -> Claims {
        Claims::of(self.head(), self.reverse_path.mailbox(), &self.recipients)
    }

    fn head(&self) -> &[u8] {
        let message = self.message.as_deref().unwrap_or_default();
        message.get(..mail::header::body_offset(message)).unwrap_or_default()
    }
}

/// What one thing that the client says leads to.
#[derive(Debug, Serialize)]
pub struct Step {
    /// At which stage.
    pub stage: Stage,
    /// What the client said.
    pub said: String,
    /// The checks that ran, with their times.
    pub checks: Vec<CheckTime>,
    /// What they found, with the points of this step alone; of what differs among recipients that of the first.
    pub points: Vec<tally::Line>,
    /// Groups whose caps took points away.
    pub capped: Vec<Capped>,
    /// The sum of these points.
    pub sum: Score,
    /// What decides whatever the score.
    pub rulings: Vec<String>,
    /// What DNS said.
    pub dns: Vec<DnsAnswer>,
    /// What is done, at the stages where something is decided.
    pub action: Option<Action>,
    /// The score of the whole session so far, where something is decided.
    pub score: Option<Score>,
    /// What the client is told instead of 250.
    pub reply: Option<String>,
    /// The verdict, as it would be kept.
    pub verdict: Option<VerdictRecord>,
    /// The verdict in plain words.
    pub explanation: Option<String>,
}

/// Symbols as they are worth by this configuration.
///
/// # Errors
/// What the configuration, or a file that it names, has wrong.
pub async fn judge(loaded: &Loaded) -> Result<Arc<Judge>, Error> {
    let router = Arc::new(aliases::router_over(loaded, std::iter::empty())?);
    judge_with(loaded, (Keys::default(), &[]), &router)
}

/// What of `[antispam]`, and of the tables and scores that it names, would keep a server from starting. What others check
/// is not told again.
pub async fn check(loaded: &Loaded) -> Vec<config::Finding> {
    let words = match judge(loaded).await {
        Err(Error::Scores(words)) => words,
        Err(Error::Checks(error)) => error.to_string(),
        Ok(_) | Err(_) => return Vec::new(),
    };
    let finding = |line: &str| config::Finding {
        severity: config::Severity::Error,
        setting: config::Setting::Antispam,
        message: line.to_owned(),
        label: "in this section, or in a file that it names".to_owned(),
        help: "the server does not start with it, and a reload leaves all as it was".to_owned(),
    };
    words.lines().map(finding).collect()
}

/// A judge by the defaults, of no domain in particular; with the checks that need a table or another program, so that what
/// they find is told too.
///
/// # Errors
/// None that is the caller's to mend.
pub async fn default_judge() -> Result<Arc<Judge>, Error> {
    let scanners: String = ["clamd", "spamd", "rspamd", "pyzor", "policy"]
        .map(|kind| format!("[[antispam.scanner]]\nkind = \"{kind}\"\naddress = \"127.0.0.1:9\"\n"))
        .concat();
    let text = format!(
        "hostname = \"localhost\"\n[dns]\nservers = [\"127.0.0.1\"]\n\
         [antispam]\nspam_traps = \"static:trap\"\n{scanners}"
    );
    let loaded = config::parse(&text, Path::new("defaults.toml"));
    judge(&loaded.map_err(|report| Error::Scores(report.lines().join("\n")))?).await
}

fn judge_with(
    loaded: &Loaded,
    (keys, reputations): (Keys, &[Line]),
    router: &Arc<Router>,
) -> Result<Arc<Judge>, Error> {
    let resolver = Resolver::from_settings(&loaded.config.dns)?;
    let state: Arc<dyn StateStore> = Arc::new(MemoryState::default());
    let reputation = Memory::new(Arc::clone(&state));
    reputation.learn(reputations, clock::now());
    let threads = Hashes::new(correspondents::NAMESPACE, Arc::clone(&state));
    let sent = Hashes::new(status::NAMESPACE, Arc::clone(&state));
    let remembered = assemble::Remembered { state, threads, sent, reputation };
    Ok(Arc::new(assemble::judge(loaded, (remembered, keys), &resolver, router)?))
}

/// Goes through a session.
///
/// # Errors
/// What would keep a server from starting with this configuration.
pub async fn rehearse(loaded: &Loaded, script: Script) -> Result<Vec<Step>, Error> {
    let file = loaded.path(&loaded.config.accounts.file);
    let accounts = if file.exists() { manage::list(&file)? } else { Vec::new() };
    let router = aliases::router_over(loaded, accounts.into_iter().map(|account| account.address))?;
    let router = Arc::new(router);
    let keys = Keys::read(&assemble::marks_folder(loaded))?;
    let judge = judge_with(loaded, (keys, &script.reputations), &router)?;
    let learnt = judge.correspondents().learn(&script.acquaintances, clock::now()).await;
    learnt.map_err(|error| Error::Store(error.to_string()))?;
    // A list that was never seen to work is not asked.
    drop(tokio::time::timeout(LISTS_TIME, judge.lists().tend(clock::now())).await);
    let ear = Arc::new(Ear::default());
    let case = judge.open(NAME.into(), clock::now()).told_to(Arc::clone(&ear) as Arc<dyn Clerk>);
    let trusted = loaded.config.trusted_networks.contains(script.ip);
    let facts = ClientFacts::new(Door::Mx, Some(script.ip), trusted);
    Stagehand { loaded, router, judge, ear, case, facts, steps: Vec::new() }.play(script).await
}

struct Stagehand<'a> {
    loaded: &'a Loaded,
    router: Arc<Router>,
    judge: Arc<Judge>,
    ear: Arc<Ear>,
    case: Case,
    facts: ClientFacts,
    steps: Vec<Step>,
}

impl Stagehand<'_> {
    async fn play(mut self, script: Script) -> Result<Vec<Step>, Error> {
        self.case.connected(&self.facts).await;
        self.case.before_greeting(0);
        self.step(Stage::Connect, format!("connects from {}", script.ip), None);
        self.facts.extended = true;
        self.case.helo(&script.helo, &self.facts).await;
        self.facts.helo = Some(script.helo.clone());
        self.step(Stage::Helo, format!("EHLO {}", script.helo), None);
        let (reverse_path, _) =
            tag::sender(self.judge.marks(), &self.router, script.reverse_path.clone(), clock::now());
        let is_ours = reverse_path.mailbox().is_some_and(|a| self.router.is_ours(&a.domain));
        self.case.sender(&reverse_path, &MailParameters::default(), (&self.facts, is_ours)).await;
        self.step(Stage::Mail, format!("MAIL FROM:{}", bracketed(&script.reverse_path)), None);
        let mut accepted = Vec::new();
        for said in script.recipients {
            let path = ForwardPath::Mailbox(said.clone());
            let untagged = tag::recipient(self.judge.marks(), &self.router, path, clock::now());
            let ForwardPath::Mailbox(recipient) = &untagged.path else { continue };
            let reply = self.recipient(recipient, &untagged).await;
            let refused = reply.is_some();
            self.step(Stage::Rcpt, format!("RCPT TO:<{said}>"), reply);
            if !refused {
                accepted.push((recipient.clone(), untagged.addressed));
            }
        }
        if let Some(message) = script.message.filter(|_| !accepted.is_empty()) {
            self.message(accepted, message).await?;
        }
        Ok(self.steps)
    }

    /// The reply that refuses a recipient.
    async fn recipient(&mut self, recipient: &Address, said: &Said) -> Option<Reply> {
        let resolution = self.router.resolve(&said.path).await;
        match rcpt::accepted(&said.path, resolution, self.facts.may_relay()) {
            Ok(_) => {
                let is_ours = self.router.is_ours(&recipient.domain);
                self.case
                    .recipient(recipient, said.with_tag.as_ref(), (is_ours, &RecipientParameters::default()))
                    .await
                    .err()
                    .map(|reply| *reply)
            }
            Err((reason, (code, enhanced, words))) => {
                if matches!(reason, RecipientRefusal::Unknown) {
                    self.case.unknown_recipient();
                }
                let reply = Reply::new(code, enhanced, words);
                let key = rcpt::key(&self.loaded.config, reason, recipient);
                self.case.turned_away(recipient, (rcpt::source(reason), &key), &reply);
                Some(reply)
            }
        }
    }

    /// Whose mailboxes these are.
    async fn mailboxes(&self, recipients: &[Address]) -> Vec<Option<Address>> {
        let mut finals = Vec::with_capacity(recipients.len());
        for recipient in recipients {
            finals.push(match self.router.follow(&ForwardPath::Mailbox(recipient.clone())).await {
                Resolution::Local { recipients } => recipients,
                _ => Vec::new(),
            });
        }
        self.judge.mailboxes(&self.router, finals.iter().map(Vec::as_slice)).await
    }

    async fn message(&mut self, accepted: Vec<(Address, Addressed)>, message: Vec<u8>) -> Result<(), Error> {
        let (recipients, addressed): (Vec<_>, Vec<_>) = accepted.into_iter().unzip();
        let addressed = Addressed::together(addressed);
        let bytes = Bytes::from(message);
        let said = format!("a message of {} octets", bytes.len());
        let mut body = ReceivedBody {
            bytes: bytes.len() as u64,
            head: vec![bytes.clone()],
            body: NewBody::Memory(vec![bytes]),
            room: None,
        };
        let mailboxes = self.mailboxes(&recipients).await;
        let received = self.received(&recipients);
        let submitted = Submitted {
            id: QueueId(0),
            recipients,
            mailboxes,
            addressed,
            body: &mut body,
            received: received.into(),
            missing: &|_| Vec::new(),
        };
        let judged = self.case.message(submitted).await;
        let judged = judged.map_err(|error| Error::Store(error.to_string()))?;
        self.step(Stage::EndOfData, said, judged.refused);
        Ok(())
    }

    /// What would stand on top of the message.
    fn received(&self, recipients: &[Address]) -> Vec<u8> {
        let client = self.facts.client.map(|client| FromClause {
            helo: self.facts.helo.as_deref().unwrap_or("unknown"),
            client,
            verified_name: None,
        });
        let with = With { extended: true, ..With::default() };
        Received {
            source: client.map_or(Source::Hidden, Source::Client),
            by: self.loaded.config.hostname.as_str(),
            with,
            tls: None,
            id: QueueId(0),
            recipients,
            at: clock::now(),
        }
        .to_bytes()
    }

    /// Puts together what was heard since the last step.
    fn step(&mut self, stage: Stage, said: String, reply: Option<Reply>) {
        let Heard { reports, passed, told } = self.ear.take();
        // Filters of their own tell recipients different things: the sum is that of the first.
        let for_first = |finding: &&Finding| finding.only.as_ref().is_none_or(|only| only.contains(&0));
        let findings: Vec<&Finding> =
            reports.iter().flat_map(|report| &report.findings).filter(for_first).collect();
        let tally = Tally::of(self.judge.book(), findings);
        let rulings = reports.iter().flat_map(|report| &report.rulings);
        let (mut action, mut score) =
            passed.map_or((None, None), |(action, score)| (Some(action), Some(score)));
        let verdict = told.map(|told| told.record);
        if let Some(record) = &verdict {
            (action, score) = (Some(record.action), Some(record.points.total));
        }
        self.steps.push(Step {
            stage,
            said,
            rulings: rulings.map(|r| format!("{} {}: {}", r.key, r.order.as_str(), r.evidence)).collect(),
            checks: reports.iter().flat_map(|report| report.times.clone()).collect(),
            dns: reports.iter().flat_map(|report| report.dns.clone()).collect(),
            points: tally.lines,
            capped: tally.capped,
            sum: tally.total,
            action,
            score,
            reply: reply.map(|reply| reply.to_string()),
            explanation: verdict.as_ref().map(|v| policy::explain::explain(v, Some(self.judge.book()))),
            verdict,
        });
    }
}

/// As MAIL has it.
fn bracketed(path: &ReversePath) -> String {
    path.mailbox().map_or_else(|| "<>".to_owned(), |address| format!("<{address}>"))
}

/// Hears what the case finds and decides.
#[derive(Default)]
struct Ear(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    reports: Vec<StageReport>,
    passed: Option<(Action, Score)>,
    told: Option<Told>,
}

impl Ear {
    fn with(&self, act: impl FnOnce(&mut Heard)) {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn take(&self) -> Heard {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Clerk for Ear {
    fn checked(&self, report: &StageReport) {
        self.with(|heard| heard.reports.push(report.clone()));
    }

    fn passed(&self, _: &Address, decision: &Decision) {
        self.with(|heard| heard.passed = Some((decision.action, decision.tally.total)));
    }

    fn decided(&self, verdict: Told) {
        self.with(|heard| heard.told = Some(verdict));
    }
}
