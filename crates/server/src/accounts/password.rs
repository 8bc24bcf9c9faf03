//! One stored password: argon2id with SCRAM-SHA-256 keys beside it, or a hash imported from elsewhere.
//!
//! argon2id (RFC 9106) serves PLAIN and LOGIN; SCRAM keys (RFC 5802 §3, RFC 7677) are made from the same password at
//! the same moment. Imported hashes (`$5$`, `$6$`, bcrypt, argon2, salted SHA) cannot give SCRAM keys. Passwords are
//! prepared with SASLprep (RFC 4013) on both paths. Never keeps a password, never prints a hash in `Debug`.

use std::cell::RefCell;
use std::fmt;
use std::num::NonZeroU32;

use argon2::password_hash::phc::Output;
use argon2::{Algorithm, Argon2, Block, PasswordHasher, Version};
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use super::imported::Imported;

/// Octets of a SCRAM salt.
pub(super) const SCRAM_SALT_BYTES: usize = 16;
/// Longest password that is hashed: more is no password but a load.
pub(super) const PASSWORD_BYTES_MAX: usize = 1024;
/// An argon2 hash that wants more memory than this is refused when the file is read: it would stop the server.
const ARGON2_KIB_MAX: u32 = 1 << 20;

/// Cost of new hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// argon2id memory, in KiB.
    pub argon2_memory_kib: u32,
    /// argon2id passes over it.
    pub argon2_passes: u32,
    /// PBKDF2 rounds of SCRAM keys. RFC 7677 §4 asks for 4,096 at least; clients pay for it.
    pub scram_iterations: NonZeroU32,
}

impl Default for Cost {
    /// 19 MiB and two passes, about 20 ms; 30,000 rounds, about 10 ms for the client.
    fn default() -> Self {
        let scram_iterations = NonZeroU32::new(30_000).unwrap_or(NonZeroU32::MIN);
        Self { argon2_memory_kib: 19_456, argon2_passes: 2, scram_iterations }
    }
}

/// Why a password cannot be stored, or a stored one cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// No password, or a very long one.
    #[error("a password must have 1 to {PASSWORD_BYTES_MAX} bytes")]
    Length,
    /// The stored text is of no kind that is known.
    #[error(
        "the stored hash is of no known kind: argon2id, $5$, $6$, $2b$, {{SSHA}} and their like are read"
    )]
    UnknownScheme,
    /// The stored text is of a known kind and malformed.
    #[error("the stored hash is malformed")]
    Malformed,
    /// The SCRAM keys are not `SCRAM-SHA-256$iterations:salt$stored:server` (RFC 5803 §2).
    #[error("the SCRAM keys are malformed: SCRAM-SHA-256$iterations:salt$stored-key:server-key is expected")]
    Scram,
    /// The hash wants more memory than the server will give it.
    #[error("the hash wants more than {ARGON2_KIB_MAX} KiB of memory")]
    TooCostly,
    /// Hashing failed: the costs are out of argon2's bounds, or the system gave no randomness.
    #[error("hashing failed: {0}")]
    Hashing(String),
}

/// SCRAM-SHA-256 keys (RFC 5802 §3).
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// PBKDF2 rounds.
    pub iterations: NonZeroU32,
    /// Salt.
    pub salt: Vec<u8>,
    /// `H(HMAC(SaltedPassword, "Client Key"))`.
    pub stored_key: [u8; 32],
    /// `HMAC(SaltedPassword, "Server Key")`.
    pub server_key: [u8; 32],
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl ScramKeys {
    /// Derives the keys from a password (RFC 5802 §3).
    #[must_use]
    pub fn derive(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let prepared = prepare(password);
        let mut salted = Zeroizing::new([0_u8; 32]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, &prepared, &mut *salted);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*salted);
        let client_key = hmac::sign(&key, b"Client Key");
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: fixed(digest::digest(&digest::SHA256, client_key.as_ref()).as_ref()),
            server_key: fixed(hmac::sign(&key, b"Server Key").as_ref()),
        }
    }

    /// Reads the form of RFC 5803 §2.
    ///
    /// # Errors
    /// [`PasswordError::Scram`].
    pub fn parse(text: &str) -> Result<Self, PasswordError> {
        Self::parse_parts(text).ok_or(PasswordError::Scram)
    }

    fn parse_parts(text: &str) -> Option<Self> {
        let (costs, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let ((iterations, salt), (stored, server)) = (costs.split_once(':')?, keys.split_once(':')?);
        Some(Self {
            iterations: iterations.parse().ok()?,
            salt: BASE64.decode(salt).ok().filter(|salt| !salt.is_empty())?,
            stored_key: BASE64.decode(stored).ok()?.try_into().ok()?,
            server_key: BASE64.decode(server).ok()?.try_into().ok()?,
        })
    }

    /// Writes the form of RFC 5803 §2.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!(
            "SCRAM-SHA-256${}:{}${}:{}",
            self.iterations,
            BASE64.encode(&self.salt),
            BASE64.encode(self.stored_key),
            BASE64.encode(self.server_key)
        )
    }
}

impl From<ScramKeys> for smtp::Answer {
    fn from(keys: ScramKeys) -> Self {
        Self::ScramKeys {
            iterations: keys.iterations.get(),
            salt: keys.salt,
            stored_key: keys.stored_key.to_vec(),
            server_key: keys.server_key.to_vec(),
        }
    }
}

/// The first 32 octets; SHA-256 gives exactly as many.
fn fixed(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}

/// A hash to verify a password against.
#[derive(Clone)]
pub enum StoredHash {
    /// argon2id (or i, or d, when imported).
    Argon2(Box<argon2::PasswordHash>),
    /// Of another kind.
    Imported(Imported),
}

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argon2(_) => "StoredHash::Argon2",
            Self::Imported(_) => "StoredHash::Imported",
        })
    }
}

impl StoredHash {
    /// Reads a stored hash: PHC or modular crypt form, or Dovecot's `{SCHEME}` form.
    ///
    /// # Errors
    /// [`PasswordError`] when it is of no known kind, malformed, or too costly to verify.
    pub fn parse(text: &str) -> Result<Self, PasswordError> {
        let text = super::imported::without_crypt_prefix(text);
        if !text.starts_with("$argon2") {
            return Imported::parse(text).map(Self::Imported);
        }
        let hash = argon2::PasswordHash::new(text).map_err(|_| PasswordError::Malformed)?;
        let params = argon2::Params::try_from(&hash).map_err(|_| PasswordError::Malformed)?;
        if params.m_cost() > ARGON2_KIB_MAX {
            return Err(PasswordError::TooCostly);
        }
        Ok(Self::Argon2(Box::new(hash)))
    }

    /// Hashes a new password with argon2id. Takes tens of milliseconds by intention.
    ///
    /// # Errors
    /// [`PasswordError::Length`], or [`PasswordError::Hashing`].
    pub fn create(password: &[u8], cost: Cost) -> Result<String, PasswordError> {
        check_length(password)?;
        let params = argon2::Params::new(cost.argon2_memory_kib, cost.argon2_passes, 1, None);
        let params = params.map_err(|e| PasswordError::Hashing(e.to_string()))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash = argon2
            .hash_password_with_salt(&prepare(password), &random::<16>()?)
            .map_err(|e| PasswordError::Hashing(e.to_string()))?;
        Ok(hash.to_string())
    }

    /// True when the password is the one that was hashed. Takes tens of milliseconds by intention.
    #[must_use]
    pub fn verify(&self, password: &[u8]) -> bool {
        if check_length(password).is_err() {
            return false;
        }
        let prepared = prepare(password);
        match self {
            Self::Argon2(hash) => argon2_verify(hash, &prepared).unwrap_or(false),
            // Foreign hashes were made of the octets as they came.
            Self::Imported(hash) => {
                hash.verify(password) || (*prepared != password && hash.verify(&prepared))
            }
        }
    }
}

thread_local! {
    /// What argon2 fills. Kept from one hash to the next: tens of megabytes, aligned, freed and taken again many times a
    /// second leave the allocator with ten times as much.
    static BLOCKS: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// Frees what this thread keeps for verifying passwords.
pub(super) fn release_memory() {
    BLOCKS.with_borrow_mut(|blocks| *blocks = Vec::new());
}

/// None when the stored hash is not whole.
fn argon2_verify(hash: &argon2::PasswordHash, password: &[u8]) -> Option<bool> {
    let params = argon2::Params::try_from(hash).ok()?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
    let version = hash.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
    let (salt, expected) = (hash.salt.as_ref()?, hash.hash.as_ref()?);
    let count = params.block_count();
    let mut out = [0; Output::MAX_LENGTH];
    let out = out.get_mut(..params.output_len().unwrap_or(argon2::Params::DEFAULT_OUTPUT_LEN))?;
    BLOCKS.with_borrow_mut(|blocks| {
        if blocks.len() < count {
            *blocks = vec![Block::default(); count];
        }
        let memory = blocks.get_mut(..count)?;
        Argon2::new(algorithm, version, params)
            .hash_password_into_with_memory(password, salt, out, memory)
            .ok()
    })?;
    // `Output` compares in constant time.
    Some(Output::new(out).ok()? == *expected)
}

/// Both forms of a new password, made together: they always agree.
#[derive(Clone)]
pub struct NewPassword {
    /// argon2id in PHC form.
    pub hash: String,
    /// SCRAM keys.
    pub scram: ScramKeys,
}

impl fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewPassword")
    }
}

impl NewPassword {
    /// Hashes a password, and derives its SCRAM keys.
    ///
    /// # Errors
    /// As [`StoredHash::create`].
    pub fn create(password: &[u8], cost: Cost) -> Result<Self, PasswordError> {
        let hash = StoredHash::create(password, cost)?;
        let scram = ScramKeys::derive(password, &random::<SCRAM_SALT_BYTES>()?, cost.scram_iterations);
        Ok(Self { hash, scram })
    }
}

fn check_length(password: &[u8]) -> Result<(), PasswordError> {
    if (1..=PASSWORD_BYTES_MAX).contains(&password.len()) { Ok(()) } else { Err(PasswordError::Length) }
}

/// Random octets from the system.
///
/// # Errors
/// [`PasswordError::Hashing`] when the system gives none.
pub(super) fn random<const N: usize>() -> Result<[u8; N], PasswordError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| PasswordError::Hashing(e.to_string()))?;
    Ok(bytes)
}

/// SASLprep (RFC 4013), which RFC 5802 §2.2 and RFC 4616 §2 ask for. What it forbids is taken as it came: a password
/// that could be set must also be good for a login.
fn prepare(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let prepared = std::str::from_utf8(password).ok().and_then(|text| stringprep::saslprep(text).ok());
    Zeroizing::new(prepared.map_or_else(|| password.to_vec(), |text| text.into_owned().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Low cost: these tests are about what is verified, not about how long it takes.
    pub(crate) fn cheap() -> Cost {
        Cost { argon2_memory_kib: 64, argon2_passes: 1, scram_iterations: NonZeroU32::new(4096).unwrap() }
    }

    #[test]
    fn scram_keys_are_those_of_rfc_7677() {
        // RFC 7677 §3: user "user", password "pencil", and the whole exchange.
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = ScramKeys::derive(b"pencil", &salt, NonZeroU32::new(4096).unwrap());
        let auth_message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let server_signature =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &keys.server_key), auth_message.as_bytes());
        assert_eq!(BASE64.encode(server_signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        // The proof XORed with the client signature is the client key, whose hash is the stored key.
        let proof = BASE64.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let client_signature =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &keys.stored_key), auth_message.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(client_signature.as_ref()).map(|(a, b)| a ^ b).collect();
        assert_eq!(digest::digest(&digest::SHA256, &client_key).as_ref(), keys.stored_key);
    }

    #[test]
    fn scram_keys_print_and_parse() {
        let keys = ScramKeys::derive(b"x", b"salt", NonZeroU32::new(5000).unwrap());
        assert_eq!(ScramKeys::parse(&keys.to_text()), Ok(keys));
        for bad in
            ["", "SCRAM-SHA-1$1:a$b:c", "SCRAM-SHA-256$0:AA==$AA==:AA==", "SCRAM-SHA-256$4096:$AA==:AA=="]
        {
            assert_eq!(ScramKeys::parse(bad), Err(PasswordError::Scram), "{bad}");
        }
    }

    #[test]
    fn a_new_password_verifies_on_both_paths_and_another_does_not() {
        let new = NewPassword::create("pässword".as_bytes(), cheap()).unwrap();
        assert!(new.hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{}", new.hash);
        let stored = StoredHash::parse(&new.hash).unwrap();
        assert!(stored.verify("pässword".as_bytes()));
        // RFC 4013 §2.2: the decomposed spelling is the same password.
        assert!(stored.verify("pa\u{308}ssword".as_bytes()));
        assert!(!stored.verify(b"password") && !stored.verify(b""));
        let again = ScramKeys::derive("pa\u{308}ssword".as_bytes(), &new.scram.salt, new.scram.iterations);
        assert_eq!(again, new.scram);
    }

    #[test]
    fn two_hashes_of_one_password_differ() {
        let (a, b) =
            (NewPassword::create(b"x", cheap()).unwrap(), NewPassword::create(b"x", cheap()).unwrap());
        assert_ne!(a.hash, b.hash);
        assert_ne!(a.scram.salt, b.scram.salt);
    }

    #[test]
    fn hashes_that_would_stop_the_server_are_refused() {
        let costly = "$argon2id$v=19$m=2097152,t=1,p=1$c2FsdHNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG";
        assert_eq!(StoredHash::parse(costly).unwrap_err(), PasswordError::TooCostly);
        assert_eq!(StoredHash::create(&[b'x'; 1025], cheap()), Err(PasswordError::Length));
        assert_eq!(StoredHash::create(b"", cheap()), Err(PasswordError::Length));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let new = NewPassword::create(b"x", cheap()).unwrap();
        let stored = StoredHash::parse(&new.hash).unwrap();
        let printed = format!("{new:?} {stored:?} {:?}", new.scram);
        assert!(!printed.contains("argon2id$") && !printed.contains("stored_key: ["), "{printed}");
    }

    /// Hashes of different sizes after each other, in the same memory.
    #[test]
    fn memory_that_is_used_again_changes_nothing() {
        let small = StoredHash::create(b"small", cheap()).unwrap();
        let large = StoredHash::create(b"large", Cost { argon2_memory_kib: 256, ..cheap() }).unwrap();
        let (small, large) = (StoredHash::parse(&small).unwrap(), StoredHash::parse(&large).unwrap());
        for _ in 0..2 {
            assert!(small.verify(b"small") && !small.verify(b"large"));
            assert!(large.verify(b"large") && !large.verify(b"small"));
            assert!(small.verify(b"small"));
            release_memory();
        }
    }
}
