//! The tags of `DKIM-Signature` (RFC 6376 §3.5), and of `ARC-Message-Signature` (RFC 8617 §4.1.2), which has the same but
//! for `v`, `i` and what a missing `c` means. Pure.

use mail::Domain;
use net::DnsName;

use crate::canonical::Canonical;
use crate::tags::Tags;

/// Names that one signature may cover; a header has some tens.
const FIELDS_MAX: usize = 1_000;

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Algorithm {
    /// RFC 6376 §3.3.1; proves nothing any more (RFC 8301 §3.1).
    RsaSha1,
    /// RFC 6376 §3.3.2.
    RsaSha256,
    /// RFC 8463 §3.
    Ed25519Sha256,
}

/// Which of the two fields is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Dkim,
    Arc,
}

/// A signature that is right by the grammar.
#[derive(Debug, Clone)]
pub(crate) struct Signature {
    pub(crate) signer: Signer,
    pub(crate) body_hash: Vec<u8>,
    pub(crate) header: Canonical,
    pub(crate) body: Canonical,
    /// Names of the fields that are signed, in lower case, in the order of signing.
    pub(crate) fields: Vec<String>,
    /// `i=` of DKIM: the user or agent on whose behalf was signed.
    pub(crate) agent: Option<Agent>,
    /// `l=`: so much of the canonical body is signed, and no more.
    pub(crate) length: Option<u64>,
    /// `x=`, in seconds since 1970.
    pub(crate) expires: Option<u64>,
}

/// What a signature shares with a seal: whose it is, and the signature itself.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    pub(crate) algorithm: Algorithm,
    pub(crate) domain: Domain,
    pub(crate) selector: String,
    /// Where the key is: `selector._domainkey.domain`.
    pub(crate) key_name: DnsName,
    pub(crate) signature: Vec<u8>,
}

/// `i=` of DKIM.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    pub(crate) text: String,
    /// Its domain is that of `d=`, and not one below.
    pub(crate) same_domain: bool,
}

impl Algorithm {
    /// The name in `a=`; values have their case (RFC 6376 §3.2).
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::RsaSha1 => "rsa-sha1",
            Self::RsaSha256 => "rsa-sha256",
            Self::Ed25519Sha256 => "ed25519-sha256",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::RsaSha1, Self::RsaSha256, Self::Ed25519Sha256].into_iter().find(|it| it.as_str() == name)
    }
}

impl Signer {
    /// Reads a, b, d and s.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn parse(tags: &Tags<'_>) -> Result<Self, &'static str> {
        let algorithm = tags.word("a").and_then(Algorithm::parse).ok_or("a= is missing or unknown")?;
        let signature = tags.base64("b").filter(|b| !b.is_empty()).ok_or("b= is missing or no base64")?;
        let domain = tags.word("d").and_then(|d| Domain::parse(d).ok());
        let domain = domain.filter(|d| d.literal().is_none()).ok_or("d= is missing or no domain")?;
        let selector = tags.word("s").filter(|s| !s.is_empty()).ok_or("s= is missing or empty")?;
        let key_name = Domain::parse(&format!("{selector}._domainkey.{domain}")).ok();
        let key_name = key_name.and_then(|name| DnsName::of(&name)).ok_or("s= is no selector")?;
        Ok(Self { algorithm, domain, selector: selector.to_owned(), key_name, signature })
    }
}

impl Signature {
    /// Reads the tags of a signature.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn parse(tags: &Tags<'_>, dialect: Dialect) -> Result<Self, &'static str> {
        if dialect == Dialect::Dkim && tags.word("v") != Some("1") {
            return Err("v= is missing or not 1");
        }
        let signer = Signer::parse(tags)?;
        let body_hash = tags.base64("bh").filter(|bh| !bh.is_empty()).ok_or("bh= is missing or no base64")?;
        let (header, body) = match tags.get("c") {
            None if dialect == Dialect::Dkim => (Canonical::Simple, Canonical::Simple),
            // The first sealers left it away and meant this; the public suite has it so too.
            None => (Canonical::Relaxed, Canonical::Relaxed),
            Some(_) => forms(tags.word("c")).ok_or("c= is unknown")?,
        };
        let fields = fields(tags, dialect)?;
        let number = |name| match tags.number(name) {
            Some(None) => Err("t=, x= or l= is no number"),
            number => Ok(number.flatten()),
        };
        let (made, expires) = (number("t")?, number("x")?);
        if made.zip(expires).is_some_and(|(made, expires)| expires <= made) {
            return Err("x= is not after t=");
        }
        // RFC 6376 §3.5: dns/txt is the only method there is.
        if tags.items("q").is_some_and(|mut methods| !methods.any(|method| method == b"dns/txt")) {
            return Err("q= names no method that we know");
        }
        let agent = match (dialect, tags.get("i")) {
            (Dialect::Dkim, Some(_)) => {
                Some(agent(tags.word("i"), &signer.domain).ok_or("i= is not of the domain in d=")?)
            }
            _ => None,
        };
        Ok(Self { signer, body_hash, header, body, fields, agent, length: number("l")?, expires })
    }
}

fn fields(tags: &Tags<'_>, dialect: Dialect) -> Result<Vec<String>, &'static str> {
    let items = tags.items("h").ok_or("h= is missing")?;
    let mut fields = Vec::new();
    for item in items.take(FIELDS_MAX + 1) {
        let name = std::str::from_utf8(item).map_err(|_| "h= holds what is no name")?;
        if name.contains(|c: char| !c.is_ascii_graphic()) {
            return Err("h= holds what is no name");
        }
        fields.push(name.to_ascii_lowercase());
    }
    if fields.len() > FIELDS_MAX {
        return Err("h= is too long");
    }
    match dialect {
        // RFC 6376 §5.4.
        Dialect::Dkim if !fields.iter().any(|name| name == "from") => Err("From is not signed"),
        // RFC 8617 §4.1.2.
        Dialect::Arc if fields.iter().any(|name| name == "arc-seal") => Err("h= names ARC-Seal"),
        _ => Ok(fields),
    }
}

/// RFC 6376 §3.5: the form of the header, and of the body where it is another.
fn forms(text: Option<&str>) -> Option<(Canonical, Canonical)> {
    let form = |name: &str| match name {
        "simple" => Some(Canonical::Simple),
        "relaxed" => Some(Canonical::Relaxed),
        _ => None,
    };
    match text?.split_once('/') {
        Some((header, body)) => Some((form(header)?, form(body)?)),
        None => Some((form(text?)?, Canonical::Simple)),
    }
}

/// RFC 6376 §3.5: `i=` has the domain of `d=`, or one below.
fn agent(text: Option<&str>, domain: &Domain) -> Option<Agent> {
    let text = text?;
    let (_, right) = text.rsplit_once('@')?;
    let own = Domain::parse(right).ok()?;
    let before = own.as_str().strip_suffix(domain.as_str())?;
    (before.is_empty() || before.ends_with('.'))
        .then(|| Agent { text: text.to_owned(), same_domain: before.is_empty() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "v=1; a=rsa-sha256; d=Example.Test; s=s1; h=From:to; bh=aGk=; b=aGk=";

    fn parse(text: &str) -> Result<Signature, &'static str> {
        Signature::parse(&Tags::parse(text.as_bytes())?, Dialect::Dkim)
    }

    #[test]
    fn what_is_not_said_has_the_rfc_s_default() {
        let signature = parse(GOOD).unwrap();
        assert_eq!((signature.header, signature.body), (Canonical::Simple, Canonical::Simple));
        assert_eq!(signature.signer.key_name, DnsName::parse("s1._domainkey.example.test").unwrap());
        assert_eq!(signature.fields, ["from", "to"]);
        assert!(signature.agent.is_none() && signature.length.is_none() && signature.expires.is_none());
        let more = parse(&format!("{GOOD}; c=relaxed; i=a@b.example.test; l=9; t=1; x=2; q=dns/txt; z=any"))
            .unwrap();
        assert_eq!((more.header, more.body, more.length), (Canonical::Relaxed, Canonical::Simple, Some(9)));
        assert!(!more.agent.unwrap().same_domain);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (old, new) in [
            ("v=1; ", ""),
            ("v=1", "v=2"),
            ("rsa-sha256", "rsa-md5"),
            ("a=rsa-sha256; ", ""),
            ("d=Example.Test", "d="),
            ("d=Example.Test", "d=[192.0.2.1]"),
            ("d=Example.Test; ", ""),
            ("s=s1", "s="),
            ("s=s1", "s=a b"),
            ("s=s1", "s=.."),
            ("From:to", "to"),
            ("From:to", "from:\u{e9}"),
            ("bh=aGk=", "bh="),
            ("b=aGk=", "b=!"),
            ("v=1", "v=1; v=1"),
            ("v=1", "v=1; t=2; x=2"),
            ("v=1", "v=1; l=x"),
            ("v=1", "v=1; l="),
            ("v=1", "v=1; c=simple/odd"),
            ("v=1", "v=1; c="),
            ("v=1", "v=1; i=a@test"),
            ("v=1", "v=1; i=a@otherexample.test"),
            ("v=1", "v=1; i=a"),
            ("v=1", "v=1; q=dns/new"),
        ] {
            let text = GOOD.replacen(old, new, 1);
            assert!(parse(&text).is_err(), "{text}");
        }
    }
}
