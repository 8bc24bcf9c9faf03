//! The lists at work: asked about clients and domains while they are healthy, probed in the background, and told apart from their
//! keys. Shared by all sessions.
//!
//! Locks are held for moments only, never while something is waited for. Without anybody who calls [`Lists::tend`] no
//! list is ever proven, and so none is asked.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use mail::Timestamp;
use net::{DnsSettings, Resolver, ResolverError};
use policy::Symbol;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::answer::{Family, Subject, Verdict, kept_for};
use super::cache::Cache;
use super::filter::ReplyFilter;
use super::health::{Change, Health, HealthSettings, Probe, State};
use super::settings::{About, ZoneSettings};

/// Seconds that one question may take, with one more try. Less than the check's budget, so that a silent list is seen
/// to be silent.
pub const LOOKUP_SECONDS_MAX: u64 = 3;
/// Changes that wait for somebody to log them; the oldest go first.
const NOTICES_MAX: usize = 256;

/// See above.
#[derive(Debug)]
pub struct Lists {
    resolver: Resolver,
    settings: HealthSettings,
    zones: Vec<Zone>,
    notices: Mutex<VecDeque<Notice>>,
    wake: Notify,
}

/// A list and what is known of it.
#[derive(Debug)]
pub struct Zone {
    /// With the key: never shown.
    asked: Hidden,
    shown: String,
    rules: Vec<(ReplyFilter, Symbol)>,
    errors: Vec<ReplyFilter>,
    test_domain: String,
    sides: Vec<(Family, Mutex<Side>)>,
}

/// Something that Debug does not show.
struct Hidden(String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What is known of a list for one family.
#[derive(Debug)]
struct Side {
    health: Health,
    cache: Cache<Subject>,
    figures: Figures,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Questions about clients and domains that went to the list.
    pub asked: u64,
    /// Clients that were listed, answers from the cache among them.
    pub listed: u64,
    /// Clients that were not, answers from the cache among them.
    pub not_listed: u64,
    /// Questions without an answer.
    pub unknown: u64,
    /// Answers that were kept from before.
    pub from_cache: u64,
    /// Suspensions.
    pub suspensions: u64,
}

/// A list was suspended or has recovered: one log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The list, without its key.
    pub list: String,
    /// Which of its halves.
    pub family: Family,
    /// What happened.
    pub change: Change,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.list, self.family.as_str())?;
        match self.change {
            Change::Suspended(why) => write!(f, " suspended: {why}"),
            Change::Recovered => f.write_str(" is asked again: its test entries are as they should be"),
        }
    }
}

/// A line of `staffetta dnsbl status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The list, without its key.
    pub list: String,
    /// `ipv4`, `ipv6` or `domain`.
    pub family: String,
    /// `healthy`, `suspended` or `unproven`.
    pub state: String,
    /// Since when; not for what is unproven.
    pub since: Option<Timestamp>,
    /// Why it is suspended.
    pub why: Option<String>,
    /// A fixed word for why it is suspended, for metrics.
    pub why_label: Option<String>,
    /// When it is probed next.
    pub probe_at: Timestamp,
    /// Counts.
    pub figures: Figures,
    /// Answers that are kept.
    pub kept: usize,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { asked, listed, not_listed, unknown, from_cache, .. } = self.figures;
        write!(f, "{} {} {}", self.list, self.family, self.state)?;
        if let Some(since) = self.since {
            write!(f, " since {}", since.rfc5322())?;
        }
        if let Some(why) = &self.why {
            write!(f, ": {why}")?;
        }
        write!(
            f,
            "; {asked} asked, {from_cache} from cache: {listed} listed, {not_listed} not, {unknown} unknown"
        )
    }
}

impl Lists {
    /// Sets the lists up; `zones` have been looked through with [`super::settings::check`]. Nothing is asked yet.
    ///
    /// # Errors
    /// [`ResolverError`] when there is no resolver to be had.
    pub fn new(
        zones: &[ZoneSettings],
        settings: HealthSettings,
        dns: &DnsSettings,
    ) -> Result<Self, ResolverError> {
        let dns = DnsSettings {
            try_seconds_max: 1,
            retries_max: 2,
            lookup_seconds_max: LOOKUP_SECONDS_MAX,
            cache_entries_max: 0,
            ..dns.clone()
        };
        let zones = zones.iter().map(|zone| Zone::new(zone, &settings)).collect();
        let resolver = Resolver::from_settings(&dns)?;
        Ok(Self { resolver, settings, zones, notices: Mutex::default(), wake: Notify::new() })
    }

    /// The lists.
    #[must_use]
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// Asks one list about a client or a domain. `None` when it is not to be asked now, or not about such; then nothing is
    /// known and nothing is wrong.
    pub async fn ask(&self, zone: &Zone, about: &Subject, now: Timestamp) -> Option<Verdict> {
        let family = about.family();
        let side = zone.side(family)?;
        if let Some(kept) = lock(side).begin(about, now)? {
            return Some(kept);
        }
        let answer = self.resolver.list(&about.question(&zone.asked.0)).await;
        let verdict = Verdict::of(&answer, &zone.errors);
        let (change, still, due) = {
            let mut side = lock(side);
            // Whatever became of the list while it was asked: what a suspended one says is not believed.
            let was_healthy = side.health.is_healthy();
            let change = side.health.answered(&verdict, now, &self.settings);
            side.figures.count(&verdict);
            side.figures.suspensions += u64::from(change.is_some());
            let still = was_healthy && side.health.is_healthy();
            if still && !matches!(verdict, Verdict::Unknown(_) | Verdict::Unusable(_)) {
                side.cache.put(about.clone(), verdict.clone(), now, kept_for(&answer));
            } else if change.is_some() {
                side.cache.clear();
            }
            (change, still, side.health.probe_at() <= now)
        };
        if let Some(change) = change {
            self.notice(zone, family, change);
        }
        if change.is_some() || due {
            self.wake.notify_one();
        }
        // The answer that broke the list is handed on for the record; it is no listing.
        let broke_it = matches!(verdict, Verdict::Unusable(_));
        (still || broke_it).then_some(verdict)
    }

    /// Probes every list whose time has come, all at once, and tells when to come back.
    pub async fn tend(&self, now: Timestamp) -> Timestamp {
        let all = self.zones.iter().flat_map(|zone| zone.sides.iter().map(move |(f, side)| (zone, *f, side)));
        let due: Vec<_> = all.filter(|(_, _, side)| lock(side).health.probe_at() <= now).collect();
        join_all(due.into_iter().map(|(zone, family, side)| async move {
            let [listed, unlisted] = family.probes(&zone.asked.0, &zone.test_domain);
            let (listed, unlisted) = tokio::join!(self.resolver.list(&listed), self.resolver.list(&unlisted));
            let verdict = |answer| Verdict::of(answer, &zone.errors);
            let probe = Probe::of(&verdict(&listed), &verdict(&unlisted));
            let change = {
                let mut side = lock(side);
                let change = side.health.probed(probe, now, &self.settings);
                if matches!(change, Some(Change::Suspended(_))) {
                    side.figures.suspensions += 1;
                    side.cache.clear();
                }
                change
            };
            if let Some(change) = change {
                self.notice(zone, family, change);
            }
        }))
        .await;
        let next = self.zones.iter().flat_map(|zone| &zone.sides);
        let hour = now.plus(std::time::Duration::from_secs(3_600));
        next.map(|(_, side)| lock(side).health.probe_at()).min().unwrap_or(hour).min(hour)
    }

    /// Ends when [`Self::tend`] or [`Self::notices`] should be called before the time it named.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// What has changed since it was asked for last.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        lock(&self.notices).drain(..).collect()
    }

    /// How each list does, in the order of the settings.
    #[must_use]
    pub fn status(&self) -> Vec<Status> {
        self.zones.iter().flat_map(Zone::status).collect()
    }

    fn notice(&self, zone: &Zone, family: Family, change: Change) {
        let mut notices = lock(&self.notices);
        if notices.len() == NOTICES_MAX {
            notices.pop_front();
        }
        notices.push_back(Notice { list: zone.shown.clone(), family, change });
    }
}

impl Zone {
    fn new(settings: &ZoneSettings, health: &HealthSettings) -> Self {
        let families = match settings.about {
            About::Clients if settings.ipv6 => vec![Family::V4, Family::V6],
            About::Clients => vec![Family::V4],
            About::Domains => vec![Family::Domain],
        };
        let side = |family| {
            let cache = Cache::new(health.cache_entries_max);
            (family, Mutex::new(Side { health: Health::default(), cache, figures: Figures::default() }))
        };
        // A rule whose symbol is none was refused when the settings were looked through.
        let rules = settings
            .rules
            .iter()
            .filter_map(|rule| Symbol::parse(&rule.symbol).ok().map(|symbol| (rule.reply.clone(), symbol)));
        Self {
            asked: Hidden(settings.zone.clone()),
            shown: settings.shown().to_owned(),
            rules: rules.collect(),
            errors: settings.errors.clone(),
            test_domain: settings.test_domain().to_owned(),
            sides: families.into_iter().map(side).collect(),
        }
    }

    /// Its name for people, without a key.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Its rules: which answers, which symbol.
    #[must_use]
    pub fn rules(&self) -> &[(ReplyFilter, Symbol)] {
        &self.rules
    }

    fn side(&self, family: Family) -> Option<&Mutex<Side>> {
        self.sides.iter().find(|(of, _)| *of == family).map(|(_, side)| side)
    }

    fn status(&self) -> Vec<Status> {
        let of = |(family, side): &(Family, Mutex<Side>)| {
            let side = lock(side);
            let (state, since, why) = match side.health.state() {
                State::Unproven => ("unproven", None, None),
                State::Healthy { since } => ("healthy", Some(since), None),
                State::Suspended { since, why } => ("suspended", Some(since), Some(why)),
            };
            Status {
                list: self.shown.clone(),
                family: family.as_str().to_owned(),
                state: state.to_owned(),
                since,
                why: why.map(|why| why.to_string()),
                why_label: why.map(|why| why.label().to_owned()),
                probe_at: side.health.probe_at(),
                figures: side.figures,
                kept: side.cache.len(),
            }
        };
        self.sides.iter().map(of).collect()
    }
}

impl Side {
    /// Before a question: `None` when it is not to be asked, else the answer that is kept, if one is.
    fn begin(&mut self, about: &Subject, now: Timestamp) -> Option<Option<Verdict>> {
        if !self.health.is_healthy() {
            return None;
        }
        let kept = self.cache.get(about, now).cloned();
        match &kept {
            Some(verdict) => {
                self.figures.from_cache += 1;
                self.figures.count(verdict);
            }
            None => self.figures.asked += 1,
        }
        Some(kept)
    }
}

impl Figures {
    fn count(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Listed(_) => self.listed += 1,
            Verdict::NotListed => self.not_listed += 1,
            Verdict::Unknown(_) | Verdict::Unusable(_) => self.unknown += 1,
        }
    }
}

/// A panic elsewhere leaves the data whole: each change is made in one go.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
