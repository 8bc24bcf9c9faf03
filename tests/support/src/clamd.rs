//! clamd with a base of two signatures of our own, and what it finds: the test file of EICAR, plain, coded and packed.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Running, base64, free_port, need_program, wait_until};

/// The file that every scanner calls a virus; in two pieces, so that no scanner calls this one so.
const EICAR: [&str; 2] = ["X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD", "-ANTIVIRUS-TEST-FILE!$H+H*"];
/// Its checksum, which the head of an archive holds.
const EICAR_CRC: u32 = 0x6851_CF3C;

/// A running clamd; ends with the test.
pub struct Clamd {
    _running: Running,
    folder: tempfile::TempDir,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

impl Clamd {
    /// Starts it; none when it is not installed. Streams may be a mebibyte long.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start() -> Option<Self> {
        let program = need_program("clamd")?;
        let folder = tempfile::tempdir().expect("a folder");
        let (root, port) = (folder.path(), free_port());
        std::fs::set_permissions(root, PermissionsExt::from_mode(0o755)).expect("permissions are set");
        let file = root.join("clamd.conf");
        configure(root, port);
        let log = std::fs::File::create(root.join("log")).expect("a log");
        let errors = log.try_clone().expect("a second handle");
        let mut command = Command::new(program);
        command.arg("-c").arg(file).stdin(Stdio::null()).stdout(log).stderr(errors);
        let clamd = Self { _running: Running(command.spawn().expect("clamd starts")), folder, port };
        let up = wait_until(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(up, "{}", std::fs::read_to_string(clamd.folder.path().join("log")).unwrap_or_default());
        Some(clamd)
    }

    /// Its socket in the file system, as an address of a scanner.
    #[must_use]
    pub fn socket(&self) -> String {
        format!("unix:{}/clamd.sock", self.folder.path().display())
    }
}

fn configure(root: &Path, port: u16) {
    let write = |name: &str, text: &str| std::fs::write(root.join(name), text).expect("a file is written");
    std::fs::create_dir(root.join("base")).expect("a folder");
    write("base/own.hdb", "44d88612fea8a8f36de82e1278abb02f:68:Own.Eicar.File\n");
    let words = "$EICAR-STANDARD".bytes().chain("-ANTIVIRUS-TEST-FILE!".bytes());
    let words: String = words.map(|octet| format!("{octet:02x}")).collect();
    write("base/own.ndb", &format!("Own.Eicar.Words:0:*:{words}\n"));
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    let (root, user) = (root.display(), if is_root { "User root\n" } else { "" });
    let text = format!(
        "Foreground yes\nDatabaseDirectory {root}/base\nLocalSocket {root}/clamd.sock\nTCPSocket {port}\n\
         TCPAddr 127.0.0.1\nTemporaryDirectory {root}\nMaxThreads 4\nStreamMaxLength 1M\n{user}"
    );
    write("clamd.conf", &text);
}

/// Letters from ann@far.test to joe@example.test with the test file: as it is, coded, in an archive.
#[must_use]
pub fn infected() -> [Vec<u8>; 3] {
    let eicar = EICAR.concat();
    [
        format!("From: ann@far.test\r\nTo: joe@example.test\r\nSubject: hello\r\n\r\n{eicar}\r\n")
            .into_bytes(),
        attached(eicar.as_bytes(), "eicar.com"),
        attached(&zip("eicar.com", eicar.as_bytes(), EICAR_CRC), "eicar.zip"),
    ]
}

/// A letter with a file attached to it.
#[must_use]
pub fn attached(attached: &[u8], name: &str) -> Vec<u8> {
    let coded = base64(attached);
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
    let length = u32::try_from(contents.len()).expect("a short file").to_le_bytes();
    let name_length = u16::try_from(name.len()).expect("a short name").to_le_bytes();
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
    let sizes = [entry.len(), file.len()]
        .map(|size| u32::try_from(size).expect("a short archive").to_le_bytes())
        .concat();
    [&file[..], &entry, b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &sizes, &[0, 0]].concat()
}
