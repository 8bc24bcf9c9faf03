//! A verdict in plain words: what was done, which line of the configuration decided, and what would change it.
//!
//! Pure text out of a [`VerdictRecord`]. Everything in it that came from a peer was bounded and freed of control
//! characters when it was written down.

use std::fmt::Write as _;

use crate::book::ScoreBook;
use crate::mode::Mode;
use crate::pipeline::CheckEnd;
use crate::record::{Points, RecipientRecord, VerdictRecord};
use crate::ruling::Source;
use crate::score::Score;
use crate::stage::Stage;
use crate::symbol::is_symbol;
use crate::tally::{Line, Note};
use crate::thresholds::Threshold;
use crate::verdict::{Action, DecidedBy};

/// Symbols that are named as what would change a verdict.
const HINTS_MAX: usize = 3;

/// The whole explanation, in lines. With a `book`, symbols come with their meaning.
#[must_use]
pub fn explain(record: &VerdictRecord, book: Option<&ScoreBook>) -> String {
    let mut text = String::new();
    head(&mut text, record);
    let several = record.recipients.len() > 1;
    if several {
        let _ = writeln!(text, "\nWhy: {}.", why(&record.decided, record.action));
    }
    for recipient in &record.recipients {
        let points = recipient.points.as_ref().unwrap_or(&record.points);
        if several {
            let _ =
                writeln!(text, "\n<{}>: {}.", recipient.address, done(recipient.action, record.about.stage));
        }
        let _ = writeln!(
            text,
            "{}Why: {}.",
            if several { "" } else { "\n" },
            why(&recipient.decided, recipient.action)
        );
        let hints = hints(recipient, points, book);
        if !hints.is_empty() {
            text.push_str("What would change it:\n");
        }
        for hint in hints {
            let _ = writeln!(text, "  - {hint}");
        }
        if let Some(points) = &recipient.points {
            table(&mut text, points, book);
        }
    }
    if record.recipients.is_empty() {
        let _ = writeln!(text, "\nWhy: {}.", why(&record.decided, record.action));
    }
    table(&mut text, &record.points, book);
    tail(&mut text, record);
    text
}

fn head(text: &mut String, record: &VerdictRecord) {
    let about = &record.about;
    let _ = writeln!(text, "{} at {}: {}", about.id, about.at, done(record.action, about.stage));
    if about.id != about.session {
        let _ = writeln!(text, "  session  {}", about.session);
    }
    let name = about.client_name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
    let helo = about.helo.as_deref().map(|helo| format!(", HELO {helo}")).unwrap_or_default();
    let _ = writeln!(text, "  client   {}{name}{helo}", about.client);
    if let Some(account) = &about.account {
        let _ = writeln!(text, "  account  {account}");
    }
    if let Some(sender) = &about.sender {
        let _ = writeln!(text, "  from     <{sender}>");
    }
    for recipient in &record.recipients {
        let _ = writeln!(text, "  to       <{}>", recipient.address);
    }
    if let Some(reply) = &record.reply {
        let _ = writeln!(text, "  reply    {reply}");
    }
}

fn tail(text: &mut String, record: &VerdictRecord) {
    if !record.dns.is_empty() {
        text.push_str("\nDNS:\n");
    }
    for dns in &record.dns {
        let _ = writeln!(text, "  {}: {}", dns.question, dns.answer);
    }
    if !record.times.is_empty() {
        text.push_str("\nTime:\n");
    }
    for time in &record.times {
        let end = match time.end {
            CheckEnd::Finished => "",
            CheckEnd::Unknown => ", could not find out",
            CheckEnd::OutOfTime => ", did not finish",
            CheckEnd::BrokeDown => ", broke down",
        };
        let (whole, rest) = (time.micros / 1000, time.micros % 1000 / 100);
        let _ = writeln!(text, "  {:<24} {whole}.{rest} ms at {}{end}", time.check, time.stage);
    }
    if record.left_out > 0 {
        let _ = writeln!(text, "\n{} more things were seen than a record has room for.", record.left_out);
    }
}

/// What was done, in a few words.
fn done(action: Action, stage: Stage) -> String {
    let what = match action {
        Action::Accept => "accepted",
        Action::Junk => "accepted, marked and filed into Junk",
        Action::Hold => "accepted and held until an operator releases it",
        Action::Quarantine => "accepted and quarantined until an operator releases it",
        Action::Discard => "accepted and thrown away",
        Action::Separate => "asked to send in a transaction of its own",
        Action::Greylist => "greylisted: asked to come back",
        Action::Defer => "refused for now: asked to come back",
        Action::Reject => "refused",
    };
    let when = match stage {
        Stage::Connect => "on connection",
        Stage::Helo => "at HELO",
        Stage::Mail => "at MAIL",
        Stage::Rcpt => "at RCPT",
        Stage::EndOfData => "after DATA",
    };
    format!("{what} ({when})")
}

fn why(decided: &DecidedBy, action: Action) -> String {
    match decided {
        DecidedBy::Nothing => "no threshold was reached".to_owned(),
        DecidedBy::Threshold { threshold, key, limit, score } => {
            let spared = *threshold == Threshold::Reject && action == Action::Quarantine;
            let others = if spared {
                "; others get the message, so this copy is kept back instead of refused"
            } else {
                ""
            };
            format!("the score {score} reached {limit}, which is {key}{others}")
        }
        DecidedBy::GreylistAlways => "greylisting is for all strangers: antispam.greylist.mode".to_owned(),
        DecidedBy::Ruling { source, order, key, evidence } => {
            let seen = if evidence.is_empty() { String::new() } else { format!(": {evidence}") };
            format!("{} says {order}, by {key}{seen}", who(*source))
        }
        DecidedBy::Unfinished { check } => {
            format!("the check {check} did not finish, and its on_unknown is tempfail")
        }
        DecidedBy::Mode { key, mode, first } => {
            format!("the mode for this recipient is {mode} ({key}), for the first one it is {first}")
        }
    }
}

const fn who(source: Source) -> &'static str {
    match source {
        Source::Malware => "a malware scanner",
        Source::UnknownRecipient => "the list of recipients",
        Source::Relay => "the rule about relaying",
        Source::Sender => "the rule about who may send as whom",
        Source::Limit => "a limit",
        Source::Access => "an access table",
        Source::HeaderCheck => "a header check",
        Source::BodyCheck => "a body check",
        Source::Operator => "an order of the operator",
        Source::Unavailable => "something that did not answer",
        Source::Backscatter => "the defence against forged bounces",
    }
}

/// What would change the verdict about one recipient.
fn hints(recipient: &RecipientRecord, points: &Points, book: Option<&ScoreBook>) -> Vec<String> {
    let mut hints = Vec::new();
    match &recipient.decided {
        DecidedBy::Threshold { key, limit, score, .. } => {
            hints.push(format!("{key} above {score}, or 0 to switch it off"));
            hints.extend(lighter(points, *score - *limit, book));
            if recipient.mode == Mode::Enforce && recipient.action > Action::Junk {
                hints.push(format!("{} = \"tag\": it would only be marked", recipient.mode_key));
            } else if recipient.mode > Mode::Observe {
                hints.push(format!("{} = \"observe\": it would only be recorded", recipient.mode_key));
            }
        }
        DecidedBy::Ruling { source: Source::Backscatter, .. } => {
            hints.push("antispam.backscatter.mode = \"observe\": it would only be recorded".to_owned());
        }
        DecidedBy::Ruling { key, .. } => hints.push(format!("{key}; no score and no mode changes it")),
        DecidedBy::Unfinished { check } => {
            hints.push(format!("on_unknown = \"ignore\" for the check {check}"));
        }
        DecidedBy::GreylistAlways => {
            hints.push("antispam.greylist.mode = \"selective\" or \"off\"".to_owned());
        }
        DecidedBy::Mode { .. } | DecidedBy::Nothing => {}
    }
    if let Some(would) = recipient.would {
        let (mode, key) = (recipient.mode, &recipient.mode_key);
        let held = if mode == Mode::Enforce {
            "checks that only mark or record".to_owned()
        } else {
            format!("{key} = \"{mode}\"")
        };
        hints.push(format!("{held}: in mode enforce the action would be {would}"));
    }
    let decided_by_score = matches!(recipient.decided, DecidedBy::Threshold { .. } | DecidedBy::Nothing);
    if let Some(next) = recipient.next.as_ref().filter(|_| decided_by_score) {
        let more = next.limit - recipient.score;
        hints.push(format!("{more} points more: {} lies at {}", next.key, next.limit));
    }
    hints
}

/// Symbols without whose weight the score would not have got there.
fn lighter(points: &Points, over: Score, book: Option<&ScoreBook>) -> Vec<String> {
    // In a group that is at its cap others would fill the gap.
    let in_full_group = |line: &Line| match book {
        Some(book) => points.capped.iter().any(|capped| book.is_in(&line.symbol, &capped.group)),
        None => !points.capped.is_empty(),
    };
    points
        .lines
        .iter()
        .filter(|line| line.note == Note::Whole && line.points > over && !in_full_group(line))
        .take(HINTS_MAX)
        .map(|line| format!("{} with less than {} points (scores.toml)", line.symbol, line.points - over))
        .collect()
}

fn table(text: &mut String, points: &Points, book: Option<&ScoreBook>) {
    if points.lines.is_empty() {
        return;
    }
    text.push_str("\nPoints:\n");
    let width = points.lines.iter().map(|line| line.symbol.as_str().len()).max().unwrap_or_default();
    for line in &points.lines {
        let meaning = book.and_then(|book| book.worth(&line.symbol)).map(|worth| worth.meaning.as_str());
        let evidence = Some(line.evidence.as_str()).filter(|evidence| !evidence.is_empty());
        let words: Vec<String> = [meaning.map(str::to_owned), evidence.map(|e| format!("[{e}]")), note(line)]
            .into_iter()
            .flatten()
            .collect();
        let _ = writeln!(text, "  {:>+8}  {:<width$}  {}", line.points, line.symbol, words.join(" "));
    }
    let _ = writeln!(text, "  {:>+8}  in all", points.total);
    if points.refusing != points.total {
        let _ = writeln!(text, "  {:>+8}  of these may refuse: some checks only mark", points.refusing);
    }
    for capped in &points.capped {
        let _ = writeln!(
            text,
            "{} would have come to {}; it counts for at most {}.",
            bounded(&capped.group),
            capped.before,
            capped.bound
        );
    }
}

/// What was bounded: a group, or what a composite bounds.
fn bounded(name: &str) -> String {
    if is_symbol(name) { format!("What {name} bounds") } else { format!("The group {name}") }
}

fn note(line: &Line) -> Option<String> {
    match &line.note {
        Note::Whole => None,
        Note::Capped(group) => {
            Some(format!("(by itself {:+}; the group {group} is at its bound)", line.full))
        }
        Note::Bounded(by) => Some(format!("(by itself {:+}; {by} bounds it)", line.full)),
        Note::Replaced(by) => Some(format!("(by itself {:+}; {by} stands in its place)", line.full)),
        Note::Observed => Some(format!("(would be {:+}; its check only records)", line.full)),
        Note::Undefined => Some("(not defined: worth nothing)".to_owned()),
    }
}

#[cfg(test)]
mod tests;
