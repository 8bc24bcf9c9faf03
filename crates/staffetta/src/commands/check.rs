//! `staffetta check`: what the server would find out about a sender, asked from the command line.
//!
//! The first word on standard output is the result as RFC 8601 §2.7 names it; `--json` prints all that is known. Exit
//! code 0 means that there is a result, whichever. Needs no configuration: the name servers are those of the system, or
//! the one of `--resolver`. Nothing is sent and nothing is stored.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use msgauth::{Lookups, spf};
use net::{DnsSettings, NameServer, Resolver};
use serde_json::{Value, json};

use super::{Outcome, print_all};

/// Time for all look-ups of one check, as the server has it for a message.
const LOOKUPS_SECONDS_MAX: u64 = 20;

/// Ask what SPF and its like say about a sender
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta check spf --ip 192.0.2.9 --helo mail.example.org --mail-from joe@example.org

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
            let report = runtime.block_on(async {
                let lookups = how.lookups()?;
                Ok::<_, net::ResolverError>(spf_report(&spf::check(&client.request(), &lookups).await))
            })?;
            how.print(&report)
        }
    }
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
    fn lookups(&self) -> Result<Lookups, net::ResolverError> {
        let settings = DnsSettings { servers: self.resolver.into_iter().collect(), ..DnsSettings::default() };
        Ok(Lookups::new(&Resolver::from_settings(&settings)?, Duration::from_secs(LOOKUPS_SECONDS_MAX)))
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
