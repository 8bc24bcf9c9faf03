//! One signing key: made, read from PEM, and its public half.

use std::fmt;
use std::path::Path;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail_auth::Result as LibraryResult;
use mail_auth::common::crypto::{
    Algorithm as LibraryAlgorithm, DkimKey, Ed25519Key, RsaKey, Sha256, SigningKey,
};
use mail_auth::common::headers::Writable;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::KeyError;

/// Smallest RSA key that signs. RFC 8301 §3.2: signers must use 1,024 bits or more and should use 2,048.
const RSA_BITS_MIN: usize = 1_024;

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `rsa-sha256` with 2,048 bits: what every verifier knows (RFC 8301 §3.2).
    Rsa2048,
    /// `ed25519-sha256`: short and fast, but many verifiers do not know it yet (RFC 8463).
    Ed25519,
}

/// A private key that signs for a domain. Its debug form shows nothing of it.
pub struct Key {
    signer: DkimKey,
    /// The tag `k=` and the value of `p=` (RFC 6376 §3.6.1).
    kind: &'static str,
    public: Vec<u8>,
}

impl Key {
    /// Makes a new key; gives its PKCS#8 in PEM.
    ///
    /// # Errors
    /// [`KeyError::Make`] when the system has no randomness to give.
    pub fn generate(algorithm: Algorithm) -> Result<String, KeyError> {
        let der = match algorithm {
            Algorithm::Rsa2048 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Make)?;
                AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| KeyError::Make)?
            }
            Algorithm::Ed25519 => {
                let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Make)?;
                AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| KeyError::Make)?
            }
        };
        Ok(pem(der.as_ref()))
    }

    /// Reads a key from PEM: PKCS#8, or PKCS#1 as older tools write RSA keys. The path is for error messages.
    ///
    /// # Errors
    /// [`KeyError::Broken`] for what is no RSA or Ed25519 private key.
    pub fn from_pem(pem: &[u8], path: &Path) -> Result<Self, KeyError> {
        let broken = |why: &str| KeyError::Broken { path: path.to_owned(), why: why.to_owned() };
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
            broken("there is no -----BEGIN PRIVATE KEY----- in it, or what follows is damaged")
        })?;
        match der {
            PrivateKeyDer::Pkcs8(der) => {
                Self::rsa(PrivateKeyDer::Pkcs8(der.clone_key())).or_else(|| Self::ed25519(&der)).ok_or_else(
                    || broken("only RSA keys of 1,024 bits and more, and Ed25519 keys, sign for DKIM"),
                )
            }
            PrivateKeyDer::Pkcs1(der) => Self::rsa(PrivateKeyDer::Pkcs1(der))
                .ok_or_else(|| broken("it is damaged, or has less than 1,024 bits")),
            _ => {
                Err(broken("only RSA and Ed25519 keys sign for DKIM; `staffetta dkim new DOMAIN` makes one"))
            }
        }
    }

    fn rsa(der: PrivateKeyDer<'_>) -> Option<Self> {
        let pair = match &der {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            _ => return None,
        };
        let pair = pair.ok().filter(|pair| pair.public_modulus_len() * 8 >= RSA_BITS_MIN)?;
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).ok()?.as_ref().to_vec();
        let signer = RsaKey::<Sha256>::from_key_der(der).ok()?.into();
        Some(Self { signer, kind: "rsa", public })
    }

    fn ed25519(der: &PrivatePkcs8KeyDer<'_>) -> Option<Self> {
        let der = der.secret_pkcs8_der();
        // Version 1 of PKCS#8, which other tools write, has no public half to check the private one with.
        let public = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?.public_key().as_ref().to_vec();
        let signer = Ed25519Key::from_pkcs8_maybe_unchecked_der(der).ok()?.into();
        Some(Self { signer, kind: "ed25519", public })
    }

    /// The text of the DNS record that goes with it (RFC 6376 §3.6.1, RFC 8463 §4).
    #[must_use]
    pub fn record_value(&self) -> String {
        format!("v=DKIM1; k={}; p={}", self.kind, STANDARD.encode(&self.public))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.kind)
    }
}

/// Lets one key serve many signers at once.
impl SigningKey for &Key {
    type Hasher = Sha256;

    fn sign(&self, input: impl Writable) -> LibraryResult<Vec<u8>> {
        self.signer.sign(input)
    }

    fn algorithm(&self) -> LibraryAlgorithm {
        self.signer.algorithm()
    }
}

/// RFC 7468 §10: PKCS#8 in PEM.
fn pem(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
    for (place, c) in STANDARD.encode(der).chars().enumerate() {
        if place > 0 && place % 64 == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text.push_str("\n-----END PRIVATE KEY-----\n");
    text
}
