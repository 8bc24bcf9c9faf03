//! `staffetta dnsbl`: which DNS lists are asked, and why one is not. Asks the running server over `admin.sock`.
//!
//! Counts are since the start or the last reload; a list's key is never shown.

use std::process::ExitCode;

use server::admin::{ListStatus, Request, Response};

use super::asking::{Failed, Place, not_understood};
use super::{Outcome, print_all};

/// The DNS lists: which are asked, and why one is not
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta dnsbl status          which lists are asked, which are suspended, and why")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print how each list does
    #[command(after_help = "\
Examples:
  staffetta dnsbl status
  staffetta dnsbl status --json | jq -r 'select(.state != \"healthy\") | .list'

States: a healthy list is asked; a suspended one failed its test entries or lists too many, and
scores nothing until it passes again; an unproven one was not tested yet. Listed: the share of
clients that it has, of those it answered about since the start or a reload. With --json, times are
milliseconds since 1970.")]
    Status {
        /// Print one object a line instead, for programs
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
}

pub(crate) fn run(args: Args) -> Outcome {
    let What::Status { json, place } = args.what;
    let mut lists = Vec::new();
    place.connect()?.ask(&Request::Dnsbl, |item| {
        if let Response::Dnsbl(list) = item {
            lists.push(*list);
        }
        Ok::<(), Failed>(())
    })?;
    print_all((if json { lines(&lists)? } else { table(&lists) }).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn lines(lists: &[ListStatus]) -> Result<String, Failed> {
    let line = |list| Ok(serde_json::to_string(list).map_err(not_understood)? + "\n");
    lists.iter().map(line).collect()
}

fn table(lists: &[ListStatus]) -> String {
    if lists.is_empty() {
        return "no lists are asked: [[antispam.dnsbl]] names none\n".to_owned();
    }
    let heading =
        ["Zone", "Family", "State", "Since", "Next probe", "Asked", "Cached", "Unknown", "Listed", "Why"];
    let mut table = super::table::new(heading);
    for list in lists {
        let figures = &list.figures;
        table.add_row([
            list.list.clone(),
            list.family.clone(),
            list.state.clone(),
            list.since.map_or_else(|| "-".to_owned(), |since| since.to_string()),
            if list.probe_at.0 == 0 { "now".to_owned() } else { list.probe_at.to_string() },
            figures.asked.to_string(),
            figures.from_cache.to_string(),
            figures.unknown.to_string(),
            share(figures.listed, figures.listed.saturating_add(figures.not_listed)),
            list.why.clone().unwrap_or_default(),
        ]);
    }
    table.trim_fmt() + "\n"
}

/// Percent with one place; a dash when there is nothing to take a share of.
fn share(part: u64, all: u64) -> String {
    match part.saturating_mul(1000).checked_div(all) {
        Some(thousandths) => super::percent(thousandths),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTS: &str = r#"[
        {"list": "zen.dnsbl.test", "family": "ipv4", "state": "healthy", "since": 1795309323456, "why": null,
            "why_label": null, "probe_at": 1795312923456, "kept": 4,
            "figures": {"asked": 10, "listed": 1, "not_listed": 7, "unknown": 2, "from_cache": 3, "suspensions": 0}},
        {"list": "dead.dnsbl.test", "family": "ipv6", "state": "suspended", "since": 1795309323456,
            "why": "it lists everybody", "why_label": "lists_all", "probe_at": 1795312923456, "kept": 0,
            "figures": {"asked": 0, "listed": 0, "not_listed": 0, "unknown": 0, "from_cache": 0, "suspensions": 1}},
        {"list": "new.dnsbl.test", "family": "ipv4", "state": "unproven", "since": null, "why": null,
            "why_label": null, "probe_at": 0, "kept": 0,
            "figures": {"asked": 0, "listed": 0, "not_listed": 0, "unknown": 0, "from_cache": 0, "suspensions": 0}}]"#;

    #[test]
    fn each_list_has_a_line_that_says_why_it_is_not_asked() {
        let lists: Vec<ListStatus> = serde_json::from_str(LISTS).unwrap();
        let table = table(&lists);
        let cells = |n: usize| table.lines().nth(n).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        let (since, probe) = ("2026-11-22T01:02:03.456Z", "2026-11-22T02:02:03.456Z");
        assert_eq!(cells(1), format!("zen.dnsbl.test ipv4 healthy {since} {probe} 10 3 2 12.5 %"));
        assert_eq!(
            cells(2),
            format!("dead.dnsbl.test ipv6 suspended {since} {probe} 0 0 0 - it lists everybody")
        );
        assert!(cells(3).starts_with("new.dnsbl.test ipv4 unproven - now "), "{table}");
        let json = lines(&lists).unwrap();
        let back: Vec<ListStatus> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(back, lists);
    }

    #[test]
    fn no_lists_are_no_empty_table() {
        assert!(table(&[]).contains("[[antispam.dnsbl]]"));
    }
}
