//! Unix sockets in the data folder: made with their mode from the first moment on, and never stolen from a server
//! that still runs.

use std::fs::Permissions;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Binds a socket at `path` with exactly this mode. One that nobody listens on any more is replaced.
///
/// # Errors
/// `AddrInUse` when another server listens there; else what the system said. Must run inside a tokio runtime.
pub fn bind(path: &Path, mode: u32) -> std::io::Result<tokio::net::UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("{} is no socket", path.display())));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            let text = format!("another server listens on {}; stop it first", path.display());
            return Err(Error::new(ErrorKind::AddrInUse, text));
        }
        _ => {}
    }
    // Bound under another name, given its mode, then renamed: at no moment can it be reached with another mode.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let _ = std::fs::remove_file(&beside);
    let listener = UnixListener::bind(&beside)?;
    std::fs::set_permissions(&beside, Permissions::from_mode(mode))?;
    std::fs::rename(&beside, path)?;
    listener.set_nonblocking(true)?;
    tokio::net::UnixListener::from_std(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn modes_are_exact_and_a_running_server_keeps_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        for mode in [0o600, 0o666] {
            let listener = bind(&path, mode).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
            assert_eq!(bind(&path, mode).unwrap_err().kind(), ErrorKind::AddrInUse);
            drop(listener);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let file = folder.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        assert_eq!(bind(&file, 0o600).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    }
}
