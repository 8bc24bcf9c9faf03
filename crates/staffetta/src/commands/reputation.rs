//! `staffetta reputation`: what senders and networks have sent lately, as the running server remembers it. Asks it over
//! `admin.sock`.

use std::process::ExitCode;

use server::admin::{ReputationLine, Request, Response};

use super::asking::{ListArgs, Listing, Nouns, Place};
use super::{Outcome, print_all};

const NOUNS: Nouns = Nouns { none: "no reputation is known", one: "reputation", many: "reputations" };

/// What senders and networks have sent lately, and what it counts
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta reputation list                    the worst first
  staffetta reputation show joe@example.net example.net 192.0.2.9
  staffetta reputation delete example.net      begin anew")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print all reputations, the worst first
    #[command(after_help = "\
Examples:
  staffetta reputation list
  staffetta reputation list --limit 0 --json | jq -r 'select(.worth_thousandths < 0) | .subject'

address:JOE@DOMAIN and domain:DOMAIN were proven to be the sender by DMARC, DKIM or SPF; net:NETWORK
is the client's /24, or /64 of IPv6. Letters lose half of their weight in every
[antispam.reputation] half_life_days. Worth is how much of REPUTATION_BAD (above 0) or
REPUTATION_GOOD (below 0) it counts for. With --json it is in thousandths, and times are
milliseconds since 1970.")]
    List {
        #[command(flatten)]
        how: ListArgs,
    },
    /// Print the reputations of these
    #[command(after_help = "\
Examples:
  staffetta reputation show joe@example.net
  staffetta reputation show example.net 192.0.2.9 --json")]
    Show {
        #[command(flatten)]
        names: Names,
        /// Print one object a line instead, for programs
        #[arg(long)]
        json: bool,
    },
    /// Forget the reputations of these: they begin anew with their next letter
    #[command(after_help = "\
Examples:
  staffetta reputation delete joe@example.net    the address alone, not its domain
  staffetta reputation delete example.net 192.0.2.0/24")]
    Delete {
        #[command(flatten)]
        names: Names,
    },
}

/// Whose, and where the server is.
#[derive(Debug, clap::Args)]
struct Names {
    /// An address, a domain, a client's address or network, or as the list shows it
    #[arg(required = true, value_name = "ADDRESS|DOMAIN|NETWORK")]
    names: Vec<String>,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(args: Args) -> Outcome {
    match args.what {
        What::List { how: ListArgs { json, limit, place } } => list((Vec::new(), limit), json, &place),
        What::Show { names: Names { names, place }, json } => list((names, 0), json, &place),
        What::Delete { names: Names { names, place } } => {
            let none = format!("no reputation is known of {}", names.join(", "));
            let request = Request::ReputationDelete { names };
            let (count, _) = place.connect()?.ask(&request, |_| Ok::<(), super::asking::Failed>(()))?;
            if count == 0 {
                eprintln!("{none}");
                return Ok(ExitCode::FAILURE);
            }
            let noun = if count == 1 { NOUNS.one } else { NOUNS.many };
            print_all(format!("{count} {noun} forgotten\n").as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn list((names, limit): (Vec<String>, u64), json: bool, place: &Place) -> Outcome {
    let heading = ["Of", "Letters", "Average", "Worth", "Last letter"];
    let mut listing = Listing::new(json, heading, NOUNS);
    let asked = place.connect()?.ask(&Request::Reputation { names, limit }, |item| match item {
        Response::Reputation(line) => listing.take(&line, || row(&line)),
        _ => Ok(()),
    })?;
    listing.end(asked)
}

fn row(line: &ReputationLine) -> [String; 5] {
    let worth = match line.worth_thousandths {
        0 => "-".to_owned(),
        worth => format!("{:+} %", worth / 10),
    };
    [line.subject.clone(), line.letters.to_string(), line.average.to_string(), worth, line.last.to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_says_what_it_counts() {
        let json = r#"{"subject": "domain:a.test", "letters": 12, "average": 5.2, "worth_thousandths": 480, "last": 1795309323456}"#;
        let line: ReputationLine = serde_json::from_str(json).unwrap();
        assert_eq!(row(&line).join("|"), "domain:a.test|12|5.2|+48 %|2026-11-22T01:02:03.456Z");
        let good = ReputationLine { worth_thousandths: -700, ..line.clone() };
        assert_eq!(row(&good)[3], "-70 %");
        assert_eq!(row(&ReputationLine { worth_thousandths: 0, ..line })[3], "-");
    }
}
