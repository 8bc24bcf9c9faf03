//! Signatures, verified by the library against keys that a name server serves, and the files they come from.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mail::Domain;
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator};
use msgauth::dkim::{Algorithm, Key, KeyError, KeyStore, Publication, SignError};
use net::{DnsSettings, NameServer, Resolver};
use support::{Dns, Trouble};

const FIELDS: &str = "Received: from a (a [192.0.2.1])\r\n\tby b; Thu, 1 Jan 2026 00:00:00 +0000\r\n\
From: Joe <joe@example.test>\r\nTo: jim@other.test\r\nSubject:  folded\r\n\tsubject\r\n\
Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@example.test>\r\nContent-Type: text/plain\r\n";
const BODY: &str = "Hello  \r\n\r\n..stuffed\r\n  white \t space\r\n\r\n\r\n";

fn domain() -> Domain {
    Domain::parse("example.test").unwrap()
}

fn store(folder: &Path, algorithms: &[(&str, Algorithm)]) -> KeyStore {
    let store = KeyStore::open(folder).unwrap();
    for (selector, algorithm) in algorithms {
        store.create(&domain(), selector, *algorithm).unwrap();
    }
    store
}

fn zone(store: &KeyStore) -> String {
    store.dns_records(&domain()).iter().map(|record| format!("{record}\n")).collect()
}

fn resolver(dns: &Dns) -> Resolver {
    let settings =
        DnsSettings { servers: vec![NameServer(dns.addr)], retries_max: 0, ..DnsSettings::default() };
    Resolver::from_settings(&settings).unwrap()
}

fn sign(store: &KeyStore, fields: &str, chunks: &[&str]) -> String {
    let chunks = chunks.iter().map(io::Result::Ok);
    String::from_utf8(store.sign(&domain(), fields.as_bytes(), chunks).unwrap().unwrap()).unwrap()
}

async fn verify(dns: &Dns, message: &str) -> Vec<bool> {
    let authenticator = MessageAuthenticator(resolver(dns).tokio().clone());
    let message = AuthenticatedMessage::parse(message.as_bytes()).unwrap();
    let results = authenticator.verify_dkim(&message).await;
    results.iter().map(|output| output.result() == &DkimResult::Pass).collect()
}

#[tokio::test]
async fn every_key_signs_and_each_signature_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), &[("2026a", Algorithm::Rsa2048), ("2026e", Algorithm::Ed25519)]);
    let dns = Dns::start(&zone(&store));
    let signatures = sign(&store, FIELDS, &[BODY]);
    assert_eq!(signatures.matches("DKIM-Signature: ").count(), 2, "{signatures}");
    assert!(signatures.ends_with("\r\n"));
    assert!(signatures.contains("a=rsa-sha256; s=2026a; d=example.test; c=relaxed/relaxed;"), "{signatures}");
    assert!(signatures.contains("a=ed25519-sha256; s=2026e;"), "{signatures}");
    assert!(signatures.lines().all(|line| line.len() <= 98), "{signatures}");
    assert_eq!(verify(&dns, &format!("{signatures}{FIELDS}\r\n{BODY}")).await, [true, true]);
}

#[tokio::test]
async fn chunks_of_any_size_and_the_empty_line_make_no_difference() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), &[("e", Algorithm::Ed25519)]);
    let dns = Dns::start(&zone(&store));
    let octets: Vec<&str> = (0..BODY.len()).map(|place| &BODY[place..=place]).collect();
    for (fields, chunks) in [
        (FIELDS.to_owned(), octets),
        (format!("{FIELDS}\r\n"), vec![BODY]),
        (FIELDS.to_owned(), vec!["", BODY, ""]),
    ] {
        let signatures = sign(&store, &fields, &chunks);
        assert_eq!(verify(&dns, &format!("{signatures}{FIELDS}\r\n{BODY}")).await, [true]);
    }
    let empty = sign(&store, FIELDS, &[]);
    assert_eq!(verify(&dns, &format!("{empty}{FIELDS}\r\n")).await, [true]);
}

#[tokio::test]
async fn what_may_not_be_added_or_changed_breaks_the_signature() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), &[("e", Algorithm::Ed25519)]);
    let dns = Dns::start(&zone(&store));
    let signature = sign(&store, FIELDS, &[BODY]);
    for (what, fields, body, holds) in [
        ("nothing", FIELDS.to_owned(), BODY, true),
        ("a trace line on top", format!("Received: from x\r\n{FIELDS}"), BODY, true),
        ("a list's field", format!("List-ID: <l>\r\n{FIELDS}"), BODY, true),
        ("white space", FIELDS.replace("  folded\r\n\tsubject", " folded subject"), BODY, true),
        ("a second From", format!("From: evil@other.test\r\n{FIELDS}"), BODY, false),
        ("a second From below", format!("{FIELDS}From: evil@other.test\r\n"), BODY, false),
        ("a Reply-To", format!("Reply-To: evil@other.test\r\n{FIELDS}"), BODY, false),
        ("another subject", FIELDS.replace("folded", "other"), BODY, false),
        ("another type", FIELDS.replace("text/plain", "text/html"), BODY, false),
        ("another body", FIELDS.to_owned(), "Hello\r\n", false),
    ] {
        assert_eq!(verify(&dns, &format!("{signature}{fields}\r\n{body}")).await, [holds], "{what}");
    }
}

#[test]
fn a_domain_without_keys_and_a_broken_body_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), &[("e", Algorithm::Ed25519)]);
    let other = Domain::parse("other.test").unwrap();
    assert!(!store.can_sign(&other) && store.can_sign(&domain()));
    assert!(store.sign(&other, FIELDS.as_bytes(), [Ok("x")]).unwrap().is_none());
    let broken = store.sign(&domain(), FIELDS.as_bytes(), [Ok("x"), Err(io::Error::other("disk"))]);
    assert!(matches!(broken, Err(SignError::Body(_))), "{broken:?}");
    let nothing = store.sign(&domain(), b"X-Other: 1\r\n", [Ok("x")]);
    assert!(matches!(nothing, Err(SignError::NoHeader)), "{nothing:?}");
}

#[test]
fn keys_are_files_for_the_server_alone_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path().join("dkim");
    let store = store(&top, &[("2026a", Algorithm::Rsa2048)]);
    let file = top.join("example.test/2026a.pem");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&top).unwrap().permissions().mode() & 0o777, 0o700);
    let before = fs::read(&file).unwrap();
    assert!(matches!(store.create(&domain(), "2026a", Algorithm::Ed25519), Err(KeyError::Exists { .. })));
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(fs::read_dir(top.join("example.test")).unwrap().count(), 1, "no draft is left behind");
    for selector in ["", "a.b", "-a", "a/b", "../x", "a b"] {
        assert!(matches!(store.create(&domain(), selector, Algorithm::Ed25519), Err(KeyError::Selector(_))));
    }
    // A new process finds the same key.
    assert_eq!(KeyStore::open(&top).unwrap().dns_records(&domain()), store.dns_records(&domain()));
    assert_eq!(KeyStore::open(&folder.path().join("absent")).unwrap().domains(), []);
}

#[test]
fn a_broken_key_is_named_and_a_reload_keeps_the_good_ones() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), &[("good", Algorithm::Ed25519)]);
    let bad = folder.path().join("example.test/bad.pem");
    for (text, words) in [
        ("hello", "BEGIN PRIVATE KEY"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "only RSA"),
        ("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", "staffetta dkim new"),
    ] {
        fs::write(&bad, text).unwrap();
        let error = store.reload().unwrap_err().to_string();
        assert!(error.contains("bad.pem") && error.contains(words), "{error}");
        assert!(store.can_sign(&domain()));
    }
    fs::rename(&bad, folder.path().join("example.test/bad.pem.old")).unwrap();
    store.reload().unwrap();
    fs::create_dir(folder.path().join("no domain")).unwrap();
    assert!(matches!(store.reload(), Err(KeyError::Domain { .. })));
}

#[test]
fn nothing_of_a_key_is_shown() {
    let pem = Key::generate(Algorithm::Ed25519).unwrap();
    let key = Key::from_pem(pem.as_bytes(), Path::new("k")).unwrap();
    assert_eq!(format!("{key:?}"), "Key(ed25519)");
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), &[("e", Algorithm::Ed25519)]);
    let pem = fs::read_to_string(folder.path().join("example.test/e.pem")).unwrap();
    let secret = pem.lines().nth(1).unwrap();
    assert!(!format!("{store:?}").contains(secret));
}

#[tokio::test]
async fn publication_is_checked_in_dns() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), &[("a", Algorithm::Rsa2048)]);
    let record = store.dns_records(&domain()).remove(0);
    assert_eq!(record.name.as_str(), "a._domainkey.example.test");
    assert!(record.to_string().split('"').all(|string| string.len() <= 255), "{record}");
    for (zone, expected) in [
        (record.to_string(), Publication::Published),
        (format!("{} TXT \"p={} \"", "a._domainkey.example.test.", "AAAA"), Publication::Different),
        ("other.test. A 192.0.2.1".to_owned(), Publication::Missing),
    ] {
        let dns = Dns::start(&zone);
        assert_eq!(record.check(&resolver(&dns)).await, expected, "{zone}");
    }
    let dns = Dns::start("");
    dns.trouble("a._domainkey.example.test", Trouble::ServFail);
    assert!(matches!(record.check(&resolver(&dns)).await, Publication::Unknown(_)));
}

#[tokio::test]
async fn keys_that_openssl_made_sign_too() {
    let Some(openssl) = support::need_program("openssl") else { return };
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("example.test");
    fs::create_dir(&keys).unwrap();
    for (selector, arguments) in [
        ("rsa8", vec!["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
        ("rsa1", vec!["genrsa", "-traditional", "2048"]),
        ("ed", vec!["genpkey", "-algorithm", "ed25519"]),
    ] {
        let output = std::process::Command::new(&openssl).args(&arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        fs::write(keys.join(format!("{selector}.pem")), output.stdout).unwrap();
    }
    let store = KeyStore::open(folder.path()).unwrap();
    let dns = Dns::start(&zone(&store));
    let signatures = sign(&store, FIELDS, &[BODY]);
    assert_eq!(verify(&dns, &format!("{signatures}{FIELDS}\r\n{BODY}")).await, [true, true, true]);
}
