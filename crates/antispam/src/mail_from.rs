//! Checks of the reverse-path (MAIL).
