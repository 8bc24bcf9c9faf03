//! Handshakes over loopback: versions, names, renewal while serving, verification, channel binding, bad peers.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use net::tls::{Reload, SniSettings, TlsVersion, client_config, self_signed};
use net::{ClientTls, ServerTls, TlsInfo, TlsSettings, Verify};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Writes a fresh pair for a name as `<stem>.pem` and `<stem>.key`.
fn write_pair(folder: &Path, stem: &str, name: &str) {
    let (certificate, key) = self_signed(&[name]).unwrap();
    fs::write(folder.join(format!("{stem}.pem")), certificate).unwrap();
    fs::write(folder.join(format!("{stem}.key")), key).unwrap();
}

fn settings(stem: &str) -> TlsSettings {
    TlsSettings {
        certificate: format!("{stem}.pem").into(),
        key: format!("{stem}.key").into(),
        ..TlsSettings::default()
    }
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// What a handshake came to.
struct Met {
    server: TlsInfo,
    client: TlsInfo,
    certificate: Vec<u8>,
}

async fn meet(server: &ServerTls, client: &ClientTls, name: &str) -> io::Result<Met> {
    let (near, far) = sockets().await;
    let (client, server) = tokio::join!(client.connect(name, near), server.accept(far));
    let client = client?;
    let (_, info) = server?;
    let connection = client.get_ref().1;
    Ok(Met {
        server: info,
        client: TlsInfo::of_client(connection),
        certificate: connection.peer_certificates().unwrap()[0].to_vec(),
    })
}

fn anyone() -> ClientTls {
    ClientTls::new(Verify::None)
}

/// A client that knows one version and one key exchange only.
fn only(
    version: &'static rustls::SupportedProtocolVersion,
    group: &'static dyn rustls::crypto::SupportedKxGroup,
) -> ClientTls {
    let mut config = client_config(Verify::None).as_ref().clone();
    let verifier = Arc::clone(config.crypto_provider());
    let mut provider = verifier.as_ref().clone();
    provider.kx_groups = vec![group];
    let mut fresh = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    fresh.dangerous().set_certificate_verifier(Arc::new(Trusting(verifier)));
    config = fresh;
    ClientTls::from_config(Arc::new(config))
}

#[tokio::test]
async fn the_cheap_key_exchange_is_preferred_and_others_are_taken() {
    use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768};
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "a", "mx.example.test");
    let server = ServerTls::load(&settings("a"), folder.path()).unwrap();
    let met = meet(&server, &anyone(), "mx.example.test").await.unwrap();
    assert_eq!((met.server.version, met.server.cipher.as_str()), ("TLSv1.3", "TLS_AES_128_GCM_SHA256"));
    assert_eq!(met.server.group.as_deref(), Some("X25519"));
    assert_eq!(met.server.sni.as_deref(), Some("mx.example.test"));
    for (version, group, words) in [
        (&rustls::version::TLS13, X25519MLKEM768, ("TLSv1.3", "X25519MLKEM768")),
        (&rustls::version::TLS13, SECP256R1, ("TLSv1.3", "secp256r1")),
        (&rustls::version::TLS12, X25519, ("TLSv1.2", "X25519")),
    ] {
        let met = meet(&server, &only(version, group), "mx.example.test").await.unwrap();
        assert_eq!((met.server.version, met.server.group.as_deref().unwrap()), words);
    }
}

#[tokio::test]
async fn both_ends_share_the_channel_binding_and_tls_12_has_none() {
    use rustls::crypto::aws_lc_rs::kx_group::X25519;
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "a", "mx.example.test");
    let server = ServerTls::load(&settings("a"), folder.path()).unwrap();
    let (one, other) =
        (meet(&server, &anyone(), "a").await.unwrap(), meet(&server, &anyone(), "a").await.unwrap());
    assert!(one.server.exporter.is_some());
    assert_eq!(one.server.exporter, one.client.exporter);
    assert_ne!(one.server.exporter, other.server.exporter);
    let old = meet(&server, &only(&rustls::version::TLS12, X25519), "a").await.unwrap();
    assert_eq!((old.server.exporter, old.client.exporter), (None, None));
}

#[tokio::test]
async fn the_certificate_goes_by_the_name_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for (stem, name) in [("a", "mx.example.test"), ("b", "mail.other.test"), ("c", "*.wild.test")] {
        write_pair(folder.path(), stem, name);
    }
    let sni = |stem: &str, name: &str| SniSettings {
        names: vec![name.to_owned()],
        certificate: format!("{stem}.pem").into(),
        key: format!("{stem}.key").into(),
    };
    let with_sni =
        TlsSettings { sni: vec![sni("b", "Mail.Other.test"), sni("c", "*.wild.test")], ..settings("a") };
    let server = ServerTls::load(&with_sni, folder.path()).unwrap();
    let first = meet(&server, &anyone(), "mx.example.test").await.unwrap().certificate;
    let other = meet(&server, &anyone(), "mail.other.test").await.unwrap().certificate;
    let wild = meet(&server, &anyone(), "deep.wild.test").await.unwrap().certificate;
    assert!(first != other && other != wild && first != wild);
    for (name, expected) in [("unknown.test", &first), ("a.deep.wild.test", &first), ("wild.test", &first)] {
        assert_eq!(&meet(&server, &anyone(), name).await.unwrap().certificate, expected, "{name}");
    }
    let bad = TlsSettings { sni: vec![sni("b", "mail.*.test")], ..settings("a") };
    let error = ServerTls::load(&bad, folder.path()).unwrap_err().to_string();
    assert!(error.contains("mail.*.test"), "{error}");
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "a", "mx.example.test");
    let server = ServerTls::load(&settings("a"), folder.path()).unwrap();
    let old = meet(&server, &anyone(), "x").await.unwrap().certificate;
    assert_eq!(server.reload_if_changed().unwrap(), Reload::Unchanged);

    let good = fs::read(folder.path().join("a.pem")).unwrap();
    for broken in
        [&good[..good.len() / 2], b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b""]
    {
        fs::write(folder.path().join("a.pem"), broken).unwrap();
        let error = server.reload_if_changed().unwrap_err().to_string();
        assert!(error.contains("a.pem"), "{error}");
        assert_eq!(server.reload_if_changed().unwrap(), Reload::Unchanged, "a broken file is told of once");
        assert_eq!(meet(&server, &anyone(), "x").await.unwrap().certificate, old);
    }
    fs::remove_file(folder.path().join("a.key")).unwrap();
    assert!(server.reload_if_changed().is_err());
    assert_eq!(meet(&server, &anyone(), "x").await.unwrap().certificate, old);

    write_pair(folder.path(), "a", "mx.example.test");
    assert_eq!(server.reload_if_changed().unwrap(), Reload::Changed);
    assert_ne!(meet(&server, &anyone(), "x").await.unwrap().certificate, old);
}

#[test]
fn what_is_wrong_with_the_files_is_said_by_name() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "a", "mx.example.test");
    write_pair(folder.path(), "b", "mx.example.test");
    fs::write(folder.path().join("text.pem"), "hello\n").unwrap();
    let load = |certificate: &str, key: &str| {
        let settings =
            TlsSettings { certificate: certificate.into(), key: key.into(), ..TlsSettings::default() };
        ServerTls::load(&settings, folder.path()).unwrap_err().to_string()
    };
    for (certificate, key, words) in [
        ("absent.pem", "a.key", ["absent.pem", "right path"]),
        ("a.pem", "absent.key", ["absent.key", "right path"]),
        ("text.pem", "a.key", ["text.pem", "BEGIN CERTIFICATE"]),
        ("a.pem", "text.pem", ["text.pem", "BEGIN PRIVATE KEY"]),
        ("a.pem", "b.key", ["b.key", "does not belong"]),
    ] {
        let error = load(certificate, key);
        assert!(words.iter().all(|word| error.contains(word)), "{certificate} {key}: {error}");
    }
}

#[tokio::test]
async fn verification_refuses_what_no_authority_signed() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "a", "mx.example.test");
    let server = ServerTls::load(&settings("a"), folder.path()).unwrap();
    let error = meet(&server, &ClientTls::new(Verify::WebPki), "mx.example.test").await.err().unwrap();
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn tls_13_can_be_demanded() {
    use rustls::crypto::aws_lc_rs::kx_group::X25519;
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "a", "mx.example.test");
    let strict = TlsSettings { minimum: TlsVersion::Tls13, ..settings("a") };
    let server = ServerTls::load(&strict, folder.path()).unwrap();
    assert!(meet(&server, &only(&rustls::version::TLS12, X25519), "x").await.is_err());
    assert_eq!(meet(&server, &anyone(), "x").await.unwrap().server.version, "TLSv1.3");
}

#[tokio::test]
async fn garbage_ends_the_handshake_and_silence_runs_out_of_time() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "a", "mx.example.test");
    let hasty = TlsSettings { handshake_seconds_max: 0, ..settings("a") };
    let server = ServerTls::load(&settings("a"), folder.path()).unwrap();
    let (mut near, far) = sockets().await;
    near.write_all(b"EHLO this.is.no.tls\r\n\r\n").await.unwrap();
    assert!(server.accept(far).await.is_err());
    let server = ServerTls::load(&hasty, folder.path()).unwrap();
    let (_near, far) = sockets().await;
    assert_eq!(server.accept(far).await.err().unwrap().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn octets_pass_both_ways_and_a_second_session_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), "a", "mx.example.test");
    let server = ServerTls::load(&settings("a"), folder.path()).unwrap();
    let client = anyone();
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let (near, far) = sockets().await;
        let (near, far) = tokio::join!(client.connect("mx.example.test", near), server.accept(far));
        let (mut near, (mut far, _)) = (near.unwrap(), far.unwrap());
        near.write_all(b"EHLO x\r\n").await.unwrap();
        let mut line = [0; 8];
        far.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"EHLO x\r\n");
        far.write_all(b"250 x\r\n").await.unwrap();
        near.read_exact(&mut line[..7]).await.unwrap();
        kinds.push(near.get_ref().1.handshake_kind().unwrap());
    }
    assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]);
}

/// Trusts every certificate, for clients whose configuration the tests make themselves.
#[derive(Debug)]
struct Trusting(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
