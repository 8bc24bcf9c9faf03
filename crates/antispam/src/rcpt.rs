//! Checks of a recipient (RCPT), and of what is known only since MAIL was answered: SPF.

pub mod dictionary;
pub mod greylist;
pub mod null_sender;
pub mod own_domain;
pub mod spam_trap;
pub mod spf;
