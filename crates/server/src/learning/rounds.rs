//! What the daemon learns by itself, a round a minute: from Junk folders when their time has come, from sure verdicts, and what
//! others let wait (`staffetta learn --later`). All of it waits beside the filter first, and is learnt together. Then filters
//! of domains and accounts that speak on top of a shared one which is another by now are fitted to it, for a few seconds of
//! each round.
//!
//! On threads that may block, one round at a time. While the filter is somebody else's it waits. Trouble is told once,
//! until it is another.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use antispam::end_of_data::own_filters::Refitted;
use antispam::learn::junk::Watch;
use config::Loaded;
use tokio::time::Instant;

use super::junk::{Looked, from, look, mailboxes};
use super::{LearnError, Pupil, School, called, learnt_folder, waiting};
use crate::maillog::Level;
use crate::services::{Current, Services, Shared};

/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(60);
/// Messages of Junk folders that are read in one round.
pub const READS_MAX: usize = 1_000;

/// Time of a round in which filters of domains and accounts are fitted to the shared one: a sixth of it at most, however many
/// there are.
const REFIT_TIME_MAX: Duration = Duration::from_secs(10);
/// Troubles of filters that are told of one round.
const TROUBLES_MAX: usize = 5;

/// Makes rounds until the future is dropped.
pub async fn rounds(current: Current, places: Places) {
    let mut ticks = tokio::time::interval(EVERY);
    let mut round = Round { places, next_look: Instant::now(), first: None, told: Vec::new() };
    loop {
        ticks.tick().await;
        round.go(&current.get()).await;
    }
}

/// Where things are, for the life of the daemon.
#[derive(Debug, Clone)]
pub struct Places {
    filter: PathBuf,
    base: PathBuf,
}

impl Places {
    /// Those of a configuration.
    #[must_use]
    pub fn of(loaded: &Loaded) -> Self {
        Self { filter: learnt_folder(loaded), base: loaded.base_dir.clone() }
    }

    /// The filters there, as the configuration has them now.
    fn school(&self, services: &Services) -> School {
        let settings = &services.config.antispam;
        School::new(self.filter.clone(), &settings.learn, &settings.bayes)
    }
}

struct Round {
    places: Places,
    next_look: Instant,
    /// Where the last look had to end: this one begins there, so that a busy mailbox keeps nobody waiting for ever.
    first: Option<PathBuf>,
    told: Vec<String>,
}

impl Round {
    async fn go(&mut self, services: &Arc<Services>) {
        let mut troubles = Vec::new();
        for aside in self.set_aside(services).await {
            let path = aside.display();
            let text = format!("what waited to be learnt could not be read, and was set aside: {path}");
            services.shared.log.notice(Level::Warning, &text);
        }
        let minutes = services.config.antispam.learn.junk_folders_minutes;
        if minutes > 0 && Instant::now() >= self.next_look {
            match self.look(services).await {
                Ok(looked) => {
                    let wait = if looked.is_cut { 0 } else { minutes.saturating_mul(60) };
                    self.next_look = Instant::now() + Duration::from_secs(wait);
                    troubles.extend(looked.troubles);
                }
                Err(error) => troubles.push(error),
            }
        }
        match self.learn(services).await {
            Ok((learnt, failed)) => {
                learnt.iter().for_each(|text| services.shared.log.notice(Level::Info, text));
                troubles.extend(failed);
            }
            Err(error) => troubles.push(error),
        }
        match self.refit(services).await {
            Ok((refitted, failed)) => {
                refitted.iter().for_each(|text| services.shared.log.notice(Level::Info, text));
                troubles.extend(failed);
            }
            Err(error) => troubles.push(error),
        }
        for trouble in troubles.iter().filter(|trouble| !self.told.contains(trouble)) {
            let text = format!("the classifier could not learn: {trouble}");
            services.shared.log.notice(Level::Warning, &text);
        }
        self.told = troubles;
    }

    /// What cannot be learnt for good is put out of the way; what else is wrong, learning tells.
    async fn set_aside(&self, services: &Services) -> Vec<PathBuf> {
        let school = self.places.school(services);
        let done = tokio::task::spawn_blocking(move || {
            let waiting = school.waiting().unwrap_or_default().into_iter();
            waiting.filter_map(|pupil| waiting::set_aside(&pupil.folder).ok().flatten()).collect()
        });
        done.await.unwrap_or_default()
    }

    async fn look(&mut self, services: &Arc<Services>) -> Result<Looked, String> {
        let (places, services, first) = (self.places.clone(), Arc::clone(services), self.first.take());
        let looked = tokio::task::spawn_blocking(move || {
            let config = &services.config;
            let trash = &config.antispam.learn.trash_folders;
            let watch = Watch { filter: &places.filter, junk: &config.delivery.maildir.junk_folder, trash };
            let school = places.school(&services);
            look(&from(mailboxes(config, &places.base), first), (&watch, &school), READS_MAX)
        });
        let looked = looked.await.map_err(|panic| panic.to_string())?.map_err(|error| error.to_string())?;
        self.first.clone_from(&looked.next);
        Ok(looked)
    }

    /// Learns all that waits; gives what was learnt and what went wrong, in words.
    async fn learn(&self, services: &Arc<Services>) -> Result<(Vec<String>, Vec<String>), String> {
        let (folder, services) = (self.places.filter.clone(), Arc::clone(services));
        let school = self.places.school(&services);
        let learnt = tokio::task::spawn_blocking(move || {
            let sure = services.shared.teacher.drain();
            if !sure.is_empty() {
                // Without room they teach nothing: there is more than enough to learn.
                waiting::put(&folder, sure)?;
            }
            let waiting = school.waiting().map_err(|error| LearnError::File { path: folder, error })?;
            Ok::<_, LearnError>(take_in(&waiting))
        });
        learnt.await.map_err(|panic| panic.to_string())?.map_err(|error| error.to_string())
    }

    /// Fits filters of domains and accounts to the shared one as it is now; gives what was done and what went wrong, in words.
    async fn refit(&self, services: &Arc<Services>) -> Result<(Option<String>, Vec<String>), String> {
        let (judge, school) = (Arc::clone(&services.judge), self.places.school(services));
        let refitted =
            tokio::task::spawn_blocking(move || judge.own_filters().refit(&school, REFIT_TIME_MAX));
        let Refitted { count, mut troubles } = refitted.await.map_err(|panic| panic.to_string())?;
        troubles.truncate(TROUBLES_MAX);
        let done =
            format!("{count} filters of domains or accounts were fitted to the shared one as it is now");
        Ok(((count > 0).then_some(done), troubles))
    }
}

/// Lets what sure verdicts have taught wait beside the filter. For the end of the daemon; blocks.
pub fn put_down(shared: &Shared, filter: &Path) {
    let sure = shared.teacher.drain();
    if !sure.is_empty()
        && let Err(error) = waiting::put(filter, sure)
    {
        shared.log.notice(Level::Warning, &format!("the classifier could not learn: {error}"));
    }
}

/// Each filter learns what waits for it; what one cannot learn does not keep the others from it.
fn take_in(pupils: &[Pupil]) -> (Vec<String>, Vec<String>) {
    let (mut learnt, mut failed) = (Vec::new(), Vec::new());
    let mut own = 0;
    for pupil in pupils {
        match (pupil.take_in(false), &pupil.owner) {
            (Ok(Some(taken)), None) if taken.new > 0 => learnt.push(format!(
                "the classifier has learnt {} messages; {} ham and {} spam altogether",
                taken.new, taken.counts.ham, taken.counts.spam
            )),
            (Ok(Some(taken)), Some(_)) if taken.new > 0 => own += 1,
            (Ok(_), _) => {}
            (Err(error), owner) if failed.len() < TROUBLES_MAX => {
                failed.push(format!("{}: {error}", called(owner.as_ref())));
            }
            (Err(_), _) => {}
        }
    }
    if own > 0 {
        learnt.push(format!("{own} filters of domains or accounts have learnt"));
    }
    (learnt, failed)
}

#[cfg(test)]
mod tests {
    use antispam::learn::filter::load_correction;
    use mail::Timestamp;

    use super::*;
    use crate::learning::{Class, Filter, Owner, read};
    use crate::scoring::facts;
    use crate::testing::House;

    /// A letter of a class; no two numbers make the same one.
    fn letter(class: Class, number: u32) -> String {
        let word = if class == Class::Spam { "casino lottery winner" } else { "meeting report minutes" };
        format!("Subject: {word} a{number}\r\n\r\n{word} b{number} c{}\r\n", number % 7)
    }

    fn teach(filter: &mut Filter, numbers: std::ops::Range<u32>) {
        for class in [Class::Ham, Class::Spam] {
            let letters = numbers.clone().map(|number| read(letter(class, number).as_bytes()));
            filter.learn(letters, class, 10_000).unwrap();
        }
    }

    #[tokio::test]
    async fn a_round_fits_those_who_were_asked_to_the_shared_filter_as_it_is() {
        let house = House::new("[antispam.learn]\nfilters = \"account\"\n").await;
        let (services, places) = (house.current.get(), Places::of(&house.loaded));
        let school = places.school(&services);
        let mut shared = school.shared().open(false).unwrap();
        teach(&mut shared, 0..210);
        shared.fit().unwrap().unwrap();
        let joe = school.own(Owner::parse("joe@a.test").unwrap());
        {
            let mut own = joe.open(false).unwrap();
            teach(&mut own, 0..6);
            assert!(joe.keep_up(&own).unwrap());
        }
        teach(&mut shared, 210..230);
        let now = shared.fit().unwrap().unwrap();
        drop(shared);
        let fitted_to = || load_correction(&joe.folder).unwrap().unwrap().shared_state;
        assert_ne!(fitted_to(), now.state);

        let mut round = Round { places, next_look: Instant::now(), first: None, told: Vec::new() };
        round.go(&services).await;
        assert_ne!(fitted_to(), now.state, "nobody has asked it");
        let facts = facts(letter(Class::Spam, 999).into(), Timestamp(1_795_309_323_000));
        let to = [Some("joe@a.test".parse().unwrap())];
        let heard = services.judge.own_filters().ask(&facts, &to, REFIT_TIME_MAX).await.unwrap();
        assert_eq!(heard.spoken.len(), 1);
        round.go(&services).await;
        assert_eq!(fitted_to(), now.state);
        assert!(round.told.is_empty(), "{:?}", round.told);
    }
}
