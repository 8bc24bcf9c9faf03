//! Another server: a folder that its users can read, a process, both gone when it is dropped.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The user and group `nobody` of Debian.
pub(crate) const NOBODY: u32 = 65_534;

/// What every Dovecot has in its configuration: all within the folder, users with their passwords in a file.
const DOVECOT: &str = "\
base_dir = @DIR@/run
state_dir = @DIR@/state
log_path = @DIR@/log
ssl = no
first_valid_uid = 1
passdb {
  driver = passwd-file
  args = @DIR@/users
}
userdb {
  driver = passwd-file
  args = @DIR@/users
}
service stats {
  unix_listener stats-writer {
    mode = 0666
  }
}
";

/// A running server.
pub(crate) struct Peer {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Peer {
    /// A folder, nothing started. None when only root could start what is wanted.
    pub(crate) fn prepare() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            support::skip("needs root to start another mail server");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        Some(Self { folder, child: None })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text.replace("@DIR@", &self.folder.path().to_string_lossy()))
            .unwrap();
    }

    /// A folder in it that belongs to this user.
    pub(crate) fn make_folder(&self, name: &str, owner: u32) {
        std::fs::create_dir_all(self.path(name)).unwrap();
        chown(self.path(name), Some(owner), Some(owner)).unwrap();
    }

    /// Starts a program that stays in the foreground.
    pub(crate) fn start(&mut self, command: &mut Command) {
        let output = std::fs::File::create(self.path("output")).unwrap();
        let errors = output.try_clone().unwrap();
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        self.child = Some(command.spawn().unwrap());
    }

    /// Starts Dovecot with these users, and this behind the configuration of all.
    pub(crate) fn start_dovecot(&mut self, program: &Path, users: &str, more: &str) {
        for folder in ["run", "state"] {
            self.make_folder(folder, 0);
        }
        self.write("users", users);
        self.write("dovecot.conf", &format!("{DOVECOT}{more}"));
        self.start(Command::new(program).arg("-F").arg("-c").arg(self.path("dovecot.conf")));
    }

    /// What it wrote to its log and its output.
    pub(crate) fn log(&self) -> String {
        ["log", "output"].map(|name| std::fs::read_to_string(self.path(name)).unwrap_or_default()).join("\n")
    }

    /// The files below a folder, however deep, as text.
    pub(crate) fn files(&self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.path(name), &mut found);
        found
    }
}

fn collect(folder: &Path, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, found);
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // The masters of both end their children when they are asked to end. Postfix's stands behind a script that would
        // leave it running.
        let master = std::fs::read_to_string(self.path("queue/pid/master.pid")).unwrap_or_default();
        for pid in [master.trim(), &child.id().to_string()] {
            if !pid.is_empty() {
                drop(Command::new("kill").args(["-TERM", pid]).stderr(Stdio::null()).status());
            }
        }
        if !support::wait_until(|| matches!(child.try_wait(), Ok(Some(_)))) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
