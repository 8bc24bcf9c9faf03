//! Where the daemon judges: facts of a session go to the pipeline of checks, what comes back becomes a verdict.
//!
//! [`Judge`] is made from one configuration; a session opens a [`Case`] with it. What a symbol is worth and what a score
//! leads to is `policy`'s business, what is looked at the checks' (`antispam`). Here facts are gathered, deadlines set, and
//! verdicts put into the queue's terms. A judge that breaks down never costs a message: what could not be found out is
//! "unknown", and at worst the client is asked to come back.

mod case;
mod clerk;
mod content;
mod history;
mod message;
mod rules;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use antispam::Settings;
use config::Config;
use mail::Timestamp;
use net::Networks;
use policy::{Definitions, Greylist, Greylisting, MessageFacts, Pipeline, RcptFacts, ScoreBook};

use crate::error::Error;
use crate::limits::BodyRoom;

pub use case::{Case, KEPT_PER_SESSION_MAX};
pub use clerk::{Clerk, NoClerk, Registrar, Told};
pub use history::{Found, History, Wanted};
pub use message::{Copy, Judged, Submitted};
use rules::RuleSet;

/// Judges by one configuration.
pub struct Judge {
    pipeline: Pipeline,
    book: ScoreBook,
    rules: RuleSet,
    settings: Settings,
    /// Clients whose mail is not a stranger's.
    exempt: Networks,
    /// Room for messages that are being judged.
    memory: BodyRoom,
}

impl Judge {
    /// A judge with these checks. `base`: where relative paths start.
    ///
    /// # Errors
    /// What the file of scores has wrong, or settings that contradict each other.
    pub fn new(
        config: &Config,
        definitions: Definitions,
        pipeline: Pipeline,
        base: &Path,
    ) -> Result<Self, Error> {
        let settings = config.antispam.clone();
        let book = book(&settings, definitions, base)?;
        Ok(Self {
            pipeline,
            book,
            rules: RuleSet::new(config),
            exempt: settings.exempt_networks.clone(),
            memory: BodyRoom::new(settings.judging_memory_bytes_max),
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

    /// The names of all checks.
    pub fn checks(&self) -> impl Iterator<Item = &str> {
        let Pipeline { connect, helo, mail, rcpt, end_of_data } = &self.pipeline;
        connect.names().chain(helo.names()).chain(mail.names()).chain(rcpt.names()).chain(end_of_data.names())
    }

    /// What symbols are worth.
    #[must_use]
    pub fn book(&self) -> &ScoreBook {
        &self.book
    }

    /// True when even mail of our own users is looked at: an operator's tables are for everybody.
    fn looks_at_everything(&self) -> bool {
        false
    }

    fn greylisting(&self) -> Greylisting {
        Greylisting::Off
    }

    fn greylists_after_data(&self) -> bool {
        false
    }

    /// What the memory of greylisting says of a recipient.
    async fn ask_greylist(&self, _facts: &RcptFacts) -> Greylist {
        Greylist::Passed
    }

    /// What the memory of greylisting says of all recipients of a message.
    async fn ask_greylist_for_all(&self, _facts: &MessageFacts) -> Greylist {
        Greylist::Passed
    }

    /// Verifies what the message says of where it comes from.
    async fn authenticate(&self, _facts: &mut MessageFacts, _left: Duration) {}

    fn greeting_time(&self) -> Duration {
        Duration::from_secs(self.settings.greeting_seconds_max)
    }

    fn command_time(&self) -> Duration {
        Duration::from_secs(self.settings.command_seconds_max)
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
    ScoreBook::with_file(definitions, &text).map_err(|errors| {
        let at = |e: &policy::book::file::FileError| {
            format!("{}:{}: {}: {}", file.display(), e.line, e.key, e.message)
        };
        Error::Scores(errors.iter().map(at).collect::<Vec<_>>().join("\n"))
    })
}

fn lines(errors: &[policy::book::DefinitionError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
