//! Tags of ours in addresses (BATV, draft-levine-smtp-batv): taken off at MAIL and RCPT, before anything else looks at them.
//!
//! So that aliases, mailboxes, access tables, greylisting, logs and reports know one address for one person. What a tag is
//! worth is remembered and decides nothing here: who verifies an address with a tag of whatever kind gets the answer that the
//! plain one gets.

use antispam::backscatter::Marks;
use delivery::Router;
use mail::{Address, ForwardPath, ReversePath, Timestamp};
use policy::Addressed;

/// What RCPT said, without its tag.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// The recipient.
    pub(crate) path: ForwardPath,
    /// As it was said, when that is something else.
    pub(crate) with_tag: Option<Address>,
    /// As whom it was written to.
    pub(crate) addressed: Addressed,
}

/// Takes the tag off a recipient of ours.
pub(crate) fn recipient(marks: &Marks, router: &Router, path: ForwardPath, now: Timestamp) -> Said {
    let ForwardPath::Mailbox(address) = path else {
        return Said { path, with_tag: None, addressed: Addressed::AsPostmaster };
    };
    let is_ours = router.is_ours(&address.domain);
    let untagged = if is_ours { marks.untagged(&address, now) } else { None };
    let Some(untagged) = untagged else {
        let addressed =
            if is_ours && is_postmaster(&address) { Addressed::AsPostmaster } else { Addressed::Plainly };
        return Said { path: ForwardPath::Mailbox(address), with_tag: None, addressed };
    };
    let addressed = match untagged.addressed() {
        Addressed::BadlyTagged if is_postmaster(&untagged.original) => Addressed::AsPostmaster,
        addressed => addressed,
    };
    Said { path: ForwardPath::Mailbox(untagged.original), with_tag: Some(address), addressed }
}

/// Takes the tag off a sender of ours; the second is the sender as said, when its tag holds. With it the message goes on when
/// it is somebody else who sends it: a letter of ours that comes back to be forwarded keeps what proves its bounces.
pub(crate) fn sender(
    marks: &Marks,
    router: &Router,
    path: ReversePath,
    now: Timestamp,
) -> (ReversePath, Option<Address>) {
    let found = path.mailbox().filter(|address| router.is_ours(&address.domain)).and_then(|address| {
        let untagged = marks.untagged(address, now)?;
        let holds = untagged.addressed() == Addressed::Tagged;
        Some((ReversePath::Mailbox(untagged.original), holds.then(|| address.clone())))
    });
    found.unwrap_or((path, None))
}

fn is_postmaster(address: &Address) -> bool {
    address.local.as_str().eq_ignore_ascii_case("postmaster")
}
