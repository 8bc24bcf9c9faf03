//! `staffetta learn`: teaches the classifier what is spam and what is ham. Needs no server; one that runs takes the new
//! model up with the next message.

mod junk;
pub(super) mod messages;
pub(super) mod report;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use server::learning::{Class, Filter, LEARNT_MIN, Learnt, READ_BYTES_MAX, Read, SAMPLES_MAX, read, waiting};

use super::{ConfigFile, Outcome, print_all};
use report::{Report, Reported};

/// Files that are read before they are put on disk together.
const BATCH: usize = 5_000;
/// Files between two looks of the progress bar.
const SHOWN_EVERY: usize = 50;

/// Teach the classifier: this is spam, this is not
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta learn --ham ~/Maildir                      what was kept: its inbox, not its subfolders
  staffetta learn --spam ~/Maildir/.Junk old-junk.mbox
  staffetta learn --spam --later - < message.eml       from an IMAP server that moves mail to Junk
  staffetta learn --junk-folders                       what users have moved there, and out of there
  staffetta learn --spam --report message.eml          and tell the Pyzor servers of the configuration
  staffetta learn --forget message.eml                 it was neither

Nothing is judged before 200 of each are learnt; some thousands of each, of the last months, are good. A message is learnt
once; learnt again as the other, it changes sides. Kept are numbers that stand for words, not the words.")]
#[command(group = clap::ArgGroup::new("what").required(true).args(["spam", "ham", "forget", "junk_folders"]))]
pub(crate) struct Args {
    /// They are spam
    #[arg(long)]
    spam: bool,
    /// They are not spam
    #[arg(long)]
    ham: bool,
    /// Take back what was learnt from them
    #[arg(long)]
    forget: bool,
    /// Learn from the Junk folders of all Maildirs, as the server does with [antispam.learn] junk_folders_minutes
    #[arg(long, conflicts_with_all = ["paths", "later", "filter"])]
    junk_folders: bool,
    /// Only put them down: the server learns them within a minute, and nobody waits for it
    #[arg(long, conflicts_with = "forget")]
    later: bool,
    /// Report them to the Pyzor servers of [[antispam.scanner]] too, spam as spam and ham as none: a digest, no word of them
    #[arg(long, conflicts_with_all = ["forget", "later", "junk_folders"])]
    report: bool,
    /// Files with one message, mailbox files, Maildirs, folders with all that is in them; - for standard input
    #[arg(required_unless_present = "junk_folders", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print an object instead, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: FilterPlace,
}

/// Which filter a command works with.
#[derive(Debug, clap::Args)]
pub(super) struct FilterPlace {
    #[command(flatten)]
    pub(super) config: ConfigFile,
    /// The filter's folder; bayes in the configured data folder when not given
    #[arg(long, value_name = "FOLDER")]
    pub(super) filter: Option<PathBuf>,
}

impl FilterPlace {
    /// The folder, and how many messages are kept there.
    pub(super) fn find(&self) -> Result<(PathBuf, u64), Box<dyn std::error::Error>> {
        match &self.filter {
            Some(folder) => Ok((folder.clone(), SAMPLES_MAX)),
            None => configured(&self.config),
        }
    }
}

/// The filter of a server: its folder, and how many messages are kept there.
pub(super) fn configured(config: &ConfigFile) -> Result<(PathBuf, u64), Box<dyn std::error::Error>> {
    let loaded = config.load().ok_or("the configuration cannot be read")?;
    Ok((server::learning::learnt_folder(&loaded), loaded.config.antispam.bayes.samples_max))
}

/// Tells when what waited to be learnt could not be read, and is out of the way now.
fn set_aside(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(aside) = waiting::set_aside(folder)? {
        eprintln!(
            "staffetta: what waited to be learnt could not be read, and was set aside: {}",
            aside.display()
        );
    }
    Ok(())
}

/// Learns messages that were read already, and says what became of them.
pub(super) fn teach(
    (folder, samples_max): (PathBuf, u64),
    messages: Vec<Read>,
    class: Class,
) -> Result<String, Box<dyn std::error::Error>> {
    let mut done = Done::default();
    let mut filter = Filter::open(&folder, true)?;
    set_aside(&folder)?;
    waiting::take_in(&folder, &mut filter, samples_max)?;
    done.take(&mut filter, messages, Some(class), samples_max)?;
    if filter.is_stale() {
        filter.fit()?;
    }
    Ok(done.text(&filter, false))
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.junk_folders {
        return junk::run(&args.place.config, args.json);
    }
    let (folder, samples_max) = args.place.find()?;
    if args.later {
        return later(&folder, args);
    }
    let class = if args.spam { Class::Spam } else { Class::Ham };
    let mut report = args.report.then(|| Report::prepare(&args.place.config)).transpose()?;
    let mut files = Vec::new();
    let mut piped = Vec::new();
    for path in &args.paths {
        if path == Path::new("-") {
            let bytes_max = if args.report { report::READ_BYTES_MAX } else { READ_BYTES_MAX };
            messages::each_within(&mut io::stdin().lock(), bytes_max, &mut |message| {
                piped.push(read(message));
                report.iter_mut().for_each(|report| report.take(message));
            })?;
        } else {
            files.extend(messages::files(path).map_err(|error| format!("{}: {error}", path.display()))?);
        }
    }
    let mut done = Done::default();
    let bar = Bar::new(files.len());
    let mut filter = Filter::open(&folder, true)?;
    set_aside(&folder)?;
    // In the order in which it was said: what waits came before.
    waiting::take_in(&folder, &mut filter, samples_max)?;
    done.take(&mut filter, piped, (!args.forget).then_some(class), samples_max)?;
    for batch in files.chunks(BATCH) {
        let (read, failed) = read_all(batch, &bar);
        for problem in &failed {
            eprintln!("{problem}");
        }
        done.failed += failed.len();
        done.take(&mut filter, read, (!args.forget).then_some(class), samples_max)?;
    }
    bar.end();
    let is_stale = filter.is_stale();
    if is_stale {
        filter.fit()?;
    }
    if let Some(mut report) = report {
        // What cannot be read was told of above.
        let each =
            |file: &PathBuf| messages::each_up_to(file, report::READ_BYTES_MAX, |m| report.take(m)).is_ok();
        files.iter().map(each).for_each(drop);
        done.reported = Some(report.send(class));
    }
    let text = if args.json { done.object(&filter, is_stale)? } else { done.text(&filter, args.forget) };
    print_all(text.as_bytes())?;
    if let Some(reported) = done.reported.filter(|reported| reported.failed > 0) {
        return Ok(reported.code());
    }
    Ok(if done.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Lets messages wait to be learnt.
fn later(folder: &Path, args: &Args) -> Outcome {
    let class = if args.spam { Class::Spam } else { Class::Ham };
    let mut messages_read = Vec::new();
    for path in &args.paths {
        if path == Path::new("-") {
            messages::each_of(&mut io::stdin().lock(), &mut |message| {
                messages_read.push((read(message), class));
            })?;
            continue;
        }
        let at = |error: io::Error| format!("{}: {error}", path.display());
        for file in messages::files(path).map_err(at)? {
            messages::each(&file, |message| messages_read.push((read(message), class))).map_err(at)?;
        }
    }
    let count = messages_read.len();
    set_aside(folder)?;
    if !waiting::put(folder, messages_read)? {
        let max = waiting::WAITING_MAX;
        return Err(format!("{max} messages wait to be learnt already; learn without --later").into());
    }
    let text = if args.json {
        format!("{}\n", json!({ "waiting": count }))
    } else {
        format!("{count} to be learnt\n")
    };
    print_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What was done so far.
#[derive(Debug, Default)]
struct Done {
    learnt: Learnt,
    forgotten: u64,
    failed: usize,
    reported: Option<Reported>,
}

impl Done {
    /// Learns, as `class` or, without one, forgets.
    fn take(
        &mut self,
        filter: &mut Filter,
        messages: Vec<Read>,
        class: Option<Class>,
        samples_max: u64,
    ) -> Result<(), Box<dyn std::error::Error>> {
        match class {
            Some(class) => {
                let learnt = filter.learn(messages, class, samples_max)?;
                self.learnt.new += learnt.new;
                self.learnt.known += learnt.known;
                self.learnt.changed += learnt.changed;
                self.learnt.forgotten += learnt.forgotten;
            }
            None => self.forgotten += filter.forget(&messages)?,
        }
        Ok(())
    }

    fn object(&self, filter: &Filter, is_fitted: bool) -> Result<String, serde_json::Error> {
        let (Learnt { new, known, changed, forgotten }, counts) = (self.learnt, filter.samples().counts());
        let object = json!({
            "learnt": new, "known": known, "changed": changed, "given_way": forgotten,
            "forgotten": self.forgotten, "failed": self.failed,
            "ham": counts.ham, "spam": counts.spam, "fitted": is_fitted,
            "reported": self.reported.map(|reported| reported.told),
        });
        Ok(serde_json::to_string(&object)? + "\n")
    }

    fn text(&self, filter: &Filter, has_forgotten: bool) -> String {
        let (Learnt { new, known, changed, .. }, counts) = (self.learnt, filter.samples().counts());
        let mut text = if has_forgotten {
            format!("{} forgotten", self.forgotten)
        } else {
            format!("{new} learnt, {known} known before, {changed} changed sides")
        };
        text.push_str(&format!("; {} ham and {} spam altogether\n", counts.ham, counts.spam));
        if counts.ham.min(counts.spam) < LEARNT_MIN {
            text.push_str(&format!("nothing is judged before there are {LEARNT_MIN} of each\n"));
        }
        text.extend(self.reported.map(Reported::text));
        text
    }
}

/// Reads messages on all processors, in the order of the files; and what could not be read.
fn read_all(files: &[PathBuf], bar: &Bar) -> (Vec<Read>, Vec<String>) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = files.len().div_ceil(threads).max(1);
    let part = |files: &[PathBuf]| {
        let (mut all, mut failed) = (Vec::with_capacity(files.len()), Vec::new());
        for path in files {
            if let Err(error) = messages::each(path, |message| all.push(read(message))) {
                failed.push(format!("{}: {error}", path.display()));
            }
            bar.step();
        }
        (all, failed)
    };
    std::thread::scope(|scope| {
        let parts: Vec<_> =
            files.chunks(share).map(|files| (files, scope.spawn(move || part(files)))).collect();
        let (mut all, mut failed) = (Vec::new(), Vec::new());
        for (files, thread) in parts {
            match thread.join() {
                Ok((read, wrong)) => {
                    all.extend(read);
                    failed.extend(wrong);
                }
                Err(_) => {
                    failed.extend(files.iter().map(|path| format!("{}: cannot be parsed", path.display())));
                }
            }
        }
        (all, failed)
    })
}

/// How far it is, on a terminal.
#[derive(Debug)]
struct Bar {
    all: usize,
    done: AtomicUsize,
    is_shown: bool,
}

impl Bar {
    fn new(all: usize) -> Self {
        Self { all, done: AtomicUsize::new(0), is_shown: io::stderr().is_terminal() && all > SHOWN_EVERY }
    }

    fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if self.is_shown && done.is_multiple_of(SHOWN_EVERY) {
            let cells = 30 * done / self.all.max(1);
            let bar: String = (0..30).map(|cell| if cell < cells { '#' } else { '.' }).collect();
            // Only for the eye: that it cannot be shown is no reason to stop.
            let _ = write!(io::stderr().lock(), "\r{bar} {done} of {}", self.all);
        }
    }

    fn end(&self) {
        if self.is_shown {
            let _ = write!(io::stderr().lock(), "\r{:60}\r", "");
        }
    }
}
