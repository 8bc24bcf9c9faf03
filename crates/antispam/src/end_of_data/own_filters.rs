//! What the filters of domains and accounts say of a letter, each for its own recipients: beside the checks after DATA.
//!
//! Every recipient of a letter has the shared filter's opinion or, where a filter of his own speaks, both together
//! ([`crate::learn::correction`]); it is told in the same symbols, with one more that says whose filter has spoken. Nobody else's
//! copy tells of it. A filter that has learnt too little, cannot be read or has no time left is silent, and the shared one
//! stands. Models are read when they are needed and kept as long as there is memory for them; all of it is done on
//! the threads for expensive work, for at most [`ASKED_MAX`] filters a letter. A correction that was fitted to a shared filter
//! which is another by now speaks only for letters, until it is fitted anew, apart from mail ([`OwnFilters::refit`]).

mod outdated;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mail::Address;
use policy::{CheckEnd, Facts, Finding, Findings, MessageFacts, SymbolDef};

use self::outdated::Outdated;
use super::bayes;
use crate::groups::{BAYES, symbols};
use crate::learn::kept::Kept;
use crate::learn::tokens::features_below;
use crate::learn::{Correction, Filters, LearnError, LearnSettings, Model, Opinion, Owner, School};
use crate::letter;
use crate::work;

symbols! { BAYES:
    BAYES_ACCOUNT, 0, "the account's own filter has spoken, together with the shared one";
    BAYES_DOMAIN, 0, "the domain's own filter has spoken, together with the shared one";
}

/// Filters that are asked about one letter at most: for recipients beyond these the shared one speaks alone.
pub const ASKED_MAX: usize = 32;
/// How long they may take together.
const TIME_MAX: Duration = Duration::from_secs(5);
/// Filters whose trouble is told.
const TROUBLES_MAX: usize = 20;

/// The symbols that say whose filter has spoken.
pub(super) fn marks() -> [SymbolDef; 2] {
    [BAYES_ACCOUNT, BAYES_DOMAIN]
}

/// All filters on top of the shared one.
#[derive(Debug)]
pub struct OwnFilters {
    kind: Filters,
    inner: Arc<Inner>,
}

/// What is said to some recipients.
#[derive(Debug, Clone, PartialEq)]
pub struct Spoken {
    /// Their numbers.
    pub recipients: Vec<usize>,
    /// Instead of what the shared filter says alone.
    pub findings: Vec<Finding>,
}

/// What all of them have said.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// To whom; those who are not here hear the shared filter.
    pub spoken: Vec<Spoken>,
    /// [`CheckEnd::Unknown`] when a filter could not be read.
    pub end: CheckEnd,
}

/// What was fitted anew.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refitted {
    /// How many corrections.
    pub count: usize,
    /// Why others could not be.
    pub troubles: Vec<String>,
}

impl OwnFilters {
    /// Those in `folder`, the shared filter's.
    #[must_use]
    pub fn new(folder: PathBuf, settings: &LearnSettings) -> Self {
        let memory = usize::try_from(settings.own_memory_bytes_max).unwrap_or(usize::MAX);
        let inner = Inner {
            shared: Kept::shared(folder.clone()),
            ready: Mutex::new(Ready::new(memory)),
            troubles: Mutex::default(),
            outdated: Mutex::default(),
            folder,
        };
        Self { kind: settings.filters, inner: Arc::new(inner) }
    }

    /// Whose they are.
    #[must_use]
    pub const fn kind(&self) -> Filters {
        self.kind
    }

    /// Asks the filters of these mailboxes, one for each recipient of the letter, about it, within `time_max`. None when
    /// there is nobody to ask: our own users' mail is not judged.
    pub async fn ask(
        &self,
        facts: &MessageFacts,
        mailboxes: &[Option<Address>],
        time_max: Duration,
    ) -> Option<Heard> {
        let owners = self.owners(mailboxes);
        if owners.is_empty() || !facts.is_stranger() {
            return None;
        }
        let (inner, received) = (Arc::clone(&self.inner), facts.received.clone());
        let asked = async {
            let letter = letter::of(facts).await;
            let read = move || letter.map(|letter| features_below(&received, &letter));
            work::heavy(move || inner.ask(owners, read)).await
        };
        match tokio::time::timeout(time_max.min(TIME_MAX), asked).await {
            Ok(Ok(heard)) => Some(heard),
            Ok(Err(_)) => Some(Heard { spoken: Vec::new(), end: CheckEnd::BrokeDown }),
            Err(_) => Some(Heard { spoken: Vec::new(), end: CheckEnd::OutOfTime }),
        }
    }

    /// Filters that could not be read when they were asked last, each with the reason.
    #[must_use]
    pub fn troubles(&self) -> BTreeSet<String> {
        let troubles = self.inner.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.values().cloned().collect()
    }

    /// Fits corrections anew whose shared filter has become another: those in memory and those that have spoken since, the one
    /// that was asked last first, until `time_max` is over; at least one, when there is any. Those that are left wait for the
    /// next time; those that nobody asks never cost anything. Blocks.
    #[must_use]
    pub fn refit(&self, school: &School, time_max: Duration) -> Refitted {
        let started = Instant::now();
        let mut refitted = Refitted::default();
        // To this one they are added; while it cannot be read they stay as they are.
        let Ok(shared) = self.inner.shared.current() else { return refitted };
        let ready = self.inner.ready().outdated(shared.as_deref());
        ready.iter().for_each(|owner| self.inner.outdated().put(owner));
        while let Some(owner) = self.inner.outdated().pop() {
            let done = school.own(owner.clone()).refit(shared.as_deref());
            // It is read again when it is needed.
            self.inner.ready().forget(&owner);
            match done {
                Ok(done) => refitted.count += usize::from(done),
                Err(error) if refitted.troubles.len() < TROUBLES_MAX => {
                    refitted.troubles.push(format!("the filter of {owner}: {error}"));
                }
                Err(_) => {}
            }
            if started.elapsed() >= time_max {
                break;
            }
        }
        refitted
    }

    /// Whose filters are to be asked, in the order of their first recipients.
    fn owners(&self, mailboxes: &[Option<Address>]) -> Vec<(Owner, Vec<usize>)> {
        let mut places: HashMap<Owner, usize> = HashMap::new();
        let mut owners: Vec<(Owner, Vec<usize>)> = Vec::new();
        for (number, mailbox) in mailboxes.iter().enumerate() {
            let Some(owner) = mailbox.as_ref().and_then(|mailbox| self.kind.owner_of(mailbox)) else {
                continue;
            };
            let place = *places.entry(owner.clone()).or_insert(owners.len());
            match owners.get_mut(place) {
                Some((_, recipients)) => recipients.push(number),
                None => owners.push((owner, vec![number])),
            }
        }
        owners
    }
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    /// The shared one, as these need its figure and not its symbol.
    shared: Kept<Model>,
    ready: Mutex<Ready>,
    troubles: Mutex<BTreeMap<Owner, String>>,
    outdated: Mutex<Outdated>,
}

impl Inner {
    /// On a thread that may block.
    fn ask<E>(
        &self,
        owners: Vec<(Owner, Vec<usize>)>,
        read: impl FnOnce() -> Result<crate::learn::feature::Features, E>,
    ) -> Heard {
        let mut heard = Heard { spoken: Vec::new(), end: CheckEnd::Finished };
        let mut models = Vec::new();
        for (owner, recipients) in owners {
            match self.model(&owner) {
                Ok(Some(model)) => models.push((owner, recipients, model)),
                Ok(None) => {}
                Err(_) => heard.end = CheckEnd::Unknown,
            }
            if models.len() >= ASKED_MAX {
                break;
            }
        }
        if models.is_empty() {
            return heard;
        }
        let Ok(features) = read() else { return Heard { spoken: Vec::new(), end: CheckEnd::Unknown } };
        // A shared one that cannot be read is told of by its own check.
        let shared = self.shared.current();
        if let Ok(shared) = &shared {
            let outdated = models.iter().filter(|(_, _, model)| model.is_outdated(shared.as_deref()));
            outdated.for_each(|(owner, _, _)| self.outdated().put(owner));
        }
        let shared = shared.ok().flatten();
        let alone = shared.as_ref().map(|model| model.judge(&features));
        for (owner, recipients, model) in models {
            let both = model.together(shared.as_deref().zip(alone.as_ref()), &features);
            heard.spoken.push(Spoken { recipients, findings: told(&owner, alone.as_ref(), &both) });
        }
        heard
    }

    /// The model of a filter; none when there is none.
    fn model(&self, owner: &Owner) -> Result<Option<Arc<Correction>>, LearnError> {
        let known = self.ready().find(owner);
        let kept = known.unwrap_or_else(|| Arc::new(Kept::own(owner.folder(&self.folder))));
        let current = kept.current();
        let mut ready = self.ready();
        match &current {
            Ok(Some(model)) => ready.put(owner, kept, model),
            Ok(None) | Err(_) => ready.forget(owner),
        }
        drop(ready);
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        match &current {
            Err(error) if troubles.len() < TROUBLES_MAX => {
                troubles.insert(owner.clone(), format!("the filter of {owner} is silent: {error}"));
            }
            Err(_) => {}
            Ok(_) => drop(troubles.remove(owner)),
        }
        current
    }

    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outdated(&self) -> MutexGuard<'_, Outdated> {
        self.outdated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Symbols for the recipients of one filter.
fn told(owner: &Owner, shared: Option<&Opinion>, both: &Opinion) -> Vec<Finding> {
    let mut found = Findings::default();
    bayes::tell(both, &mut found);
    let percent = |opinion: &Opinion| format!("{:.2} %", opinion.cautious * 100.0);
    let evidence = format!(
        "{} with the filter of {owner}, {} by the shared one alone",
        percent(both),
        shared.map_or_else(|| "nothing".to_owned(), percent)
    );
    let mark = match owner {
        Owner::Account(_) => BAYES_ACCOUNT,
        Owner::Domain(_) => BAYES_DOMAIN,
    };
    found.saw(mark.symbol, &evidence);
    found.findings().to_vec()
}

/// Models that are kept in memory: those that were asked last.
#[derive(Debug)]
struct Ready {
    memory_bytes_max: usize,
    kept: HashMap<Owner, Place>,
    bytes: usize,
    /// Counts up with each question.
    now: u64,
}

#[derive(Debug)]
struct Place {
    kept: Arc<Kept<Correction>>,
    model: Arc<Correction>,
    bytes: usize,
    asked: u64,
}

impl Ready {
    fn new(memory_bytes_max: usize) -> Self {
        Self { memory_bytes_max, kept: HashMap::new(), bytes: 0, now: 0 }
    }

    fn find(&mut self, owner: &Owner) -> Option<Arc<Kept<Correction>>> {
        self.now += 1;
        let place = self.kept.get_mut(owner)?;
        place.asked = self.now;
        Some(Arc::clone(&place.kept))
    }

    /// Those that were fitted to another shared model, the one that was asked last at the end.
    fn outdated(&self, shared: Option<&Model>) -> Vec<Owner> {
        let outdated = self.kept.iter().filter(|(_, place)| place.model.is_outdated(shared));
        let mut outdated: Vec<(u64, &Owner)> = outdated.map(|(owner, place)| (place.asked, owner)).collect();
        outdated.sort_unstable();
        outdated.into_iter().map(|(_, owner)| owner.clone()).collect()
    }

    /// Keeps a model; those that were not asked for longest give way. One is always kept.
    fn put(&mut self, owner: &Owner, kept: Arc<Kept<Correction>>, model: &Arc<Correction>) {
        self.forget(owner);
        let bytes = model.memory_bytes();
        self.bytes += bytes;
        self.kept.insert(owner.clone(), Place { kept, model: Arc::clone(model), bytes, asked: self.now });
        while self.bytes > self.memory_bytes_max && self.kept.len() > 1 {
            let Some(oldest) =
                self.kept.iter().min_by_key(|(_, place)| place.asked).map(|(owner, _)| owner.clone())
            else {
                break;
            };
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, owner: &Owner) {
        if let Some(place) = self.kept.remove(owner) {
            self.bytes -= place.bytes;
        }
    }
}

#[cfg(test)]
mod tests;
