//! The Junk folders of all Maildirs of ours: which there are, and one look at them.
//!
//! Mailboxes are found on disk, by the way that `[[domain]] deliver` writes their paths, so that those of tables are found like
//! those of accounts. What is learnt from a mailbox waits beside the filter before the mailbox counts as looked at.
//! What its owner has moved teaches his own filter and the shared one, as [`School`] has it.
//! A mailbox that cannot be read is told of, and does not keep others from being looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use antispam::learn::junk::Watch;
use antispam::learn::tokens::Read;
use antispam::learn::{Class, LearnError, School, waiting};
use config::Config;
use mail::{Address, Domain, NextHop};

/// Mailboxes that are looked at; further ones are not.
const MAILBOXES_MAX: usize = 100_000;
/// Troubles that are told of one look.
const TROUBLES_MAX: usize = 5;
/// What stands for the mailbox's name in a path.
const LOCAL: &str = "{local}";

/// What a look came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Looked {
    /// Mailboxes.
    pub mailboxes: usize,
    /// Messages that are learnt as spam.
    pub spam: usize,
    /// Messages that are learnt as ham.
    pub ham: usize,
    /// Messages that were read for it.
    pub reads: usize,
    /// There is more to be looked at than was allowed for.
    pub is_cut: bool,
    /// What could not be read, in sentences.
    pub troubles: Vec<String>,
    /// The mailbox with which the next look begins, when this one had to end before all were looked at.
    pub next: Option<PathBuf>,
}

/// All of these, beginning with `first` where it is among them.
#[must_use]
pub fn from(mut mailboxes: Vec<Mailbox>, first: Option<PathBuf>) -> Vec<Mailbox> {
    let place = first.and_then(|first| mailboxes.iter().position(|mailbox| mailbox.folder == first));
    mailboxes.rotate_left(place.unwrap_or(0));
    mailboxes
}

/// A Maildir, and the addresses whose mail goes there, as far as its path tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// Where it is.
    pub folder: PathBuf,
    /// Whose it is: one address, or the same name in several domains.
    pub addresses: BTreeSet<Address>,
}

/// The Maildirs that there are.
#[must_use]
pub fn mailboxes(config: &Config, base: &Path) -> Vec<Mailbox> {
    let mut all: BTreeMap<PathBuf, BTreeSet<Address>> = BTreeMap::new();
    for domain in &config.domain {
        let Ok(NextHop::Maildir(template)) = NextHop::parse_beneath(&domain.deliver, base) else { continue };
        for name in domain.domains() {
            let mut found = vec![(template.root().to_owned(), None)];
            for level in template.levels() {
                found = found
                    .into_iter()
                    .flat_map(|(folder, local)| below(&folder, level, name, local))
                    .collect();
                found.truncate(MAILBOXES_MAX);
            }
            for (folder, local) in found.into_iter().filter(|(folder, _)| folder.is_dir()) {
                let address = local.and_then(|local| Address::new(&local, name.clone()).ok());
                all.entry(folder).or_default().extend(address);
            }
        }
    }
    all.into_iter().take(MAILBOXES_MAX).map(|(folder, addresses)| Mailbox { folder, addresses }).collect()
}

/// The folders that a name with placeholders stands for, and the mailbox's name that each has told.
fn below(
    folder: &Path,
    level: &str,
    domain: &Domain,
    local: Option<String>,
) -> Vec<(PathBuf, Option<String>)> {
    let name = level.replace("{address}", &format!("{LOCAL}@{domain}")).replace("{domain}", domain.as_str());
    let (Some((before, _)), Some((_, after))) = (name.split_once(LOCAL), name.rsplit_once(LOCAL)) else {
        return vec![(folder.join(name), local)];
    };
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let one = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(before)?.strip_suffix(after));
        // A name that begins with a dot is no mailbox's.
        let rest = rest.filter(|rest| !rest.is_empty() && !rest.starts_with('.'))?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        is_folder.then(|| (entry.path(), Some(rest.to_owned())))
    };
    entries.flatten().filter_map(one).take(MAILBOXES_MAX).collect()
}

/// Looks at mailboxes; reads at most `reads_max` messages.
///
/// # Errors
/// When what is to be learnt cannot be written down.
pub fn look(
    mailboxes: &[Mailbox],
    (watch, school): (&Watch<'_>, &School),
    reads_max: usize,
) -> Result<Looked, LearnError> {
    let mut looked = Looked { mailboxes: mailboxes.len(), ..Looked::default() };
    let mut left = reads_max;
    let trouble = |looked: &mut Looked, text: String| {
        if looked.troubles.len() < TROUBLES_MAX {
            looked.troubles.push(text);
        }
    };
    for Mailbox { folder: mailbox, addresses } in mailboxes {
        if left == 0 {
            looked.is_cut = true;
            looked.next = Some(mailbox.clone());
            break;
        }
        let mut found = match watch.look(mailbox, &mut left) {
            Ok(found) => found,
            Err(error) => {
                trouble(&mut looked, format!("{}: {error}", mailbox.display()));
                continue;
            }
        };
        looked.is_cut |= found.is_cut;
        if found.unreadable > 0 {
            trouble(
                &mut looked,
                format!("{}: {} messages cannot be read", mailbox.display(), found.unreadable),
            );
        }
        let messages = std::mem::take(&mut found.messages);
        let spam = messages.iter().filter(|(_, class)| *class == Class::Spam).count();
        let ham = messages.len() - spam;
        if !messages.is_empty() {
            match put(school, addresses, &messages)? {
                Put::Waits => {}
                // The shared one learns them all the same.
                Put::NoRoom(why) => trouble(&mut looked, why),
                Put::Full => {
                    // They are found again when what waits has been learnt.
                    looked.is_cut = true;
                    looked.next = Some(mailbox.clone());
                    break;
                }
            }
        }
        looked.spam += spam;
        looked.ham += ham;
        if let Err(error) = found.remember() {
            trouble(&mut looked, format!("{}: {error}", watch.filter.display()));
        }
    }
    looked.reads = reads_max - left;
    Ok(looked)
}

/// What became of messages that were to wait.
enum Put {
    /// They do, for all who learn them.
    Waits,
    /// They do, but not for a filter of their owner's: there are enough of these.
    NoRoom(String),
    /// Too many wait already.
    Full,
}

/// Lets messages of a mailbox wait for all who learn them.
fn put(
    school: &School,
    addresses: &BTreeSet<Address>,
    messages: &[(Read, Class)],
) -> Result<Put, LearnError> {
    let mut put = Put::Waits;
    for pupil in school.pupils(addresses) {
        match school.admit(&pupil) {
            Err(full @ LearnError::Full(_)) => put = Put::NoRoom(full.to_string()),
            Err(error) => return Err(error),
            Ok(()) if waiting::put(&pupil.folder, messages.iter().cloned())? => {}
            Ok(()) => return Ok(Put::Full),
        }
    }
    Ok(put)
}

#[cfg(test)]
mod tests {
    use antispam::learn::{BayesSettings, Filter, Filters, LearnSettings, Owner, SAMPLES_MAX};

    use super::*;

    fn config(deliver: &str) -> Config {
        let text = format!(
            "hostname = \"mx.a.test\"\n[[domain]]\nnames = [\"a.test\", \"b.test\"]\nrecipients = \"static:x\"\ndeliver = \"{deliver}\"\n"
        );
        let loaded = config::parse(&text, Path::new("/etc/staffetta.toml"));
        loaded.map_err(|report| report.render(config::Style::Plain)).unwrap().config
    }

    fn found(base: &Path, deliver: &str) -> Vec<String> {
        let all = mailboxes(&config(deliver), base);
        let shown = |mailbox: &Mailbox| {
            let whose: Vec<String> = mailbox.addresses.iter().map(ToString::to_string).collect();
            format!("{} {}", mailbox.folder.strip_prefix(base).unwrap().display(), whose.join(" "))
        };
        all.iter().map(shown).collect()
    }

    #[test]
    fn mailboxes_are_found_where_they_are_delivered() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        for folder in [
            "mail/a.test/joe/cur",
            "mail/b.test/ann/cur",
            "mail/c.test/not/cur",
            "mail/a.test/.hidden",
            "home/joe@a.test/Maildir",
            "home/other",
            "one/cur",
        ] {
            fs::create_dir_all(base.join(folder)).unwrap();
        }
        fs::write(base.join("mail/a.test/file"), "").unwrap();
        assert_eq!(
            found(base, "maildir:mail/{domain}/{local}/"),
            ["mail/a.test/joe joe@a.test", "mail/b.test/ann ann@b.test"]
        );
        assert_eq!(found(base, "maildir:home/{address}/Maildir"), ["home/joe@a.test/Maildir joe@a.test"]);
        assert_eq!(found(base, "maildir:one"), ["one "]);
        fs::create_dir_all(base.join("both/joe/Maildir")).unwrap();
        assert_eq!(found(base, "maildir:both/{local}/Maildir"), ["both/joe/Maildir joe@a.test joe@b.test"]);
        assert_eq!(found(base, "maildir:absent/{local}"), Vec::<String>::new());
        assert_eq!(found(base, "lmtp:[127.0.0.1]:24"), Vec::<String>::new());
    }

    fn spam(mailbox: &Path, count: usize) {
        fs::create_dir_all(mailbox.join(".Junk/cur")).unwrap();
        for n in 0..count {
            let text = format!("Subject: offer {n}\n\nBuy number {n} from {}.\n", mailbox.display());
            fs::write(mailbox.join(format!(".Junk/cur/{n}:2,S")), text).unwrap();
        }
    }

    /// As somebody who may read nothing that has no mode bits: on this thread alone.
    fn as_nobody<T>(work: impl FnOnce() -> T + Send) -> T
    where
        T: Send,
    {
        let drop_root = || {
            if nix::unistd::geteuid().is_root() {
                nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65_534));
            }
        };
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    drop_root();
                    work()
                })
                .join()
                .unwrap()
        })
    }

    #[test]
    fn what_cannot_be_read_keeps_no_other_mailbox_waiting() {
        use std::os::unix::fs::PermissionsExt;
        let base = tempfile::tempdir().unwrap();
        let filter = base.path().join("bayes");
        fs::create_dir(&filter).unwrap();
        for folder in [base.path(), &filter] {
            fs::set_permissions(folder, PermissionsExt::from_mode(0o777)).unwrap();
        }
        let mailboxes = ["ann", "joe"].map(|name| unnamed(base.path().join(name)));
        spam(&mailboxes[0].folder, 1_200);
        for file in fs::read_dir(mailboxes[0].folder.join(".Junk/cur")).unwrap() {
            fs::set_permissions(file.unwrap().path(), PermissionsExt::from_mode(0o000)).unwrap();
        }
        spam(&mailboxes[1].folder, 3);
        let school = school(&filter, Filters::Shared);
        let watch = Watch { filter: &filter, junk: ".Junk", trash: &[] };
        let looked = as_nobody(|| look(&mailboxes, (&watch, &school), 1_000)).unwrap();
        assert_eq!((looked.spam, looked.reads, looked.is_cut, &looked.next), (3, 3, false, &None));
        assert!(looked.troubles[0].ends_with("1200 messages cannot be read"), "{:?}", looked.troubles);
    }

    #[test]
    fn a_busy_mailbox_keeps_no_other_waiting_for_ever() {
        let base = tempfile::tempdir().unwrap();
        let filter = base.path().join("bayes");
        let all = ["ann", "joe", "kim"].map(|name| unnamed(base.path().join(name))).to_vec();
        spam(&all[0].folder, 6);
        spam(&all[1].folder, 4);
        spam(&all[2].folder, 1);
        let school = school(&filter, Filters::Shared);
        let watch = Watch { filter: &filter, junk: ".Junk", trash: &[] };
        let (mut next, mut learnt) = (None, Vec::new());
        for _ in 0..4 {
            let looked = look(&from(all.clone(), next), (&watch, &school), 3).unwrap();
            learnt.push(looked.spam);
            next = looked.next;
        }
        // Of ann; of joe; of kim, and two more of ann; the last of joe and of ann.
        assert_eq!(learnt, [3, 3, 3, 2]);
        assert_eq!(from(all.clone(), Some("gone".into())), all);
    }

    fn unnamed(folder: PathBuf) -> Mailbox {
        Mailbox { folder, addresses: BTreeSet::new() }
    }

    fn school(filter: &Path, kind: Filters) -> School {
        let learn = LearnSettings { filters: kind, own_filters_max: 1, ..LearnSettings::default() };
        School::new(filter.to_owned(), &learn, &BayesSettings::default())
    }

    #[test]
    fn what_its_owner_has_moved_teaches_his_own_filter_too() {
        let base = tempfile::tempdir().unwrap();
        let filter = base.path().join("bayes");
        let mailboxes = ["joe@a.test", "ann@a.test"].map(|name| {
            let folder = base.path().join(name);
            fs::create_dir_all(folder.join(".Junk/cur")).unwrap();
            fs::write(folder.join(".Junk/cur/1:2,S"), format!("Subject: offer\n\nBuy, {name}.\n")).unwrap();
            Mailbox { folder, addresses: BTreeSet::from([Address::parse(name).unwrap()]) }
        });
        let watch = Watch { filter: &filter, junk: ".Junk", trash: &[] };
        let school = school(&filter, Filters::Account);
        let looked = look(&mailboxes, (&watch, &school), 10).unwrap();
        assert_eq!(looked.spam, 2);
        assert!(looked.troubles[0].contains("ann@a.test's own"), "{:?}", looked.troubles);
        let joe = Owner::parse("joe@a.test").unwrap();
        assert_eq!(waiting::count(&joe.folder(&filter)).unwrap(), 1);
        assert_eq!(waiting::count(&filter).unwrap(), 2);
    }

    #[test]
    fn what_is_found_waits_and_is_learnt_once() {
        let base = tempfile::tempdir().unwrap();
        let (filter, mailbox) = (base.path().join("bayes"), base.path().join("joe"));
        fs::create_dir_all(mailbox.join(".Junk/cur")).unwrap();
        for n in 0..3 {
            let text = format!("Subject: offer {n}\n\nBuy number {n}.\n");
            fs::write(mailbox.join(format!(".Junk/cur/{n}:2,S")), text).unwrap();
        }
        let watch = Watch { filter: &filter, junk: ".Junk", trash: &[] };
        let mailboxes = [unnamed(mailbox.clone())];
        let school = school(&filter, Filters::Account);
        let with = (&watch, &school);
        let first = look(&mailboxes, with, 2).unwrap();
        assert_eq!((first.spam, first.is_cut), (2, true));
        let second = look(&mailboxes, with, 10).unwrap();
        assert_eq!(second, Looked { mailboxes: 1, spam: 1, reads: 1, ..Looked::default() });
        assert_eq!(look(&mailboxes, with, 10).unwrap().spam, 0);
        let mut learnt = Filter::open(&filter, false).unwrap();
        assert_eq!(waiting::take_in(&filter, &mut learnt, SAMPLES_MAX).unwrap(), 3);
    }
}
