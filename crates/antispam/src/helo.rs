//! Checks of the name that the client gives itself.
