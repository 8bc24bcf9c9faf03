//! `[antispam]`: everything about judging mail that an operator may set, put together from the checks' own settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mail::{Address, Domain};
use net::Networks;
use policy::{CheckSettings, Mode, Score, ThresholdOverrides, Thresholds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How strangers and their mail are judged while they are on the line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How much verdicts may do: `enforce`; `tag`, which marks but never refuses or greylists; `observe`, which only
    /// records. Start with `observe` to watch before you trust it. Facts (no such recipient, relaying, logins, limits,
    /// tables of yours) act in every mode.
    pub mode: Mode,
    /// From which score on what is done.
    pub thresholds: Thresholds,
    /// What all DNS lists together may add to a score: they are witnesses, not judges. Not below the reject threshold is
    /// an error unless `lists_may_reject`.
    pub dnsbl_cap: Score,
    /// Permits DNS lists alone to refuse mail. false: losing one good letter is worse than letting two bad ones through.
    pub lists_may_reject: bool,
    /// Days that verdicts are kept for `staffetta explain`; 0 keeps none. 30. Never subject or body.
    pub history_days: u32,
    /// A file with other scores, groups and composites; see `staffetta symbols`. Not set: as compiled in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"scores.toml")]
    pub scores: Option<PathBuf>,
    /// The name that results of authentication are given in our name (RFC 8601 §2.2). Not set: `hostname`. Fields of others
    /// in this name are removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = &"mx.example.test")]
    pub authserv_id: Option<Domain>,
    /// Networks whose clients are not judged as strangers: their mail comes from this host, or through a proxy on it.
    /// Loopback by default. This permits nothing: see `trusted_networks` for who may relay.
    pub exempt_networks: Networks,
    /// Seconds that a stranger's greeting may wait for the checks of its address. 4; those that pass are not made to wait
    /// again while the answers are remembered.
    pub greeting_seconds_max: u64,
    /// Seconds that the checks of HELO, MAIL and RCPT may take, each. 8.
    pub command_seconds_max: u64,
    /// Seconds that all checks after DATA may take together. 30: late answers make duplicates (RFC 1047).
    pub verdict_seconds_max: u64,
    /// Memory in bytes for messages that are being judged, all together; who finds no room waits, within
    /// `verdict_seconds_max`. 67,108,864 (64 MiB).
    pub judging_memory_bytes_max: usize,
    /// Settings of single checks by their name: mode, on_unknown, budget_ms.
    pub check: BTreeMap<String, CheckSettings>,
    /// Recipients for whom something else holds than for their domain.
    pub recipient: Vec<RecipientSettings>,
}

/// `[[antispam.recipient]]`: what holds for one recipient.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecipientSettings {
    /// Whose.
    #[schemars(with = "String", example = &"joe@example.test")]
    pub address: Address,
    /// How much verdicts may do. Not set: as its domain has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Other thresholds; what is not set stays.
    #[serde(default)]
    pub thresholds: ThresholdOverrides,
}

/// `antispam = { … }` of a `[[domain]]`: what holds for its recipients.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DomainOverrides {
    /// How much verdicts may do. Not set: as for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Other thresholds; what is not set stays.
    pub thresholds: ThresholdOverrides,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            thresholds: Thresholds::default(),
            dnsbl_cap: Score::points(8),
            lists_may_reject: false,
            history_days: 30,
            scores: None,
            authserv_id: None,
            exempt_networks: loopback(),
            greeting_seconds_max: 4,
            command_seconds_max: 8,
            verdict_seconds_max: 30,
            judging_memory_bytes_max: 64 << 20,
            check: BTreeMap::new(),
            recipient: Vec::new(),
        }
    }
}

fn loopback() -> Networks {
    ["127.0.0.0/8", "::1/128"].iter().filter_map(|network| network.parse().ok()).collect()
}
