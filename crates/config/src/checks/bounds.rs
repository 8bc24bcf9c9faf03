//! Numbers that would stop everything, and those that contradict one another.

use delivery::{DeliveryError, Maildir};

use super::Findings;
use crate::document::Place;
use crate::split_advice;

/// Each section's own check where it has one, so that a bound is known in one place.
pub(super) fn check(findings: &mut Findings<'_, '_>) {
    server(findings);
    if let Err(error) = findings.config.limits.check() {
        let place = Place::of("limits").key(error.key);
        let problem = findings
            .error(&place, format!("`{}` is too small", error.key))
            .label(error.consequence)
            .help(format!("write a number from {} up", error.least));
        findings.push(problem);
    }
    queue(findings);
    maildir(findings);
    learn(findings);
}

/// Filters of domains and accounts that could never speak.
fn learn(findings: &mut Findings<'_, '_>) {
    for (key, least, consequence) in findings.config.antispam.learn.too_small() {
        let place = Place::of("antispam").key("learn").key(key);
        let problem = findings
            .error(&place, format!("`{key}` is too small"))
            .label(consequence)
            .help(format!("write a number from {least} up"));
        findings.push(problem);
    }
}

/// Bounds of nothing at all: the server would run and do nothing.
fn server(findings: &mut Findings<'_, '_>) {
    let server = &findings.config.server;
    let section = Place::of("server");
    let bounds = [
        (
            Place::of("message_bytes_max"),
            findings.config.message_bytes_max,
            65_536,
            "smaller than ordinary mail",
        ),
        (section.key("sessions_max"), server.sessions_max as u64, 1, "nobody could connect"),
        (
            section.key("sessions_per_network_max"),
            server.sessions_per_network_max as u64,
            1,
            "nobody could connect",
        ),
        (
            section.key("body_memory_bytes_max"),
            server.body_memory_bytes_max as u64,
            1 << 20,
            "messages would crawl",
        ),
        (section.key("answer_seconds_max"), server.answer_seconds_max, 1, "nobody would be answered"),
        (section.key("password_hashes_max"), server.password_hashes_max as u64, 1, "nobody could log in"),
    ];
    for (place, value, least, consequence) in bounds {
        if value < least {
            let key = place.last_key();
            let problem = findings
                .error(&place, format!("`{key}` is too small"))
                .label(consequence)
                .help(format!("write a number from {least} up"));
            findings.push(problem);
        }
    }
}

/// What the queue's settings say of themselves.
fn queue(findings: &mut Findings<'_, '_>) {
    if let Err(error) = findings.config.queue.check() {
        // The error names its keys as `queue.KEY`; the first one is where to look.
        let words = error.to_string();
        let key = words.strip_prefix("queue.").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let (message, help) = split_advice(&words);
        let place = Place::of("queue").key(key);
        let problem = findings.error(&place, message).label("contradicts the rest").help(help);
        findings.push(problem);
    }
}

/// Modes in octal and the like are judged by the agent itself.
fn maildir(findings: &mut Findings<'_, '_>) {
    let settings = &findings.config.delivery.maildir;
    if let Err(DeliveryError::Setting { key, text, want }) = Maildir::new(settings, None, "localhost") {
        let place = key.split('.').fold(Place::root(), |place, key| place.key(key));
        let problem = findings
            .error(&place, format!("`{}` cannot be \"{text}\"", place.last_key()))
            .help(format!("write {want}"));
        findings.push(problem);
    }
}
