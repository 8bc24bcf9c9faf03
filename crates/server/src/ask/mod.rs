//! The answers to the session's questions: one match, one line per question.
//!
//! Each question has a file of its own beside this one. Here, and nowhere else, the daemon decides about senders,
//! recipients and messages; the session speaks what it is told. A look-up that fails is 451, never 550 (invariant I9).

mod auth;
mod message;
mod milters;
mod rates;
pub(crate) mod recipient;
mod sender;
pub(crate) mod tag;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mail::Reply;
use smtp::{Answer, BodyAbort, Question};

use crate::clock;
use crate::judge::Case;
use crate::maillog::RefusedLine;
use crate::metrics::MessageResult;
use crate::services::Services;
use crate::session::body::BodySink;
use crate::session::facts::ClientFacts;
use crate::session::transaction::Transaction;

/// What is said when it is not known in time whether something is good.
fn too_late() -> Reply {
    Reply::new(451, (4, 3, 0), "This could not be decided in time, try again later")
}

/// Answers for one session.
pub struct Asker {
    services: Arc<Services>,
    /// What is known of the client.
    pub facts: ClientFacts,
    /// What its judge knows of it.
    case: Case,
    transaction: Option<Transaction>,
    sink: Option<BodySink>,
    /// Octets of messages that were accepted.
    pub bytes_accepted: u64,
}

impl Asker {
    /// An answerer for a client.
    #[must_use]
    pub fn new(services: Arc<Services>, facts: ClientFacts) -> Self {
        let name = services.shared.ids.next().to_string();
        let clerk = Arc::clone(&services.shared.clerk);
        let case = services.judge.open(name.into(), clock::now()).told_to(clerk);
        Self { services, facts, case, transaction: None, sink: None, bytes_accepted: 0 }
    }

    /// The session's name in logs, replies and explanations.
    #[must_use]
    pub fn session(&self) -> &str {
        self.case.id()
    }

    /// One question, one answer.
    pub async fn ask(&mut self, question: Question) -> Answer {
        match question {
            Question::Connect => Answer::Reply(self.greeting().await),
            Question::Helo { name, esmtp } => Answer::Reply(self.helo(name, esmtp).await),
            Question::Mail { reverse_path, params } => Answer::Reply(self.mail(reverse_path, params).await),
            Question::Recipient { path, params, bare } => {
                Answer::Reply(self.recipient(path, params, &bare).await)
            }
            Question::Unknown { line } => Answer::Reply(self.case.milters_hear_unknown(&line).await),
            Question::Data => Answer::Reply(self.data().await),
            Question::EndOfData { .. } => Answer::Reply(self.end_of_data().await),
            Question::Password { mechanism, authcid, authzid, password } => {
                self.password(mechanism, &authcid, &authzid, password).await
            }
            Question::ScramKeys { authcid } => self.scram_keys(&authcid),
            Question::ScramDone { mechanism, authcid, authzid, ok } => {
                self.scram_done(mechanism, &authcid, &authzid, ok).await
            }
        }
    }

    /// True while message octets are coming in.
    #[must_use]
    pub fn is_receiving(&self) -> bool {
        self.sink.is_some()
    }

    /// Octets of the message.
    pub async fn body(&mut self, chunk: Bytes) {
        if let Some(sink) = &mut self.sink {
            sink.push(chunk).await;
        }
    }

    /// The message will not be completed. What was kept of it goes.
    pub async fn body_aborted(&mut self, why: BodyAbort) {
        self.sink = None;
        self.transaction = None;
        self.case.end_transaction();
        let result = match why {
            BodyAbort::TooLarge => MessageResult::TooLarge,
            BodyAbort::BareNewline => MessageResult::BareNewline,
            BodyAbort::Loop => MessageResult::Loop,
            BodyAbort::HeaderTooLarge | BodyAbort::LineTooLong => MessageResult::BadHeader,
            BodyAbort::Reset | BodyAbort::Ended => MessageResult::Abandoned,
        };
        self.services.shared.metrics.message(self.facts.door, result, 0);
    }

    /// The session is over.
    pub async fn end(&mut self) {
        self.sink = None;
        self.transaction = None;
        self.case.end().await;
    }

    /// What the client sent before it was greeted, in octets.
    pub fn before_greeting(&mut self, bytes: usize) {
        self.case.before_greeting(bytes);
    }

    async fn greeting(&mut self) -> Reply {
        if let Some(reply) = self.connection_limited().await {
            self.log_refusal("connect", None, &reply);
            return reply;
        }
        self.case.connected(&self.facts).await;
        self.name_client();
        let banner = &self.services.smtp.banner;
        let space = if banner.is_empty() { "" } else { " " };
        Reply::plain(220, format!("{} ESMTP{space}{banner}", self.services.config.hostname))
    }

    async fn helo(&mut self, name: String, esmtp: bool) -> Reply {
        self.facts.extended = esmtp;
        self.case.helo(&name, &self.facts).await;
        self.name_client();
        self.facts.helo = Some(name);
        // RFC 5321 §4.1.4: EHLO in the middle of a session is a RSET too.
        self.transaction = None;
        Reply::plain(250, self.services.config.hostname.to_string())
    }

    /// Every line about the client names it as the verdict does.
    fn name_client(&mut self) {
        if let Some(name) = self.case.verified_name() {
            self.facts.verified_name = Some(name.to_string());
        }
    }

    /// What `work` comes to, unless it takes longer than a client may be kept waiting: what is not known by then is
    /// answered as unavailable. Not for what must not be left half done, such as a commit.
    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let limit = Duration::from_secs(self.services.config.server.answer_seconds_max);
        tokio::time::timeout(limit, work).await.ok()
    }

    /// Logs a refusal of this stage.
    fn log_refusal(&self, stage: &str, to: Option<&str>, reply: &Reply) {
        self.services.shared.log.refused(&RefusedLine {
            session: self.case.id(),
            stage,
            listener: self.facts.door_name(),
            client: self.facts.for_log(),
            helo: self.facts.helo.as_deref(),
            from: self.transaction.as_ref().map(|t| &t.reverse_path),
            to,
            reply,
        });
    }
}
