//! Checks of a recipient (RCPT).

pub mod greylist;
