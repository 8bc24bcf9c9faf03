//! header_checks, mime_header_checks, nested_header_checks and body_checks: an operator's orders about what messages
//! hold, in Postfix's format (header_checks(5)) and by its rules for lines.
//!
//! Fields are looked up whole, as they were folded; body lines one by one, the long ones in pieces of 2 KiB, in the first
//! `body_checks_bytes_max` octets of each part. Where there is no table for MIME's fields or for those of attached messages,
//! the one for the message's own is asked about them too. A second pair of tables is for bounces of strangers alone: what
//! is a forgery in a bounce (our own name in Received, in a Message-ID) is ordinary in the mail of our users.
//!
//! Fields and lines can be replaced, removed, and have others put before them; parts and attached messages are no exception,
//! though what was signed then is no more. A message is stored as it was received all the same: its changes stand beside it.
//! Content is looked at as it came: encoded words, quoted-printable and base64 are not decoded. No
//! text of a message gets into records or logs, but for what a table itself quotes by `$1` in a reply.
//!
//! What is found is certain and acts in every mode. A table that cannot be asked is 451 (I9). The work is done on other
//! threads ([`crate::work`]) and bounded: each look-up in steps, each message in octets and in time.

mod content_type;
mod edits;
mod lines;
mod scan;
mod walk;

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mail::Reply;
use policy::{Content, Facts, MessageFacts, Order, Ruling, Scope, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tables::{Spec, Table, TableError};

use crate::action::Place;
use crate::opening::Opening;
use crate::settings::Settings;
use crate::work;
pub use lines::LINE_BYTES_MAX;
pub use scan::{BODY_LOOKUP_BYTES_MAX, FIELD_LOOKUP_BYTES_MAX, Note, Scan};
use scan::{Rules, Set};
use walk::Limits;

/// Longest time that all tables together may take for one message; then it is 451. Below the 30 seconds that a verdict may
/// take (RFC 1047).
const SCAN_TIME_MAX: Duration = Duration::from_secs(15);
/// Boundaries of MIME that are known at once.
const DEPTH_MAX: usize = 100;
/// Octets that are read from a file at once.
const READ_BYTES: usize = 64 << 10;

/// Which table is asked about fields below the message's own header.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Inner {
    /// That for the message's own.
    #[default]
    Same,
    /// None.
    None,
    /// Another.
    Table(Spec),
}

impl FromStr for Inner {
    type Err = TableError;
    fn from_str(text: &str) -> Result<Self, TableError> {
        match text {
            "same" => Ok(Self::Same),
            "none" => Ok(Self::None),
            other => Spec::parse(other).map(Self::Table),
        }
    }
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("same"),
            Self::None => f.write_str("none"),
            Self::Table(spec) => spec.fmt(f),
        }
    }
}

impl TryFrom<String> for Inner {
    type Error = TableError;
    fn try_from(text: String) -> Result<Self, TableError> {
        text.parse()
    }
}

impl From<Inner> for String {
    fn from(inner: Inner) -> Self {
        inner.to_string()
    }
}

/// The tables, open.
#[derive(Debug, Default)]
pub struct ContentChecks {
    all: Tables,
    bounces: Tables,
    body_bytes_max: u64,
    header_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Tables {
    header: Option<Open>,
    mime: Option<Open>,
    nested: Option<Open>,
    body: Option<Open>,
}

/// One table and where it stands in the configuration.
#[derive(Debug, Clone)]
struct Open {
    key: &'static str,
    name: Arc<str>,
    table: Arc<dyn Table>,
}

impl ContentChecks {
    /// Opens all tables, and looks through all that they say. What cannot be opened is left out, and told by `opening`.
    pub(crate) fn open(settings: &Settings, opening: &mut Opening<'_>) -> Self {
        let mut open = |key, spec: Option<&Spec>, place| {
            let spec = spec?;
            let table = opening.table(key, spec, Some(place))?;
            Some(Open { key, name: spec.to_string().into(), table })
        };
        let header = open("antispam.header_checks", settings.header_checks.as_ref(), Place::Header);
        let mime = match &settings.mime_header_checks {
            Inner::Same => header.clone(),
            Inner::None => None,
            Inner::Table(spec) => open("antispam.mime_header_checks", Some(spec), Place::Header),
        };
        let nested = match &settings.nested_header_checks {
            Inner::Same => header.clone(),
            Inner::None => None,
            Inner::Table(spec) => open("antispam.nested_header_checks", Some(spec), Place::Header),
        };
        let body = open("antispam.body_checks", settings.body_checks.as_ref(), Place::Body);
        let fields = settings.bounce_header_checks.as_ref();
        let fields = open("antispam.bounce_header_checks", fields, Place::Header);
        let lines = open("antispam.bounce_body_checks", settings.bounce_body_checks.as_ref(), Place::Body);
        Self {
            all: Tables { header, mime, nested, body },
            bounces: Tables { header: fields.clone(), mime: fields.clone(), nested: fields, body: lines },
            body_bytes_max: settings.body_checks_bytes_max,
            header_bytes_max: settings.header_checks_bytes_max,
        }
    }

    /// True when there is nothing to ask, for anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.bounces.is_empty()
    }

    /// Looks at a message, within `time_max`. Never fails: what could not be found out is a ruling, 451.
    pub async fn run(&self, facts: &MessageFacts, time_max: Duration) -> Scan {
        let late = || unavailable("antispam.header_checks", "the tables took too long");
        tokio::time::timeout(time_max, self.look(facts)).await.unwrap_or_else(|_| late())
    }

    async fn look(&self, facts: &MessageFacts) -> Scan {
        let mut sets = Vec::new();
        let is_bounce = facts.mail.reverse_path.is_null() && facts.is_stranger();
        for (tables, asked) in [(&self.all, true), (&self.bounces, is_bounce)] {
            if asked && !tables.is_empty() {
                match tables.set(self.body_bytes_max).await {
                    Ok(set) => sets.push(set),
                    Err(key) => return unavailable(key, "the table has no contents to ask"),
                }
            }
        }
        if sets.is_empty() {
            return Scan::default();
        }
        let limits = Limits { header_bytes_max: self.header_bytes_max, depth_max: DEPTH_MAX };
        let (head, content) = (facts.header.clone(), facts.content.clone());
        match work::heavy(move || scan_content(&content, &head, &sets, limits)).await {
            Ok(Ok(scan)) => scan,
            Ok(Err(error)) => unavailable("antispam.header_checks", &error.to_string()),
            Err(broken) => unavailable("antispam.header_checks", &broken.to_string()),
        }
    }
}

impl Tables {
    fn each(&self) -> impl Iterator<Item = &Open> {
        [&self.header, &self.mime, &self.nested, &self.body].into_iter().flatten()
    }

    fn is_empty(&self) -> bool {
        self.each().next().is_none()
    }

    /// What they hold now; the key of one that cannot tell.
    async fn set(&self, body_bytes_max: u64) -> Result<Set, &'static str> {
        Ok(Set {
            header: rules(self.header.as_ref()).await?,
            mime: rules(self.mime.as_ref()).await?,
            nested: rules(self.nested.as_ref()).await?,
            body: rules(self.body.as_ref()).await?,
            body_bytes_max,
        })
    }
}

async fn rules(open: Option<&Open>) -> Result<Option<Rules>, &'static str> {
    let Some(open) = open else { return Ok(None) };
    let contents = open.table.snapshot().await.ok_or(open.key)?;
    Ok(Some(Rules { key: open.key, table: Arc::clone(&open.name), contents }))
}

fn scan_content(content: &Content, head: &[u8], sets: &[Set], limits: Limits) -> io::Result<Scan> {
    let begun = Instant::now();
    let mut is_late = || begun.elapsed() > SCAN_TIME_MAX;
    match content {
        Content::Memory(bytes) => scan::scan(bytes.as_ref(), head, sets, limits, &mut is_late),
        Content::File { path, .. } => {
            let reader = BufReader::with_capacity(READ_BYTES, File::open(path)?);
            scan::scan(reader, head, sets, limits, &mut is_late)
        }
    }
}

fn unavailable(key: &str, why: &str) -> Scan {
    let reply = Reply::new(451, (4, 3, 5), "A table of this server cannot be used, please try again later");
    let ruling =
        Ruling::new(Source::Unavailable, Order::Defer(reply), key, why).holds_for(Scope::Transaction);
    Scan { rulings: vec![ruling], ..Scan::default() }
}

#[cfg(test)]
mod tests;
