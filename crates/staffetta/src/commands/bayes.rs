//! `staffetta bayes`: what the classifier has learnt, to another filter and back, and what decided about a message. Needs
//! no server.

mod status;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use server::learning::{LearnError, called};

use super::learn::{self, FilterPlace};
use super::{Outcome, print_all, score, with_causes};

/// The classifier: what was learnt, and what it goes by
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta bayes status
  staffetta bayes explain message.eml
  staffetta bayes export > learnt
  staffetta bayes import learnt")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print how much was learnt, and what is missing
    #[command(after_help = "\
Examples:
  staffetta bayes status
  staffetta bayes status --for joe@example.test        his own filter, on top of the shared one
  staffetta bayes status --all                         a line for each filter
  staffetta bayes status --json | jq .ham")]
    Status {
        /// Print a line for the shared filter and for each of a domain or an account
        #[arg(long, conflicts_with_all = ["filter", "whose"])]
        all: bool,
        /// Print an object instead, for programs
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: FilterPlace,
    },
    /// Print what decided about messages
    #[command(after_help = "\
Examples:
  staffetta bayes explain message.eml")]
    Explain(score::Explained),
    /// Fit the model to what was learnt, now
    #[command(after_help = "\
Examples:
  staffetta bayes fit         take in single messages, which wait until they are one in a hundred")]
    Fit {
        #[command(flatten)]
        place: FilterPlace,
    },
    /// Print all that was learnt, for another filter: numbers, not words
    #[command(after_help = "\
Examples:
  staffetta bayes export > learnt
  staffetta bayes export --for joe@example.test > joes
  staffetta bayes export | ssh other.example.test staffetta bayes import -")]
    Export {
        #[command(flatten)]
        place: FilterPlace,
    },
    /// Learn what another filter has learnt
    #[command(after_help = "\
Examples:
  staffetta bayes import learnt
  staffetta bayes import --for joe@example.test joes   his own filter, on top of the shared one")]
    Import {
        /// What export has printed; - for standard input
        file: PathBuf,
        /// Print an object instead, for programs
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: FilterPlace,
    },
    /// Delete all that was learnt for an account or a domain; the shared filter keeps what it has learnt
    #[command(after_help = "\
Examples:
  staffetta bayes delete --for joe@example.test        joe has gone, or wants to begin anew")]
    Delete {
        #[command(flatten)]
        place: FilterPlace,
    },
}

pub(crate) fn run(args: Args) -> Outcome {
    match args.what {
        What::Status { json, all, place } => status::run(json, all, &place),
        What::Explain(explained) => score::run(&explained.into()),
        What::Fit { place } => {
            let pupil = place.pupil()?;
            let fitted = pupil.fit(&pupil.open(true)?)?;
            let text = match fitted {
                Some(counts) => format!("fitted to {} ham and {} spam\n", counts.ham, counts.spam),
                None => format!("nothing is judged before there are {} of each\n", pupil.learnt_min()),
            };
            print_all(text.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        What::Export { place } => {
            let pupil = place.pupil()?;
            if pupil.owner.is_some() && !pupil.has_learnt() {
                return Err(format!("{} has learnt nothing", called(pupil.owner.as_ref())).into());
            }
            print_all(&pupil.open(true)?.export())?;
            Ok(ExitCode::SUCCESS)
        }
        What::Import { file, json, place } => import(&file, json, &place),
        What::Delete { place } => delete(&place),
    }
}

/// Only of a domain or an account: the shared filter is many people's work.
fn delete(place: &FilterPlace) -> Outcome {
    let Some(named) = &place.whose else { return Err("name whose filter it is: --for".into()) };
    // Of a kind that is not in use, too: that is what is left over.
    let (school, delimiter) = learn::configured_with_delimiter(&place.config)?;
    let mut pupil = school.own(learn::untagged(named, delimiter));
    // One that was made for an address with its tag goes by that name alone.
    let tagged = school.own(named.clone());
    if tagged.has_learnt() {
        pupil = tagged;
    }
    if !pupil.remove()? {
        return Err(format!("nothing was learnt for {named}").into());
    }
    print_all(format!("{} is deleted\n", called(pupil.owner.as_ref())).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn import(file: &Path, as_json: bool, place: &FilterPlace) -> Outcome {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes)?;
    } else {
        bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    if bytes.is_empty() {
        return Err(format!("{}: there is nothing in it: has the export failed?", file.display()).into());
    }
    let (school, pupil) = place.pupil_to_teach()?;
    school.map_or(Ok(()), |school| school.admit(&pupil))?;
    let mut filter = pupil.open(true)?;
    let (new, damage) = filter.import(&bytes, pupil.samples_max).map_err(|error| match error {
        LearnError::Import(_) => format!("{}: {}", file.display(), with_causes(&error)),
        other => with_causes(&other),
    })?;
    let is_fitted = pupil.fit(&filter)?.is_some();
    let counts = filter.samples().counts();
    let text = if as_json {
        let object = json!({
            "learnt": new, "ham": counts.ham, "spam": counts.spam, "fitted": is_fitted,
            "damaged_records": damage.records, "torn_bytes": damage.torn_bytes,
        });
        format!("{object}\n")
    } else {
        format!("{new} learnt; {} ham and {} spam altogether\n", counts.ham, counts.spam)
    };
    print_all(text.as_bytes())?;
    let is_whole = damage.records == 0 && damage.torn_bytes == 0;
    if !is_whole {
        eprintln!(
            "staffetta: {}: damaged records that were left out: {}; octets at the end that are none: {}",
            file.display(),
            damage.records,
            damage.torn_bytes
        );
    }
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
