//! A connection to a peer: bytes out, replies in, each with its time limit.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mail::Reply;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::capabilities::Capabilities;
use super::reply::{ReplyBuffer, ReplyError};
use super::wire::Wire;
use crate::settings::Timeouts;

/// Octets that are made room for in one read of replies.
const READ_BYTES: usize = 4096;

/// A connection on which a greeting was exchanged, or is being exchanged.
#[derive(Debug)]
pub(crate) struct Connection {
    wire: Wire,
    replies: ReplyBuffer,
    /// `mx.a.test[192.0.2.1]:25`.
    pub(crate) peer: Arc<str>,
    pub(crate) capabilities: Capabilities,
    /// Messages offered on it so far.
    pub(crate) messages: u32,
    /// A transaction was begun and not ended: RSET comes before the next.
    pub(crate) needs_reset: bool,
    /// The peer said 421, or something on the line went wrong: not to be used again.
    pub(crate) is_broken: bool,
    /// Replies read since it was last taken out of the cache: with none, it may have been dead all along.
    pub(crate) heard: bool,
}

/// A connection failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("the peer closed the connection")]
    Closed,
    #[error("{0}")]
    Io(io::Error),
    #[error("{0}")]
    Reply(#[from] ReplyError),
    #[error("the message could not be read: {0}")]
    Body(io::Error),
}

impl Connection {
    pub(crate) fn new(wire: Wire, peer: Arc<str>, timeouts: &Timeouts) -> Self {
        Self {
            wire,
            replies: ReplyBuffer::new(timeouts.reply_bytes_max),
            peer,
            capabilities: Capabilities::default(),
            messages: 0,
            needs_reset: false,
            is_broken: false,
            heard: false,
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.wire, Wire::Tls(_))
    }

    /// The bare stream, for a change to TLS. `None` when bytes were read that nobody asked for: what stands there was
    /// said in the clear and must not be taken for something said under TLS (RFC 3207 §6).
    pub(crate) fn into_wire(self) -> Option<Wire> {
        self.replies.is_empty().then_some(self.wire)
    }

    /// The stream, lent for a dialogue that is not ours.
    pub(crate) fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// The next reply, in its time.
    pub(crate) async fn reply(&mut self, limit: Duration) -> Result<Reply, WireError> {
        loop {
            if let Some(reply) = self.replies.next().inspect_err(|_| self.is_broken = true)? {
                self.heard = true;
                // RFC 5321 §3.8: after a 421 the peer closes.
                self.is_broken |= reply.code == 421;
                return Ok(reply);
            }
            self.replies.bytes.reserve(READ_BYTES);
            let read = timeout(limit, self.wire.read_buf(&mut self.replies.bytes)).await;
            let error = match read {
                Ok(Ok(0)) => WireError::Closed,
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => WireError::Io(error),
                Err(_) => WireError::TimedOut(limit),
            };
            self.is_broken = true;
            return Err(error);
        }
    }

    /// Says a command, or several.
    pub(crate) async fn say(&mut self, commands: &[u8], limit: Duration) -> Result<(), WireError> {
        self.send(&mut [IoSlice::new(commands)], limit).await
    }

    /// Writes slices, as many as possible at once. The limit is for each step, not for all.
    pub(crate) async fn send(
        &mut self,
        mut slices: &mut [IoSlice<'_>],
        limit: Duration,
    ) -> Result<(), WireError> {
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            let error = match timeout(limit, self.wire.write_vectored(slices)).await {
                Ok(Ok(0)) => WireError::Closed,
                Ok(Ok(written)) => {
                    IoSlice::advance_slices(&mut slices, written);
                    continue;
                }
                Ok(Err(error)) => WireError::Io(error),
                Err(_) => WireError::TimedOut(limit),
            };
            self.is_broken = true;
            return Err(error);
        }
        if self.is_tls() {
            let flushed = timeout(limit, self.wire.flush()).await;
            let result =
                flushed.map_err(|_| WireError::TimedOut(limit)).and_then(|r| r.map_err(WireError::Io));
            return result.inspect_err(|_| self.is_broken = true);
        }
        Ok(())
    }

    /// After a write failed: the words the peer may have left before it closed, such as `552 too big` or an early 421.
    pub(crate) async fn last_words(&mut self) -> Option<Reply> {
        self.reply(Duration::from_secs(1)).await.ok()
    }

    /// True when nothing came on an idle connection: no 421, no end, no error. Never waits.
    pub(crate) fn is_quiet(&mut self) -> bool {
        if self.is_broken || !self.replies.is_empty() {
            return false;
        }
        let mut space = [0; 1];
        let mut buffer = ReadBuf::new(&mut space);
        let mut context = Context::from_waker(Waker::noop());
        matches!(Pin::new(&mut self.wire).poll_read(&mut context, &mut buffer), Poll::Pending)
    }

    /// Says goodbye and does not wait for the answer (RFC 5321 §4.1.1.10 asks to; the peer has nothing more to say).
    pub(crate) async fn quit(mut self) {
        if !self.is_broken {
            let limit = Duration::from_secs(2);
            // Whatever goes wrong here is of no interest to anybody.
            if self.say(b"QUIT\r\n", limit).await.is_ok() {
                let _ = self.reply(limit).await;
            }
            let _ = timeout(limit, self.wire.shutdown()).await;
        }
    }
}
