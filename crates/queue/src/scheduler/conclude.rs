//! The end of a message's round: expired or due again, who is told, and when the next attempt is.
//!
//! Every way out of the window leads through here, so that expiry holds whatever kept the message: refusals, silence,
//! a destination that rests, a delivery that was lost. RFC 5321 §4.5.4.1; RFC 3461 §5.2 for the reports.

use std::time::Duration;

use mail::Timestamp;
use store::{Change, RecipientState};

use super::active::{self, Active, Again, Leaving};
use crate::bounce::{self, Report, ReportKind, Reported};
use crate::outcome::Trouble;
use crate::retry::{self, Chance};
use crate::settings::Settings;

/// What is left to say of a message that leaves the window.
#[derive(Debug)]
pub(crate) struct Conclusion {
    pub(crate) changes: Vec<Change>,
    pub(crate) reports: Vec<Report>,
    /// When it is due again, if it is.
    pub(crate) next_attempt: Option<Timestamp>,
}

/// Ends the round of a message at `now`.
pub(crate) fn conclude(
    mut active: Active,
    settings: &Settings,
    chance: &mut Chance,
    now: Timestamp,
) -> Conclusion {
    let mut end = Conclusion { changes: Vec::new(), reports: Vec::new(), next_attempt: None };
    if active.leaving == Some(Leaving::Deleted) {
        return end;
    }
    let held = active.leaving == Some(Leaving::Held);
    let expires = settings.expires_at(active.entry.runs_since());
    if now >= expires && !held {
        let expired = active.deferred.drain(..);
        active.failed.extend(expired.map(|d| Reported { outcome: d.outcome, expired: true, at: d.at }));
    }
    for failed in &active.failed {
        end.changes.push(active::change(&failed.outcome, RecipientState::Failed, failed.at));
    }
    end.reports = bounce::decide(&active.entry, ReportKind::Failed, std::mem::take(&mut active.failed));
    if !active.deferred.is_empty() {
        active.write_deferred(&mut end.changes);
        let mut next = next_attempt(&active, settings, chance, now).min(expires.max(now));
        if let Some(warns) = warning_due(&active, settings) {
            if now < warns {
                next = next.min(warns);
            } else if !held {
                end.reports.extend(warn(&active));
                end.changes.push(Change::Warned);
            }
        }
        let attempts = active.entry.state.attempts.saturating_add(active.tried.into());
        end.changes.push(Change::Retry { next_attempt: next, attempts });
        end.next_attempt = Some(next);
    }
    end
}

/// When the sender is to be warned, if somebody wants that and it has not been done.
fn warning_due(active: &Active, settings: &Settings) -> Option<Timestamp> {
    let recipients = active.deferred.iter().map(|d| d.outcome.recipient);
    let wanted =
        !active.entry.state.warned && bounce::would_report(&active.entry, ReportKind::Delayed, recipients);
    if wanted { settings.warns_at(active.entry.runs_since()) } else { None }
}

fn warn(active: &Active) -> Vec<Report> {
    let late =
        active.deferred.iter().map(|d| Reported { outcome: d.outcome.clone(), expired: false, at: d.at });
    bounce::decide(&active.entry, ReportKind::Delayed, late.collect())
}

/// The earliest time that any deferred recipient wants.
fn next_attempt(active: &Active, settings: &Settings, chance: &mut Chance, now: Timestamp) -> Timestamp {
    let attempts = active.entry.state.attempts.saturating_add(active.tried.into()).max(1);
    // One draw for each kind of trouble: recipients of one message that wait alike wait together.
    let local = now.plus(retry::interval(settings, attempts, Trouble::Local, chance));
    let usual = now.plus(retry::interval(settings, attempts, Trouble::Destination, chance));
    let scatter = chance.between(Duration::ZERO, usual.since(now) / 5);
    let wanted = active.deferred.iter().map(|deferral| match deferral.again {
        Again::Interval(Trouble::Local) => local,
        Again::Interval(_) => usual,
        Again::AfterRest(until) => usual.max(until.plus(scatter)),
        Again::At(at) => at,
    });
    wanted.min().unwrap_or(usual)
}
