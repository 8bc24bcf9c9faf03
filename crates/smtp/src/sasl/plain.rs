//! PLAIN (RFC 4616): one message with three names, prepared by rsasl.

use std::sync::Arc;

use rsasl::callback::{Context, SessionCallback, SessionData};
use rsasl::mechname::Mechname;
use rsasl::prelude::{Registry, SASLConfig, SASLServer, Validation};
use rsasl::property::{AuthId, AuthzId, Password};
use rsasl::validate::{Validate, ValidationError};

/// Who, as whom, and with what: name and password prepared with SASLprep (RFC 4616 §2, RFC 4013).
pub(super) struct Credentials {
    pub(super) authzid: String,
    pub(super) authcid: String,
    pub(super) password: Vec<u8>,
}

/// Takes what the mechanism has read out of it; who decides comes later.
struct Take;

impl Validation for Take {
    type Value = Credentials;
}

impl SessionCallback for Take {
    fn validate(
        &self,
        _: &SessionData,
        context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        validate.finalize::<Self>(Credentials {
            authzid: text(context.get_ref::<AuthzId>()),
            authcid: text(context.get_ref::<AuthId>()),
            password: context.get_ref::<Password>().unwrap_or_default().to_vec(),
        });
        Ok(())
    }
}

/// Reads `[authzid] NUL authcid NUL password` (RFC 4616 §2); nothing when it is malformed.
pub(super) fn credentials(message: &[u8]) -> Option<Credentials> {
    static MECHANISMS: [rsasl::prelude::Mechanism; 1] = [rsasl::mechanisms::plain::PLAIN];
    let config: Arc<SASLConfig> = SASLConfig::builder()
        .with_registry(Registry::with_mechanisms(&MECHANISMS))
        .with_callback(Take)
        .ok()?;
    let mut session =
        SASLServer::<Take>::new(config).start_suggested(Mechname::parse(b"PLAIN").ok()?).ok()?;
    session.step(Some(message), &mut std::io::sink()).ok()?;
    session.validation()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_parts_are_read() {
        let read = credentials("as\0me\0pa\u{ad}ss\u{aa}".as_bytes()).unwrap();
        assert_eq!((read.authzid.as_str(), read.authcid.as_str()), ("as", "me"));
        assert_eq!(read.password, b"passa", "RFC 4013 §2: soft hyphens go, compatibility forms are mapped");
        assert_eq!(credentials(b"\0me\0\xff\xfe").unwrap().password, b"\xff\xfe");
    }

    #[test]
    fn malformed_messages_are_nobody() {
        for bad in [
            &b""[..],
            b"me",
            b"\0me",
            b"\0\0secret",
            b"\0me\0",
            b"a\0b\0c\0d",
            b"\xff\0me\0pw",
            b"\0\xffe\0pw",
        ] {
            assert!(credentials(bad).is_none(), "{bad:?}");
        }
    }
}
