//! Whose filter: that of a domain or of an account, besides the one that all share; and where it is on disk.
//!
//! Beneath the shared filter's folder, `domains/DOMAIN` and `accounts/DOMAIN/LOCAL-PART`, each a filter's folder like any. A
//! name of a folder is made so that no address leads elsewhere, and so that it can be read back.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mail::{Address, Domain, LocalPart};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose opinion counts on top of the shared filter's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Filters {
    /// Nobody's: there is one filter for all.
    #[default]
    Shared,
    /// Each domain's, for its recipients.
    Domain,
    /// Each account's, for its own mail.
    Account,
}

impl Filters {
    /// As it is written in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Domain => "domain",
            Self::Account => "account",
        }
    }

    /// Whose filter is asked about mail for this mailbox; nobody's when there is one for all.
    #[must_use]
    pub fn owner_of(self, mailbox: &Address) -> Option<Owner> {
        match self {
            Self::Shared => None,
            Self::Domain => Some(Owner::Domain(mailbox.domain.clone())),
            Self::Account => Owner::account(mailbox.local.as_str(), &mailbox.domain),
        }
    }
}

/// Longest name of a folder, in octets, that every file system takes.
const NAME_BYTES_MAX: usize = 255;
/// Folder of the filters of domains.
const DOMAINS: &str = "domains";
/// Folder of the filters of accounts, with one for each domain.
const ACCOUNTS: &str = "accounts";
/// The files of which a filter has one as soon as anything is to be learnt: without them a folder is none.
const MARKS: [&str; 2] = ["samples", "waiting"];

/// Whose filter it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// All recipients of a domain.
    Domain(Domain),
    /// One mailbox; its local part in lower case.
    Account(Address),
}

/// Why a text names nobody who could have a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is neither an address nor a domain: write joe@example.test, or example.test for all of a domain"
)]
pub struct OwnerError(String);

impl Owner {
    /// From `joe@example.test`, `example.test` or `@example.test`.
    ///
    /// # Errors
    /// [`OwnerError`].
    pub fn parse(text: &str) -> Result<Self, OwnerError> {
        let wrong = || OwnerError(text.to_owned());
        match text.rsplit_once('@') {
            None | Some(("", _)) => {
                Domain::parse(text.trim_start_matches('@')).map(Self::Domain).map_err(|_| wrong())
            }
            Some(_) => {
                let address = Address::parse(text).map_err(|_| wrong())?;
                Self::account(address.local.as_str(), &address.domain).ok_or_else(wrong)
            }
        }
    }

    /// The account with this mailbox, in any case. None when no folder can be named after it.
    #[must_use]
    pub fn account(local: &str, domain: &Domain) -> Option<Self> {
        let local = local.to_lowercase();
        let fits = !local.is_empty() && written(&local).len() <= NAME_BYTES_MAX;
        let local = LocalPart::from_unquoted(&local).ok().filter(|_| fits)?;
        Some(Self::Account(Address { local, domain: domain.clone() }))
    }

    /// The folder of this filter, beneath that of the shared one.
    #[must_use]
    pub fn folder(&self, shared: &Path) -> PathBuf {
        match self {
            Self::Domain(domain) => shared.join(DOMAINS).join(written(domain.as_str())),
            Self::Account(address) => {
                let domain = shared.join(ACCOUNTS).join(written(address.domain.as_str()));
                domain.join(written(address.local.as_str()))
            }
        }
    }

    /// What kind of filters this is one of.
    #[must_use]
    pub const fn kind(&self) -> Filters {
        match self {
            Self::Domain(_) => Filters::Domain,
            Self::Account(_) => Filters::Account,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => domain.fmt(f),
            Self::Account(address) => address.fmt(f),
        }
    }
}

/// All who have a filter, in order; of a kind that is not in use, too. At most `count_max` of them.
///
/// # Errors
/// When a folder cannot be listed.
pub fn all(shared: &Path, count_max: usize) -> io::Result<Vec<Owner>> {
    let mut owners = Vec::new();
    for name in names(&shared.join(DOMAINS))? {
        if let Ok(domain) = Domain::parse(&name) {
            owners.push(Owner::Domain(domain));
        }
    }
    for name in names(&shared.join(ACCOUNTS))? {
        let Ok(domain) = Domain::parse(&name) else { continue };
        let locals = names(&shared.join(ACCOUNTS).join(written(domain.as_str())))?;
        owners.extend(locals.iter().filter_map(|local| Owner::account(local, &domain)));
    }
    owners.retain(|owner| has_learnt(&owner.folder(shared)));
    owners.sort();
    owners.truncate(count_max);
    Ok(owners)
}

/// True when there is a filter in this folder, or something that waits for one.
#[must_use]
pub fn has_learnt(folder: &Path) -> bool {
    MARKS.iter().any(|mark| folder.join(mark).exists())
}

/// The names for which there are folders here; none when there is no such folder.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let name = |entry: fs::DirEntry| read_back(entry.file_name().to_str()?);
    entries.filter_map(|entry| entry.map(name).transpose()).collect()
}

/// A name as a folder has it: what is neither a letter, a digit nor one of `_+-=.` is `%` and its octet.
fn written(name: &str) -> String {
    let mut folder = String::with_capacity(name.len());
    for (place, octet) in name.bytes().enumerate() {
        let is_plain = octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"_+-=".contains(&octet);
        // A name that begins with a dot is hidden, or leads elsewhere.
        if is_plain || (octet == b'.' && place > 0) {
            folder.push(char::from(octet));
        } else {
            folder.push_str(&format!("%{octet:02X}"));
        }
    }
    folder
}

/// The name that a folder is called after; none when it is called after nothing.
fn read_back(folder: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(folder.len());
    let mut rest = folder.bytes();
    while let Some(octet) = rest.next() {
        if octet == b'%' {
            let digits = [rest.next()?, rest.next()?];
            octets.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            octets.push(octet);
        }
    }
    let name = String::from_utf8(octets).ok()?;
    (written(&name) == folder).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_owner_is_an_address_or_a_domain() {
        let shown = |text: &str| Owner::parse(text).map(|owner| owner.to_string());
        assert_eq!(shown("Joe@Example.test").unwrap(), "joe@example.test");
        assert_eq!(shown("example.test").unwrap(), "example.test");
        assert_eq!(shown("@example.test").unwrap(), "example.test");
        assert!(matches!(Owner::parse("@example.test"), Ok(Owner::Domain(_))));
        for wrong in ["", "@", "joe@", "joe@@", "a b"] {
            assert!(Owner::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            Owner::parse("joe smith").unwrap_err().to_string(),
            "\"joe smith\" is neither an address nor a domain: write joe@example.test, or example.test for all of a domain"
        );
    }

    #[test]
    fn no_address_leads_out_of_its_folder() {
        let base = Path::new("/x");
        let folder = |text: &str| Owner::parse(text).unwrap().folder(base).display().to_string();
        assert_eq!(folder("joe.smith+x@a.test"), "/x/accounts/a.test/joe.smith+x");
        assert_eq!(folder("a.test"), "/x/domains/a.test");
        assert_eq!(folder("\"../../etc\"@a.test"), "/x/accounts/a.test/%2E.%2F..%2Fetc");
        assert_eq!(folder("\".\"@a.test"), "/x/accounts/a.test/%2E");
        assert_eq!(folder("jürgen@a.test"), "/x/accounts/a.test/j%C3%BCrgen");
    }

    #[test]
    fn whoever_has_a_filter_is_found() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        assert_eq!(all(base, 9).unwrap(), []);
        for text in ["joe@a.test", "\"a b\"@b.test", "b.test"] {
            let folder = Owner::parse(text).unwrap().folder(base);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("samples"), "").unwrap();
        }
        fs::create_dir_all(base.join("accounts/a.test/Nobody/x")).unwrap();
        fs::create_dir_all(base.join("accounts/a.test/empty")).unwrap();
        let found: Vec<String> = all(base, 9).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(found, ["b.test", "\"a b\"@b.test", "joe@a.test"]);
        assert_eq!(all(base, 2).unwrap().len(), 2);
    }

    #[test]
    fn each_kind_has_its_owners() {
        let joe = Address::parse("Joe@a.test").unwrap();
        assert_eq!(Filters::Shared.owner_of(&joe), None);
        assert_eq!(Filters::Domain.owner_of(&joe).unwrap().to_string(), "a.test");
        assert_eq!(Filters::Account.owner_of(&joe).unwrap().to_string(), "joe@a.test");
    }

    proptest! {
        /// Any mailbox has a folder of its own, and is read back from it.
        #[test]
        fn names_are_read_back(name in "\\PC{1,40}") {
            let name = name.to_lowercase();
            let folder = written(&name);
            prop_assert_eq!(read_back(&folder), Some(name));
            prop_assert!(!folder.starts_with('.') && !folder.contains('/'));
        }
    }
}
