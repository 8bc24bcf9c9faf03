//! Reports to senders (RFC 3464): made, stored like any message, and only then is their cause settled.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use delivery::Resolution;
use mail::{ForwardPath, QueueId};
use queue::bounce::message::{Composition, compose};
use queue::{Report, ReportKind, Suppressed};
use store::{Hold, NewBody, NewMessage, QueueEntry, RecipientRecord, Settlement, StoreError, StoredBody};

use crate::clock;
use crate::maillog::{Level, ReportLine};
use crate::metrics;
use crate::rates;
use crate::services::Services;
use crate::stored;

use super::handle::{Message, RunnerHandle};

/// How long to wait before a message whose report could not be stored is tried again.
const AGAIN: Duration = Duration::from_secs(300);
/// Octets that are copied at once.
const COPY_BYTES: usize = 64 << 10;

/// Makes every report durable and hands the settlement to the runner. When one cannot be stored, its failures are taken
/// back, so that they are found and reported again: nobody is forgotten for want of a disk (invariant I2).
pub async fn report_then_settle(
    services: Arc<Services>,
    handle: RunnerHandle,
    entry: Arc<QueueEntry>,
    reports: Vec<Report>,
    settlement: Settlement,
) {
    let mut all_stored = true;
    for report in &reports {
        // Whether or not anybody wants to hear of it.
        if report.kind == ReportKind::Failed {
            rates::bounced(&services, &entry.record.origin).await;
        }
        all_stored &= match report.suppressed {
            Some(why) => suppress(&services, &entry, report, why).await,
            None => send(&services, &entry, report).await,
        };
    }
    let settlement = if all_stored {
        settlement
    } else {
        queue::bounce::without_reports(settlement, entry.state.attempts, clock::now().plus(AGAIN))
    };
    handle.send(Message::Reported(settlement)).await;
}

/// Nobody is told; the log and a counter are. What nobody else has a copy of is kept for the operator.
async fn suppress(services: &Services, entry: &QueueEntry, report: &Report, why: Suppressed) -> bool {
    let shared = &services.shared;
    let lost = why == Suppressed::UnprovenSender && report.kind == ReportKind::Failed;
    if lost && !keep_copy(services, entry, report).await {
        return false;
    }
    shared.metrics.report(kind(report.kind), metrics::ReportResult::Suppressed);
    shared.log.report(&ReportLine {
        id: entry.record.id,
        kind: metrics::Label::name(kind(report.kind)),
        to: &entry.record.reverse_path,
        report: None,
        suppressed: Some(match why {
            Suppressed::NullReversePath => "null reverse-path",
            Suppressed::NotWanted => "not wanted (NOTIFY)",
            Suppressed::UnprovenSender => "sender not proven",
        }),
    });
    true
}

/// Puts a copy for the failed recipients into quarantine. True when it is durable.
async fn keep_copy(services: &Services, entry: &QueueEntry, report: &Report) -> bool {
    let shared = &services.shared;
    let id = shared.ids.next();
    let record = queue::bounce::copy::record(entry, report, id, clock::now());
    let held = Some(Hold::Quarantine);
    let mut stored = QueueEntry::new(record.clone(), record.arrived);
    stored.state.hold = held;
    let result = match copy_body(services, entry.record.id, id).await {
        Ok(body) => {
            let next_attempt = record.arrived;
            shared.store.enqueue(NewMessage { record, body, next_attempt, hold: held }).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        let text = format!("a copy of {} could not be put into quarantine: {error}", entry.record.id);
        shared.log.notice(Level::Error, &text);
        return false;
    }
    shared.history.alias(id, entry.record.id, services.config.antispam.history_days);
    shared.runner.admit(services, Arc::new(stored)).await;
    true
}

/// The octets of a stored message, for another one.
async fn copy_body(services: &Services, from: QueueId, to: QueueId) -> Result<NewBody, StoreError> {
    let store = services.shared.store.clone();
    match store.read_body(from).await? {
        StoredBody::Memory(chunks) => Ok(NewBody::Memory(chunks)),
        StoredBody::File { path, .. } => {
            let copied = tokio::task::spawn_blocking(move || {
                let failed = |error: std::io::Error| StoreError::NotApplied(error.to_string());
                let mut file = std::fs::File::open(path).map_err(failed)?;
                let mut writer = store.spool(to)?;
                let mut chunk = vec![0; COPY_BYTES];
                loop {
                    let octets = file.read(&mut chunk).map_err(failed)?;
                    match chunk.get(..octets).filter(|read| !read.is_empty()) {
                        Some(read) => writer.write(read)?,
                        None => return writer.finish().map(NewBody::File),
                    }
                }
            });
            copied.await.unwrap_or_else(|error| Err(StoreError::NotApplied(error.to_string())))
        }
    }
}

/// True when the report is durable.
async fn send(services: &Services, entry: &QueueEntry, report: &Report) -> bool {
    let shared = &services.shared;
    let settings = &services.config.queue;
    let id = shared.ids.next();
    // The original or its beginning; when it cannot be read, a report without headers is better than none.
    let read = stored::beginning(&*shared.store, entry.record.id, settings.report_bytes_max).await;
    let original = read.unwrap_or_default();
    let hostname = services.config.hostname.as_str();
    let with = Composition { entry, original: &original, hostname, id, now: clock::now(), settings };
    let Some(mut message) = compose(report, &with) else { return true };
    let Some(recipients) = follow(services, std::mem::take(&mut message.record.recipients)).await else {
        return false;
    };
    message.record.recipients = recipients;
    let stored = QueueEntry::new(message.record.clone(), message.next_attempt);
    if let Err(error) = shared.store.enqueue(message).await {
        let text = format!("the report on {} could not be stored: {error}", entry.record.id);
        shared.log.notice(Level::Error, &text);
        return false;
    }
    shared.metrics.report(kind(report.kind), metrics::ReportResult::Queued);
    shared.log.report(&ReportLine {
        id: entry.record.id,
        kind: metrics::Label::name(kind(report.kind)),
        to: &entry.record.reverse_path,
        report: Some(id),
        suppressed: None,
    });
    shared.runner.admit(services, Arc::new(stored)).await;
    true
}

/// A sender of ours may be an alias: the report goes where its mail goes. None when a table could not be asked: sent on
/// unfollowed, the report would fail for good, and nobody would ever be told (invariants I2 and I9). An address that leads
/// nowhere stays as it is, and delivery says what is wrong.
pub(crate) async fn follow(
    services: &Services,
    recipients: Vec<RecipientRecord>,
) -> Option<Vec<RecipientRecord>> {
    let mut followed = Vec::with_capacity(recipients.len());
    for recipient in recipients {
        let path = ForwardPath::Mailbox(recipient.address.clone());
        match services.router.follow(&path).await {
            Resolution::Local { recipients } => followed.extend(recipients.into_iter().map(|address| {
                let accepted_as = (address != recipient.address).then(|| recipient.address.clone());
                RecipientRecord { address, accepted_as, ..recipient.clone() }
            })),
            Resolution::Unavailable(why) => {
                let text = format!("a report to {} has to wait: {why}", recipient.address);
                services.shared.log.notice(Level::Warning, &text);
                return None;
            }
            _ => followed.push(recipient),
        }
    }
    Some(followed)
}

fn kind(kind: ReportKind) -> metrics::ReportKind {
    match kind {
        ReportKind::Failed => metrics::ReportKind::Failed,
        ReportKind::Delayed => metrics::ReportKind::Delayed,
        ReportKind::Delivered => metrics::ReportKind::Delivered,
        ReportKind::Relayed => metrics::ReportKind::Relayed,
    }
}
