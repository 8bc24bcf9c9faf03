//! `SpamAssassin`'s spamd: SYMBOLS of the SPAMC protocol, version 1.5 (its spamd/PROTOCOL). Its score is an opinion, and counts
//! as one symbol.
//!
//! Before the message stand a Return-Path and a Received as our own will be, since its rules about clients read them there;
//! the message itself is as it was received.

use policy::{Finding, Findings, Score, SymbolDef, SymbolError};

use super::line::Line;
use super::settings::ScannerSettings;
use super::station::Station;
use super::{Failure, Letter, Protocol, factor, shown};
use crate::groups::SCANNERS;

/// Lines of the head of an answer.
const HEAD_LINES_MAX: usize = 32;
/// Octets of the names of rules.
const SYMBOLS_BYTES_MAX: usize = 64 << 10;

/// What spamd says of a message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// Its points.
    score: f64,
    /// From how many on it would call it spam.
    required: f64,
    /// Its rules that spoke, as it lists them.
    rules: String,
}

/// The protocol.
pub(crate) struct Spamd {
    score: SymbolDef,
    hostname: String,
}

impl Spamd {
    pub(crate) fn new(settings: &ScannerSettings, hostname: &str) -> Result<Self, SymbolError> {
        let meaning = "What SpamAssassin says, times its points";
        let score =
            SymbolDef::configured(&settings.symbol("SCORE"), Score::points(1), Some(SCANNERS), meaning)?;
        Ok(Self { score, hostname: hostname.to_owned() })
    }
}

impl Protocol for Spamd {
    type Answer = Answer;

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![self.score.clone()]
    }

    async fn ask(&self, station: &Station, letter: &Letter<'_>) -> Result<Answer, Failure> {
        let trace = letter.trace(&self.hostname);
        let length = trace.len() + letter.octets.len();
        let request = format!("SYMBOLS SPAMC/1.5\r\nContent-length: {length}\r\n\r\n");
        let mut line = station.connect().await?;
        line.send(&[request.as_bytes(), &trace, &letter.octets]).await?;
        line.finish().await?;
        read(&mut line).await
    }

    fn tell(&self, answer: Answer, found: &mut Findings) {
        let evidence = format!("{} of {}: {}", answer.score, answer.required, answer.rules);
        let finding = Finding::new(self.score.symbol.clone()).evidence(&evidence);
        found.add(finding.times(factor(answer.score)));
    }
}

async fn read(line: &mut Line) -> Result<Answer, Failure> {
    let first = line.line().await?;
    let mut words = first.splitn(3, ' ');
    if !words.next().is_some_and(|word| word.starts_with("SPAMD/")) {
        return Err(Failure::garbled(shown(&first)));
    }
    let (code, meaning) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if code != "0" {
        return Err(Failure::Declined(shown(&format!("{code} {meaning}"))));
    }
    let mut verdict = None;
    for _ in 0..HEAD_LINES_MAX {
        let field = line.line().await?;
        if field.is_empty() {
            let (score, required) = verdict.ok_or_else(|| Failure::garbled("there is no score"))?;
            let rules = line.rest(SYMBOLS_BYTES_MAX).await?;
            let rules = String::from_utf8_lossy(&rules).trim().to_owned();
            return Ok(Answer { score, required, rules });
        }
        if let Some((name, value)) = field.split_once(':')
            && name.eq_ignore_ascii_case("Spam")
        {
            verdict = Some(points(value).ok_or_else(|| Failure::garbled(shown(&field)))?);
        }
    }
    Err(Failure::garbled("the head has too many lines"))
}

/// ` True ; 7.3 / 5.0`
fn points(value: &str) -> Option<(f64, f64)> {
    let (_, numbers) = value.split_once(';')?;
    let (score, required) = numbers.split_once('/')?;
    let (score, required): (f64, f64) = (score.trim().parse().ok()?, required.trim().parse().ok()?);
    (score.is_finite() && required.is_finite()).then_some((score, required))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_from_the_field() {
        assert_eq!(points(" True ; 1004.2 / 5.0"), Some((1004.2, 5.0)));
        assert_eq!(points(" False ; -1.9 / 5.0"), Some((-1.9, 5.0)));
        for odd in ["", "True", "True ; 5", "True ; x / 5", "True ; NaN / 5", "True ; inf / 5"] {
            assert_eq!(points(odd), None, "{odd}");
        }
    }
}
