//! Signing one message with all keys of its domain, in one pass over the body.

use std::io;

use mail::{Domain, header};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::{DkimSigner, Done};

use super::{Key, SignError};
use crate::canonical::{Body, Canonical};

/// Fields that are signed; where one is absent, so that nobody can add it (RFC 6376 §5.4.2), that is signed too.
///
/// From stands here twice: a second one cannot be put in front of the author's either (RFC 6376 §8.15).
const SIGNED: [&str; 12] = [
    "From",
    "From",
    "Reply-To",
    "Sender",
    "Subject",
    "Date",
    "To",
    "Cc",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
];

/// Fields that are signed where they are there: lists and gateways add their own later (RFC 6376 §5.4.1).
const SIGNED_IF_THERE: [&str; 8] = [
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-ID",
    "Content-Description",
    "List-ID",
    "List-Post",
    // RFC 8058 §4: one-click unsubscription must be covered by a signature.
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
];

/// Signs with every key; gives the `DKIM-Signature` fields, each with its CRLF.
pub(super) fn sign<B: AsRef<[u8]>>(
    keys: &[(String, Key)],
    domain: &Domain,
    fields: &[u8],
    body: impl IntoIterator<Item = io::Result<B>>,
) -> Result<Vec<u8>, SignError> {
    let fields = fields.get(..header::fields_end(fields)).unwrap_or_default();
    let signers: Vec<_> = keys.iter().map(|(selector, key)| signer(selector, key, domain, fields)).collect();
    let mut streams: Vec<_> = signers.iter().map(DkimSigner::sign_streaming).collect();
    for stream in &mut streams {
        stream.write(fields);
        stream.write(b"\r\n");
    }
    // The library is given the canonical body: it would keep empty lines that have to go (RFC 6376 §3.4.4).
    let (mut canonical, mut text) = (Body::new(Canonical::Relaxed), Vec::new());
    for chunk in body {
        canonical.update(chunk?.as_ref(), &mut text);
        streams.iter_mut().for_each(|stream| stream.write(&text));
        text.clear();
    }
    canonical.finish(&mut text);
    streams.iter_mut().for_each(|stream| stream.write(&text));
    let mut signatures = Vec::new();
    for stream in streams {
        let signature = stream.finish().map_err(|error| match error {
            mail_auth::Error::NoHeadersFound => SignError::NoHeader,
            other => SignError::Crypto(other.to_string()),
        })?;
        signature.write_header(&mut signatures);
    }
    Ok(signatures)
}

fn signer<'k>(selector: &str, key: &'k Key, domain: &Domain, fields: &[u8]) -> DkimSigner<&'k Key, Done> {
    let present = SIGNED_IF_THERE.into_iter().filter(|name| header::find(fields, name).is_some());
    DkimSigner::from_key(key)
        .domain(domain.as_str())
        .selector(selector)
        .headers(SIGNED.into_iter().chain(present))
}
