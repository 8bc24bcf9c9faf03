//! Handshakes with OpenSSL's own client, and keys as OpenSSL writes them.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::path::Path;
use std::process::{Command, Stdio};

use net::{ServerTls, TlsInfo, TlsSettings};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

fn run(program: &Path, folder: &Path, arguments: &[&str]) {
    let output = Command::new(program).current_dir(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn settings(key: &str) -> TlsSettings {
    TlsSettings { certificate: "cert.pem".into(), key: key.into(), ..TlsSettings::default() }
}

/// Lets `openssl s_client` connect once; gives what each side says of it.
async fn meet(program: &Path, server: &ServerTls, options: &[&str]) -> (TlsInfo, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = tokio::process::Command::new(program)
        .args(["s_client", "-connect", &address, "-servername", "mx.example.test", "-CAfile"])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    let (mut stream, info) = server.accept(socket).await.unwrap();
    stream.shutdown().await.unwrap();
    let output = client.wait_with_output().await.unwrap();
    (info, String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn every_kind_of_key_file_serves_openssl_with_both_versions() {
    let Some(openssl) = support::need_program("openssl") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (key, make) in [
        // PKCS#8, SEC1 and PKCS#1.
        (
            "p8.pem",
            vec!["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "p8.pem"],
        ),
        ("sec1.pem", vec!["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", "sec1.pem"]),
        ("rsa1.pem", vec!["genrsa", "-traditional", "-out", "rsa1.pem", "2048"]),
        ("ed.pem", vec!["genpkey", "-algorithm", "ed25519", "-out", "ed.pem"]),
    ] {
        run(&openssl, folder, &make);
        let subject = ["-subj", "/CN=mx.example.test", "-addext", "subjectAltName=DNS:mx.example.test"];
        let request = ["req", "-x509", "-new", "-days", "2", "-out", "cert.pem", "-key", key];
        run(&openssl, folder, &[&request[..], &subject[..]].concat());
        let server = ServerTls::load(&settings(key), folder).unwrap();
        let authority = folder.join("cert.pem").display().to_string();
        for (option, version) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
            let (info, said) = meet(&openssl, &server, &[&authority, option]).await;
            assert_eq!((info.version, info.sni.as_deref()), (version, Some("mx.example.test")), "{key}");
            assert!(said.contains("Verify return code: 0 (ok)") && said.contains(version), "{key}: {said}");
        }
    }
}
