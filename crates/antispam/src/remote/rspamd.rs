//! rspamd: `/checkv2` over HTTP/1.1 (RFC 9112). Its score is an opinion, and counts as one symbol, with its action as
//! evidence; `honour_actions` makes its refusals orders.
//!
//! The message is shown as it was received; what is known of client and envelope goes into fields of the request.

use std::fmt::Write as _;

use mail::Reply;
use policy::{
    AuthResult, Facts, Finding, Findings, Order, Ruling, Scope, Score, Source, SymbolDef, SymbolError,
};
use serde::Deserialize;

use super::line::Line;
use super::settings::ScannerSettings;
use super::station::Station;
use super::{Failure, Letter, Protocol, factor, plain, shown};
use crate::groups::SCANNERS;

/// Lines of the head of an answer.
const HEAD_LINES_MAX: usize = 64;
/// Octets of the body of an answer.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Recipients that it is told of.
const RECIPIENTS_MAX: usize = 100;
/// Symbols that are quoted as evidence.
const EVIDENCE_SYMBOLS_MAX: usize = 12;

/// What rspamd says of a message.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Answer {
    #[serde(default)]
    score: f64,
    #[serde(default)]
    required_score: f64,
    #[serde(default)]
    action: String,
    /// It did not look, because the client is one of its own, say; what it says all the same counts.
    #[serde(default)]
    is_skipped: bool,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    symbols: std::collections::BTreeMap<String, SymbolPoints>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct SymbolPoints {
    #[serde(default)]
    score: f64,
}

/// The protocol.
pub(crate) struct Rspamd {
    score: SymbolDef,
    honour_actions: bool,
    key: String,
}

impl Rspamd {
    pub(crate) fn new(number: usize, settings: &ScannerSettings) -> Result<Self, SymbolError> {
        let meaning = "What rspamd says, times its points: of its 6 and 15 become 5.1 and 12.75";
        let worth = Score::from_thousandths(850);
        let score = SymbolDef::configured(&settings.symbol("SCORE"), worth, Some(SCANNERS), meaning)?;
        let key = format!("antispam.scanner[{number}].honour_actions");
        Ok(Self { score, honour_actions: settings.honour_actions, key })
    }
}

impl Protocol for Rspamd {
    type Answer = Answer;

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![self.score.clone()]
    }

    async fn ask(&self, station: &Station, letter: &Letter<'_>) -> Result<Answer, Failure> {
        let head = head(letter);
        let mut line = station.connect().await?;
        line.send(&[head.as_bytes(), &letter.octets]).await?;
        let body = read(&mut line).await?;
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|error| Failure::garbled(error.to_string()))?;
        match &answer.error {
            Some(error) => Err(Failure::Declined(shown(error))),
            None if answer.action.is_empty() && !answer.is_skipped => {
                Err(Failure::garbled("there is no action"))
            }
            None => Ok(answer),
        }
    }

    fn tell(&self, answer: Answer, found: &mut Findings) {
        if answer.is_skipped && matches!(answer.action.as_str(), "" | "no action") {
            return;
        }
        let evidence = evidence(&answer);
        let finding = Finding::new(self.score.symbol.clone()).evidence(&evidence);
        found.add(finding.times(factor(answer.score)));
        let order = match answer.action.as_str() {
            _ if !self.honour_actions => return,
            "reject" => {
                let words = "Refused: this looks like unsolicited mail";
                Order::Reject(Reply::new(550, (5, 7, 1), words))
            }
            "soft reject" | "greylist" => Order::Defer(Reply::new(451, (4, 7, 1), "Please try again later")),
            _ => return,
        };
        let ruling = Ruling::new(Source::Operator, order, &self.key, &evidence);
        found.rule(ruling.holds_for(Scope::Transaction));
    }
}

/// `add header, 7.2 of 15: FORGED_SENDER 0.3, …`, the weightiest first.
fn evidence(answer: &Answer) -> String {
    let mut symbols: Vec<_> = answer.symbols.iter().map(|(name, points)| (name, points.score)).collect();
    symbols.sort_by(|(a, one), (b, other)| other.abs().total_cmp(&one.abs()).then_with(|| a.cmp(b)));
    let named: Vec<String> =
        symbols.iter().take(EVIDENCE_SYMBOLS_MAX).map(|(name, score)| format!("{name} {score}")).collect();
    format!("{}, {} of {}: {}", answer.action, answer.score, answer.required_score, named.join(", "))
}

/// The request up to the body.
fn head(letter: &Letter<'_>) -> String {
    let (mail, connect) = (&letter.facts.mail, letter.facts.connect());
    let mut head = String::from("POST /checkv2 HTTP/1.1\r\nHost: scanner\r\nConnection: close\r\n");
    let mut add = |name: &str, value: &str| {
        // A String takes all that is written to it.
        let _ = write!(head, "{name}: {}\r\n", plain(value));
    };
    add("Content-Length", &letter.octets.len().to_string());
    add("Queue-Id", &letter.facts.queue_id.to_string());
    add("IP", &connect.client.to_string());
    add("Helo", &mail.helo.name);
    let iprev = letter.facts.auth.iprev.as_ref().filter(|iprev| iprev.result == AuthResult::Pass);
    add("Hostname", iprev.and_then(|iprev| iprev.name.as_ref()).map_or("unknown", mail::Domain::as_str));
    add("From", &mail.reverse_path.mailbox().map(ToString::to_string).unwrap_or_default());
    if let Some(user) = letter.facts.account() {
        add("User", user);
    }
    for recipient in letter.facts.recipients.iter().take(RECIPIENTS_MAX) {
        add("Rcpt", &recipient.to_string());
    }
    head.push_str("\r\n");
    head
}

/// The body of the answer.
async fn read(line: &mut Line) -> Result<Vec<u8>, Failure> {
    let first = line.line().await?;
    let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    let status = status.ok_or_else(|| Failure::garbled(shown(&first)))?.to_owned();
    let mut length = None;
    for _ in 0..HEAD_LINES_MAX {
        let field = line.line().await?;
        if field.is_empty() {
            let body = match length {
                Some(length) if length > BODY_BYTES_MAX => {
                    return Err(Failure::garbled("the answer is too long"));
                }
                Some(length) => line.exactly(length).await?,
                // RFC 9112 §6.3: without a length it ends with the connection.
                None => line.rest(BODY_BYTES_MAX).await?,
            };
            return if status == "200" { Ok(body) } else { Err(Failure::Declined(shown(&first))) };
        }
        let Some((name, value)) = field.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("Content-Length") {
            let value = value.trim().parse().map_err(|_| Failure::garbled(shown(&field)))?;
            length = Some(value);
        }
        if name.eq_ignore_ascii_case("Transfer-Encoding") {
            return Err(Failure::garbled("the answer has an encoding that was not asked for"));
        }
    }
    Err(Failure::garbled("the head has too many lines"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn what_peers_say_forges_no_field() {
        let mut facts = testing::message("joe@far.test", "Subject: x\n\nx\n");
        let helo = policy::HeloFacts { name: "a\r\nIP: 10.0.0.1".into(), ..(*facts.mail.helo).clone() };
        facts.mail = std::sync::Arc::new(policy::MailFacts { helo: helo.into(), ..(*facts.mail).clone() });
        let head = head(&Letter { octets: bytes::Bytes::from_static(b"x"), facts: &facts });
        assert_eq!(
            head.lines().filter(|line| line.starts_with("IP:")).collect::<Vec<_>>(),
            ["IP: 192.0.2.9"]
        );
        assert!(
            head.contains("\r\nFrom: joe@far.test\r\n") && head.contains("\r\nRcpt: joe@example.test\r\n")
        );
    }

    #[test]
    fn the_weightiest_symbols_are_evidence() {
        let text = r#"{"score": 7.25, "required_score": 15, "action": "add header",
            "symbols": {"SMALL": {"score": 0.1}, "BIG": {"score": 7}, "GOOD": {"score": -2.5, "options": ["x"]}}}"#;
        let answer: Answer = serde_json::from_str(text).unwrap();
        assert_eq!(evidence(&answer), "add header, 7.25 of 15: BIG 7, GOOD -2.5, SMALL 0.1");
    }
}
