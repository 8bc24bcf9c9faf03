//! The ledger: what the server said about each message that was sent, held against what arrived in the end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use support::Client;

use crate::sink::{Arrivals, FIELD, Sink};

/// Every so many messages one goes to a recipient who does not exist.
const UNKNOWN_RECIPIENT_EVERY: u64 = 10;
/// Every so many messages one has a bare LF, which is refused after its end.
const MALFORMED_EVERY: u64 = 23;
/// Every so many messages one is too large for the journal and gets a file of its own.
const LARGE_EVERY: u64 = 17;

/// What the server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Said {
    /// 250 after the message: it must arrive.
    Accepted,
    /// 5yz: it must not arrive.
    Refused,
    /// 4yz: not tested for, the sender would come again.
    Deferred,
    /// The connection ended before the answer.
    Nothing,
}

/// All messages that were sent.
#[derive(Default)]
pub(crate) struct Ledger {
    said: Mutex<HashMap<String, Said>>,
    next: AtomicU64,
    /// From now on a 250 counts for nothing: a power cut has begun, and a real one would not have let it out.
    pub(crate) cut: AtomicBool,
}

/// FNV-1a over 64 bits: enough to see octets that changed.
pub(crate) fn checksum(octets: &[u8]) -> String {
    let start = 0xcbf2_9ce4_8422_2325_u64;
    let sum =
        octets.iter().fold(start, |sum, octet| (sum ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{sum:016x}")
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Said>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many messages have this entry.
    pub(crate) fn count(&self, said: Said) -> usize {
        self.lock().values().filter(|entry| **entry == said).count()
    }

    /// Sends messages over `clients` connections at once while `during` runs, and a little longer.
    pub(crate) fn load(&self, server: SocketAddr, clients: usize, during: impl FnOnce()) {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| self.send_until(server, &stop));
            }
            during();
            stop.store(true, Ordering::SeqCst);
        });
    }

    fn send_until(&self, server: SocketAddr, stop: &AtomicBool) {
        let mut connection = None;
        while !stop.load(Ordering::SeqCst) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let name = format!("m{number:06}");
            let said = match connection.take().or_else(|| connect(server)) {
                Some(mut client) => {
                    let said = send(&mut client, number, &name);
                    if said.is_some() {
                        connection = Some(client);
                    }
                    said.unwrap_or(Said::Nothing)
                }
                None => {
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
            };
            let void = said == Said::Accepted && self.cut.load(Ordering::SeqCst);
            self.lock().insert(name, if void { Said::Nothing } else { said });
        }
    }

    /// Waits until all accepted messages are in the sink, at most so long, and gives the verdict.
    pub(crate) fn verdict(&self, sink: &Sink, patience: Duration) -> Verdict {
        let said = self.lock().clone();
        let named = |which: Said| said.iter().filter(move |(_, s)| **s == which).map(|(name, _)| name);
        let end = Instant::now() + patience;
        while Instant::now() < end && !sink.has(named(Said::Accepted)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let Arrivals { times, corrupt } = sink.arrivals();
        let came = |name: &&String| times.contains_key(*name);
        Verdict {
            accepted: named(Said::Accepted).count(),
            lost: named(Said::Accepted).filter(|name| !came(name)).cloned().collect(),
            ghosts: named(Said::Refused).filter(came).cloned().collect(),
            corrupt: corrupt.into_iter().collect(),
            twice: times.values().filter(|times| **times > 1).count(),
        }
    }

    /// As [`Ledger::verdict`]; says the numbers.
    ///
    /// # Panics
    /// When a message was lost, came although it was refused, or came changed.
    pub(crate) fn settle(&self, title: &str, sink: &Sink, patience: Duration) {
        let verdict = self.verdict(sink, patience);
        println!(
            "{title}: {} accepted, {} refused, {} deferred, {} unanswered; \
             {} lost, {} ghosts, {} corrupt, {} more than once",
            verdict.accepted,
            self.count(Said::Refused),
            self.count(Said::Deferred),
            self.count(Said::Nothing),
            verdict.lost.len(),
            verdict.ghosts.len(),
            verdict.corrupt.len(),
            verdict.twice,
        );
        assert!(verdict.accepted > 0, "nothing was accepted: the test tested nothing");
        assert!(verdict.lost.is_empty(), "accepted, and never arrived: {:?}", verdict.lost);
        assert!(verdict.ghosts.is_empty(), "refused, and arrived: {:?}", verdict.ghosts);
        assert!(verdict.corrupt.is_empty(), "arrived changed: {:?}", verdict.corrupt);
    }
}

/// What became of the messages.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// How many were answered 250.
    pub(crate) accepted: usize,
    /// Answered 250, and never came.
    pub(crate) lost: Vec<String>,
    /// Answered 5yz, and came.
    pub(crate) ghosts: Vec<String>,
    /// Came changed.
    pub(crate) corrupt: Vec<String>,
    /// How many came more than once, which a crash may cause.
    pub(crate) twice: usize,
}

fn connect(server: SocketAddr) -> Option<Client> {
    let mut client = Client::try_raw(server)?;
    let greeted = client.try_reply()?.code == 220 && said(&mut client, "EHLO client.test\r\n")? == 250;
    greeted.then_some(client)
}

/// Sends octets and gives the code of the answer; none when the connection ended.
fn said(client: &mut Client, text: &str) -> Option<u16> {
    client.try_send(text.as_bytes()).then(|| client.try_reply())?.map(|reply| reply.code)
}

/// One message; none when the connection ended before an answer to it.
fn send(client: &mut Client, number: u64, name: &str) -> Option<Said> {
    if said(client, "MAIL FROM:<sender@crash.test>\r\n")? != 250 {
        client.try_send(b"RSET\r\n").then(|| client.try_reply())??;
        return Some(Said::Deferred);
    }
    let user = match number % UNKNOWN_RECIPIENT_EVERY {
        9 => "nobody".to_owned(),
        other => format!("u{other}"),
    };
    let code = said(client, &format!("RCPT TO:<{user}@crash.test>\r\n"))?;
    if code != 250 {
        said(client, "RSET\r\n")?;
        return Some(judge(code));
    }
    if said(client, "DATA\r\n")? != 354 {
        return None;
    }
    let message = message(number, name);
    said(client, &format!("{message}.\r\n")).map(judge)
}

fn judge(code: u16) -> Said {
    match code {
        200..300 => Said::Accepted,
        500..600 => Said::Refused,
        _ => Said::Deferred,
    }
}

fn message(number: u64, name: &str) -> String {
    let lines = if number.is_multiple_of(LARGE_EVERY) { 4_500 } else { 5 + number % 97 };
    let mut body = String::new();
    for line in 0..lines {
        body.push_str(&format!(
            "line {line:06} of message {name}, which is as good as any other line here\r\n"
        ));
    }
    let sum = checksum(body.as_bytes());
    let end = if number % MALFORMED_EVERY == 1 { "bare\nline feed\r\n" } else { "" };
    format!("From: <sender@crash.test>\r\nSubject: {number}\r\n{FIELD}{name} {sum}\r\n\r\n{body}{end}")
}
