//! The keys of tags and Message-IDs: files in a folder, named by a digit, rotated by adding one.
//!
//! `3.key` holds two lines, when it was made and the secret: `created 1795309323`, `secret 0f…` (32 octets in hexadecimal).
//! The newest signs; all others still verify, until their digit is used again, which is refused while marks of theirs hold.
//! A new file belongs to whom the folder belongs to, for the command may be root's where the server is not. Secrets are
//! never printed (invariant I7).

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use aws_lc_rs::{hmac, rand};
use mail::Timestamp;

use super::DAY_SECONDS;

/// Keys there can be: a tag names its key by one digit.
pub const KEYS_MAX: u8 = 10;
const SECRET_BYTES: usize = 32;
const FILE_BYTES_MAX: u64 = 4 << 10;

/// One key.
#[derive(Clone)]
pub struct Key {
    /// Its digit, 0 to 9.
    pub digit: u8,
    /// When it was made.
    pub created: Timestamp,
    tags: hmac::Key,
    ids: hmac::Key,
}

/// All keys of a folder.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<Key>);

/// A key could not be had: an operator's trouble.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The folder or a file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no key.
    #[error("{}: two lines are expected, `created` with seconds since 1970 and `secret` with 64 hexadecimal digits", path.display())]
    Malformed {
        /// Which one.
        path: PathBuf,
    },
    /// A new key would take the place of one whose marks still hold.
    #[error(
        "the key with the digit {digit} would be replaced, and bounces of what it signed could not be known any more: rotate \
         again in {days} days"
    )]
    TooSoon {
        /// The digit of the key that is still needed.
        digit: u8,
        /// In how many days it is not.
        days: u64,
    },
    /// The system gives no random octets.
    #[error("no randomness for a key of backscatter")]
    Randomness,
}

impl Key {
    /// A key from its secret.
    #[must_use]
    pub fn new(digit: u8, created: Timestamp, secret: &[u8]) -> Self {
        Self {
            digit: digit % KEYS_MAX,
            created,
            // The algorithm of draft-levine-smtp-batv; three octets of it are used, where SHA-1 has no known weakness.
            tags: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret),
            ids: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    /// The first octets of HMAC-SHA1.
    pub(super) fn tag(&self, text: &str) -> [u8; 3] {
        let whole = hmac::sign(&self.tags, text.as_bytes());
        whole.as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// The first octets of HMAC-SHA256; `purpose` keeps one use from serving another.
    pub(crate) fn id<const N: usize>(&self, purpose: &str, text: &str) -> [u8; N] {
        let whole = hmac::sign(&self.ids, format!("{purpose}\0{text}").as_bytes());
        whole.as_ref().first_chunk().copied().unwrap_or([0; N])
    }

    /// Reads the text of a file.
    fn parse(digit: u8, text: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.trim().split_once(' '));
            lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
        };
        let created = field("created")?.parse().ok().map(Timestamp::from_seconds)?;
        let secret = unhex(field("secret")?).filter(|secret| secret.len() >= SECRET_BYTES)?;
        Some(Self::new(digit, created, &secret))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("digit", &self.digit).finish_non_exhaustive()
    }
}

impl Keys {
    /// From keys; of two with one digit the newer counts.
    #[must_use]
    pub fn new(mut keys: Vec<Key>) -> Self {
        keys.sort_by_key(|key| std::cmp::Reverse((key.created, key.digit)));
        let mut unique: Vec<Key> = Vec::new();
        for key in keys {
            if !unique.iter().any(|known| known.digit == key.digit) {
                unique.push(key);
            }
        }
        Self(unique)
    }

    /// Reads the folder; without a key, makes the first one.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn open(folder: &Path, now: Timestamp) -> Result<Self, KeyError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder).map_err(|source| io_error(folder, source))?;
        let keys = Self::read(folder)?;
        if keys.0.is_empty() { Self::rotate(folder, now, 0) } else { Ok(keys) }
    }

    /// Makes a key that signs from now on, in place of the oldest where there are ten. Marks hold for so many days.
    ///
    /// # Errors
    /// [`KeyError`]; among them [`KeyError::TooSoon`] when marks of the oldest still hold.
    pub fn rotate(folder: &Path, now: Timestamp, days: u64) -> Result<Self, KeyError> {
        let keys = Self::read(folder)?;
        let digit = keys.newest().map_or(0, |newest| (newest.digit + 1) % KEYS_MAX);
        if let Some(days) = keys.still_needed(digit, now, days) {
            return Err(KeyError::TooSoon { digit, days });
        }
        let mut secret = [0; SECRET_BYTES];
        rand::fill(&mut secret).map_err(|_| KeyError::Randomness)?;
        let text = format!("created {}\nsecret {}\n", now.seconds(), hex(&secret));
        let path = file(folder, digit);
        write_file(folder, &path, &text).map_err(|source| io_error(&path, source))?;
        Self::read(folder)
    }

    /// For how many days more marks of this key hold: it signed until the next one was made.
    fn still_needed(&self, digit: u8, now: Timestamp, days: u64) -> Option<u64> {
        let place = self.0.iter().position(|key| key.digit == digit)?;
        let retired = place.checked_sub(1).and_then(|next| self.0.get(next)).map_or(now, |next| next.created);
        let age = now.since(retired).as_secs() / DAY_SECONDS;
        days.checked_sub(age).filter(|left| *left > 0)
    }

    /// Reads the folder as it is, and makes nothing: there may be no key.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(folder: &Path) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        for digit in 0..KEYS_MAX {
            let path = file(folder, digit);
            let text = match fs::metadata(&path) {
                Ok(about) if about.len() <= FILE_BYTES_MAX => fs::read_to_string(&path),
                Ok(_) => return Err(KeyError::Malformed { path }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => Err(error),
            };
            let text = text.map_err(|source| io_error(&path, source))?;
            keys.push(Key::parse(digit, &text).ok_or(KeyError::Malformed { path })?);
        }
        Ok(Self::new(keys))
    }

    /// The one that signs.
    #[must_use]
    pub fn newest(&self) -> Option<&Key> {
        self.0.first()
    }

    /// The one with this digit.
    #[must_use]
    pub fn of(&self, digit: u8) -> Option<&Key> {
        self.0.iter().find(|key| key.digit == digit)
    }

    /// All, the newest first; at most [`KEYS_MAX`].
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }
}

/// In lower-case hexadecimal digits.
pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |text, octet| text + &format!("{octet:02x}"))
}

/// From hexadecimal digits of either case.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let octet = |pair: &[u8; 2]| {
        let digit = |d: u8| char::from(d).to_digit(16).and_then(|d| u8::try_from(d).ok());
        Some(digit(pair[0])? << 4 | digit(pair[1])?)
    };
    if rest.is_empty() { pairs.iter().map(octet).collect() } else { None }
}

/// Writes a key so that it is whole or not there.
fn write_file(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    // One that was left behind.
    drop(fs::remove_file(&temporary));
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let (whole, own) = (fs::metadata(folder)?, out.metadata()?);
    if (whole.uid(), whole.gid()) != (own.uid(), own.gid()) {
        fchown(&out, Some(whole.uid()), Some(whole.gid()))?;
    }
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(folder)?.sync_all()
}

fn file(folder: &Path, digit: u8) -> PathBuf {
    folder.join(format!("{digit}.key"))
}

fn io_error(path: &Path, source: io::Error) -> KeyError {
    KeyError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_is_made_and_rotation_keeps_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let at = |days: u64| Timestamp::from_seconds(days * 86_400);
        let first = Keys::open(folder.path(), at(1)).unwrap();
        assert_eq!(first.newest().map(|key| key.digit), Some(0));
        let again = Keys::open(folder.path(), at(2)).unwrap();
        assert_eq!(first.of(0).unwrap().tag("x"), again.of(0).unwrap().tag("x"), "it is kept");
        for turn in 1..=9_u8 {
            let keys = Keys::rotate(folder.path(), at(2 + u64::from(turn)), 12).unwrap();
            assert_eq!(keys.newest().map(|key| key.digit), Some(turn));
        }
        // The first one signed until the second was made, on the third day.
        let error = Keys::rotate(folder.path(), at(12), 12).unwrap_err();
        assert!(matches!(error, KeyError::TooSoon { digit: 0, days: 3 }), "{error}");
        assert!(first.of(0).unwrap().tag("x") == Keys::read(folder.path()).unwrap().of(0).unwrap().tag("x"));
        assert_eq!(Keys::rotate(folder.path(), at(15), 12).unwrap().newest().map(|key| key.digit), Some(0));
        let keys = Keys::open(folder.path(), at(20)).unwrap();
        assert_eq!(keys.iter().count(), 10);
        assert_ne!(first.of(0).unwrap().tag("x"), keys.of(0).unwrap().tag("x"), "the oldest gave way");
    }

    #[test]
    fn nobody_else_reads_a_key_and_one_left_half_done_is_in_nobodys_way() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("keys");
        fs::create_dir(&below).unwrap();
        fs::write(below.join("0.new"), "half").unwrap();
        Keys::open(&below, Timestamp(0)).unwrap();
        assert_eq!(fs::metadata(below.join("0.key")).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!below.join("0.new").exists());
    }

    #[test]
    fn what_is_no_key_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "created 1\n", "created 1\nsecret 00\n", "created x\nsecret 00\n"] {
            fs::write(folder.path().join("4.key"), text).unwrap();
            let error = Keys::open(folder.path(), Timestamp(0)).unwrap_err().to_string();
            assert!(error.contains("4.key") && error.contains("created"), "{error}");
        }
    }

    #[test]
    fn a_key_never_prints_its_secret() {
        let keys = Keys::new(vec![Key::new(7, Timestamp(0), &[0xab; 32])]);
        assert_eq!(format!("{keys:?}"), "Keys([Key { digit: 7, .. }])");
    }
}
