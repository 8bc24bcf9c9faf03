//! Pyzor: has somebody else called this text spam? `check` of its protocol 2.1, a datagram each way; telling others is in
//! [`report`].
//!
//! Only a digest leaves this host, never a word of the message. Many reports are an opinion, and count as a symbol; a text
//! that was cleared by its makers counts as nothing.

mod digest;
mod html;
pub mod report;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest as sha1};
use aws_lc_rs::rand;
use mail::Timestamp;
use policy::{Findings, Score, SymbolDef, SymbolError};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::settings::ScannerSettings;
use super::station::Station;
use super::{Failure, Letter, Protocol, shown};
use crate::groups::SCANNERS;
use crate::work;

/// Reports from which on a text counts as spam.
pub const REPORTS_MIN: u64 = 5;
/// Octets of an answer.
const ANSWER_BYTES_MAX: usize = 8 << 10;
/// Numbers of threads below this are the protocol's own.
const THREAD_MIN: u16 = 1024;

/// The lines of a message that it is known by, for comparison with `pyzor predigest`.
#[must_use]
pub fn digest_lines(message: &[u8]) -> Vec<String> {
    digest::lines(message)
}

/// What a server has of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Answer {
    /// How often it was reported.
    reports: u64,
    /// How often it was cleared.
    cleared: u64,
}

/// What a server is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// How often was the text reported, and cleared?
    Check,
    /// Count it as spam once more.
    Report,
    /// Count it as no spam once more.
    Whitelist,
}

impl Operation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Report => "report",
            Self::Whitelist => "whitelist",
        }
    }
}

/// The protocol.
pub(crate) struct Pyzor {
    listed: SymbolDef,
}

impl Pyzor {
    pub(crate) fn new(settings: &ScannerSettings) -> Result<Self, SymbolError> {
        let meaning = "Others have reported this text as spam";
        let listed =
            SymbolDef::configured(&settings.symbol("LISTED"), Score::points(2), Some(SCANNERS), meaning)?;
        Ok(Self { listed })
    }
}

impl Protocol for Pyzor {
    type Answer = Answer;

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![self.listed.clone()]
    }

    async fn ask(&self, station: &Station, letter: &Letter<'_>) -> Result<Answer, Failure> {
        let octets = letter.octets.clone();
        let lines = work::hashing(octets.len(), move || digest::lines(&octets)).await;
        let lines = lines.map_err(|broken| Failure::Declined(broken.to_string()))?;
        if lines.is_empty() {
            // Nothing to know it by: the digest of nothing is everybody's.
            return Ok(Answer::default());
        }
        counts(&say(station, Operation::Check, &digest::of(&lines), letter.facts.at).await?)
    }

    fn tell(&self, answer: Answer, found: &mut Findings) {
        if answer.reports >= REPORTS_MIN && answer.cleared == 0 {
            found.saw(self.listed.symbol.clone(), &format!("reported {} times", answer.reports));
        }
    }
}

fn thread() -> Option<u16> {
    let mut octets = [0; 2];
    rand::fill(&mut octets).ok()?;
    let thread = u16::from_be_bytes(octets);
    Some(thread % (u16::MAX - THREAD_MIN) + THREAD_MIN)
}

/// One question and the answer that belongs to it.
async fn say(
    station: &Station,
    operation: Operation,
    digest: &str,
    at: Timestamp,
) -> Result<String, Failure> {
    let thread = thread().ok_or_else(|| Failure::Declined("there is no randomness".to_owned()))?;
    let answer = exchange(station, &request(operation, digest, thread, at.0 / 1000)).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    accepted(&answer, thread)?;
    Ok(answer)
}

/// A question as anybody, signed as anybody is.
fn request(operation: Operation, digest: &str, thread: u16, seconds: u64) -> String {
    // Who counts a text wants to know where in the message its lines were.
    let places = match operation {
        Operation::Check => String::new(),
        Operation::Report | Operation::Whitelist => format!("Op-Spec: {}\n", digest::PLACES_TEXT),
    };
    let fields = format!(
        "Op: {}\nOp-Digest: {digest}\n{places}Thread: {thread}\nPV: 2.1\nUser: anonymous\nTime: {seconds}",
        operation.as_str()
    );
    let key = digest::hex(b"anonymous:");
    let sum = sha1(&SHA1_FOR_LEGACY_USE_ONLY, fields.as_bytes());
    let signature = digest::hex(&[sum.as_ref(), format!(":{seconds}:{key}").as_bytes()].concat());
    format!("{fields}\nSig: {signature}\n\n")
}

async fn exchange(station: &Station, request: &str) -> Result<Vec<u8>, Failure> {
    let address = station.datagrams_to().await?;
    let own = match address.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let unreachable = |error: std::io::Error| Failure::Unreachable(error.to_string());
    let socket = UdpSocket::bind((own, 0)).await.map_err(unreachable)?;
    socket.connect(address).await.map_err(unreachable)?;
    socket.send(request.as_bytes()).await.map_err(unreachable)?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    // Datagrams get lost: each attempt has its share of the time.
    let received = timeout(station.attempt_time_max(), socket.recv(&mut answer)).await;
    let received = received.map_err(|_| Failure::Lost("no answer".to_owned()))?;
    let length = received.map_err(|error| Failure::Unreachable(error.to_string()))?;
    answer.truncate(length);
    Ok(answer)
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = answer.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn number(answer: &str, name: &str) -> Option<u64> {
    field(answer, name).and_then(|value| value.parse().ok())
}

/// Is it the answer to our question, and a good one?
fn accepted(answer: &str, thread: u16) -> Result<(), Failure> {
    match number(answer, "Code") {
        Some(200) if number(answer, "Thread") != Some(u64::from(thread)) => {
            Err(Failure::garbled("the answer belongs to another question"))
        }
        Some(200) => Ok(()),
        Some(code) => {
            let why = field(answer, "Diag").unwrap_or_default();
            Err(Failure::Declined(shown(&format!("{code} {why}"))))
        }
        None => Err(Failure::garbled(shown(answer))),
    }
}

/// What a good answer tells of a text.
fn counts(answer: &str) -> Result<Answer, Failure> {
    match (number(answer, "Count"), number(answer, "WL-Count")) {
        (Some(reports), Some(cleared)) => Ok(Answer { reports, cleared }),
        _ => Err(Failure::garbled("there are no counts")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_believed_only_to_its_own_question() {
        let answer = |code: u16, thread: u16| {
            format!("Code: {code}\nDiag: OK\nPV: 2.1\nThread: {thread}\nCount: 7\nWL-Count: 0\n\n")
        };
        let read = |answer: &str, thread| accepted(answer, thread).and_then(|()| counts(answer));
        assert_eq!(read(&answer(200, 2000), 2000), Ok(Answer { reports: 7, cleared: 0 }));
        assert!(matches!(read(&answer(200, 2001), 2000), Err(Failure::Garbled(_))));
        assert_eq!(read(&answer(403, 2000), 2000), Err(Failure::Declined("403 OK".to_owned())));
        for odd in ["", "Code: 200\nThread: 2000\n", "x"] {
            assert!(matches!(read(odd, 2000), Err(Failure::Garbled(_))), "{odd}");
        }
        assert!((0..1000).all(|_| thread().is_some_and(|thread| thread >= THREAD_MIN)));
    }
}
