//! `staffetta bayes`: what the classifier has learnt, to another filter and back, and what decided about a message. Needs
//! no server.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use server::learning::{Expert, Filter, LEARNT_MIN, load, waiting};

use super::learn::FilterPlace;
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
  staffetta bayes status --json | jq .ham")]
    Status {
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
  staffetta bayes fit         after single messages were learnt, which wait until they are one in a hundred")]
    Fit {
        #[command(flatten)]
        place: FilterPlace,
    },
    /// Print all that was learnt, for another filter: numbers, not words
    #[command(after_help = "\
Examples:
  staffetta bayes export > learnt
  staffetta bayes export | ssh other.example.test staffetta bayes import -")]
    Export {
        #[command(flatten)]
        place: FilterPlace,
    },
    /// Learn what another filter has learnt
    #[command(after_help = "\
Examples:
  staffetta bayes import learnt")]
    Import {
        /// What export has printed; - for standard input
        file: PathBuf,
        #[command(flatten)]
        place: FilterPlace,
    },
}

pub(crate) fn run(args: Args) -> Outcome {
    match args.what {
        What::Status { json, place } => status(json, &place),
        What::Explain(explained) => score::run(&explained.into()),
        What::Fit { place } => {
            let fitted = Filter::open(&place.find()?.0, true)?.fit()?;
            let text = match fitted {
                Some(model) => format!("fitted to {} ham and {} spam\n", model.counts.ham, model.counts.spam),
                None => format!("nothing is judged before there are {LEARNT_MIN} of each\n"),
            };
            print_all(text.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        What::Export { place } => {
            print_all(&Filter::open(&place.find()?.0, true)?.export())?;
            Ok(ExitCode::SUCCESS)
        }
        What::Import { file, place } => import(&file, &place),
    }
}

fn import(file: &Path, place: &FilterPlace) -> Outcome {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes)?;
    } else {
        bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let (folder, samples_max) = place.find()?;
    let mut filter = Filter::open(&folder, true)?;
    let (new, damage) = filter.import(&bytes, samples_max)?;
    filter.fit()?;
    print_all(format!("{new} learnt\n").as_bytes())?;
    let is_whole = damage.records == 0 && damage.torn_bytes == 0;
    if !is_whole {
        eprintln!(
            "{} records were damaged, and {} octets at the end are none",
            damage.records, damage.torn_bytes
        );
    }
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn status(as_json: bool, place: &FilterPlace) -> Outcome {
    let (folder, samples_max) = place.find()?;
    let filter = Filter::open(&folder, true)?;
    let (counts, damage) = (filter.samples().counts(), filter.samples().damage());
    let (model, trouble) = match load(&folder) {
        Ok(model) => (model, None),
        Err(error) => (None, Some(with_causes(&error))),
    };
    let features: usize = model.iter().flat_map(|model| &model.experts.all).map(Expert::len).sum();
    let fitted = model.as_ref().map(|model| model.counts);
    let waits = model.as_ref().is_some_and(|model| model.state != filter.samples().state());
    let to_be_learnt = waiting::count(&folder)?;
    let missing = [counts.ham, counts.spam].map(|count| LEARNT_MIN.saturating_sub(count));
    if as_json {
        let object = json!({
            "ham": counts.ham, "spam": counts.spam, "samples_max": samples_max, "bytes": filter.samples().bytes(),
            "missing_ham": missing[0], "missing_spam": missing[1], "judges": model.is_some(), "features": features,
            "fitted_ham": fitted.map(|fitted| fitted.ham), "fitted_spam": fitted.map(|fitted| fitted.spam),
            "changes_wait": waits, "to_be_learnt": to_be_learnt, "damaged_records": damage.records, "trouble": trouble,
        });
        print_all(format!("{object:#}\n").as_bytes())?;
        return Ok(if trouble.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let mut text =
        format!("{} ham and {} spam are learnt, of {samples_max} that are kept\n", counts.ham, counts.spam);
    match missing {
        [0, 0] => {}
        [ham, spam] => {
            text.push_str(&format!("nothing is judged yet: {ham} ham and {spam} spam are missing\n"));
        }
    }
    if let Some(fitted) = fitted {
        text.push_str(&format!(
            "judged by {features} features of {} ham and {} spam\n",
            fitted.ham, fitted.spam
        ));
    }
    if waits {
        text.push_str(
            "what was learnt since waits until there is more: staffetta bayes fit takes it in now\n",
        );
    }
    if to_be_learnt > 0 {
        text.push_str(&format!(
            "{to_be_learnt} more wait to be learnt: by the server within a minute, or by staffetta learn\n"
        ));
    }
    if damage.records > 0 || damage.torn_bytes > 0 {
        text.push_str(&format!(
            "damaged: {} records of {} are left out, and {} octets at the end\n",
            damage.records,
            folder.join("samples").display(),
            damage.torn_bytes
        ));
    }
    let is_sound = trouble.is_none();
    if let Some(trouble) = trouble {
        text.push_str(&format!("{trouble}\n"));
    }
    print_all(text.as_bytes())?;
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
