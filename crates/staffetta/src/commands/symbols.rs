//! `staffetta symbols`: what every symbol is worth, by a configuration or by the defaults. Needs no server.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::{Outcome, print_all, report_style};

/// What the checks of mail can find, and how many points each counts
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta symbols                                    the defaults
  staffetta symbols --config /etc/staffetta/staffetta.toml
  staffetta symbols --json | jq -r 'select(.score > 3).symbol'
  staffetta symbols --toml > scores.toml               to be changed, and named as [antispam] scores

Points above 0 speak against a message, points below 0 for it. Symbols of one group count together
up to a bound.")]
pub(crate) struct Args {
    /// By this configuration, with its lists and its file of scores, instead of by the defaults
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one object a line instead, for programs
    #[arg(long)]
    json: bool,
    /// Print a file of scores that can be changed and used
    #[arg(long, conflicts_with = "json")]
    toml: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let judge = match &args.config {
        Some(file) => {
            let loaded =
                ::config::load(file).inspect_err(|report| eprint!("{}", report.render(report_style())));
            let Ok(loaded) = loaded else { return Ok(ExitCode::FAILURE) };
            runtime.block_on(server::rehearsal::judge(&loaded))?
        }
        None => runtime.block_on(server::rehearsal::default_judge())?,
    };
    let book = judge.book();
    let text = if args.toml {
        book.to_toml()
    } else if args.json {
        let symbols = book.symbols().map(|(symbol, worth)| {
            let (score, group) = (worth.score.as_f64(), &worth.group);
            json!({"symbol": symbol.as_str(), "score": score, "group": group, "meaning": worth.meaning})
        });
        symbols.map(|object| object.to_string() + "\n").collect()
    } else {
        let mut table = super::table::new(["Symbol", "Score", "Group", "Meaning"]);
        table.add_rows(book.rows());
        table.trim_fmt() + "\n"
    };
    print_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// All symbols of the default checks and lists, as `docs/reference/symbols.md`.
///
/// # Errors
/// None but of the runtime that the resolver wants.
pub(super) fn reference() -> Result<String, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(server::rehearsal::default_judge())?.symbols_markdown())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// `etc/scores.toml` is what the program prints; `UPDATE_REFERENCE=1` writes it anew.
    #[test]
    fn the_file_of_scores_is_not_stale() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let fresh = runtime.block_on(server::rehearsal::default_judge()).unwrap().book().to_toml();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../etc/scores.toml");
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(&file, &fresh).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            kept == fresh,
            "etc/scores.toml is stale: UPDATE_REFERENCE=1 cargo test -p staffetta, or staffetta symbols --toml"
        );
    }
}
