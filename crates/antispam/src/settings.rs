//! `[antispam]`: everything about judging mail that an operator may set, put together from the checks' own settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mail::{Address, Domain};
use net::Networks;
use policy::{CheckSettings, Mode, Score, ThresholdOverrides, Thresholds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tables::Spec;

use crate::access;
use crate::backscatter::BackscatterSettings;
use crate::connect::dnsbl;
use crate::connect::dnsbl::health::HealthSettings;
use crate::connect::dnsbl::settings::ZoneSettings;
use crate::connect::rates::RateSettings;
use crate::end_of_data::attachments::AttachmentSettings;
use crate::end_of_data::authentication::DmarcSettings;
use crate::end_of_data::content_checks::Inner;
use crate::end_of_data::links::LinkSettings;
use crate::learn::{BayesSettings, LearnSettings};
use crate::quarantine::QuarantineSettings;
use crate::rcpt::greylist::GreylistSettings;
use crate::remote::milter::settings::MilterSettings;
use crate::remote::settings::ScannerSettings;
use crate::reputation::ReputationSettings;

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
    /// Seconds that a stranger's greeting may wait for the checks of its address. 4.
    pub greeting_seconds_max: u64,
    /// Seconds for which a client whose mail went to an inbox is known: it is greeted at once, and the checks of its address
    /// go on meanwhile. 86,400, a day; 0: nobody is known.
    pub known_client_seconds: u64,
    /// Seconds that the checks of HELO, MAIL and RCPT may take, each. 8.
    pub command_seconds_max: u64,
    /// Seconds that a client may be kept waiting by its connection, HELO and MAIL together; each has one at least. 14. What
    /// is not known by then is unknown, and the mail goes on.
    pub waiting_seconds_max: u64,
    /// Seconds that all checks after DATA may take together. 30: late answers make duplicates (RFC 1047).
    pub verdict_seconds_max: u64,
    /// Memory in bytes for messages that are being judged, all together; who finds no room waits, within
    /// `verdict_seconds_max`. 67,108,864 (64 MiB).
    pub judging_memory_bytes_max: usize,
    /// DNS lists: whom they list, each answer a witness with its own weight. Not set: Spamhaus ZEN, SpamCop, PSBL,
    /// UCEPROTECT-1 and DNSWL about clients, Spamhaus DBL, SURBL and URIBL about domains of links; `dnsbl = []` asks none.
    pub dnsbl: Vec<ZoneSettings>,
    /// When a DNS list is no longer believed.
    pub dnsbl_health: HealthSettings,
    /// How much a client network, or an account, may do in an hour.
    pub rates: RateSettings,
    /// Whom greylisting asks to come back, and when.
    pub greylist: GreylistSettings,
    /// For how many days it is remembered to whom our users have written, and in which threads: answers are never
    /// greylisted, not taken for forgeries, and not judged by what they say alone. 30; 0 remembers nobody.
    pub correspondent_days: u32,
    /// What senders and networks have sent lately.
    pub reputation: ReputationSettings,
    /// The classifier that learns.
    pub bayes: BayesSettings,
    /// What the classifier learns by itself.
    pub learn: LearnSettings,
    /// Bounces of what we never sent.
    pub backscatter: BackscatterSettings,
    /// What is kept back: for how long, and who is told when.
    pub quarantine: QuarantineSettings,
    /// Permits aliases to send mail that is marked as junk on to other hosts, which then take this host for its sender.
    /// false: such a copy is put into quarantine, and nobody is told.
    pub forward_tagged: bool,
    /// Tables about clients, HELO names, senders and recipients, as Postfix's access(5) has them.
    pub access: Vec<access::Settings>,
    /// A table that is asked about every field of a message's header, as `TYPE:SOURCE` with the type `regexp` or `pcre`. It
    /// is Postfix's header_checks, and for all mail. Example: `header_checks = "pcre:header_checks"`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_checks: Option<Spec>,
    /// The same for fields that MIME defines and for headers of MIME parts: a table, `same` (as `header_checks`) or `none`.
    pub mime_header_checks: Inner,
    /// The same for headers of attached messages: a table, `same` (as `header_checks`) or `none`.
    pub nested_header_checks: Inner,
    /// A table that is asked about every line of bodies, as they come: nothing is decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_checks: Option<Spec>,
    /// As `header_checks`, for bounces alone: mail with the null sender from clients that nothing vouches for. MIME fields
    /// and attached headers, which quote the original message, are looked at too. Example:
    /// `bounce_header_checks = "pcre:bounce_header_checks"`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounce_header_checks: Option<Spec>,
    /// As `body_checks`, for bounces alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounce_body_checks: Option<Spec>,
    /// How many octets of each part of a message `body_checks` look at; 0 for all. The default is Postfix's.
    pub body_checks_bytes_max: u64,
    /// Longest field that `header_checks` look at, in octets; what a longer one holds behind it is not seen. The default is
    /// Postfix's `header_size_limit`.
    pub header_checks_bytes_max: usize,
    /// What DMARC may do beside its points.
    pub dmarc: DmarcSettings,
    /// Files with rules of yours about what letters say; `staffetta import spamassassin` makes such files.
    #[schemars(example = &["rules.toml"])]
    pub rules: Vec<PathBuf>,
    /// Whether the rules that come with this program are used beside yours. true.
    pub own_rules: bool,
    /// Links in letters, and domains that are imitated.
    pub links: LinkSettings,
    /// Attached files that you do not want.
    pub attachments: AttachmentSettings,
    /// A table of addresses that nobody has given to anybody, as `TYPE:SOURCE`: who writes to them sends unasked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"text:spam_traps")]
    pub spam_traps: Option<Spec>,
    /// Programs besides us that look at messages: `ClamAV`, `SpamAssassin`, rspamd, Pyzor, policy servers.
    pub scanner: Vec<ScannerSettings>,
    /// Milters, in the order in which they are asked: OpenDKIM, rspamd, clamav-milter.
    pub milter: Vec<MilterSettings>,
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
            dnsbl_cap: dnsbl::settings::CAP,
            lists_may_reject: false,
            history_days: 30,
            scores: None,
            authserv_id: None,
            exempt_networks: loopback(),
            greeting_seconds_max: 4,
            known_client_seconds: 86_400,
            command_seconds_max: 8,
            waiting_seconds_max: 14,
            verdict_seconds_max: 30,
            judging_memory_bytes_max: 64 << 20,
            dnsbl: [dnsbl::settings::defaults(), dnsbl::settings::domain_defaults()].concat(),
            dnsbl_health: HealthSettings::default(),
            rates: RateSettings::default(),
            greylist: GreylistSettings::default(),
            correspondent_days: 30,
            reputation: ReputationSettings::default(),
            bayes: BayesSettings::default(),
            learn: LearnSettings::default(),
            backscatter: BackscatterSettings::default(),
            quarantine: QuarantineSettings::default(),
            forward_tagged: false,
            access: Vec::new(),
            header_checks: None,
            mime_header_checks: Inner::Same,
            nested_header_checks: Inner::Same,
            body_checks: None,
            bounce_header_checks: None,
            bounce_body_checks: None,
            body_checks_bytes_max: 51_200,
            header_checks_bytes_max: 102_400,
            dmarc: DmarcSettings::default(),
            rules: Vec::new(),
            own_rules: true,
            links: LinkSettings::default(),
            attachments: AttachmentSettings::default(),
            spam_traps: None,
            scanner: Vec::new(),
            milter: Vec::new(),
            check: BTreeMap::new(),
            recipient: Vec::new(),
        }
    }
}

fn loopback() -> Networks {
    ["127.0.0.0/8", "::1/128"].iter().filter_map(|network| network.parse().ok()).collect()
}
