//! `staffetta score`: what the classifier says of messages in files. Needs no server.

use std::io::{self, BufRead as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use server::learning::{Model, features, load, named};

use super::learn::{FilterPlace, messages};
use super::{Outcome, print_all};

/// Reasons that are shown.
const REASONS: usize = 15;
/// Lines that are gathered before they are printed.
const LINES: usize = 200;

/// How likely messages are spam, by what was learnt
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta score message.eml
  staffetta score --explain message.eml                what decided
  find ~/Maildir/cur -type f | staffetta score -       file names on standard input
  staffetta score ~/Maildir | sort -k2 -g | tail       the most suspicious

A line for each: path, score from 0 to 1, and ham, unsure or spam, with tabs between. Of a mailbox file every message
has its line. Checks other than the classifier have no part in this score.")]
pub(crate) struct Args {
    /// Files with one message, mailbox files, Maildirs, folders; - for file names on standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// By the classifier alone; nothing else has a part in it yet
    #[arg(long)]
    classifier_only: bool,
    /// Print what decided, too
    #[arg(long)]
    explain: bool,
    /// Print one object a line instead, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: FilterPlace,
}

/// What decided about messages: `staffetta bayes explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Explained {
    /// Files with one message, mailbox files, Maildirs, folders; - for file names on standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print one object a line instead, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: FilterPlace,
}

impl From<Explained> for Args {
    fn from(Explained { paths, json, place }: Explained) -> Self {
        Self { paths, classifier_only: true, explain: true, json, place }
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    let (folder, _) = args.place.find()?;
    let model = load(&folder)?.ok_or("too little was learnt to judge: see staffetta bayes status")?;
    let mut scoring = Scoring { model: &model, args, text: String::new(), lines: 0, failed: false };
    for path in &args.paths {
        if path == Path::new("-") {
            for line in io::stdin().lock().lines() {
                scoring.file(Path::new(&line?))?;
            }
        } else {
            for file in messages::files(path).map_err(|error| format!("{}: {error}", path.display()))? {
                scoring.file(&file)?;
            }
        }
    }
    scoring.flush()?;
    Ok(if scoring.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

struct Scoring<'a> {
    model: &'a Model,
    args: &'a Args,
    text: String,
    lines: usize,
    failed: bool,
}

impl Scoring<'_> {
    fn file(&mut self, path: &Path) -> io::Result<()> {
        let (model, args) = (self.model, self.args);
        let text = &mut self.text;
        if let Err(error) = messages::each(path, |message| text.push_str(&line(model, args, path, message))) {
            eprintln!("{}: {error}", path.display());
            self.failed = true;
        }
        self.lines += 1;
        if self.lines >= LINES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        print_all(self.text.as_bytes())?;
        self.text.clear();
        self.lines = 0;
        Ok(())
    }
}

fn line(model: &Model, args: &Args, path: &Path, message: &[u8]) -> String {
    let path = path.display();
    if !args.explain {
        let opinion = model.judge(&features(message));
        let verdict = opinion.verdict.as_str();
        return if args.json {
            let known = opinion.coverage;
            let object =
                json!({"path": path.to_string(), "score": opinion.score, "verdict": verdict, "known": known});
            format!("{object}\n")
        } else {
            format!("{path}\t{:.12}\t{verdict}\n", opinion.score)
        };
    }
    let (features, names) = named(message);
    let opinion = model.judge(&features);
    let reasons = model.reasons(&features, REASONS);
    let name = |reason: &server::learning::Reason| {
        names.get(&(reason.group, reason.id)).cloned().unwrap_or_else(|| "?".to_owned())
    };
    if args.json {
        let reasons: Vec<_> =
            reasons.iter().map(|reason| json!({"weight": reason.weight, "feature": name(reason)})).collect();
        let (score, verdict, known) = (opinion.score, opinion.verdict.as_str(), opinion.coverage);
        let object = json!({"path": path.to_string(), "score": score, "verdict": verdict, "known": known, "reasons": reasons});
        return format!("{object}\n");
    }
    let mut text = format!("{path}\t{:.12}\t{}\n", opinion.score, opinion.verdict.as_str());
    text.push_str(&format!("  {:.0} % of its text is known\n", opinion.coverage * 100.0));
    for reason in &reasons {
        // Words of a stranger, on a terminal.
        let shown: String = name(reason).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        text.push_str(&format!("  {:+.3}  {shown}\n", reason.weight));
    }
    text
}
