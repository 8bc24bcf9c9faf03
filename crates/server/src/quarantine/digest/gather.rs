//! What is new in quarantine for each recipient: so many recipients at a time, in the order of their addresses, and of each
//! no more than a letter can show.
//!
//! The whole quarantine is looked through for every group of recipients, a page at a time; so what is in memory does not
//! grow with it.

use std::collections::{BTreeMap, BTreeSet};

use mail::{Address, QueueId, Timestamp};
use store::{Hold, Page, QueueEntry, RecipientState, StoreError};

use super::marks::{Mark, Marks, NAMES_MAX};
use crate::services::Services;

/// Messages looked at in one go.
const PAGE: usize = 500;

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
    /// There are recipients behind these.
    pub(super) is_cut: bool,
}

/// What a gathering goes by.
#[derive(Clone, Copy)]
pub(super) struct Gathering<'a> {
    pub(super) services: &'a Services,
    pub(super) marks: &'a Marks<'a>,
    /// Since when messages count for who was never told.
    pub(super) began: Timestamp,
    /// Recipients of one group at most.
    pub(super) recipients_max: usize,
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
        if after.is_some_and(|after| key.as_str() <= after) {
            return Ok(());
        }
        if !group.all.contains_key(&key) {
            let is_full = group.all.len() >= self.recipients_max;
            let comes_later = group.all.last_key_value().is_some_and(|(last, _)| key > *last);
            if is_full && comes_later {
                group.is_cut = true;
                return Ok(());
            }
            let mark = self.marks.of(recipient).await?.unwrap_or_else(|| Mark::began(self.began));
            group.all.insert(key.clone(), Kept::new(recipient, mark));
            if is_full {
                // Its turn comes with the next group.
                group.all.pop_last();
                group.is_cut = true;
            }
        }
        if let Some(kept) = group.all.get_mut(&key) {
            let entries_max = self.services.config.antispam.quarantine.digest_entries_max;
            kept.note((entry.record.arrived, entry.record.id), entries_max, self.marks.now);
        }
        Ok(())
    }
}

fn waiting(entry: &QueueEntry) -> impl Iterator<Item = &Address> {
    let recipients = entry.record.recipients.iter().zip(&entry.state.recipients);
    let pending = recipients.filter(|(_, status)| status.state == RecipientState::Pending);
    pending.map(|(recipient, _)| &recipient.address)
}
