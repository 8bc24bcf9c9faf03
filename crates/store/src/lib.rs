//! Durable state behind two traits: the journal is the truth, sled is the database over it.
//!
//! [`QueueStore`] is what the rest of the system sees; [`MemoryStore`] and [`EmbeddedStore`] are its engines, and one suite of
//! tests holds for both. [`StateStore`] is the memory of those who judge mail, with its own engines and suite. The format on disk and the states of a message are written down in `docs/queue-states.md`.
//! Nothing here knows SMTP, decides when something is retried, or delivers. A message that was acknowledged is never
//! lost, at worst delivered twice; what is damaged is held and shown, and the rest goes on.

mod body;
mod codec;
pub mod disk;
mod draft;
pub mod edits;
pub mod embedded;
pub mod journal;
pub mod memory;
pub mod model;
pub mod queue_store;
pub mod settings;
mod sled_db;
pub mod state;

pub use body::{BodyWriter, SpooledBody};
pub use draft::Draft;
pub use edits::{BodyEditor, BodyPiece, body_pieces, edited};
pub use embedded::{EmbeddedStore, OpenError, Recovery};
pub use memory::MemoryStore;
pub use model::*;
pub use queue_store::{Page, Pending, QueueFigures, QueueStore, StoreError};
pub use settings::Settings;
pub use state::{
    EmbeddedState, MemoryState, Op, StateEntry, StateKey, StateNotice, StatePage, StateSettings, StateStore,
    StateUsage, VALUE_BYTES_MAX, Write, Written,
};
