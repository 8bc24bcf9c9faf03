//! The commands, one file each: arguments, help with examples, and what is done.
//!
//! A command returns its exit code, or an error that `main` prints with its causes. Nothing here speaks SMTP or
//! touches the queue's files: that is the business of the crates below.

mod account;
mod asking;
mod backscatter;
mod bayes;
mod check;
mod config;
mod dkim;
mod dnsbl;
mod docs;
mod explain;
mod greylist;
mod health;
mod import;
mod learn;
mod quarantine;
mod queue;
mod quickstart;
mod rehearse;
mod reputation;
mod score;
mod serve;
mod symbols;
mod table;
pub(crate) mod table_query;

use std::error::Error;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

/// How a command ends: an exit code, or the reason why it could not be done.
pub(crate) type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Staffetta: a mail server in one program. It receives, queues and delivers mail.
#[derive(Debug, clap::Parser)]
#[command(name = "staffetta", version, propagate_version = true, max_term_width = 110, after_help = EXAMPLES)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

/// The configuration file when none is named.
pub(crate) const CONFIG_FILE: &str = "/etc/staffetta/staffetta.toml";

/// The commands in the order in which a newcomer needs them.
const EXAMPLES: &str = "\
Examples:
  staffetta quickstart example.test --run     a mail server for example.test, in a folder here
  staffetta config check staffetta.toml       is the configuration right?
  staffetta serve --config staffetta.toml     run the server
  staffetta queue list                        what waits, and why
  staffetta quarantine list                   what was taken and kept back
  staffetta explain --rcpt joe@example.test   why his mail was taken, marked or refused
  staffetta account add joe@example.test      a mailbox with a password";

/// One line a command, in the order of the help.
#[derive(Debug, clap::Subcommand)]
enum Command {
    Quickstart(quickstart::Args),
    Serve(serve::Args),
    Health(health::Args),
    Config(config::Args),
    Account(account::Args),
    Queue(queue::Args),
    Quarantine(quarantine::Args),
    Explain(explain::Args),
    Try(rehearse::Args),
    Symbols(symbols::Args),
    Learn(learn::Args),
    Score(score::Args),
    Bayes(bayes::Args),
    Greylist(greylist::Args),
    Reputation(reputation::Args),
    Dnsbl(dnsbl::Args),
    Backscatter(backscatter::Args),
    Dkim(dkim::Args),
    Check(check::Args),
    Table(table_query::Args),
    Import(import::Args),
    Docs(docs::Args),
}

/// Does what the command line asks.
pub(crate) fn run(line: CommandLine) -> Outcome {
    match line.command {
        Command::Quickstart(args) => quickstart::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Config(args) => config::run(args),
        Command::Account(args) => account::run(args),
        Command::Queue(args) => queue::run(args),
        Command::Quarantine(args) => quarantine::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Try(args) => rehearse::run(args),
        Command::Symbols(args) => symbols::run(&args),
        Command::Learn(args) => learn::run(&args),
        Command::Score(args) => score::run(&args),
        Command::Bayes(args) => bayes::run(args),
        Command::Greylist(args) => greylist::run(args),
        Command::Reputation(args) => reputation::run(args),
        Command::Dnsbl(args) => dnsbl::run(args),
        Command::Backscatter(args) => backscatter::run(args),
        Command::Dkim(args) => dkim::run(args),
        Command::Check(args) => check::run(args),
        Command::Table(args) => table_query::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Docs(args) => docs::run(args),
    }
}

/// Which configuration a command works with.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigFile {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", default_value = CONFIG_FILE, env = "STAFFETTA_CONFIG", hide_env_values = true)]
    pub(crate) config: std::path::PathBuf,
}

impl ConfigFile {
    /// Reads it; what is wrong with it is told on standard error.
    pub(crate) fn load(&self) -> Option<::config::Loaded> {
        ::config::load(&self.config).inspect_err(|report| eprint!("{}", report.render(report_style()))).ok()
    }
}

/// How reports are drawn on standard error: in colour where somebody looks at it and has not declined (`NO_COLOR`).
pub(crate) fn report_style() -> ::config::Style {
    let declined = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if std::io::stderr().is_terminal() && !declined {
        ::config::Style::Terminal
    } else {
        ::config::Style::Plain
    }
}

/// Writes to standard output; a reader that has gone away (`| head`) is no error.
pub(crate) fn print_all(text: &[u8]) -> std::io::Result<()> {
    match std::io::stdout().lock().write_all(text) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Thousandths as percent with one place: `12.5 %`.
fn percent(thousandths: u64) -> String {
    format!("{}.{} %", thousandths / 10, thousandths % 10)
}

/// An error and what caused it, on one line, outermost first.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Columns of help where nobody says how wide a terminal is.
    const HELP_COLUMNS: usize = 100;

    /// Every command that does something shows how it is used.
    #[test]
    fn every_help_has_examples() {
        fn visit(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:\n  staffetta "), "{path} has no examples");
            assert!(command.get_about().is_some(), "{path} does not say what it does");
            let long = help.lines().find(|line| line.chars().count() > HELP_COLUMNS);
            assert_eq!(long, None, "{path}: broken in two, it cannot be read");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path}: {} is not explained", argument.get_id());
            }
            command
                .get_subcommands()
                .filter(|sub| sub.get_name() != "help")
                .for_each(|sub| visit(sub, &path));
        }
        let command = CommandLine::command();
        visit(&command, "");
        command.debug_assert();
    }

    #[test]
    fn causes_follow_and_are_not_said_twice() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot start: {0}")]
        struct Outer(#[source] std::io::Error);
        let said = with_causes(&Outer(std::io::Error::other("the disk is full")));
        assert_eq!(said, "cannot start: the disk is full");
    }
}
