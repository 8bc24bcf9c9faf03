//! `serve`: the daemon.

use std::process::ExitCode;

use super::{ConfigFile, Outcome};

/// Run the server until it is told to stop (SIGTERM); SIGHUP reads the configuration again
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta serve                                   with /etc/staffetta/staffetta.toml
  staffetta serve --config staffetta.toml           with another configuration
  kill -HUP $(pidof staffetta)                      put a changed configuration in force")]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

/// Serves. The configuration's mistakes are on standard error already when it cannot be read.
pub(crate) fn run(args: &Args) -> Outcome {
    let Some(loaded) = args.config.load() else { return Ok(ExitCode::FAILURE) };
    ::server::run(loaded)?;
    Ok(ExitCode::SUCCESS)
}
