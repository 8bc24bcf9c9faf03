//! `staffetta docs`: shell completions, manual pages and the configuration reference, all made from the program itself.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::CommandFactory as _;

use super::{CommandLine, Outcome};

/// Completions, manual pages and the reference, made from this very program
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta docs completions bash > /etc/bash_completion.d/staffetta
  staffetta docs man /usr/local/share/man/man1")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print the completions for a shell
    #[command(after_help = "\
Examples:
  staffetta docs completions bash > /etc/bash_completion.d/staffetta
  staffetta docs completions zsh > ~/.zfunc/_staffetta
  staffetta docs completions fish > ~/.config/fish/completions/staffetta.fish")]
    Completions {
        /// The shell to write for
        shell: clap_complete::Shell,
    },
    /// Write a manual page for every command into a folder
    #[command(after_help = "\
Examples:
  staffetta docs man /usr/local/share/man/man1
  staffetta docs man ./man && man -l ./man/staffetta-queue.1")]
    Man {
        /// The folder; it is made when it is not there
        folder: PathBuf,
    },
}

pub(crate) fn run(args: Args) -> Outcome {
    match args.what {
        What::Completions { shell } => {
            print_all(&completions(shell))?;
        }
        What::Man { folder } => {
            let pages = write_manual(&folder)?;
            println!("{} manual pages written to {}", pages.len(), folder.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "staffetta", &mut text);
    text
}

/// Writes to standard output; a reader that has gone away (`| head`) is no error.
fn print_all(text: &[u8]) -> std::io::Result<()> {
    match std::io::stdout().lock().write_all(text) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// One page a command, `staffetta-queue-list.1` and so on; returns their names.
fn write_manual(folder: &Path) -> std::io::Result<Vec<String>> {
    std::fs::create_dir_all(folder)?;
    let mut command = CommandLine::command().disable_help_subcommand(true);
    command.build();
    let mut written = Vec::new();
    write_page(&command, folder, &mut written)?;
    Ok(written)
}

fn write_page(command: &clap::Command, folder: &Path, written: &mut Vec<String>) -> std::io::Result<()> {
    let page = clap_mangen::Man::new(command.clone());
    let name = page.get_filename();
    let mut text = Vec::new();
    page.render(&mut text)?;
    std::fs::write(folder.join(&name), text)?;
    written.push(name);
    for sub in command.get_subcommands() {
        write_page(sub, folder, written)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_completes_the_commands() {
        use clap_complete::Shell;
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = String::from_utf8(completions(shell)).unwrap();
            assert!(text.contains("docs"), "{shell}");
        }
    }

    #[test]
    fn the_manual_has_a_page_for_every_command() {
        let folder = tempfile::tempdir().unwrap();
        let pages = write_manual(folder.path()).unwrap();
        assert!(pages.contains(&"staffetta.1".to_owned()), "{pages:?}");
        assert!(pages.contains(&"staffetta-docs-man.1".to_owned()), "{pages:?}");
        let page = std::fs::read_to_string(folder.path().join("staffetta-docs-man.1")).unwrap();
        assert!(page.contains("Examples"), "{page}");
    }
}
