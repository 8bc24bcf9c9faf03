//! `staffetta backscatter`: what became of mail without a sender, and whether `enforce` can be dared. Asks the running server
//! over `admin.sock`.
//!
//! Only counts are kept. The advice goes by them alone and says what a person has to check. `rotate` makes a key, and leaves
//! all others and the running server as they are.

use std::process::ExitCode;

use server::admin::{BackscatterMode, BackscatterStatus, Mode, Request, Response};

use super::asking::{Failed, Place, not_understood};
use super::{ConfigFile, Outcome, percent, print_all};

/// Messages without which nothing is said about shares.
const MESSAGES_MIN: u64 = 50;
/// The largest share of forged messages with which `enforce` is offered, in thousandths.
const REFUSED_THOUSANDTHS_MAX: u64 = 100;
/// The largest share of messages of which nothing was found out with which `enforce` is offered, in thousandths.
const UNKNOWN_THOUSANDTHS_MAX: u64 = 50;

/// Mail without a sender: bounces of what we sent, and of what others sent in our name
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta backscatter status      what [antispam.backscatter] mode = \"enforce\" would have refused
  staffetta backscatter rotate      another key for what leaves from now on")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print how much of it was about mail of ours, and what would have been refused
    #[command(after_help = "\
Examples:
  staffetta backscatter status
  staffetta backscatter status --json | jq .refused_thousandths
  staffetta explain --last 1000 --json | grep BACKSCATTER_FORGED     the messages themselves")]
    Status {
        /// Print an object instead, for programs
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Make another key for the tags in reverse-paths; it signs after the next reload, and those before it still verify
    #[command(after_help = "\
Examples:
  staffetta backscatter rotate && systemctl reload staffetta")]
    Rotate {
        #[command(flatten)]
        config: ConfigFile,
    },
}

pub(crate) fn run(args: Args) -> Outcome {
    match args.what {
        What::Status { json, place } => status(json, &place),
        What::Rotate { config } => rotate(&config),
    }
}

fn rotate(config: &ConfigFile) -> Outcome {
    let Some(loaded) = config.load() else { return Ok(ExitCode::FAILURE) };
    let file = server::marks::rotate(&loaded)?;
    println!("{}", file.display());
    eprintln!(
        "Reload the server (SIGHUP, `systemctl reload staffetta`): it signs with this key from then on."
    );
    Ok(ExitCode::SUCCESS)
}

fn status(json: bool, place: &Place) -> Outcome {
    let mut status = None;
    place.connect()?.ask(&Request::Backscatter, |item| {
        if let Response::Backscatter(found) = item {
            status = Some(found);
        }
        Ok::<(), Failed>(())
    })?;
    let status = status.ok_or_else(|| not_understood("it tells nothing"))?;
    let text = if json {
        serde_json::to_string_pretty(&status)? + "\n"
    } else {
        format!("{}\n{}", table(&status), advice(&status))
    };
    print_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn table(status: &BackscatterStatus) -> String {
    let mut table = super::table::new(["Messages", "Were", "Which means"]);
    for (count, word, meaning) in [
        (status.proven, "proven", "reports about mail that we sent"),
        (status.forged, "forged", "reports about mail that we did not send: what enforce refuses"),
        (
            status.scored,
            "scored",
            "receipts, automatic replies and complaints about mail that we did not send",
        ),
        (status.unknown, "unknown", "it could not be found out; never refused for it"),
    ] {
        table.add_row([count.to_string(), word.to_owned(), meaning.to_owned()]);
    }
    format!("Mail without a sender, of the last {} days\n{}\n", status.counted_days, table.trim_fmt())
}

fn all(status: &BackscatterStatus) -> u64 {
    [status.proven, status.forged, status.scored, status.unknown].into_iter().fold(0, u64::saturating_add)
}

/// What the figures mean for the settings, in sentences.
fn advice(status: &BackscatterStatus) -> String {
    if status.mode == BackscatterMode::Off {
        return "Nothing is looked at: [antispam.backscatter] mode is \"off\". Set it to \"observe\" and look again in a \
                month.\n"
            .to_owned();
    }
    let (all, share) = (all(status), percent(status.refused_thousandths));
    if all == 0 {
        return "None came, so there is nothing to go by yet.\n".to_owned();
    }
    match (status.mode, status.antispam_mode) {
        (BackscatterMode::Enforce, Mode::Enforce) => format!(
            "mode is \"enforce\": {} of {all} ({share}) were refused, those before it was set aside.\n\
             When somebody misses a report: staffetta explain --rcpt ADDRESS --since 7d\n",
            status.forged
        ),
        (BackscatterMode::Enforce, mode) => format!(
            "{} of {all} ({share}) would have been refused. Nothing is, because [antispam] mode is \"{}\".\n",
            status.forged,
            mode.as_str()
        ),
        _ => {
            let said = format!(
                "mode is \"observe\": {} of {all} ({share}) would have been refused.\n",
                status.forged
            );
            said + &offer(status, all)
        }
    }
}

/// Whether `enforce` can be dared.
fn offer(status: &BackscatterStatus, all: u64) -> String {
    let unknown = status.unknown.saturating_mul(1000).checked_div(all).unwrap_or_default();
    if all < MESSAGES_MIN {
        return format!("That is too little to go by: look again when there are {MESSAGES_MIN} of them.\n");
    }
    if unknown > UNKNOWN_THOUSANDTHS_MAX {
        return format!(
            "Of {} nothing could be found out, so the share tells little: the memory of what was sent did not answer, or \
             they could not be read. Watch the metric staffetta_checks_unfinished_total.\n",
            percent(unknown)
        );
    }
    // A share is to be believed only when something was proven at all.
    if status.proven == 0 {
        return "None was proven to be about mail of yours, so nothing shows that true reports would be known. Leave it at \
                \"observe\" until some are: send a message to an address that does not exist elsewhere, and look again.\n"
            .to_owned();
    }
    if status.refused_thousandths > REFUSED_THOUSANDTHS_MAX {
        return format!(
            "That is too much to enforce unseen. Either somebody writes in your name just now, or mail of yours goes out \
             past this server and its reports cannot be proven. Look at them:\n{LOOK}\
             When they are about mail that you never sent, enforce is what stops them; when they are about yours, let \
             it go out through here first.\n"
        );
    }
    format!(
        "That is little enough to enforce. Check first:\n\
         - All mail of your domains goes out through here, and has for {} days. Newsletters, shops and printers that \
           send elsewhere get reports that prove nothing.\n\
         - None of the {} was a report that somebody waited for; one of a letter that left without a tag, and that does not quote its Message-ID, may be:\n{LOOK}\
         - \"Backscatter\" in docs/operator/antispam.md: it says which reports cannot be proven.\n\
         Then set [antispam.backscatter] mode = \"enforce\" and reload the server. They get 550 5.7.1 after DATA from then \
         on, and staffetta explain still tells of each.\n",
        status.proof_days, status.forged
    )
}

/// How the messages themselves are found.
const LOOK: &str = "    staffetta explain --last 1000 --json | grep BACKSCATTER_FORGED\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn status(counts: [u64; 4]) -> BackscatterStatus {
        let [proven, forged, scored, unknown] = counts;
        let all: u64 = counts.iter().sum();
        BackscatterStatus {
            mode: BackscatterMode::Observe,
            antispam_mode: Mode::Enforce,
            proof_days: 12,
            counted_days: 30,
            proven,
            forged,
            scored,
            unknown,
            refused_thousandths: (forged * 1000).checked_div(all).unwrap_or_default(),
        }
    }

    #[test]
    fn enforce_is_offered_only_with_figures_that_carry_it() {
        for (counts, want) in [
            ([0, 0, 0, 0], "nothing to go by"),
            ([48, 1, 0, 0], "too little to go by"),
            ([45, 5, 0, 0], "little enough to enforce"),
            ([44, 6, 0, 0], "too much to enforce"),
            ([1, 99, 0, 0], "too much to enforce"),
            ([0, 100, 0, 0], "None was proven"),
            ([0, 0, 50, 0], "None was proven"),
            ([95, 0, 0, 5], "little enough to enforce"),
            ([94, 0, 0, 6], "Of 6.0 % nothing could be found out"),
        ] {
            let text = advice(&status(counts));
            assert!(text.contains(want), "{counts:?}: {text}");
            assert_eq!(text.contains("mode = \"enforce\""), want.starts_with("little"), "{counts:?}: {text}");
        }
    }

    #[test]
    fn the_share_and_what_to_check_are_told() {
        let text = advice(&status([970, 21, 9, 0]));
        assert!(text.contains("21 of 1000 (2.1 %) would have been refused"), "{text}");
        for words in ["for 12 days", "None of the 21", "BACKSCATTER_FORGED", "reload"] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn other_modes_say_what_they_do() {
        let with = |mode, antispam_mode| {
            advice(&BackscatterStatus { mode, antispam_mode, ..status([90, 10, 0, 0]) })
        };
        assert!(with(BackscatterMode::Off, Mode::Enforce).contains("Nothing is looked at"));
        assert!(with(BackscatterMode::Enforce, Mode::Enforce).contains("10 of 100 (10.0 %) were refused"));
        assert!(with(BackscatterMode::Enforce, Mode::Tag).contains("because [antispam] mode is \"tag\""));
    }

    #[test]
    fn the_table_has_a_line_for_each_count() {
        let text = table(&status([970, 21, 9, 0]));
        let numbers: Vec<_> =
            text.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(numbers, ["970", "21", "9", "0"], "{text}");
    }
}
