//! `[antispam.attachments]`: which files operators do not want, and what is done about them.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inspect::{Inspectable, Sign};

/// Entries of one list.
const ENTRIES_MAX: usize = 500;
/// Longest entry, in octets.
const ENTRY_BYTES_MAX: usize = 128;

/// `[antispam.attachments]`: files that are refused, kept back, renamed, or held against a letter. Each entry is the end of a name
/// (`exe`, `tar.gz`), a media type (`application/hta`, `audio/*`), or what a file is found to be: `is:executable`,
/// `is:macros`, `is:encrypted`, `is:bomb`, `is:opaque`, `is:unseen`. Files within zip, gzip and tar are looked at too.
/// Nothing is listed by default: what is dangerous is points then, and never refuses alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AttachmentSettings {
    /// Letters with these are refused, with 550 5.7.1, in every mode. Example: `reject = ["exe", "scr", "is:executable"]`
    #[serde(deserialize_with = "bounded")]
    pub reject: Vec<Matcher>,
    /// Letters with these are kept in quarantine, in every mode.
    #[serde(deserialize_with = "bounded")]
    pub quarantine: Vec<Matcher>,
    /// These get `.renamed` behind their name and are told to be octets, in every mode, so that nothing starts at a double click.
    /// That breaks the letter's signatures. A file in an archive has the archive renamed.
    #[serde(deserialize_with = "bounded")]
    pub rename: Vec<Matcher>,
    /// Letters with these get the points of ATTACHMENT_LISTED.
    #[serde(deserialize_with = "bounded")]
    pub score: Vec<Matcher>,
}

impl AttachmentSettings {
    /// Entries that never matter, because `reject` has the same one: the key of their list, their place in it, the entry, and
    /// the place in `reject`.
    #[must_use]
    pub fn refused_anyway(&self) -> Vec<(&'static str, usize, &Matcher, usize)> {
        let lists = [("quarantine", &self.quarantine), ("rename", &self.rename), ("score", &self.score)];
        let entries = lists
            .into_iter()
            .flat_map(|(key, list)| list.iter().enumerate().map(move |(index, entry)| (key, index, entry)));
        let refused = |entry: &Matcher| self.reject.iter().position(|other| other.kind == entry.kind);
        entries.filter_map(|(key, index, entry)| Some((key, index, entry, refused(entry)?))).collect()
    }
}

/// One entry. Prints as it was written, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Matcher {
    text: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// With the dot in front.
    Ending(String),
    Media(String),
    /// All of a type: `audio/`.
    MediaOf(String),
    Is(Vec<Sign>),
}

/// The text is no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no kind of file: write the end of a name such as exe, a media type such as application/hta, or is:executable, \
     is:macros, is:encrypted, is:bomb, is:opaque, is:unseen"
)]
pub struct MatcherError(String);

impl Matcher {
    /// True when it is about this file.
    #[must_use]
    pub fn matches(&self, file: &Inspectable) -> bool {
        match &self.kind {
            Kind::Ending(ending) => file.name.ends_with(ending),
            Kind::Media(media) => file.media == *media,
            Kind::MediaOf(begin) => file.media.starts_with(begin),
            Kind::Is(signs) => signs.iter().any(|sign| file.signs.contains(sign)),
        }
    }
}

impl FromStr for Matcher {
    type Err = MatcherError;

    fn from_str(text: &str) -> Result<Self, MatcherError> {
        let error = || MatcherError(text.chars().take(ENTRY_BYTES_MAX).collect());
        let lower = text.trim().to_ascii_lowercase();
        let plain = |c: char| c.is_alphanumeric() || "._+-!#$&^~".contains(c);
        if lower.len() > ENTRY_BYTES_MAX {
            return Err(error());
        }
        let kind = if let Some(what) = lower.strip_prefix("is:") {
            Kind::Is(match what {
                "executable" => {
                    vec![Sign::Executable, Sign::ArchivedExecutable, Sign::Disguised, Sign::DoubleExtension]
                }
                "macros" => vec![Sign::Macros],
                "encrypted" => vec![Sign::Encrypted],
                "bomb" => vec![Sign::Bomb],
                "opaque" => vec![Sign::Opaque],
                "unseen" => vec![Sign::Unseen],
                _ => return Err(error()),
            })
        } else if let Some((main, sub)) = lower.split_once('/') {
            match sub {
                _ if main.is_empty() || !main.chars().all(plain) => return Err(error()),
                "*" => Kind::MediaOf(format!("{main}/")),
                sub if !sub.is_empty() && sub.chars().all(plain) => Kind::Media(lower.clone()),
                _ => return Err(error()),
            }
        } else {
            let ending = lower.trim_start_matches('*').trim_start_matches('.');
            if ending.is_empty() || !ending.chars().all(plain) {
                return Err(error());
            }
            Kind::Ending(format!(".{ending}"))
        };
        Ok(Self { text: lower, kind })
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Matcher {
    type Error = MatcherError;
    fn try_from(text: String) -> Result<Self, MatcherError> {
        text.parse()
    }
}

impl From<Matcher> for String {
    fn from(matcher: Matcher) -> Self {
        matcher.text
    }
}

fn bounded<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Matcher>, D::Error> {
    let all = Vec::<Matcher>::deserialize(from)?;
    if all.len() > ENTRIES_MAX {
        let words = format!("there are {} kinds of files in one list: at most {ENTRIES_MAX}", all.len());
        return Err(serde::de::Error::custom(words));
    }
    Ok(all)
}
