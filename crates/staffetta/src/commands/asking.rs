//! What the commands that ask the running server have in common: where it is, which messages are meant, how what it tells is
//! printed.

use std::path::PathBuf;
use std::process::ExitCode;

use comfy_table::Table;
use mail::QueueId;
use serde::Serialize;
use server::admin::{Client, ClientError, Filter, Request, Response, Select};

use super::{ConfigFile, Outcome, print_all};

/// Where the server is.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    #[command(flatten)]
    pub(super) config: ConfigFile,
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

/// How much of a list is printed, and how.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Print one object a line instead, for programs
    #[arg(long)]
    pub(super) json: bool,
    /// Print at most so many; 0 for all
    #[arg(long, value_name = "NUMBER", default_value_t = 200)]
    pub(super) limit: u64,
    #[command(flatten)]
    pub(super) place: Place,
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

/// Which messages; all that is given must hold.
#[derive(Debug, Default, clap::Args)]
pub(super) struct About {
    /// From this sender: an address, @DOMAIN, a pattern with *, or '<>' for reports
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// For this recipient, who still waits: an address, @DOMAIN, or a pattern with *
    #[arg(long, value_name = "ADDRESS")]
    pub(super) recipient: Option<String>,
    /// For somebody in this domain; .DOMAIN for its subdomains
    #[arg(long)]
    domain: Option<String>,
    /// At least this old, such as 90s, 30m, 2h, 3d
    #[arg(long, value_name = "AGE", value_parser = age)]
    older: Option<u64>,
    /// At most this old
    #[arg(long, value_name = "AGE", value_parser = age)]
    younger: Option<u64>,
}

impl About {
    pub(super) fn into_filter(self) -> Filter {
        Filter {
            sender: self.sender,
            recipient: self.recipient,
            domain: self.domain,
            older_than_seconds: self.older,
            younger_than_seconds: self.younger,
            ..Filter::default()
        }
    }
}

/// Which messages an order is for: those that are named, or all that pass a filter; one that lets everything through has to
/// be meant.
pub(super) fn select(ids: Vec<QueueId>, filter: Filter, all: bool) -> Result<Select, &'static str> {
    if !ids.is_empty() {
        return Ok(Select::Ids(ids));
    }
    if filter == Filter::default() && !all {
        return Err("which messages? Give queue ids, conditions such as --domain, or --all");
    }
    Ok(Select::Filter(filter))
}

/// Has an order carried out, and tells about how many messages.
pub(super) fn steer(request: &Request, place: &Place, done: &str) -> Outcome {
    let mut refused = 0;
    let (count, _) = place.connect()?.ask(request, |item| {
        if let Response::Refused { id, why } = item {
            eprintln!("staffetta: {id}: {why}");
            refused += 1;
        }
        Ok::<(), Failed>(())
    })?;
    println!("{count} message{} {done}", if count == 1 { "" } else { "s" });
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the items of a list are called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nouns {
    /// The line that stands for an empty list.
    pub(super) none: &'static str,
    /// One of them.
    pub(super) one: &'static str,
    /// Several.
    pub(super) many: &'static str,
}

/// A list that comes item by item: a table for people, which is printed at its end, or an object a line for programs, which
/// are printed as they come.
pub(super) struct Listing {
    json: bool,
    table: Table,
    nouns: Nouns,
}

impl Listing {
    pub(super) fn new<const N: usize>(json: bool, heading: [&str; N], nouns: Nouns) -> Self {
        Self { json, table: super::table::new(heading), nouns }
    }

    /// One more item.
    pub(super) fn take<T: Serialize, const N: usize>(
        &mut self,
        item: &T,
        row: impl FnOnce() -> [String; N],
    ) -> Result<(), Failed> {
        if self.json {
            let line = serde_json::to_string(item).map_err(not_understood)? + "\n";
            return print_all(line.as_bytes()).map_err(Failed::Output);
        }
        self.table.add_row(row());
        Ok(())
    }

    /// There are no more; given is how many there were, and whether the limit has kept some back.
    pub(super) fn end(self, (count, more): (u64, bool)) -> Outcome {
        if !self.json {
            print_all(self.text(count, more).as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn text(&self, count: u64, more: bool) -> String {
        let noun = match count {
            0 => return format!("{}\n", self.nouns.none),
            1 => self.nouns.one,
            _ => self.nouns.many,
        };
        let more = if more { "; there are more, --limit 0 shows all" } else { "" };
        format!("{}\n{count} {noun}{more}\n", self.table.trim_fmt())
    }
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

/// The two largest units: `3d 4h`, `12m`, `5s`.
pub(super) fn short_age(seconds: u64) -> String {
    let (d, h, m, s) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, _) => format!("{m}m"),
        (0, _, _) => format!("{h}h {m}m"),
        _ => format!("{d}d {h}h"),
    }
}

pub(super) fn short_size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
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

    #[test]
    fn a_list_says_how_many_there_are() {
        let nouns = Nouns { none: "nothing", one: "entry", many: "entries" };
        let mut listing = Listing::new(false, ["Name"], nouns);
        assert_eq!(listing.text(0, false), "nothing\n");
        listing.take(&"a", || ["a".to_owned()]).unwrap();
        assert!(listing.text(1, false).ends_with("a\n1 entry\n"), "{}", listing.text(1, false));
        assert!(listing.text(2, true).ends_with("\n2 entries; there are more, --limit 0 shows all\n"));
    }

    #[test]
    fn everything_has_to_be_meant() {
        assert!(select(Vec::new(), Filter::default(), false).is_err());
        assert_eq!(select(Vec::new(), Filter::default(), true), Ok(Select::Filter(Filter::default())));
        assert_eq!(select(vec![QueueId(1)], Filter::default(), false), Ok(Select::Ids(vec![QueueId(1)])));
        let some = Filter { sender: Some("<>".into()), ..Filter::default() };
        assert_eq!(select(Vec::new(), some.clone(), false), Ok(Select::Filter(some)));
    }
}
