//! Checks of the message itself.

pub mod bounce;
pub mod content_checks;
