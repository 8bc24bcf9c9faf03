//! The keys of our domains: `<folder>/<domain>/<selector>.pem`, readable by the server alone.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use mail::Domain;

use super::{Algorithm, Key, KeyError, Record, SignError, sign};

/// The keys of a domain, by selector, in the order of their names.
type Keys = Vec<(String, Key)>;

/// All keys, read once and again by [`KeyStore::reload`].
#[derive(Debug)]
pub struct KeyStore {
    folder: PathBuf,
    domains: RwLock<Arc<HashMap<Domain, Arc<Keys>>>>,
}

impl KeyStore {
    /// Reads all keys beneath a folder. A folder that is not there holds none.
    ///
    /// # Errors
    /// [`KeyError`] with the file that is no key, or the folder that is no domain.
    pub fn open(folder: &Path) -> Result<Self, KeyError> {
        let domains = RwLock::new(Arc::new(read_all(folder)?));
        Ok(Self { folder: folder.to_owned(), domains })
    }

    /// Reads all keys again.
    ///
    /// # Errors
    /// [`KeyError`]: the keys that were there before stay in use.
    pub fn reload(&self) -> Result<(), KeyError> {
        let fresh = Arc::new(read_all(&self.folder)?);
        *self.domains.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Whether a domain has a key.
    #[must_use]
    pub fn can_sign(&self, domain: &Domain) -> bool {
        self.keys(domain).is_some()
    }

    /// Signs a message with every key of a domain. `None` when it has none.
    ///
    /// `fields` is the header as it will be sent, with or without the empty line behind it; `body` is what follows that
    /// line, in chunks of any size. Computes: about a millisecond for each RSA key, and hashes the body.
    ///
    /// Gives `DKIM-Signature` fields, each with its CRLF, to be put on top.
    ///
    /// # Errors
    /// [`SignError`] when the body cannot be read or there is nothing to sign.
    pub fn sign<B: AsRef<[u8]>>(
        &self,
        domain: &Domain,
        fields: &[u8],
        body: impl IntoIterator<Item = io::Result<B>>,
    ) -> Result<Option<Vec<u8>>, SignError> {
        self.keys(domain).map(|keys| sign::sign(&keys, domain, fields, body)).transpose()
    }

    /// What a domain has to publish: a record for each of its keys.
    #[must_use]
    pub fn dns_records(&self, domain: &Domain) -> Vec<Record> {
        let keys = self.keys(domain).unwrap_or_default();
        keys.iter().filter_map(|(selector, key)| record(selector, domain, key).ok()).collect()
    }

    /// The domains that have keys, in no order.
    #[must_use]
    pub fn domains(&self) -> Vec<Domain> {
        self.domains.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Makes a key, writes it (mode 0600, for the folder's owner) and takes it into use. Gives what to publish.
    ///
    /// # Errors
    /// [`KeyError::Exists`] when there is such a key: none is ever overwritten.
    pub fn create(&self, domain: &Domain, selector: &str, algorithm: Algorithm) -> Result<Record, KeyError> {
        let folder = self.folder.join(domain.as_str());
        let path = folder.join(format!("{}.pem", checked_selector(selector)?));
        let pem = Key::generate(algorithm)?;
        let key = Key::from_pem(pem.as_bytes(), &path)?;
        let record = record(selector, domain, &key)?;
        write_key(&self.folder, &folder, &path, &pem)?;
        self.reload()?;
        Ok(record)
    }

    fn keys(&self, domain: &Domain) -> Option<Arc<Keys>> {
        self.domains.read().unwrap_or_else(PoisonError::into_inner).get(domain).cloned()
    }
}

fn record(selector: &str, domain: &Domain, key: &Key) -> Result<Record, KeyError> {
    let name = Domain::parse(&format!("{selector}._domainkey.{domain}"));
    let name = name.map_err(|_| KeyError::Selector(selector.to_owned()))?;
    Ok(Record { name, value: key.record_value() })
}

/// RFC 6376 §3.1: sub-domains, of which one label is plenty.
fn checked_selector(selector: &str) -> Result<&str, KeyError> {
    let plain = selector.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    let fine =
        plain && !selector.starts_with('-') && !selector.ends_with('-') && (1..=63).contains(&selector.len());
    if fine { Ok(selector) } else { Err(KeyError::Selector(selector.to_owned())) }
}

fn read_all(folder: &Path) -> Result<HashMap<Domain, Arc<Keys>>, KeyError> {
    let mut domains = HashMap::new();
    for path in entries(folder)? {
        if !path.is_dir() {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let domain = Domain::parse(name).map_err(|_| KeyError::Domain { path: path.clone() })?;
        let keys = read_domain(&path)?;
        if !keys.is_empty() {
            domains.insert(domain, Arc::new(keys));
        }
    }
    Ok(domains)
}

fn read_domain(folder: &Path) -> Result<Keys, KeyError> {
    let mut keys = Vec::new();
    for path in entries(folder)? {
        // Other names are not keys in use: a retired key is renamed, say to selector.pem.old.
        if path.extension().is_none_or(|extension| extension != "pem") {
            continue;
        }
        let selector = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let selector = checked_selector(selector)?.to_owned();
        let pem = fs::read(&path).map_err(|error| KeyError::Read { path: path.clone(), error })?;
        keys.push((selector, Key::from_pem(&pem, &path)?));
    }
    Ok(keys)
}

/// The visible entries of a folder, sorted; none when it is not there.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, KeyError> {
    let failed = |error| KeyError::Read { path: folder.to_owned(), error };
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut paths = Vec::new();
    for entry in listed {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Writes a key so that it is whole or not there, and belongs to whom the data folder belongs to: the command may be
/// root's, the server is not.
fn write_key(top: &Path, folder: &Path, path: &Path, pem: &str) -> Result<(), KeyError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| KeyError::Write { path, error }
    };
    let owner = owner_of(top);
    for folder in [top, folder] {
        if !folder.is_dir() {
            fs::DirBuilder::new().mode(0o700).recursive(true).create(folder).map_err(failed(folder))?;
            give(folder, owner).map_err(failed(folder))?;
        }
    }
    if path.exists() {
        return Err(KeyError::Exists { path: path.to_owned() });
    }
    let draft = folder.join(format!(".{}.new", path.file_name().unwrap_or_default().to_string_lossy()));
    write_draft(&draft, pem, owner).map_err(failed(&draft))?;
    // A link, unlike a rename, never replaces a key that another command has made meanwhile.
    let linked = fs::hard_link(&draft, path);
    let _ = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(KeyError::Exists { path: path.to_owned() })
        }
        other => other.and_then(|()| File::open(folder)?.sync_all()).map_err(failed(path)),
    }
}

fn write_draft(draft: &Path, pem: &str, owner: Option<(u32, u32)>) -> io::Result<()> {
    // One that was left behind by a command that was killed.
    let _ = fs::remove_file(draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(pem.as_bytes())?;
    give(draft, owner)?;
    file.sync_all()
}

/// Who owns the nearest folder upwards that is there.
fn owner_of(folder: &Path) -> Option<(u32, u32)> {
    let there = folder.ancestors().find_map(|folder| fs::metadata(folder).ok())?;
    Some((there.uid(), there.gid()))
}

fn give(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    let has = fs::metadata(path).map(|facts| (facts.uid(), facts.gid()))?;
    match owner {
        Some((user, group)) if (user, group) != has => chown(path, Some(user), Some(group)),
        _ => Ok(()),
    }
}
