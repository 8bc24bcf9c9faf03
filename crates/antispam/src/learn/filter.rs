//! A filter on disk: a folder with what was learnt (`samples`) and what was made of it (`model`).
//!
//! One program at a time writes (a lock on `lock`); any number reads the model, which is replaced as a whole. What was
//! learnt is on disk before it is said to be; a crash at any time leaves the old model or the new one.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::calibrate::{self, Calibration, NEWEST};
use super::correction::Correction;
use super::feature::{Features, Group};
use super::files;
use super::model::{Expert, Experts, Model, Said};
use super::owner::Owner;
use super::samples::{Added, Class, Damage, Samples};
use super::tokens::Read;
use super::train::{Fitting, Seen, Weighing, fit};

/// Messages of each class before anything is judged.
pub const LEARNT_MIN: u64 = 200;
/// The same for the filter of a domain or an account, which corrects the shared one.
pub const OWN_LEARNT_MIN: u64 = 5;
/// Messages that are kept by default; the oldest of the larger class are forgotten for new ones.
pub const SAMPLES_MAX: u64 = 20_000;
/// Changes, in parts of all messages, before the model is fitted anew: one in so many.
const STALE: u64 = 100;
/// Below so many messages a correction is fitted anew for each.
const FEW: u64 = 500;
/// How experts are fitted; chosen by measurement.
const FITTING: Fitting = Fitting { cost: 3000.0, passes: 8 };
/// How the experts for calibration are fitted: they are thrown away, and need to be no better than this.
const TRIAL: Fitting = Fitting { cost: 3000.0, passes: 5 };

/// Why a filter cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// A file of it.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Somebody else is at it.
    #[error("{0}: another program is learning there; try again when it is done")]
    Busy(PathBuf),
    /// There are enough filters of domains and accounts.
    #[error("there is no room for a filter of {0}'s own: see [antispam.learn] own_filters_max")]
    Full(Owner),
    /// What was to be imported is not what an export gave.
    #[error("{0}")]
    Import(&'static str),
    /// The model's file is not as it was written.
    #[error(
        "{0} is damaged, or of another version; learning writes it anew, and so does: staffetta bayes fit"
    )]
    Damaged(PathBuf),
}

/// What became of messages that were to be learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Learnt {
    /// New ones.
    pub new: u64,
    /// Those that were learnt before, as the same.
    pub known: u64,
    /// Those that were learnt before, as the other.
    pub changed: u64,
    /// Old ones that were forgotten for them.
    pub forgotten: u64,
}

/// A filter that learns.
#[derive(Debug)]
pub struct Filter {
    folder: PathBuf,
    samples: Samples,
    _lock: File,
}

impl Filter {
    /// Opens one to change it; it is made where there is none. Waits for whoever is at it when `wait`.
    ///
    /// # Errors
    /// When its files cannot be read or written, or somebody else is at it.
    pub fn open(folder: &Path, wait: bool) -> Result<Self, LearnError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| LearnError::File { path, error }
        };
        files::make_folder(folder).map_err(at(folder))?;
        let path = folder.join("lock");
        let lock = files::for_writing(&path).map_err(at(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if wait => lock.lock().map_err(at(&path))?,
            Err(TryLockError::WouldBlock) => return Err(LearnError::Busy(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(LearnError::File { path, error }),
        }
        let path = folder.join("samples");
        let samples = Samples::open(&path).map_err(at(&path))?;
        Ok(Self { folder: folder.to_owned(), samples, _lock: lock })
    }

    /// Learns messages, and keeps at most `samples_max`. On disk when this returns; judged by after [`Filter::fit`].
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn learn(
        &mut self,
        messages: impl IntoIterator<Item = Read>,
        class: Class,
        samples_max: u64,
    ) -> Result<Learnt, LearnError> {
        let mut learnt = Learnt::default();
        for message in messages {
            match self.samples.add(message, class) {
                Added::New => learnt.new += 1,
                Added::Known => learnt.known += 1,
                Added::Changed => learnt.changed += 1,
            }
        }
        learnt.forgotten = self.samples.bound(samples_max);
        self.save()?;
        Ok(learnt)
    }

    /// Forgets messages; how many of them were known.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn forget(&mut self, messages: &[Read]) -> Result<u64, LearnError> {
        let known = messages.iter().filter(|message| self.samples.forget(&message.digest)).count();
        self.save()?;
        Ok(u64::try_from(known).unwrap_or(u64::MAX))
    }

    /// Learns what [`Filter::export`] gave; how many were new.
    ///
    /// # Errors
    /// When that is something else, or the disk does not take it.
    pub fn import(&mut self, bytes: &[u8], samples_max: u64) -> Result<(u64, Damage), LearnError> {
        let imported = self.samples.import(bytes).map_err(LearnError::Import)?;
        self.samples.bound(samples_max);
        self.save()?;
        Ok(imported)
    }

    /// All that was learnt, for another filter.
    #[must_use]
    pub fn export(&self) -> Vec<u8> {
        self.samples.to_bytes()
    }

    /// What was learnt.
    #[must_use]
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// True when so much has changed since the model was fitted that it should be fitted anew.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let counts = self.samples.counts();
        match load(&self.folder) {
            Ok(Some(model)) => {
                let changed = counts.ham.abs_diff(model.counts.ham) + counts.spam.abs_diff(model.counts.spam);
                let is_due = changed.saturating_mul(STALE) >= counts.all();
                model.state != self.samples.state() && (is_due || !self.has_learnt(LEARNT_MIN))
            }
            Ok(None) => self.has_learnt(LEARNT_MIN),
            Err(_) => true,
        }
    }

    /// Fits the model to what was learnt and puts it on disk; none, and none there, when there is too little of a class.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn fit(&self) -> Result<Option<Model>, LearnError> {
        let model = if self.has_learnt(LEARNT_MIN) { fitted(&self.samples) } else { None };
        self.put(model.as_ref().map(Model::to_bytes))?;
        Ok(model)
    }

    /// Fits a correction of the shared model to what was learnt, and puts it on disk as [`Filter::fit`] does: for the filter of a
    /// domain or an account.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn fit_correction(&self, shared: Option<&Model>) -> Result<Option<Correction>, LearnError> {
        let correction = self.has_learnt(OWN_LEARNT_MIN).then(|| Correction::fitted(&self.samples, shared));
        self.put(correction.as_ref().map(Correction::to_bytes))?;
        Ok(correction)
    }

    /// True when so much has changed since the correction of the shared model was fitted that it should be fitted anew.
    #[must_use]
    pub fn is_correction_stale(&self) -> bool {
        match load_correction(&self.folder) {
            Ok(Some(correction)) => {
                let counts = self.samples.counts();
                let known = correction.counts;
                let changed = counts.ham.abs_diff(known.ham) + counts.spam.abs_diff(known.spam);
                let is_due = changed.saturating_mul(STALE) >= counts.all() || counts.all() < FEW;
                correction.state != self.samples.state() && (is_due || !self.has_learnt(OWN_LEARNT_MIN))
            }
            Ok(None) => self.has_learnt(OWN_LEARNT_MIN),
            Err(_) => true,
        }
    }

    /// Replaces the model's file, or removes it.
    fn put(&self, content: Option<Vec<u8>>) -> Result<(), LearnError> {
        let path = self.folder.join("model");
        let done = match content {
            Some(content) => files::replace(&path, &content),
            None => fs::remove_file(&path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
        };
        done.map_err(|error| self.error("model", error))
    }

    /// So much of each class.
    fn has_learnt(&self, min: u64) -> bool {
        let counts = self.samples.counts();
        counts.ham >= min && counts.spam >= min
    }

    fn save(&mut self) -> Result<(), LearnError> {
        self.samples.save().map_err(|error| self.error("samples", error))
    }

    fn error(&self, file: &str, error: io::Error) -> LearnError {
        LearnError::File { path: self.folder.join(file), error }
    }
}

/// The model in a filter's folder; none when nothing has been fitted.
///
/// # Errors
/// When it cannot be read, or is damaged.
pub fn load(folder: &Path) -> Result<Option<Model>, LearnError> {
    load_with(folder, Model::from_bytes)
}

/// The correction in the folder of a domain's or an account's filter; none when nothing has been fitted.
///
/// # Errors
/// As [`load`].
pub fn load_correction(folder: &Path) -> Result<Option<Correction>, LearnError> {
    load_with(folder, Correction::from_bytes)
}

fn load_with<M>(folder: &Path, read: fn(&[u8]) -> Option<M>) -> Result<Option<M>, LearnError> {
    let path = folder.join("model");
    match fs::read(&path) {
        Ok(bytes) => read(&bytes).map(Some).ok_or(LearnError::Damaged(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LearnError::File { path, error }),
    }
}

/// A model of these messages; none without both classes. It depends on which they are and not on the order.
#[must_use]
pub fn fitted(samples: &Samples) -> Option<Model> {
    let (older, newest) = parted(samples);
    let all: Vec<(&Features, bool)> =
        samples.iter().map(|(_, sample)| (&sample.features, sample.class == Class::Spam)).collect();
    let [(mut trial, said), (experts, _)] =
        experts([(&older, TRIAL, newest.as_slice()), (&all, FITTING, &[])]);
    for (trust, said) in trial.trust.iter_mut().zip(&said) {
        *trust = calibrate::trust(said.iter().copied().zip(newest.iter().map(|(_, spam)| *spam)));
    }
    let of_message = |place: usize| said.iter().filter_map(move |said| said.get(place).copied());
    let heard = newest.iter().enumerate();
    let heard = heard.map(|(at, (features, spam))| (trial.together(features, of_message(at)), *spam));
    let calibration = Calibration::new(&heard.collect::<Vec<_>>())?;
    let experts = Experts { trust: trial.trust, ..experts };
    Some(Model { experts, calibration, counts: samples.counts(), state: samples.state() })
}

type Messages<'a> = Vec<(&'a Features, bool)>;

/// The older and the newest messages of each class, by date.
fn parted(samples: &Samples) -> (Messages<'_>, Messages<'_>) {
    let (mut older, mut newest) = (Vec::new(), Vec::new());
    for class in [Class::Ham, Class::Spam] {
        let mut all: Vec<_> = samples.iter().filter(|(_, sample)| sample.class == class).collect();
        all.sort_by_key(|(digest, sample)| (sample.seconds, *digest));
        let kept = all.len() - all.len() / NEWEST;
        for (number, (_, sample)) in all.into_iter().enumerate() {
            let part = if number < kept { &mut older } else { &mut newest };
            part.push((&sample.features, class == Class::Spam));
        }
    }
    (older, newest)
}

/// To what experts are fitted, how, and which messages they are to judge then.
type Task<'a> = (&'a Messages<'a>, Fitting, &'a [(&'a Features, bool)]);
/// Experts, and what each of them says of each of those messages.
type Fitted = (Experts, [Vec<Said>; Group::COUNT]);

/// Fits all experts of each task, in two threads: what has most to do is begun first.
fn experts<const N: usize>(tasks: [Task<'_>; N]) -> [Fitted; N] {
    const LARGEST_FIRST: [Group; Group::COUNT] =
        [Group::Grams, Group::Text, Group::Signs, Group::Origin, Group::Transport, Group::Style];
    let steps: Vec<(usize, Group)> =
        LARGEST_FIRST.iter().flat_map(|group| (0..N).map(|task| (task, *group))).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut done, mut seen) = (Vec::new(), Seen::default());
        while let Some((task, group)) = steps.get(next.fetch_add(1, Ordering::Relaxed))
            && let Some((messages, fitting, judged)) = tasks.get(*task)
        {
            let expert = expert(messages, *group, *fitting, &mut seen);
            let said = judged.iter().map(|(features, _)| expert.log_odds(features.group(*group))).collect();
            done.push((*task, *group, expert, said));
        }
        done
    };
    let done = std::thread::scope(|scope| {
        let beside = scope.spawn(work);
        let mut done = work();
        // What panics there panics here too.
        done.extend(beside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        done
    });
    let mut all: [Fitted; N] = std::array::from_fn(|_| Fitted::default());
    for (task, group, expert, said) in done {
        let Some((experts, all_said)) = all.get_mut(task) else { continue };
        let mut places = experts.all.iter_mut().zip(all_said).zip(Group::ALL);
        if let Some((places, _)) = places.find(|(_, of)| *of == group) {
            (*places.0, *places.1) = (expert, said);
        }
    }
    all
}

fn expert(messages: &Messages<'_>, group: Group, fitting: Fitting, seen: &mut Seen) -> Expert {
    let rows: Vec<(&[u32], bool)> =
        messages.iter().map(|(features, spam)| (features.group(group), *spam)).collect();
    let weighing = match group {
        // Of words and pairs of them most are rare, and that says little.
        Group::Text => Weighing::Alike,
        Group::Grams | Group::Origin | Group::Signs => Weighing::Rare,
        // What programs write tells most where few of them write it.
        Group::Style | Group::Transport => Weighing::Rarest,
    };
    fit(&rows, fitting, weighing, seen)
}
