//! What a line of an operator's table orders: the right-hand sides of access(5) and header_checks(5), read in one place.
//!
//! Reads values and nothing else: nothing is looked up or done. What Postfix takes for granted and what it warns about and
//! passes over is an error here that names the value, because an order that is not carried out must not look like an
//! absence (invariant I9). `SCORE n` is our own: points instead of a decision.

use std::fmt;

use mail::{Address, EnhancedStatus, NextHop, Reply};
use policy::Score;

/// Longest line that PREPEND and REPLACE make, in octets (RFC 5322 §2.1.1).
pub const LINE_BYTES_MAX: usize = 998;
/// Most points that one line of a table may give or take.
pub const SCORE_POINTS_MAX: i32 = 100;

/// Where a table is used, and so what its actions may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Clients (access(5)).
    Client,
    /// Names given in HELO.
    Helo,
    /// Senders.
    Sender,
    /// Recipients.
    Recipient,
    /// Header fields (header_checks(5)).
    Header,
    /// Lines of the body.
    Body,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// No table of this place is asked further, and no score acts.
    Ok,
    /// As if nothing had been found: no further key is tried, this table says nothing.
    Dunno,
    /// Refuse: 5xx.
    Reject(Reply),
    /// Refuse for now: 4xx.
    Defer(Reply),
    /// Refuse for now, unless something else that is asked later refuses for good.
    DeferIfPermit(Reply),
    /// Say 250 and throw it away.
    Discard(String),
    /// Keep it until an operator releases it.
    Hold(String),
    /// Put a field before the header, or before the field that was found; before a line of the body a line. Folded lines
    /// are parted by line feeds.
    Prepend(String),
    /// Put this in place of the field or line that was found. Folded lines are parted by line feeds.
    Replace(String),
    /// Leave out what was found: `IGNORE`, and `STRIP`, which also says so.
    Remove(Option<String>),
    /// Deliver it to this address instead.
    Redirect(Address),
    /// A copy to this address too.
    Bcc(Address),
    /// Only note it: `WARN` and `INFO`.
    Note(String),
    /// Points, in thousandths.
    Score(Score),
    /// Ask no table about the rest of this message.
    Pass(String),
    /// Hand the message to this server, which looks at it and sends it on.
    Filter(NextHop),
}

/// The value is no order, or not one for this place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not an action {place}: {why}")]
pub struct ActionError {
    /// What the table says, shortened.
    pub value: String,
    /// Where the table is used.
    pub place: Place,
    /// What is wrong, and what to write.
    pub why: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "for clients",
            Self::Helo => "for names in HELO",
            Self::Sender => "for senders",
            Self::Recipient => "for recipients",
            Self::Header => "for header fields",
            Self::Body => "for lines of the body",
        })
    }
}

impl Place {
    const fn is_content(self) -> bool {
        matches!(self, Self::Header | Self::Body)
    }
}

impl Action {
    /// Reads a value of a table.
    ///
    /// # Errors
    /// [`ActionError`] that names the value and says what to write.
    pub fn parse(value: &str, place: Place) -> Result<Self, ActionError> {
        let value = value.trim();
        let (verb, text) = value.split_once([' ', '\t']).unwrap_or((value, ""));
        read(verb, text.trim_start(), place).map_err(|why| {
            let shown: String = value.chars().take(80).collect();
            ActionError { value: shown, place, why }
        })
    }

    /// Looks at a value that is not complete before there is a key: only its verb can be wrong now.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn check_template(template: &str, place: Place) -> Result<(), ActionError> {
        let verb = template.split([' ', '\t']).next().unwrap_or_default();
        if verb.contains('$') {
            return Ok(());
        }
        // Something of the right form for whatever the parentheses will hold.
        let sample = if template.contains('@') {
            "user@domain.test"
        } else if matches!(verb.to_ascii_uppercase().as_str(), "PREPEND" | "REPLACE") {
            "X-Field: text"
        } else if verb.eq_ignore_ascii_case("FILTER") {
            "smtp:[192.0.2.1]:25"
        } else {
            "1"
        };
        match Self::parse(&format!("{verb} {sample}"), place) {
            Err(error)
                if matches!(verb.to_ascii_uppercase().as_str(), "REDIRECT" | "BCC") && place.is_content() =>
            {
                Self::parse(&format!("{verb} user@domain.test"), place).map(drop).map_err(|_| error)
            }
            other => other.map(drop),
        }
    }
}

/// What may be written, for who wrote something else.
fn known(place: Place) -> &'static str {
    if place.is_content() {
        "REJECT, DISCARD, HOLD, REDIRECT, BCC, FILTER, PREPEND, REPLACE, IGNORE, STRIP, WARN, INFO, PASS and DUNNO are known"
    } else {
        "OK, REJECT, DUNNO, DEFER, 4xx or 5xx with text, DEFER_IF_PERMIT, DISCARD, HOLD, PREPEND, REDIRECT, BCC, FILTER, WARN, INFO and SCORE are known"
    }
}

fn read(verb: &str, text: &str, place: Place) -> Result<Action, String> {
    let upper = verb.to_ascii_uppercase();
    match upper.as_str() {
        "DUNNO" => Ok(Action::Dunno),
        "REJECT" => Ok(refusal(550, text, place)),
        "DISCARD" => Ok(Action::Discard(text.to_owned())),
        "HOLD" => Ok(Action::Hold(text.to_owned())),
        "REDIRECT" => address(text).map(Action::Redirect),
        "BCC" => address(text).map(Action::Bcc),
        "WARN" | "INFO" => Ok(Action::Note(text.to_owned())),
        "PREPEND" => line(text, place).map(Action::Prepend),
        "FILTER" => NextHop::parse_server(text).map(Action::Filter).map_err(|error| error.to_string()),
        _ if place.is_content() => read_content(&upper, text, place),
        _ => read_access(&upper, verb, text, place),
    }
}

fn read_content(upper: &str, text: &str, place: Place) -> Result<Action, String> {
    match upper {
        // An old spelling of DUNNO.
        "OK" => Ok(Action::Dunno),
        "PASS" => Ok(Action::Pass(text.to_owned())),
        "IGNORE" => Ok(Action::Remove(None)),
        "STRIP" => Ok(Action::Remove(Some(text.to_owned()))),
        "REPLACE" => line(text, place).map(Action::Replace),
        _ => Err(known(place).to_owned()),
    }
}

fn read_access(upper: &str, verb: &str, text: &str, place: Place) -> Result<Action, String> {
    match upper {
        "OK" => Ok(Action::Ok),
        "DEFER" => Ok(refusal(450, text, place)),
        "DEFER_IF_PERMIT" => match refusal(450, text, place) {
            Action::Defer(reply) => Ok(Action::DeferIfPermit(reply)),
            other => Ok(other),
        },
        "DEFER_IF_REJECT" => Err("DEFER_IF_REJECT is not there: write DEFER".to_owned()),
        "RELAY" => Err("no table lets a client relay: name it in trusted_networks".to_owned()),
        "SCORE" => score(text).map(Action::Score),
        _ => match code(verb) {
            Some(code) if text.is_empty() => Err(format!("write a text behind {code}")),
            Some(code) => Ok(refusal(code, text, place)),
            // Tables of relaying after POP hold a time.
            None if !verb.is_empty() && verb.bytes().all(|b| b.is_ascii_digit()) && text.is_empty() => {
                Ok(Action::Ok)
            }
            None => Err(known(place).to_owned()),
        },
    }
}

/// `4nn` or `5nn`.
fn code(verb: &str) -> Option<u16> {
    let code: u16 = verb.parse().ok().filter(|_| verb.len() == 3)?;
    // RFC 5321 §4.2: Reply-code = %x32-35 %x30-35 %x30-39
    matches!((code / 100, code / 10 % 10), (4 | 5, 0..=5)).then_some(code)
}

/// A refusal: an enhanced status at the start of the text is used, and made to fit the code and the place.
fn refusal(code: u16, text: &str, place: Place) -> Action {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let given: Option<EnhancedStatus> = first.parse().ok();
    let given = given.filter(|status| status.0 != 2 || !place.is_content());
    let words = if given.is_some() { rest.trim_start() } else { text };
    // In header_checks(5) the status decides between for good and for now.
    let code = match given {
        Some(EnhancedStatus(4, ..)) if place.is_content() => 451,
        _ => code,
    };
    let class = if code < 500 { 4 } else { 5 };
    let EnhancedStatus(_, subject, detail) = given.unwrap_or(EnhancedStatus(class, 7, 1));
    let (subject, detail) = fitting(subject, detail, place);
    let words = match words {
        "" if place.is_content() => "Message content rejected",
        "" => "Access denied",
        words => words,
    };
    let reply = Reply::new(code, (class, subject, detail), words.replace(char::is_control, " "));
    if code < 500 { Action::Defer(reply) } else { Action::Reject(reply) }
}

/// An address status says something about a sender or a recipient (RFC 3463 §3.2): said about the other one, or about no
/// address at all, it becomes its counterpart.
const fn fitting(subject: u16, detail: u16, place: Place) -> (u16, u16) {
    match (place, subject, detail) {
        (Place::Client | Place::Helo, 1, _) => (0, 0),
        (Place::Sender, 1, 2) => (1, 8),
        (Place::Sender, 1, 1 | 3 | 4 | 6) => (1, 7),
        (Place::Sender, 1, 0 | 5 | 9) | (Place::Recipient, 1, 9) => (1, 0),
        (Place::Recipient, 1, 8) => (1, 2),
        (Place::Recipient, 1, 7) => (1, 3),
        _ => (subject, detail),
    }
}

fn address(text: &str) -> Result<Address, String> {
    let bare = text.strip_prefix('<').and_then(|inside| inside.strip_suffix('>')).unwrap_or(text);
    Address::parse(bare).map_err(|error| format!("{error}; write an address, user@domain, behind it"))
}

fn score(text: &str) -> Result<Score, String> {
    let wrong =
        || format!("write a number of points from -{SCORE_POINTS_MAX} to {SCORE_POINTS_MAX}: SCORE 2.5");
    let points: f64 = text.parse().map_err(|_| wrong())?;
    let score = Score::from_f64(points).map_err(|_| wrong())?;
    if score.abs() <= Score::points(SCORE_POINTS_MAX) { Ok(score) } else { Err(wrong()) }
}

/// `name: value` (RFC 5322 §2.2): one line, or several when it quotes a field that was folded.
fn header_line(text: &str) -> Result<String, String> {
    let (name, _) = text.split_once(':').unwrap_or_default();
    // RFC 5322 §2.2: a field name is printable US-ASCII except colon.
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("write a header field behind it: PREPEND X-Name: value".to_owned());
    }
    if name.len() >= LINE_BYTES_MAX {
        return Err(format!("a field's name must have less than {LINE_BYTES_MAX} octets"));
    }
    Ok(broken_where_long(&unfolded_where_broken(text)))
}

/// What PREPEND and REPLACE write: a field, or any text in a body.
fn line(text: &str, place: Place) -> Result<String, String> {
    match place {
        Place::Body if text.is_empty() => Err("write a line of text behind it".to_owned()),
        Place::Body => {
            let plain = text.replace(|c: char| c.is_control() && c != '\t', " ");
            Ok(broken_where_long(&plain))
        }
        _ => header_line(text),
    }
}

/// Lines of at most [`LINE_BYTES_MAX`] octets: a longer one goes on in the next, behind a blank, as Postfix writes them when it
/// sends. A message decides how long what is quoted of it gets, so that is no mistake of the table. Where the line has
/// a blank, it is folded there (RFC 5322 §2.2.3).
fn broken_where_long(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (number, mut line) in text.split('\n').enumerate() {
        if number > 0 {
            out.push('\n');
        }
        let mut room = LINE_BYTES_MAX;
        while line.len() > room {
            room = line.floor_char_boundary(room);
            let (first, _) = line.split_at(room);
            // Behind the name, and never so that a line is blank.
            let words = first.trim_end_matches(BLANKS).rfind(BLANKS);
            let fold = words.filter(|at| first.split_at(*at).0.contains(|c: char| !BLANKS.contains(&c)));
            let (done, left) = line.split_at(fold.unwrap_or(room));
            out.push_str(done);
            out.push('\n');
            room = LINE_BYTES_MAX;
            if fold.is_none() {
                out.push(' ');
                room -= 1;
            }
            line = left;
        }
        out.push_str(line);
    }
    out
}

const BLANKS: [char; 2] = [' ', '\t'];

/// What is quoted from a message may hold anything: nothing of it begins a line, but for the white space of a fold
/// (RFC 5322 §2.2.3), and nothing is a control character.
fn unfolded_where_broken(text: &str) -> String {
    let mut next = text.chars().skip(1);
    let plain = text.chars().map(|c| match (c, next.next()) {
        ('\t', _) | ('\n', Some(' ' | '\t')) => c,
        (c, _) if c.is_control() => ' ',
        (c, _) => c,
    });
    plain.collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests;
