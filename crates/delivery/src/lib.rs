//! Where mail goes and how: the router and the delivery agents.

pub mod content;
pub mod error;
pub mod maildir;
pub mod next_hop;
pub mod settings;

#[cfg(test)]
mod testing;

pub use content::{Content, Source, Top};
pub use error::DeliveryError;
pub use maildir::{Maildir, MaildirDelivery, MaildirError, Owner};
pub use next_hop::{
    Endpoint, Host, MaildirPath, MaildirTemplate, NextHop, NextHopError, SmtpTarget, TlsStart,
};
pub use settings::{
    AliasSettings, DeliverySettings, MaildirSettings, OutboundRoute, OutboundSettings, Timeouts, TlsPolicy,
};
