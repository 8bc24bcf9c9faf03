//! A connection to a scanner: octets out, and bounded answers in. Knows no protocol.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};

use super::Failure;

/// Octets of one line of an answer.
pub(crate) const LINE_BYTES_MAX: usize = 16 << 10;

trait Socket: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    /// What comes next is acknowledged at once. Who answers in several small pieces waits for that before each.
    fn acknowledge_at_once(&self) {}
}

impl Socket for UnixStream {}

impl Socket for TcpStream {
    fn acknowledge_at_once(&self) {
        #[cfg(target_os = "linux")]
        let _ = self.set_quickack(true);
    }
}

/// See above.
pub(crate) struct Line {
    stream: BufReader<Box<dyn Socket>>,
}

impl Line {
    pub(super) fn tcp(stream: TcpStream) -> Self {
        Self { stream: BufReader::new(Box::new(stream)) }
    }

    pub(super) fn unix(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(Box::new(stream)) }
    }

    /// Sends pieces, one after the other, as they are: nothing is copied.
    pub(crate) async fn send(&mut self, pieces: &[&[u8]]) -> Result<(), Failure> {
        for piece in pieces {
            self.stream.write_all(piece).await.map_err(lost)?;
        }
        self.stream.flush().await.map_err(lost)
    }

    /// Says that nothing more comes.
    pub(crate) async fn finish(&mut self) -> Result<(), Failure> {
        self.stream.shutdown().await.map_err(lost)
    }

    /// An answer up to `end`, without it. Fewer octets than that are a connection that was lost, more than `max` are
    /// no answer.
    pub(crate) async fn until(&mut self, end: u8, max: usize) -> Result<Vec<u8>, Failure> {
        let mut all = Vec::new();
        let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        (&mut self.stream).take(limit).read_until(end, &mut all).await.map_err(lost)?;
        match all.pop() {
            Some(last) if last == end => Ok(all),
            Some(_) if all.len() >= max => Err(Failure::garbled("the answer is too long")),
            _ => Err(Failure::Lost("the connection was closed before the answer".to_owned())),
        }
    }

    /// A line of at most [`LINE_BYTES_MAX`] octets, without its line end, what is no UTF-8 replaced.
    pub(crate) async fn line(&mut self) -> Result<String, Failure> {
        let mut line = self.until(b'\n', LINE_BYTES_MAX).await?;
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Hands what has come to `take`: at least one octet.
    pub(crate) async fn some(&mut self, take: impl FnOnce(&[u8])) -> Result<(), Failure> {
        // The system forgets it after a while.
        self.stream.get_ref().acknowledge_at_once();
        let octets = self.stream.fill_buf().await.map_err(lost)?;
        let count = octets.len();
        if count == 0 {
            return Err(Failure::Lost("the connection was closed before the answer".to_owned()));
        }
        take(octets);
        self.stream.consume(count);
        Ok(())
    }

    /// So many octets.
    pub(crate) async fn exactly(&mut self, bytes: usize) -> Result<Vec<u8>, Failure> {
        let mut all = vec![0; bytes];
        self.stream.read_exact(&mut all).await.map_err(lost)?;
        Ok(all)
    }

    /// All that comes until the other side closes; more than `max` octets are no answer.
    pub(crate) async fn rest(&mut self, max: usize) -> Result<Vec<u8>, Failure> {
        let mut all = Vec::new();
        let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        (&mut self.stream).take(limit).read_to_end(&mut all).await.map_err(lost)?;
        if all.len() > max { Err(Failure::garbled("the answer is too long")) } else { Ok(all) }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn lost(error: io::Error) -> Failure {
    Failure::Lost(error.to_string())
}
