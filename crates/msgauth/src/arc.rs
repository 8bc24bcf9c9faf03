//! ARC (RFC 8617 §5.2): is the chain of those who passed a message on whole?
//!
//! A chain is as good as the trust in its sealers, which is not decided here. `pass` means that every seal and the last
//! signature of the message hold; `fail` that something is missing or does not; a chain that one of its own sealers gave
//! up (`cv=fail`) is `none`, as if there were no chain; and a key that could not be asked for is `temperror`.

use std::collections::BTreeMap;
use std::ops::Range;

use aws_lc_rs::digest::{Context, Digest, SHA256};
use mail::Domain;
use mail::header::Field;

use crate::canonical::Canonical;
use crate::dkim::signature::{Algorithm, Dialect, Signature, Signer};
use crate::dkim::verify::{judge, keys};
use crate::examine::{Header, Proof, compare_body, without_signature};
use crate::tags::{Tags, trim};
use crate::{AuthResult, Lookups};

/// Most sets that a chain may have (RFC 8617 §4.2.1).
pub const SETS_MAX: u8 = 50;

/// What a chain came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `none`, `pass`, `fail` or `temperror`.
    pub result: AuthResult,
    /// Domains of the seals, oldest first; empty where the chain could not be read.
    pub sealers: Vec<Domain>,
    /// What the first sealer found of DMARC, by its own words: a result of RFC 8601, where it is known to us.
    pub dmarc_before: Option<AuthResult>,
    /// Why it is not `pass`, in words.
    pub reason: Option<String>,
}

/// The chain of a message, hashed.
#[derive(Debug)]
pub(crate) struct Prepared {
    outcome: Outcome,
    open: Option<Chain>,
}

/// What is left to verify.
#[derive(Debug)]
struct Chain {
    message: Signature,
    message_proof: Proof,
    /// Of every seal, oldest first.
    seals: Vec<Proof>,
}

/// The three fields of one instance.
#[derive(Debug, Default)]
struct Set<'h, 'm> {
    results: Option<&'h Field<'m>>,
    message: Option<&'h Field<'m>>,
    seal: Option<&'h Field<'m>>,
}

/// What a seal says (RFC 8617 §4.1.3).
struct Seal {
    signer: Signer,
    validation: Validation,
    value_of_b: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Validation {
    None,
    Pass,
    Fail,
}

/// How a chain ends before any key is asked for.
enum Stop {
    Broken(&'static str),
    GivenUp,
}

impl From<&'static str> for Stop {
    fn from(why: &'static str) -> Self {
        Self::Broken(why)
    }
}

impl Prepared {
    /// Reads the chain and hashes what its seals and its last signature are of.
    pub(crate) fn of(header: &Header<'_>, now_seconds: u64) -> Self {
        let mut outcome =
            Outcome { result: AuthResult::None, sealers: Vec::new(), dmarc_before: None, reason: None };
        match sets(header).and_then(|sets| chain(header, &sets, now_seconds, &mut outcome)) {
            Ok(open) => Self { outcome, open },
            Err(Stop::Broken(why)) => {
                outcome.result = AuthResult::Fail;
                outcome.reason = Some(why.to_owned());
                Self { outcome, open: None }
            }
            Err(Stop::GivenUp) => {
                outcome.reason = Some("a sealer found the chain broken already".to_owned());
                Self { outcome, open: None }
            }
        }
    }

    pub(crate) fn body_form(&self) -> Option<Canonical> {
        self.open.as_ref().map(|chain| chain.message.body)
    }

    pub(crate) fn compare_body<'d>(&mut self, digest_of: &impl Fn(Canonical) -> Option<&'d Digest>) {
        let Some(chain) = &self.open else { return };
        if let Some((_, why)) = compare_body(&chain.message, digest_of(chain.message.body)) {
            self.outcome.result = AuthResult::Fail;
            self.outcome.reason = Some(why.to_owned());
            self.open = None;
        }
    }

    pub(crate) async fn verify(&self, lookups: &Lookups) -> Outcome {
        let Some(chain) = &self.open else { return self.outcome.clone() };
        // RFC 8617 §5.2: the message first, then the seals from the last to the first.
        let proofs = || std::iter::once(&chain.message_proof).chain(chain.seals.iter().rev());
        let keys = keys(proofs().map(|proof| &proof.signer.key_name), lookups).await;
        let mut outcome = Outcome { result: AuthResult::Pass, ..self.outcome.clone() };
        for proof in proofs() {
            let Some(key) = keys.get(&proof.signer.key_name) else { continue };
            let (result, why) = judge(key.as_ref(), proof);
            if result != AuthResult::Pass {
                let unknown = result == AuthResult::TempError;
                outcome.result = if unknown { result } else { AuthResult::Fail };
                outcome.reason = why.map(|why| format!("{}: {why}", proof.signer.domain));
                break;
            }
        }
        outcome
    }
}

/// The sets of a header, by instance. Each has to be whole, and none may be missing (RFC 8617 §5.2).
fn sets<'h, 'm>(header: &'h Header<'m>) -> Result<Vec<Set<'h, 'm>>, Stop> {
    let mut sets: BTreeMap<u8, Set<'h, 'm>> = BTreeMap::new();
    for (name, place) in PLACES {
        // One more than a chain may have, so that a longer one is seen.
        for field in header.all(name).take(usize::from(SETS_MAX) + 1) {
            let instance = if *name == RESULTS { results_instance(field) } else { instance(field) };
            let instance = instance.ok_or("a field of the chain has no instance")?;
            if place(sets.entry(instance).or_default()).replace(field).is_some() {
                return Err("an instance stands twice".into());
            }
        }
    }
    let numbered = sets.keys().zip(1..).all(|(instance, meant)| *instance == meant);
    let whole = |set: &Set<'_, '_>| set.results.is_some() && set.message.is_some() && set.seal.is_some();
    if !numbered || !sets.values().all(whole) {
        return Err("a field of the chain is missing".into());
    }
    Ok(sets.into_values().collect())
}

const RESULTS: &str = "arc-authentication-results";

type Place = for<'s, 'h, 'm> fn(&'s mut Set<'h, 'm>) -> &'s mut Option<&'h Field<'m>>;
const PLACES: &[(&str, Place)] = &[
    (RESULTS, |set| &mut set.results),
    ("arc-message-signature", |set| &mut set.message),
    ("arc-seal", |set| &mut set.seal),
];

/// RFC 8617 §4.2.1: 1 to 50.
fn instance(field: &Field<'_>) -> Option<u8> {
    let number = Tags::parse(field.value()).ok()?.number("i")??;
    u8::try_from(number).ok().filter(|number| (1..=SETS_MAX).contains(number))
}

/// RFC 8617 §4.1.1: the instance stands first, before the authserv-id.
fn results_instance(field: &Field<'_>) -> Option<u8> {
    let end = field.value().iter().position(|octet| *octet == b';')?;
    let number = Tags::parse(field.value().get(..end)?).ok()?.number("i")??;
    u8::try_from(number).ok().filter(|number| (1..=SETS_MAX).contains(number))
}

/// Reads the seals and the last signature; `None` without any set.
fn chain(
    header: &Header<'_>,
    sets: &[Set<'_, '_>],
    now_seconds: u64,
    outcome: &mut Outcome,
) -> Result<Option<Chain>, Stop> {
    let mut seals = Vec::new();
    for field in sets.iter().filter_map(|set| set.seal) {
        seals.push(Seal::parse(field)?);
    }
    if seals.iter().any(|seal| seal.validation == Validation::Fail) {
        return Err(Stop::GivenUp);
    }
    let right = |(place, seal): (usize, &Seal)| (seal.validation == Validation::None) == (place == 0);
    if !seals.iter().enumerate().all(right) {
        return Err("cv= is not what it must be at this place".into());
    }
    let Some(field) = sets.last().and_then(|set| set.message) else { return Ok(None) };
    let tags = Tags::parse(field.value())?;
    let message = Signature::parse(&tags, Dialect::Arc)?;
    if message.signer.algorithm == Algorithm::RsaSha1 {
        return Err("SHA-1 proves nothing".into());
    }
    if message.expires.is_some_and(|expires| expires < now_seconds) {
        return Err("the signature has expired".into());
    }
    let message_proof = header.proof(&message, field, tags.place("b").unwrap_or_default());
    outcome.sealers = seals.iter().map(|seal| seal.signer.domain.clone()).collect();
    outcome.dmarc_before = sets.first().and_then(|set| dmarc_result(set.results?));
    Ok(Some(Chain { message, message_proof, seals: seal_proofs(sets, seals) }))
}

/// RFC 8617 §5.1.1: a seal is of all sets so far, each as results, signature and seal, and of itself without `b=`.
fn seal_proofs(sets: &[Set<'_, '_>], seals: Vec<Seal>) -> Vec<Proof> {
    let mut so_far = Context::new(&SHA256);
    let mut proofs = Vec::new();
    for (set, seal) in sets.iter().zip(seals) {
        let (Some(results), Some(message), Some(own)) = (set.results, set.message, set.seal) else {
            continue;
        };
        let mut text = Vec::new();
        for field in [results, message] {
            Canonical::Relaxed.field(field.name(), field.raw(), field.value(), &mut text);
        }
        so_far.update(&text);
        let mut unsigned = Vec::new();
        without_signature(Canonical::Relaxed, own, seal.value_of_b, &mut unsigned);
        let mut context = so_far.clone();
        context.update(&unsigned);
        proofs.push(Proof { signer: seal.signer, digest: context.finish() });
        let mut signed = Vec::new();
        Canonical::Relaxed.field(own.name(), own.raw(), own.value(), &mut signed);
        so_far.update(&signed);
    }
    proofs
}

impl Seal {
    fn parse(field: &Field<'_>) -> Result<Self, &'static str> {
        let tags = Tags::parse(field.value())?;
        // RFC 8617 §4.1.3: what a seal is of is fixed.
        if tags.get("h").is_some() {
            return Err("a seal has h=");
        }
        if tags.number("t") == Some(None) {
            return Err("t= is no number");
        }
        let signer = Signer::parse(&tags)?;
        if signer.algorithm == Algorithm::RsaSha1 {
            return Err("SHA-1 proves nothing");
        }
        let validation = match tags.get("cv") {
            Some(b"none") => Validation::None,
            Some(b"pass") => Validation::Pass,
            Some(b"fail") => Validation::Fail,
            _ => return Err("cv= is missing or unknown"),
        };
        Ok(Self { signer, validation, value_of_b: tags.place("b").unwrap_or_default() })
    }
}

/// The result of `dmarc=` in a field like Authentication-Results.
fn dmarc_result(field: &Field<'_>) -> Option<AuthResult> {
    let word =
        field.value().split(|octet| *octet == b';').find_map(|part| trim(part).strip_prefix(b"dmarc="))?;
    let end = word.iter().position(|octet| !octet.is_ascii_alphabetic()).unwrap_or(word.len());
    let word = std::str::from_utf8(word.get(..end)?).ok()?;
    [AuthResult::None, AuthResult::Pass, AuthResult::Fail, AuthResult::TempError, AuthResult::PermError]
        .into_iter()
        .find(|result| result.as_str().eq_ignore_ascii_case(word))
}
