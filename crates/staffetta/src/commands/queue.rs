//! `staffetta queue`: what waits, why, and what to do about it. Speaks to the running server over `admin.sock`.

use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail::QueueId;
use server::admin::protocol::State;
use server::admin::{Client, ClientError, Filter, FsckReport, MessageView, Order, Request, Response, Select};

use super::{ConfigFile, Outcome, print_all};

/// The queue: what waits, why, and what to do about it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta queue list                                 what waits, and why
  staffetta queue list --domain example.org --older 1h
  staffetta queue retry --domain example.org           try those now")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print the messages in the queue, oldest first
    #[command(after_help = "\
Examples:
  staffetta queue list
  staffetta queue list --sender '@example.test' --state deferred
  staffetta queue list --recipient '*@example.org' --older 2h
  staffetta queue list --sender '<>'                   reports that wait
  staffetta queue list --json | jq -r .id")]
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// Print one object a line instead, for programs
        #[arg(long)]
        json: bool,
        /// Print at most so many; 0 for all
        #[arg(long, default_value_t = 200)]
        limit: u64,
        #[command(flatten)]
        place: Place,
    },
    /// Print all that is known of a message
    #[command(after_help = "\
Examples:
  staffetta queue show 00JX4M8ZQ0001")]
    Show {
        /// Its queue id
        id: QueueId,
        /// Print an object instead, for programs
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Print a message, header and body
    #[command(after_help = "\
Examples:
  staffetta queue cat 00JX4M8ZQ0001 | less")]
    Cat {
        /// Its queue id
        id: QueueId,
        #[command(flatten)]
        place: Place,
    },
    /// Make no attempts for messages until they are released
    #[command(after_help = "\
Examples:
  staffetta queue hold 00JX4M8ZQ0001
  staffetta queue hold --sender newsletter@example.test")]
    Hold(SteerArgs),
    /// Take messages off hold, and try them now
    #[command(after_help = "\
Examples:
  staffetta queue release 00JX4M8ZQ0001
  staffetta queue release --state quarantine --recipient joe@example.test")]
    Release(SteerArgs),
    /// Try messages now that wait for their next attempt
    #[command(after_help = "\
Examples:
  staffetta queue retry --all
  staffetta queue retry --domain example.org")]
    Retry(SteerArgs),
    /// Throw messages away, without telling their senders
    #[command(after_help = "\
Examples:
  staffetta queue delete 00JX4M8ZQ0001
  staffetta queue list --sender '<>' --older 1d        look first, then
  staffetta queue delete --sender '<>' --older 1d")]
    Delete(SteerArgs),
    /// Check that every message can be read, and has an owner and a deadline; exit code 1 when one is damaged
    #[command(after_help = "\
Examples:
  staffetta queue fsck
  staffetta queue fsck --json | jq .damaged")]
    Fsck {
        /// Print an object instead, for programs
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// Which messages, and where the server is.
#[derive(Debug, clap::Args)]
struct SteerArgs {
    /// Queue ids
    #[arg(conflicts_with_all = ["sender", "recipient", "domain", "older", "younger", "state", "reason"])]
    ids: Vec<QueueId>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Every message in the queue
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    place: Place,
}

/// Conditions; all that are given must hold.
#[derive(Debug, Default, clap::Args)]
struct FilterArgs {
    /// From this sender: an address, @DOMAIN, a pattern with *, or '<>' for reports
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// For this recipient, who still waits: an address, @DOMAIN, or a pattern with *
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// For somebody in this domain; .DOMAIN for its subdomains
    #[arg(long)]
    domain: Option<String>,
    /// At least this old, such as 90s, 30m, 2h, 3d
    #[arg(long, value_name = "AGE", value_parser = age)]
    older: Option<u64>,
    /// At most this old
    #[arg(long, value_name = "AGE", value_parser = age)]
    younger: Option<u64>,
    /// In this state
    #[arg(long, value_parser = state)]
    state: Option<State>,
    /// With these words in the last reply
    #[arg(long, value_name = "WORDS")]
    reason: Option<String>,
}

impl FilterArgs {
    fn into_filter(self) -> Filter {
        Filter {
            sender: self.sender,
            recipient: self.recipient,
            domain: self.domain,
            older_than_seconds: self.older,
            younger_than_seconds: self.younger,
            state: self.state,
            reason: self.reason,
        }
    }
}

/// Where the server is.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    #[command(flatten)]
    config: ConfigFile,
    /// The server's admin socket; admin.sock in the configured data folder when not given
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Place {
    pub(super) fn connect(&self) -> Result<Client, Box<dyn std::error::Error>> {
        let path = match &self.socket {
            Some(path) => path.clone(),
            None => {
                self.config.load().ok_or("the configuration cannot be read")?.data_dir().join("admin.sock")
            }
        };
        Ok(Client::connect(&path)?)
    }
}

/// `90`, `90s`, `30m`, `2h`, `3d`, `1w` as seconds.
pub(super) fn age(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text} is no age: write a number with s, m, h, d or w, such as 30m");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

fn state(text: &str) -> Result<State, String> {
    let all = [State::Active, State::Deferred, State::Held, State::Quarantine, State::Damaged];
    all.into_iter()
        .find(|state| state.name() == text)
        .ok_or_else(|| "one of active, deferred, held, quarantine, damaged is expected".to_owned())
}

pub(crate) fn run(args: Args) -> Outcome {
    match args.what {
        What::List { filter, json, limit, place } => list(filter.into_filter(), json, limit, &place),
        What::Show { id, json, place } => show(id, json, &place),
        What::Cat { id, place } => cat(id, &place),
        What::Hold(args) => steer(Order::Hold, args, "held"),
        What::Release(args) => steer(Order::Release, args, "released"),
        What::Retry(args) => steer(Order::Retry, args, "to be tried now"),
        What::Delete(args) => steer(Order::Delete, args, "deleted"),
        What::Fsck { json, place } => fsck(json, &place),
    }
}

fn list(filter: Filter, json: bool, limit: u64, place: &Place) -> Outcome {
    let mut table =
        super::table::new(["Queue id", "State", "Age", "Size", "Sender", "Waiting recipients", "Why"]);
    let (count, more) = place.connect()?.ask(&Request::List { filter, limit }, |item| {
        if let Response::Message(message) = item {
            if json {
                print_all((serde_json::to_string(&message).map_err(not_understood)? + "\n").as_bytes())
                    .map_err(Failed::Output)?;
            } else {
                table.add_row(row(&message));
            }
        }
        Ok::<(), Failed>(())
    })?;
    if !json {
        let more = if more { "; there are more, --limit 0 shows all" } else { "" };
        let text = match count {
            0 => "no messages\n".to_owned(),
            1 => format!("{}\n1 message{more}\n", table.trim_fmt()),
            _ => format!("{}\n{count} messages{more}\n", table.trim_fmt()),
        };
        print_all(text.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What goes wrong while items come in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("standard output: {0}")]
    Output(std::io::Error),
}

pub(super) fn not_understood(error: impl std::fmt::Display) -> Failed {
    Failed::Client(ClientError::Protocol(error.to_string()))
}

fn row(message: &MessageView) -> [String; 7] {
    let mut waiting = message.pending().map(|r| r.address.clone());
    let first = waiting.next().unwrap_or_default();
    let others = waiting.count();
    [
        message.id.to_string(),
        message.state.name().to_owned(),
        short_age(message.age_seconds),
        short_size(message.size),
        if message.sender.is_empty() { "<>".to_owned() } else { message.sender.clone() },
        if others == 0 { first } else { format!("{first} and {others} more") },
        message.reason().unwrap_or_default(),
    ]
}

/// The two largest units: `3d 4h`, `12m`, `5s`.
fn short_age(seconds: u64) -> String {
    let (d, h, m, s) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, _) => format!("{m}m"),
        (0, _, _) => format!("{h}h {m}m"),
        _ => format!("{d}d {h}h"),
    }
}

fn short_size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}

fn show(id: QueueId, json: bool, place: &Place) -> Outcome {
    place.connect()?.ask(&Request::Show { id }, |item| {
        if let Response::Message(message) = item {
            let text = if json {
                serde_json::to_string_pretty(&message).map_err(not_understood)? + "\n"
            } else {
                described(&message)
            };
            print_all(text.as_bytes()).map_err(Failed::Output)?;
        }
        Ok::<(), Failed>(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A message in words.
fn described(message: &MessageView) -> String {
    let from = if message.sender.is_empty() { "<> (a report)" } else { &message.sender };
    let by = match (&message.account, &message.client) {
        (Some(account), Some(client)) => format!("{} by {account} from {client}", message.origin),
        (Some(account), None) => format!("{} by {account}", message.origin),
        (None, Some(client)) => format!("{} from {client}", message.origin),
        (None, None) => message.origin.clone(),
    };
    let mut text = format!(
        "{}  {}\n  sender:       {from}\n  came in:      {} ({} ago), {by}\n  size:         {} octets\n  \
         attempts:     {}\n  next attempt: {}\n",
        message.id,
        message.state.name(),
        message.arrived.time,
        short_age(message.age_seconds),
        message.size,
        message.attempts,
        message.next_attempt.time,
    );
    if let Some(filter) = &message.filter {
        text.push_str(&format!("  filter:       {filter}\n"));
    }
    for recipient in &message.recipients {
        text.push_str(&format!("  recipient:    {} ({})\n", recipient.address, recipient.state));
        if let Some(accepted_as) = &recipient.accepted_as {
            text.push_str(&format!("    accepted as {accepted_as}\n"));
        }
        if let (Some(tried), Some(reason)) = (&recipient.tried, recipient.reason()) {
            text.push_str(&format!("    {}: {reason}\n", tried.time));
        }
    }
    text
}

fn cat(id: QueueId, place: &Place) -> Outcome {
    place.connect()?.ask(&Request::Cat { id }, |item| {
        if let Response::Bytes(text) = item {
            let bytes = BASE64.decode(text).map_err(not_understood)?;
            print_all(&bytes).map_err(Failed::Output)?;
        }
        Ok::<(), Failed>(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn steer(order: Order, args: SteerArgs, done: &str) -> Outcome {
    let filter = args.filter.into_filter();
    let select = if args.ids.is_empty() {
        if filter == Filter::default() && !args.all {
            return Err("which messages? Give queue ids, conditions such as --domain, or --all".into());
        }
        Select::Filter(filter)
    } else {
        Select::Ids(args.ids)
    };
    let mut refused = 0;
    let (count, _) = args.place.connect()?.ask(&Request::Steer { order, select }, |item| {
        if let Response::Refused { id, why } = item {
            eprintln!("staffetta: {id}: {why}");
            refused += 1;
        }
        Ok::<(), Failed>(())
    })?;
    println!("{count} message{} {done}", if count == 1 { "" } else { "s" });
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fsck(json: bool, place: &Place) -> Outcome {
    let mut found = FsckReport::default();
    place.connect()?.ask(&Request::Fsck, |item| {
        if let Response::Fsck(report) = item {
            found = report;
        }
        Ok::<(), Failed>(())
    })?;
    let text = if json { serde_json::to_string_pretty(&found)? + "\n" } else { verdict(&found) };
    print_all(text.as_bytes())?;
    Ok(if found.damaged.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verdict(report: &FsckReport) -> String {
    let mut text = String::new();
    for (id, why) in &report.damaged {
        text.push_str(&format!("{id}: damaged: {why}\n"));
    }
    for id in &report.overdue {
        text.push_str(&format!("{id}: was overdue\n"));
    }
    let (damaged, overdue) = (report.damaged.len(), report.overdue.len());
    let checked = report.checked;
    text + &match (damaged, overdue) {
        (0, 0) => format!("{checked} messages checked, all is well\n"),
        _ => format!(
            "{checked} messages checked: {damaged} damaged, {overdue} overdue, {} mended\n",
            report.mended
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_and_written() {
        for (text, want) in
            [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("3d", 259_200), ("1w", 604_800)]
        {
            assert_eq!(age(text), Ok(want), "{text}");
        }
        for text in ["", "m", "-1h", "1x", "1.5h", "99999999999999999999w"] {
            assert!(age(text).is_err(), "{text}");
        }
        for (seconds, want) in [(5, "5s"), (750, "12m"), (7260, "2h 1m"), (273_600, "3d 4h")] {
            assert_eq!(short_age(seconds), want);
        }
        assert_eq!([short_size(1023), short_size(2048), short_size(5 << 20)], ["1023 B", "2 KiB", "5 MiB"]);
    }

    fn message() -> MessageView {
        serde_json::from_str(
            r#"{"id":"0000000000007","state":"deferred","arrived":{"time":"2026-11-22T01:48:02.000Z","seconds":1795312082},
            "age_seconds":7260,"size":4096,"sender":"","origin":"report","attempts":3,
            "next_attempt":{"time":"2026-11-22T02:48:02.000Z","seconds":1795315682},
            "recipients":[{"address":"done@b.test","state":"delivered"},
             {"address":"a@b.test","state":"pending","peer":"mx.b.test[192.0.2.7]:25","reply":"451 4.7.1 Greylisted",
              "tried":{"time":"2026-11-22T01:50:02.000Z","seconds":1795312202}},
             {"address":"c@b.test","state":"pending"}]}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_row_shows_who_still_waits_and_why() {
        assert_eq!(
            row(&message()),
            [
                "0000000000007",
                "deferred",
                "2h 1m",
                "4 KiB",
                "<>",
                "a@b.test and 1 more",
                "mx.b.test[192.0.2.7]:25: 451 4.7.1 Greylisted",
            ]
        );
    }

    #[test]
    fn a_message_is_described_whole() {
        let want = "\
0000000000007  deferred
  sender:       <> (a report)
  came in:      2026-11-22T01:48:02.000Z (2h 1m ago), report
  size:         4096 octets
  attempts:     3
  next attempt: 2026-11-22T02:48:02.000Z
  recipient:    done@b.test (delivered)
  recipient:    a@b.test (pending)
    2026-11-22T01:50:02.000Z: mx.b.test[192.0.2.7]:25: 451 4.7.1 Greylisted
  recipient:    c@b.test (pending)
";
        assert_eq!(described(&message()), want);
    }

    #[test]
    fn a_check_says_what_it_found() {
        let well = FsckReport { checked: 3, ..FsckReport::default() };
        assert_eq!(verdict(&well), "3 messages checked, all is well\n");
        let bad = FsckReport {
            damaged: vec![(QueueId(7), "torn".into())],
            overdue: vec![QueueId(8)],
            mended: 1,
            ..well
        };
        let want = "0000000000007: damaged: torn\n0000000000008: was overdue\n\
                    3 messages checked: 1 damaged, 1 overdue, 1 mended\n";
        assert_eq!(verdict(&bad), want);
    }
}
