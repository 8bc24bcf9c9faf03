//! SCRAM-SHA-256 and its channel binding (RFC 5802, RFC 7677): the client's messages checked here, the proof by rsasl.
//!
//! Messages with extensions are refused: none are defined, and a proof over one could not be verified. A name is never
//! told to exist or not: unknown users get keys too, whose proof fails like a wrong password's.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::scram::properties::ScramStoredPassword;
use rsasl::mechname::Mechname;
use rsasl::prelude::{Registry, SASLConfig, SASLServer, Session, SessionError, Validation};
use rsasl::property::ChannelBindings;
use rsasl::validate::{Validate, ValidationError};
use zeroize::Zeroizing;

use super::{Binding, Mechanism};

/// The only binding type that is offered (RFC 9266 §2).
const TLS_EXPORTER: &str = "tls-exporter";

/// Length of a SHA-256 value.
const HASH_BYTES: usize = 32;

/// What the client says about channel binding (RFC 5802 §7, `gs2-cbind-flag`).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Flag {
    /// `n`: it cannot.
    Cannot,
    /// `y`: it could, but thinks that we cannot.
    NotOffered,
    /// `p=`: it does, by this type.
    Used(String),
}

/// `client-first-message` (RFC 5802 §7), found well-formed.
#[derive(Debug)]
pub(super) struct ClientFirst {
    flag: Flag,
    /// Empty when absent.
    authzid: String,
    pub(super) authcid: String,
    message: Vec<u8>,
}

impl ClientFirst {
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let parts: Vec<&str> = text.split(',').collect();
        let [flag, authzid, name, nonce] = parts.as_slice() else { return None };
        let flag = match *flag {
            "n" => Flag::Cannot,
            "y" => Flag::NotOffered,
            other => Flag::Used(other.strip_prefix("p=").filter(|kind| !kind.is_empty())?.to_owned()),
        };
        let authzid = match *authzid {
            "" => String::new(),
            other => saslname(other.strip_prefix("a=")?)?,
        };
        is_nonce(nonce.strip_prefix("r=")?).then_some(())?;
        Some(Self { flag, authzid, authcid: saslname(name.strip_prefix("n=")?)?, message: message.to_vec() })
    }

    /// RFC 5802 §6: the flag, the mechanism and what was offered must agree; `y` where we did offer is a downgrade by
    /// someone between us.
    pub(super) fn may_be_used(&self, mechanism: Mechanism, binding: Binding) -> bool {
        match (&self.flag, mechanism) {
            (Flag::Used(kind), Mechanism::ScramSha256Plus) => {
                kind == TLS_EXPORTER && binding.exporter.is_some()
            }
            (Flag::Cannot, Mechanism::ScramSha256) => true,
            (Flag::NotOffered, Mechanism::ScramSha256) => !binding.plus_offered,
            _ => false,
        }
    }
}

/// RFC 5802 §7: `=2C` is a comma, `=3D` an equals sign, and no other `=` may be.
fn saslname(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (character, rest) = part
            .strip_prefix("2C")
            .map(|rest| (',', rest))
            .or(part.strip_prefix("3D").map(|rest| ('=', rest)))?;
        name.push(character);
        name.push_str(rest);
    }
    (!name.is_empty() && !name.chars().any(char::is_control)).then_some(name)
}

/// RFC 5802 §7: printable, without a comma.
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// RFC 5802 §7, `client-final-message` without extensions, its proof as long as a hash.
fn is_client_final(message: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(message) else { return false };
    let parts: Vec<&str> = text.split(',').collect();
    let [binding, nonce, proof] = parts.as_slice() else { return false };
    let bytes = |part: &str, key: &str| part.strip_prefix(key).and_then(|value| STANDARD.decode(value).ok());
    bytes(binding, "c=").is_some()
        && nonce.strip_prefix("r=").is_some_and(is_nonce)
        && bytes(proof, "p=").is_some_and(|proof| proof.len() == HASH_BYTES)
}

/// The stored keys of a user (RFC 5802 §3).
pub(super) struct Keys {
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: Vec<u8>,
    pub(super) server_key: Vec<u8>,
}

/// Gives the mechanism the keys and the binding, and hears when the proof was right.
struct Knowledge {
    keys: Keys,
    exporter: Option<[u8; 32]>,
}

/// Set when, and only when, the proof was right: the mechanism ends the exchange either way.
struct Proved;

impl Validation for Proved {
    type Value = ();
}

impl SessionCallback for Knowledge {
    fn callback(
        &self,
        _: &SessionData,
        _: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        let Keys { iterations, salt, stored_key, server_key } = &self.keys;
        request.satisfy::<ScramStoredPassword<'_>>(&ScramStoredPassword::new(
            *iterations,
            salt,
            stored_key,
            server_key,
        ))?;
        if let Some(exporter) = &self.exporter {
            request.satisfy::<ChannelBindings>(exporter)?;
        }
        Ok(())
    }

    fn validate(
        &self,
        _: &SessionData,
        _: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        validate.finalize::<Proved>(());
        Ok(())
    }
}

/// An exchange that waits for the client's proof.
pub(super) struct Proof {
    session: Session<Proved>,
    first: ClientFirst,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof").field("first", &self.first).finish_non_exhaustive()
    }
}

impl Proof {
    /// Takes the keys; gives `server-first-message`. Nothing when the keys are none for SHA-256.
    pub(super) fn begin(first: ClientFirst, binding: Binding, keys: Keys) -> Option<(Self, Vec<u8>)> {
        // One registry for both mechanisms: they differ in the flag alone, which is checked above.
        static MECHANISMS: [rsasl::prelude::Mechanism; 1] = [rsasl::mechanisms::scram::SCRAM_SHA256];
        let knowledge = Knowledge { keys, exporter: binding.exporter };
        let config = SASLConfig::builder()
            .with_registry(Registry::with_mechanisms(&MECHANISMS))
            .with_callback(knowledge)
            .ok()?;
        let name = Mechname::parse(b"SCRAM-SHA-256").ok()?;
        let mut session = SASLServer::<Proved>::new(config).start_suggested(name).ok()?;
        let mut server_first = Vec::new();
        session.step(Some(&first.message), &mut server_first).ok()?;
        Some((Self { session, first }, server_first))
    }

    /// Who logs in, and whom they want to act as.
    pub(super) fn names(&self) -> (String, String) {
        (self.first.authcid.clone(), self.first.authzid.clone())
    }

    /// `server-final-message` when the client's proof is right, else nothing.
    pub(super) fn verify(mut self, client_final: &[u8]) -> Option<Vec<u8>> {
        if !is_client_final(client_final) {
            return None;
        }
        let client_final = Zeroizing::new(client_final.to_vec());
        let mut server_final = Vec::new();
        self.session.step(Some(&client_final), &mut server_final).ok()?;
        self.session.validation().map(|()| server_final)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Binding = Binding { exporter: Some([7; 32]), plus_offered: true };
    const UNBOUND: Binding = Binding { exporter: None, plus_offered: false };

    #[test]
    fn client_first_messages_are_read() {
        let read = ClientFirst::parse(b"n,,n=us=2Cer=3D,r=abc").unwrap();
        assert_eq!((read.authcid.as_str(), read.authzid.as_str(), read.flag), ("us,er=", "", Flag::Cannot));
        let read = ClientFirst::parse(b"p=tls-exporter,a=other,n=user,r=abc").unwrap();
        assert_eq!((read.authzid.as_str(), read.flag), ("other", Flag::Used("tls-exporter".into())));
    }

    #[test]
    fn malformed_messages_are_refused_before_the_mechanism_sees_them() {
        for bad in [
            "",
            "n",
            "n,",
            "n,,",
            "n,a,n=u,r=x",
            "n,,n,r=x",
            "n,,n=u,r",
            "n,,n=u,r=",
            "n,,n=,r=x",
            "n,,m=1,n=u,r=x",
            "n,,n=u=,r=x",
            "n,,n=u=2c,r=x",
            "n,,n=u,r=x,e=1",
            "p=,,n=u,r=x",
            "x,,n=u,r=x",
            "n,,n=u\u{0},r=x",
            "n,,r=x,n=u",
        ] {
            assert!(ClientFirst::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        for bad in [
            "",
            "c",
            "c=biws",
            "c=biws,r",
            "c=biws,r=x,p=",
            "c=biws,r=x,p=AAAA",
            "c=!,r=x,p=AAAA",
            ",,",
            "c=biws,x,p=y",
        ] {
            assert!(!is_client_final(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn flag_mechanism_and_offer_must_agree() {
        use Mechanism::{ScramSha256, ScramSha256Plus};
        for (flag, mechanism, binding, fine) in [
            ("n", ScramSha256, BOUND, true),
            ("n", ScramSha256Plus, BOUND, false),
            ("y", ScramSha256, BOUND, false),
            ("y", ScramSha256, UNBOUND, true),
            ("p=tls-exporter", ScramSha256Plus, BOUND, true),
            ("p=tls-exporter", ScramSha256, BOUND, false),
            ("p=tls-unique", ScramSha256Plus, BOUND, false),
            ("p=tls-exporter", ScramSha256Plus, UNBOUND, false),
        ] {
            let first = ClientFirst::parse(format!("{flag},,n=u,r=x").as_bytes()).unwrap();
            assert_eq!(first.may_be_used(mechanism, binding), fine, "{flag} {mechanism:?}");
        }
    }

    #[test]
    fn keys_of_another_hash_are_refused() {
        let keys = |bytes| Keys {
            iterations: 4096,
            salt: vec![1; 16],
            stored_key: vec![2; bytes],
            server_key: vec![3; 32],
        };
        let first = || ClientFirst::parse(b"n,,n=u,r=x").unwrap();
        assert!(Proof::begin(first(), UNBOUND, keys(20)).is_none());
        assert!(Proof::begin(first(), UNBOUND, keys(32)).is_some());
    }
}
