//! Whose filter is heard by whom, and what becomes of one that is damaged, late or one too many.

use std::fs;
use std::path::Path;

use super::*;
use crate::learn::tests::letter;
use crate::learn::tokens::read;
use crate::learn::{BayesSettings, Class, School};
use crate::testing::{address, message};

fn settings(kind: Filters) -> LearnSettings {
    LearnSettings { filters: kind, ..LearnSettings::default() }
}

/// Teaches a filter that letters of one class are those of another to its owner, when `upside_down`.
fn taught(folder: &Path, kind: Filters, owner: &str, each: usize, upside_down: bool) -> PathBuf {
    let school = School::new(folder.to_owned(), &settings(kind), &BayesSettings::default());
    let pupil = school.of(&Owner::parse(owner).unwrap()).unwrap();
    let mut filter = pupil.open(false).unwrap();
    for (of, class) in [(Class::Ham, Class::Spam), (Class::Spam, Class::Ham)] {
        let letters = (0..each).map(|number| read(letter(of, number).as_bytes()));
        let class = if upside_down { class } else { of };
        filter.learn(letters, class, 10_000).unwrap();
    }
    pupil.keep_up(&filter).unwrap();
    pupil.folder
}

fn mailboxes(all: &[&str]) -> Vec<Option<Address>> {
    all.iter().map(|text| (!text.is_empty()).then(|| address(text))).collect()
}

fn symbols_for(heard: &Heard, recipient: usize) -> Vec<&str> {
    let spoken = heard.spoken.iter().find(|spoken| spoken.recipients.contains(&recipient));
    spoken.map_or_else(Vec::new, |spoken| spoken.findings.iter().map(|f| f.symbol.as_str()).collect())
}

const TIME: Duration = Duration::from_secs(60);

#[tokio::test]
async fn each_recipient_hears_his_own_filter_and_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    taught(folder.path(), Filters::Account, "joe@a.test", 60, true);
    taught(folder.path(), Filters::Account, "ann@a.test", 60, false);
    taught(folder.path(), Filters::Account, "jim@a.test", 4, false);
    let filters = OwnFilters::new(folder.path().to_owned(), &settings(Filters::Account));
    let spam = message("a@far.test", &letter(Class::Spam, 9001));
    let to = mailboxes(&["jim@a.test", "Joe@a.test", "", "ann@a.test", "nobody@a.test", "joe@a.test"]);
    let heard = filters.ask(&spam, &to, TIME).await.unwrap();
    assert_eq!((heard.end, heard.spoken.len()), (CheckEnd::Finished, 2));
    assert_eq!(heard.spoken[0].recipients, [1, 5]);
    let (joe, ann) = (symbols_for(&heard, 1), symbols_for(&heard, 3));
    let low = ["BAYES_00", "BAYES_05"].iter().any(|name| joe.contains(name));
    let high = ["BAYES_95", "BAYES_99"].iter().any(|name| ann.contains(name));
    assert!(low && high, "{joe:?} {ann:?}");
    assert!(joe.contains(&"BAYES_ACCOUNT") && ann.contains(&"BAYES_ACCOUNT"));
    for silent in [0, 2, 4] {
        assert!(symbols_for(&heard, silent).is_empty(), "{silent}");
    }
    assert!(heard.spoken[0].findings.iter().all(|finding| !finding.evidence.contains("ann@")));
    // Forgotten: it is silent at once.
    fs::remove_file(Owner::parse("joe@a.test").unwrap().folder(folder.path()).join("model")).unwrap();
    let heard = filters.ask(&spam, &to, TIME).await.unwrap();
    assert!(symbols_for(&heard, 1).is_empty() && !symbols_for(&heard, 3).is_empty());
}

#[tokio::test]
async fn a_domains_filter_speaks_for_all_its_recipients() {
    let folder = tempfile::tempdir().unwrap();
    taught(folder.path(), Filters::Domain, "a.test", 60, false);
    let filters = OwnFilters::new(folder.path().to_owned(), &settings(Filters::Domain));
    let spam = message("a@far.test", &letter(Class::Spam, 9001));
    let heard = filters.ask(&spam, &mailboxes(&["x@a.test", "x@b.test", "y@a.test"]), TIME).await.unwrap();
    assert_eq!(heard.spoken.len(), 1);
    assert_eq!(heard.spoken[0].recipients, [0, 2]);
    assert!(symbols_for(&heard, 2).contains(&"BAYES_DOMAIN"));
    let shared = OwnFilters::new(folder.path().to_owned(), &settings(Filters::Shared));
    assert_eq!(shared.ask(&spam, &mailboxes(&["x@a.test"]), TIME).await, None);
}

#[tokio::test]
async fn a_damaged_filter_is_silent_and_told_of_while_others_speak() {
    let folder = tempfile::tempdir().unwrap();
    let broken = taught(folder.path(), Filters::Account, "joe@a.test", 40, false);
    taught(folder.path(), Filters::Account, "ann@a.test", 40, false);
    fs::write(broken.join("model"), b"staffetta bayes correction 1\nbroken").unwrap();
    let filters = OwnFilters::new(folder.path().to_owned(), &settings(Filters::Account));
    let spam = message("a@far.test", &letter(Class::Spam, 9001));
    let to = mailboxes(&["joe@a.test", "ann@a.test"]);
    let heard = filters.ask(&spam, &to, TIME).await.unwrap();
    assert_eq!(heard.end, CheckEnd::Unknown);
    assert!(symbols_for(&heard, 0).is_empty() && !symbols_for(&heard, 1).is_empty());
    let troubles = filters.troubles();
    assert!(
        troubles.iter().all(|text| text.starts_with("the filter of joe@a.test is silent: ")),
        "{troubles:?}"
    );
    taught(folder.path(), Filters::Account, "joe@a.test", 40, false);
    assert_eq!(filters.ask(&spam, &to, TIME).await.unwrap().end, CheckEnd::Finished);
    assert!(filters.troubles().is_empty());
}

#[tokio::test]
async fn only_so_many_are_asked_and_kept_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let first = taught(folder.path(), Filters::Account, "u0@a.test", 25, false);
    let mut to = vec!["u0@a.test".to_owned()];
    for number in 1..50 {
        let name = format!("u{number}@a.test");
        let own = Owner::parse(&name).unwrap().folder(folder.path());
        fs::create_dir_all(&own).unwrap();
        fs::copy(first.join("model"), own.join("model")).unwrap();
        to.push(name);
    }
    let model = crate::learn::filter::load_correction(&first).unwrap().unwrap();
    let room = LearnSettings {
        own_memory_bytes_max: u64::try_from(model.memory_bytes() * 3).unwrap(),
        ..settings(Filters::Account)
    };
    let filters = OwnFilters::new(folder.path().to_owned(), &room);
    let spam = message("a@far.test", &letter(Class::Spam, 9001));
    let names: Vec<&str> = to.iter().map(String::as_str).collect();
    let heard = filters.ask(&spam, &mailboxes(&names), TIME).await.unwrap();
    assert_eq!(heard.spoken.len(), ASKED_MAX);
    {
        let ready = filters.inner.ready();
        assert!(ready.kept.len() == 3 && ready.bytes <= ready.memory_bytes_max);
    }
    // In time or not at all.
    assert_eq!(
        filters.ask(&spam, &mailboxes(&names), Duration::ZERO).await.unwrap().end,
        CheckEnd::OutOfTime
    );
}

/// The shared filter's say is there, too.
#[tokio::test]
async fn what_is_told_is_both_together() {
    let folder = tempfile::tempdir().unwrap();
    crate::learn::tests::filled(folder.path(), 220).fit().unwrap().unwrap();
    taught(folder.path(), Filters::Account, "joe@a.test", 100, true);
    let filters = OwnFilters::new(folder.path().to_owned(), &settings(Filters::Account));
    let spam = message("a@far.test", &letter(Class::Spam, 9001));
    let heard = filters.ask(&spam, &mailboxes(&["joe@a.test"]), TIME).await.unwrap();
    let mark = heard.spoken[0].findings.iter().find(|finding| finding.symbol == *"BAYES_ACCOUNT").unwrap();
    assert!(
        mark.evidence.contains("% with the filter of joe@a.test")
            && mark.evidence.ends_with("% by the shared one alone"),
        "{}",
        mark.evidence
    );
}

/// The state of the shared model that the filter of this owner was fitted to.
fn fitted_to(folder: &Path, owner: &str) -> u64 {
    let own = Owner::parse(owner).unwrap().folder(folder);
    crate::learn::filter::load_correction(&own).unwrap().unwrap().shared_state
}

#[tokio::test]
async fn who_is_asked_is_fitted_to_a_shared_filter_that_became_another() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let before = crate::learn::tests::filled(at, 220).fit().unwrap().unwrap();
    for owner in ["joe@a.test", "ann@a.test", "jim@a.test"] {
        taught(at, Filters::Account, owner, 20, true);
    }
    let school = School::new(at.to_owned(), &settings(Filters::Account), &BayesSettings::default());
    let filters = OwnFilters::new(at.to_owned(), &settings(Filters::Account));
    let spam = message("a@far.test", &letter(Class::Spam, 9001));
    let ask = async |owner: &str| filters.ask(&spam, &mailboxes(&[owner]), TIME).await.unwrap();
    ask("ann@a.test").await;
    assert_eq!(filters.refit(&school, TIME), Refitted::default(), "it is as it was fitted to");

    let after = crate::learn::tests::filled(at, 240).fit().unwrap().unwrap();
    assert_ne!(before.state, after.state);
    let all = || ["joe@a.test", "ann@a.test", "jim@a.test"].map(|owner| fitted_to(at, owner));
    assert!(symbols_for(&ask("joe@a.test").await, 0).contains(&"BAYES_ACCOUNT"), "it speaks meanwhile");
    // No more than there is time for, who was asked last first.
    assert_eq!(filters.refit(&school, Duration::ZERO).count, 1);
    assert_eq!(all(), [after.state, before.state, before.state]);
    // Not while somebody else is at it; it waits again when it is asked again.
    let ann = school.own(Owner::parse("ann@a.test").unwrap());
    let held = ann.open(false).unwrap();
    assert_eq!(filters.refit(&school, TIME), Refitted::default());
    drop(held);
    assert_eq!(filters.refit(&school, TIME), Refitted::default());
    ask("ann@a.test").await;
    assert_eq!(filters.refit(&school, TIME).count, 1);
    assert_eq!(all(), [after.state, after.state, before.state], "nobody has asked the third");
    let kept = crate::learn::filter::load_correction(&ann.folder).unwrap().unwrap();
    assert_eq!((kept.counts.ham, kept.counts.spam), (20, 20), "to all that it was told");
    let fresh = Correction::fitted(ann.open(false).unwrap().samples(), Some(&after));
    assert_eq!(kept, fresh);

    // While the shared one cannot be read nothing is fitted to its absence.
    ask("jim@a.test").await;
    fs::write(at.join("model"), b"broken").unwrap();
    assert_eq!(filters.refit(&school, TIME).count, 1, "the last good one is in use");
    assert_eq!(fitted_to(at, "jim@a.test"), after.state);
    let anew = OwnFilters::new(at.to_owned(), &settings(Filters::Account));
    anew.ask(&spam, &mailboxes(&["jim@a.test"]), TIME).await.unwrap();
    assert_eq!(anew.refit(&school, TIME), Refitted::default());
    assert_eq!(fitted_to(at, "jim@a.test"), after.state);
}
