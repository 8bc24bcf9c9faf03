//! `serve`: the daemon.

use std::process::ExitCode;

use super::{ConfigFile, Outcome};

/// Run the server until it is told to stop (SIGTERM); SIGHUP reads the configuration again
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta serve                                   with /etc/staffetta/staffetta.toml
  staffetta serve --config staffetta.toml           with another configuration
  kill -HUP $(pidof staffetta)                      put a changed configuration in force

Runs in the foreground and logs to standard output: let systemd or a container keep it. SIGTERM
finishes what is in hand and ends; SIGHUP reads the configuration, the certificates and the tables
anew, without dropping a session.")]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

/// Reads the configuration and serves; its mistakes are told on standard error.
pub(crate) fn run(args: &Args) -> Outcome {
    match args.config.load() {
        Some(loaded) => serve(loaded),
        None => Ok(ExitCode::FAILURE),
    }
}

/// Serves until told to stop. What is doubtful in the configuration goes to the log.
pub(crate) fn serve(loaded: ::config::Loaded) -> Outcome {
    ::server::run(loaded)?;
    Ok(ExitCode::SUCCESS)
}
