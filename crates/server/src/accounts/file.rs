//! The accounts file: TOML, one `[[account]]` table each; read with errors that name the line, replaced atomically.
//!
//! The file is managed by `staffetta account`, which rewrites it whole; a comment at its top says so. A change is
//! written beside it, synced, given the old file's owner and mode, and renamed over it, under a lock on the folder, so
//! that two commands at once do not lose each other's work, and a crash leaves the old file or the new one.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use mail::Address;
use serde::{Deserialize, Serialize};

use super::AccountsError;
use super::password::{ScramKeys, StoredHash};

/// What stands at the top of the file.
const HEADING: &str = "# Accounts of Staffetta, written by `staffetta account` (add, passwd, list, remove).\n\
                       # It rewrites the whole file: comments of your own do not stay.\n\n";
/// Mode of a new file: it holds password hashes.
const MODE: u32 = 0o600;
/// An accounts file longer than this is refused.
pub(super) const FILE_BYTES_MAX: u64 = 64 << 20;

/// One account as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Its address: lower case, no tag.
    pub(super) address: String,
    /// The hash, for PLAIN and LOGIN; an account without one receives only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<String>,
    /// SCRAM keys made from the same password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scram_sha_256: Option<String>,
    /// Further addresses it may send from; `@domain` for all of a domain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) send_as: Vec<String>,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entries {
    #[serde(default)]
    pub(super) account: Vec<Entry>,
}

/// What is needed of the text besides [`Entries`]: where each address stands.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    account: Vec<Place>,
}

#[derive(Deserialize)]
struct Place {
    address: toml::Spanned<String>,
}

/// An account as it is used.
#[derive(Debug)]
pub struct Account {
    /// Its address.
    pub address: Address,
    /// Its address in lower case: its name everywhere else.
    pub name: std::sync::Arc<str>,
    pub(super) hash: Option<StoredHash>,
    pub(super) scram: Option<ScramKeys>,
    pub(super) send_as: Vec<SendAs>,
}

/// A permission to send from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SendAs {
    /// This address.
    Address(Address),
    /// Every address of this domain.
    Domain(mail::Domain),
}

impl SendAs {
    pub(super) fn parse(text: &str) -> Result<Self, mail::AddressError> {
        match text.strip_prefix('@') {
            Some(domain) => Ok(Self::Domain(mail::Domain::parse(domain)?)),
            None => Ok(Self::Address(Address::parse(text)?)),
        }
    }
}

/// A mailbox name that delivery agents may turn into a path: `[a-z0-9_][a-z0-9._+=-]{0,63}`.
pub(super) fn is_mailbox_name(local: &str) -> bool {
    let mut bytes = local.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._+=-".contains(&b);
    first && local.len() <= 64 && bytes.all(rest)
}

/// Reads the text of an accounts file.
pub(super) fn parse(path: &Path, text: &str) -> Result<(Entries, Vec<Account>), AccountsError> {
    // Without the line itself, which toml would show: it may be one with a hash, and errors go to the log (I7).
    let syntax = |e: toml::de::Error| AccountsError::Syntax {
        path: path.to_owned(),
        line: e.span().map_or(1, |span| line_of(text, span.start)),
        message: e.message().to_owned(),
    };
    let entries: Entries = toml::from_str(text).map_err(syntax)?;
    let places: Places = toml::from_str(text).map_err(syntax)?;
    let mut accounts = Vec::with_capacity(entries.account.len());
    for (entry, place) in entries.account.iter().zip(&places.account) {
        let account = account(entry).map_err(|message| AccountsError::Entry {
            path: path.to_owned(),
            line: line_of(text, place.address.span().start),
            address: entry.address.clone(),
            message,
        })?;
        accounts.push(account);
    }
    Ok((entries, accounts))
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&b| b == b'\n').count() + 1
}

fn account(entry: &Entry) -> Result<Account, String> {
    let address = Address::parse(&entry.address).map_err(|e| e.to_string())?;
    let name = address.lookup_key();
    if !is_mailbox_name(&address.local.as_str().to_lowercase()) {
        return Err(
            "a mailbox name has 1 to 64 of a-z 0-9 . _ + = -, and begins with a letter, digit or _".into()
        );
    }
    let hash = entry.password.as_deref().map(StoredHash::parse).transpose().map_err(|e| e.to_string())?;
    let scram =
        entry.scram_sha_256.as_deref().map(ScramKeys::parse).transpose().map_err(|e| e.to_string())?;
    let send_as: Result<Vec<SendAs>, String> = entry
        .send_as
        .iter()
        .map(|text| SendAs::parse(text).map_err(|e| format!("send_as: {text}: {e}")))
        .collect();
    Ok(Account { address, name: name.into(), hash, scram, send_as: send_as? })
}

/// Reads an accounts file.
pub(super) fn read(path: &Path) -> Result<(Entries, Vec<Account>), AccountsError> {
    let metadata = std::fs::metadata(path).map_err(|e| AccountsError::read(path, &e))?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(AccountsError::read(path, &std::io::ErrorKind::FileTooLarge.into()));
    }
    let text = std::fs::read_to_string(path).map_err(|e| AccountsError::read(path, &e))?;
    parse(path, &text)
}

/// Changes the accounts file, which is made when it is not there. `owner` is whose a new file shall be.
pub(super) fn change<T>(
    path: &Path,
    owner: Option<(u32, u32)>,
    edit: impl FnOnce(&mut Entries) -> Result<T, AccountsError>,
) -> Result<T, AccountsError> {
    let failed = |e: &std::io::Error| AccountsError::Write { path: path.to_owned(), message: e.to_string() };
    let folder = folder_of(path);
    let lock = File::open(&folder).map_err(|e| failed(&e))?;
    lock.lock().map_err(|e| failed(&e))?;
    let mut entries = if path.exists() { read(path)?.0 } else { Entries::default() };
    let result = edit(&mut entries)?;
    let body = toml::to_string(&entries).map_err(|e| failed(&std::io::Error::other(e)))?;
    let text = format!("{HEADING}{body}");
    // What is written must be readable: a mistake here would lock everybody out.
    parse(path, &text)?;
    replace(path, &folder, text.as_bytes(), owner).map_err(|e| failed(&e))?;
    Ok(result)
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// Writes beside, syncs, renames, syncs the folder.
fn replace(path: &Path, folder: &Path, bytes: &[u8], owner: Option<(u32, u32)>) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    let _ = std::fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&beside)?;
    let written = (|| {
        file.write_all(bytes)?;
        match std::fs::metadata(path) {
            Ok(old) => keep(&file, old.mode() & 0o7777, Some((old.uid(), old.gid())))?,
            Err(_) => keep(&file, MODE, owner)?,
        }
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// Gives the new file the mode, and the owner where it is another's.
fn keep(file: &File, mode: u32, owner: Option<(u32, u32)>) -> std::io::Result<()> {
    let now = file.metadata()?;
    if let Some((uid, gid)) = owner.filter(|owner| *owner != (now.uid(), now.gid())) {
        fchown(file, Some(uid), Some(gid))?;
    }
    file.set_permissions(Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_line_and_the_account() {
        let text = "[[account]]\naddress = \"a@b.test\"\n\n[[account]]\naddress = \"c@b.test\"\npassword = \"plain\"\n";
        let error = parse(Path::new("accounts.toml"), text).unwrap_err().to_string();
        assert!(
            error.starts_with("accounts.toml:5: c@b.test: the stored hash is of no known kind"),
            "{error}"
        );
        let error =
            parse(Path::new("accounts.toml"), "[[account]]\nadress = \"x\"\n").unwrap_err().to_string();
        assert!(error.starts_with("accounts.toml:2: ") && error.contains("adress"), "{error}");
        for bad in ["../x@b.test", "ä@b.test", "-x@b.test", "x"] {
            let text = format!("[[account]]\naddress = \"{bad}\"\n");
            assert!(parse(Path::new("f"), &text).is_err(), "{bad}");
        }
    }

    /// Errors of the accounts file end up in the log.
    // invariant: I7
    #[test]
    fn no_error_shows_a_hash() {
        let hash = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$RdescudvJCsgt3ub";
        for line in [
            format!("password = {hash}"),
            format!("password = \"{hash}"),
            format!("password = [\"{hash}\"]"),
            format!("pasword = \"{hash}\""),
            format!("password = \"{hash}\"\nscram_sha_256 = \"{hash}\""),
            format!("password = \"x{hash}\""),
        ] {
            let text = format!("[[account]]\naddress = \"a@b.test\"\n{line}\n");
            let error = parse(Path::new("accounts.toml"), &text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("Rdescudv"), "{line}: {error}");
        }
    }

    #[test]
    fn a_change_keeps_mode_and_other_accounts_and_leaves_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.toml");
        let add = |address: &str| {
            let entry =
                Entry { address: address.into(), password: None, scram_sha_256: None, send_as: Vec::new() };
            change(&path, None, |entries| {
                entries.account.push(entry);
                Ok(())
            })
        };
        add("a@b.test").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        add("c@b.test").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        let (entries, _) = read(&path).unwrap();
        assert_eq!(entries.account.len(), 2);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_change_that_fails_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.toml");
        std::fs::write(&path, "[[account]]\naddress = \"a@b.test\"\n").unwrap();
        let before = std::fs::read(&path).unwrap();
        let result = change(&path, None, |entries| {
            entries.account.clear();
            entries.account.push(Entry {
                address: "not an address".into(),
                password: None,
                scram_sha_256: None,
                send_as: Vec::new(),
            });
            Ok(())
        });
        assert!(result.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
