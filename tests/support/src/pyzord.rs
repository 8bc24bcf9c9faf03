//! A Pyzor server of Debian's package, and its own client.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Running, free_port, need_program, wait_until};

/// The interpreter that Debian's package is made for.
const PYTHON: &str = "/usr/bin/python3";

/// A running pyzord; ends with the test.
pub struct Pyzord {
    _running: Running,
    folder: tempfile::TempDir,
    /// Where it listens on 127.0.0.1, for datagrams.
    pub port: u16,
}

impl Pyzord {
    /// Starts it; none when it is not installed. Anybody may do what these verbs are (`check`, `report`, `whitelist`).
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(verbs: &[&str]) -> Option<Self> {
        let program = need_program("pyzord")?;
        need_program("pyzor")?;
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let root = folder.path();
        let rights = ["ping"].iter().chain(verbs).map(|verb| format!("{verb} : anonymous : allow\n"));
        let write = |name: &str, text: &str| std::fs::write(root.join(name), text).expect("a file");
        write("access", &rights.collect::<String>());
        write("passwd", "");
        write("servers", &format!("127.0.0.1:{port}\n"));
        let log = std::fs::File::create(root.join("log")).expect("a log");
        let mut command = Command::new(PYTHON);
        command.arg(program).arg(format!("--homedir={}", root.display()));
        command.args(["-a", "127.0.0.1", "-e", "gdbm", "--password-file=passwd", "--access-file=access"]);
        command.arg("-p").arg(port.to_string()).arg(format!("--dsn={}/base", root.display()));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        let running = Running(command.spawn().expect("pyzord starts"));
        let pyzord = Self { _running: running, folder, port };
        let up = wait_until(|| pyzord.client(&["ping"], b"").0);
        assert!(up, "{}", std::fs::read_to_string(pyzord.folder.path().join("log")).unwrap_or_default());
        Some(pyzord)
    }

    /// The package's own client: whether it is content, and what it says.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn client(&self, arguments: &[&str], input: &[u8]) -> (bool, String) {
        pyzor(self.folder.path(), arguments, input)
    }
}

/// The package's own client with this folder as its home: whether it is content, and what it says.
///
/// # Panics
/// When it cannot be run.
#[must_use]
pub fn pyzor(home: &Path, arguments: &[&str], input: &[u8]) -> (bool, String) {
    let mut command = Command::new(PYTHON);
    let program = need_program("pyzor").expect("pyzor is installed");
    command.arg(program).arg("--homedir").arg(home).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("its input").write_all(input).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}
