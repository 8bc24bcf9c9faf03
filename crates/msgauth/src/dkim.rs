//! DKIM (RFC 6376): our signatures, by RSA with 2,048 bits (RFC 8301) and Ed25519 (RFC 8463), and those of others.
//!
//! Signatures of others are verified by [`crate::examine`] and [`crate::Examined::dkim`]; each becomes an [`Outcome`].
//!
//! Keys are files, `<folder>/<domain>/<selector>.pem`; every key of a domain signs, so that a new one can be published
//! before the old one goes. Header and body are canonicalised `relaxed/relaxed`. What is wrong with a key file is a
//! [`KeyError`] that names it; a message that cannot be signed is a [`SignError`].

mod key;
pub(crate) mod public_key;
mod record;
mod sign;
pub(crate) mod signature;
mod store;
pub(crate) mod verify;

use std::io;
use std::path::PathBuf;

pub use key::{Algorithm, Key};
pub use public_key::RSA_BITS_MIN;
pub use record::{Publication, Record};
pub use store::KeyStore;
pub(crate) use verify::Prepared;
pub use verify::{Outcome, summary};

/// Why there is no key: the administrator's files.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file or folder cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// A file or folder cannot be written.
    #[error("{}: cannot be written: {error}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// There is such a key already: it is never overwritten.
    #[error("{}: there is a key already; choose another selector, or move this file away", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// Not a key that DKIM can use.
    #[error("{}: no usable private key: {why}", path.display())]
    Broken {
        /// Which.
        path: PathBuf,
        /// What is wrong with it, and what is wanted.
        why: String,
    },
    /// A folder whose name is no domain.
    #[error("{}: the folder's name is not a domain name", path.display())]
    Domain {
        /// Which.
        path: PathBuf,
    },
    /// A selector that cannot stand in DNS.
    #[error("`{0}` is not a selector: letters, digits and hyphens, such as 2026a")]
    Selector(String),
    /// The system gave no randomness, or the library failed.
    #[error("a key could not be made")]
    Make,
}

/// Why a message is not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// Its body could not be read.
    #[error("the message cannot be read: {0}")]
    Body(#[from] io::Error),
    /// None of the fields that are to be signed is there.
    #[error("the message has no header field that could be signed")]
    NoHeader,
    /// The library failed.
    #[error("signing failed: {0}")]
    Crypto(String),
}
