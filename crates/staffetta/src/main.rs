//! The Staffetta mail server: one binary for the daemon and its tools.
fn main() {}
