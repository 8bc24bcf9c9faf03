//! A strict SMTP server that checks what it takes: only CRLF.CRLF ends a message, its checksum must fit, and every
//! arrival is counted. It keeps no messages, so that a test may send many.

use std::collections::{HashMap, HashSet};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::ledger::checksum;

/// The field that names a message, and the checksum of its body.
pub(crate) const FIELD: &str = "X-Ledger: ";

/// What has arrived.
#[derive(Debug, Default, Clone)]
pub(crate) struct Arrivals {
    /// How often each message came.
    pub(crate) times: HashMap<String, u32>,
    /// Messages whose body was another than the one sent.
    pub(crate) corrupt: HashSet<String>,
}

/// The server; its threads end with the test's process.
pub(crate) struct Sink {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    down: AtomicBool,
    arrivals: Mutex<Arrivals>,
}

impl Sink {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port for the sink");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || drop(serve(stream, &state)));
            }
        });
        Self { address, state }
    }

    /// While it is down, every message is answered 451.
    pub(crate) fn set_down(&self, down: bool) {
        self.state.down.store(down, Ordering::SeqCst);
    }

    /// A copy of what it knows.
    pub(crate) fn arrivals(&self) -> Arrivals {
        self.state.lock().clone()
    }

    /// True when all of these have arrived.
    pub(crate) fn has<'a>(&self, mut names: impl Iterator<Item = &'a String>) -> bool {
        let arrivals = self.state.lock();
        names.all(|name| arrivals.times.contains_key(name))
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a message, as it was on the wire.
    fn take(&self, wire: &[u8]) {
        let text = unstuff(wire);
        let split = find(&text, b"\r\n\r\n").expect("a header and a body") + 4;
        let (head, body) = text.split_at(split);
        let head = String::from_utf8_lossy(head);
        let Some(field) = head.lines().find_map(|line| line.strip_prefix(FIELD)) else { return };
        let (name, sum) = field.split_once(' ').expect("a name and a checksum");
        let mut arrivals = self.lock();
        *arrivals.times.entry(name.to_owned()).or_default() += 1;
        if checksum(body) != sum {
            arrivals.corrupt.insert(name.to_owned());
        }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|part| part == what)
}

/// RFC 5321 §4.5.2.
fn unstuff(wire: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(wire.len());
    let mut last = [b'\r', b'\n'];
    for octet in wire {
        let stuffed = *octet == b'.' && last == *b"\r\n";
        if !stuffed {
            out.push(*octet);
        }
        last = [last[1], *octet];
    }
    out
}

/// Octets from the peer, and what is left of them.
struct Input {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Input {
    /// Everything up to `end`, without it.
    fn until(&mut self, end: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut searched = 0_usize;
        let mut buffer = vec![0; 65_536];
        loop {
            let from = searched.saturating_sub(end.len());
            if let Some(at) = find(&self.unread[from..], end) {
                let rest = self.unread.split_off(from + at + end.len());
                let mut found = std::mem::replace(&mut self.unread, rest);
                found.truncate(from + at);
                return Ok(found);
            }
            searched = self.unread.len();
            match self.stream.read(&mut buffer)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => self.unread.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// A message, dots as they were sent.
    fn message(&mut self) -> std::io::Result<Vec<u8>> {
        // So that a dot at the very beginning is seen.
        self.unread.splice(..0, *b"\r\n");
        let mut found = self.until(b"\r\n.\r\n")?;
        found.extend_from_slice(b"\r\n");
        Ok(found.split_off(2))
    }
}

fn serve(stream: TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(300)))?;
    let mut output = stream.try_clone()?;
    let mut input = Input { stream, unread: Vec::new() };
    let mut recipients = 0;
    output.write_all(b"220 sink.test ESMTP\r\n")?;
    loop {
        let line = String::from_utf8_lossy(&input.until(b"\r\n")?).to_ascii_uppercase();
        let reply: &[u8] = match line.get(..4).unwrap_or_default() {
            "EHLO" => b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n",
            "MAIL" | "RSET" => {
                recipients = 0;
                b"250 2.1.0 Ok\r\n"
            }
            "RCPT" => {
                recipients += 1;
                b"250 2.1.5 Ok\r\n"
            }
            "DATA" if recipients == 0 => b"554 5.5.1 No recipients\r\n",
            "DATA" => {
                output.write_all(b"354 Go on\r\n")?;
                let message = input.message()?;
                if state.down.load(Ordering::SeqCst) {
                    b"451 4.3.0 Down\r\n"
                } else {
                    state.take(&message);
                    b"250 2.0.0 Taken\r\n"
                }
            }
            "NOOP" => b"250 2.0.0 Ok\r\n",
            "QUIT" => return output.write_all(b"221 2.0.0 Bye\r\n"),
            _ => b"500 5.5.2 Not understood\r\n",
        };
        output.write_all(reply)?;
    }
}
