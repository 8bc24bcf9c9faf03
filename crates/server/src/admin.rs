//! Looking and steering: the commands about the queue, verdicts and what judging remembers, over `admin.sock`, a Unix socket in the data folder.
//!
//! One JSON object a line in both directions ([`protocol`]): a request, then any number of items, then `done` or
//! `error`. The socket has mode 0600, so that only the server's own user and root can speak to it. What the commands
//! do is up to the [`QueueControl`] that the queue runner implements; filtering and paging are done here, a page at a
//! time, so that a queue of any length is listed in bounded memory. A client that is slow or silent is cut off after
//! [`REQUEST_SECONDS_MAX`]; at most [`CLIENTS_MAX`] are served at once. Never speaks over a network.

mod client;
mod control;
mod filter;
pub mod protocol;
mod serve;
pub mod socket;

pub use antispam::backscatter::BackscatterMode;
pub use antispam::connect::dnsbl::lists::{Figures as ListFigures, Status as ListStatus};
pub use antispam::connect::rates::Event as RateEvent;
pub use antispam::connect::rates::locks::Lock;
pub use antispam::correspondents::acquaintance::{Acquaintance, Claims};
pub use antispam::rcpt::greylist::manage::{Line as Greylisted, State as GreylistState};
pub use antispam::reputation::Line as ReputationLine;
pub use client::{Client, ClientError};
pub use control::{BackscatterStatus, Control, ControlError, FsckReport, QueueControl, Status};
pub use filter::Filter;
pub use policy::{Mode, Score, VerdictRecord};
pub use protocol::{KeptView, MessageView, Order, RecipientView, Request, Response, Select};
pub use serve::{CLIENTS_MAX, REQUEST_SECONDS_MAX, serve};

#[cfg(test)]
mod tests;
