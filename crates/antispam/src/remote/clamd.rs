//! `ClamAV`'s clamd: INSTREAM, as clamd(8) has it. Malware is a certain fact: who sends it is refused, in every mode.
//!
//! The whole message is shown, in one chunk: clamd takes MIME, archives and documents apart by itself. A message over its
//! `StreamMaxLength`, and one that it cannot scan, is unknown, not clean.

use mail::Reply;
use policy::{Findings, Order, Ruling, Scope, Score, Source, SymbolDef, SymbolError};

use super::settings::ScannerSettings;
use super::station::Station;
use super::{Failure, Letter, Protocol};

/// Octets of an answer.
const ANSWER_BYTES_MAX: usize = 4 << 10;

/// What clamd says of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing known.
    Clean,
    /// The name of the signature.
    Found(String),
}

/// The protocol.
pub(crate) struct Clamd {
    virus: SymbolDef,
    key: String,
}

impl Clamd {
    pub(crate) fn new(number: usize, settings: &ScannerSettings) -> Result<Self, SymbolError> {
        let meaning = "Malware, by the signature that is named; refused in every mode";
        let virus = SymbolDef::configured(&settings.symbol("VIRUS"), Score::points(20), None, meaning)?;
        Ok(Self { virus, key: format!("antispam.scanner[{number}]") })
    }
}

impl Protocol for Clamd {
    type Answer = Answer;

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![self.virus.clone()]
    }

    async fn ask(&self, station: &Station, letter: &Letter<'_>) -> Result<Answer, Failure> {
        let mut line = station.connect().await?;
        let length = u32::try_from(letter.octets.len())
            .map_err(|_| Failure::Declined("the message is longer than a chunk can be".to_owned()))?;
        let begin = [&b"zINSTREAM\0"[..], &length.to_be_bytes()].concat();
        // A chunk without octets ends the stream: an empty message has no other.
        let pieces: &[&[u8]] = if length == 0 { &[&begin] } else { &[&begin, &letter.octets, &[0; 4]] };
        // It stops listening when it has seen too much, and has said so by then.
        let sent = line.send(pieces).await;
        match (line.until(0, ANSWER_BYTES_MAX).await, sent) {
            (Ok(answer), _) => read(&String::from_utf8_lossy(&answer)),
            (Err(_), Err(failure)) | (Err(failure), Ok(())) => Err(failure),
        }
    }

    fn tell(&self, answer: Answer, found: &mut Findings) {
        let Answer::Found(signature) = answer else { return };
        found.saw(self.virus.symbol.clone(), &signature);
        let words = format!("This message contains malware: {signature}");
        let order = Order::Reject(Reply::new(550, (5, 7, 1), words));
        let ruling = Ruling::new(Source::Malware, order, &self.key, &signature);
        found.rule(ruling.holds_for(Scope::Transaction));
    }
}

/// `stream: OK`, `stream: NAME FOUND`, or words that end in `ERROR`.
fn read(answer: &str) -> Result<Answer, Failure> {
    let said = answer.trim_end().strip_prefix("stream: ").unwrap_or(answer.trim_end());
    if said == "OK" {
        return Ok(Answer::Clean);
    }
    if let Some(name) = said.strip_suffix(" FOUND") {
        return Ok(Answer::Found(name.chars().filter(char::is_ascii_graphic).take(128).collect()));
    }
    match said.strip_suffix("ERROR") {
        Some(why) => Err(Failure::Declined(why.trim_end_matches([' ', '.']).to_owned())),
        None => Err(Failure::garbled(said.chars().take(80).collect::<String>())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_clean_is_never_taken_for_it() {
        assert_eq!(read("stream: OK"), Ok(Answer::Clean));
        let found = |name: &str| Ok(Answer::Found(name.to_owned()));
        assert_eq!(read("stream: Local.Eicar.Ndb.UNOFFICIAL FOUND"), found("Local.Eicar.Ndb.UNOFFICIAL"));
        assert_eq!(read("stream: evil\r\nname FOUND"), found("evilname"));
        let declined = Failure::Declined("INSTREAM size limit exceeded".to_owned());
        assert_eq!(read("INSTREAM size limit exceeded. ERROR"), Err(declined));
        for odd in ["", "stream:", "UNKNOWN COMMAND", "stream: OKAY", "stream: ", "PONG"] {
            assert!(matches!(read(odd), Err(Failure::Garbled(_))), "{odd}");
        }
    }
}
