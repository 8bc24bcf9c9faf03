//! `staffetta import`: takes over what other programs were told. Needs no server and changes nothing: it prints.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use server::rule_import::spamassassin;

use super::{Outcome, print_all};

/// Largest file that is read, in octets.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Take over rules of another program
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta import spamassassin local.cf > rules.toml     then name it in [antispam] rules")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print SpamAssassin's rules as rules of this program
    #[command(after_help = "\
Examples:
  staffetta import spamassassin /etc/spamassassin/local.cf > /etc/staffetta/rules.toml
  staffetta import spamassassin 20_phrases.cf 50_scores.cf > phrases.toml

header, body, rawbody, uri, mimeheader, meta, score and describe are taken over. What cannot be is
told on standard error, line by line: patterns that look ahead or behind, functions of plugins,
counts of matches.")]
    Spamassassin {
        /// Files with rules, read as one; - for standard input
        #[arg(required = true, value_name = "FILE.cf")]
        files: Vec<PathBuf>,
    },
}

pub(crate) fn run(args: &Args) -> Outcome {
    let What::Spamassassin { files } = &args.what;
    let mut text = String::new();
    let mut begins = Vec::new();
    for file in files {
        let (name, octets) = (file.display(), read(file)?);
        begins.push((text.lines().count(), name.to_string()));
        text.push_str(&String::from_utf8_lossy(&octets));
        text.push('\n');
    }
    let imported = spamassassin(&text);
    print_all(imported.toml.as_bytes())?;
    for left in &imported.left {
        let (before, file) =
            begins.iter().rev().find(|(before, _)| *before < left.line).cloned().unwrap_or_default();
        // Of a file that is another than was thought.
        let what: String = left.what.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        eprintln!("{file}:{}: {what}: {}", left.line - before, left.why);
    }
    eprintln!("{} rules taken over, {} lines left out", imported.rules, imported.left.len());
    Ok(ExitCode::SUCCESS)
}

/// All of a file, within bounds.
fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut octets)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut octets))
    };
    let length = read.map_err(|error| format!("{}: {error}", file.display()))?;
    if u64::try_from(length).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(format!("{}: larger than {FILE_BYTES_MAX} octets", file.display()));
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let what = What::Spamassassin { files: vec![PathBuf::from("no-such-file.cf")] };
        assert!(run(&Args { what }).is_err_and(|error| error.to_string().contains("no-such-file.cf")));
    }
}
