//! Where the daemon judges: facts of a session go to the pipeline of checks, what comes back becomes a verdict.
//!
//! [`Judge`] is made from one configuration; a session opens a [`Case`] with it. What a symbol is worth and what a score
//! leads to is `policy`'s business, what is looked at the checks' (`antispam`). Here facts are gathered, deadlines set, and
//! verdicts put into the queue's terms. A judge that breaks down never costs a message: what could not be found out is
//! "unknown", and at worst the client is asked to come back.

mod case;
mod clerk;
mod content;
mod greylist;
mod history;
mod known;
mod message;
mod milters;
mod own_filters;
mod reference;
mod refused;
mod renaming;
mod rules;
mod waits;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use antispam::authentication::Us;
use antispam::backscatter::Marks;
use antispam::connect::dnsbl::{lists::Lists, settings::contradictions};
use antispam::correspondents::Correspondents;
use antispam::end_of_data::content_checks::ContentChecks;
use antispam::end_of_data::own_filters::OwnFilters;
use antispam::learn::Filters;
use antispam::rcpt::greylist::Greylist;
use antispam::remote::Scanners;
use antispam::remote::milter::{Choice, Milters};
use antispam::reputation::Reputation;
use antispam::{Made, OF_LETTERS, Settings};
use config::Config;
use mail::Timestamp;
use net::Resolver;
use policy::{Checks, Definitions, EndOfData, Pipeline, Score, ScoreBook};
use tables::Table;

use crate::error::Error;
use crate::limits::BodyRoom;

pub use case::{Case, KEPT_PER_SESSION_MAX};
pub use clerk::{Clerk, NoClerk, Registrar, Told};
pub use history::{Found, History, Wanted};
use known::KnownClients;
pub use message::{Copy, Judged, Submitted};
pub use refused::Why;
use rules::RuleSet;

/// Judges by one configuration.
pub struct Judge {
    pipeline: Pipeline,
    book: ScoreBook,
    rules: RuleSet,
    settings: Settings,
    resolver: Resolver,
    us: Us,
    greylist: Greylist,
    /// Whom our users have written to.
    correspondents: Correspondents,
    /// What senders and networks have sent lately.
    reputation: Reputation,
    /// The DNS lists: somebody has to tend to them.
    lists: Arc<Lists>,
    /// An operator's tables about headers and bodies.
    content: ContentChecks,
    /// Programs besides us that look at messages.
    scanners: Scanners,
    /// Programs that follow sessions and change messages.
    milters: Milters,
    /// The filters of domains and accounts.
    own_filters: OwnFilters,
    /// Longest message, octets.
    message_bytes_max: u64,
    /// All of an operator's tables, whatever they are about.
    tables: Vec<Arc<dyn Table>>,
    /// The marks by which bounces of our own mail are known.
    marks: Marks,
    /// Symbols of lists that vouch for a client: who is on them is not greylisted.
    vouching: Vec<String>,
    /// Room for messages that are being judged.
    memory: BodyRoom,
    /// Who is greeted at once.
    known: KnownClients,
}

impl Judge {
    /// A judge with these checks. `base`: where relative paths start.
    ///
    /// # Errors
    /// What the file of scores has wrong, or settings that contradict each other.
    pub fn new(config: &Config, made: Made, resolver: Resolver, base: &Path) -> Result<Self, Error> {
        let settings = config.antispam.clone();
        let Made {
            pipeline,
            definitions,
            lists,
            greylist,
            correspondents,
            reputation,
            content,
            scanners,
            milters,
            own_filters,
            marks,
            tables,
        } = made;
        let book = book(&settings, definitions, base)?;
        sound(config, &book)?;
        let hostname = config.hostname.clone();
        let authserv_id = settings.authserv_id.clone().unwrap_or_else(|| hostname.clone());
        Ok(Self {
            pipeline,
            book,
            rules: RuleSet::new(config),
            resolver,
            us: Us { hostname, authserv_id },
            greylist,
            correspondents,
            reputation,
            lists,
            content,
            scanners,
            milters,
            own_filters,
            message_bytes_max: config.message_bytes_max,
            tables,
            marks,
            vouching: vouching(&settings),
            memory: BodyRoom::new(settings.judging_memory_bytes_max),
            known: KnownClients::new(settings.known_client_seconds),
            settings,
        })
    }

    /// A case for a session of this name, begun at `at`.
    #[must_use]
    pub fn open(self: &Arc<Self>, session: Arc<str>, at: Timestamp) -> Case {
        Case::new(Arc::clone(self), session, at)
    }

    /// For how many days verdicts are kept.
    fn history_days(&self) -> u32 {
        self.settings.history_days
    }

    /// True when milters follow sessions at a listener with this choice of them.
    #[must_use]
    pub fn has_milters(&self, choice: &Choice) -> bool {
        !self.milters.session(choice).is_empty()
    }

    /// The names of all checks, milters among them.
    pub fn checks(&self) -> impl Iterator<Item = &str> {
        let Pipeline { connect, helo, mail, rcpt, end_of_data } = &self.pipeline;
        let names = connect.names().chain(helo.names()).chain(mail.names()).chain(rcpt.names());
        let own = (self.own_filters.kind() != Filters::Shared).then_some(own_filters::NAME);
        names.chain(end_of_data.names()).chain(self.milters.names()).chain(own)
    }

    /// The checks that look at nothing but the letter; what was learnt is not among them.
    #[must_use]
    pub fn of_letters(&self) -> Checks<EndOfData> {
        self.pipeline.end_of_data.only(&OF_LETTERS)
    }

    /// What symbols are worth.
    #[must_use]
    pub fn book(&self) -> &ScoreBook {
        &self.book
    }

    /// The marks by which bounces of our own mail are known.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// What is wrong with tables that answer from what they held before.
    #[must_use]
    pub fn troubles(&self) -> BTreeSet<String> {
        self.tables.iter().filter_map(|table| table.trouble()).collect()
    }

    /// The filters of domains and accounts.
    #[must_use]
    pub fn own_filters(&self) -> &OwnFilters {
        &self.own_filters
    }

    /// Whom our users have written to.
    #[must_use]
    pub fn correspondents(&self) -> &Correspondents {
        &self.correspondents
    }

    /// What senders and networks have sent lately.
    #[must_use]
    pub fn reputation(&self) -> &Reputation {
        &self.reputation
    }

    /// The DNS lists.
    #[must_use]
    pub fn lists(&self) -> &Arc<Lists> {
        &self.lists
    }

    /// Programs besides us that look at messages.
    #[must_use]
    pub fn scanners(&self) -> &Scanners {
        &self.scanners
    }

    /// Clients whose mail is not a stranger's.
    fn is_exempt(&self, client: IpAddr) -> bool {
        self.settings.exempt_networks.contains(client)
    }

    /// True when even mail of our own users is looked at: an operator's tables are for everybody, and so is malware.
    fn looks_at_everything(&self) -> bool {
        !self.content.is_empty() || self.scanners.look_at_everything()
    }

    fn greeting_time(&self) -> Duration {
        Duration::from_secs(self.settings.greeting_seconds_max)
    }

    fn command_time(&self) -> Duration {
        Duration::from_secs(self.settings.command_seconds_max)
    }

    /// For all stages before the message together.
    fn waiting_time(&self) -> Duration {
        Duration::from_secs(self.settings.waiting_seconds_max)
    }

    fn verdict_time(&self) -> Duration {
        Duration::from_secs(self.settings.verdict_seconds_max)
    }
}

fn book(settings: &Settings, definitions: Definitions, base: &Path) -> Result<ScoreBook, Error> {
    let Some(file) = &settings.scores else {
        return ScoreBook::new(definitions).map_err(|errors| Error::Scores(lines(&errors)));
    };
    let file = base.join(file);
    let text = std::fs::read_to_string(&file).map_err(|error| Error::Path { path: file.clone(), error })?;
    let book = ScoreBook::with_file(definitions, &text).map_err(|errors| {
        let at = |e: &policy::book::file::FileError| {
            format!("{}:{}: {}: {}", file.display(), e.line, e.key, e.message)
        };
        Error::Scores(errors.iter().map(at).collect::<Vec<_>>().join("\n"))
    })?;
    let wrong = contradictions(&settings.dnsbl, settings.dnsbl_cap, &book);
    if wrong.is_empty() { Ok(book) } else { Err(Error::Scores(wrong.join("\n"))) }
}

fn lines(errors: &[policy::book::DefinitionError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Thresholds that contradict each other, for all or for somebody.
fn sound(config: &Config, book: &ScoreBook) -> Result<(), Error> {
    let settings = &config.antispam;
    let all = settings.thresholds;
    let domains = config.domain.iter().enumerate().filter_map(|(index, domain)| {
        let own = domain.antispam.as_ref()?;
        Some((format!("domain[{index}].antispam"), all.overridden(&own.thresholds)))
    });
    let recipients = settings
        .recipient
        .iter()
        .enumerate()
        .map(|(index, own)| (format!("antispam.recipient[{index}]"), all.overridden(&own.thresholds)));
    let mut wrong = Vec::new();
    for (section, thresholds) in
        std::iter::once(("antispam".to_owned(), all)).chain(domains).chain(recipients)
    {
        let lists = thresholds.lists_problem(book, settings.lists_may_reject);
        for problem in thresholds.problems().into_iter().chain(lists) {
            wrong.push(format!("{section}.thresholds.{problem}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Error::Scores(wrong.join("\n"))) }
}

/// The least that a list must take away to vouch for a client: DNSWL's medium level.
const VOUCHING: Score = Score::points(-2);

fn vouching(settings: &Settings) -> Vec<String> {
    let rules = settings.dnsbl.iter().flat_map(|zone| &zone.rules);
    rules.filter(|rule| rule.score <= VOUCHING).map(|rule| rule.symbol.clone()).collect()
}
