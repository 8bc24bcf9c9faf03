//! `[[domain]]`: the domains this server is responsible for.

use mail::Domain;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A domain whose mail is ours: who exists in it, where mail for them goes, which addresses stand for others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainSettings {
    /// The domain, in A-labels or U-labels. Either this or `names`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = &"example.test")]
    pub name: Option<Domain>,
    /// Several domains with the same settings. Either this or `name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>", example = ["example.test", "example.net"])]
    pub names: Vec<Domain>,
    /// Who exists: `accounts` for the mailboxes of the accounts file, or a table as `TYPE:SOURCE` with the type `text`,
    /// `regexp`, `pcre`, `cidr`, `static` or `inline`. Looked up with the full address first, then with the part before the
    /// `@`. There is no default on purpose: a server that accepts what it cannot deliver becomes a source of bounces.
    #[schemars(example = &"accounts")]
    pub recipients: String,
    /// Where mail for them goes: `maildir:/srv/mail/{domain}/{local}/`, `lmtp:unix:/run/dovecot/lmtp`,
    /// `lmtp:[::1]:24`, or `smtp:[10.0.0.5]:25` for a server behind this one. `{local}` is the mailbox's canonical
    /// name: lower case, without the tag after the `recipient_delimiter`.
    #[schemars(example = &"maildir:/srv/mail/{domain}/{local}/")]
    pub deliver: String,
    /// A table of full addresses that stand for others, as `TYPE:SOURCE`: `user@domain` leads to a list of addresses,
    /// `@domain` catches every address that nothing else takes. None when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"text:virtual")]
    pub aliases: Option<String>,
    /// What holds for its recipients when mail is judged. Not set: as `[antispam]` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub antispam: Option<antispam::DomainOverrides>,
}

impl DomainSettings {
    /// Its domains: `name`, then `names`.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.name.iter().chain(&self.names)
    }
}
