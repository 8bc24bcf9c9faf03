//! Durable state behind two traits: the journal is the truth, sled is the database over it.

pub mod disk;
pub mod journal;
pub mod model;
pub mod queue_store;

pub use model::*;
pub use queue_store::{Page, Pending, QueueFigures, QueueStore, StoreError};

/// A body that is being written to a file of its own.
#[derive(Debug)]
pub struct BodyWriter {}

/// A body in a file of its own, complete but not yet part of a stored message.
#[derive(Debug)]
pub struct SpooledBody {}
