//! The Junk folders of all Maildirs of ours: which there are, and one look at them.
//!
//! Mailboxes are found on disk, by the way that `[[domain]] deliver` writes their paths, so that those of tables are found like
//! those of accounts. What is learnt from a mailbox waits beside the filter before the mailbox counts as looked at.
//! A mailbox that cannot be read is told of, and does not keep others from being looked at.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use antispam::learn::junk::Watch;
use antispam::learn::{Class, LearnError, waiting};
use config::Config;
use mail::{Domain, NextHop};

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
pub fn from(mut mailboxes: Vec<PathBuf>, first: Option<PathBuf>) -> Vec<PathBuf> {
    let place = first.and_then(|first| mailboxes.iter().position(|mailbox| *mailbox == first));
    mailboxes.rotate_left(place.unwrap_or(0));
    mailboxes
}

/// The Maildirs that there are.
#[must_use]
pub fn mailboxes(config: &Config, base: &Path) -> Vec<PathBuf> {
    let mut all = BTreeSet::new();
    for domain in &config.domain {
        let Ok(NextHop::Maildir(template)) = NextHop::parse_beneath(&domain.deliver, base) else { continue };
        for name in domain.domains() {
            let mut found = vec![template.root().to_owned()];
            for level in template.levels() {
                found = found.iter().flat_map(|folder| below(folder, level, name)).collect();
                found.truncate(MAILBOXES_MAX);
            }
            all.extend(found.into_iter().filter(|folder| folder.is_dir()));
        }
    }
    all.into_iter().take(MAILBOXES_MAX).collect()
}

/// The folders that a name with placeholders stands for.
fn below(folder: &Path, level: &str, domain: &Domain) -> Vec<PathBuf> {
    let name = level.replace("{address}", &format!("{LOCAL}@{domain}")).replace("{domain}", domain.as_str());
    let (Some((before, _)), Some((_, after))) = (name.split_once(LOCAL), name.rsplit_once(LOCAL)) else {
        return vec![folder.join(name)];
    };
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let is_one = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(before)?.strip_suffix(after));
        // A name that begins with a dot is no mailbox's.
        let is_named = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('.'));
        is_named && entry.file_type().is_ok_and(|kind| kind.is_dir())
    };
    entries.flatten().filter(is_one).map(|entry| entry.path()).take(MAILBOXES_MAX).collect()
}

/// Looks at mailboxes; reads at most `reads_max` messages.
///
/// # Errors
/// When what is to be learnt cannot be written down.
pub fn look(mailboxes: &[PathBuf], watch: &Watch<'_>, reads_max: usize) -> Result<Looked, LearnError> {
    let mut looked = Looked { mailboxes: mailboxes.len(), ..Looked::default() };
    let mut left = reads_max;
    let trouble = |looked: &mut Looked, text: String| {
        if looked.troubles.len() < TROUBLES_MAX {
            looked.troubles.push(text);
        }
    };
    for mailbox in mailboxes {
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
        if !messages.is_empty() && !waiting::put(watch.filter, messages)? {
            // They are found again when what waits has been learnt.
            looked.is_cut = true;
            looked.next = Some(mailbox.clone());
            break;
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

#[cfg(test)]
mod tests {
    use antispam::learn::{Filter, SAMPLES_MAX};

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
        all.iter().map(|path| path.strip_prefix(base).unwrap().display().to_string()).collect()
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
        assert_eq!(found(base, "maildir:mail/{domain}/{local}/"), ["mail/a.test/joe", "mail/b.test/ann"]);
        assert_eq!(found(base, "maildir:home/{address}/Maildir"), ["home/joe@a.test/Maildir"]);
        assert_eq!(found(base, "maildir:one"), ["one"]);
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
        let mailboxes = ["ann", "joe"].map(|name| base.path().join(name));
        spam(&mailboxes[0], 1_200);
        for file in fs::read_dir(mailboxes[0].join(".Junk/cur")).unwrap() {
            fs::set_permissions(file.unwrap().path(), PermissionsExt::from_mode(0o000)).unwrap();
        }
        spam(&mailboxes[1], 3);
        let watch = Watch { filter: &filter, junk: ".Junk", trash: &[] };
        let looked = as_nobody(|| look(&mailboxes, &watch, 1_000)).unwrap();
        assert_eq!((looked.spam, looked.reads, looked.is_cut, &looked.next), (3, 3, false, &None));
        assert!(looked.troubles[0].ends_with("1200 messages cannot be read"), "{:?}", looked.troubles);
    }

    #[test]
    fn a_busy_mailbox_keeps_no_other_waiting_for_ever() {
        let base = tempfile::tempdir().unwrap();
        let filter = base.path().join("bayes");
        let all: Vec<PathBuf> = ["ann", "joe", "kim"].map(|name| base.path().join(name)).to_vec();
        spam(&all[0], 6);
        spam(&all[1], 4);
        spam(&all[2], 1);
        let watch = Watch { filter: &filter, junk: ".Junk", trash: &[] };
        let (mut next, mut learnt) = (None, Vec::new());
        for _ in 0..4 {
            let looked = look(&from(all.clone(), next), &watch, 3).unwrap();
            learnt.push(looked.spam);
            next = looked.next;
        }
        // Of ann; of joe; of kim, and two more of ann; the last of joe and of ann.
        assert_eq!(learnt, [3, 3, 3, 2]);
        assert_eq!(from(all.clone(), Some("gone".into())), all);
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
        let mailboxes = [mailbox.clone()];
        let first = look(&mailboxes, &watch, 2).unwrap();
        assert_eq!((first.spam, first.is_cut), (2, true));
        let second = look(&mailboxes, &watch, 10).unwrap();
        assert_eq!(second, Looked { mailboxes: 1, spam: 1, reads: 1, ..Looked::default() });
        assert_eq!(look(&mailboxes, &watch, 10).unwrap().spam, 0);
        let mut learnt = Filter::open(&filter, false).unwrap();
        assert_eq!(waiting::take_in(&filter, &mut learnt, SAMPLES_MAX).unwrap(), 3);
    }
}
