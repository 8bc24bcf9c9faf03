//! What can be wrong with the set-up of delivery. What peers and disks cause at run time is an outcome, never an error.

use mail::next_hop::NextHopError;

/// An operator's mistake, found at start or reload.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// A value that makes no sense.
    #[error("{key}: `{text}` will not do; write {want}")]
    Setting {
        /// The configuration key.
        key: String,
        /// Its value.
        text: String,
        /// What to write instead.
        want: String,
    },
    /// A next hop.
    #[error("{key}: {error}")]
    NextHop {
        /// The configuration key.
        key: String,
        /// What is wrong with it.
        error: NextHopError,
    },
}

impl DeliveryError {
    pub(crate) fn setting(key: impl Into<String>, text: impl Into<String>, want: impl Into<String>) -> Self {
        Self::Setting { key: key.into(), text: text.into(), want: want.into() }
    }
}
