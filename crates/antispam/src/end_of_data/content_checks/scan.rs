//! What the tables order about one message: every field and line is looked up, and the answers are put together.
//!
//! Pure: octets and tables in, rulings and edits out. The time is passed in as a question. The first order that settles
//! the matter (a refusal, DISCARD, REDIRECT, PASS, a table that cannot be asked) ends it; HOLD, BCC and edits do not.

use std::io::{self, BufRead};
use std::ops::ControlFlow;
use std::sync::Arc;

use mail::Reply;
use policy::{Order, Ruling, Scope, Source};
use store::Edit;
use tables::{Answer, Contents};

use super::edits::{Edits, Fate, as_received};
use super::walk::{self, Class, Field, Limits, Line, Visitor};
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
    /// Changes to it, as received.
    pub edits: Vec<Edit>,
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
        sets,
        is_late,
        found: Scan::default(),
        edits: Edits::of(head),
        fields: 0,
        lines: 0,
        lookups: 0,
        inside: sets.iter().any(|set| set.mime.is_some() || set.nested.is_some() || set.body.is_some()),
        body: sets.iter().any(|set| set.body.is_some()),
    };
    walk::walk(message, limits, &mut scanner)?;
    let Scanner { found, edits, .. } = scanner;
    Ok(Scan { edits: edits.all(), ..found })
}

struct Scanner<'a> {
    sets: &'a [Set],
    is_late: &'a mut dyn FnMut() -> bool,
    found: Scan,
    edits: Edits<'a>,
    /// Octets looked up so far.
    fields: u64,
    lines: u64,
    lookups: u32,
    /// Something below the message's own header matters.
    inside: bool,
    /// Lines of bodies matter.
    body: bool,
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
            flow = self.look_up_field(rules, &text, &mut before, &mut fate);
            if flow.is_break() || matches!(fate, Fate::Removed) {
                break;
            }
        }
        let is_made = self.edits.field(field, before, fate);
        self.made(is_made, Source::HeaderCheck, "antispam.header_checks")?;
        flow
    }

    fn line(&mut self, line: &Line<'_>) -> ControlFlow<()> {
        if !self.body {
            return ControlFlow::Continue(());
        }
        let sets = self.sets;
        let mut before: Vec<u8> = Vec::new();
        let mut fate = Fate::Kept;
        let mut flow = ControlFlow::Continue(());
        for set in sets {
            let Some(rules) = &set.body else { continue };
            if set.body_bytes_max > 0 && line.offset >= set.body_bytes_max {
                continue;
            }
            self.lines += line.text.len() as u64;
            if self.lines > BODY_LOOKUP_BYTES_MAX {
                self.body = false;
                let words =
                    format!("lines behind the first {BODY_LOOKUP_BYTES_MAX} octets were not looked at");
                self.note(rules, None, &words);
                break;
            }
            let text = if let Fate::Replaced(text) = &fate { text.clone() } else { line.text.to_vec() };
            flow = self.look_up_line(rules, &text, &mut before, &mut fate);
            if flow.is_break() || matches!(fate, Fate::Removed) {
                break;
            }
        }
        let is_made = self.edits.line(line, before, fate);
        self.made(is_made, Source::BodyCheck, "antispam.body_checks")?;
        flow
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
        before: &mut Vec<u8>,
        fate: &mut Fate,
    ) -> ControlFlow<()> {
        let Some(action) = self.look_up(rules, text, Place::Header, Source::HeaderCheck)? else {
            return ControlFlow::Continue(());
        };
        let Some(action) = self.change(rules, text, action, before, fate) else {
            return ControlFlow::Continue(());
        };
        let name = text.split(|b| *b == b':').next().unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        self.act(rules, text, action, Source::HeaderCheck, &format!("the field {name}"))
    }

    /// One line in one table.
    fn look_up_line(
        &mut self,
        rules: &Rules,
        text: &[u8],
        before: &mut Vec<u8>,
        fate: &mut Fate,
    ) -> ControlFlow<()> {
        let Some(action) = self.look_up(rules, text, Place::Body, Source::BodyCheck)? else {
            return ControlFlow::Continue(());
        };
        match self.change(rules, text, action, before, fate) {
            Some(action) => self.act(rules, text, action, Source::BodyCheck, "a line of the body"),
            None => ControlFlow::Continue(()),
        }
    }

    /// Takes note of what changes a field or line; gives back what is something else.
    fn change(
        &mut self,
        rules: &Rules,
        text: &[u8],
        action: Action,
        before: &mut Vec<u8>,
        fate: &mut Fate,
    ) -> Option<Action> {
        match action {
            Action::Prepend(added) => before.extend_from_slice(as_received(added.as_bytes()).as_slice()),
            Action::Replace(other) => *fate = Fate::Replaced(other.into_bytes()),
            Action::Remove(words) => {
                *fate = Fate::Removed;
                if let Some(words) = words {
                    self.note(rules, rules.contents.line_of(text), &words);
                }
            }
            other => return Some(other),
        }
        None
    }

    /// Refuses a message that is changed beyond all bounds.
    fn made(&mut self, is_made: bool, source: Source, key: &str) -> ControlFlow<()> {
        if is_made {
            return ControlFlow::Continue(());
        }
        let reply = Reply::new(554, (5, 6, 0), "The message needs more changes than this server makes");
        self.rule(source, Order::Reject(reply), key, "too many changes");
        ControlFlow::Break(())
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
            Action::Defer(reply) | Action::DeferIfPermit(reply) => (Order::Defer(reply), true),
            Action::Discard(_) => (Order::Discard, true),
            Action::Redirect(address) => (Order::Redirect(address), true),
            Action::Hold(_) => (Order::Hold, false),
            Action::Bcc(address) => (Order::Bcc(address), false),
            Action::Filter(hop) => {
                // As in Postfix: a later one stands for those before it.
                self.found.rulings.retain(|ruling| !matches!(ruling.order, Order::Filter(_)));
                (Order::Filter(hop), false)
            }
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

/// `antispam.header_checks pcre:header_checks:12`.
fn key_of(rules: &Rules, line: Option<usize>) -> String {
    let line = line.map(|line| format!(":{line}")).unwrap_or_default();
    format!("{} {}{line}", rules.key, rules.table)
}

#[cfg(test)]
mod tests;
