//! What the tables order about one message: every field and line is looked up, and the answers are put together.
//!
//! Pure: octets and tables in, rulings and edits out. The time is passed in as a question. The first order that settles
//! the matter (a refusal, DISCARD, REDIRECT, PASS, a table that cannot be asked) ends it; HOLD, BCC and edits do not.

use std::io::{self, BufRead};
use std::ops::ControlFlow;
use std::sync::Arc;

use mail::{Reply, header};
use policy::{Order, Ruling, Scope, Source};
use store::HeaderEdit;
use tables::{Answer, Contents};

use super::walk::{self, Class, Field, Limits, Visitor};
use crate::action::{Action, Place};

/// Octets that are looked up in body tables for one message; lines behind them are not looked at.
pub const BODY_LOOKUP_BYTES_MAX: u64 = 16 << 20;
/// Octets of fields, of parts and attached messages too; more is refused.
pub const FIELD_LOOKUP_BYTES_MAX: u64 = 16 << 20;
/// Rulings that one message may bring.
const RULINGS_MAX: usize = 64;
/// Notes that one message may bring.
const NOTES_MAX: usize = 64;
/// Look-ups between two questions for the time.
const LOOKUPS_BETWEEN: u32 = 64;

/// One table as it is now.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// Its configuration key.
    pub key: &'static str,
    /// Its name.
    pub table: Arc<str>,
    /// What it holds.
    pub contents: Arc<dyn Contents>,
}

/// Tables that belong together.
#[derive(Debug, Clone, Default)]
pub(super) struct Set {
    /// For the message's own fields.
    pub header: Option<Rules>,
    /// For MIME's fields and those of parts.
    pub mime: Option<Rules>,
    /// For fields of attached messages.
    pub nested: Option<Rules>,
    /// For lines of bodies.
    pub body: Option<Rules>,
    /// How many octets of each part are looked at; 0 for all.
    pub body_bytes_max: u64,
}

/// What was ordered about one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// What decides alone, for the whole message.
    pub rulings: Vec<Ruling>,
    /// Changes to its header, as received.
    pub edits: Vec<HeaderEdit>,
    /// What operators wanted to be told: WARN, INFO, STRIP, and orders that could not be carried out.
    pub notes: Vec<Note>,
}

/// Something for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Configuration key, table and line.
    pub key: String,
    /// What it says; never the text of a message.
    pub text: String,
}

/// Looks all of a message up. `head` is its header as received; `is_late` says that the time is up.
///
/// # Errors
/// The message cannot be read.
pub(super) fn scan(
    message: impl BufRead,
    head: &[u8],
    sets: &[Set],
    limits: Limits,
    is_late: &mut dyn FnMut() -> bool,
) -> io::Result<Scan> {
    let mut scanner = Scanner {
        head,
        sets,
        is_late,
        found: Scan::default(),
        fields: 0,
        lines: 0,
        lookups: 0,
        inside: sets.iter().any(|set| set.mime.is_some() || set.nested.is_some() || set.body.is_some()),
        body: sets.iter().any(|set| set.body.is_some()),
    };
    walk::walk(message, limits, &mut scanner)?;
    Ok(scanner.found)
}

struct Scanner<'a> {
    head: &'a [u8],
    sets: &'a [Set],
    is_late: &'a mut dyn FnMut() -> bool,
    found: Scan,
    /// Octets looked up so far.
    fields: u64,
    lines: u64,
    lookups: u32,
    /// Something below the message's own header matters.
    inside: bool,
    /// Lines of bodies matter.
    body: bool,
}

/// What becomes of a field.
enum Fate {
    /// As it is.
    Kept,
    /// This in its place.
    Replaced(Vec<u8>),
    /// Gone.
    Removed,
}

impl Visitor for Scanner<'_> {
    fn field(&mut self, field: &Field<'_>) -> ControlFlow<()> {
        self.fields += field.text.len() as u64;
        if self.fields > FIELD_LOOKUP_BYTES_MAX {
            let reply = Reply::new(554, (5, 6, 0), "The message has too many header fields in its parts");
            self.rule(Source::HeaderCheck, Order::Reject(reply), "antispam.header_checks", "too many fields");
            return ControlFlow::Break(());
        }
        let sets = self.sets;
        let mut before: Vec<u8> = Vec::new();
        let mut fate = Fate::Kept;
        let mut flow = ControlFlow::Continue(());
        for set in sets {
            let rules = match field.class {
                Class::Primary => &set.header,
                Class::Mime => &set.mime,
                Class::Nested => &set.nested,
            };
            let Some(rules) = rules else { continue };
            let text = if let Fate::Replaced(text) = &fate { text.clone() } else { field.text.to_vec() };
            flow = self.look_up_field(rules, &text, field, &mut before, &mut fate);
            if flow.is_break() || matches!(fate, Fate::Removed) {
                break;
            }
        }
        self.edit(field, &before, fate);
        flow
    }

    fn line(&mut self, text: &[u8], offset: u64) -> ControlFlow<()> {
        if !self.body {
            return ControlFlow::Continue(());
        }
        let sets = self.sets;
        for set in sets {
            let Some(rules) = &set.body else { continue };
            if set.body_bytes_max > 0 && offset >= set.body_bytes_max {
                continue;
            }
            self.lines += text.len() as u64;
            if self.lines > BODY_LOOKUP_BYTES_MAX {
                self.body = false;
                let words =
                    format!("lines behind the first {BODY_LOOKUP_BYTES_MAX} octets were not looked at");
                self.note(rules, None, &words);
                break;
            }
            let Some(action) = self.look_up(rules, text, Place::Body, Source::BodyCheck)? else { continue };
            self.act(rules, text, action, Source::BodyCheck, "a line of the body")?;
        }
        ControlFlow::Continue(())
    }

    fn header_end(&mut self) -> ControlFlow<()> {
        if self.inside { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

impl Scanner<'_> {
    /// One field in one table.
    fn look_up_field(
        &mut self,
        rules: &Rules,
        text: &[u8],
        field: &Field<'_>,
        before: &mut Vec<u8>,
        fate: &mut Fate,
    ) -> ControlFlow<()> {
        let Some(action) = self.look_up(rules, text, Place::Header, Source::HeaderCheck)? else {
            return ControlFlow::Continue(());
        };
        let line = rules.contents.line_of(text);
        let is_edit = matches!(action, Action::Prepend(_) | Action::Replace(_) | Action::Remove(_));
        if is_edit && field.number.is_none() {
            // The rules for the message's own fields are asked about inner ones too, unless there are others for them.
            self.note(rules, line, "a field inside of the body matched and stays as it is");
            return ControlFlow::Continue(());
        }
        match action {
            Action::Prepend(added) => {
                before.extend_from_slice(as_received(added.as_bytes()).as_slice());
            }
            Action::Replace(other) => *fate = Fate::Replaced(other.into_bytes()),
            Action::Remove(words) => {
                *fate = Fate::Removed;
                if let Some(words) = words {
                    self.note(rules, line, &words);
                }
            }
            other => {
                let name = text.split(|b| *b == b':').next().unwrap_or_default();
                let name = String::from_utf8_lossy(name);
                return self.act(rules, text, other, Source::HeaderCheck, &format!("the field {name}"));
            }
        }
        ControlFlow::Continue(())
    }

    /// Asks a table. Breaks off when it cannot be asked, or says something that is no order.
    fn look_up(
        &mut self,
        rules: &Rules,
        text: &[u8],
        place: Place,
        source: Source,
    ) -> ControlFlow<(), Option<Action>> {
        self.lookups += 1;
        if self.lookups.is_multiple_of(LOOKUPS_BETWEEN) && (self.is_late)() {
            return self.unavailable(rules, None, "the time for looking at the message is over");
        }
        match rules.contents.find_octets(text) {
            Answer::Absent => ControlFlow::Continue(None),
            Answer::Found(value) => match Action::parse(&value, place) {
                Ok(Action::Dunno) => ControlFlow::Continue(None),
                Ok(action) => ControlFlow::Continue(Some(action)),
                Err(error) => {
                    let line = rules.contents.line_of(text);
                    let what = if source == Source::BodyCheck { "body" } else { "header" };
                    self.unavailable(rules, line, &format!("{what}: {error}"))
                }
            },
            Answer::Unavailable(why) => self.unavailable(rules, None, &why),
        }
    }

    /// Everything that is no edit.
    fn act(
        &mut self,
        rules: &Rules,
        text: &[u8],
        action: Action,
        source: Source,
        what: &str,
    ) -> ControlFlow<()> {
        let line = rules.contents.line_of(text);
        let key = key_of(rules, line);
        let (order, ends) = match action {
            Action::Reject(reply) => (Order::Reject(reply), true),
            Action::Defer(reply) => (Order::Defer(reply), true),
            Action::Discard(_) => (Order::Discard, true),
            Action::Redirect(address) => (Order::Redirect(address), true),
            Action::Hold(_) => (Order::Hold, false),
            Action::Bcc(address) => (Order::Bcc(address), false),
            Action::Note(words) => {
                let words = if words.is_empty() { what.to_owned() } else { format!("{what}: {words}") };
                self.note(rules, line, &words);
                return ControlFlow::Continue(());
            }
            Action::Pass(words) => {
                self.note(rules, line, if words.is_empty() { "the rest was not looked at" } else { &words });
                return ControlFlow::Break(());
            }
            // Of access tables, or done already: the reader of actions knows them apart by place.
            Action::Ok
            | Action::Dunno
            | Action::Score(_)
            | Action::Prepend(_)
            | Action::Replace(_)
            | Action::Remove(_) => {
                return ControlFlow::Continue(());
            }
        };
        self.rule(source, order, &key, what);
        if ends { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Writes down what becomes of a field of the message's own header.
    fn edit(&mut self, field: &Field<'_>, before: &[u8], fate: Fate) {
        let Some(number) = field.number else { return };
        let mut with = before.to_vec();
        match fate {
            Fate::Kept if before.is_empty() => return,
            Fate::Kept => with.extend_from_slice(raw(self.head, number)),
            Fate::Replaced(text) => {
                with.extend_from_slice(&as_received(&text));
            }
            Fate::Removed => {}
        }
        self.found.edits.push(HeaderEdit::Field { number, with });
    }

    fn rule(&mut self, source: Source, order: Order, key: &str, evidence: &str) {
        let ruling = Ruling::new(source, order, key, evidence).holds_for(Scope::Transaction);
        if self.found.rulings.len() < RULINGS_MAX && !self.found.rulings.contains(&ruling) {
            self.found.rulings.push(ruling);
        }
    }

    fn note(&mut self, rules: &Rules, line: Option<usize>, text: &str) {
        let text = text.chars().map(|c| if c.is_control() { '?' } else { c }).take(256).collect();
        let note = Note { key: key_of(rules, line), text };
        if self.found.notes.len() < NOTES_MAX && !self.found.notes.contains(&note) {
            self.found.notes.push(note);
        }
    }

    fn unavailable<C>(&mut self, rules: &Rules, line: Option<usize>, why: &str) -> ControlFlow<(), C> {
        let reply =
            Reply::new(451, (4, 3, 5), "A table of this server cannot be used, please try again later");
        self.rule(Source::Unavailable, Order::Defer(reply), &key_of(rules, line), why);
        ControlFlow::Break(())
    }
}

/// A field with the line ends that it has in a message; in look-ups they are line feeds between its lines.
fn as_received(field: &[u8]) -> Vec<u8> {
    field.split(|octet| *octet == b'\n').flat_map(|line| [line, b"\r\n"].concat()).collect()
}

/// `antispam.header_checks pcre:header_checks:12`.
fn key_of(rules: &Rules, line: Option<usize>) -> String {
    let line = line.map(|line| format!(":{line}")).unwrap_or_default();
    format!("{} {}{line}", rules.key, rules.table)
}

/// A field as it was received, with its line ends.
fn raw(head: &[u8], number: u32) -> &[u8] {
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    header::fields(head).nth(number).map(|field| field.raw()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
