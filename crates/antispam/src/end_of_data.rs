//! Checks of the message itself.

pub mod attachments;
pub mod authentication;
pub(crate) mod author;
pub mod bayes;
pub mod bounce;
pub mod content_checks;
pub mod correspondent;
pub mod handed_on;
pub mod header_sanity;
pub mod links;
pub mod mime;
pub mod own_filters;
pub mod reputation;
pub mod rules;
