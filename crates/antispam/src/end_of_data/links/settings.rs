//! `[antispam.links]`: what is protected, and how much is asked.

use mail::Domain;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[antispam.links]`: links in letters of strangers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSettings {
    /// Domains that others like to imitate: your bank, your shop, your partners. Your own are protected anyway. A link or an
    /// author whose name looks like one of them, and is not, gets points.
    #[schemars(with = "Vec<String>", example = &["bank.example"])]
    pub protected_domains: Vec<Domain>,
    /// Domains that lists are not asked about: those that many letters link to and no list will ever have.
    #[schemars(with = "Vec<String>", example = &["w3.org"])]
    pub unasked_domains: Vec<Domain>,
    /// Domains of one letter that lists are asked about, each in every list. 20.
    pub domains_max: usize,
}

impl Default for LinkSettings {
    fn default() -> Self {
        let unasked = ["w3.org", "microsoft.com", "apple.com", "google.com"];
        Self {
            protected_domains: Vec::new(),
            unasked_domains: unasked.into_iter().filter_map(|name| Domain::parse(name).ok()).collect(),
            domains_max: 20,
        }
    }
}
