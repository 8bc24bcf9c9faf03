//! Verification of DKIM signatures (RFC 6376 §6): chosen and hashed first, then compared with the keys that DNS gives.
//!
//! What a signature is worth is not decided here, but what never counts is: keys under 1,024 bits and SHA-1 (RFC 8301),
//! signatures that have expired, and those of a part of the body are `policy`. A key that could not be asked for is
//! `temperror`.

use std::collections::HashMap;

use aws_lc_rs::digest::Digest;
use mail::Domain;
use mail::header::Field;
use net::{DnsAnswer, DnsName};

use super::public_key::{PublicKey, RSA_BITS_MIN};
use super::signature::{Algorithm, Dialect, Signature};
use crate::canonical::Canonical;
use crate::dmarc::Authors;
use crate::examine::{Header, Limits, Proof, compare_body};
use crate::tags::Tags;
use crate::{AuthResult, Lookups};

/// Signatures that are read to choose from.
const SIGNATURES_READ_MAX: usize = 64;
/// Letters of `b=` by which a signature is named (RFC 6008 §3).
const PREFIX_LETTERS: usize = 8;

/// What one signature came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The result (RFC 8601 §2.7.1).
    pub result: AuthResult,
    /// `d=`: who takes responsibility, where it can be read.
    pub domain: Option<Domain>,
    /// `s=`: which key.
    pub selector: String,
    /// `i=`: on whose behalf, where it is said.
    pub agent: Option<String>,
    /// `a=`, where it is known.
    pub algorithm: Option<&'static str>,
    /// The length of the key, where it was found.
    pub key_bits: Option<usize>,
    /// The domain is trying DKIM out, and wants its failures taken as if nothing were signed (`t=y`, RFC 6376 §3.6.1).
    pub testing: bool,
    /// The first letters of `b=`, for Authentication-Results (RFC 6008).
    pub prefix: String,
    /// Why it does not pass, in words.
    pub reason: Option<String>,
}

/// The best of several results: what a message as a whole comes to. None without signatures.
#[must_use]
pub fn summary(outcomes: &[Outcome]) -> AuthResult {
    let rank = |result: &AuthResult| match result {
        AuthResult::Pass => 0,
        AuthResult::TempError => 1,
        AuthResult::Policy => 2,
        AuthResult::Fail => 3,
        AuthResult::PermError => 4,
        _ => 5,
    };
    outcomes.iter().map(|outcome| outcome.result).min_by_key(rank).unwrap_or(AuthResult::None)
}

/// The signatures of a message, hashed.
#[derive(Debug)]
pub(crate) struct Prepared(Vec<Candidate>);

#[derive(Debug)]
struct Candidate {
    /// As far as it is known without the key.
    outcome: Outcome,
    /// What is left to verify; none when the result is known.
    open: Option<(Signature, Proof)>,
}

impl Prepared {
    /// Reads the signatures and chooses: those of the authors' domains first, then from the top.
    pub(crate) fn of(header: &Header<'_>, authors: &Authors, limits: &Limits, now_seconds: u64) -> Self {
        let fields = header.all("dkim-signature").take(SIGNATURES_READ_MAX);
        let mut read: Vec<(bool, &Field<'_>, Candidate)> = fields
            .map(|field| {
                let candidate = Candidate::read(header, field, now_seconds, false);
                let aligned = candidate.outcome.domain.as_ref().is_some_and(|domain| authors.are_of(domain));
                (!aligned, field, candidate)
            })
            .collect();
        // The sort is stable: where two are alike, the upper one comes first.
        read.sort_by_key(|(foreign, ..)| *foreign);
        read.truncate(limits.signatures_max);
        read.sort_by_key(|(_, field, _)| field.range().start);
        Self(
            read.into_iter().map(|(_, field, _)| Candidate::read(header, field, now_seconds, true)).collect(),
        )
    }

    pub(crate) fn body_forms(&self) -> impl Iterator<Item = Canonical> {
        self.0.iter().filter_map(|candidate| candidate.open.as_ref().map(|(signature, _)| signature.body))
    }

    pub(crate) fn compare_bodies<'d>(&mut self, digest_of: &impl Fn(Canonical) -> Option<&'d Digest>) {
        for candidate in &mut self.0 {
            let Some((signature, _)) = &candidate.open else { continue };
            if let Some((result, why)) = compare_body(signature, digest_of(signature.body)) {
                candidate.close(result, why);
            }
        }
    }

    pub(crate) async fn verify(&self, lookups: &Lookups) -> Vec<Outcome> {
        let names = self.0.iter().filter_map(|candidate| Some(&candidate.open.as_ref()?.1.signer.key_name));
        let keys = keys(names, lookups).await;
        self.0.iter().map(|candidate| candidate.verified(&keys)).collect()
    }
}

impl Candidate {
    /// Reads one field. Hashing what is signed costs, so it is done only for those that are chosen.
    fn read(header: &Header<'_>, field: &Field<'_>, now_seconds: u64, chosen: bool) -> Self {
        let mut candidate = Self { outcome: Outcome::unread(), open: None };
        let tags = match Tags::parse(field.value()) {
            Ok(tags) => tags,
            Err(why) => {
                candidate.close(AuthResult::Neutral, why);
                return candidate;
            }
        };
        candidate.outcome.prefix = prefix(&tags);
        let signature = match Signature::parse(&tags, Dialect::Dkim) {
            Ok(signature) => signature,
            Err(why) => {
                candidate.close(AuthResult::Neutral, why);
                return candidate;
            }
        };
        candidate.outcome.domain = Some(signature.signer.domain.clone());
        candidate.outcome.selector.clone_from(&signature.signer.selector);
        candidate.outcome.algorithm = Some(signature.signer.algorithm.as_str());
        candidate.outcome.agent = signature.agent.as_ref().map(|agent| agent.text.clone());
        if signature.signer.algorithm == Algorithm::RsaSha1 {
            candidate.close(AuthResult::Policy, "SHA-1 proves nothing");
        } else if signature.expires.is_some_and(|expires| expires < now_seconds) {
            candidate.close(AuthResult::Policy, "the signature has expired");
        } else if chosen && let Some(place) = tags.place("b") {
            let proof = header.proof(&signature, field, place);
            candidate.open = Some((signature, proof));
        }
        candidate
    }

    fn close(&mut self, result: AuthResult, why: &str) {
        self.outcome.result = result;
        self.outcome.reason = Some(why.to_owned());
        self.open = None;
    }

    fn verified(&self, keys: &Keys) -> Outcome {
        let mut outcome = self.outcome.clone();
        let Some((signature, proof)) = &self.open else { return outcome };
        let key = keys.get(&proof.signer.key_name);
        if let Some(Ok(key)) = key {
            outcome.key_bits = Some(key.bits);
            outcome.testing = key.testing;
        }
        let same_domain = signature.agent.as_ref().is_none_or(|agent| agent.same_domain);
        let (result, reason) = match key {
            Some(Ok(key)) if key.same_domain && !same_domain => {
                (AuthResult::PermError, Some("the key is not for subdomains".to_owned()))
            }
            Some(key) => judge(key.as_ref(), proof),
            None => (AuthResult::TempError, Some("the key was not asked for".to_owned())),
        };
        Outcome { result, reason, ..outcome }
    }
}

impl Outcome {
    fn unread() -> Self {
        Self {
            result: AuthResult::Neutral,
            domain: None,
            selector: String::new(),
            agent: None,
            algorithm: None,
            key_bits: None,
            testing: false,
            prefix: String::new(),
            reason: None,
        }
    }
}

fn prefix(tags: &Tags<'_>) -> String {
    let letters = tags.get("b").unwrap_or_default().iter().filter(|octet| octet.is_ascii_graphic());
    letters.take(PREFIX_LETTERS).map(|octet| char::from(*octet)).collect()
}

/// What was found under the names of keys.
pub(crate) type Keys = HashMap<DnsName, Result<PublicKey, NoKey>>;

/// Why there is no key.
#[derive(Debug, Clone)]
pub(crate) enum NoKey {
    /// DNS failed.
    Unknown(String),
    /// None is published, or none that can be used.
    Absent(&'static str),
}

/// Asks for keys, for all at once and for each once.
pub(crate) async fn keys<'n>(names: impl Iterator<Item = &'n DnsName>, lookups: &Lookups) -> Keys {
    let mut keys = Keys::new();
    let mut asked = tokio::task::JoinSet::new();
    for name in names {
        let unknown = NoKey::Unknown("the look-up was given up".to_owned());
        if keys.insert(name.clone(), Err(unknown)).is_none() {
            let (name, lookups) = (name.clone(), lookups.clone());
            asked.spawn(async move {
                let answer = lookups.txt(&name).await;
                (name, answer)
            });
        }
    }
    while let Some(answer) = asked.join_next().await {
        let Ok((name, answer)) = answer else { continue };
        let key = match answer {
            DnsAnswer::Found(texts) => PublicKey::find(&texts).map_err(NoKey::Absent),
            DnsAnswer::NoName | DnsAnswer::NoData => PublicKey::find(&[]).map_err(NoKey::Absent),
            DnsAnswer::Failed(why) => Err(NoKey::Unknown(why)),
        };
        keys.insert(name, key);
    }
    keys
}

/// Whether a proof holds with its key.
pub(crate) fn judge(key: Result<&PublicKey, &NoKey>, proof: &Proof) -> (AuthResult, Option<String>) {
    match key {
        Err(NoKey::Unknown(why)) => (AuthResult::TempError, Some(why.clone())),
        Err(NoKey::Absent(why)) => (AuthResult::PermError, Some((*why).to_owned())),
        Ok(key) if key.is_weak() => {
            let why = format!("the key has {} bits, fewer than {RSA_BITS_MIN}", key.bits);
            (AuthResult::Policy, Some(why))
        }
        Ok(key) if key.made(proof.signer.algorithm, &proof.digest, &proof.signer.signature) => {
            (AuthResult::Pass, None)
        }
        Ok(_) => (AuthResult::Fail, Some("what is signed was changed, or by another key".to_owned())),
    }
}
