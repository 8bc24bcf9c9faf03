//! `staffetta explain`: why mail was taken, marked or refused. Asks the running server over `admin.sock`, which keeps its
//! verdicts for `[antispam] history_days`.
//!
//! Of one message, session or recipient all is told, in plain words; of the last verdicts a line each. `--erase` makes the
//! server forget what it knows of an address.

use std::process::ExitCode;

use mail::QueueId;
use server::admin::{Request, Response, VerdictRecord};

use super::asking::{Failed, Place, age, not_understood};
use super::{Outcome, print_all};

/// Verdicts told of one message or session, or recipient, unless `--last` says otherwise.
const LIMIT: u64 = 100;

/// Symbols named in a line of the table.
const SYMBOLS_SHOWN: usize = 4;

/// Why mail was taken, marked or refused
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta explain 00JX4M8ZQ0001                      a message or a session, as in the log
  staffetta explain --rcpt joe@ --since 2h             what became of mail for him
  staffetta explain --rcpt @example.test --last 5
  staffetta explain --last 20                          a line for each of the last verdicts
  staffetta explain --last 200 --json | jq -r .about.client
  staffetta explain --erase joe@example.test           forget what is kept about an address

Sender, recipients, symbols with their evidence and points, and what DNS said are kept for
[antispam] history_days, also of what was refused; never a subject or a body. Exit code 1 when there
is nothing.")]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true).args(["id", "rcpt", "last", "erase"]))]
pub(crate) struct Args {
    /// The queue id of a message, or the name of a session
    #[arg(conflicts_with_all = ["rcpt", "since", "last", "erase"])]
    id: Option<QueueId>,
    /// About this recipient: an address, joe@ in any domain, or @DOMAIN for anybody there
    #[arg(long, value_name = "ADDRESS", conflicts_with = "erase")]
    rcpt: Option<String>,
    /// At most this old, such as 90s, 30m, 2h, 3d
    #[arg(long, value_name = "AGE", value_parser = age, conflicts_with = "erase")]
    since: Option<u64>,
    /// The last so many; without --rcpt as a table
    #[arg(long, value_name = "NUMBER", conflicts_with = "erase")]
    last: Option<u64>,
    /// Forget every verdict that names this address, whoever else is in it, and the address's reputation
    #[arg(long, value_name = "ADDRESS")]
    erase: Option<String>,
    /// Print one object a line instead, for programs
    #[arg(long, conflicts_with = "erase")]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// How verdicts are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Words,
    Table,
    Json,
}

pub(crate) fn run(args: Args) -> Outcome {
    let Args { id, rcpt, since, last, erase, json, place } = args;
    if let Some(address) = erase {
        let (count, _) = place.connect()?.ask(&Request::Erase { address }, |_| Ok::<(), Failed>(()))?;
        print_all(format!("{count} verdicts forgotten\n").as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let form = match (json, id.is_none() && rcpt.is_none()) {
        (true, _) => Form::Json,
        (false, true) => Form::Table,
        (false, false) => Form::Words,
    };
    let name = id.map_or_else(|| rcpt.clone().unwrap_or_default(), |id| id.to_string());
    let limit = last.unwrap_or(LIMIT);
    let request = Request::Explain { id, recipient: rcpt, younger_than_seconds: since, limit };
    let mut shown = Shown { form, found: Vec::new() };
    let (count, more) = place.connect()?.ask(&request, |item| {
        shown.take(item);
        Ok::<(), Failed>(())
    })?;
    if count == 0 {
        eprintln!("{}", nothing(&name));
        return Ok(ExitCode::FAILURE);
    }
    if more && last.is_none() {
        eprintln!("there are more, --last NUMBER shows others");
    }
    print_all(shown.finish()?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn nothing(name: &str) -> String {
    if name.is_empty() {
        return "no verdict is kept: none was made yet, or all are older than [antispam] history_days"
            .to_owned();
    }
    format!(
        "no verdict is kept about {name}: it is older than [antispam] history_days, was never judged (mail of our own users is \
         not), or was forgotten"
    )
}

/// What is to be printed: the records come newest first, and are shown as they happened.
struct Shown {
    form: Form,
    found: Vec<(Box<VerdictRecord>, String)>,
}

impl Shown {
    fn take(&mut self, item: Response) {
        if let Response::Verdict { record, text } = item {
            self.found.push((record, text));
        }
    }

    fn finish(mut self) -> Result<String, Failed> {
        self.found.reverse();
        match self.form {
            Form::Words => Ok(self.found.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n")),
            Form::Json => {
                let lines = self.found.iter().map(|(record, _)| serde_json::to_string(record));
                let lines: Result<Vec<String>, _> = lines.collect();
                Ok(lines.map_err(not_understood)?.join("\n") + "\n")
            }
            Form::Table => {
                let heading = ["Time", "Id", "Client", "Sender", "Recipients", "Action", "Score", "Symbols"];
                let mut table = super::table::new(heading);
                for (record, _) in &self.found {
                    table.add_row(row(record));
                }
                Ok(table.trim_fmt() + "\n")
            }
        }
    }
}

fn row(record: &VerdictRecord) -> [String; 8] {
    let about = &record.about;
    let first = record.recipients.first().map(|recipient| recipient.address.clone()).unwrap_or_default();
    let others = record.recipients.len().saturating_sub(1);
    let lines = &record.points.lines;
    let mut symbols: Vec<String> =
        lines.iter().take(SYMBOLS_SHOWN).map(|line| line.symbol.to_string()).collect();
    if lines.len() > SYMBOLS_SHOWN {
        symbols.push(format!("and {} more", lines.len() - SYMBOLS_SHOWN));
    }
    [
        about.at.to_string(),
        about.id.clone(),
        about.client.to_string(),
        match about.sender.as_deref() {
            Some("") => "<>".to_owned(),
            sender => sender.unwrap_or_default().to_owned(),
        },
        if others == 0 { first } else { format!("{first} and {others} more") },
        record.action.to_string(),
        record.points.total.to_string(),
        symbols.join(" "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{
        "about": {"id": "00JX4M8ZQ0001", "session": "00JX4M8ZQ0000", "at": 1795309323456, "stage": "rcpt",
            "client": "192.0.2.9", "client_name": null, "helo": "h", "account": null, "sender": ""},
        "action": "reject", "decided": "nothing", "reply": null,
        "recipients": [], "points": {"lines": [], "capped": [], "total": 12.5, "refusing": 12.5, "observed": 12.5},
        "dns": [], "times": [], "left_out": 0}"#;

    fn shown(form: Form) -> String {
        let mut shown = Shown { form, found: Vec::new() };
        for text in ["second", "first"] {
            let mut record: Box<VerdictRecord> = serde_json::from_str(RECORD).unwrap();
            record.about.helo = Some(text.to_owned());
            shown.take(Response::Verdict { record, text: format!("{text}\n") });
        }
        shown.finish().unwrap()
    }

    #[test]
    fn verdicts_are_shown_as_they_happened_in_each_form() {
        assert_eq!(shown(Form::Words), "first\n\nsecond\n");
        let json = shown(Form::Json);
        let helo =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["about"]["helo"].clone();
        assert_eq!(json.lines().map(helo).collect::<Vec<_>>(), ["first", "second"]);
        let table = shown(Form::Table);
        assert_eq!(table.lines().count(), 3, "{table}");
        let row = "2026-11-22T01:02:03.456Z  00JX4M8ZQ0001  192.0.2.9  <>                  reject  12.5";
        assert!(table.contains(row), "{table}");
    }
}
