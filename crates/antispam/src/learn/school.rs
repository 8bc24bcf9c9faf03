//! All filters of a server: the shared one, and on top of it those of domains or accounts; and which of them learn what.
//!
//! What somebody says about a letter of his own is learnt by the filter that judges his mail, and by the shared one too
//! unless `[antispam.learn] own_teach_shared` is off. Where there is one filter for all, that one learns everything.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use mail::Address;

use super::filter::{self, Filter, LEARNT_MIN, LearnError, OWN_LEARNT_MIN};
use super::model::Model;
use super::owner::{self, Filters, Owner};
use super::samples::Counts;
use super::settings::LearnSettings;
use super::{BayesSettings, waiting};

/// The filters of one server.
#[derive(Debug, Clone)]
pub struct School {
    folder: PathBuf,
    kind: Filters,
    own_teach_shared: bool,
    own_filters_max: usize,
    own_samples_max: u64,
    samples_max: u64,
}

/// A filter that learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pupil {
    /// Whose; none for the shared one.
    pub owner: Option<Owner>,
    /// Its folder.
    pub folder: PathBuf,
    /// Messages that it keeps.
    pub samples_max: u64,
    /// The folder of the shared filter: its own, when it is that.
    pub shared: PathBuf,
}

/// What a filter has learnt of what had waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenIn {
    /// Messages that were new to it, or changed sides.
    pub new: u64,
    /// All that it knows.
    pub counts: Counts,
}

/// Why nobody of that name can be taught apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchoolError {
    /// A domain, where accounts have filters.
    #[error(
        "each account has a filter of its own here ([antispam.learn] filters = \"account\"): name an account of {0}"
    )]
    NameAnAccount(Owner),
    /// There is one filter for all.
    #[error(
        "there is one filter for all here: [antispam.learn] filters = \"domain\" or \"account\" gives {0} one on top of it"
    )]
    OneForAll(Owner),
}

impl School {
    /// The filters of a server with these settings, whose shared filter is in `folder`.
    #[must_use]
    pub fn new(folder: PathBuf, learn: &LearnSettings, bayes: &BayesSettings) -> Self {
        Self {
            folder,
            kind: learn.filters,
            own_teach_shared: learn.own_teach_shared,
            own_filters_max: usize::try_from(learn.own_filters_max).unwrap_or(usize::MAX),
            own_samples_max: learn.own_samples_max,
            samples_max: bayes.samples_max,
        }
    }

    /// Whose filters there are.
    #[must_use]
    pub const fn kind(&self) -> Filters {
        self.kind
    }

    /// The shared filter.
    #[must_use]
    pub fn shared(&self) -> Pupil {
        Pupil::alone(self.folder.clone(), self.samples_max)
    }

    /// The filter of this owner, whether or not it has learnt anything.
    #[must_use]
    pub fn own(&self, owner: Owner) -> Pupil {
        let folder = owner.folder(&self.folder);
        Pupil { owner: Some(owner), folder, samples_max: self.own_samples_max, shared: self.folder.clone() }
    }

    /// The filter that judges mail of somebody, as he is named in a command: an account, or a domain.
    ///
    /// # Errors
    /// When there is none for such a name.
    pub fn of(&self, named: &Owner) -> Result<Pupil, SchoolError> {
        match (self.kind, named) {
            (Filters::Shared, _) => Err(SchoolError::OneForAll(named.clone())),
            (Filters::Account, Owner::Domain(_)) => Err(SchoolError::NameAnAccount(named.clone())),
            (Filters::Domain, Owner::Account(address)) => Ok(self.own(Owner::Domain(address.domain.clone()))),
            (Filters::Account, Owner::Account(_)) | (Filters::Domain, Owner::Domain(_)) => {
                Ok(self.own(named.clone()))
            }
        }
    }

    /// Who learns what somebody says who is named in a command: his own filter first.
    ///
    /// # Errors
    /// When a domain is named, and accounts have filters.
    pub fn pupils_of(&self, named: &Owner) -> Result<Vec<Pupil>, SchoolError> {
        match self.of(named) {
            Ok(own) => Ok(self.with_shared(vec![own])),
            Err(SchoolError::OneForAll(_)) => Ok(vec![self.shared()]),
            Err(error) => Err(error),
        }
    }

    /// Who learns what the owner of a mailbox with these addresses says; the shared filter alone, where nobody knows whose it
    /// is.
    #[must_use]
    pub fn pupils<'a>(&self, mailboxes: impl IntoIterator<Item = &'a Address>) -> Vec<Pupil> {
        let owners: BTreeSet<Owner> =
            mailboxes.into_iter().filter_map(|mailbox| self.kind.owner_of(mailbox)).collect();
        let own: Vec<Pupil> = owners.into_iter().map(|owner| self.own(owner)).collect();
        self.with_shared(own)
    }

    fn with_shared(&self, mut own: Vec<Pupil>) -> Vec<Pupil> {
        if own.is_empty() || self.own_teach_shared {
            own.push(self.shared());
        }
        own
    }

    /// All who have a filter of their own, of whatever kind.
    ///
    /// # Errors
    /// When the folders cannot be listed.
    pub fn owners(&self) -> io::Result<Vec<Owner>> {
        owner::all(&self.folder, usize::MAX)
    }

    /// The filters for which something waits to be learnt, the shared one first: the others are fitted to what it makes of it.
    ///
    /// # Errors
    /// When the folders cannot be listed.
    pub fn waiting(&self) -> io::Result<Vec<Pupil>> {
        let own = self.owners()?.into_iter().map(|owner| self.own(owner));
        let all = std::iter::once(self.shared()).chain(own);
        Ok(all.filter(|pupil| !waiting::is_empty(&pupil.folder)).collect())
    }

    /// Makes sure that there is room for a pupil that has learnt nothing yet.
    ///
    /// # Errors
    /// [`LearnError::Full`]; when the folders cannot be listed.
    pub fn admit(&self, pupil: &Pupil) -> Result<(), LearnError> {
        let Some(owner) = &pupil.owner else { return Ok(()) };
        if owner::has_learnt(&pupil.folder) {
            return Ok(());
        }
        let there = owner::all(&self.folder, self.own_filters_max)
            .map_err(|error| LearnError::File { path: self.folder.clone(), error })?;
        if there.len() >= self.own_filters_max { Err(LearnError::Full(owner.clone())) } else { Ok(()) }
    }
}

impl Pupil {
    /// The filter in a folder, which corrects no other.
    #[must_use]
    pub fn alone(folder: PathBuf, samples_max: u64) -> Self {
        Self { owner: None, shared: folder.clone(), folder, samples_max }
    }

    /// True when it has learnt something, or something waits for it.
    #[must_use]
    pub fn has_learnt(&self) -> bool {
        owner::has_learnt(&self.folder)
    }

    /// Messages of each class that it needs before it says anything.
    #[must_use]
    pub const fn learnt_min(&self) -> u64 {
        if self.owner.is_some() { OWN_LEARNT_MIN } else { LEARNT_MIN }
    }

    /// Opens its filter to change it; waits for whoever is at it when `wait`.
    ///
    /// # Errors
    /// As [`Filter::open`].
    pub fn open(&self, wait: bool) -> Result<Filter, LearnError> {
        Filter::open(&self.folder, wait)
    }

    /// Fits the model of its filter when it is time; true when it was.
    ///
    /// # Errors
    /// As [`Pupil::fit`].
    pub fn keep_up(&self, filter: &Filter) -> Result<bool, LearnError> {
        let is_stale = if self.owner.is_some() { filter.is_correction_stale() } else { filter.is_stale() };
        if is_stale {
            self.fit(filter)?;
        }
        Ok(is_stale)
    }

    /// Fits the model of its filter; the messages that it was fitted to, or none when there are too few.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn fit(&self, filter: &Filter) -> Result<Option<Counts>, LearnError> {
        if self.owner.is_none() {
            return Ok(filter.fit()?.map(|model| model.counts));
        }
        // A shared one that cannot be read has nothing to be corrected.
        let shared = filter::load(&self.shared).ok().flatten();
        Ok(filter.fit_correction(shared.as_ref())?.map(|correction| correction.counts))
    }

    /// Fits the correction of the shared model anew to the messages that were kept, when it was fitted to another one than
    /// `shared`; true when that was done. False when there is none, and while somebody else is at it.
    ///
    /// # Errors
    /// When its files cannot be read, or the disk does not take it; then the one before stays.
    pub fn refit(&self, shared: Option<&Model>) -> Result<bool, LearnError> {
        let fitted = filter::load_correction(&self.folder)?;
        if !fitted.is_some_and(|fitted| fitted.is_outdated(shared)) {
            return Ok(false);
        }
        let filter = match self.open(false) {
            Err(LearnError::Busy(_)) => return Ok(false),
            opened => opened?,
        };
        filter.fit_correction(shared).map(|_| true)
    }

    /// Learns what waits, and fits the model when it is time. None when nothing waits, or somebody else is at it and it is not to
    /// `wait` for him.
    ///
    /// # Errors
    /// When the disk does not do it; then it still waits.
    pub fn take_in(&self, wait: bool) -> Result<Option<TakenIn>, LearnError> {
        if waiting::is_empty(&self.folder) {
            return Ok(None);
        }
        let mut filter = match self.open(wait) {
            Err(LearnError::Busy(_)) => return Ok(None),
            opened => opened?,
        };
        let new = waiting::take_in(&self.folder, &mut filter, self.samples_max)?;
        self.keep_up(&filter)?;
        Ok(Some(TakenIn { new, counts: filter.samples().counts() }))
    }

    /// Removes all that was learnt for an owner. False when there was nothing. The shared filter is never removed.
    ///
    /// # Errors
    /// When somebody is at it, or the disk does not do it.
    pub fn remove(&self) -> Result<bool, LearnError> {
        if self.owner.is_none() || !self.folder.is_dir() {
            return Ok(false);
        }
        let _held = self.open(false)?;
        let at = |error| LearnError::File { path: self.folder.clone(), error };
        fs::remove_dir_all(&self.folder).map_err(at)?;
        // That of the domain goes when nobody is left in it.
        if let Some(above) = self.folder.parent() {
            let _ = fs::remove_dir(above);
        }
        Ok(true)
    }
}

/// How a filter is called in what is told: `the filter of joe@example.test`, or `the shared filter`.
#[must_use]
pub fn called(owner: Option<&Owner>) -> String {
    owner.map_or_else(|| "the shared filter".to_owned(), |owner| format!("the filter of {owner}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::learn::Class;
    use crate::learn::tests::letter;
    use crate::learn::tokens::read;

    fn school(folder: &Path, kind: Filters, own_filters_max: u64) -> School {
        let learn = LearnSettings { filters: kind, own_filters_max, ..LearnSettings::default() };
        School::new(folder.to_owned(), &learn, &BayesSettings::default())
    }

    fn owner(text: &str) -> Owner {
        Owner::parse(text).unwrap()
    }

    fn names(pupils: &[Pupil]) -> Vec<String> {
        pupils.iter().map(|pupil| called(pupil.owner.as_ref())).collect()
    }

    #[test]
    fn what_somebody_says_is_learnt_by_his_filter_and_by_the_shared_one() {
        let base = Path::new("/x");
        let (joe, domain) = (owner("joe@a.test"), owner("a.test"));
        let account = school(base, Filters::Account, 9);
        assert_eq!(
            names(&account.pupils_of(&joe).unwrap()),
            ["the filter of joe@a.test", "the shared filter"]
        );
        assert!(matches!(account.pupils_of(&domain), Err(SchoolError::NameAnAccount(_))));
        let of_domain = school(base, Filters::Domain, 9);
        for named in [&joe, &domain] {
            assert_eq!(
                names(&of_domain.pupils_of(named).unwrap()),
                ["the filter of a.test", "the shared filter"]
            );
        }
        let shared = school(base, Filters::Shared, 9);
        assert_eq!(names(&shared.pupils_of(&joe).unwrap()), ["the shared filter"]);
        assert!(shared.of(&joe).unwrap_err().to_string().contains("filters = \"domain\" or \"account\""));
        let mailbox = Address::parse("Joe@a.test").unwrap();
        assert_eq!(names(&account.pupils([&mailbox]))[0], "the filter of joe@a.test");
        assert_eq!(names(&account.pupils([])), ["the shared filter"]);
        let apart = School { own_teach_shared: false, ..account };
        assert_eq!(names(&apart.pupils_of(&joe).unwrap()), ["the filter of joe@a.test"]);
    }

    #[test]
    fn there_are_only_so_many_filters_and_what_waits_for_each_is_learnt_by_it() {
        let base = tempfile::tempdir().unwrap();
        let school = school(base.path(), Filters::Account, 2);
        for name in ["joe@a.test", "ann@a.test", "joe@a.test"] {
            let pupil = school.of(&owner(name)).unwrap();
            school.admit(&pupil).unwrap();
            waiting::put(&pupil.folder, [(read(letter(Class::Spam, 1).as_bytes()), Class::Spam)]).unwrap();
        }
        let late = school.of(&owner("jim@a.test")).unwrap();
        let refused = school.admit(&late).unwrap_err();
        assert!(refused.to_string().contains("own_filters_max"), "{refused}");
        school.admit(&school.shared()).unwrap();

        let waits = school.waiting().unwrap();
        assert_eq!(names(&waits), ["the filter of ann@a.test", "the filter of joe@a.test"]);
        for pupil in &waits {
            let taken = pupil.take_in(false).unwrap().unwrap();
            assert_eq!((taken.new, taken.counts.spam), (1, 1));
            assert_eq!(pupil.take_in(false).unwrap(), None);
        }
        assert_eq!(school.waiting().unwrap(), []);
        assert!(waits[0].remove().unwrap() && !waits[0].remove().unwrap());
        school.admit(&late).unwrap();
        assert!(!school.shared().remove().unwrap());
    }
}
