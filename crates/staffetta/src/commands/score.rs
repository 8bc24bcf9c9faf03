//! `staffetta score`: what checks of contents and the classifier say of messages in files. Needs no server and no network.

use std::cell::Cell;
use std::ffi::OsString;
use std::io::{self, BufRead as _};
use std::num::NonZero;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use serde_json::json;
use server::learning::{
    Correction, Features, Model, Opinion, Owner, Reason, Verdict, called, features, load, load_correction,
    named,
};
use server::scoring::{Scored, Scorer, came};
use tokio::runtime::Runtime;

use super::check::with_crlf;
use super::learn::{FilterPlace, messages};
use super::{Outcome, print_all};

/// Reasons that are shown.
const REASONS: usize = 15;
/// Files that are gathered, scored side by side, and printed in their order.
const FILES: usize = 200;
/// Threads that score, at most.
const THREADS_MAX: usize = 16;

/// How much speaks against messages, by what they say and by what was learnt
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta score message.eml
  staffetta score --explain message.eml                every symbol
  staffetta score --for joe@example.test message.eml   as his own filter and the shared one see it
  staffetta score --classifier-only message.eml        how likely it is spam, by what was learnt
  find ~/Maildir/cur -type f | staffetta score -       file names on standard input
  find . -name '*.eml' -print0 | staffetta score -0 -  whatever is in the names
  staffetta score ~/Maildir | sort -k2 -g | tail       the most suspicious

A line for each: path, points, and ham, unsure or spam, with tabs between. Of a mailbox file every
message has its line. The points are those of the header, the parts, the text, the links and the
attachments, and of the classifier when it has learnt enough: what a server gives besides for who
sends and from where is not in them, and nothing is looked up. Spam is what reaches the threshold
`tag`, ham what stays below `greylist`. With --classifier-only the score is from 0 to 1.")]
pub(crate) struct Args {
    /// Files with one message, mailbox files, Maildirs, folders; - for such names on standard input, a line each
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Names on standard input end with NUL, as those of find -print0
    #[arg(short = '0', long)]
    null: bool,
    /// By the classifier alone
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
    /// Files with one message, mailbox files, Maildirs, folders; - for such names on standard input, a line each
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Names on standard input end with NUL, as those of find -print0
    #[arg(short = '0', long)]
    null: bool,
    /// Print one object a line instead, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: FilterPlace,
}

impl From<Explained> for Args {
    fn from(Explained { paths, null, json, place }: Explained) -> Self {
        Self { paths, null, classifier_only: true, explain: true, json, place }
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    let judging = if args.classifier_only {
        let classifier = Classifier::load(&args.place)?;
        Judging::Classifier(classifier.ok_or("too little was learnt to judge: see staffetta bayes status")?)
    } else {
        whole(&args.place)?
    };
    let mut scoring = Scoring { judging: &judging, args, waiting: Vec::new(), failed: false };
    for path in &args.paths {
        if path == Path::new("-") {
            for name in io::stdin().lock().split(if args.null { b'\0' } else { b'\n' }) {
                let name = name?;
                if !name.is_empty() {
                    scoring.all_of(Path::new(&OsString::from_vec(name)))?;
                }
            }
        } else {
            scoring.all_of(path)?;
        }
    }
    scoring.flush()?;
    Ok(if scoring.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Who judges.
enum Judging {
    Classifier(Classifier),
    /// All checks of contents.
    Whole(Runtime, Box<Scorer>),
}

/// What was learnt: by all, and by somebody.
struct Classifier {
    shared: Option<Box<Model>>,
    own: Option<(Owner, Box<Correction>)>,
}

impl Classifier {
    /// None when neither has learnt enough.
    fn load(place: &FilterPlace) -> Result<Option<Self>, Box<dyn std::error::Error>> {
        let pupil = place.pupil()?;
        let (shared, own) = match pupil.owner {
            None => (load(&pupil.folder)?.map(Box::new), None),
            Some(owner) => {
                let model = load_correction(&pupil.folder)?.map(Box::new);
                let shared = load(&pupil.shared)?.map(Box::new);
                if model.is_none() {
                    eprintln!(
                        "staffetta: the filter of {owner} says nothing yet: see staffetta bayes status --for {owner}"
                    );
                }
                (shared, model.map(|model| (owner, model)))
            }
        };
        Ok((shared.is_some() || own.is_some()).then_some(Self { shared, own }))
    }

    fn judge(&self, features: &Features) -> Opinion {
        let shared = self.shared.as_ref().map(|model| model.judge(features));
        match (&self.own, shared) {
            (Some((_, own)), shared) => own.together(self.shared.as_deref().zip(shared.as_ref()), features),
            (None, Some(shared)) => shared,
            // There is one of them.
            (None, None) => Opinion { score: 0.5, cautious: 0.5, coverage: 0.0, verdict: Verdict::Unsure },
        }
    }

    /// What decided, by each of them.
    fn reasons(&self, features: &Features) -> Vec<(String, Vec<Reason>)> {
        let mut all = Vec::new();
        if let Some((owner, own)) = &self.own {
            let moved = own.moves(self.shared.as_deref(), features);
            all.push((format!("{moved:+.2} by {}", called(Some(owner))), own.reasons(features, REASONS)));
        }
        if let Some(shared) = &self.shared {
            let likely = shared.judge(features).cautious * 100.0;
            all.push((format!("{likely:.2} % by {}", called(None)), shared.reasons(features, REASONS)));
        }
        all
    }
}

/// With a folder named, by the defaults: then no configuration is needed.
fn whole(place: &FilterPlace) -> Result<Judging, Box<dyn std::error::Error>> {
    // Of its own threads it needs one, for time limits: who scores works on the thread that asks.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let scorer = match &place.filter {
        Some(folder) => runtime.block_on(Scorer::new(None, Some(folder)))?,
        None => {
            let loaded = place.config.load().ok_or("the configuration cannot be read")?;
            let scorer = runtime.block_on(Scorer::new(Some(&loaded), None))?;
            match place.pupil()?.owner {
                Some(owner) => scorer.for_mail_of(&loaded, &owner),
                None => scorer,
            }
        }
    };
    Ok(Judging::Whole(runtime, Box::new(scorer)))
}

struct Scoring<'a> {
    judging: &'a Judging,
    args: &'a Args,
    waiting: Vec<PathBuf>,
    failed: bool,
}

/// The lines of a file, and why there are not more of them.
type Told = (Vec<u8>, Option<io::Error>);

impl Scoring<'_> {
    /// All messages that a path stands for. What cannot be read is told, and keeps nobody from scoring the others.
    fn all_of(&mut self, path: &Path) -> io::Result<()> {
        let found = messages::files(path);
        for trouble in &found.troubles {
            self.fails(trouble);
        }
        for file in found.files {
            self.waiting.push(file);
            if self.waiting.len() >= FILES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn fails(&mut self, why: &str) {
        eprintln!("staffetta: {why}");
        self.failed = true;
    }

    /// Scores what waits, with all processors, and prints it in its order.
    fn flush(&mut self) -> io::Result<()> {
        let files = std::mem::take(&mut self.waiting);
        let told: Vec<OnceLock<Told>> = files.iter().map(|_| OnceLock::new()).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            while let at = next.fetch_add(1, Ordering::Relaxed)
                && let (Some(path), Some(told)) = (files.get(at), told.get(at))
            {
                told.get_or_init(|| of_file(self.judging, self.args, path));
            }
        };
        let threads = available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX).min(files.len());
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        let mut text = Vec::new();
        for (path, told) in files.iter().zip(told) {
            let Some((lines, trouble)) = told.into_inner() else { continue };
            text.extend_from_slice(&lines);
            if let Some(error) = trouble {
                self.fails(&format!("{}: {error}", path.display()));
            }
        }
        print_all(&text)
    }
}

fn of_file(judging: &Judging, args: &Args, path: &Path) -> Told {
    let (mut text, is_empty) = (Vec::new(), Cell::new(true));
    let mut put = |message: &[u8]| {
        is_empty.set(false);
        match judging {
            Judging::Classifier(classifier) => line(classifier, args, path, message, &mut text),
            Judging::Whole(runtime, scorer) => {
                // As when it came.
                let scoring = scorer.score(with_crlf(message), came(message));
                whole_line(&runtime.handle().block_on(scoring), args, path, &mut text);
            }
        }
    };
    let read = messages::each(path, &mut put);
    // Who counts lines finds one for each file.
    if read.is_ok() && is_empty.get() {
        put(&[]);
    }
    (text, read.err())
}

/// The first columns of a line. A file's name stands there as it is, but for what would part lines or columns or steer a
/// terminal.
fn columns(path: &Path, rest: &str, text: &mut Vec<u8>) {
    text.extend(path.as_os_str().as_bytes().iter().map(|octet| match octet {
        0..=0x1f | 0x7f => b'?',
        octet => *octet,
    }));
    text.extend_from_slice(format!("\t{rest}\n").as_bytes());
}

fn whole_line(scored: &Scored, args: &Args, path: &Path, text: &mut Vec<u8>) {
    let called = scored.called.as_str();
    if args.json {
        let lines = scored.lines.iter();
        let symbols: Vec<_> = lines
            .map(|line| json!({"symbol": line.symbol, "points": line.points.as_f64(), "evidence": line.evidence}))
            .collect();
        let (path, score) = (path.display().to_string(), scored.points.as_f64());
        let object = json!({"path": path, "score": score, "verdict": called, "symbols": symbols});
        text.extend_from_slice(format!("{object}\n").as_bytes());
        return;
    }
    columns(path, &format!("{:.3}\t{called}", scored.points.as_f64()), text);
    if args.explain {
        for line in &scored.lines {
            let evidence =
                if line.evidence.is_empty() { String::new() } else { format!("  [{}]", line.evidence) };
            text.extend_from_slice(format!("  {:>+8}  {}{evidence}\n", line.points, line.symbol).as_bytes());
        }
    }
}

fn line(classifier: &Classifier, args: &Args, path: &Path, message: &[u8], text: &mut Vec<u8>) {
    if !args.explain {
        let opinion = classifier.judge(&features(message));
        let verdict = opinion.verdict.as_str();
        if args.json {
            let (path, known) = (path.display().to_string(), opinion.coverage);
            let object = json!({"path": path, "score": opinion.score, "verdict": verdict, "known": known});
            text.extend_from_slice(format!("{object}\n").as_bytes());
        } else {
            columns(path, &format!("{:.12}\t{verdict}", opinion.score), text);
        }
        return;
    }
    let (features, names) = named(message);
    let opinion = classifier.judge(&features);
    let reasons = classifier.reasons(&features);
    let name =
        |reason: &Reason| names.get(&(reason.group, reason.id)).cloned().unwrap_or_else(|| "?".to_owned());
    let are_two = classifier.own.is_some();
    if args.json {
        let reasons =
            reasons.iter().flat_map(|(who, reasons)| reasons.iter().map(move |reason| (who, reason)));
        let reasons: Vec<_> = reasons
            .map(|(who, reason)| {
                let mut object = json!({"weight": reason.weight, "feature": name(reason)});
                if let Some(object) = object.as_object_mut().filter(|_| are_two) {
                    object.insert("by".to_owned(), json!(who));
                }
                object
            })
            .collect();
        let object = json!({
            "path": path.display().to_string(), "score": opinion.score, "verdict": opinion.verdict.as_str(),
            "cautious": opinion.cautious, "known": opinion.coverage, "reasons": reasons,
        });
        text.extend_from_slice(format!("{object}\n").as_bytes());
        return;
    }
    columns(path, &format!("{:.12}\t{}", opinion.score, opinion.verdict.as_str()), text);
    let mut said = format!(
        "  {:.0} % of its text is known, which leaves {:.2} %: what BAYES_* go by\n",
        opinion.coverage * 100.0,
        opinion.cautious * 100.0
    );
    for (who, reasons) in reasons {
        if are_two {
            said.push_str(&format!("  {who}:\n"));
        }
        for reason in &reasons {
            // Words of a stranger, on a terminal.
            let shown: String = name(reason).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            said.push_str(&format!("  {:+.3}  {shown}\n", reason.weight));
        }
    }
    text.extend_from_slice(said.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const LETTER: &str =
        "From: a@b.test\nSubject: cheap viagra\nDate: Sat, 18 Nov 2026 10:26:40 +0000\n\nno prescription\n";

    fn lines(args: &Args) -> String {
        let judging = whole(&args.place).unwrap();
        let Judging::Whole(runtime, scorer) = judging else { panic!("the whole was asked for") };
        let scored = runtime.block_on(scorer.score(with_crlf(LETTER.as_bytes()), came(LETTER.as_bytes())));
        let mut text = Vec::new();
        whole_line(&scored, args, Path::new("x.eml"), &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_name_is_printed_as_it_is_and_breaks_no_line() {
        let mut text = Vec::new();
        columns(Path::new(std::ffi::OsStr::from_bytes(b"a b\n\t\x1b[31m\xe9.eml")), "1.000\tham", &mut text);
        assert_eq!(text, b"a b???[31m\xe9.eml\t1.000\tham\n");
    }

    #[test]
    fn the_whole_score_is_told_with_or_without_its_symbols_and_needs_no_classifier() {
        use clap::Parser as _;
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            args: Args,
        }
        let folder = tempfile::tempdir().unwrap();
        let with = |more: &[&str]| {
            let filter = folder.path().to_str().unwrap();
            let words = ["score", "--filter", filter, "x.eml"].into_iter().chain(more.iter().copied());
            Command::parse_from(words).args
        };
        // PILLS, no Message-ID, neither To nor Cc.
        let plain = lines(&with(&[]));
        assert_eq!(plain, "x.eml\t2.100\tham\n");
        let explained = lines(&with(&["--explain"]));
        assert!(
            explained.contains("    +1.5  PILLS\n") && explained.contains("    +0.5  MESSAGE_ID_MISSING"),
            "{explained}"
        );
        let object: serde_json::Value = serde_json::from_str(&lines(&with(&["--json"]))).unwrap();
        assert_eq!((&object["score"], &object["symbols"][0]["symbol"]), (&json!(2.1), &json!("PILLS")));
    }
}
