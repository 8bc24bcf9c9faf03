//! Real name servers as child processes on loopback ports, with folders of their own; stopped when they are dropped.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    dir: TempDir,
    child: Child,
}

impl Server {
    /// Adds lines to a file and has the server read it again. It answers in the old way for a moment more.
    pub(crate) fn append(&self, file: &str, lines: &str) {
        let path = self.dir.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap() + lines;
        std::fs::write(&path, text).unwrap();
        let told =
            Command::new("sh").args(["-c", &format!("kill -HUP {}", self.child.id())]).status().unwrap();
        assert!(told.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has no state that could be lost.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// rbldnsd with zone files `(name, text)` and data sets `zone:type:file`. It gives up root, so others must be able to
/// read the folder.
pub(crate) fn rbldnsd(program: &Path, files: &[(&str, &str)], sets: &[&str]) -> Server {
    let dir = folder(files);
    let port = support::free_port();
    let mut command = Command::new(program);
    command.args(["-n", "-t", "60", "-c", "1", "-b", &format!("127.0.0.1/{port}")]);
    if std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0) {
        command.args(["-u", "nobody"]);
    }
    start(command.arg("-w").arg(dir.path()).args(sets), port, dir)
}

/// unbound that answers by itself, from a configuration in which `@PORT@` and `@CLOSED@` are ports.
pub(crate) fn unbound(program: &Path, configuration: &str) -> Server {
    let (port, closed) = (support::free_port(), support::free_port());
    let text = configuration.replace("@PORT@", &port.to_string()).replace("@CLOSED@", &closed.to_string());
    let dir = folder(&[("unbound.conf", &text)]);
    let file = dir.path().join("unbound.conf");
    start(Command::new(program).args(["-d", "-c"]).arg(file), port, dir)
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn start(command: &mut Command, port: u16, dir: TempDir) -> Server {
    let log: PathBuf = dir.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    let child = command.spawn().unwrap();
    let server = Server { addr: (Ipv4Addr::LOCALHOST, port).into(), dir, child };
    let up = support::wait_until(|| answers(server.addr));
    assert!(up, "{command:?}\n{}", std::fs::read_to_string(&log).unwrap_or_default());
    server
}

/// A question for the root's name server, and any answer at all.
fn answers(addr: SocketAddr) -> bool {
    const QUESTION: &[u8] = &[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
    let Ok(socket) = UdpSocket::bind("127.0.0.1:0") else { return false };
    let ready = socket.set_read_timeout(Some(Duration::from_millis(100))).and_then(|()| socket.connect(addr));
    ready.and_then(|()| socket.send(QUESTION)).and_then(|_| socket.recv(&mut [0; 512])).is_ok()
}
