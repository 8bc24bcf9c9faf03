//! `staffetta learn`: teaches the classifier what is spam and what is ham. Needs no server; one that runs takes the new
//! model up with the next message.

mod junk;
mod lesson;
pub(super) mod messages;
pub(super) mod report;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use mail::Address;
use serde_json::json;
use server::learning::{
    Class, Filters, LearnError, Owner, Pupil, READ_BYTES_MAX, Read, SAMPLES_MAX, School, read, waiting,
};
use tables::address::without_tag;

use super::{ConfigFile, Outcome, print_all};
use lesson::Lesson;
use report::{Report, Reported};

/// Files that are read before they are put on disk together.
const BATCH: usize = 5_000;
/// Files that one thread reads before it takes more: letters differ much in size.
const PIECE: usize = 25;
/// Files between two looks of the progress bar.
const SHOWN_EVERY: usize = 50;

/// Teach the classifier: this is spam, this is not
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  staffetta learn --ham ~/Maildir                      what was kept: its inbox, not its subfolders
  staffetta learn --spam ~/Maildir/.Junk old-junk.mbox
  staffetta learn --spam --later - < message.eml       from an IMAP server that moves mail to Junk
  staffetta learn --ham --for joe@example.test x.eml   joe wants such letters, whatever others say
  staffetta learn --junk-folders                       what users have moved there, and out of there
  staffetta learn --spam --report message.eml          and tell the configured Pyzor servers
  staffetta learn --forget message.eml                 it was neither

Nothing is judged before 200 of each are learnt; some thousands of each, of the last months, are
good. A message is learnt once; learnt again as the other, it changes sides. Kept are numbers that
stand for words, not the words.")]
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
    #[arg(long, conflicts_with_all = ["paths", "later", "filter", "whose"])]
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
    /// The filter of this account, or of this domain, on top of the shared one: see [antispam.learn] filters
    #[arg(long = "for", value_name = "ADDRESS|DOMAIN", conflicts_with = "filter", value_parser = owner)]
    pub(super) whose: Option<Owner>,
}

fn owner(text: &str) -> Result<Owner, String> {
    Owner::parse(text).map_err(|error| error.to_string())
}

impl FilterPlace {
    /// The filter that is named: somebody's own, that in a folder, or the one that all share.
    pub(super) fn pupil(&self) -> Result<Pupil, Failure> {
        match (&self.filter, &self.whose) {
            (Some(folder), _) => Ok(in_folder(folder)),
            (None, None) => Ok(configured(&self.config)?.shared()),
            (None, Some(owner)) => {
                let (school, delimiter) = configured_with_delimiter(&self.config)?;
                Ok(school.of(&untagged(owner, delimiter))?)
            }
        }
    }

    /// The filter that is named, to teach it alone, and where there must be room for it.
    pub(super) fn pupil_to_teach(&self) -> Result<(Option<School>, Pupil), Failure> {
        let (Some(owner), None) = (&self.whose, &self.filter) else { return Ok((None, self.pupil()?)) };
        let loaded = self.config.load().ok_or(UNREADABLE)?;
        let owner = ours(&loaded, owner)?;
        let school = server::learning::school(&loaded);
        let pupil = school.of(&owner)?;
        Ok((Some(school), pupil))
    }

    /// Who learns what is said here, and where there must be room for them.
    fn lesson(&self) -> Result<(Option<School>, Vec<Pupil>), Failure> {
        if let Some(folder) = &self.filter {
            return Ok((None, vec![in_folder(folder)]));
        }
        let loaded = self.config.load().ok_or(UNREADABLE)?;
        let school = server::learning::school(&loaded);
        let pupils = match &self.whose {
            None => vec![school.shared()],
            Some(owner) => school.pupils_of(&ours(&loaded, owner)?)?,
        };
        Ok((Some(school), pupils))
    }
}

fn in_folder(folder: &Path) -> Pupil {
    Pupil::alone(folder.to_owned(), SAMPLES_MAX)
}

type Failure = Box<dyn std::error::Error>;

/// Said below the reasons.
const UNREADABLE: &str = "the configuration cannot be read";

/// Mail to `joe+news@` comes to joe, and is judged by joe's filter.
pub(super) fn untagged(owner: &Owner, delimiter: Option<char>) -> Owner {
    match owner {
        Owner::Account(address) => {
            Owner::Account(without_tag(address, delimiter).unwrap_or_else(|| address.clone()))
        }
        Owner::Domain(_) => owner.clone(),
    }
}

fn delimiter(loaded: &::config::Loaded) -> Option<char> {
    loaded.config.accounts.recipient_delimiter.chars().next()
}

/// The owner without a tag. A slip of the pen is no new filter, which nobody's mail would ask.
fn ours(loaded: &::config::Loaded, owner: &Owner) -> Result<Owner, Failure> {
    let owner = untagged(owner, delimiter(loaded));
    let (Owner::Domain(domain) | Owner::Account(Address { domain, .. })) = &owner;
    let config = &loaded.config;
    if config.antispam.learn.filters == Filters::Shared || config.domains().any(|ours| ours == domain) {
        return Ok(owner);
    }
    let example = config.domains().next().map_or_else(|| "example.test".to_owned(), ToString::to_string);
    Err(format!("{domain} is none of the domains of this server: write joe@{example}, or {example}").into())
}

/// Tells when what waited to be learnt could not be read, and is out of the way now.
fn set_aside(folder: &Path) -> Result<(), Failure> {
    if let Some(aside) = waiting::set_aside(folder)? {
        eprintln!(
            "staffetta: what waited to be learnt could not be read, and was set aside: {}",
            aside.display()
        );
    }
    Ok(())
}

/// The filters of a server.
pub(super) fn configured(config: &ConfigFile) -> Result<School, Failure> {
    configured_with_delimiter(config).map(|(school, _)| school)
}

/// The filters of a server, and what parts a tag from a mailbox's name there.
pub(super) fn configured_with_delimiter(config: &ConfigFile) -> Result<(School, Option<char>), Failure> {
    let loaded = config.load().ok_or(UNREADABLE)?;
    Ok((server::learning::school(&loaded), delimiter(&loaded)))
}

/// Learns messages that were read already, each with the mailboxes it came to; says what became of them.
pub(super) fn teach(
    school: &School,
    messages: Vec<(Vec<Address>, Read)>,
    class: Class,
) -> Result<String, Failure> {
    let mut of_each: BTreeMap<Option<Owner>, (Pupil, Vec<Read>)> = BTreeMap::new();
    for (mailboxes, message) in messages {
        for pupil in school.pupils(&mailboxes) {
            let all = of_each.entry(pupil.owner.clone()).or_insert_with(|| (pupil, Vec::new()));
            all.1.push(message.clone());
        }
    }
    let (mut text, mut own) = (String::new(), 0);
    for (owner, (pupil, messages)) in of_each {
        let mut lesson = Lesson::begin(Some(school), vec![pupil], false)?;
        lesson.learn(messages, class)?;
        lesson.end()?;
        match owner {
            None => text = lesson.text(false),
            Some(_) => own += 1,
        }
    }
    if own > 0 {
        text.push_str(&format!("{own} filters of those they came to have learnt them\n"));
    }
    Ok(text)
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.junk_folders {
        return junk::run(&args.place.config, args.json);
    }
    let (school, pupils) = args.place.lesson()?;
    if args.later {
        return later(school.as_ref(), &pupils, args);
    }
    let class = if args.spam { Class::Spam } else { Class::Ham };
    let mut report = args.report.then(|| Report::prepare(&args.place.config)).transpose()?;
    let (files, mut unread) = files(&args.paths);
    let mut all = Taken { all: args.forget, ..Taken::default() };
    if args.paths.iter().any(|path| path == Path::new("-")) {
        let bytes_max = if args.report { report::READ_BYTES_MAX } else { READ_BYTES_MAX };
        messages::each_within(&mut io::stdin().lock(), bytes_max, &mut |message| {
            if all.take(Path::new("-"), message) {
                report.iter_mut().for_each(|report| report.take(message));
            }
        })?;
    }
    let bar = Bar::new(files.len());
    let mut lesson = Lesson::begin(school.as_ref(), pupils, args.place.whose.is_some())?;
    let mut take = |messages| {
        if args.forget { lesson.forget(messages) } else { lesson.learn(messages, class) }
    };
    take(std::mem::take(&mut all.messages))?;
    for batch in files.chunks(BATCH) {
        let taken = read_all(batch, args.forget, &bar);
        taken.failed.iter().for_each(|problem| eprintln!("staffetta: {problem}"));
        unread += taken.failed.len();
        all.passed_over.extend(taken.passed_over);
        take(taken.messages)?;
    }
    bar.end();
    lesson.end()?;
    let mut reported = None;
    if let Some(mut report) = report {
        // What cannot be read was told of above.
        let each = |file: &PathBuf| {
            let take = |message: &[u8]| {
                if messages::has_header(message) {
                    report.take(message);
                }
            };
            messages::each_up_to(file, report::READ_BYTES_MAX, take).is_ok()
        };
        files.iter().map(each).for_each(drop);
        reported = Some(report.send(class));
    }
    unread += all.tell_passed_over(&args.paths);
    print_all(said(&lesson, args, unread, reported).as_bytes())?;
    if let Some(reported) = reported.filter(|reported| reported.failed > 0) {
        return Ok(reported.code());
    }
    Ok(if unread == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The files that paths stand for, and how many paths there is no way into: that is told.
fn files(paths: &[PathBuf]) -> (Vec<PathBuf>, usize) {
    let (mut files, mut unread) = (Vec::new(), 0);
    for path in paths.iter().filter(|path| *path != Path::new("-")) {
        let found = messages::files(path);
        found.troubles.iter().for_each(|trouble| eprintln!("staffetta: {trouble}"));
        unread += found.troubles.len();
        files.extend(found.files);
    }
    (files, unread)
}

/// What was read.
#[derive(Debug, Default)]
struct Taken {
    /// What is no message, too: to forget what was learnt before anybody looked.
    all: bool,
    messages: Vec<Read>,
    /// Files that are no messages.
    passed_over: Vec<PathBuf>,
    /// What could not be read, a line for each.
    failed: Vec<String>,
}

impl Taken {
    /// Takes a message of this file; false for what is none.
    fn take(&mut self, path: &Path, octets: &[u8]) -> bool {
        let is_message = self.all || messages::has_header(octets);
        if is_message {
            self.messages.push(read(octets));
        } else {
            self.passed_over.push(path.to_owned());
        }
        is_message
    }

    /// Tells what is no message; how many of these paths were named, and did not only lie in a folder.
    fn tell_passed_over(&self, named: &[PathBuf]) -> usize {
        if let Some(first) = self.passed_over.first() {
            let (count, first) = (self.passed_over.len(), first.display());
            eprintln!(
                "staffetta: {count} passed over that do not begin with a header field; the first: {first}"
            );
        }
        self.passed_over.iter().filter(|path| named.contains(path)).count()
    }
}

/// What was done, as it was asked for.
fn said(lesson: &Lesson, args: &Args, unread: usize, reported: Option<Reported>) -> String {
    if args.json {
        let mut object = lesson.object(unread);
        if let Some(object) = object.as_object_mut() {
            object.insert("reported".to_owned(), json!(reported.map(|reported| reported.told)));
        }
        return format!("{object}\n");
    }
    let mut text = lesson.text(args.forget);
    text.extend(reported.map(Reported::text));
    text
}

/// Lets messages wait to be learnt.
fn later(school: Option<&School>, pupils: &[Pupil], args: &Args) -> Outcome {
    let class = if args.spam { Class::Spam } else { Class::Ham };
    let (files, mut unread) = files(&args.paths);
    let mut all = Taken::default();
    if args.paths.iter().any(|path| path == Path::new("-")) {
        messages::each_of(&mut io::stdin().lock(), &mut |message| {
            all.take(Path::new("-"), message);
        })?;
    }
    for file in &files {
        if let Err(error) = messages::each(file, |message| _ = all.take(file, message)) {
            eprintln!("staffetta: {}: {error}", file.display());
            unread += 1;
        }
    }
    unread += all.tell_passed_over(&args.paths);
    let messages_read: Vec<_> = all.messages.into_iter().map(|message| (message, class)).collect();
    let count = messages_read.len();
    for pupil in pupils {
        match school.map_or(Ok(()), |school| school.admit(pupil)) {
            // Then all learn from it: that is better than nobody.
            Err(full @ LearnError::Full(_)) if pupils.len() > 1 => {
                eprintln!("staffetta: {full}");
                continue;
            }
            admitted => admitted?,
        }
        set_aside(&pupil.folder)?;
        if !waiting::put(&pupil.folder, messages_read.iter().cloned())? {
            let max = waiting::WAITING_MAX;
            return Err(format!("{max} messages wait to be learnt already; learn without --later").into());
        }
    }
    let text = if args.json {
        format!("{}\n", json!({ "waiting": count }))
    } else {
        format!("{count} to be learnt\n")
    };
    print_all(text.as_bytes())?;
    Ok(if unread == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads messages on all processors, in the order of the files.
fn read_all(files: &[PathBuf], all: bool, bar: &Bar) -> Taken {
    let pieces: Vec<&[PathBuf]> = files.chunks(PIECE).collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while let number = next.fetch_add(1, Ordering::Relaxed)
            && let Some(piece) = pieces.get(number)
        {
            let taken = read_piece(piece, all, bar);
            done.lock().unwrap_or_else(PoisonError::into_inner).insert(number, taken);
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(pieces.len());
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        // What one of them cannot get through is not among what is done.
        threads.into_iter().for_each(|thread| drop(thread.join()));
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut all = Taken { all, ..Taken::default() };
    for (number, piece) in pieces.iter().enumerate() {
        match done.remove(&number) {
            Some(taken) => {
                all.messages.extend(taken.messages);
                all.passed_over.extend(taken.passed_over);
                all.failed.extend(taken.failed);
            }
            None => {
                all.failed.extend(piece.iter().map(|path| format!("{}: cannot be parsed", path.display())));
            }
        }
    }
    all
}

fn read_piece(files: &[PathBuf], all: bool, bar: &Bar) -> Taken {
    let mut all = Taken { all, messages: Vec::with_capacity(files.len()), ..Taken::default() };
    for path in files {
        if let Err(error) = messages::each(path, |message| _ = all.take(path, message)) {
            all.failed.push(format!("{}: {error}", path.display()));
        }
        bar.step();
    }
    all
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_domain_of_the_configuration_may_be_taught() {
        let text = "hostname = \"mx.a.test\"\ndata_dir = \"data\"\n[[listener]]\nkind = \"mx\"\nbind = [\"127.0.0.1:0\"]\n\
                    [antispam.learn]\nfilters = \"account\"\n[[domain]]\nnames = [\"a.test\", \"b.test\"]\n\
                    recipients = \"inline:{joe=x}\"\ndeliver = \"maildir:mail/{domain}/{local}/\"\n";
        let loaded = ::config::parse(text, Path::new("staffetta.toml"));
        let loaded = loaded.map_err(|report| report.render(::config::Style::Plain)).unwrap();
        for (owner, is_ours) in [("joe@a.test", true), ("b.test", true), ("joe@b.tset", false)] {
            assert_eq!(ours(&loaded, &Owner::parse(owner).unwrap()).is_ok(), is_ours, "{owner}");
        }
    }
}
