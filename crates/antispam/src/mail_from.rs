//! Checks of the reverse-path (MAIL).

pub mod own_sender;
pub mod sender_domain;
pub mod spf;
