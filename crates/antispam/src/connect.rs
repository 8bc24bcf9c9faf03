//! Checks of the client's address, before it has said a word.
