//! Scanners: programs besides us that look at a message after DATA, each over its own protocol, all side by side. Policy
//! servers, which look at envelopes, are asked the same way.
//!
//! ```text
//! Scanner (a check) ─▶ Station: breaker, time limit, retry ─▶ Protocol: one dialogue on one connection ─▶ Findings
//! ```
//!
//! Milters (`milter`), which follow a session step by step and change messages, are asked in their order, beside the others.
//!
//! A scanner that does not answer is unknown, never clean (I9): its `NAME_TIMEOUT` says so, and `on_unknown` holds. Waiting
//! is done in the session's own task, within the one deadline after DATA; no scanner waits for another. Messages are shown
//! as they were received, octet for octet and without a copy. What a scanner answers is a peer's word: bounded, and read
//! without trust. Without `[[antispam.scanner]]` nothing of this is there.

pub mod address;
pub mod breaker;
mod clamd;
mod delegation;
mod line;
pub mod milter;
pub mod pyzor;
mod rspamd;
pub mod settings;
mod spamd;
pub mod station;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mail::Domain;
use mail::received::{FromClause, Received, Source, With};
use net::Resolver;
use policy::check::FACTOR_MAX;
use policy::{
    AuthResult, Check, CheckSettings, Content, Door, EndOfData, Facts, Findings, MessageFacts, OnUnknown,
    Pipeline, SymbolDef, SymbolError, Work,
};

use crate::work;
use delegation::Delegate;
use milter::Milters;
use settings::{Kind, PolicyStage, ScannerError, ScannerSettings};
use station::Station;

/// What a check of a scanner may take longer than the scanner itself: for figures, not for waiting.
const MARGIN: Duration = Duration::from_secs(1);
/// Characters of a scanner's words that are told.
const SHOWN_CHARS_MAX: usize = 100;

/// All scanners and milters, as they do.
#[derive(Debug, Default)]
pub struct Scanners {
    all: Vec<Arc<Station>>,
    look_at_everything: bool,
}

/// How a scanner does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its name.
    pub scanner: String,
    /// False while its breaker is open.
    pub is_asked: bool,
    /// How often askings ended in which way.
    pub ends: Vec<(End, u64)>,
}

/// How an asking ended: the values of a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It has answered.
    Answered,
    /// It says that it can not, or will not.
    Declined,
    /// The message was larger than what it is shown.
    TooLarge,
    /// The breaker was open.
    NotAsked,
    /// There was no connection.
    Unreachable,
    /// The connection ended before the answer.
    Lost,
    /// Its time was over.
    TimedOut,
    /// The answer was none.
    Garbled,
    /// The client was gone, or the time for all checks together over, before it had had its time.
    GivenUp,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Answered,
        Self::Declined,
        Self::TooLarge,
        Self::NotAsked,
        Self::Unreachable,
        Self::Lost,
        Self::TimedOut,
        Self::Garbled,
        Self::GivenUp,
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Declined => "declined",
            Self::TooLarge => "too_large",
            Self::NotAsked => "not_asked",
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
            Self::TimedOut => "timed_out",
            Self::Garbled => "garbled",
            Self::GivenUp => "given_up",
        }
    }
}

/// What an operator should hear of a scanner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It is not asked for a while.
    Opened {
        /// Which.
        scanner: String,
        /// The last failure.
        why: String,
        /// How many there were in a row.
        failures: u32,
        /// For how long it is left alone each time.
        seconds: u64,
    },
    /// It answers again.
    Closed {
        /// Which.
        scanner: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { scanner, why, failures, seconds } => write!(
                f,
                "the scanner {scanner} has failed {failures} times in a row, last: {why}; \
                 it is asked once in {seconds} seconds until it answers again"
            ),
            Self::Closed { scanner } => write!(f, "the scanner {scanner} answers again"),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("not asked: it has not answered before")]
    NotAsked,
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("the connection was lost: {0}")]
    Lost(String),
    #[error("no answer in {seconds} seconds")]
    TimedOut { seconds: u64 },
    #[error("its answer is not understood: {0}")]
    Garbled(String),
    /// The scanner is well, and says that it does not know.
    #[error("it says: {0}")]
    Declined(String),
}

impl Failure {
    pub(crate) fn garbled(why: impl Into<String>) -> Self {
        Self::Garbled(why.into())
    }

    /// Another attempt may go better.
    const fn is_worth_another(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Lost(_))
    }

    /// The scanner is to blame, and not the message.
    const fn is_the_scanners(&self) -> bool {
        !matches!(self, Self::Declined(_))
    }

    const fn end(&self) -> End {
        match self {
            Self::NotAsked => End::NotAsked,
            Self::Unreachable(_) => End::Unreachable,
            Self::Lost(_) => End::Lost,
            Self::TimedOut { .. } => End::TimedOut,
            Self::Garbled(_) => End::Garbled,
            Self::Declined(_) => End::Declined,
        }
    }
}

/// A message as a scanner is shown it.
pub(crate) struct Letter<'a> {
    pub(crate) octets: Bytes,
    pub(crate) facts: &'a MessageFacts,
}

impl Letter<'_> {
    /// Return-Path and Received as a message of ours will have them, for who reads client and sender there.
    fn trace(&self, hostname: &str) -> Vec<u8> {
        let (mail, connect) = (&self.facts.mail, self.facts.connect());
        let iprev = self.facts.auth.iprev.as_ref().filter(|iprev| iprev.result == AuthResult::Pass);
        let verified_name = iprev.and_then(|iprev| iprev.name.as_ref()).map(Domain::as_str);
        let from = FromClause { helo: &mail.helo.name, client: connect.client, verified_name };
        let received = Received {
            source: Source::Client(from),
            by: hostname,
            with: With {
                lmtp: connect.door == Door::Lmtp,
                extended: mail.helo.esmtp,
                smtputf8: mail.smtputf8,
                tls: mail.helo.tls,
                authenticated: mail.account.is_some(),
            },
            tls: None,
            id: self.facts.queue_id,
            recipients: &self.facts.recipients,
            at: self.facts.at,
        };
        let sender = mail.reverse_path.mailbox().map(ToString::to_string).unwrap_or_default();
        let mut trace = format!("Return-Path: <{}>\r\n", plain(&sender)).into_bytes();
        trace.extend(received.to_bytes());
        trace
    }
}

/// A peer's words on one line.
fn plain(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// The beginning of a scanner's words, for a log.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

/// A scanner's points as the factor of a symbol, in thousandths.
fn factor(points: f64) -> i32 {
    let most = f64::from(FACTOR_MAX);
    #[allow(
        clippy::cast_possible_truncation,
        reason = "within a hundred thousand either way; what is no number is 0"
    )]
    let factor = (points * 1000.0).round().clamp(-most, most) as i32;
    factor
}

/// A kind of scanner: what is said, and what the answer means.
pub(crate) trait Protocol: Send + Sync + 'static {
    type Answer: Send;

    /// Its symbols.
    fn symbols(&self) -> Vec<SymbolDef>;

    /// One dialogue on a connection of its own.
    fn ask(
        &self,
        station: &Station,
        letter: &Letter<'_>,
    ) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;

    /// Writes down what the answer means.
    fn tell(&self, answer: Self::Answer, found: &mut Findings);
}

/// A scanner as a check.
struct Scanner<P> {
    settings: ScannerSettings,
    station: Arc<Station>,
    protocol: P,
}

impl<P: Protocol> Scanner<P> {
    fn check(
        settings: &ScannerSettings,
        station: Arc<Station>,
        protocol: Result<P, SymbolError>,
    ) -> Result<Arc<dyn Check<EndOfData>>, SymbolError> {
        Ok(Arc::new(Self { settings: settings.clone(), station, protocol: protocol? }))
    }

    async fn look(&self, facts: &MessageFacts, found: &mut Findings) {
        let settings = &self.settings;
        if facts.content.len() > settings.message_bytes_max() {
            self.station.count(End::TooLarge);
            // What nobody looked at is not clean; an opinion that was not heard is nothing.
            if settings.kind.is_certain() {
                found.unfinished("the message is larger than message_bytes_max");
            }
            return;
        }
        let octets = match octets(&facts.content).await {
            Ok(octets) => octets,
            Err(why) => return found.unfinished(&why),
        };
        let letter = Letter { octets, facts };
        match self.station.ask(|| self.protocol.ask(&self.station, &letter)).await {
            Ok(answer) => self.protocol.tell(answer, found),
            Err(failure) => found.unfinished(&failure.to_string()),
        }
    }
}

async fn octets(content: &Content) -> Result<Bytes, String> {
    match content {
        Content::Memory(octets) => Ok(octets.clone()),
        Content::File { path, .. } => {
            let path = Arc::clone(path);
            let read = work::heavy(move || std::fs::read(path)).await;
            let read = read.map_err(|broken| broken.to_string())?;
            read.map(Bytes::from).map_err(|error| error.to_string())
        }
    }
}

impl<P: Protocol> Check<EndOfData> for Scanner<P> {
    fn name(&self) -> &str {
        self.settings.name()
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        self.protocol.symbols()
    }

    fn budget(&self) -> Duration {
        self.station.time_max() + MARGIN
    }

    fn on_unknown(&self) -> OnUnknown {
        self.settings.on_unknown()
    }

    fn is_certain(&self) -> bool {
        self.settings.kind.is_certain()
    }

    fn applies(&self, facts: &MessageFacts) -> bool {
        self.settings.everyone() || facts.is_stranger()
    }

    fn run<'a>(&'a self, facts: &'a MessageFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(self.look(facts, found))
    }
}

impl Scanners {
    /// Adds all scanners to the checks, each with what the operator has set for it as for any check.
    ///
    /// # Errors
    /// [`ScannerError`]: what an operator wrote.
    pub fn set_up(
        all: &[ScannerSettings],
        resolver: &Resolver,
        hostname: &Domain,
        pipeline: &mut Pipeline,
        of_check: impl Fn(&str) -> CheckSettings,
    ) -> Result<Self, ScannerError> {
        settings::check_all(all)?;
        let mut stations = Vec::new();
        for (number, scanner) in all.iter().enumerate() {
            let station = Arc::new(Station::new(scanner.contact(), resolver.clone()));
            stations.push(Arc::clone(&station));
            let set = of_check(scanner.name());
            let why = |error: SymbolError| ScannerError { number, key: "name", why: error.to_string() };
            let check = match scanner.kind {
                Kind::Clamd => Scanner::check(scanner, station, clamd::Clamd::new(number, scanner)),
                Kind::Spamd => {
                    Scanner::check(scanner, station, spamd::Spamd::new(scanner, hostname.as_str()))
                }
                Kind::Rspamd => Scanner::check(scanner, station, rspamd::Rspamd::new(number, scanner)),
                Kind::Pyzor => Scanner::check(scanner, station, pyzor::Pyzor::new(scanner)),
                Kind::Policy => {
                    let delegate = Arc::new(Delegate::new(number, scanner, station).map_err(why)?);
                    match scanner.stage.unwrap_or_default() {
                        PolicyStage::Rcpt => pipeline.rcpt.add(delegate, set),
                        PolicyStage::EndOfData => pipeline.end_of_data.add(delegate, set),
                    }
                    continue;
                }
            };
            pipeline.end_of_data.add(check.map_err(why)?, set);
        }
        // True when one of them looks at the mail of our own users, when it is there.
        let looks = |scanner: &ScannerSettings| scanner.everyone() && scanner.sees_messages();
        Ok(Self { all: stations, look_at_everything: all.iter().any(looks) })
    }

    /// Milters are watched over with them.
    pub(crate) fn watch(&mut self, milters: &Milters) {
        self.all.extend(milters.stations());
    }

    /// How they do.
    #[must_use]
    pub fn status(&self) -> Vec<Status> {
        self.all.iter().map(|station| station.status()).collect()
    }

    /// What an operator should hear of, once.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        self.all.iter().flat_map(|station| station.notices()).collect()
    }

    /// True when one of them looks at the mail of our own users, when it is there.
    #[must_use]
    pub fn look_at_everything(&self) -> bool {
        self.look_at_everything
    }
}

#[cfg(test)]
mod tests;
