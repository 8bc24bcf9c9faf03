//! The commands' end of `admin.sock`. Blocking: a command does one thing at a time.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::protocol::{LINE_BYTES_MAX, Request, Response};

/// Why the server could not be asked, or what it refused.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("the server does not run: nobody listens on {}; start it: staffetta serve", .0.display())]
    NotRunning(PathBuf),
    /// The socket belongs to someone else.
    #[error("{} is for root and the server's own user only; use sudo", .0.display())]
    Denied(PathBuf),
    /// The connection broke.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which socket.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The server speaks another language: another version, most likely.
    #[error("the server's answer was not understood, does it have this version? {0}")]
    Protocol(String),
    /// The server said no.
    #[error("{0}")]
    Refused(String),
}

/// A connection to the server.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    reader: BufReader<UnixStream>,
}

impl Client {
    /// Connects to `admin.sock`.
    ///
    /// # Errors
    /// [`ClientError`] when nobody listens, or may not be asked.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        use std::io::ErrorKind;
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NotRunning(path.to_owned()),
            ErrorKind::PermissionDenied => ClientError::Denied(path.to_owned()),
            _ => ClientError::Io { path: path.to_owned(), error },
        })?;
        Ok(Self { path: path.to_owned(), reader: BufReader::new(stream) })
    }

    /// Asks, gives every item to `each`, and returns the count and whether there is more.
    ///
    /// # Errors
    /// [`ClientError`], what the server refused included.
    pub fn ask<E: From<ClientError>>(
        &mut self,
        request: &Request,
        mut each: impl FnMut(Response) -> Result<(), E>,
    ) -> Result<(u64, bool), E> {
        let mut line = serde_json::to_vec(request).map_err(|e| ClientError::Protocol(e.to_string()))?;
        line.push(b'\n');
        self.reader.get_mut().write_all(&line).map_err(|error| self.broken(error))?;
        loop {
            match self.next()? {
                Response::Done { count, more } => return Ok((count, more)),
                Response::Error(words) => return Err(ClientError::Refused(words).into()),
                item => each(item)?,
            }
        }
    }

    fn next(&mut self) -> Result<Response, ClientError> {
        let mut line = Vec::new();
        let read = (&mut self.reader).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line);
        match read {
            Ok(0) => Err(self.broken(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => serde_json::from_slice(&line).map_err(|e| ClientError::Protocol(e.to_string())),
            Err(error) => Err(self.broken(error)),
        }
    }

    fn broken(&self, error: std::io::Error) -> ClientError {
        ClientError::Io { path: self.path.clone(), error }
    }
}
