//! TLS for both sides: settings, the one cryptographic provider, and what is known of a connection afterwards.
//!
//! rustls with aws-lc-rs, TLS 1.2 and 1.3 only; no process-wide default provider is installed or needed. The server
//! side is [`ServerTls`] (certificates by name, re-read when their files change), the client side [`ClientTls`].
//! Nothing here decides whether mail may go in clear: that is the callers' policy. Broken certificate files are a
//! [`TlsError`] which names the file. RFC 3207, RFC 8314, RFC 8446, RFC 9266.

mod client;
mod own;
mod server;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::crypto::aws_lc_rs::{self, cipher_suite as suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{CommonState, ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use client::{ClientTls, Verify, client_config};
pub use own::self_signed;
pub use server::{Expiry, Reload, ServerTls};

/// `[tls]`: our certificates and what is demanded of clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// The certificate in PEM, followed by its intermediates. Re-read when the file changes; a broken new file is
    /// reported and the old certificate stays in use.
    pub certificate: PathBuf,
    /// Its private key in PEM (PKCS#8, PKCS#1 or SEC1). An EC P-256 key makes handshakes ten times cheaper than RSA.
    pub key: PathBuf,
    /// Further certificates, for clients that ask for other names.
    pub sni: Vec<SniSettings>,
    /// Oldest version that is spoken: `1.2` or `1.3`. 1.2: many mail servers know nothing newer.
    pub minimum: TlsVersion,
    /// Seconds a handshake may take. 30.
    pub handshake_seconds_max: u64,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            certificate: PathBuf::from("tls/fullchain.pem"),
            key: PathBuf::from("tls/key.pem"),
            sni: Vec::new(),
            minimum: TlsVersion::Tls12,
            handshake_seconds_max: 30,
        }
    }
}

/// `[[tls.sni]]`: a certificate for further names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SniSettings {
    /// Names that clients ask for; `*.example.org` stands for every name one label below example.org.
    pub names: Vec<String>,
    /// The certificate in PEM, followed by its intermediates.
    pub certificate: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

impl TlsVersion {
    fn and_newer(self) -> &'static [&'static SupportedProtocolVersion] {
        static ONLY_13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
        match self {
            Self::Tls12 => rustls::ALL_VERSIONS,
            Self::Tls13 => &ONLY_13,
        }
    }
}

/// Why there is no TLS: the administrator's files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {error}{}", file.display(), read_advice(error))]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No certificate in the file.
    #[error("{}: there is no certificate in PEM form (-----BEGIN CERTIFICATE-----) in this file", file.display())]
    NoCertificate {
        /// Which.
        file: PathBuf,
    },
    /// No usable private key in the file.
    #[error("{}: there is no private key in PEM form (-----BEGIN PRIVATE KEY-----) in this file", file.display())]
    NoKey {
        /// Which.
        file: PathBuf,
    },
    /// The file is there, its contents are broken.
    #[error("{}: {why}", file.display())]
    Broken {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key belong to different pairs.
    #[error("{} does not belong to the certificate in {}: give the key that the certificate was made for",
        key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A name in `[[tls.sni]]` is none.
    #[error("`{0}` in [[tls.sni]] names is not a host name: write mail.example.org or *.example.org")]
    Name(String),
    /// A certificate could not be made.
    #[error("a self-signed certificate could not be made: {0}")]
    Make(String),
}

fn read_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; give the right path, relative to the configuration file",
        io::ErrorKind::PermissionDenied => "; let the server's user read it",
        _ => "",
    }
}

/// What is known of a TLS connection, for trace headers, logs and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite's name in the IANA registry, such as `TLS_AES_128_GCM_SHA256`.
    pub cipher: String,
    /// The key exchange group, such as `X25519`.
    pub group: Option<String>,
    /// The name the client asked for (server side only).
    pub sni: Option<String>,
    /// Channel binding data of type `tls-exporter` (RFC 9266), for SCRAM-PLUS. TLS 1.3 only: under TLS 1.2 it is safe
    /// only with an extension that is not seen from here (RFC 9266 §4.2).
    pub exporter: Option<[u8; 32]>,
}

impl TlsInfo {
    /// Of a server connection whose handshake is complete.
    #[must_use]
    pub fn of_server(connection: &rustls::ServerConnection) -> Self {
        let exporter = |out: [u8; 32]| connection.export_keying_material(out, EXPORTER_LABEL, None).ok();
        let sni = connection.server_name().map(str::to_owned);
        Self::of(connection, sni, exporter)
    }

    /// Of a client connection whose handshake is complete.
    #[must_use]
    pub fn of_client(connection: &rustls::ClientConnection) -> Self {
        let exporter = |out: [u8; 32]| connection.export_keying_material(out, EXPORTER_LABEL, None).ok();
        Self::of(connection, None, exporter)
    }

    fn of(state: &CommonState, sni: Option<String>, exporter: impl Fn([u8; 32]) -> Option<[u8; 32]>) -> Self {
        let is_13 = state.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        Self {
            version: if is_13 { "TLSv1.3" } else { "TLSv1.2" },
            cipher: state.negotiated_cipher_suite().map(cipher_name).unwrap_or_default(),
            group: state.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())),
            sni,
            exporter: if is_13 { exporter([0; 32]) } else { None },
        }
    }
}

/// RFC 9266 §4: the label; there is no context.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// The IANA name: rustls marks its TLS 1.3 suites `TLS13_`.
fn cipher_name(suite: SupportedCipherSuite) -> String {
    suite.suite().as_str().unwrap_or("unknown").replacen("TLS13_", "TLS_", 1)
}

/// The one provider, shared by all configurations.
///
/// X25519 comes first because it is the cheapest; the hybrid with ML-KEM (post-quantum) is there for clients that
/// offer it alone. AES-128 comes first among ciphers for the same reason.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let make = || {
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups = GROUPS.to_vec();
        provider.cipher_suites = SUITES.to_vec();
        Arc::new(provider)
    };
    Arc::clone(PROVIDER.get_or_init(make))
}

const GROUPS: [&dyn SupportedKxGroup; 4] =
    [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1, kx_group::X25519MLKEM768];

const SUITES: [SupportedCipherSuite; 9] = [
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];
