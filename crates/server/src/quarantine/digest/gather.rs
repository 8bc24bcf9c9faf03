//! What is new in quarantine for each recipient, and of each no more than a letter can show: in one walk through the queue, a
//! page at a time, as long as what is gathered has room in memory.
//!
//! When it has not, those whose addresses come last give way, and another walk gathers for them. So what is in memory does
//! not grow with the quarantine: 20,000 recipients with some messages each find room in one walk, and 700 of whom each has
//! as many as can be told.

use std::collections::{BTreeMap, BTreeSet};

use mail::{Address, QueueId, Timestamp};
use store::{Hold, Page, QueueEntry, RecipientState, StoreError};

use super::marks::{Mark, Marks, NAMES_MAX};
use crate::services::Services;

/// Messages looked at in one go.
const PAGE: usize = 500;
/// Octets of memory that a recipient takes, nearly, without messages and without what the address has twice.
const RECIPIENT_BYTES: usize = 400;
/// Octets that each message takes beside a recipient, nearly.
const MESSAGE_BYTES: usize = 32;

/// What is kept back for one recipient.
#[derive(Debug)]
pub(super) struct Kept {
    /// Whose it is.
    pub(super) recipient: Address,
    /// Of how many messages nothing was said yet.
    pub(super) count: usize,
    /// The newest of them.
    pub(super) newest: BTreeSet<(Timestamp, QueueId)>,
    /// Those that came shortly before the letter, told before or not: to know them again.
    late: BTreeSet<(Timestamp, QueueId)>,
    mark: Mark,
}

/// Some recipients.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// By their keys.
    pub(super) all: BTreeMap<String, Kept>,
    /// The first of those who gave way: what was gathered for them is gone, and more of it would be a part.
    pub(super) cut: Option<String>,
    /// Octets of all of it, nearly.
    bytes: usize,
}

/// What a gathering goes by.
#[derive(Clone, Copy)]
pub(super) struct Gathering<'a> {
    pub(super) services: &'a Services,
    pub(super) marks: &'a Marks<'a>,
    /// Since when messages count for who was never told.
    pub(super) began: Timestamp,
    /// Octets of memory for one group; it has one recipient at least.
    pub(super) bytes_max: usize,
}

impl Kept {
    fn new(recipient: &Address, mark: Mark) -> Self {
        let recipient = recipient.clone();
        Self { recipient, count: 0, newest: BTreeSet::new(), late: BTreeSet::new(), mark }
    }

    fn note(&mut self, message: (Timestamp, QueueId), entries_max: usize, now: Timestamp) {
        let (arrived, id) = message;
        if self.mark.is_new(arrived, id) {
            self.count += 1;
            bounded(&mut self.newest, message, entries_max);
        }
        if Mark::is_late(arrived, now) {
            bounded(&mut self.late, message, NAMES_MAX);
        }
    }

    /// Octets that it takes, nearly.
    fn bytes(&self) -> usize {
        let messages = self.newest.len() + self.late.len();
        RECIPIENT_BYTES + self.mark.bytes() + messages * MESSAGE_BYTES
    }

    /// The mark of who was told of all this.
    pub(super) fn told(&self, now: Timestamp) -> Mark {
        Mark::told(now, self.late.iter().map(|(_, id)| *id))
    }
}

/// Keeps the newest.
fn bounded(all: &mut BTreeSet<(Timestamp, QueueId)>, message: (Timestamp, QueueId), max: usize) {
    all.insert(message);
    if all.len() > max {
        all.pop_first();
    }
}

impl Gathering<'_> {
    /// The recipients in our domains whose keys come after this one.
    pub(super) async fn after(&self, key: Option<&str>) -> Result<Group, StoreError> {
        let mut group = Group::default();
        let mut after = None;
        loop {
            let page = self.services.shared.store.list(Page { after, limit: PAGE }).await?;
            let Some(last) = page.last() else { return Ok(group) };
            after = Some(last.record.id);
            for entry in page.iter().filter(|entry| entry.state.hold == Some(Hold::Quarantine)) {
                for recipient in waiting(entry) {
                    if self.services.router.is_ours(&recipient.domain) {
                        self.take(&mut group, recipient, entry, key).await?;
                    }
                }
            }
        }
    }

    async fn take(
        &self,
        group: &mut Group,
        recipient: &Address,
        entry: &QueueEntry,
        after: Option<&str>,
    ) -> Result<(), StoreError> {
        let key = recipient.lookup_key();
        let is_later = group.cut.as_ref().is_some_and(|cut| key >= *cut);
        if is_later || after.is_some_and(|after| key.as_str() <= after) {
            return Ok(());
        }
        if !group.all.contains_key(&key) {
            let mark = self.marks.of(recipient).await?.unwrap_or_else(|| Mark::began(self.began));
            let kept = Kept::new(recipient, mark);
            group.bytes += kept.bytes() + 2 * key.len();
            group.all.insert(key.clone(), kept);
        }
        if let Some(kept) = group.all.get_mut(&key) {
            let entries_max = self.services.config.antispam.quarantine.digest_entries_max;
            let before = kept.bytes();
            kept.note((entry.record.arrived, entry.record.id), entries_max, self.marks.now);
            group.bytes += kept.bytes().saturating_sub(before);
        }
        group.keep_within(self.bytes_max);
        Ok(())
    }
}

impl Group {
    /// Those who come last give way until there is room for the others; their turn comes with the next group.
    fn keep_within(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max && self.all.len() > 1 {
            let Some((key, kept)) = self.all.pop_last() else { return };
            self.bytes = self.bytes.saturating_sub(kept.bytes() + 2 * key.len());
            self.cut = Some(key);
        }
    }
}

fn waiting(entry: &QueueEntry) -> impl Iterator<Item = &Address> {
    let recipients = entry.record.recipients.iter().zip(&entry.state.recipients);
    let pending = recipients.filter(|(_, status)| status.state == RecipientState::Pending);
    pending.map(|(recipient, _)| &recipient.address)
}
