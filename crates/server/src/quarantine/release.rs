//! Recipients who release what was kept back for them, by a letter to an address that stood in theirs.
//!
//! At RCPT such an address is known by its form, and nothing is read for it before its check holds: to guess costs the queue
//! nothing. It is good when the message is kept back for the recipient that it names. What is written to it is judged like any letter and then thrown away. An answer goes to the recipient of the
//! message alone, and never to whoever wrote (no backscatter). Who is too late, or has released it already, hears so at RCPT.

use antispam::quarantine::token::{self, Claim};
use mail::{Address, QueueId, Timestamp};
use store::{Hold, QueueEntry, RecipientState, StoreError};

use crate::services::Services;

/// One copy of one message, to be released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The message.
    pub id: QueueId,
    /// For whom it is kept back.
    pub recipient: Address,
}

/// What RCPT said, when it is such an address.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is good.
    For(Release),
    /// It is not, or nothing is kept back by this name any more.
    Nothing,
    /// It could not be found out.
    Unavailable,
}

/// Looks at an address; none when it is an ordinary one.
pub async fn asked(services: &Services, address: &Address, now: Timestamp) -> Option<Asked> {
    if !services.config.antispam.quarantine.recipients_release || !services.router.is_ours(&address.domain) {
        return None;
    }
    let claim = Claim::read(address.local.as_str())?;
    if !claim.is_ours(&services.judge.marks().keys, &address.domain, now) {
        return Some(Asked::Nothing);
    }
    let entry = match services.shared.store.get(claim.id).await {
        Ok(entry) => entry,
        Err(StoreError::Absent | StoreError::Damaged(_)) => return Some(Asked::Nothing),
        Err(_) => return Some(Asked::Unavailable),
    };
    // Whoever writes has read the recipient's letter: whether it is still there may be told.
    let named = entry.record.recipients.get(usize::from(claim.recipient)).map(|recipient| &recipient.address);
    let kept = named.filter(|recipient| theirs(&entry, recipient).next().is_some());
    Some(kept.map_or(Asked::Nothing, |recipient| {
        Asked::For(Release { id: claim.id, recipient: recipient.clone() })
    }))
}

/// The places of this recipient among those for whom the message is kept back.
pub(crate) fn kept_for(entry: &QueueEntry, recipient: &Address) -> impl Iterator<Item = usize> {
    let key = recipient.lookup_key();
    let is_kept = entry.state.hold == Some(Hold::Quarantine);
    let all = entry.record.recipients.iter().zip(&entry.state.recipients).enumerate();
    let theirs = all.filter(move |(_, (record, status))| {
        is_kept && status.state == RecipientState::Pending && record.address.lookup_key() == key
    });
    theirs.map(|(index, _)| index)
}

/// Those of [`kept_for`] that the recipient may release without an operator.
pub(crate) fn theirs(entry: &QueueEntry, recipient: &Address) -> impl Iterator<Item = usize> {
    let may_release =
        |index: &usize| entry.record.recipients.get(*index).is_some_and(|record| record.may_release);
    kept_for(entry, recipient).filter(may_release)
}

/// The address by which this recipient releases this message; none when only an operator may.
pub(super) fn address(
    services: &Services,
    entry: &QueueEntry,
    recipient: &Address,
    now: Timestamp,
) -> Option<String> {
    let settings = &services.config.antispam.quarantine;
    let place = theirs(entry, recipient).next().filter(|_| settings.recipients_release)?;
    let (keys, copy) = (&services.judge.marks().keys, (entry.record.id, place));
    let local = token::local_part(keys, copy, &recipient.domain, settings.release_ends(now))?;
    Some(format!("{local}@{}", recipient.domain))
}
