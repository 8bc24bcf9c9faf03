//! Checks of the message itself.

pub mod bounce;
