//! Where mail goes and how: the router and the delivery agents.

pub mod agents;
pub mod content;
pub mod error;
pub mod figures;
pub mod maildir;
pub mod next_hop;
pub mod router;
pub mod settings;
pub mod smtp;

#[cfg(test)]
mod testing;

pub use agents::{Agent, AgentParts, Agents, Job, Route};
pub use content::{Content, Source, Top};
pub use error::DeliveryError;
pub use figures::Figures;
pub use maildir::{Maildir, MaildirDelivery, MaildirError, Owner};
pub use next_hop::{
    Endpoint, Host, MaildirPath, MaildirTemplate, NextHop, NextHopError, SmtpTarget, TlsStart,
};
pub use router::{
    Directory, LocalDomain, Recipients, Resolution, RouteTrouble, Router, RouterParts, Routes,
    names_another_host,
};
pub use settings::{
    AliasSettings, DeliverySettings, MaildirSettings, OutboundRoute, OutboundSettings, Timeouts, TlsPolicy,
};
pub use smtp::{Hop, Ourselves};
