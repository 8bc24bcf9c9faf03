//! The Staffetta mail server: one binary for the daemon and its tools.
//!
//! This file reads the command line and hands over; what a command does is in `commands/`, one file each. A name
//! other than `staffetta` in `argv[0]` selects one of the classic faces (`sendmail`, `mailq`, `newaliases`, `postmap`).
//! Exit codes: 0 done, 1 it did not work (the reason is on standard error), 2 the command line was not understood.

mod commands;
mod faces;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    if let Some(code) = faces::run() {
        return code;
    }
    match commands::run(commands::CommandLine::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("staffetta: {}", commands::with_causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
