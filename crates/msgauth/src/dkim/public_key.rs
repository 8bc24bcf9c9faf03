//! Key records (RFC 6376 §3.6.1, RFC 8463 §4): read from TXT records, asked whether a signature is theirs. Pure.

use aws_lc_rs::digest::Digest;
use aws_lc_rs::signature::{ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};

use super::signature::Algorithm;
use crate::tags::Tags;

/// Keys with fewer bits prove nothing (RFC 8301 §3.2).
pub const RSA_BITS_MIN: usize = 1_024;
/// Records under one name that are looked at; there should be one.
const RECORDS_MAX: usize = 8;

/// A public key and what its owner says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    kind: Kind,
    /// Its length: the modulus of RSA, 256 for Ed25519.
    pub(crate) bits: usize,
    /// `t=y`: the domain is trying DKIM out.
    pub(crate) testing: bool,
    /// `t=s`: `i=` must have the very domain of `d=`.
    pub(crate) same_domain: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Rsa(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl PublicKey {
    /// The key among the TXT records of a name.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) fn find(texts: &[Vec<u8>]) -> Result<Self, &'static str> {
        let mut why = "there is no key record under this name";
        for text in texts.iter().take(RECORDS_MAX) {
            match Self::parse(text) {
                Ok(key) => return Ok(key),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let tags = Tags::parse(text).map_err(|_| "the key record cannot be read")?;
        // §3.6.1: where there is a version, it comes first.
        let version = tags.get("v").is_none_or(|version| version == b"DKIM1");
        if !version || (tags.get("v").is_some() && tags.names().next() != Some("v")) {
            return Err("the record under this name is no DKIM key");
        }
        let any = |name: &str, words: &[&[u8]]| {
            tags.items(name).is_none_or(|mut items| items.any(|item| words.contains(&item)))
        };
        if !any("s", &[b"*", b"email"]) {
            return Err("the key is not for mail");
        }
        if !any("h", &[b"sha256"]) {
            return Err("the key is not for SHA-256");
        }
        let key = tags.base64("p").ok_or("the key record has no readable key")?;
        if key.is_empty() {
            return Err("the key is revoked");
        }
        let (kind, bits) = match tags.get("k").unwrap_or(b"rsa") {
            b"rsa" => {
                let bits = rsa_bits(&key).ok_or("the key is damaged")?;
                (Kind::Rsa(key), bits)
            }
            b"ed25519" if key.len() == 32 => (Kind::Ed25519(key), 256),
            b"ed25519" => return Err("the key is damaged"),
            _ => return Err("the key is of an unknown kind"),
        };
        let flag = |flag: &[u8]| tags.items("t").is_some_and(|mut items| items.any(|item| item == flag));
        Ok(Self { kind, bits, testing: flag(b"y"), same_domain: flag(b"s") })
    }

    /// Whether it is long enough to prove anything.
    pub(crate) fn is_weak(&self) -> bool {
        matches!(self.kind, Kind::Rsa(_)) && self.bits < RSA_BITS_MIN
    }

    /// Whether it made this signature of the text with this SHA-256 digest. Costs some tens of microseconds.
    pub(crate) fn made(&self, algorithm: Algorithm, digest: &Digest, signature: &[u8]) -> bool {
        match (&self.kind, algorithm) {
            (Kind::Rsa(key), Algorithm::RsaSha256) => {
                UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, key)
                    .verify_digest(digest, signature)
                    .is_ok()
            }
            // RFC 8463 §3: the digest is what is signed.
            (Kind::Ed25519(key), Algorithm::Ed25519Sha256) => {
                UnparsedPublicKey::new(&ED25519, key).verify(digest.as_ref(), signature).is_ok()
            }
            _ => false,
        }
    }
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// Bits of the modulus in an RSA key, in either form that is found in DNS: SubjectPublicKeyInfo or RSAPublicKey.
fn rsa_bits(der: &[u8]) -> Option<usize> {
    let (inner, _) = element(der, SEQUENCE)?;
    let numbers = match element(inner, SEQUENCE) {
        Some((_, key)) => {
            let (bits, _) = element(key, BIT_STRING)?;
            // The first octet counts bits that are not used.
            element(bits.get(1..)?, SEQUENCE)?.0
        }
        None => inner,
    };
    let (modulus, _) = element(numbers, INTEGER)?;
    let first = modulus.iter().position(|octet| *octet != 0)?;
    let leading = modulus.get(first)?.leading_zeros();
    ((modulus.len() - first) * 8).checked_sub(usize::try_from(leading).ok()?)
}

/// The content of the DER element that stands first, if it is of this kind, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x83 => {
            let (octets, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    (*first == tag).then(|| rest.split_at_checked(length)).flatten()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// RFC 8463 appendix A.2, and the RSA key that stands beside it.
    const ED25519_KEY: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    const RSA_KEY: &str = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";
    const SHORT_KEY: &str = "p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAIWmlgix/84GJ+dfgjm7LTc9EPdfkftlgiPpCq4/kbDAZmU0VvYKDljjleJ1dfvS+CGy9U/kk1tG3EeEvb82xAcCAwEAAQ==";

    fn find(texts: &[&str]) -> Result<PublicKey, &'static str> {
        PublicKey::find(&texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    #[test]
    fn keys_are_read_with_their_length_and_flags() {
        assert_eq!(find(&[ED25519_KEY]).unwrap().bits, 256);
        let key = find(&[RSA_KEY]).unwrap();
        assert_eq!((key.bits, key.is_weak(), key.testing, key.same_domain), (1024, false, false, false));
        let key = find(&[&format!("{SHORT_KEY}; t=s : y; n=a note; h=sha1:sha256; s=email")]).unwrap();
        assert_eq!((key.bits, key.is_weak(), key.testing, key.same_domain), (512, true, true, true));
        // What else stands under the name does not hide the key; RSA keys may stand there bare (RFC 6376 §3.6.1).
        let whole = STANDARD.decode(RSA_KEY.split_once("p=").unwrap().1).unwrap();
        let bare = format!("p={}", STANDARD.encode(&whole[22..]));
        assert_eq!(find(&["v=spf1 -all", &bare]).unwrap().bits, 1024);
    }

    #[test]
    fn what_is_no_key_says_why() {
        for (text, why) in [
            ("v=DKIM1; p=", "revoked"),
            ("v=DKIM1; p=AAAA", "damaged"),
            ("v=DKIM1; p=!", "no readable key"),
            ("v=DKIM1; k=ed25519; p=AAAA", "damaged"),
            ("v=DKIM1; k=dsa; p=AAAA", "unknown kind"),
            ("v=DKIM1", "no readable key"),
            ("v=DKIM2; p=AAAA", "no DKIM key"),
            ("p=AAAA; v=DKIM1", "no DKIM key"),
            ("v=DKIM1; s=tlsrpt; p=AAAA", "not for mail"),
            ("v=DKIM1; h=sha1; p=AAAA", "SHA-256"),
            ("hello", "cannot be read"),
        ] {
            let error = find(&[text]).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(find(&[]).unwrap_err().contains("no key record"));
        for der in [
            &[0x30, 0x82, 1][..],
            &[0x30],
            &[0x30, 0x84, 0, 0, 0, 1, 0],
            &[0x30, 3, 2, 1, 0],
            &[0x30, 0x83, 255, 255, 255],
        ] {
            assert_eq!(rsa_bits(der), None);
        }
    }
}
