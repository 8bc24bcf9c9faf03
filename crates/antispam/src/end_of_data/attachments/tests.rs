//! Files of all kinds, packed and named in all ways, and archives that are made to be expensive.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use policy::{Content, Findings, Order};

use super::inspect::{FILES_MAX, UNPACKED_BYTES_MAX};
use super::*;
use crate::testing::{message, run};

const PROGRAM: &[u8] = b"MZ\x90\0\x03\0\0\0\x04\0";

/// A letter with these files, in binary: what base64 does to them is tested elsewhere.
fn letter(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"Content-Type: multipart/mixed; boundary=b0b\r\n\r\n--b0b\r\n\r\nhello\r\n".to_vec();
    for (name, octets) in files {
        let head = format!(
            "--b0b\r\nContent-Type: application/octet-stream; name=\"{name}\"\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(octets);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"--b0b--\r\n");
    out
}

fn inspected(files: &[(&str, &[u8])]) -> Inspected {
    Inspected::of(&Letter::read(&Bytes::from(letter(files))))
}

fn signs(name: &str, octets: &[u8]) -> Vec<Sign> {
    let mut signs: Vec<_> = inspected(&[(name, octets)]).signs.into_iter().map(|(sign, _)| sign).collect();
    signs.sort_unstable();
    signs
}

fn deflated(octets: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

/// A zip archive with one file, without a directory: what is in front of it is what counts.
fn zip_entry(name: &str, flags: u16, method: u16, octets: &[u8], unpacked: u32) -> Vec<u8> {
    let mut out = b"PK\x03\x04\x14\0".to_vec();
    out.extend(flags.to_le_bytes());
    out.extend(method.to_le_bytes());
    out.extend([0; 8]);
    out.extend(u32::try_from(octets.len()).unwrap().to_le_bytes());
    out.extend(unpacked.to_le_bytes());
    out.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
    out.extend([0; 2]);
    out.extend(name.as_bytes());
    out.extend(octets);
    out
}

fn zip(name: &str, octets: &[u8]) -> Vec<u8> {
    zip_entry(name, 0, zip::DEFLATED, &deflated(octets), u32::try_from(octets.len()).unwrap())
}

fn tar(name: &str, octets: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 512];
    out[..name.len()].copy_from_slice(name.as_bytes());
    out[124..136].copy_from_slice(format!("{:011o}\0", octets.len()).as_bytes());
    out[257..262].copy_from_slice(b"ustar");
    out.extend(octets);
    out.resize(out.len().next_multiple_of(512) + 1024, 0);
    out
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[test]
fn programs_are_known_by_name_and_by_their_octets() {
    assert_eq!(signs("setup.exe", b"anything"), [Sign::Executable]);
    assert_eq!(signs("setup.exe", PROGRAM), [Sign::Executable]);
    assert_eq!(signs("report.pdf", PROGRAM), [Sign::Executable, Sign::Disguised]);
    assert_eq!(signs("report.pdf.js", b"x"), [Sign::Executable, Sign::DoubleExtension]);
    assert_eq!(signs("photo\u{202e}gpj.scr", b"x"), [Sign::Executable, Sign::NameReversed]);
    assert_eq!(signs("report.pdf", b"%PDF-1.7"), []);
    assert_eq!(signs("book.docm", b"x"), [Sign::Macros]);
}

#[test]
fn archives_are_looked_into() {
    use Sign::{ArchivedExecutable, Disguised, DoubleExtension, Encrypted, Executable, Macros, Opaque};
    assert_eq!(signs("a.zip", &zip("setup.exe", b"x")), [ArchivedExecutable]);
    assert_eq!(signs("a.zip", &zip("photo.jpg", PROGRAM)), [ArchivedExecutable, Disguised]);
    assert_eq!(signs("a.dat", &zip("dir/photo.jpg.scr", b"x")), [ArchivedExecutable, DoubleExtension]);
    assert_eq!(signs("a.zip", &zip("inner.zip", &zip("setup.exe", b"x"))), [ArchivedExecutable]);
    assert_eq!(signs("a.gz", &gzip(PROGRAM)), [ArchivedExecutable]);
    assert_eq!(signs("a.tgz", &gzip(&tar("setup.exe", b"x"))), [ArchivedExecutable]);
    assert_eq!(signs("a.tar", &tar("readme.txt", b"x")), []);
    assert_eq!(signs("a.zip", &zip("readme.txt", b"hello")), []);
    let locked = zip_entry("setup.exe", 1, zip::DEFLATED, b"????", 4);
    assert_eq!(signs("a.zip", &locked), [ArchivedExecutable, Encrypted]);
    assert_eq!(signs("book.docx", &zip("word/vbaProject.bin", b"x")), [Macros]);
    let ole = [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec(), utf16("_VBA_PROJECT")].concat();
    assert_eq!(signs("book.doc", &ole), [Macros]);
    let ole = [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec(), utf16("EncryptedPackage")].concat();
    assert_eq!(signs("book.docx", &ole), [Encrypted]);
    assert_eq!(signs("a.7z", b"7z\xbc\xaf\x27\x1c"), [Opaque]);
    assert_eq!(signs("a.exe", &zip("readme.txt", b"x")), [Executable]);
}

#[test]
fn bombs_cost_what_the_bounds_say() {
    let zeros = vec![0; 16 << 20];
    let mut nested = zip("zeros.txt", &zeros);
    for _ in 0..20 {
        nested = zip("a.zip", &nested);
    }
    let deep = inspected(&[("a.zip", &nested)]);
    assert!(deep.signs.iter().any(|(sign, _)| *sign == Sign::Unseen));
    // Each of many archives unpacks to an archive of eight MiB.
    let one = zip("inner.zip", &[zip("a.txt", b"x"), zeros.clone()].concat());
    let wide = inspected(&[("a.zip", &one.repeat(200))]);
    assert!(wide.signs.iter().any(|(sign, _)| *sign == Sign::Bomb), "{:?}", wide.signs);
    let many = inspected(&[("a.zip", &zip("a.txt", b"x").repeat(50_000))]);
    assert_eq!(many.files.len(), FILES_MAX);
    let tarred = inspected(&[("a.tar", &tar("a.zip", &one).repeat(500))]);
    for inspected in [deep, wide, many, tarred] {
        let most = (UNPACKED_BYTES_MAX + inspect::DECODED_BYTES_MAX + FILES_MAX * 1024) as u64;
        assert!(inspected.units <= most, "{}", inspected.units);
    }
    let claims = zip_entry("a.txt", 0, zip::DEFLATED, &deflated(b"x"), u32::MAX);
    assert_eq!(signs("a.zip", &claims), [Sign::Bomb]);
}

async fn found(settings: &str, files: &[(&str, &[u8])]) -> Findings {
    let check = Attachments::new(toml::from_str(settings).unwrap());
    let octets = Bytes::from(letter(files));
    let facts = MessageFacts { content: Content::Memory(octets), ..message("joe@far.test", "") };
    run(&check, &facts).await
}

#[tokio::test]
async fn operators_lists_are_orders() {
    let files: [(&str, &[u8]); 2] = [("Notes.TXT", b"x"), ("a.zip", &zip("setup.exe", b"x"))];
    for (settings, rejects) in [
        ("reject = ['exe']", true),
        ("reject = ['.txt']", true),
        ("reject = ['is:executable']", true),
        ("reject = ['application/*']", true),
        ("reject = ['xt', 'is:macros', 'audio/*']", false),
    ] {
        let found = found(settings, &files).await;
        let orders: Vec<_> = found.rulings().iter().map(|ruling| &ruling.order).collect();
        assert_eq!(
            matches!(orders.as_slice(), [Order::Reject(reply)] if reply.code == 550),
            rejects,
            "{settings}"
        );
    }
    let found = found("quarantine = ['is:executable']\nscore = ['txt']", &files).await;
    assert!(
        matches!(found.rulings(), [ruling] if ruling.order == Order::Quarantine && ruling.evidence == "setup.exe")
    );
    assert!(found.has("ATTACHMENT_LISTED") && found.has("ATTACHMENT_ARCHIVED_EXECUTABLE"));
}

#[test]
fn lists_that_mean_nothing_are_refused() {
    for wrong in ["", "is:bad", "a b", "/x", "x/", "a/b c"] {
        assert!(wrong.parse::<Matcher>().is_err(), "{wrong}");
    }
    assert!(toml::from_str::<AttachmentSettings>("reject = ['is:evil']").is_err());
}

proptest::proptest! {
    #[test]
    fn anything_is_looked_at(octets: Vec<u8>, at in 0_usize..100, which in 0_usize..4) {
        let mut archive = match which {
            0 => zip("a.txt", b"hello"),
            1 => gzip(b"hello"),
            2 => tar("a.txt", b"hello"),
            _ => Vec::new(),
        };
        let at = at.min(archive.len());
        archive.splice(at..at, octets);
        let _ = inspected(&[("a", &archive)]);
    }
}
