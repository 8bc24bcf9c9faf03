//! `staffetta greylist`: whom greylisting remembers, and whom it never asks to come back. Asks the running server over
//! `admin.sock`, which keeps all of it in its state store.

use std::process::ExitCode;

use server::admin::{GreylistState, Greylisted, Request, Response};

use super::asking::{Failed, ListArgs, Listing, Nouns, Place};
use super::{Outcome, print_all};

const NOUNS: Nouns = Nouns { none: "nothing is remembered", one: "entry", many: "entries" };

/// Greylisting: who is remembered, and who is never asked to come back
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta greylist list
  staffetta greylist allow example.net       never ask its mail to come back
  staffetta greylist delete example.net      forget it again")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print what is remembered: allowed and known origins first, then letters that were asked to come back
    #[command(after_help = "\
Examples:
  staffetta greylist list
  staffetta greylist list --limit 0 | grep waits
  staffetta greylist list --limit 0 --json | jq -r 'select(.state == \"allowed\") | .origin'

Origins: spf:DOMAIN, for whose senders SPF passes; name:DOMAIN, the registered part of the client's
name when that leads back to it; net:NETWORK, the client's /24, or /64 of IPv6.
With --json, times are milliseconds since 1970.")]
    List {
        #[command(flatten)]
        how: ListArgs,
    },
    /// Never ask mail from there to come back, until it is deleted
    #[command(after_help = "\
Examples:
  staffetta greylist allow example.net          who sends for it, by SPF or by the client's name
  staffetta greylist allow 192.0.2.9            its whole /24
  staffetta greylist allow 2001:db8:1:2::/64 198.51.100.0/24
  staffetta greylist allow spf:example.net      by SPF alone")]
    Allow {
        #[command(flatten)]
        names: Names,
    },
    /// Forget all that is remembered of an origin: that it is allowed or known, and its letters
    #[command(after_help = "\
Examples:
  staffetta greylist delete example.net
  staffetta greylist delete net:192.0.2.0/24     as the list shows it")]
    Delete {
        #[command(flatten)]
        names: Names,
    },
}

/// Whom, and where the server is.
#[derive(Debug, clap::Args)]
struct Names {
    /// A domain, an address, a network (/24, or /64 of IPv6), or an origin as the list shows it
    #[arg(required = true, value_name = "DOMAIN|ADDRESS|NETWORK")]
    names: Vec<String>,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(args: Args) -> Outcome {
    match args.what {
        What::List { how } => list(&how),
        What::Allow { names: Names { names, place } } => {
            let (origins, _) = ask(&Request::GreylistAllow { names }, &place)?;
            let lines: String =
                origins.iter().map(|origin| format!("{origin} is not asked to come back\n")).collect();
            print_all(lines.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        What::Delete { names: Names { names, place } } => {
            let (origins, count) = ask(&Request::GreylistDelete { names }, &place)?;
            if count == 0 {
                eprintln!("nothing is remembered of {}", origins.join(", "));
                return Ok(ExitCode::FAILURE);
            }
            print_all(format!("{} forgotten\n", entries(count)).as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn ask(request: &Request, place: &Place) -> Result<(Vec<String>, u64), Box<dyn std::error::Error>> {
    let mut origins = Vec::new();
    let (count, _) = place.connect()?.ask(request, |item| {
        if let Response::Origin(origin) = item {
            origins.push(origin);
        }
        Ok::<(), Failed>(())
    })?;
    Ok((origins, count))
}

fn list(ListArgs { json, limit, place }: &ListArgs) -> Outcome {
    let heading = ["Origin", "State", "Sender", "Recipient", "First", "Forgotten"];
    let mut listing = Listing::new(*json, heading, NOUNS);
    let asked = place.connect()?.ask(&Request::GreylistList { limit: *limit }, |item| match item {
        Response::Greylisted(line) => listing.take(&line, || row(&line)),
        _ => Ok(()),
    })?;
    listing.end(asked)
}

fn entries(count: u64) -> String {
    format!("{count} {}", if count == 1 { NOUNS.one } else { NOUNS.many })
}

fn row(line: &Greylisted) -> [String; 6] {
    let dash = || "-".to_owned();
    let expires = line.expires.map_or_else(|| "never".to_owned(), |at| at.to_string());
    let (state, sender, recipient, first) = match &line.state {
        GreylistState::Allowed => ("allowed".to_owned(), dash(), dash(), dash()),
        GreylistState::Successes(1) => ("came back once".to_owned(), dash(), dash(), dash()),
        GreylistState::Successes(times) => (format!("came back {times} times"), dash(), dash(), dash()),
        GreylistState::Letter { sender, recipient, first, passed } => {
            let sender = if sender.is_empty() { "<>".to_owned() } else { sender.clone() };
            let state = if *passed { "came back" } else { "waits" };
            (state.to_owned(), sender, recipient.clone(), first.to_string())
        }
    };
    [line.origin.clone(), state, sender, recipient, first, expires]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_says_what_it_is() {
        for (json, want) in [
            (
                r#"{"origin": "net:192.0.2.0/24", "state": "allowed", "expires": null}"#,
                "net:192.0.2.0/24|allowed|-|-|-|never",
            ),
            (
                r#"{"origin": "spf:a.test", "state": {"successes": 2}, "expires": 1795309323456}"#,
                "spf:a.test|came back 2 times|-|-|-|2026-11-22T01:02:03.456Z",
            ),
            (
                r#"{"origin": "spf:a.test", "expires": 1795309323456, "state":
                    {"letter": {"sender": "", "recipient": "joe@b.test", "first": 1795309323456, "passed": false}}}"#,
                "spf:a.test|waits|<>|joe@b.test|2026-11-22T01:02:03.456Z|2026-11-22T01:02:03.456Z",
            ),
        ] {
            assert_eq!(row(&serde_json::from_str(json).unwrap()).join("|"), want);
        }
    }
}
