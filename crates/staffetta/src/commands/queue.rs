//! `staffetta queue`: what waits, why, and what to do about it. Speaks to the running server over `admin.sock`.

use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail::QueueId;
use server::admin::protocol::State;
use server::admin::{Filter, FsckReport, MessageView, Order, Request, Response};

use super::asking::{
    self, About, Failed, ListArgs, Listing, Nouns, Place, not_understood, short_age, short_size,
};
use super::{Outcome, print_all};

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
        #[command(flatten)]
        how: ListArgs,
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
    #[arg(conflicts_with_all = ["sender", "recipient", "domain", "older", "younger", "state", "reason", "account"])]
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
    #[command(flatten)]
    about: About,
    /// In this state
    #[arg(long, value_parser = state)]
    state: Option<State>,
    /// With these words in the last reply
    #[arg(long, value_name = "WORDS")]
    reason: Option<String>,
    /// Handed in by this account, or user of this machine
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
}

impl FilterArgs {
    fn into_filter(self) -> Filter {
        Filter { state: self.state, reason: self.reason, account: self.account, ..self.about.into_filter() }
    }
}

fn state(text: &str) -> Result<State, String> {
    let all = [State::Active, State::Deferred, State::Held, State::Quarantine, State::Damaged];
    all.into_iter()
        .find(|state| state.name() == text)
        .ok_or_else(|| "one of active, deferred, held, quarantine, damaged is expected".to_owned())
}

pub(crate) fn run(args: Args) -> Outcome {
    match args.what {
        What::List { filter, how } => list(filter.into_filter(), &how),
        What::Show { id, json, place } => show(id, json, &place),
        What::Cat { id, place } => cat(id, &place),
        What::Hold(args) => steer(Order::Hold, args, "held"),
        What::Release(args) => steer(Order::Release, args, "released"),
        What::Retry(args) => steer(Order::Retry, args, "to be tried now"),
        What::Delete(args) => steer(Order::Delete, args, "deleted"),
        What::Fsck { json, place } => fsck(json, &place),
    }
}

fn list(filter: Filter, ListArgs { json, limit, place }: &ListArgs) -> Outcome {
    let heading = ["Queue id", "State", "Age", "Size", "Sender", "Waiting recipients", "Why"];
    let mut listing =
        Listing::new(*json, heading, Nouns { none: "no messages", one: "message", many: "messages" });
    let asked = place.connect()?.ask(&Request::List { filter, limit: *limit }, |item| match item {
        Response::Message(message) => listing.take(&message, || row(&message)),
        _ => Ok(()),
    })?;
    listing.end(asked)
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
    let select = asking::select(args.ids, args.filter.into_filter(), args.all)?;
    asking::steer(&Request::Steer { order, select, only: None }, &args.place, done)
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
