//! What is kept back: how it is shown, how long it is kept, and how its recipients hear of it.
//!
//! Messages in quarantine are messages of the queue that a verdict holds (`Hold::Quarantine`); there is no second place for
//! them. Nothing here delivers: a released message goes the way of all others. What is over is thrown away with a line
//! in the log and a count, never returned to its sender.

pub mod bounds;
pub mod digest;
pub mod release;
pub mod shown;

#[cfg(test)]
mod tests;
