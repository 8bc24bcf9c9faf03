//! What the daemon does about accounts that look broken into: each is slowed, then its mail held, then it is locked, and the
//! operator is told of every step, in the log, by a counter and by a letter to the postmaster.
//!
//! How far it has come is for `antispam::connect::rates` to say; sessions ask in `crate::ask::rates`. A letter that cannot be
//! queued is a line in the log: mail of others does not wait for it.

pub(crate) mod queued;

use std::sync::Arc;
use std::time::Duration;

use antispam::backscatter::message_id;
use antispam::connect::rates::locks::Lock;
use antispam::connect::rates::{Over, Step};
use mail::{Address, BodyType, Notify, ReversePath, Timestamp, header};
use store::{MessageRecord, NewBody, NewMessage, Origin, OriginKind, QueueEntry, RecipientRecord};

use crate::clock;
use crate::maillog::Level;
use crate::runner::follow;
use crate::services::{Current, Services, Shared};

/// Time between two looks at what there is to write down.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// How long a start or a stop waits for the store.
const PATIENCE: Duration = Duration::from_secs(3);

/// Reads what was counted before a restart.
pub async fn load(shared: &Shared) {
    let loaded = tokio::time::timeout(PATIENCE, shared.rates.load(clock::now())).await;
    let why = match loaded {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    let text = format!("what clients did, and which accounts are locked, is not known from before: {why}");
    shared.log.notice(Level::Error, &text);
}

/// Writes down what was counted, now and then.
pub async fn tend(current: Current) {
    let mut ticks = tokio::time::interval(SAVE_EVERY);
    let mut told = false;
    loop {
        ticks.tick().await;
        told = !save(&current.get(), told).await;
    }
}

/// Writes down what was counted. False when it could not be; that is told unless it was `told`.
pub async fn save(services: &Services, told: bool) -> bool {
    let settings = &services.config.antispam.rates;
    let saved = tokio::time::timeout(PATIENCE, services.shared.rates.save(settings, clock::now())).await;
    let saved = saved.is_ok_and(|saved| saved.is_ok());
    if !saved && !told {
        services.shared.log.notice(Level::Warning, "what clients did could not be written down");
    }
    saved
}

/// A message from there has failed for good: it counts for the account that has submitted it. Programs on this machine
/// have none that could be locked.
pub async fn bounced(services: &Services, origin: &Origin) {
    let settings = &services.config.antispam.rates;
    let account = origin.account.as_deref().filter(|_| origin.kind == OriginKind::Submission);
    let Some(account) = account.filter(|account| !settings.is_exempt(account)) else { return };
    let event = (antispam::connect::rates::Event::Bounce, 1);
    services.shared.rates.count_account(settings, account, event, clock::now());
    act(services, account).await;
}

/// Does what is to be done about an account by now, and tells of it, each step once. Gives the step.
pub async fn act(services: &Services, account: &str) -> Option<Step> {
    let (rates, now) = (&services.shared.rates, clock::now());
    let (step, over) = rates.standing(&services.config.antispam.rates, account, now)?;
    let news = match step {
        Step::Lock => locked(services, account, over, now).await,
        Step::Slow | Step::Hold => rates.is_news(account, step.as_str(), now).await,
    };
    if news {
        services.shared.metrics.account_step(step);
        if step >= Step::Hold {
            queued::hold(&services.shared, account);
        }
        let text = words(account, step, &over);
        services.shared.log.notice(Level::Warning, &text);
        tell_postmaster(services, &format!("{account}: {}", title(step)), &letter(account, step, &text))
            .await;
    }
    Some(step)
}

/// True when it was not locked before.
async fn locked(services: &Services, account: &str, over: Over, now: Timestamp) -> bool {
    let Over { event, count, limit, .. } = over;
    let lock = Lock { since_seconds: now.seconds(), event, count, limit };
    services.shared.rates.lock(account, lock, now).await.unwrap_or_else(|error| {
        let text = format!("{account}: the lock was not written down and holds until a restart: {error}");
        services.shared.log.notice(Level::Error, &text);
        true
    })
}

fn title(step: Step) -> &'static str {
    match step {
        Step::Slow => "slowed down",
        Step::Hold => "its mail is held",
        Step::Lock => "locked",
    }
}

fn words(account: &str, step: Step, over: &Over) -> String {
    let Over { event, count, limit, key } = over;
    format!("account {account}: {}: {count} {} within an hour ({key} = {limit})", title(step), event.words())
}

fn letter(account: &str, step: Step, text: &str) -> String {
    let (what, then) = match step {
        Step::Slow => (
            "Each of its messages waits a little. If it goes on, its mail will be held, and then the account locked.",
            String::new(),
        ),
        Step::Hold => (
            "What it sends is accepted, stays in the queue and is not delivered; so does what it had in the queue before. If \
             it goes on, the account will be locked.",
            held_mail(account),
        ),
        Step::Lock => (
            "It can neither log in nor send. What it had in the queue is held there. Give it another password before you let \
             it in again; its mail stays held until you release it.",
            format!(
                "  staffetta account passwd {account}\n  staffetta account unlock {account}\n{}",
                held_mail(account)
            ),
        ),
    };
    format!(
        "{text}.\n\nAn account that suddenly writes to many strangers, or whose mail comes back in numbers, has often been \
         broken into.\n{what}\n\n{then}\nSomebody who is meant to write so much can be named in [antispam.rates] \
         exempt_accounts.\n"
    )
}

/// What to do about the mail of an account.
fn held_mail(account: &str) -> String {
    ["list", "release", "delete"]
        .map(|order| format!("  staffetta queue {order} --state held --account {account}\n"))
        .concat()
}

/// Puts a letter to the postmaster into the queue, from the null sender: nobody can answer it, and it cannot come back.
async fn tell_postmaster(services: &Services, subject: &str, text: &str) {
    let (shared, now, id) = (&services.shared, clock::now(), services.shared.ids.next());
    let failed = |why: &str| {
        shared.log.notice(Level::Error, &format!("the postmaster was not told ({subject}): {why}"));
    };
    // RFC 3461 §6.2: no report is wanted of a report.
    let to = RecipientRecord { notify: Notify::NEVER, ..RecipientRecord::new(services.postmaster.clone()) };
    let Some(recipients) = follow(services, vec![to]).await else {
        return failed("it could not be looked up");
    };
    let content = compose(services, &services.postmaster, (subject, text), (id, now));
    let record = MessageRecord {
        origin: Origin::new(OriginKind::Report),
        body_type: if content.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime },
        smtputf8: !content.is_ascii(),
        size: content.len() as u64,
        ..MessageRecord::new(id, now, ReversePath::Null, recipients)
    };
    let entry = Arc::new(QueueEntry::new(record.clone(), now));
    let body = NewBody::Memory(vec![content.into()]);
    match shared.store.enqueue(NewMessage { record, body, next_attempt: now, hold: None }).await {
        Ok(()) => shared.runner.admit(services, entry).await,
        Err(error) => failed(&error.to_string()),
    }
}

fn compose(
    services: &Services,
    to: &Address,
    (subject, text): (&str, &str),
    (id, now): (mail::QueueId, Timestamp),
) -> Vec<u8> {
    let host = &services.config.hostname;
    let message_id = message_id::make(&services.judge.marks().keys, id, host);
    let mut out = Vec::new();
    for (name, value) in [
        ("From", format!("Mail server {host} <MAILER-DAEMON@{host}>")),
        ("To", format!("<{to}>")),
        ("Subject", subject.to_owned()),
        ("Date", now.rfc5322()),
        ("Message-ID", format!("<{message_id}>")),
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("MIME-Version", "1.0".to_owned()),
        ("Content-Type", "text/plain; charset=utf-8".to_owned()),
    ] {
        header::write_field(&mut out, name, &[&value]);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(text.replace('\n', "\r\n").as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use antispam::connect::rates::Event;

    use super::*;

    #[test]
    fn operators_are_told_what_is_wrong_and_what_to_do() {
        let over = Over {
            event: Event::NewRecipient,
            count: 801,
            limit: 200,
            key: "antispam.rates.account_new_recipients_per_hour_max",
        };
        let text = words("mara@example.test", Step::Lock, &over);
        assert_eq!(
            text,
            "account mara@example.test: locked: 801 recipients to whom it had not written before within an hour \
             (antispam.rates.account_new_recipients_per_hour_max = 200)"
        );
        let letter = letter("mara@example.test", Step::Lock, &text);
        assert!(letter.starts_with(&text) && letter.contains("staffetta account unlock mara@example.test"));
    }
}
