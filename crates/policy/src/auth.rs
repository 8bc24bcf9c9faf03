//! What authentication found, as plain values: the results of SPF, DKIM, DMARC, ARC and iprev.
//!
//! Facts, not opinions: no score is here, and nothing is asked or verified. The words are those of RFC 8601 §2.7.

use std::net::IpAddr;
use std::sync::Arc;

pub use mail::AuthResult;
use mail::Domain;
use serde::{Deserialize, Serialize};

/// The name of the client by reverse DNS and whether it leads back (RFC 8601 §2.7.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IprevFact {
    /// pass: a name leads back to the address. fail: there are names and none leads back, or there is no name.
    pub result: AuthResult,
    /// The name that leads back; else, the first one found.
    pub name: Option<Domain>,
    /// All names of the PTR records that were read.
    pub names: Vec<Domain>,
}

/// Whose name SPF was asked for (RFC 7208 §2.3, §2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpfIdentity {
    /// The name given in HELO or EHLO.
    Helo,
    /// The reverse-path of MAIL.
    MailFrom,
}

/// What SPF says of the client (RFC 7208).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpfFact {
    /// The result.
    pub result: AuthResult,
    /// Which identity was asked for.
    pub identity: SpfIdentity,
    /// The domain whose record decided; none when the identity has no domain to ask.
    pub domain: Option<Domain>,
    /// The domain's own explanation of a fail (RFC 7208 §6.2): a peer's words.
    pub explanation: Option<String>,
    /// How it came about, for Received-SPF: the mechanism that matched, or what went wrong.
    pub mechanism: Option<String>,
}

/// One signature (RFC 6376).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimFact {
    /// The result. Weak keys and SHA-1 are [`AuthResult::Policy`] (RFC 8301).
    pub result: AuthResult,
    /// `d=`, when it could be read.
    pub domain: Option<Domain>,
    /// `s=`.
    pub selector: String,
    /// `a=`.
    pub algorithm: String,
    /// What went wrong, in a few words.
    pub reason: Option<String>,
}

/// What a domain asks for when DMARC fails (`p=`, `sp=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DmarcPolicy {
    /// Nothing.
    #[default]
    None,
    /// To be suspicious.
    Quarantine,
    /// To refuse.
    Reject,
}

/// What DMARC says of the domain in From.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DmarcFact {
    /// none without a record; pass when SPF or DKIM pass and are aligned.
    pub result: AuthResult,
    /// What the domain asks for; after `pct`, `t=y` and the like.
    pub policy: DmarcPolicy,
    /// The domain of From; none when there is not exactly one.
    pub from: Option<Domain>,
    /// SPF passed for an aligned domain.
    pub spf_aligned: bool,
    /// A DKIM signature passed for an aligned domain.
    pub dkim_aligned: bool,
    /// What went wrong, in a few words.
    pub reason: Option<String>,
}

/// What the chain of ARC seals says (RFC 8617).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArcFact {
    /// none without a chain.
    pub result: AuthResult,
    /// Domain of the latest sealer, when the chain holds.
    pub sealer: Option<Domain>,
    /// Number of seals, at most 50 (RFC 8617 §4.2.1).
    pub instances: u8,
    /// What the first sealer found of DMARC, when the chain passes and says so.
    pub dmarc_before: Option<AuthResult>,
}

/// All that is known of who sent this, so far: what is not known yet is `None`.
#[derive(Debug, Clone, Default)]
pub struct AuthFacts {
    /// From CONNECT on.
    pub iprev: Option<Arc<IprevFact>>,
    /// From HELO on.
    pub spf_helo: Option<Arc<SpfFact>>,
    /// From MAIL on. For the null sender the identity is HELO's (RFC 7208 §2.4).
    pub spf: Option<Arc<SpfFact>>,
    /// After DATA: every signature that was looked at, in the order of the header.
    pub dkim: Option<Arc<[DkimFact]>>,
    /// After DATA.
    pub dmarc: Option<Arc<DmarcFact>>,
    /// After DATA.
    pub arc: Option<Arc<ArcFact>>,
    /// The client's address as those methods saw it.
    pub client: Option<IpAddr>,
}

impl AuthFacts {
    /// True when SPF passes for the sender.
    #[must_use]
    pub fn spf_passes(&self) -> bool {
        self.spf.as_ref().is_some_and(|spf| spf.result.is_pass())
    }

    /// The domains whose signatures pass.
    pub fn dkim_domains(&self) -> impl Iterator<Item = &Domain> {
        let all = self.dkim.iter().flat_map(|facts| facts.iter());
        all.filter(|fact| fact.result.is_pass()).filter_map(|fact| fact.domain.as_ref())
    }

    /// True when DMARC passes.
    #[must_use]
    pub fn dmarc_passes(&self) -> bool {
        self.dmarc.as_ref().is_some_and(|dmarc| dmarc.result.is_pass())
    }

    /// Takes over what `later` knows and this does not, or what it knows better.
    pub fn learn(&mut self, later: Self) {
        let Self { iprev, spf_helo, spf, dkim, dmarc, arc, client } = later;
        self.iprev = iprev.or(self.iprev.take());
        self.spf_helo = spf_helo.or(self.spf_helo.take());
        self.spf = spf.or(self.spf.take());
        self.dkim = dkim.or(self.dkim.take());
        self.dmarc = dmarc.or(self.dmarc.take());
        self.arc = arc.or(self.arc.take());
        self.client = client.or(self.client);
    }
}
