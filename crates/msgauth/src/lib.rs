//! Who sent this: DKIM signing and its keys.
