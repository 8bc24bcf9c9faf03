//! Certificates of our own making: for the first start, before a certificate authority has signed one.
//!
//! Other servers' opportunistic TLS takes them; users' programs will warn.

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

use super::TlsError;

/// Makes a self-signed P-256 certificate for some names. Gives certificate and key in PEM.
///
/// # Errors
/// [`TlsError::Make`] when a name cannot stand in a certificate or no key could be made.
pub fn self_signed(names: &[&str]) -> Result<(String, String), TlsError> {
    let made = || {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names.clone())?;
        params.distinguished_name.push(DnType::CommonName, names.first().cloned().unwrap_or_default());
        let certificate = params.self_signed(&key)?;
        Ok::<_, rcgen::Error>((certificate.pem(), key.serialize_pem()))
    };
    made().map_err(|error| TlsError::Make(error.to_string()))
}
