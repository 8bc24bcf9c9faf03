//! `staffetta config`: is the configuration right, and what does it come to with all defaults?

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{Outcome, report_style};

/// Check the configuration, or show it with all defaults
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta config check /etc/staffetta/staffetta.toml
  staffetta config show staffetta.toml")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Say what is wrong with a configuration; exit code 1 when the server could not start with it
    #[command(after_help = "\
Examples:
  staffetta config check staffetta.toml
  staffetta config check --json staffetta.toml | jq '.[].message'
  staffetta config check && systemctl reload staffetta")]
    Check {
        /// The configuration file
        #[arg(default_value = super::CONFIG_FILE, env = "STAFFETTA_CONFIG", hide_env_values = true)]
        file: PathBuf,
        /// Print a list of objects instead, for programs
        #[arg(long)]
        json: bool,
    },
    /// Print the configuration as the server understands it, every default included
    #[command(after_help = "\
Examples:
  staffetta config show staffetta.toml
  diff <(staffetta config show old.toml) <(staffetta config show new.toml)")]
    Show {
        /// The configuration file
        #[arg(default_value = super::CONFIG_FILE, env = "STAFFETTA_CONFIG", hide_env_values = true)]
        file: PathBuf,
    },
}

/// Neither command needs rights or touches anything.
pub(crate) fn run(args: Args) -> Outcome {
    match args.what {
        What::Check { file, json } => check(&file, json),
        What::Show { file } => show(&file),
    }
}

/// Pictures go to standard error, the summary or the JSON to standard output.
fn check(file: &std::path::Path, json: bool) -> Outcome {
    let report = match config::load(file) {
        Ok(loaded) => {
            // Lists that aliases include are read on a runtime's pool.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let mut findings = runtime.block_on(server::aliases::check(&loaded))?;
            findings.extend(runtime.block_on(server::rehearsal::check(&loaded)));
            loaded.report_with(findings)
        }
        Err(report) => report,
    };
    let code = if report.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    if json {
        println!("{}", report.to_json());
        return Ok(code);
    }
    if !report.is_empty() {
        eprint!("{}", report.render(report_style()));
    }
    println!("{}", summary(&report, &file.display().to_string()));
    Ok(code)
}

/// The last line: how many of what.
fn summary(report: &config::Report, file: &str) -> String {
    let count = |severity| report.problems().iter().filter(|problem| problem.severity == severity).count();
    let said = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    match (count(config::Severity::Error), count(config::Severity::Warning)) {
        (0, 0) => format!("{file}: all is well"),
        (0, warnings) => format!("{file}: works, with {}", said(warnings, "warning")),
        (errors, 0) => format!("{file}: {}", said(errors, "error")),
        (errors, warnings) => format!("{file}: {} and {}", said(errors, "error"), said(warnings, "warning")),
    }
}

/// Prints TOML that means the same as the file: it can be read back, compared and kept.
fn show(file: &std::path::Path) -> Outcome {
    match config::load(file) {
        Ok(loaded) => {
            let text = toml::to_string_pretty(&loaded.config)?;
            super::print_all(text.as_bytes())?;
            std::io::stdout().flush()?;
            Ok(ExitCode::SUCCESS)
        }
        Err(report) => {
            eprint!("{}", report.render(report_style()));
            Ok(ExitCode::FAILURE)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_last_line_counts() {
        let report = |text: &str| match config::parse(text, Path::new("a.toml")) {
            Ok(loaded) => loaded.warnings,
            Err(report) => report,
        };
        assert_eq!(summary(&report(""), "a.toml"), "a.toml: 1 error");
        assert_eq!(summary(&report("hostname = \"a.test\"\n"), "a.toml"), "a.toml: works, with 2 warnings");
    }

    #[test]
    fn what_is_shown_means_the_same() {
        let text = "hostname = \"mx.example.test\"\nuser = 990\n[observe]\nhttp = \"\"\n";
        let loaded = config::parse(text, Path::new("a.toml")).unwrap();
        let shown = toml::to_string_pretty(&loaded.config).unwrap();
        assert_eq!(config::parse(&shown, Path::new("a.toml")).unwrap().config, loaded.config);
    }
}
