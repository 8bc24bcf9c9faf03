//! One pass over a message: everything that DKIM, ARC and DMARC need of it, so that only DNS is left to ask.
//!
//! This is the part that computes, for the blocking pool. The header is read at once and the body in chunks; what comes
//! out is owned and small, and borrows nothing of the message. Whatever octets a message has, it never panics. A body is
//! hashed at most once in each of the two canonical forms, however many signatures there are.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use aws_lc_rs::digest::{Context, Digest, SHA256, digest};
use mail::header::{self, Field};

use crate::canonical::{Body, Canonical};
use crate::dkim::signature::{Signature, Signer};
use crate::{AuthResult, Lookups, arc, dkim, dmarc};

/// Octets that are hashed at a time.
const CHUNK_BYTES: usize = 16 * 1024;

/// How much of a message is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Signatures of DKIM that are verified; those of the author's domain come first. 8: more than a letter collects on
    /// its way, and each is a question to DNS that a stranger chooses.
    pub signatures_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { signatures_max: 8 }
    }
}

/// A message that is being read.
#[derive(Debug)]
pub struct Examination {
    bodies: Vec<BodyHash>,
    text: Vec<u8>,
    examined: Examined,
}

/// A message that has been read.
#[derive(Debug)]
pub struct Examined {
    authors: dmarc::Authors,
    dkim: dkim::Prepared,
    arc: arc::Prepared,
}

struct BodyHash {
    form: Canonical,
    body: Body,
    context: Context,
}

impl fmt::Debug for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyHash({:?})", self.form)
    }
}

/// Reads a whole message, whose lines end in CRLF. `now_seconds`, since 1970, is for signatures that expire.
#[must_use]
pub fn examine(message: &[u8], limits: &Limits, now_seconds: u64) -> Examined {
    let (header, body) = message.split_at_checked(header::body_offset(message)).unwrap_or((message, &[]));
    let mut examination = Examination::of_header(header, limits, now_seconds);
    examination.body(body);
    examination.finish()
}

impl Examination {
    /// Reads the header; an empty line at its end is no matter.
    #[must_use]
    pub fn of_header(header: &[u8], limits: &Limits, now_seconds: u64) -> Self {
        let header = Header::new(header);
        let authors = dmarc::Authors::of(&header);
        let dkim = dkim::Prepared::of(&header, &authors, limits, now_seconds);
        let arc = arc::Prepared::of(&header, now_seconds);
        let forms: Vec<Canonical> = dkim.body_forms().chain(arc.body_form()).collect();
        let bodies = [Canonical::Simple, Canonical::Relaxed].into_iter().filter(|form| forms.contains(form));
        let bodies = bodies
            .map(|form| BodyHash { form, body: Body::new(form), context: Context::new(&SHA256) })
            .collect();
        Self { bodies, text: Vec::new(), examined: Examined { authors, dkim, arc } }
    }

    /// Takes the next part of the body, of any size.
    pub fn body(&mut self, chunk: &[u8]) {
        for part in chunk.chunks(CHUNK_BYTES) {
            for hash in &mut self.bodies {
                hash.body.update(part, &mut self.text);
                hash.context.update(&self.text);
                self.text.clear();
            }
        }
    }

    /// The end of the message.
    #[must_use]
    pub fn finish(self) -> Examined {
        let Self { bodies, mut text, mut examined } = self;
        let mut digests = Vec::new();
        for BodyHash { form, body, mut context } in bodies {
            body.finish(&mut text);
            context.update(&text);
            text.clear();
            digests.push((form, context.finish()));
        }
        let digest_of = |form: Canonical| digests.iter().find(|(other, _)| *other == form).map(|(_, d)| d);
        examined.dkim.compare_bodies(&digest_of);
        examined.arc.compare_body(&digest_of);
        examined
    }
}

impl Examined {
    /// Who wrote it, by its From.
    #[must_use]
    pub fn authors(&self) -> &dmarc::Authors {
        &self.authors
    }

    /// Asks for the keys of its signatures, all at once, and verifies them.
    pub async fn dkim(&self, lookups: &Lookups) -> Vec<dkim::Outcome> {
        self.dkim.verify(lookups).await
    }

    /// Asks for the keys of its seals, all at once, and validates the chain.
    pub async fn arc(&self, lookups: &Lookups) -> arc::Outcome {
        self.arc.verify(lookups).await
    }
}

/// The fields of a header, found by name.
#[derive(Debug)]
pub(crate) struct Header<'m> {
    fields: Vec<Field<'m>>,
    /// Places in `fields` by name in lower case, from the top.
    by_name: HashMap<String, Vec<usize>>,
}

/// What is to be verified once the key is there.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    pub(crate) signer: Signer,
    /// Of everything that is signed, in canonical form.
    pub(crate) digest: Digest,
}

impl<'m> Header<'m> {
    pub(crate) fn new(header: &'m [u8]) -> Self {
        let fields: Vec<Field<'m>> = header::fields(header).collect();
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (place, field) in fields.iter().enumerate() {
            by_name.entry(field.name().to_ascii_lowercase()).or_default().push(place);
        }
        Self { fields, by_name }
    }

    /// The fields with a name, given in lower case, from the top.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &Field<'m>> {
        self.by_name.get(name).into_iter().flatten().filter_map(|place| self.fields.get(*place))
    }

    /// What a signature in `own` is a signature of (RFC 6376 §3.7, §5.4.2).
    pub(crate) fn proof(&self, signature: &Signature, own: &Field<'_>, value_of_b: Range<usize>) -> Proof {
        let form = signature.header;
        let mut text = Vec::new();
        let mut used: HashMap<&str, usize> = HashMap::new();
        for name in &signature.fields {
            let Some(places) = self.by_name.get(name) else { continue };
            // Each name takes the lowest field that no name before it has taken.
            let taken = used.entry(name).or_default();
            *taken += 1;
            let place = places.len().checked_sub(*taken).and_then(|at| places.get(at));
            if let Some(field) = place.and_then(|place| self.fields.get(*place)) {
                form.field(field.name(), field.raw(), field.value(), &mut text);
            }
        }
        without_signature(form, own, value_of_b, &mut text);
        Proof { signer: signature.signer.clone(), digest: digest(&SHA256, &text) }
    }
}

/// The field of a signature itself: with `b=` empty, and without a line end (RFC 6376 §3.7).
pub(crate) fn without_signature(
    form: Canonical,
    own: &Field<'_>,
    value_of_b: Range<usize>,
    out: &mut Vec<u8>,
) {
    let part = |range: Range<usize>| own.value().get(range).unwrap_or_default();
    let value = [part(0..value_of_b.start), part(value_of_b.end..own.value().len())].concat();
    let colon = own.raw().iter().position(|octet| *octet == b':').map_or(0, |at| at + 1);
    let raw = [own.raw().get(..colon).unwrap_or_default(), &value].concat();
    form.field(own.name(), &raw, &value, out);
    out.truncate(out.len().saturating_sub(2));
}

/// Whether a body is the one that was signed; `None` where it is.
pub(crate) fn compare_body(
    signature: &Signature,
    digest: Option<&Digest>,
) -> Option<(AuthResult, &'static str)> {
    match digest {
        Some(digest) if digest.as_ref() == signature.body_hash => None,
        // RFC 6376 §8.2: whoever passes the letter on may add what he likes.
        _ if signature.length.is_some() => {
            Some((AuthResult::Policy, "only a part of the body is signed, or it was changed"))
        }
        _ => Some((AuthResult::Fail, "the body was changed")),
    }
}
