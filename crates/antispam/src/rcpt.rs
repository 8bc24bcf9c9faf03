//! Checks of a recipient (RCPT).
