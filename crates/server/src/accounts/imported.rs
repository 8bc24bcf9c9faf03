//! Password hashes that come from other systems: `crypt(3)` of `/etc/shadow`, Dovecot's and LDAP's `{SCHEME}` forms.
//!
//! They are verified and never made. They give no SCRAM keys, so that their accounts log in with PLAIN and LOGIN until
//! a new password is set. Plain text (`{PLAIN}`) and unsalted or broken hashes (DES, MD5) are not read on purpose.

use aws_lc_rs::{constant_time, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha_crypt::{PasswordHashRef, PasswordVerifier, ShaCrypt};

use super::password::PasswordError;

/// An imported hash.
#[derive(Clone)]
pub enum Imported {
    /// `$5$` and `$6$`: SHA-256-crypt and SHA-512-crypt.
    ShaCrypt(String),
    /// `$2a$`, `$2b$`, `$2y$`: bcrypt.
    Bcrypt(String),
    /// `{SSHA}` and its longer sisters: digest of password and salt, then the salt.
    SaltedSha {
        /// Which digest.
        algorithm: &'static digest::Algorithm,
        /// The digest.
        digest: Vec<u8>,
        /// The salt.
        salt: Vec<u8>,
    },
}

/// Rounds of `$5$` and `$6$` that do not say.
const SHA_CRYPT_ROUNDS_DEFAULT: u64 = 5000;
/// Rounds of `$5$` and `$6$` beyond this are refused: a login must end.
const SHA_CRYPT_ROUNDS_MAX: u64 = 1_000_000;
/// Cost of bcrypt beyond this is refused: 2^14 rounds are about a second.
const BCRYPT_COST_MAX: u32 = 14;

impl Imported {
    /// Reads an imported hash.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub(super) fn parse(text: &str) -> Result<Self, PasswordError> {
        if text.starts_with("$5$") || text.starts_with("$6$") {
            return sha_crypt(text);
        }
        if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            let parts: bcrypt::HashParts = text.parse().map_err(|_| PasswordError::Malformed)?;
            let fine = parts.get_cost() <= BCRYPT_COST_MAX;
            return if fine { Ok(Self::Bcrypt(text.into())) } else { Err(PasswordError::TooCostly) };
        }
        let (scheme, encoded) =
            text.strip_prefix('{').and_then(|t| t.split_once('}')).ok_or(PasswordError::UnknownScheme)?;
        let algorithm = match scheme.to_ascii_uppercase().as_str() {
            "SSHA" => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            "SSHA256" => &digest::SHA256,
            "SSHA512" => &digest::SHA512,
            _ => return Err(PasswordError::UnknownScheme),
        };
        let mut digest = BASE64.decode(encoded).map_err(|_| PasswordError::Malformed)?;
        let length = algorithm.output_len();
        if digest.len() <= length {
            return Err(PasswordError::Malformed);
        }
        let salt = digest.split_off(length);
        Ok(Self::SaltedSha { algorithm, digest, salt })
    }

    /// True when the password is the one that was hashed.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::ShaCrypt(hash) => PasswordHashRef::new(hash)
                .is_ok_and(|hash| ShaCrypt::default().verify_password(password, hash).is_ok()),
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::SaltedSha { algorithm, digest, salt } => {
                let mut context = digest::Context::new(algorithm);
                context.update(password);
                context.update(salt);
                constant_time::verify_slices_are_equal(context.finish().as_ref(), digest).is_ok()
            }
        }
    }
}

/// Strips Dovecot's names of schemes whose hash names itself: `{SHA512-CRYPT}$6$...`, `{BLF-CRYPT}$2y$...`.
pub(super) fn without_crypt_prefix(text: &str) -> &str {
    let Some((scheme, rest)) = text.strip_prefix('{').and_then(|t| t.split_once('}')) else { return text };
    let known = ["CRYPT", "SHA256-CRYPT", "SHA512-CRYPT", "BLF-CRYPT", "ARGON2I", "ARGON2ID"];
    let named = known.iter().any(|name| name.eq_ignore_ascii_case(scheme));
    if named && rest.starts_with('$') { rest } else { text }
}

/// Reads `$5$[rounds=N$]salt$hash`, and writes the rounds out where they are left out, so that no default of a crate
/// decides who may log in.
fn sha_crypt(text: &str) -> Result<Imported, PasswordError> {
    let (id, rest) = text.split_at(3);
    let mut fields = rest.split('$');
    let mut next = || fields.next().ok_or(PasswordError::Malformed);
    let (mut rounds, mut salt) = (SHA_CRYPT_ROUNDS_DEFAULT, next()?);
    if let Some(number) = salt.strip_prefix("rounds=") {
        rounds = number.parse().map_err(|_| PasswordError::Malformed)?;
        salt = next()?;
    }
    if rounds > SHA_CRYPT_ROUNDS_MAX {
        return Err(PasswordError::TooCostly);
    }
    let hash = next()?;
    let wanted = if id == "$5$" { 43 } else { 86 };
    let whole = format!("{id}rounds={rounds}${salt}${hash}");
    let fine = hash.len() == wanted && fields.next().is_none() && PasswordHashRef::new(&whole).is_ok();
    if fine { Ok(Imported::ShaCrypt(whole)) } else { Err(PasswordError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::super::password::StoredHash;
    use super::*;

    /// Made with the C library's crypt(3).
    const GOOD: &[(&str, &str)] = &[
        (
            "Hello world!",
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
        ),
        ("Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
        ("Hello world!", "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA"),
        ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
        ("U*U", "{BLF-CRYPT}$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    ];

    #[test]
    fn known_hashes_verify_and_other_passwords_do_not() {
        for (password, hash) in GOOD {
            let stored = StoredHash::parse(hash).unwrap_or_else(|e| panic!("{hash}: {e}"));
            assert!(stored.verify(password.as_bytes()), "{hash}");
            assert!(!stored.verify(b"wrong"), "{hash}");
        }
    }

    #[test]
    fn salted_digests_verify() {
        for (scheme, algorithm) in [
            ("SSHA", &digest::SHA1_FOR_LEGACY_USE_ONLY),
            ("ssha256", &digest::SHA256),
            ("SSHA512", &digest::SHA512),
        ] {
            let mut raw = digest::digest(algorithm, b"secretpepper").as_ref().to_vec();
            raw.extend_from_slice(b"pepper");
            let stored = StoredHash::parse(&format!("{{{scheme}}}{}", BASE64.encode(raw))).unwrap();
            assert!(stored.verify(b"secret") && !stored.verify(b"secretp"), "{scheme}");
        }
    }

    #[test]
    fn what_cannot_be_verified_is_refused_when_it_is_read() {
        for (hash, why) in [
            ("", PasswordError::UnknownScheme),
            ("secret", PasswordError::UnknownScheme),
            ("{PLAIN}secret", PasswordError::UnknownScheme),
            ("$1$salt$qJH7.N4xYta3aEG/dfqo/0", PasswordError::UnknownScheme),
            ("$6$salt", PasswordError::Malformed),
            ("$6$salt$short", PasswordError::Malformed),
            ("$5$rounds=99999999$salt$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", PasswordError::TooCostly),
            ("$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", PasswordError::TooCostly),
            ("{SSHA}AAAA", PasswordError::Malformed),
        ] {
            assert_eq!(StoredHash::parse(hash).err(), Some(why), "{hash}");
        }
    }
}
