//! The vocabulary of mail: what every other crate means by *address*, *envelope*, *reply* and *queue id*.
//!
//! Pure values and their parsers: no sockets, no clock, no files, no environment. What this crate prints, it
//! parses back (tested). Names are those of RFC 5321, RFC 5598, RFC 3461 and RFC 3463.

pub mod address;
pub mod auth_result;
pub mod client;
pub mod domain;
pub mod dsn;
pub mod envelope;
pub mod header;
pub mod next_hop;
pub mod path;
pub mod queue_id;
pub mod received;
pub mod reply;
pub mod time;
pub mod xtext;

pub use address::{Address, AddressError, LocalPart};
pub use auth_result::AuthResult;
pub use client::{ClientNetwork, canonical_ip};
pub use domain::{Domain, DomainError};
pub use envelope::{BodyType, Disposition, Notify, OriginalRecipient, Ret, ReversePath};
pub use next_hop::NextHop;
pub use path::{ForwardPath, PathError};
pub use queue_id::QueueId;
pub use reply::{EnhancedStatus, Reply};
pub use time::Timestamp;
