//! Where mail goes and how: the router and the delivery agents.
//!
//! [`Router`] answers at RCPT who a recipient is and at delivery where it goes; [`Agents`] takes a [`Job`] there and gives
//! a [`queue::Outcome`] for every recipient. Between them stand the values: [`NextHop`] is what an operator writes,
//! [`Route`] and [`Hop`] what it comes to, [`Content`] the message as it leaves. `[outbound]` and `[delivery]` of the
//! configuration are in [`settings`].
//!
//! Never decides when to try again, whom to tell of a failure, or who may relay. What peers, disks and tables do at run
//! time is an outcome; only an operator's mistakes are errors ([`DeliveryError`]).
//!
//! RFC 5321 (SMTP client, MX, trace at final delivery), 2033 (LMTP), 1870, 2034, 2920, 3030, 3207, 3461, 4954, 6152, 6531,
//! 7504, 7505, 9422; Maildir and Maildir++.

pub mod agents;
pub mod content;
pub mod error;
pub mod figures;
pub mod maildir;
pub mod router;
pub mod settings;
pub mod smtp;

#[cfg(test)]
mod testing;

pub use agents::{Agent, AgentParts, Agents, Job, Route};
pub use content::{Content, Source, Top};
pub use error::DeliveryError;
pub use figures::Figures;
pub use mail::next_hop::{
    Endpoint, Host, MaildirPath, MaildirTemplate, NextHop, NextHopError, SmtpTarget, TlsStart,
};
pub use maildir::{Maildir, MaildirDelivery, MaildirError, Owner};
pub use router::{
    Directory, LocalDomain, Recipients, Resolution, RouteTrouble, Router, RouterParts, Routes,
    names_another_host,
};
pub use settings::{
    AliasSettings, DeliverySettings, MaildirSettings, OutboundRoute, OutboundSettings, Timeouts, TlsPolicy,
};
pub use smtp::{Hop, Ourselves, interface_addresses};
