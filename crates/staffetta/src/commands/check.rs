//! `staffetta check`: what the server would find out about a sender, asked from the command line.
//!
//! The first word on standard output is the result as RFC 8601 §2.7 names it; `--json` prints all that is known. Exit
//! code 0 means that there is a result, whichever. Needs no configuration: the name servers are those of the system, or
//! the one of `--resolver`. Nothing is sent and nothing is stored.

use std::error::Error;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use msgauth::{Examined, Limits, Lookups, arc, dkim, dmarc, spf};
use net::{DnsSettings, NameServer, Resolver};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{Outcome, print_all};

/// Time for all look-ups of one check, as the server has it for a message.
const LOOKUPS_SECONDS_MAX: u64 = 20;

/// Ask what SPF and its like say about a sender
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta check spf --ip 192.0.2.9 --helo mail.example.org --mail-from joe@example.org
  staffetta check dkim --message letter.eml
  staffetta check arc --message letter.eml
  staffetta check dmarc --message letter.eml --ip 192.0.2.9 --mail-from joe@example.org

The first word is the result: pass, fail, softfail, neutral, none, temperror, permerror, policy.")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// May this client send for this domain? (RFC 7208)
    #[command(after_help = "\
Examples:
  staffetta check spf --ip 192.0.2.9 --helo mail.example.org --mail-from joe@example.org
  staffetta check spf --ip 2001:db8::9 --helo mail.example.org --mail-from '' --json

An empty --mail-from is that of a bounce: then the name of HELO is judged.")]
    Spf {
        #[command(flatten)]
        client: Client,
        #[command(flatten)]
        how: How,
    },
    /// Do the signatures of a message hold? (RFC 6376)
    #[command(after_help = "\
Examples:
  staffetta check dkim --message letter.eml
  staffetta check dkim --message - --json < letter.eml

The first word is the best result of all signatures; a line for each follows.")]
    Dkim {
        #[command(flatten)]
        message: Message,
        #[command(flatten)]
        how: How,
    },
    /// Does the chain of those who passed a message on hold? (RFC 8617)
    #[command(after_help = "\
Examples:
  staffetta check arc --message letter.eml
  staffetta check arc --message letter.eml --resolver 127.0.0.1:5300")]
    Arc {
        #[command(flatten)]
        message: Message,
        #[command(flatten)]
        how: How,
    },
    /// Is the author who the message says, and what does his domain want done if not? (RFC 9989)
    #[command(after_help = "\
Examples:
  staffetta check dmarc --message letter.eml --ip 192.0.2.9 --mail-from joe@example.org
  staffetta check dmarc --message letter.eml --ip 192.0.2.9 --mail-from '' --helo mail.example.org")]
    Dmarc {
        #[command(flatten)]
        message: Message,
        #[command(flatten)]
        client: Client,
        #[command(flatten)]
        how: How,
    },
}

/// The message that is asked about.
#[derive(Debug, clap::Args)]
struct Message {
    /// A file with the message, in any line ends; - is standard input
    #[arg(long = "message", value_name = "FILE")]
    file: PathBuf,
}

/// The session that is asked about.
#[derive(Debug, clap::Args)]
struct Client {
    /// The client's address
    #[arg(long, value_name = "ADDRESS")]
    ip: IpAddr,
    /// The name that the client gave in HELO or EHLO
    #[arg(long, value_name = "NAME", default_value = "")]
    helo: String,
    /// The address of MAIL FROM, without brackets; empty for a bounce
    #[arg(long, value_name = "ADDRESS")]
    mail_from: String,
    /// Our own host name, which explanations of SPF may quote
    #[arg(long, value_name = "NAME", default_value = "unknown", hide_default_value = true)]
    receiver: String,
}

/// What all checks understand.
#[derive(Debug, clap::Args)]
struct How {
    /// The name server to ask, instead of the system's
    #[arg(long, value_name = "ADDRESS:PORT")]
    resolver: Option<NameServer>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A result: the line for people and the object for programs.
struct Report {
    lines: Vec<String>,
    object: Value,
}

/// Asks, and prints what came out.
pub(crate) fn run(args: Args) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match args.what {
        What::Spf { client, how } => {
            how.answer(&runtime, async |lookups| spf_report(&spf::check(&client.request(), lookups).await))
        }
        What::Dkim { message, how } => {
            let examined = message.examine()?;
            how.answer(&runtime, async |lookups| dkim_report(&examined.dkim(lookups).await))
        }
        What::Arc { message, how } => {
            let examined = message.examine()?;
            how.answer(&runtime, async |lookups| arc_report(&examined.arc(lookups).await))
        }
        What::Dmarc { message, client, how } => {
            let examined = message.examine()?;
            how.answer(&runtime, async |lookups| {
                let request = client.request();
                let (spf, dkim) = tokio::join!(spf::check(&request, lookups), examined.dkim(lookups));
                let request = dmarc::Request { authors: examined.authors(), spf: Some(&spf), dkim: &dkim };
                dmarc_report(&dmarc::check(&request, lookups).await, &spf, &dkim)
            })
        }
    }
}

impl Message {
    fn examine(&self) -> Result<Examined, Box<dyn Error>> {
        let mut octets = Vec::new();
        if self.file.as_os_str() == "-" {
            std::io::stdin().lock().read_to_end(&mut octets)?;
        } else {
            octets = std::fs::read(&self.file)
                .map_err(|error| format!("{}: cannot be read: {error}", self.file.display()))?;
        }
        Ok(msgauth::examine(&with_crlf(&octets), &Limits::default(), now_seconds()))
    }
}

/// The lines as SMTP carries them: files mostly end theirs with LF alone (RFC 5321 §2.3.8).
pub(super) fn with_crlf(octets: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(octets.len() + octets.len() / 32);
    let mut before = 0;
    for octet in octets {
        if *octet == b'\n' && before != b'\r' {
            text.push(b'\r');
        }
        text.push(*octet);
        before = *octet;
    }
    text
}

impl Client {
    fn request(&self) -> spf::Request<'_> {
        let brackets: &[char] = &['<', '>'];
        spf::Request {
            client: self.ip,
            helo: &self.helo,
            mail_from: self.mail_from.trim_matches(brackets),
            receiver: &self.receiver,
            now_seconds: now_seconds(),
        }
    }
}

impl How {
    /// Sets the resolver up, asks, and prints what came out.
    fn answer(&self, runtime: &Runtime, ask: impl AsyncFnOnce(&Lookups) -> Report) -> Outcome {
        let settings = DnsSettings { servers: self.resolver.into_iter().collect(), ..DnsSettings::default() };
        let resolver = Resolver::from_settings(&settings)?;
        let time = Duration::from_secs(LOOKUPS_SECONDS_MAX);
        let report = runtime.block_on(async { ask(&Lookups::new(&resolver, time)).await });
        self.print(&report)
    }

    fn print(&self, report: &Report) -> Outcome {
        let text = if self.json { format!("{:#}\n", report.object) } else { report.lines.join("\n") + "\n" };
        print_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn spf_report(outcome: &spf::Outcome) -> Report {
    let mut lines = vec![format!("{} {} {}", outcome.result, outcome.identity.as_str(), outcome.domain)];
    let more = [
        ("mechanism", &outcome.mechanism),
        ("explanation", &outcome.explanation),
        ("problem", &outcome.problem),
    ];
    lines.extend(more.iter().filter_map(|(name, text)| Some(format!("{name}: {}", text.as_ref()?))));
    let object = json!({
        "result": outcome.result.as_str(),
        "identity": outcome.identity.as_str(),
        "domain": outcome.domain,
        "mechanism": outcome.mechanism,
        "explanation": outcome.explanation,
        "problem": outcome.problem,
    });
    Report { lines, object }
}

/// Where there is something to say, a line of it.
fn line(name: &str, text: Option<impl std::fmt::Display>) -> Option<String> {
    text.map(|text| format!("{name}: {text}"))
}

fn dkim_report(outcomes: &[dkim::Outcome]) -> Report {
    let result = dkim::summary(outcomes);
    let mut lines = vec![format!("{result} {} signatures", outcomes.len())];
    for outcome in outcomes {
        let domain = outcome.domain.as_ref().map_or("?", |domain| domain.as_str());
        let mut text = format!("signature: {} d={domain} s={}", outcome.result, outcome.selector);
        text.extend(outcome.algorithm.map(|algorithm| format!(" a={algorithm}")));
        text.extend(outcome.key_bits.map(|bits| format!(" {bits} bits")));
        text.extend(outcome.testing.then_some(" (testing)".to_owned()));
        text.extend(outcome.reason.as_ref().map(|reason| format!(": {reason}")));
        lines.push(text);
    }
    let signatures: Vec<Value> = outcomes.iter().map(dkim_object).collect();
    Report { lines, object: json!({ "result": result.as_str(), "signatures": signatures }) }
}

fn dkim_object(outcome: &dkim::Outcome) -> Value {
    json!({
        "result": outcome.result.as_str(),
        "domain": outcome.domain,
        "selector": outcome.selector,
        "agent": outcome.agent,
        "algorithm": outcome.algorithm,
        "key_bits": outcome.key_bits,
        "testing": outcome.testing,
        "reason": outcome.reason,
    })
}

fn arc_report(outcome: &arc::Outcome) -> Report {
    let mut lines = vec![format!("{} {} sets", outcome.result, outcome.sealers.len())];
    lines.extend(outcome.sealers.iter().map(|domain| format!("sealer: {domain}")));
    lines.extend(line("dmarc before", outcome.dmarc_before));
    lines.extend(line("reason", outcome.reason.as_ref()));
    let object = json!({
        "result": outcome.result.as_str(),
        "sealers": outcome.sealers,
        "dmarc_before": outcome.dmarc_before.map(msgauth::AuthResult::as_str),
        "reason": outcome.reason,
    });
    Report { lines, object }
}

fn dmarc_report(outcome: &dmarc::Outcome, spf: &spf::Outcome, dkim: &[dkim::Outcome]) -> Report {
    let domain = outcome.domain.as_ref().map_or("?", |domain| domain.as_str());
    let problem = outcome.problem.as_ref().map(ToString::to_string);
    let mut lines = vec![format!("{} from {domain}", outcome.result)];
    lines.extend(line("policy", outcome.record_domain.as_ref().map(|_| outcome.policy.as_str())));
    lines.extend(line("record of", outcome.record_domain.as_ref()));
    lines.push(format!("spf: {} {} aligned: {}", spf.result, spf.domain, outcome.spf_aligned));
    lines.push(format!("dkim: {} aligned: {}", dkim::summary(dkim), outcome.dkim_aligned));
    lines.extend(line("problem", problem.as_ref()));
    let object = json!({
        "result": outcome.result.as_str(),
        "domain": outcome.domain,
        "policy": outcome.policy.as_str(),
        "record_domain": outcome.record_domain,
        "spf": spf_report(spf).object,
        "spf_aligned": outcome.spf_aligned,
        "dkim": dkim_report(dkim).object,
        "dkim_aligned": outcome.dkim_aligned,
        "void_lookups": outcome.void_lookups,
        "problem": problem,
    });
    Report { lines, object }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_gets_its_crlf_and_nothing_else_changes() {
        for (given, meant) in [
            ("a\nb", "a\r\nb"),
            ("a\r\n\n", "a\r\n\r\n"),
            ("\n", "\r\n"),
            ("a\rb\r\r\n", "a\rb\r\r\n"),
            ("", ""),
        ] {
            assert_eq!(with_crlf(given.as_bytes()), meant.as_bytes(), "{given:?}");
        }
    }
}
