//! The envelope: what MAIL and RCPT said, apart from the message (RFC 5321 §2.3.1, RFC 3461).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::xtext;

/// The reverse-path of MAIL: where reports go, or nowhere (RFC 5321 §4.5.5).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReversePath {
    /// `<>`: never answered with a report.
    Null,
    /// A mailbox.
    Mailbox(Address),
}

impl ReversePath {
    /// The mailbox, if there is one.
    #[must_use]
    pub fn mailbox(&self) -> Option<&Address> {
        match self {
            Self::Null => None,
            Self::Mailbox(address) => Some(address),
        }
    }

    /// True for `<>`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

/// Without brackets; empty for the null path.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Mailbox(address) => address.fmt(f),
        }
    }
}

/// BODY= of MAIL (RFC 6152 §2). BINARYMIME is not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum BodyType {
    /// `7BIT`, or nothing said.
    #[default]
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
}

/// RFC 3461 §4.2: ORCPT is at most 500 characters.
const ORCPT_BYTES_MAX: usize = 500;

/// RET= of MAIL: how much of the message a failure report carries (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ret {
    /// All of it.
    Full,
    /// The header only.
    Headers,
}

/// NOTIFY= of RCPT: when the sender wants a report (RFC 3461 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "RFC 3461 has three independent keywords and NEVER")]
pub struct Notify {
    /// NOTIFY was given: `NEVER` is `explicit` with the three others false.
    pub explicit: bool,
    /// A report when delivered.
    pub success: bool,
    /// A report when failed.
    pub failure: bool,
    /// A report when late.
    pub delay: bool,
}

impl Notify {
    /// No reports at all.
    pub const NEVER: Self = Self { explicit: true, success: false, failure: false, delay: false };

    /// Reads what stands behind `NOTIFY=`: NEVER stands alone (RFC 3461 §4.1). None when it is malformed.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        let value = value.to_ascii_uppercase();
        if value == b"NEVER" {
            return Some(Self::NEVER);
        }
        let mut notify = Self { explicit: true, ..Self::NEVER };
        for word in value.split(|byte| *byte == b',') {
            match word {
                b"SUCCESS" => notify.success = true,
                b"FAILURE" => notify.failure = true,
                b"DELAY" => notify.delay = true,
                _ => return None,
            }
        }
        Some(notify)
    }
}

/// RFC 3461 §4.1: without NOTIFY a failure is reported, and a delay may be.
impl Default for Notify {
    fn default() -> Self {
        Self { explicit: false, success: false, failure: true, delay: true }
    }
}

/// The value as it stands after `NOTIFY=`.
impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let chosen: Vec<&str> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        f.write_str(if chosen.is_empty() { "NEVER".to_owned() } else { chosen.join(",") }.as_str())
    }
}

/// ORCPT= of RCPT: the address as the sender first wrote it (RFC 3461 §4.2), decoded from xtext.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OriginalRecipient {
    /// Address type, such as `rfc822` or `utf-8`.
    pub kind: String,
    /// The address, decoded.
    pub address: String,
}

impl OriginalRecipient {
    /// Reads what stands behind `ORCPT=` (RFC 3461 §4.2; RFC 6533 §3 for the type `utf-8`). None when it is malformed.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        if value.len() > ORCPT_BYTES_MAX {
            return None;
        }
        let mut parts = value.splitn(2, |byte| *byte == b';');
        let (kind, address) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let atom = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        if kind.is_empty() || !kind.iter().all(atom) || address.is_empty() {
            return None;
        }
        let kind = String::from_utf8_lossy(kind).to_ascii_lowercase();
        let mut address = xtext::decode(address)?;
        if kind == "utf-8" {
            address = xtext::decode_unicode(&address)?;
        }
        Some(Self { kind, address })
    }
}

/// What a verdict made of one recipient's copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub enum Disposition {
    /// The ordinary place.
    #[default]
    Inbox,
    /// The junk folder.
    Junk,
    /// Kept from the recipient until an operator releases it.
    Quarantine,
}
