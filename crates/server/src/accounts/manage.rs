//! What `staffetta account` does to the accounts file: add, set a password, list, remove.
//!
//! Works on the file alone, whether the server runs or not; a running server sees the change by itself.

use std::path::Path;

use antispam::connect::rates::locks::Lock;
use mail::Address;

use super::AccountsError;
use super::file::{self, Entry, SendAs, is_mailbox_name};
use super::password::{Cost, NewPassword, StoredHash};

/// A credential that an account is given.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A password: argon2id and SCRAM keys are made of it.
    Password(zeroize::Zeroizing<Vec<u8>>),
    /// A hash from another system: serves PLAIN and LOGIN.
    Imported(String),
    /// None: the account receives only.
    None,
}

/// An account as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Its address.
    pub address: String,
    /// `argon2id+scram`, `imported` or `none`.
    pub login: &'static str,
    /// Further addresses it may send from.
    pub send_as: Vec<String>,
    /// Why it may not log in now; to be filled in from what a running server knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked: Option<Lock>,
}

/// Adds an account. `owner` is whose the file shall be when it is made anew.
///
/// # Errors
/// When it is there already, its name is no mailbox name, the credential cannot be stored, or the file cannot be
/// read or written.
pub fn add(
    path: &Path,
    address: &Address,
    credential: &Credential,
    send_as: &[String],
    cost: Cost,
    owner: Option<(u32, u32)>,
) -> Result<(), AccountsError> {
    let name = address.lookup_key();
    if !is_mailbox_name(&address.local.as_str().to_lowercase()) {
        return Err(AccountsError::Name(address.to_string()));
    }
    for text in send_as {
        SendAs::parse(text)
            .map_err(|e| AccountsError::SendAs { text: text.clone(), message: e.to_string() })?;
    }
    let mut entry = Entry { address: name, password: None, scram_sha_256: None, send_as: send_as.to_vec() };
    give(&mut entry, credential, cost)?;
    file::change(path, owner, |entries| {
        if find(&mut entries.account, address).is_some() {
            return Err(AccountsError::Exists(address.to_string()));
        }
        entries.account.push(entry);
        Ok(())
    })
}

/// Gives an account another credential.
///
/// # Errors
/// When there is no such account, or as for [`add`].
pub fn set_credential(
    path: &Path,
    address: &Address,
    credential: &Credential,
    cost: Cost,
) -> Result<(), AccountsError> {
    let mut made = Entry { address: String::new(), password: None, scram_sha_256: None, send_as: Vec::new() };
    give(&mut made, credential, cost)?;
    file::change(path, None, |entries| {
        let entry =
            find(&mut entries.account, address).ok_or_else(|| AccountsError::Absent(address.to_string()))?;
        (entry.password, entry.scram_sha_256) = (made.password, made.scram_sha_256);
        Ok(())
    })
}

/// Removes an account. Its mail stays where it is.
///
/// # Errors
/// When there is no such account, or the file cannot be read or written.
pub fn remove(path: &Path, address: &Address) -> Result<(), AccountsError> {
    file::change(path, None, |entries| {
        let before = entries.account.len();
        entries.account.retain(|entry| !is_for(entry, address));
        if entries.account.len() == before { Err(AccountsError::Absent(address.to_string())) } else { Ok(()) }
    })
}

/// All accounts, in the order of the file.
///
/// # Errors
/// When the file cannot be read.
pub fn list(path: &Path) -> Result<Vec<Summary>, AccountsError> {
    let (entries, _) = file::read(path)?;
    let summary = |entry: Entry| Summary {
        login: match (&entry.password, &entry.scram_sha_256) {
            (Some(_), Some(_)) => "argon2id+scram",
            (Some(_), None) => "imported",
            _ => "none",
        },
        address: entry.address,
        send_as: entry.send_as,
        locked: None,
    };
    Ok(entries.account.into_iter().map(summary).collect())
}

/// Hashes before the lock is taken: hashing is slow.
fn give(entry: &mut Entry, credential: &Credential, cost: Cost) -> Result<(), AccountsError> {
    (entry.password, entry.scram_sha_256) = match credential {
        Credential::Password(password) => {
            let new = NewPassword::create(password, cost)?;
            (Some(new.hash), Some(new.scram.to_text()))
        }
        Credential::Imported(hash) => {
            StoredHash::parse(hash)?;
            (Some(hash.clone()), None)
        }
        Credential::None => (None, None),
    };
    Ok(())
}

fn find<'a>(entries: &'a mut [Entry], address: &Address) -> Option<&'a mut Entry> {
    entries.iter_mut().find(|entry| is_for(entry, address))
}

fn is_for(entry: &Entry, address: &Address) -> bool {
    Address::parse(&entry.address).is_ok_and(|a| a.lookup_key() == address.lookup_key())
}
