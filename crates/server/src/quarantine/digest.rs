//! Letters to recipients about what is new in quarantine for them: at the times of `[antispam.quarantine]
//! digest_times_utc`, and when an operator asks for them.
//!
//! Only recipients in domains of ours are written to, about what was kept back since the last letter; who has nothing new
//! gets none. A letter comes in by the same door as all mail: it is durable before it counts as sent, and signed where
//! there is a key. It comes from the null reverse-path and says that no program shall answer it (RFC 3834 §5), so that
//! nothing can come back. A recipient whose letter fails hears at the next time of what was missed. A crash between a letter and the
//! note of it repeats the letter; nothing goes untold.

mod gather;
mod letter;
mod marks;

use std::time::Duration;

use antispam::backscatter::message_id;
use bytes::Bytes;
use delivery::Resolution;
use mail::{Address, BodyType, ForwardPath, Notify, QueueId, ReversePath, Timestamp};
use policy::Addressed;
use store::{Hold, NewBody, Origin, OriginKind, StoreError};
use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::intake::{self, Intake, submission, trace};
use crate::judge::Judged;
use crate::maillog::Level;
use crate::metrics::Door;
use crate::services::{Current, Services};
use crate::session::body::ReceivedBody;
use crate::session::facts::ClientFacts;
use crate::session::transaction::{AcceptedRecipient, Transaction};

use super::{release, shown};
use gather::{Gathering, Kept};
use letter::{Letter, Line, Released};
use marks::Marks;
pub use marks::NAMESPACE;

/// Time between two looks at the clock.
const EVERY: Duration = Duration::from_secs(20);
/// Octets of memory for what is gathered in one walk through the queue.
const GATHERED_BYTES_MAX: usize = 16 << 20;

/// Asks for letters now. Clones share it.
#[derive(Debug, Clone)]
pub struct Teller(mpsc::Sender<Wish>);

/// Somebody waits for the number of letters.
type Wish = oneshot::Sender<Result<u64, StoreError>>;

/// What [`rounds`] wants.
pub type Wishes = mpsc::Receiver<Wish>;

impl Teller {
    /// A handle, and the other end of it.
    #[must_use]
    pub fn new() -> (Self, Wishes) {
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), receiver)
    }

    /// Has letters sent, whatever the time; gives their number.
    ///
    /// # Errors
    /// What the stores say.
    pub async fn tell(&self) -> Result<u64, StoreError> {
        let stopping = || StoreError::NotApplied("the server is stopping".to_owned());
        let (wish, answer) = oneshot::channel();
        self.0.send(wish).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }
}

/// Sends letters when their time has come and when somebody asks for them, one round after the other, until the future is
/// dropped.
pub async fn rounds(current: Current, mut wishes: Wishes) {
    let mut ticks = tokio::time::interval(EVERY);
    let mut told = false;
    loop {
        let wish = tokio::select! {
            _ = ticks.tick() => None,
            wish = wishes.recv() => match wish {
                Some(wish) => Some(wish),
                // Nobody is left who could ask.
                None => return,
            },
        };
        let services = current.get();
        let now = clock::now();
        let due = if wish.is_some() { Ok(true) } else { is_due(&services, now).await };
        let sent = match due {
            Ok(true) => send(&services, now).await,
            due => due.map(|_| 0),
        };
        match (wish, &sent) {
            // Who has asked hears of it.
            (Some(wish), _) => drop(wish.send(sent)),
            (None, Ok(_)) => told = false,
            (None, Err(error)) => tell_once(&services, &mut told, error),
        }
    }
}

fn tell_once(services: &Services, told: &mut bool, error: &StoreError) {
    if !std::mem::replace(told, true) {
        let text = format!("letters about quarantine have to wait: {error}");
        services.shared.log.notice(Level::Warning, &text);
    }
}

/// True when a time has come since the last letters; the first time is the one after this was switched on.
pub(super) async fn is_due(services: &Services, now: Timestamp) -> Result<bool, StoreError> {
    let Some(last) = services.config.antispam.quarantine.last_digest_time(now) else { return Ok(false) };
    let marks = Marks { state: &*services.shared.state, now };
    match marks.ran().await? {
        Some(ran) => Ok(last > ran),
        None => marks.set_ran().await.map(|()| false),
    }
}

/// Writes to everybody who has something new; gives the number of letters. One at a time: the caller sees to that.
///
/// # Errors
/// When the queue, or what judging remembers, cannot be read: then it has to be tried again.
pub async fn send(services: &Services, now: Timestamp) -> Result<u64, StoreError> {
    send_by(services, now, GATHERED_BYTES_MAX).await
}

/// The same, with so many octets of memory for what one walk through the queue gathers.
pub(super) async fn send_by(
    services: &Services,
    now: Timestamp,
    bytes_max: usize,
) -> Result<u64, StoreError> {
    let marks = Marks { state: &*services.shared.state, now };
    let began = marks.begin().await?;
    let gathering = Gathering { services, marks: &marks, began, bytes_max };
    let (mut letters, mut after) = (0, None);
    loop {
        let group = gathering.after(after.as_deref()).await?;
        for kept in group.all.values() {
            letters += u64::from(tell(services, kept, &marks).await?);
        }
        after = group.all.into_keys().next_back();
        if group.cut.is_none() {
            break;
        }
    }
    marks.set_ran().await?;
    Ok(letters)
}

/// Writes to one recipient, and remembers that. A letter that fails is a line in the log.
async fn tell(services: &Services, kept: &Kept, marks: &Marks<'_>) -> Result<bool, StoreError> {
    match write_to(services, kept, marks.now).await {
        Ok(false) => Ok(false),
        Ok(true) => {
            services.shared.metrics.quarantine_digest();
            let days = services.config.antispam.quarantine.days;
            marks.set(&kept.recipient, &kept.told(marks.now), days).await.map(|()| true)
        }
        Err(why) => {
            let text = format!("no letter about quarantine was sent to <{}>: {why}", kept.recipient);
            services.shared.log.notice(Level::Warning, &text);
            Ok(false)
        }
    }
}

/// Writes one letter. False when there is nothing new, or no more, or nobody of ours behind the address any more.
async fn write_to(services: &Services, kept: &Kept, now: Timestamp) -> Result<bool, String> {
    if kept.count == 0 {
        return Ok(false);
    }
    let finals = match services.router.follow(&ForwardPath::Mailbox(kept.recipient.clone())).await {
        Resolution::Local { recipients } => recipients,
        Resolution::Unavailable(why) => return Err(why),
        _ => return Ok(false),
    };
    // An alias may lead elsewhere by now: what is kept back here is nobody else's business.
    let finals: Vec<Address> =
        finals.into_iter().filter(|address| services.router.is_ours(&address.domain)).collect();
    if finals.is_empty() {
        return Ok(false);
    }
    let left_out = kept.count.saturating_sub(kept.newest.len());
    let mut lines = Vec::with_capacity(kept.newest.len());
    for (arrived, id) in kept.newest.iter().copied() {
        lines.extend(line(services, (arrived, id), &kept.recipient, now).await?);
    }
    if lines.is_empty() && left_out == 0 {
        return Ok(false);
    }
    let id = services.shared.ids.next();
    let made = message_id::make(&services.judge.marks().keys, id, &services.config.hostname);
    let text = Letter {
        from: &services.postmaster,
        to: &kept.recipient,
        hostname: services.config.hostname.as_str(),
        message_id: &made,
        now,
        days: services.config.antispam.quarantine.days,
        lines: &lines,
        left_out,
    }
    .text();
    put_into_queue(services, (id, kept.recipient.clone(), finals), text).await.map(|()| true)
}

/// A message that has gone in the meantime has no line. `Err` when that cannot be found out: it would never be told of.
async fn line(
    services: &Services,
    (arrived, id): (Timestamp, QueueId),
    recipient: &Address,
    now: Timestamp,
) -> Result<Option<Line>, String> {
    let store = &*services.shared.store;
    let entry = match store.get(id).await {
        Ok(entry) => entry,
        Err(StoreError::Absent | StoreError::Damaged(_)) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if entry.state.hold != Some(Hold::Quarantine) {
        return Ok(None);
    }
    let said = shown::said(store, id).await.unwrap_or_default();
    let told = shown::told(&entry);
    let from = if said.from.is_empty() { entry.record.reverse_path.to_string() } else { said.from };
    let score = told.map(|told| (told.score, told.required));
    let release = release::address(services, &entry, recipient, now);
    Ok(Some(Line { id, arrived, from: shown::one_line(&from), subject: said.subject, score, release }))
}

/// Tells a recipient that a message was released to it.
///
/// # Errors
/// Why it was not told.
pub async fn confirm(
    services: &Services,
    id: QueueId,
    recipient: &Address,
    now: Timestamp,
) -> Result<(), String> {
    let finals = match services.router.follow(&ForwardPath::Mailbox(recipient.clone())).await {
        Resolution::Local { recipients } => recipients,
        _ => return Ok(()),
    };
    let finals: Vec<Address> =
        finals.into_iter().filter(|address| services.router.is_ours(&address.domain)).collect();
    let own = services.shared.ids.next();
    let text = Released {
        from: &services.postmaster,
        to: recipient,
        hostname: services.config.hostname.as_str(),
        message_id: &message_id::make(&services.judge.marks().keys, own, &services.config.hostname),
        now,
        id,
    }
    .text();
    if finals.is_empty() {
        Ok(())
    } else {
        put_into_queue(services, (own, recipient.clone(), finals), text).await
    }
}

/// Takes the letter in as mail of our own.
async fn put_into_queue(
    services: &Services,
    (id, recipient, finals): (QueueId, Address, Vec<Address>),
    text: String,
) -> Result<(), String> {
    let facts = ClientFacts::new(Door::Local, None, true);
    let smtputf8 = !recipient.is_ascii();
    let transaction = Transaction {
        id,
        reverse_path: ReversePath::Null,
        tagged_sender: None,
        body_type: if text.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime },
        smtputf8,
        ret: None,
        envid: None,
        declared: None,
        recipients: vec![AcceptedRecipient {
            accepted_as: recipient,
            addressed: Addressed::Plainly,
            finals,
            notify: Notify::NEVER,
            original: None,
            releases: None,
        }],
    };
    let octets = Bytes::from(text);
    let mut body = ReceivedBody {
        bytes: octets.len() as u64,
        head: vec![octets.clone()],
        body: NewBody::Memory(vec![octets]),
        room: None,
    };
    let mut top = trace::received(services, &facts, &transaction, clock::now());
    if services.config.submission.sign {
        let head = Bytes::from(submission::header_of(&body));
        let signed = submission::sign(services, &head, &[], &mut body).await;
        top.extend(signed.map_err(|refusal| refusal.to_string())?.unwrap_or_default());
    }
    let origin = Origin::new(OriginKind::Report);
    let intake =
        Intake { transaction, origin, trace: top, edits: Vec::new(), body, judged: Judged::default() };
    let reply = intake::commit(services, &facts, intake).await;
    if reply.is_positive() { Ok(()) } else { Err(reply.to_string()) }
}
