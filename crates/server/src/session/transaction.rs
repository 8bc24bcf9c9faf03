//! One mail transaction as the answerer remembers it: what MAIL and RCPT said and what was found out about it.

use mail::{Address, BodyType, Notify, OriginalRecipient, QueueId, Ret, ReversePath};
use policy::Addressed;

use crate::quarantine::release::Release;

/// What MAIL opened.
#[derive(Debug)]
pub struct Transaction {
    /// The name the message will have.
    pub id: QueueId,
    /// MAIL FROM, without a tag of ours.
    pub reverse_path: ReversePath,
    /// MAIL FROM with a tag of ours, when that holds.
    pub tagged_sender: Option<Address>,
    /// BODY=.
    pub body_type: BodyType,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// RET=.
    pub ret: Option<Ret>,
    /// ENVID=, decoded.
    pub envid: Option<String>,
    /// SIZE=, octets.
    pub declared: Option<u64>,
    /// What RCPT added.
    pub recipients: Vec<AcceptedRecipient>,
}

/// One accepted RCPT.
#[derive(Debug)]
pub struct AcceptedRecipient {
    /// The address that was accepted; for the bare `<postmaster>` the one it stands for.
    pub accepted_as: Address,
    /// As whom it was written to, before a tag of ours was taken off.
    pub addressed: Addressed,
    /// Where it leads: itself, or what aliases made of it.
    pub finals: Vec<Address>,
    /// NOTIFY=.
    pub notify: Notify,
    /// ORCPT=.
    pub original: Option<OriginalRecipient>,
    /// It is no mailbox: whoever writes to it wants this released, and the letter goes nowhere.
    pub releases: Option<Release>,
}
