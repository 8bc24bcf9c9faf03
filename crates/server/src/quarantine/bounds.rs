//! How much may be kept back: beyond `[antispam.quarantine] messages_max` and `bytes_max` the oldest give way.
//!
//! New mail is never refused for it, for it was accepted already; and what has lain there for longest has been told of most
//! often. What goes is thrown away by the steward, with a line in the log and a count for each message. Looked at with every
//! round of the auditor, so that a flood may be over the limits for a minute.

use antispam::quarantine::QuarantineSettings;
use mail::Timestamp;
use store::{Hold, Page, QueueEntry};

use crate::maillog::Level;
use crate::services::Services;

/// Messages looked at in one go.
const PAGE: usize = 500;

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    messages: u64,
    bytes: u64,
}

impl Tally {
    /// Adds those of a page that are kept back, and not for too long.
    pub fn add(&mut self, page: &[QueueEntry], settings: &QuarantineSettings, now: Timestamp) {
        let kept = page.iter().filter(|entry| entry.state.hold == Some(Hold::Quarantine));
        for entry in kept.filter(|entry| !settings.is_over(entry.record.arrived, now)) {
            self.messages += 1;
            self.bytes = self.bytes.saturating_add(entry.record.size);
        }
    }
}

/// Tells the metrics, and throws the oldest away where there is too much. `all` is the whole quarantine.
pub async fn keep_within(services: &Services, all: Tally) {
    let settings = &services.config.antispam.quarantine;
    services.shared.metrics.quarantine_holds(all.messages, all.bytes);
    let (mut messages, mut bytes) = settings.excess(all.messages, all.bytes);
    if (messages, bytes) == (0, 0) {
        return;
    }
    let text =
        format!("too much is in quarantine: {} messages, {} bytes; the oldest go", all.messages, all.bytes);
    services.shared.log.notice(Level::Warning, &text);
    let mut after = None;
    while messages > 0 || bytes > 0 {
        // Ids grow with time: the oldest come first. What cannot be read now is looked at on the next round.
        let Ok(page) = services.shared.store.list(Page { after, limit: PAGE }).await else { return };
        let Some(last) = page.last() else { return };
        after = Some(last.record.id);
        for entry in page.iter().filter(|entry| entry.state.hold == Some(Hold::Quarantine)) {
            if (messages, bytes) == (0, 0) {
                return;
            }
            if services.shared.steward.displace(entry.record.id).await == Ok(true) {
                messages = messages.saturating_sub(1);
                bytes = bytes.saturating_sub(entry.record.size);
            }
        }
    }
}
