//! Metrics: every family that `/metrics` shows is defined here, and nowhere else (Prometheus text format 0.0.4).
//!
//! What counts calls a typed method; labels come from closed sets ([`labels`]), so that no peer can make a series, and
//! every series is there at zero. Methods cost an atomic addition. Nothing here reads a clock or can fail at run time:
//! a mistake in a definition is an error of [`Metrics::new`], which a test calls.

use std::time::Duration;

use mail::Timestamp;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

mod checks;
pub mod labels;
mod lists;
mod process;
mod quarantine;
mod rates;
mod reference;
mod scanners;

pub use labels::*;
pub use reference::{FamilyReference, markdown};

/// Prefix of every family.
const PREFIX: &str = "staffetta";

/// Seconds a session may last, as histogram bounds.
const SESSION_BOUNDS: &[f64] = &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0];
/// Seconds from end of data to durable.
const COMMIT_BOUNDS: &[f64] = &[0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Seconds of one attempt.
const ATTEMPT_BOUNDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];
/// Seconds from accepted to delivered.
const LATENCY_BOUNDS: &[f64] = &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86_400.0];

/// A family: its name without the prefix, one line of meaning, its labels.
struct Family {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
}

const fn family(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Family {
    Family { name, help, labels }
}

const SESSIONS: Family = family("sessions_total", "Sessions that ended, by how.", &["listener", "end"]);
const SESSIONS_OPEN: Family = family("sessions_open", "Sessions that are open now.", &["listener"]);
const SESSION_SECONDS: Family = family("session_seconds", "How long a session lasted.", &["listener"]);
const COMMANDS: Family = family("commands_total", "SMTP and LMTP commands received.", &["verb"]);
const REPLIES: Family = family("replies_total", "Replies sent, by first digit.", &["class"]);
const MESSAGES: Family =
    family("messages_received_total", "Transactions by result.", &["listener", "result"]);
const BYTES_IN: Family =
    family("message_bytes_received_total", "Octets of accepted messages.", &["listener"]);
const RECIPIENTS_ACCEPTED: Family = family("recipients_accepted_total", "Recipients accepted at RCPT.", &[]);
const RECIPIENTS_REFUSED: Family =
    family("recipients_refused_total", "Recipients refused at RCPT.", &["reason"]);
const AUTH: Family = family("auth_attempts_total", "Authentications by result.", &["mechanism", "result"]);
const TLS: Family = family("tls_sessions_total", "TLS handshakes by version.", &["direction", "result"]);
const COMMIT_SECONDS: Family = family("commit_seconds", "From end of data until durable.", &[]);
const QUEUE: Family = family("queue_messages", "Messages in the queue.", &["state"]);
const QUEUE_BYTES: Family = family("queue_bytes", "Octets of all queued messages, as received.", &[]);
const QUEUE_OLDEST: Family =
    family("queue_oldest_age_seconds", "Age of the oldest queued message; 0 when there is none.", &[]);
const QUEUE_OLDEST_BY_STATE: Family = family(
    "queue_state_oldest_age_seconds",
    "Age of the oldest message in each state, as the auditor found it within the last minute; 0 when there is none.",
    &["state"],
);
const JUNK_NOT_FORWARDED: Family = family(
    "junk_not_forwarded_total",
    "Copies of junk that an alias would have sent to another host, put into quarantine instead.",
    &[],
);
const TABLES_IN_TROUBLE: Family = family(
    "tables_in_trouble",
    "Tables, and accounts files, whose present contents are broken; what was read before stays in use.",
    &[],
);
const QUEUE_OVERDUE: Family =
    family("queue_overdue", "Messages the auditor found without an owner or past their deadline.", &[]);
const DELIVERIES: Family = family("deliveries_total", "Attempts, one per recipient.", &["agent", "result"]);
const BYTES_OUT: Family =
    family("message_bytes_delivered_total", "Octets of messages delivered.", &["agent"]);
const ATTEMPT_SECONDS: Family = family("delivery_seconds", "How long an attempt lasted.", &["agent"]);
const LATENCY: Family = family("delivery_latency_seconds", "From accepted to delivered, per recipient.", &[]);
const REPORTS: Family = family("reports_total", "Delivery status reports (RFC 3464).", &["kind", "result"]);
const DNS: Family = family("dns_lookups_total", "DNS look-ups by result.", &["result"]);
const RELOADS: Family = family("config_reloads_total", "Reloads of the configuration.", &["result"]);
const CERTIFICATE_EXPIRY: Family = family(
    "certificate_expiry_timestamp_seconds",
    "When the certificate for a name expires; 0 without TLS.",
    &["name"],
);
const LOG_LINES_LOST: Family = family(
    "log_lines_lost_total",
    "Log lines dropped because the log could not be written fast enough.",
    &[],
);

const VERDICTS: Family = family(
    "verdicts_total",
    "What the judge decided, by stage: recipients refused, and messages.",
    &["stage", "action"],
);
const VERDICTS_LOST: Family = family(
    "verdicts_lost_total",
    "Verdicts that could not be kept for `staffetta explain`, because too many came at once or the store did not answer.",
    &[],
);
const REPUTATIONS: Family = family(
    "reputations",
    "Senders and networks of which it is remembered what they have sent, in memory.",
    &[],
);

impl Family {
    fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }
}

/// Arrival of the oldest message in each state, as a sweep of the queue finds it.
#[derive(Debug, Clone, Default)]
pub struct OldestByState([Option<Timestamp>; QueueState::ALL.len()]);

impl OldestByState {
    /// A message in this state.
    pub fn note(&mut self, state: QueueState, arrived: Timestamp) {
        if let Some(oldest) = self.0.get_mut(state.index()) {
            *oldest = Some(oldest.map_or(arrived, |o| o.min(arrived)));
        }
    }
}

/// All metrics of one server.
pub struct Metrics {
    registry: Registry,
    sessions: Grid<Door, SessionEnd, IntCounter>,
    sessions_open: Row<Door, IntGauge>,
    session_seconds: Row<Door, Histogram>,
    commands: Row<Verb, IntCounter>,
    replies: Row<ReplyClass, IntCounter>,
    messages: Grid<Door, MessageResult, IntCounter>,
    bytes_in: Row<Door, IntCounter>,
    recipients_accepted: IntCounter,
    recipients_refused: Row<RecipientRefusal, IntCounter>,
    auth: Grid<Mechanism, AuthResult, IntCounter>,
    tls: Grid<Direction, TlsResult, IntCounter>,
    commit_seconds: Histogram,
    queue: Row<QueueState, IntGauge>,
    queue_bytes: IntGauge,
    queue_oldest: Gauge,
    queue_oldest_by_state: Row<QueueState, Gauge>,
    queue_overdue: IntGauge,
    tables_in_trouble: IntGauge,
    junk_not_forwarded: IntCounter,
    deliveries: Grid<AgentKind, Delivery, IntCounter>,
    bytes_out: Row<AgentKind, IntCounter>,
    attempt_seconds: Row<AgentKind, Histogram>,
    latency: Histogram,
    reports: Grid<ReportKind, ReportResult, IntCounter>,
    dns: Row<DnsResult, IntCounter>,
    reloads: Row<Success, IntCounter>,
    certificate_expiry: GaugeVec,
    log_lines_lost: IntCounter,
    verdicts: Grid<policy::Stage, policy::Action, IntCounter>,
    verdicts_lost: IntCounter,
    reputations: IntGauge,
    checks: checks::Checks,
    lists: lists::Lists,
    scanners: scanners::Scanners,
    rates: rates::Rates,
    quarantine: quarantine::Quarantine,
    process: process::Process,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Lays out every family, all series at zero.
    ///
    /// # Errors
    /// Only when a family is defined twice or with a malformed name, which is a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let d = Definitions { registry: Registry::new_custom(Some(PREFIX.into()), None)? };
        d.build_info()?;
        let certificate_expiry =
            d.register(GaugeVec::new(CERTIFICATE_EXPIRY.opts(), CERTIFICATE_EXPIRY.labels)?)?;
        certificate_expiry.get_metric_with_label_values(&[""])?.set(0.0);
        Ok(Self {
            sessions: d.counter_grid(&SESSIONS)?,
            sessions_open: d.gauge_row(&SESSIONS_OPEN)?,
            session_seconds: d.histogram_row(&SESSION_SECONDS, SESSION_BOUNDS)?,
            commands: d.counter_row(&COMMANDS)?,
            replies: d.counter_row(&REPLIES)?,
            messages: d.counter_grid(&MESSAGES)?,
            bytes_in: d.counter_row(&BYTES_IN)?,
            recipients_accepted: d.counter(&RECIPIENTS_ACCEPTED)?,
            recipients_refused: d.counter_row(&RECIPIENTS_REFUSED)?,
            auth: d.counter_grid(&AUTH)?,
            tls: d.counter_grid(&TLS)?,
            commit_seconds: d.histogram(&COMMIT_SECONDS, COMMIT_BOUNDS)?,
            queue: d.gauge_row(&QUEUE)?,
            queue_bytes: d.gauge(&QUEUE_BYTES)?,
            queue_oldest: d.float(&QUEUE_OLDEST)?,
            queue_oldest_by_state: d.float_row(&QUEUE_OLDEST_BY_STATE)?,
            queue_overdue: d.gauge(&QUEUE_OVERDUE)?,
            junk_not_forwarded: d.counter(&JUNK_NOT_FORWARDED)?,
            tables_in_trouble: d.gauge(&TABLES_IN_TROUBLE)?,
            deliveries: d.counter_grid(&DELIVERIES)?,
            bytes_out: d.counter_row(&BYTES_OUT)?,
            attempt_seconds: d.histogram_row(&ATTEMPT_SECONDS, ATTEMPT_BOUNDS)?,
            latency: d.histogram(&LATENCY, LATENCY_BOUNDS)?,
            reports: d.counter_grid(&REPORTS)?,
            dns: d.counter_row(&DNS)?,
            reloads: d.counter_row(&RELOADS)?,
            certificate_expiry,
            log_lines_lost: d.counter(&LOG_LINES_LOST)?,
            verdicts: d.counter_grid(&VERDICTS)?,
            verdicts_lost: d.counter(&VERDICTS_LOST)?,
            reputations: d.gauge(&REPUTATIONS)?,
            checks: checks::Checks::new(&d)?,
            lists: lists::Lists::new(&d)?,
            scanners: scanners::Scanners::new(&d)?,
            rates: rates::Rates::new(&d)?,
            quarantine: quarantine::Quarantine::new(&d)?,
            process: process::Process::new(&d.registry)?,
            registry: d.registry,
        })
    }

    /// A session was greeted, or refused: it is open until [`Metrics::session_ended`].
    pub fn session_began(&self, door: Door) {
        with(self.sessions_open.at(door), IntGauge::inc);
    }

    /// A session that began has ended after `lasted`.
    pub fn session_ended(&self, door: Door, end: SessionEnd, lasted: Duration) {
        with(self.sessions_open.at(door), IntGauge::dec);
        with(self.sessions.at(door, end), IntCounter::inc);
        with(self.session_seconds.at(door), |h| h.observe(lasted.as_secs_f64()));
    }

    /// A command came.
    pub fn command(&self, verb: Verb) {
        with(self.commands.at(verb), IntCounter::inc);
    }

    /// So many commands of one verb came: for drivers that count per session.
    pub fn commands(&self, verb: Verb, count: u64) {
        with(self.commands.at(verb), |c| c.inc_by(count));
    }

    /// A reply went out.
    pub fn reply(&self, code: u16) {
        with(self.replies.at(ReplyClass::of(code)), IntCounter::inc);
    }

    /// Counts the replies in bytes that go out: every line whose code is followed by a space (RFC 5321 §4.2.1).
    pub fn replies_in(&self, sent: &[u8]) {
        for line in sent.split(|&b| b == b'\n') {
            if let [class @ b'2'..=b'5', _, _, b' ', ..] = line {
                self.reply(u16::from(class - b'0') * 100);
            }
        }
    }

    /// A transaction ended; `bytes` are the octets of the message, counted when it was accepted.
    pub fn message(&self, door: Door, result: MessageResult, bytes: u64) {
        with(self.messages.at(door, result), IntCounter::inc);
        if result == MessageResult::Accepted {
            with(self.bytes_in.at(door), |c| c.inc_by(bytes));
        }
    }

    /// RCPT was answered 250.
    pub fn recipient_accepted(&self) {
        self.recipients_accepted.inc();
    }

    /// RCPT was refused.
    pub fn recipient_refused(&self, reason: RecipientRefusal) {
        with(self.recipients_refused.at(reason), IntCounter::inc);
    }

    /// So many RCPT were refused.
    pub fn recipients_refused(&self, reason: RecipientRefusal, count: u64) {
        with(self.recipients_refused.at(reason), |c| c.inc_by(count));
    }

    /// An authentication ended.
    pub fn auth(&self, mechanism: Mechanism, result: AuthResult) {
        with(self.auth.at(mechanism, result), IntCounter::inc);
    }

    /// A TLS handshake ended. `version` as rustls names it, such as `TLSv1_3`; none when it failed.
    pub fn tls(&self, direction: Direction, version: Option<&str>) {
        let result = match version {
            Some(v) if v.ends_with('3') => TlsResult::Tls13,
            Some(_) => TlsResult::Tls12,
            None => TlsResult::Failed,
        };
        with(self.tls.at(direction, result), IntCounter::inc);
    }

    /// A message became durable, so long after its end of data.
    pub fn committed(&self, took: Duration) {
        self.commit_seconds.observe(took.as_secs_f64());
    }

    /// A copy that is marked as junk was not sent on to another host.
    pub fn junk_not_forwarded(&self) {
        self.junk_not_forwarded.inc();
    }

    /// How many tables are used as they were, because their files are broken.
    pub fn tables_in_trouble(&self, count: usize) {
        self.tables_in_trouble.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The queue in figures: to be set before each [`Metrics::render`].
    pub fn queue(&self, figures: &store::QueueFigures, overdue: u64, now: Timestamp) {
        let set = |state, value| with(self.queue.at(state), |g| g.set(signed(value)));
        set(QueueState::Active, figures.active);
        set(QueueState::Deferred, figures.deferred);
        set(QueueState::Held, figures.held);
        self.queue_bytes.set(signed(figures.bytes));
        self.queue_oldest.set(figures.oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64()));
        self.queue_overdue.set(signed(overdue));
    }

    /// What a sweep of the whole queue found.
    pub fn queue_ages(&self, oldest: &OldestByState, now: Timestamp) {
        for (state, arrived) in QueueState::ALL.iter().zip(&oldest.0) {
            let age = arrived.map_or(0.0, |arrived| now.since(arrived).as_secs_f64());
            with(self.queue_oldest_by_state.at(*state), |g| g.set(age));
        }
    }

    /// An attempt ended for one recipient.
    pub fn delivery(&self, agent: AgentKind, result: Delivery) {
        with(self.deliveries.at(agent, result), IntCounter::inc);
    }

    /// A recipient has its message, so long after we accepted it.
    pub fn arrived(&self, agent: AgentKind, bytes: u64, latency: Duration) {
        with(self.bytes_out.at(agent), |c| c.inc_by(bytes));
        self.latency.observe(latency.as_secs_f64());
    }

    /// An attempt, for all its recipients, lasted so long.
    pub fn attempt_took(&self, agent: AgentKind, took: Duration) {
        with(self.attempt_seconds.at(agent), |h| h.observe(took.as_secs_f64()));
    }

    /// A report was made, or suppressed.
    pub fn report(&self, kind: ReportKind, result: ReportResult) {
        with(self.reports.at(kind, result), IntCounter::inc);
    }

    /// Sets the number of DNS look-ups so far; smaller than before is ignored, as counters only grow.
    pub fn dns_lookups(&self, result: DnsResult, total: u64) {
        with(self.dns.at(result), |c| raise(c, total));
    }

    /// The configuration was reloaded, or was refused.
    pub fn reloaded(&self, result: Success) {
        with(self.reloads.at(result), IntCounter::inc);
    }

    /// When the certificates in use expire, by names of the configuration; replaces what was told before.
    pub fn certificates_expire(&self, expiries: &[(String, Timestamp)]) {
        self.certificate_expiry.reset();
        for (name, at) in expiries {
            if let Ok(series) = self.certificate_expiry.get_metric_with_label_values(&[name.as_str()]) {
                series.set(at.0 as f64 / 1000.0);
            }
        }
    }

    /// Sets the number of log lines that were dropped so far.
    pub fn log_lines_lost(&self, total: u64) {
        raise(&self.log_lines_lost, total);
    }

    /// Lays out the series of these checks and symbols, all at zero; others are not counted.
    pub fn lay_out<'a>(&self, checks: impl Iterator<Item = &'a str>, symbols: impl Iterator<Item = &'a str>) {
        self.checks.lay_out(checks, symbols);
    }

    /// How the DNS lists do: to be set before each [`Metrics::render`].
    pub fn lists(&self, all: &[antispam::connect::dnsbl::lists::Status]) {
        self.lists.copy(all);
    }

    /// How the scanners do: to be set before each [`Metrics::render`].
    pub fn scanners(&self, all: &[antispam::remote::Status]) {
        self.scanners.copy(all);
    }

    /// Somebody was asked to come back for doing too much of this.
    pub fn rate_limited(&self, who: Limited, event: antispam::connect::rates::Event) {
        self.rates.limited(who, event);
    }

    /// An account that looks broken into has come to this.
    pub fn account_step(&self, step: antispam::connect::rates::Step) {
        self.rates.step(step);
    }

    /// Sets the number of accounts that are locked now.
    pub fn accounts_locked(&self, count: u64) {
        self.rates.locked(count);
    }

    /// A check has run.
    pub fn check(&self, time: &policy::CheckTime) {
        self.checks.ran(time);
    }

    /// The judge has decided: about a recipient that is refused, or about a message. Each of its symbols counts once.
    pub fn verdict(&self, record: &policy::VerdictRecord) {
        with(self.verdicts.at(record.about.stage, record.action), IntCounter::inc);
        let own = record.recipients.iter().filter_map(|recipient| recipient.points.as_ref());
        let lines = own.chain([&record.points]).flat_map(|points| &points.lines);
        let symbols: std::collections::BTreeSet<&str> = lines.map(|line| line.symbol.as_str()).collect();
        self.checks.seen(symbols.into_iter());
    }

    /// Sets the number of verdicts so far that could not be kept.
    pub fn verdicts_lost(&self, total: u64) {
        raise(&self.verdicts_lost, total);
    }

    /// Sets the number of senders and networks that are remembered.
    pub fn reputations(&self, count: usize) {
        self.reputations.set(signed(count as u64));
    }

    /// All families in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.process.update();
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

/// Helpers that define a family and register it.
struct Definitions {
    registry: Registry,
}

impl Definitions {
    fn register<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        c: C,
    ) -> Result<C, prometheus::Error> {
        self.registry.register(Box::new(c.clone()))?;
        Ok(c)
    }

    fn counter(&self, f: &Family) -> Result<IntCounter, prometheus::Error> {
        self.register(IntCounter::with_opts(f.opts())?)
    }

    fn counter_row<A: Label>(&self, f: &Family) -> Result<Row<A, IntCounter>, prometheus::Error> {
        Row::new(&self.register(IntCounterVec::new(f.opts(), f.labels)?)?)
    }

    fn counter_grid<A: Label, B: Label>(
        &self,
        f: &Family,
    ) -> Result<Grid<A, B, IntCounter>, prometheus::Error> {
        Grid::new(&self.register(IntCounterVec::new(f.opts(), f.labels)?)?)
    }

    fn gauge(&self, f: &Family) -> Result<IntGauge, prometheus::Error> {
        self.register(IntGauge::with_opts(f.opts())?)
    }

    fn gauge_row<A: Label>(&self, f: &Family) -> Result<Row<A, IntGauge>, prometheus::Error> {
        Row::new(&self.register(IntGaugeVec::new(f.opts(), f.labels)?)?)
    }

    fn float(&self, f: &Family) -> Result<Gauge, prometheus::Error> {
        self.register(Gauge::with_opts(f.opts())?)
    }

    fn float_row<A: Label>(&self, f: &Family) -> Result<Row<A, Gauge>, prometheus::Error> {
        Row::new(&self.register(GaugeVec::new(f.opts(), f.labels)?)?)
    }

    fn histogram(&self, f: &Family, bounds: &[f64]) -> Result<Histogram, prometheus::Error> {
        self.register(Histogram::with_opts(HistogramOpts::from(f.opts()).buckets(bounds.to_vec()))?)
    }

    fn histogram_row<A: Label>(
        &self,
        f: &Family,
        bounds: &[f64],
    ) -> Result<Row<A, Histogram>, prometheus::Error> {
        let opts = HistogramOpts::from(f.opts()).buckets(bounds.to_vec());
        Row::new(&self.register(HistogramVec::new(opts, f.labels)?)?)
    }

    fn build_info(&self) -> Result<(), prometheus::Error> {
        let family = family("build_info", "Always 1; the version is the label.", &["version"]);
        let info = self.register(IntGaugeVec::new(family.opts(), family.labels)?)?;
        info.get_metric_with_label_values(&[env!("CARGO_PKG_VERSION")])?.set(1);
        Ok(())
    }
}

/// Does `act` to a series. Every value of a label set has one (tested), so there is nothing to do without.
fn with<M>(series: Option<&M>, act: impl FnOnce(&M)) {
    if let Some(series) = series {
        act(series);
    }
}

/// Raises a counter to a total that something else counted.
fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
