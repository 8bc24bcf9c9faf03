//! Checks of the message itself.

pub mod authentication;
pub mod bounce;
pub mod content_checks;
pub mod header_sanity;
