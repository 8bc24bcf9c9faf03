//! `staffetta try`: a whole session before the judge without a client, with what every check finds. Needs no server, but asks
//! one that runs what it remembers of client and letter; asks DNS, stores nothing.

use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mail::{Address, ReversePath};
use server::admin::{Client, Request, Response};
use server::rehearsal::{Script, Step, rehearse};

use super::asking::Failed;
use super::check::with_crlf;
use super::{ConfigFile, Outcome, print_all, with_causes};

/// Try what would become of a session, with every check
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta try --ip 192.0.2.9 --helo a.test --mail-from joe@a.test --rcpt me@example.test
  staffetta try --ip 192.0.2.9 --helo a.test --mail-from '' --rcpt me@example.test --message a.eml
  staffetta try --ip 2001:db8::9 --helo x --mail-from a@b.test --rcpt me@a.test --json | jq .score

Needs no running server: the configuration is read, DNS is asked, and nothing is kept or sent. A
running server is asked for the reputations of client and sender, whether your users have written to
the sender, and whether the letter answers one of theirs. Greylisting has not seen the client
before. Exit code 0 when a recipient is accepted, 1 when all or the message are refused.")]
pub(crate) struct Args {
    /// The client's address
    #[arg(long, value_name = "ADDRESS")]
    ip: IpAddr,
    /// The name that it gives in EHLO
    #[arg(long, value_name = "NAME")]
    helo: String,
    /// The address of MAIL FROM, without brackets; empty for a bounce
    #[arg(long, value_name = "ADDRESS")]
    mail_from: String,
    /// A recipient; may be given again
    #[arg(long, value_name = "ADDRESS", required = true)]
    rcpt: Vec<Address>,
    /// A file with a message, in any line ends; - is standard input. Without, the session ends before DATA
    #[arg(long, value_name = "FILE")]
    message: Option<PathBuf>,
    /// Print one object a step instead, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

pub(crate) fn run(args: Args) -> Outcome {
    let Args { ip, helo, mail_from, rcpt, message, json, config } = args;
    let Some(loaded) = config.load() else { return Ok(ExitCode::FAILURE) };
    let mut script = Script {
        ip,
        helo,
        reverse_path: match mail_from.trim_matches(['<', '>']) {
            "" => ReversePath::Null,
            address => ReversePath::Mailbox(address.parse::<Address>()?),
        },
        recipients: rcpt,
        message: message.as_deref().map(read).transpose()?,
        reputations: Vec::new(),
        acquaintances: Vec::new(),
    };
    ask_server(&loaded, &mut script);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let steps = runtime.block_on(rehearse(&loaded, script))?;
    let text: String = if json {
        let lines: Result<Vec<String>, _> = steps.iter().map(serde_json::to_string).collect();
        lines?.join("\n") + "\n"
    } else {
        steps.iter().map(words).collect()
    };
    print_all(text.as_bytes())?;
    // The last word is the message's, or else that of any recipient.
    let last = steps.last().is_some_and(|step| step.reply.is_none());
    let any = steps.iter().any(|step| step.action.is_some() && step.reply.is_none());
    let has_message = steps.last().is_some_and(|step| step.stage.as_str() == "end_of_data");
    let taken = if has_message { last } else { any };
    Ok(if taken { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks the running server what it remembers of this client and this letter; nothing when there is none.
fn ask_server(loaded: &::config::Loaded, script: &mut Script) {
    let Ok(mut client) = Client::connect(&loaded.data_dir().join("admin.sock")) else { return };
    for request in [
        Request::Reputation { names: script.claims(), limit: 0 },
        Request::Acquaintance(script.acquaintance()),
    ] {
        let asked = client.ask(&request, |item| {
            match item {
                Response::Reputation(line) => script.reputations.push(line),
                Response::Acquaintance(one) => script.acquaintances.push(one),
                _ => {}
            }
            Ok::<(), Failed>(())
        });
        if let Err(error) = asked {
            eprintln!(
                "staffetta: the running server does not tell what it remembers: {}",
                with_causes(&error)
            );
            return;
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().read_to_end(&mut octets).map(drop)
    } else {
        std::fs::read(file).map(|read| octets = read)
    };
    read.map_err(|error| format!("{}: cannot be read: {error}", file.display()))?;
    Ok(with_crlf(&octets))
}

/// A step in lines.
fn words(step: &Step) -> String {
    let mut text = format!("{}: {}\n", step.stage, step.said);
    for check in &step.checks {
        let end = match check.end.as_str() {
            "finished" => String::new(),
            other => format!("  {}", other.replace('_', " ")),
        };
        text.push_str(&format!("  {:>9.1} ms  {}{end}\n", check.micros as f64 / 1000.0, check.check));
    }
    for line in &step.points {
        let evidence =
            if line.evidence.is_empty() { String::new() } else { format!("  [{}]", line.evidence) };
        text.push_str(&format!("  {:>+12}  {}{evidence}\n", line.points, line.symbol));
    }
    for ruling in &step.rulings {
        text.push_str(&format!("  {:>12}  {ruling}\n", "ruled"));
    }
    for answer in &step.dns {
        text.push_str(&format!("  {:>12}  {} {}\n", "DNS", answer.question, answer.answer));
    }
    match (&step.reply, &step.explanation, step.score) {
        (Some(reply), _, _) => text.push_str(&format!("  => {reply}\n")),
        (None, _, Some(score)) => {
            let action = step.action.map(|action| action.to_string()).unwrap_or_default();
            text.push_str(&format!("  => {action}, with a score of {score}\n"));
        }
        (None, _, None) => {}
    }
    text.push('\n');
    if let Some(explanation) = &step.explanation {
        text.push_str(explanation);
        text.push('\n');
    }
    text
}
