//! Attached files that are dangerous to open: programs, under whatever name, in archives too; macros; what is locked so that
//! nobody can look. And an operator's lists of what is refused or kept back.
//!
//! Files are known by what they are called and by their first octets; zip, gzip and tar are looked into, within bounds
//! ([`inspect`]). What is only likely to be bad is points, in one group with a cap; alone it never refuses. What operators
//! put into `[antispam.attachments]` is an order and acts in every mode. Nothing is changed but names, and those only where
//! operators want that ([`rename`]): it breaks signatures. Never runs anything, and never tells what is in a file but for its name.

pub mod inspect;
mod kinds;
pub mod rename;
mod settings;
#[cfg(test)]
mod tests;
mod zip;

use std::sync::Arc;
use std::time::Duration;

use mail::Reply;
use policy::{Check, EndOfData, Findings, MessageFacts, Order, Ruling, Source, SymbolDef, Work};
use store::Edit;

use crate::groups::{ATTACHMENTS, symbols};
use crate::letter::{self, Letter};
use crate::work;
use inspect::{Inspected, Sign};
pub use settings::{AttachmentSettings, Matcher};

symbols! { ATTACHMENTS:
    ATTACHMENT_EXECUTABLE, 35, "a program is attached";
    ATTACHMENT_ARCHIVED_EXECUTABLE, 40, "a program is attached, packed into an archive";
    ATTACHMENT_DISGUISED, 40, "a program is attached that is called something else";
    ATTACHMENT_DOUBLE_EXTENSION, 40, "a program is attached whose name looks like that of a document";
    ATTACHMENT_NAME_REVERSED, 40, "the name of a file turns the direction of writing, so that its end is not seen";
    ATTACHMENT_ENCRYPTED, 15, "an archive or document is locked: nobody can look into it on the way";
    ATTACHMENT_MACROS, 20, "a document with macros is attached";
    ATTACHMENT_BOMB, 30, "an archive unpacks to far more than it is";
    ATTACHMENT_UNSEEN, 3, "an archive is too large, or nested too deep, to be seen as a whole";
    ATTACHMENT_OPAQUE, 3, "an archive of a kind that is not looked into";
    ATTACHMENT_LISTED, 30, "a file is attached that [antispam.attachments] score names";
    ATTACHMENT_RENAMED, 0, "a file is attached that [antispam.attachments] rename names";
}

/// See above.
#[derive(Debug, Clone, Default)]
pub struct Attachments {
    settings: Arc<AttachmentSettings>,
}

impl Attachments {
    /// With an operator's lists.
    #[must_use]
    pub fn new(settings: AttachmentSettings) -> Self {
        Self { settings: Arc::new(settings) }
    }
}

impl Check<EndOfData> for Attachments {
    fn name(&self) -> &'static str {
        "attachments"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![
            ATTACHMENT_EXECUTABLE,
            ATTACHMENT_ARCHIVED_EXECUTABLE,
            ATTACHMENT_DISGUISED,
            ATTACHMENT_DOUBLE_EXTENSION,
            ATTACHMENT_NAME_REVERSED,
            ATTACHMENT_ENCRYPTED,
            ATTACHMENT_MACROS,
            ATTACHMENT_BOMB,
            ATTACHMENT_UNSEEN,
            ATTACHMENT_OPAQUE,
            ATTACHMENT_LISTED,
            ATTACHMENT_RENAMED,
        ]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn run<'a>(&'a self, facts: &'a MessageFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(async move {
            let letter = match letter::of(facts).await {
                Ok(letter) => letter,
                Err(why) => return found.unfinished(&why),
            };
            if !letter.parts.iter().any(inspect::is_file) {
                return;
            }
            match inspected(letter).await {
                Ok(inspected) => self.write_down(&inspected, found),
                Err(why) => found.unfinished(&why),
            }
        })
    }
}

/// The names that are to be changed in a message, by an operator's list; none when that is empty.
///
/// # Errors
/// In words: the message cannot be read, or looked into.
pub async fn renamed(settings: &AttachmentSettings, facts: &MessageFacts) -> Result<Vec<Edit>, String> {
    if settings.rename.is_empty() {
        return Ok(Vec::new());
    }
    let letter = letter::of(facts).await?;
    if !letter.parts.iter().any(inspect::is_file) {
        return Ok(Vec::new());
    }
    let inspected = inspected(Arc::clone(&letter)).await?;
    Ok(rename::edits(&letter, &inspected, &settings.rename))
}

/// A few hundred octets may unpack to millions: however short the letter, this is done on another thread.
async fn inspected(letter: Arc<Letter>) -> Result<Inspected, String> {
    work::heavy(move || Inspected::of(&letter)).await.map_err(|broken| broken.to_string())
}

impl Attachments {
    fn write_down(&self, inspected: &Inspected, found: &mut Findings) {
        for (sign, evidence) in &inspected.signs {
            found.saw(symbol(*sign).symbol, evidence);
        }
        let symbols =
            [(ATTACHMENT_LISTED, &self.settings.score), (ATTACHMENT_RENAMED, &self.settings.rename)];
        for (symbol, matchers) in symbols {
            let hit = inspected.files.iter().find(|file| matchers.iter().any(|one| one.matches(file)));
            if let Some(file) = hit {
                found.saw(symbol.symbol, &file.shown());
            }
        }
        let lists = [("reject", &self.settings.reject), ("quarantine", &self.settings.quarantine)];
        for (list, matchers) in lists {
            let hit = matchers.iter().find_map(|matcher| {
                let file = inspected.files.iter().find(|file| matcher.matches(file))?;
                Some((matcher, file))
            });
            let Some((matcher, file)) = hit else { continue };
            let order = if list == "reject" {
                let words = format!("Files of this kind are not accepted here: {matcher}");
                Order::Reject(Reply::new(550, (5, 7, 1), words))
            } else {
                Order::Quarantine
            };
            let key = format!("antispam.attachments.{list}");
            found.rule(Ruling::new(Source::Operator, order, &key, &file.shown()));
        }
    }
}

fn symbol(sign: Sign) -> SymbolDef {
    match sign {
        Sign::Executable => ATTACHMENT_EXECUTABLE,
        Sign::ArchivedExecutable => ATTACHMENT_ARCHIVED_EXECUTABLE,
        Sign::Disguised => ATTACHMENT_DISGUISED,
        Sign::DoubleExtension => ATTACHMENT_DOUBLE_EXTENSION,
        Sign::NameReversed => ATTACHMENT_NAME_REVERSED,
        Sign::Encrypted => ATTACHMENT_ENCRYPTED,
        Sign::Macros => ATTACHMENT_MACROS,
        Sign::Bomb => ATTACHMENT_BOMB,
        Sign::Unseen => ATTACHMENT_UNSEEN,
        Sign::Opaque => ATTACHMENT_OPAQUE,
    }
}
