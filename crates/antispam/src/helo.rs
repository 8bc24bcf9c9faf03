//! Checks of the name that the client gives itself, and of what is known once it has given it.

pub mod claim;
pub mod early_pipelining;
pub mod early_talker;
pub mod rdns;
