//! DKIM against opendkim and dkimpy: they verify ours, we verify theirs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mail::Domain;
use msgauth::dkim::{Algorithm, KeyStore, Outcome};
use msgauth::{AuthResult, Limits, Lookups, examine};
use net::{DnsSettings, NameServer, Resolver};
use support::Dns;

const FIELDS: &str = "From: Joe <joe@example.test>\r\nTo: jim@other.test\r\nSubject:  folded\r\n\tsubject  \r\n\
Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@example.test>\r\n";
/// White space at the ends, between and alone on lines; octets that are no text.
const BODIES: [&[u8]; 7] = [
    b"hello\r\n",
    b"",
    b"\r\n\r\n",
    b"a  b\t c \r\n\r\n  d\r\n",
    b"end \r\n \r\n\t\r\n\r\n",
    b" \r\n",
    b"\xe9\xff 8 bit\r\n.\r\n",
];

/// Keys of a domain in a folder, and a name server that knows them.
struct Home {
    folder: tempfile::TempDir,
    store: KeyStore,
    dns: Dns,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::open(folder.path()).unwrap();
        store.create(&domain(), "rsa", Algorithm::Rsa2048).unwrap();
        store.create(&domain(), "ed", Algorithm::Ed25519).unwrap();
        let zone: String = store.dns_records(&domain()).iter().map(|record| format!("{record}\n")).collect();
        Self { dns: Dns::start(&zone), folder, store }
    }

    fn key(&self, selector: &str) -> PathBuf {
        self.folder.path().join("example.test").join(format!("{selector}.pem"))
    }

    /// The records as `name text` lines, as both programs take them.
    fn records(&self) -> String {
        let all = self.store.dns_records(&domain());
        all.iter().map(|record| format!("{} {}\n", record.name, record.value)).collect()
    }

    fn signed(&self, body: &[u8]) -> Vec<u8> {
        let fields = self.store.sign(&domain(), FIELDS.as_bytes(), [io::Result::Ok(body)]).unwrap().unwrap();
        [fields.as_slice(), &message(body)].concat()
    }

    async fn verify(&self, message: &[u8]) -> Vec<Outcome> {
        let settings = DnsSettings { servers: vec![NameServer(self.dns.addr)], ..DnsSettings::default() };
        let lookups = Lookups::new(&Resolver::from_settings(&settings).unwrap(), Duration::from_secs(10));
        examine(message, &Limits::default(), 0).dkim(&lookups).await
    }
}

fn domain() -> Domain {
    Domain::parse("example.test").unwrap()
}

fn message(body: &[u8]) -> Vec<u8> {
    [FIELDS.as_bytes(), b"\r\n", body].concat()
}

/// Runs a program with something on its standard input; gives its two outputs together.
fn run(program: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    [output.stdout, output.stderr].concat()
}

/// Runs opendkim over one message; its words.
fn opendkim(program: &Path, home: &Home, settings: &str, message: &[u8]) -> String {
    let (conf, letter) = (home.folder.path().join("conf"), home.folder.path().join("letter"));
    fs::write(&conf, format!("Syslog no\nRequireSafeKeys no\n{settings}\n")).unwrap();
    fs::write(&letter, message).unwrap();
    let words = run(program, &["-x", conf.to_str().unwrap(), "-t", letter.to_str().unwrap()], b"");
    String::from_utf8_lossy(&words).into_owned()
}

#[tokio::test]
async fn opendkim_and_we_agree() {
    let Some(program) = support::need_program("opendkim") else { return };
    let home = Home::new();
    let keys = home.folder.path().join("keys");
    fs::write(&keys, home.records()).unwrap();
    for body in BODIES {
        let signatures =
            home.store.sign(&domain(), FIELDS.as_bytes(), [io::Result::Ok(body)]).unwrap().unwrap();
        for signature in mail::header::fields(&signatures) {
            let selector = if signature.text().contains("s=rsa;") { "rsa" } else { "ed" };
            let signed = [signature.raw(), &message(body)].concat();
            let words =
                opendkim(&program, &home, &format!("Mode v\nTestPublicKeys {}", keys.display()), &signed);
            let verdict =
                words.contains(&format!("(s={selector}, d=example.test")) && words.contains("succeeded");
            assert!(verdict, "{selector} {body:?}: {words}");
        }
        // It reads a folded field from a file otherwise than from the wire.
        let plain = [FIELDS.replace("  folded\r\n\tsubject  ", " plain").as_bytes(), b"\r\n", body].concat();
        for forms in ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"] {
            for (algorithm, meant) in [("rsa-sha256", AuthResult::Pass), ("rsa-sha1", AuthResult::Policy)] {
                let settings = format!(
                    "Mode s\nDomain example.test\nSelector rsa\nKeyFile {}\nCanonicalization {forms}\nSignatureAlgorithm {algorithm}",
                    home.key("rsa").display()
                );
                let words = opendkim(&program, &home, &settings, &plain);
                let start = words.find("DKIM-Signature:").unwrap_or_else(|| panic!("{words}"));
                let field = words[start..].trim_end().replace("\r\n", "\n").replace('\n', "\r\n") + "\r\n";
                let signed = [field.as_bytes(), &plain].concat();
                let outcomes = home.verify(&signed).await;
                assert_eq!(outcomes[0].result, meant, "{forms} {body:?}: {outcomes:?}\n{words}");
            }
        }
    }
}

/// Standard input: the records, an empty line, then a line in hexadecimal for each message. Output: a line for each.
const VERIFY: &str = r#"
import sys, dkim
records, messages = sys.stdin.read().split("\n\n")
keys = dict(line.split(" ", 1) for line in records.split("\n"))
find = lambda name, timeout=5: keys[name.decode().rstrip(".")].encode()
for message in messages.split():
    message = dkim.DKIM(bytes.fromhex(message), minkey=1024)
    print(*[message.verify(idx=index, dnsfunc=find) for index in range(2)])
"#;

/// Arguments: key, selector, algorithm. Standard input as above without records. Output: a field in hexadecimal for each.
const SIGN: &str = r#"
import sys, dkim, base64
key, selector, algorithm = open(sys.argv[1], "rb").read(), sys.argv[2].encode(), sys.argv[3].encode()
if algorithm.startswith(b"ed"):
    der = base64.b64decode(b"".join(line for line in key.split(b"\n") if not line.startswith(b"-")))
    key = base64.b64encode(der[der.index(b"\x04\x22\x04\x20") + 4:][:32])
for message in sys.stdin.read().split():
    for header in (b"simple", b"relaxed"):
        for body in (b"simple", b"relaxed"):
            print(dkim.sign(bytes.fromhex(message), selector, b"example.test", key, canonicalize=(header, body), signature_algorithm=algorithm).hex())
"#;

/// A Python that has dkimpy and the cryptography for Ed25519.
fn python() -> Option<PathBuf> {
    let pythons = [support::need_program("python3")?, PathBuf::from("/usr/bin/python3")];
    let has = |python: &&PathBuf| {
        Command::new(python)
            .args(["-c", "import dkim, nacl"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let found = pythons.iter().find(has).cloned();
    if found.is_none() {
        support::skip("dkimpy (python3-dkim, python3-nacl) not installed");
    }
    found
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn dkimpy_and_we_agree() {
    let Some(python) = python() else { return };
    let home = Home::new();
    let ours: String = BODIES.iter().map(|body| hex(&home.signed(body)) + "\n").collect();
    let input = format!("{}\n{ours}", home.records());
    let words = String::from_utf8(run(&python, &["-c", VERIFY], input.as_bytes())).unwrap();
    assert_eq!(words, "True True\n".repeat(BODIES.len()));

    let letters: String = BODIES.iter().map(|body| hex(&message(body)) + "\n").collect();
    for (selector, algorithm) in [("rsa", "rsa-sha256"), ("ed", "ed25519-sha256")] {
        let key = home.key(selector);
        let arguments = ["-c", SIGN, key.to_str().unwrap(), selector, algorithm];
        let words = String::from_utf8(run(&python, &arguments, letters.as_bytes())).unwrap();
        let fields: Vec<Vec<u8>> = words.lines().map(from_hex).collect();
        assert_eq!(fields.len(), BODIES.len() * 4, "{words}");
        for (number, field) in fields.iter().enumerate() {
            let body = BODIES[number / 4];
            let outcomes = home.verify(&[field.as_slice(), &message(body)].concat()).await;
            let told = format!("{algorithm} {body:?}: {outcomes:?}\n{}", String::from_utf8_lossy(field));
            assert_eq!(outcomes[0].result, AuthResult::Pass, "{told}");
        }
    }
}
