//! The session driver: moves bytes between a socket and the pure [`smtp::Session`], and carries its questions to [`crate::ask`].
//!
//! Knows nothing of SMTP itself. Replies are gathered and written in one go before the session waits for input
//! (RFC 2920 §3.2). Reads wait for the session's own deadline; writes have a limit too, so that a peer that reads
//! nothing holds nothing. TLS handshakes happen here; a failed one ends the session.

pub mod body;
pub mod facts;
pub mod stream;
pub mod transaction;

use std::sync::Arc;
use std::time::{Duration, Instant};

use smtp::{CloseReason, Output, PeerInfo, Role, Session, SessionSummary};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::ask::Asker;
use crate::maillog::SessionLine;
use crate::metrics::{Direction, RecipientRefusal, SessionEnd, Verb};
use crate::services::Services;
use crate::submit::Caller;
use facts::ClientFacts;
use stream::Stream;

/// Read at once while commands come, octets: enough for a pipelined group, little for an idle session.
const COMMAND_READ: usize = 4 * 1024;
/// Read at once while a message comes fast, octets. A slow one is read in small pieces: many slow senders must not hold
/// many large buffers.
const BODY_READ: usize = 64 * 1024;
/// Replies that are gathered at most before they are written, octets.
const GATHER_MAX: usize = 16 * 1024;
/// How long a peer may take to read what we wrote.
const WRITE_TIME: Duration = Duration::from_secs(60);

/// Serves one TCP client until the end.
pub async fn serve_tcp(
    services: Arc<Services>,
    stream: TcpStream,
    role: Role,
    peer: PeerInfo,
    facts: ClientFacts,
) {
    let mut stream = Stream::Tcp(stream);
    let mut peer = peer;
    if role == Role::Submissions {
        match handshake(&services, stream).await {
            Some((tls, info)) => {
                stream = tls;
                peer.tls = Some(info);
            }
            None => {
                services.shared.metrics.session_ended(facts.door, SessionEnd::Dropped, Duration::ZERO);
                return;
            }
        }
    }
    Driver::new(services, stream, role, peer, facts).run().await;
}

/// Serves one program on this machine until the end.
pub async fn serve_local(services: Arc<Services>, stream: Box<dyn crate::submit::Stream>, user: Caller) {
    let mut facts = ClientFacts::new(crate::metrics::Door::Local, None, true);
    facts.local_user = Some(user);
    facts.milters = antispam::remote::milter::Choice::Local;
    Driver::new(services, Stream::Local(stream), Role::Local, PeerInfo::on_this_machine(), facts).run().await;
}

/// The server's side of a TLS handshake; none when it failed.
async fn handshake(services: &Services, stream: Stream) -> Option<(Stream, smtp::TlsInfo)> {
    let (Stream::Tcp(tcp), Some(tls)) = (stream, services.tls.as_ref()) else { return None };
    let metrics = &services.shared.metrics;
    match tls.accept(tcp).await {
        Ok((stream, found)) => {
            metrics.tls(Direction::In, Some(found.version));
            let info = smtp::TlsInfo {
                version: found.version.to_owned(),
                cipher: found.cipher,
                sni: found.sni,
                channel_binding: found.exporter,
            };
            Some((Stream::Tls(Box::new(stream)), info))
        }
        Err(_) => {
            metrics.tls(Direction::In, None);
            None
        }
    }
}

/// What became of one turn of the loop.
enum Turn {
    Go,
    End,
}

struct Driver {
    session: Session,
    stream: Stream,
    asker: Asker,
    services: Arc<Services>,
    out: Vec<u8>,
    buffer: Vec<u8>,
    began: Instant,
}

impl Driver {
    fn new(services: Arc<Services>, stream: Stream, role: Role, peer: PeerInfo, facts: ClientFacts) -> Self {
        let began = Instant::now();
        let mut facts = facts;
        facts.tls.clone_from(&peer.tls);
        let session = Session::new(Arc::clone(&services.smtp), role, peer, began);
        services.shared.metrics.session_began(facts.door);
        let asker = Asker::new(Arc::clone(&services), facts);
        Self { session, stream, asker, services, out: Vec::new(), buffer: Vec::new(), began }
    }

    async fn run(mut self) {
        let mut stopping = self.services.shared.stopping.subscribe();
        let mut told = false;
        while let Turn::Go = self.drain().await {
            if self.flush().await.is_err() {
                self.session.eof(Instant::now());
                continue;
            }
            if !told && *stopping.borrow_and_update() {
                told = true;
                self.session.shut_down(Instant::now());
                continue;
            }
            tokio::select! {
                biased;
                changed = stopping.changed(), if !told => {
                    told = true;
                    if changed.is_ok() { self.session.shut_down(Instant::now()); }
                }
                () = Self::read(&mut self.session, &mut self.stream, &mut self.buffer, self.asker.is_receiving()) => {}
            }
        }
        drop(timeout(WRITE_TIME, self.stream.shutdown()).await);
        self.asker.end().await;
        self.finish();
    }

    /// Does all that the session wants now.
    async fn drain(&mut self) -> Turn {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(bytes) => {
                    self.services.shared.metrics.replies_in(&bytes);
                    self.out.extend_from_slice(&bytes);
                    if self.out.len() > GATHER_MAX && self.flush().await.is_err() {
                        self.session.eof(Instant::now());
                    }
                }
                Output::Body(chunk) => self.asker.body(chunk).await,
                Output::BodyAborted(why) => self.asker.body_aborted(why).await,
                Output::Ask(question) => {
                    let first = matches!(question, smtp::Question::Connect);
                    self.asker.facts.pipelined_early = self.session.summary().pipelined_early;
                    let answer = Box::pin(self.asker.ask(question)).await;
                    if first {
                        self.asker.before_greeting(self.stream.waiting());
                    }
                    self.session.answer(answer, Instant::now());
                }
                Output::StartTls => self.start_tls().await,
                Output::Close(_) => {
                    drop(self.flush().await);
                    return Turn::End;
                }
            }
        }
        Turn::Go
    }

    async fn start_tls(&mut self) {
        if self.flush().await.is_err() {
            return self.session.eof(Instant::now());
        }
        let plain = std::mem::replace(&mut self.stream, Stream::Gone);
        match Box::pin(handshake(&self.services, plain)).await {
            Some((stream, info)) => {
                self.stream = stream;
                self.asker.facts.tls = Some(info.clone());
                self.session.tls_established(info, Instant::now());
            }
            None => self.session.tls_failed(Instant::now()),
        }
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let write = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        };
        let written =
            timeout(WRITE_TIME, write).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        self.out.clear();
        self.out.shrink_to(1024);
        written
    }

    /// Reads once, or lets the session's deadline pass. Cancellation loses nothing: bytes are handed on at once.
    async fn read(session: &mut Session, stream: &mut Stream, buffer: &mut Vec<u8>, receiving: bool) {
        if buffer.is_empty() || (!receiving && buffer.len() != COMMAND_READ) {
            *buffer = vec![0; COMMAND_READ];
        }
        let read = async { stream.read(buffer).await };
        let outcome = match session.deadline() {
            Some(deadline) => tokio::time::timeout_at(deadline.into(), read).await,
            None => Ok(read.await),
        };
        let now = Instant::now();
        match outcome {
            Ok(Ok(0) | Err(_)) => session.eof(now),
            // A PROXY header from a network that may not send one: whoever it is, it is not who it says.
            Ok(Ok(count)) if is_first(session) && starts_like_proxy(buffer, count) => session.eof(now),
            Ok(Ok(count)) => {
                session.receive(buffer.get(..count).unwrap_or_default(), now);
                let size = next_size(buffer.len(), count);
                if receiving && size != buffer.len() {
                    *buffer = vec![0; size];
                }
            }
            Err(_) => session.wake(now),
        }
    }

    /// The session's line in the log, and its counters.
    fn finish(&self) {
        let summary: &SessionSummary = self.session.summary();
        let end = end_of(summary.closed);
        let facts = &self.asker.facts;
        let tls = summary.tls.as_ref().map(|t| format!("{} {}", t.version, t.cipher));
        let account = summary.account.as_deref().or(facts.local_user.as_ref().map(|u| u.user.as_str()));
        self.services.shared.log.session(&SessionLine {
            session: self.asker.session(),
            listener: facts.door_name(),
            client: facts.for_log(),
            helo: summary.helo.as_deref(),
            account,
            tls: tls.as_deref(),
            commands: summary.commands,
            messages: summary.messages,
            recipients: summary.recipients,
            bytes: self.asker.bytes_accepted,
            errors: summary.errors,
            end: crate::metrics::Label::name(end),
            lasted: self.began.elapsed(),
        });
        let metrics = &self.services.shared.metrics;
        let mut unknown = summary.commands;
        for (word, count) in summary.commands_by_verb().filter(|(_, count)| *count > 0) {
            metrics.commands(Verb::from_word(word), count);
            unknown = unknown.saturating_sub(count);
        }
        metrics.commands(Verb::Other, unknown);
        let unasked = &summary.recipients_not_asked;
        for (reason, count) in [
            (RecipientRefusal::RelayDenied, unasked.relaying),
            (RecipientRefusal::TooMany, unasked.too_many),
            (RecipientRefusal::Protocol, unasked.protocol),
        ] {
            metrics.recipients_refused(reason, count);
        }
        metrics.session_ended(facts.door, end, self.began.elapsed());
    }
}

/// Nothing has come from this peer yet.
fn is_first(session: &Session) -> bool {
    session.summary().bytes_in == 0
}

fn starts_like_proxy(buffer: &[u8], count: usize) -> bool {
    buffer.get(..count).is_some_and(net::proxy::begins_like_header)
}

/// The size of the next read of a message, after one of `size` octets gave `count`: grows with a fast sender, shrinks with
/// a slow one.
fn next_size(size: usize, count: usize) -> usize {
    if count == size {
        (size * 4).min(BODY_READ)
    } else if count <= size / 16 {
        (size / 4).max(COMMAND_READ)
    } else {
        size
    }
}

fn end_of(reason: Option<CloseReason>) -> SessionEnd {
    match reason {
        Some(CloseReason::Quit) => SessionEnd::Quit,
        Some(CloseReason::Eof) | None => SessionEnd::Lost,
        Some(CloseReason::Timeout) => SessionEnd::TimedOut,
        Some(CloseReason::Refused) => SessionEnd::Refused,
        Some(CloseReason::ShuttingDown) => SessionEnd::Stopping,
        Some(_) => SessionEnd::Dropped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_grow_with_fast_senders_and_shrink_with_slow_ones() {
        let fast = (0..4).fold(COMMAND_READ, |size, _| next_size(size, size));
        assert_eq!(fast, BODY_READ);
        assert_eq!(next_size(BODY_READ, BODY_READ / 2), BODY_READ);
        let slow = (0..4).fold(BODY_READ, |size, _| next_size(size, 1));
        assert_eq!(slow, COMMAND_READ);
    }
}
