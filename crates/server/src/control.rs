//! What operators can do over `admin.sock`, and what `/readyz` and `/metrics` ask: the daemon's side of both.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use antispam::backscatter::status::{DAYS_MAX, counts};
use antispam::connect::rates::Rates;
use antispam::correspondents::Correspondents;
use antispam::quarantine::QuarantineSettings;
use antispam::reputation::{Reputation, Subject};
use mail::{Address, QueueId, Timestamp};
use policy::VerdictRecord;
use store::{Hold, Page, QueueEntry, QueueStore, StateStore, StoreError};

use crate::admin::{
    BackscatterStatus, Control, ControlError, FsckReport, ListStatus, Order, QueueControl, Status,
};
use crate::clock;
use crate::health::Health;
use crate::judge::Wanted;
use crate::metrics::{Direction, DnsResult, Metrics};
use crate::reload::ReloadHandle;
use crate::runner::auditor;
use crate::services::{Current, Shared};

/// Messages looked at in one go by a check of the whole queue.
const PAGE: usize = 500;

/// The running daemon, as operators see it.
pub struct Daemon {
    current: Current,
    shared: Arc<Shared>,
    reloader: ReloadHandle,
    started: Instant,
    /// Outbound TLS sessions that metrics have counted: 1.2, 1.3, failed.
    outbound_tls: std::sync::Mutex<[u64; 3]>,
    /// What the auditor found on its last round.
    pub overdue: AtomicU64,
}

impl Daemon {
    /// The daemon over its services.
    #[must_use]
    pub fn new(current: Current, reloader: ReloadHandle) -> Self {
        let shared = Arc::clone(&current.get().shared);
        Self {
            current,
            shared,
            reloader,
            started: Instant::now(),
            outbound_tls: std::sync::Mutex::default(),
            overdue: AtomicU64::new(0),
        }
    }

    /// What is wrong, in sentences.
    fn troubles(&self) -> Vec<String> {
        let mut troubles: Vec<String> = self.shared.store.health().err().into_iter().collect();
        if let Err(error) = self.shared.store.room() {
            troubles.push(format!("no mail is accepted: {error}"));
        }
        troubles.extend(self.current.get().accounts.trouble());
        if *self.shared.stopping.borrow() {
            troubles.push("stopping".to_owned());
        }
        troubles
    }

    /// What the agents counted since the last look. A reload brings agents whose counts begin at nothing.
    fn count_outbound_tls(&self) {
        let agents = Arc::clone(&self.current.get().agents);
        let figures = agents.figures();
        let now = [figures.tls_1_2.get(), figures.tls_1_3.get(), figures.tls_failed.get()];
        let mut seen = self.outbound_tls.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = [Some("TLSv1.2"), Some("TLSv1.3"), None];
        for ((version, total), seen) in versions.into_iter().zip(now).zip(seen.iter_mut()) {
            let before = if total < *seen { 0 } else { *seen };
            (before..total).for_each(|_| self.shared.metrics.tls(Direction::Out, version));
            *seen = total;
        }
    }

    /// Throws away what has been in quarantine for too long. Nobody is told; the log and a counter are.
    pub async fn expire(&self, page: &[QueueEntry]) {
        let services = self.current.get();
        let settings = &services.config.antispam.quarantine;
        let now = clock::now();
        let is_over = |entry: &QueueEntry| {
            entry.state.hold == Some(Hold::Quarantine) && settings.is_over(entry.record.arrived, now)
        };
        for id in page.iter().filter(|entry| is_over(entry)).map(|entry| entry.record.id) {
            // What cannot be thrown away now is looked at again on the next round.
            let _ = self.shared.steward.expire(id).await;
        }
    }

    /// Writes to recipients about what is new in quarantine for them; gives the number of letters.
    ///
    /// # Errors
    /// What the stores say.
    pub async fn send_digests(&self) -> Result<u64, StoreError> {
        self.shared.teller.tell().await
    }

    async fn check_all(&self) -> Result<FsckReport, ControlError> {
        let mut report = FsckReport::default();
        let mut after = None;
        loop {
            let page = self.shared.store.list(Page { after, limit: PAGE }).await?;
            let Some(last) = page.last() else { return Ok(report) };
            after = Some(last.record.id);
            for entry in &page {
                report.checked += 1;
                if let Err(error) = self.shared.store.read_body(entry.record.id).await {
                    report.damaged.push((entry.record.id, error.to_string()));
                }
            }
            let round = auditor::mend(&self.current.get(), &page).await;
            report.overdue.extend(round.found);
            report.mended += round.mended;
        }
    }
}

impl QueueControl for Daemon {
    fn store(&self) -> &dyn QueueStore {
        self.shared.store.as_ref()
    }

    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn is_active(&self, id: QueueId) -> bool {
        self.shared.runner.is_active(id)
    }

    fn steer(&self, order: Order, ids: Vec<QueueId>) -> Control<'_, Vec<Result<(), ControlError>>> {
        Box::pin(async move {
            let mut results = Vec::with_capacity(ids.len());
            for id in ids {
                results.push(self.shared.steward.steer(order, id).await);
            }
            Ok(results)
        })
    }

    fn release_to(&self, id: QueueId, recipient: Address) -> Control<'_, ()> {
        Box::pin(self.shared.steward.release_to(id, recipient))
    }

    fn fsck(&self) -> Control<'_, FsckReport> {
        Box::pin(self.check_all())
    }

    fn status(&self) -> Status {
        let figures = self.shared.store.figures();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            stopping: *self.shared.stopping.borrow(),
            sessions: self.shared.places.all() as u64,
            active: figures.active,
            deferred: figures.deferred,
            held: figures.held,
            queue_bytes: figures.bytes,
            oldest_seconds: figures.oldest.map(|at| clock::now().since(at).as_secs()),
            troubles: self.troubles(),
        }
    }

    fn reload(&self) -> Control<'_, Vec<String>> {
        Box::pin(async move { self.reloader.reload().await.map_err(ControlError::Configuration) })
    }

    fn verdicts(&self, wanted: Wanted, limit: usize) -> Control<'_, (Vec<(VerdictRecord, String)>, bool)> {
        Box::pin(async move {
            // What was decided a moment ago is to be found.
            self.shared.history.flush().await;
            let services = self.current.get();
            let smtp = &services.smtp;
            // A message that has begun in time may still end.
            let session_max =
                Duration::from_secs(smtp.session_seconds_max.saturating_add(smtp.message_seconds_max));
            let found = self.shared.history.find(&wanted, limit, (clock::now(), session_max)).await?;
            let explained = |record| {
                let text = policy::explain::explain(&record, Some(services.judge.book()));
                (record, text)
            };
            Ok((found.records.into_iter().map(explained).collect(), found.more))
        })
    }

    fn erase_verdicts(&self, address: String) -> Control<'_, u64> {
        Box::pin(async move {
            if let Some(subject @ Subject::Address(_)) = Subject::named(address.trim_matches(['<', '>'])) {
                self.reputation().forget(&subject, clock::now()).await?;
            }
            Ok(self.shared.history.erase(&address, clock::now()).await?)
        })
    }

    fn state(&self) -> &dyn StateStore {
        self.shared.state.as_ref()
    }

    fn rates(&self) -> &Rates {
        &self.shared.rates
    }

    fn reputation(&self) -> Reputation {
        self.current.get().judge.reputation().clone()
    }

    fn correspondents(&self) -> Correspondents {
        self.current.get().judge.correspondents().clone()
    }

    fn dnsbl(&self) -> Vec<ListStatus> {
        self.current.get().judge.lists().status()
    }

    fn quarantine(&self) -> QuarantineSettings {
        self.current.get().config.antispam.quarantine.clone()
    }

    fn digest(&self) -> Control<'_, u64> {
        Box::pin(async move { Ok(self.send_digests().await?) })
    }

    fn backscatter(&self) -> Control<'_, BackscatterStatus> {
        Box::pin(async move {
            let config = Arc::clone(&self.current.get().config);
            let (all, settings) = (&config.antispam, &config.antispam.backscatter);
            let counts = counts(self.shared.state.as_ref(), clock::now()).await?;
            Ok(BackscatterStatus {
                mode: settings.mode,
                antispam_mode: all.mode,
                proof_days: antispam::backscatter::validity_days(config.queue.lifetime_seconds),
                counted_days: DAYS_MAX,
                proven: counts.proven,
                forged: counts.forged,
                scored: counts.scored,
                unknown: counts.unknown,
                refused_thousandths: counts.refused_thousandths(),
            })
        })
    }
}

impl Health for Daemon {
    fn not_ready(&self) -> Vec<String> {
        self.troubles()
    }

    fn metrics(&self) -> &Metrics {
        let metrics = &self.shared.metrics;
        metrics.queue(&self.shared.store.figures(), self.overdue.load(Ordering::Relaxed), clock::now());
        metrics.log_lines_lost(self.shared.log.lines_lost());
        metrics.verdicts_lost(self.shared.history.lost());
        metrics.lists(&self.dnsbl());
        metrics.scanners(&self.current.get().judge.scanners().status());
        metrics.accounts_locked(self.shared.rates.locks().all().len() as u64);
        metrics.reputations(self.shared.reputation.len());
        self.count_outbound_tls();
        let mut totals = [0_u64; 4];
        for (_, result, total) in self.current.get().resolver.figures().read() {
            let slot = match result {
                "found" => 0,
                "no_name" => 1,
                "no_data" => 2,
                _ => 3,
            };
            if let Some(sum) = totals.get_mut(slot) {
                *sum += total;
            }
        }
        let results = [DnsResult::Found, DnsResult::NoName, DnsResult::NoData, DnsResult::Failed];
        for (result, total) in results.into_iter().zip(totals) {
            metrics.dns_lookups(result, total);
        }
        metrics
    }
}
