//! clamd with signatures of our own: the test file of EICAR, plain, coded and packed.

use std::process::Command;

use antispam::remote::settings::Kind;
use policy::{Order, Source, StageReport};

use crate::bench::{Program, Stage, at, folder, is_root, settings, start};

/// The file that every scanner calls a virus; in two pieces, so that no scanner calls this one so.
const EICAR: [&str; 2] = ["X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD", "-ANTIVIRUS-TEST-FILE!$H+H*"];
/// Its checksum, which the head of an archive holds.
const EICAR_CRC: u32 = 0x6851_CF3C;

/// With two signatures: the file by its hash, and the words that stand in it.
fn clamd() -> Option<(Program, u16)> {
    let program = support::need_program("clamd")?;
    let dir = folder();
    let (root, port) = (dir.path().display().to_string(), support::free_port());
    let base = dir.path().join("base");
    std::fs::create_dir(&base).unwrap();
    std::fs::write(base.join("own.hdb"), "44d88612fea8a8f36de82e1278abb02f:68:Own.Eicar.File\n").unwrap();
    let words: String =
        format!("$EICAR-STANDARD{}", &EICAR[1][..22]).bytes().map(|octet| format!("{octet:02x}")).collect();
    std::fs::write(base.join("own.ndb"), format!("Own.Eicar.Words:0:*:{words}\n")).unwrap();
    let user = if is_root() { "User root\n" } else { "" };
    let text = format!(
        "Foreground yes\nDatabaseDirectory {root}/base\nLocalSocket {root}/clamd.sock\nTCPSocket {port}\n\
         TCPAddr 127.0.0.1\nTemporaryDirectory {root}\nMaxThreads 4\nStreamMaxLength 1M\n{user}"
    );
    std::fs::write(dir.path().join("clamd.conf"), text).unwrap();
    let file = dir.path().join("clamd.conf");
    Some((start(Command::new(program).arg("-c").arg(file), port, dir), port))
}

fn letter(attached: &[u8], name: &str) -> Vec<u8> {
    let coded = support::base64(attached);
    let text = format!(
        "From: ann@far.test\r\nTo: joe@example.test\r\nSubject: hello\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nLook at this.\r\n--b\r\n\
         Content-Type: application/octet-stream; name=\"{name}\"\r\nContent-Transfer-Encoding: base64\r\n\r\n\
         {coded}\r\n--b--\r\n"
    );
    text.into_bytes()
}

/// An archive with one file in it, not compressed.
fn zip(name: &str, contents: &[u8], crc: u32) -> Vec<u8> {
    let length = u32::try_from(contents.len()).unwrap().to_le_bytes();
    let name_length = u16::try_from(name.len()).unwrap().to_le_bytes();
    // Version 2.0, no flags, stored, midnight of 2026-01-01; then sum, both sizes, length of the name.
    let common = [
        &[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0x5c][..],
        &crc.to_le_bytes(),
        &length,
        &length,
        &name_length,
        &[0, 0],
    ]
    .concat();
    let file = [b"PK\x03\x04", &common[..], name.as_bytes(), contents].concat();
    let entry = [b"PK\x01\x02\x14\x00", &common[..], &[0; 14], name.as_bytes()].concat();
    let sizes = [entry.len(), file.len()].map(|size| u32::try_from(size).unwrap().to_le_bytes()).concat();
    [&file[..], &entry, b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &sizes, &[0, 0]].concat()
}

fn refused(report: &StageReport) -> String {
    let [ruling] = &report.rulings[..] else { panic!("{report:?}") };
    assert_eq!((ruling.source, report.findings[0].symbol.as_str()), (Source::Malware, "CLAMAV_VIRUS"));
    assert!(report.findings[0].evidence.starts_with("Own.Eicar"), "{report:?}");
    let Order::Reject(reply) = &ruling.order else { panic!("{ruling:?}") };
    reply.to_string()
}

#[tokio::test]
async fn the_test_virus_is_found_plain_coded_and_packed_over_both_sockets() {
    let Some((clamd, port)) = clamd() else { return };
    let eicar = EICAR.concat();
    let socket = format!("unix:{}/clamd.sock", clamd.dir.path().display());
    for settings in [at(Kind::Clamd, port), settings(Kind::Clamd, &socket)] {
        let stage = Stage::new(&settings);
        for message in [
            format!("Subject: x\r\n\r\n{eicar}\r\n").into_bytes(),
            letter(eicar.as_bytes(), "eicar.com"),
            letter(&zip("eicar.com", eicar.as_bytes(), EICAR_CRC), "eicar.zip"),
        ] {
            let reply = refused(&stage.of(&message).await);
            assert!(reply.starts_with("550 5.7.1 This message contains malware: Own.Eicar."), "{reply}");
        }
        for clean in [letter(b"nothing at all", "nothing.txt"), Vec::new()] {
            let report = stage.of(&clean).await;
            assert!(report.rulings.is_empty() && report.findings.is_empty(), "{report:?}");
            assert!(report.unfinished.is_empty(), "{report:?}");
        }
    }
}

/// It hangs up in the middle of what is too long, and has said why.
#[tokio::test]
async fn what_is_longer_than_it_takes_is_unknown() {
    let Some((clamd, port)) = clamd() else { return };
    let long = [b"Subject: x\r\n\r\n".to_vec(), vec![b'x'; 8 << 20]].concat();
    let socket = format!("unix:{}/clamd.sock", clamd.dir.path().display());
    for settings in [at(Kind::Clamd, port), settings(Kind::Clamd, &socket)] {
        let report = Stage::new(&settings).of(&long).await;
        assert_eq!(report.unfinished.len(), 1, "{report:?}");
        let finding = &report.findings[0];
        assert_eq!((finding.symbol.as_str(), report.rulings.len()), ("CLAMAV_TIMEOUT", 0));
        assert!(finding.evidence.contains("INSTREAM size limit exceeded"), "{finding:?}");
    }
}
