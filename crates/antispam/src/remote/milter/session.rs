//! All milters of one session, in their order: what they say becomes reports for the judge, what they change goes on to the
//! next of them.
//!
//! Who refuses a message ends the round: those after it do not hear of it, as with Postfix. Who refuses a recipient ends it
//! for that recipient.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mail::Reply;
use policy::{
    CheckEnd, CheckTime, Finding, Mode, Order, Ruling, Scope, Source, Stage, StageReport, Unfinished,
    timeout_symbol,
};
use tokio::time::Instant;

use super::super::Failure;
use super::Milter;
use super::letter::{Changes, Draught, Room};
use super::link::{Answer, Link, Standing};
use super::macros::Macros;

/// How long all milters together may take to hear that a client is gone.
const QUIT_TIME: Duration = Duration::from_secs(1);

/// What milters are told of a client, before MAIL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Its name, when that was verified; else its address in brackets.
    pub name: String,
    /// Where it comes from.
    pub address: Option<(IpAddr, u16)>,
    /// What it called itself.
    pub helo: String,
    /// TLS is up.
    pub tls: bool,
}

/// See above.
#[derive(Default)]
pub struct Session {
    links: Vec<Link>,
    /// The transaction is refused, or cannot be taken: no more is told of it.
    stopped: bool,
}

impl Session {
    pub(super) fn new(milters: impl Iterator<Item = Arc<Milter>>) -> Self {
        Self { links: milters.map(Link::new).collect(), stopped: false }
    }

    /// Nobody is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// How many are asked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// MAIL, in words: the path and its parameters. Those that have not heard of the client do so first. All together may
    /// take `time`.
    pub async fn mail(
        &mut self,
        greeting: &Greeting,
        said: (&[String], &Macros),
        time: Duration,
    ) -> StageReport {
        self.end_message();
        let mut notes = Notes::new(Stage::Mail, time);
        for link in &mut self.links {
            let settled = match &link.standing {
                Standing::Settled(answer) => Some(answer.clone()),
                _ => None,
            };
            let said = match settled {
                Some(answer) => Ok(answer),
                None => link.mail(greeting, said, notes.left()).await,
            };
            self.stopped |= notes.take(link, "MAIL", said, Scope::Transaction);
            if self.stopped {
                break;
            }
        }
        notes.finish()
    }

    /// RCPT, in words. `is_refused`: it is not accepted in any case, which some milters want to know.
    pub async fn rcpt(
        &mut self,
        said: (&[String], &Macros),
        is_refused: bool,
        time: Duration,
    ) -> StageReport {
        let mut notes = Notes::new(Stage::Rcpt, time);
        if self.stopped {
            return notes.finish();
        }
        for link in self.links.iter_mut().filter(|link| link.standing == Standing::Following) {
            let answer = link.rcpt(said, is_refused, notes.left()).await;
            // A refusal is for this recipient alone; whatever else it says is for all.
            let scope = match &answer {
                Ok(Answer::Refuse(_)) => Scope::Recipient,
                _ => Scope::Transaction,
            };
            if notes.take(link, "RCPT", answer, scope) {
                self.stopped |= scope == Scope::Transaction;
                break;
            }
        }
        notes.finish()
    }

    /// A command that is not known, as it was said. Gives the reply of the first that asks to come back: others do not matter,
    /// as with Postfix, for the command is refused in any case. One that fails over it in the middle of a transaction has
    /// failed that.
    pub async fn unknown(&mut self, line: &str, time: Duration) -> (StageReport, Option<Reply>) {
        let mut notes = Notes::new(Stage::Rcpt, time);
        for link in &mut self.links {
            let in_message = link.standing == Standing::Following;
            match link.unknown(line, notes.left()).await {
                Ok(Answer::Refuse(reply)) => {
                    let said = (!reply.is_permanent()).then_some(reply);
                    return (notes.finish(), said);
                }
                Ok(Answer::Discard) => break,
                Ok(Answer::Continue | Answer::Accept) => {}
                Err(failure) if in_message => {
                    self.stopped |= notes.take(link, "a command", Err(failure), Scope::Transaction);
                }
                // It is told of the next message on a connection of its own.
                Err(_) => {}
            }
        }
        (notes.finish(), None)
    }

    /// DATA.
    pub async fn data(&mut self, macros: &Macros, time: Duration) -> StageReport {
        let mut notes = Notes::new(Stage::EndOfData, time);
        if self.stopped {
            return notes.finish();
        }
        for link in self.links.iter_mut().filter(|link| link.standing == Standing::Following) {
            let answer = link.data(macros, notes.left()).await;
            self.stopped |= notes.take(link, "DATA", answer, Scope::Transaction);
            if self.stopped {
                break;
            }
        }
        notes.finish()
    }

    /// The message. `room` is asked before octets of another body are kept.
    pub async fn message(
        &mut self,
        mut draught: Draught,
        macros: &Macros,
        room: Room<'_>,
        time: Duration,
    ) -> (StageReport, Changes) {
        let mut notes = Notes::new(Stage::EndOfData, time);
        for link in &mut self.links {
            if self.stopped {
                break;
            }
            match link.standing {
                Standing::Following => {}
                Standing::Content | Standing::Settled(Answer::Accept) => {
                    link.was_content();
                    notes.saw(link, "accepts what it has heard of it", Scope::Transaction);
                    continue;
                }
                Standing::Idle | Standing::Unknown | Standing::Settled(_) => continue,
            }
            let told = link.message((&draught, macros), room, notes.left()).await;
            let answer = told.map(|(answer, changes, leading_space)| {
                if matches!(answer, Answer::Continue | Answer::Accept) {
                    let words = draught.apply(changes, leading_space);
                    let words = if words.is_empty() { "nothing".to_owned() } else { words };
                    notes.saw(link, &format!("changes: {words}"), Scope::Transaction);
                }
                answer
            });
            self.stopped |= notes.take(link, "message", answer, Scope::Transaction);
            if let Some(why) = draught.quarantined() {
                notes.rule(link, Order::Quarantine, &format!("message: {why}"), Scope::Transaction);
            }
        }
        (notes.finish(), draught.finish())
    }

    /// The transaction is over, or never came to anything.
    pub fn end_message(&mut self) {
        self.stopped = false;
        self.links.iter_mut().for_each(Link::end_message);
    }

    /// The client is gone.
    pub async fn quit(&mut self) {
        let until = Instant::now() + QUIT_TIME;
        for link in &mut self.links {
            link.quit(until.saturating_duration_since(Instant::now())).await;
        }
    }
}

/// What is written down at one stage.
struct Notes {
    report: StageReport,
    began: Instant,
    until: Instant,
}

impl Notes {
    fn new(stage: Stage, time: Duration) -> Self {
        let began = Instant::now();
        Self { report: StageReport::new(stage), began, until: began + time }
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// What one of them has said to a step. True: no more is to be told, of the recipient or of all.
    fn take(&mut self, link: &Link, step: &str, said: Result<Answer, Failure>, scope: Scope) -> bool {
        let name = &link.milter.settings.name;
        let end = if said.is_ok() { CheckEnd::Finished } else { CheckEnd::Unknown };
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.report.times.push(CheckTime { check: name.clone(), stage: self.report.stage, micros, end });
        match said {
            Ok(Answer::Continue) => false,
            Ok(answer) => {
                let words = format!("{step}: {}", answer.words());
                self.saw(link, &words, scope);
                let order = match answer {
                    Answer::Continue | Answer::Accept => return false,
                    Answer::Discard => Order::Discard,
                    Answer::Refuse(reply) if reply.is_permanent() => Order::Reject(reply),
                    Answer::Refuse(reply) => Order::Defer(reply),
                };
                self.rule(link, order, &words, scope);
                true
            }
            Err(failure) => {
                let finding = Finding::new(timeout_symbol(name)).evidence(&failure.to_string());
                self.report.findings.push(finding.counts_for(scope));
                if link.is_needed() {
                    let (check, mode) = (name.clone(), Mode::Enforce);
                    self.report.unfinished.push(Unfinished { check, mode, certain: true, scope });
                }
                link.is_needed()
            }
        }
    }

    fn saw(&mut self, link: &Link, words: &str, scope: Scope) {
        let finding = Finding::new(link.milter.symbol.clone()).evidence(words);
        self.report.findings.push(finding.counts_for(scope));
    }

    fn rule(&mut self, link: &Link, order: Order, words: &str, scope: Scope) {
        let ruling = Ruling::new(Source::Operator, order, &link.milter.key, words);
        self.report.rulings.push(ruling.holds_for(scope));
    }

    fn finish(mut self) -> StageReport {
        self.report.took = self.began.elapsed();
        self.report
    }
}
