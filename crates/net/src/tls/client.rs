//! TLS as a client: opportunistic, where any certificate will do, or verified against the public authorities.
//!
//! Without verification the handshake's signatures are still checked, so that a broken peer is noticed; only the
//! certificate's trust and name are not (RFC 7435 §3). The authorities are compiled in (webpki-roots).

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme, WantsVerifier,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{TlsVersion, provider};

/// How far the peer's certificate is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verify {
    /// Not at all: protects against listeners, not against impostors.
    None,
    /// It must be valid, for the name, by an authority that browsers trust.
    WebPki,
}

/// A client's rustls configuration. Make one and keep it: it remembers sessions.
#[must_use]
pub fn client_config(verify: Verify) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if verify == Verify::WebPki {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let config = match verify {
        Verify::WebPki => builder().with_root_certificates(roots),
        Verify::None => {
            let anyone = Arc::new(Anyone(provider()));
            builder().dangerous().with_custom_certificate_verifier(anyone)
        }
    };
    Arc::new(config.with_no_client_auth())
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    let versions = TlsVersion::Tls12.and_newer();
    match ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions) {
        Ok(builder) => builder,
        // The library checks that ciphers and versions fit; ours are constants, and a test makes a handshake of each.
        Err(_) => unreachable!("the provider has ciphers for TLS 1.2 and 1.3"),
    }
}

/// Connects with TLS over an open connection.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
}

impl ClientTls {
    /// A client with one kind of verification. Make one of each and keep them.
    #[must_use]
    pub fn new(verify: Verify) -> Self {
        Self::from_config(client_config(verify))
    }

    /// A client with a configuration made elsewhere.
    #[must_use]
    pub fn from_config(config: Arc<ClientConfig>) -> Self {
        Self { connector: TlsConnector::from(config) }
    }

    /// The connector itself, for libraries that take one.
    #[must_use]
    pub fn connector(&self) -> &TlsConnector {
        &self.connector
    }

    /// Makes the handshake. The name is asked for (SNI) and, when verifying, must be in the certificate.
    ///
    /// Waits as long as the peer lets it: set a time limit around it.
    ///
    /// # Errors
    /// What rustls says, as an I/O error: an untrusted certificate, a broken peer, a lost connection.
    pub async fn connect<S>(&self, name: &str, stream: S) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
        self.connector.connect(name, stream).await
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientTls")
    }
}

/// Takes any certificate, but only from a peer that holds its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
