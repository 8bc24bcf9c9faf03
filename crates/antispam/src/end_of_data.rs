//! Checks of the message itself.
