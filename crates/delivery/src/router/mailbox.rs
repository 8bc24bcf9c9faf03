//! Which mailbox an address of ours names: the look-up, and the canonical name that paths are made of.

use mail::{Address, LocalPart};
use tables::{Answer, Table, address};

use super::{LocalDomain, Recipients, Router};

/// What a look-up of a recipient came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mailbox {
    /// It exists; its canonical name.
    Found(String),
    /// It does not.
    Absent,
    /// It exists, but no folder can be named after it (5.1.3).
    Bad,
    /// Nobody knows (451, never 550: a failed look-up is no absence).
    Unavailable(String),
}

/// Longest canonical mailbox name, in octets.
const NAME_BYTES_MAX: usize = 64;

impl Router {
    /// Looks a recipient up in its domain.
    ///
    /// In a table: the whole address, the address without its tag, the local part alone, `@domain`. In the accounts: the
    /// address, then without its tag.
    pub(super) async fn mailbox(&self, domain: &LocalDomain, address: &Address) -> Mailbox {
        let bare = address::without_tag(address, self.delimiter);
        let bare = bare.as_ref().unwrap_or(address);
        let answer = match &domain.recipients {
            Recipients::Accounts => match self.directory.find(address) {
                Answer::Absent if bare != address => self.directory.find(bare),
                answer => answer,
            },
            Recipients::Table(table) => in_table(table.as_ref(), address, bare).await,
        };
        match answer {
            Answer::Found(value) => canonical(&value, &bare.local, domain.deliver.needs_mailbox()),
            Answer::Absent => Mailbox::Absent,
            Answer::Unavailable(why) => Mailbox::Unavailable(why),
        }
    }
}

async fn in_table(table: &dyn Table, address: &Address, bare: &Address) -> Answer {
    let whole = address.lookup_key();
    let without = (bare != address).then(|| bare.lookup_key());
    let local = bare.local.as_str().to_lowercase();
    let domain = format!("@{}", address.domain);
    for key in [Some(whole), without, Some(local), Some(domain)].into_iter().flatten() {
        match table.lookup(&key).await {
            Answer::Absent => {}
            // A failure ends the search: a later key must not answer for one that could not be asked.
            answer => return answer,
        }
    }
    Answer::Absent
}

/// The canonical mailbox name: the value found, or the local part where the value only says yes.
///
/// `ok`, `yes`, `true`, `1`, `x`, `*` and `permit`, in any case, say yes. Of an address the part before the `@` counts.
/// Always lower case and without a tag. Where a path is made of it, it must be `[a-z0-9_][a-z0-9._+=-]{0,63}`.
fn canonical(value: &str, bare: &LocalPart, needs_name: bool) -> Mailbox {
    let value = value.trim();
    let says_yes =
        ["", "ok", "yes", "true", "1", "x", "*", "permit"].iter().any(|yes| value.eq_ignore_ascii_case(yes));
    let name = match value.rsplit_once('@') {
        _ if says_yes => bare.as_str(),
        Some((local, _)) => local,
        None => value,
    };
    let name = name.to_lowercase();
    if needs_name && !is_name(&name) { Mailbox::Bad } else { Mailbox::Found(name) }
}

/// True for `[a-z0-9_][a-z0-9._+=-]{0,63}`: nothing that a file system could read as more than one plain name.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    name.len() <= NAME_BYTES_MAX
        && name.bytes().next().is_some_and(plain)
        && name.bytes().all(|b| plain(b) || b".+=-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(value: &str, local: &str) -> Mailbox {
        canonical(value, &LocalPart::from_unquoted(local).unwrap(), true)
    }

    #[test]
    fn a_yes_means_the_local_part_and_anything_else_is_the_name() {
        for yes in ["ok", "OK", "yes", "true", "1", "x", " ok "] {
            assert_eq!(name(yes, "Joe.Smith"), Mailbox::Found("joe.smith".into()), "{yes}");
        }
        assert_eq!(name("Joe", "j"), Mailbox::Found("joe".into()));
        assert_eq!(name("joe@a.test", "j"), Mailbox::Found("joe".into()));
    }

    #[test]
    fn what_could_leave_its_folder_is_no_name() {
        let long = "a".repeat(65);
        for bad in ["../x", ".x", "-x", "a/b", "a b", "a\0b", "j\u{f6}rg", "a.test/joe/", "+x", long.as_str()]
        {
            assert_eq!(name(bad, "joe"), Mailbox::Bad, "{bad}");
            if !bad.contains('\0') {
                assert_eq!(name("ok", bad), Mailbox::Bad, "{bad}");
            }
        }
        assert_eq!(name("ok", &"a".repeat(64)), Mailbox::Found("a".repeat(64)));
        assert_eq!(name("a._+=-9", "x"), Mailbox::Found("a._+=-9".into()));
    }

    #[test]
    fn a_peer_is_sent_any_local_part() {
        let odd = LocalPart::from_unquoted("o'brien").unwrap();
        assert_eq!(canonical("ok", &odd, false), Mailbox::Found("o'brien".into()));
    }
}
