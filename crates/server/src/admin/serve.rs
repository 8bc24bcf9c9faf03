//! The server's end of `admin.sock`.

mod greylist;
mod quarantine;
mod reputation;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail::{QueueId, Timestamp};
use store::{Edit, MessageRecord, Page, QueueEntry, StoredBody};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use antispam::correspondents::acquaintance::Claims;

use crate::judge::Wanted;

use super::control::{ControlError, QueueControl};
use super::filter::Filter;
use super::protocol::{LINE_BYTES_MAX, MessageView, Order, Request, Response, Select, State};

/// Clients served at once; further ones wait.
pub const CLIENTS_MAX: usize = 16;
/// A client that sends no request, or does not take an answer, for so long is cut off.
pub const REQUEST_SECONDS_MAX: u64 = 60;
/// Messages read from the store, or steered, at a time.
const PAGE: usize = 256;
/// Octets of a message sent in one line.
const PIECE_BYTES: usize = 48 << 10;

/// Why a connection ended before its time. Nobody is told: the client is gone.
enum Gone {
    Slow,
    Broken,
}

impl From<std::io::Error> for Gone {
    fn from(_: std::io::Error) -> Self {
        Self::Broken
    }
}

/// Serves until the future is dropped.
pub async fn serve(listener: UnixListener, control: Arc<dyn QueueControl>) {
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: wait for some to come back rather than spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let control = Arc::clone(&control);
        tokio::spawn(async move {
            drop(connection(stream, &*control).await);
            drop(place);
        });
    }
}

async fn connection(stream: UnixStream, control: &dyn QueueControl) -> Result<(), Gone> {
    let (read, write) = stream.into_split();
    let mut reader = BufReader::new(read);
    let mut out = Out { write, pending: Vec::new() };
    loop {
        let mut line = String::new();
        let mut limited = (&mut reader).take(LINE_BYTES_MAX as u64);
        let read = timeout(Duration::from_secs(REQUEST_SECONDS_MAX), limited.read_line(&mut line));
        if read.await.map_err(|_| Gone::Slow)?? == 0 {
            return Ok(());
        }
        let last = match serde_json::from_str::<Request>(&line) {
            Ok(request) => match answer(request, control, &mut out).await? {
                Ok(last) => last,
                Err(error) => Response::Error(error.to_string()),
            },
            Err(error) => Response::Error(format!("the request was not understood: {error}")),
        };
        out.put(&last).await?;
        out.flush().await?;
    }
}

/// The way back to the client: lines are collected and sent together.
struct Out {
    write: OwnedWriteHalf,
    pending: Vec<u8>,
}

impl Out {
    async fn put(&mut self, response: &Response) -> Result<(), Gone> {
        serde_json::to_writer(&mut self.pending, response).map_err(|_| Gone::Broken)?;
        self.pending.push(b'\n');
        if self.pending.len() >= PIECE_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        let write = self.write.write_all(&self.pending);
        timeout(Duration::from_secs(REQUEST_SECONDS_MAX), write).await.map_err(|_| Gone::Slow)??;
        self.pending.clear();
        Ok(())
    }
}

/// The outer result is the client's, the inner one the request's.
type Answered = Result<Result<Response, ControlError>, Gone>;

async fn answer(request: Request, control: &dyn QueueControl, out: &mut Out) -> Answered {
    match request {
        Request::List { filter, limit } => list(&filter, limit, control, out).await,
        Request::Show { id } => {
            let entry = match control.store().get(id).await {
                Ok(entry) => entry,
                Err(error) => return Ok(Err(error.into())),
            };
            out.put(&Response::Message(Box::new(view(&entry, control)))).await?;
            Ok(Ok(Response::Done { count: 1, more: false }))
        }
        Request::Cat { id } => cat(id, control, out).await,
        Request::Steer { order, select, only } => steer(order, select, only, control, out).await,
        Request::Fsck => match control.fsck().await {
            Ok(report) => {
                let count = report.checked;
                out.put(&Response::Fsck(report)).await?;
                Ok(Ok(Response::Done { count, more: false }))
            }
            Err(error) => Ok(Err(error)),
        },
        Request::Status => {
            out.put(&Response::Status(Box::new(control.status()))).await?;
            Ok(Ok(Response::Done { count: 1, more: false }))
        }
        Request::Reload => match control.reload().await {
            Ok(warnings) => {
                let count = u64::try_from(warnings.len()).unwrap_or(u64::MAX);
                for warning in warnings {
                    out.put(&Response::Warning(warning)).await?;
                }
                Ok(Ok(Response::Done { count, more: false }))
            }
            Err(error) => Ok(Err(error)),
        },
        Request::Explain { id, recipient, younger_than_seconds, limit } => {
            explain((id, recipient, younger_than_seconds), limit, control, out).await
        }
        Request::Erase { address } => {
            Ok(control.erase_verdicts(address).await.map(|count| Response::Done { count, more: false }))
        }
        Request::Dnsbl => dnsbl(control, out).await,
        Request::GreylistList { limit } => greylist::list(limit, control, out).await,
        Request::GreylistAllow { names } => greylist::allow(&names, control, out).await,
        Request::GreylistDelete { names } => greylist::delete(&names, control, out).await,
        Request::Reputation { names, limit } => reputation::list(&names, limit, control, out).await,
        Request::Acquaintance(claims) => acquaintance(&claims, control, out).await,
        Request::ReputationDelete { names } => reputation::delete(&names, control).await,
        Request::Backscatter => backscatter(control, out).await,
        Request::QuarantineList { filter, limit } => quarantine::list(filter, limit, control, out).await,
        Request::QuarantineShow { id } => quarantine::show(id, control, out).await,
        Request::QuarantineRelease { ids, recipient } => {
            quarantine::release(&ids, &recipient, control, out).await
        }
        Request::QuarantineDigest => {
            Ok(control.digest().await.map(|count| Response::Done { count, more: false }))
        }
        Request::Locks => locks(control, out).await,
        Request::Unlock { account } => {
            let unlocked = control.rates().unlock(&account, control.now()).await;
            Ok(unlocked.map(|was| Response::Done { count: u64::from(was), more: false }).map_err(Into::into))
        }
    }
}

async fn explain(
    (id, recipient, younger_than_seconds): (Option<QueueId>, Option<String>, Option<u64>),
    limit: u64,
    control: &dyn QueueControl,
    out: &mut Out,
) -> Answered {
    let since = younger_than_seconds
        .map_or(Timestamp(0), |age| Timestamp(control.now().0.saturating_sub(age.saturating_mul(1000))));
    let wanted = match (id, recipient) {
        (Some(id), _) => Wanted::Id(id.to_string()),
        (None, Some(recipient)) => Wanted::Recipient(recipient, since),
        (None, None) => Wanted::Since(since),
    };
    let (found, more) = match control.verdicts(wanted, usize::try_from(limit).unwrap_or(usize::MAX)).await {
        Ok(found) => found,
        Err(error) => return Ok(Err(error)),
    };
    let count = found.len() as u64;
    for (record, text) in found {
        out.put(&Response::Verdict { record: Box::new(record), text }).await?;
    }
    Ok(Ok(Response::Done { count, more }))
}

/// What is remembered of these claims, a line for each domain of ours.
async fn acquaintance(claims: &Claims, control: &dyn QueueControl, out: &mut Out) -> Answered {
    let told = match control.correspondents().tell(claims, control.now()).await {
        Ok(told) => told,
        Err(error) => return Ok(Err(error.into())),
    };
    let count = told.len() as u64;
    for one in told {
        out.put(&Response::Acquaintance(one)).await?;
    }
    Ok(Ok(Response::Done { count, more: false }))
}

async fn locks(control: &dyn QueueControl, out: &mut Out) -> Answered {
    let locks = control.rates().locks().all();
    let count = locks.len() as u64;
    for (account, lock) in locks {
        out.put(&Response::Locked { account, lock }).await?;
    }
    Ok(Ok(Response::Done { count, more: false }))
}

async fn dnsbl(control: &dyn QueueControl, out: &mut Out) -> Answered {
    let lists = control.dnsbl();
    let count = lists.len() as u64;
    for list in lists {
        out.put(&Response::Dnsbl(Box::new(list))).await?;
    }
    Ok(Ok(Response::Done { count, more: false }))
}

async fn backscatter(control: &dyn QueueControl, out: &mut Out) -> Answered {
    match control.backscatter().await {
        Ok(status) => {
            out.put(&Response::Backscatter(status)).await?;
            Ok(Ok(Response::Done { count: 1, more: false }))
        }
        Err(error) => Ok(Err(error)),
    }
}

fn view(entry: &QueueEntry, control: &dyn QueueControl) -> MessageView {
    MessageView::of(entry, control.is_active(entry.record.id), control.now())
}

/// Goes through the queue a page at a time.
struct Pages<'a> {
    control: &'a dyn QueueControl,
    after: Option<QueueId>,
    ended: bool,
}

impl<'a> Pages<'a> {
    fn of(control: &'a dyn QueueControl) -> Self {
        Self { control, after: None, ended: false }
    }

    /// The next page; none when the queue ends.
    async fn next(&mut self) -> Result<Option<Vec<(QueueEntry, MessageView)>>, ControlError> {
        if self.ended {
            return Ok(None);
        }
        let entries = self.control.store().list(Page { after: self.after, limit: PAGE }).await?;
        match entries.last() {
            Some(last) => self.after = Some(last.record.id),
            None => self.ended = true,
        }
        let viewed = |entry| {
            let view = view(&entry, self.control);
            (entry, view)
        };
        let views = entries.into_iter().map(viewed).collect();
        Ok(if self.ended { None } else { Some(views) })
    }
}

async fn list(filter: &Filter, limit: u64, control: &dyn QueueControl, out: &mut Out) -> Answered {
    let (mut pages, mut count) = (Pages::of(control), 0);
    loop {
        let page = match pages.next().await {
            Ok(Some(page)) => page,
            Ok(None) => return Ok(Ok(Response::Done { count, more: false })),
            Err(error) => return Ok(Err(error)),
        };
        for message in page.into_iter().map(|(_, view)| view).filter(|view| filter.lets_through(view)) {
            if limit != 0 && count >= limit {
                return Ok(Ok(Response::Done { count, more: true }));
            }
            out.put(&Response::Message(Box::new(message))).await?;
            count += 1;
        }
    }
}

async fn steer(
    order: Order,
    select: Select,
    only: Option<State>,
    control: &dyn QueueControl,
    out: &mut Out,
) -> Answered {
    let mut count = 0;
    match select {
        Select::Ids(ids) => {
            for ids in ids.chunks(PAGE) {
                let meant = match meant(ids, only, control, out).await? {
                    Ok(meant) => meant,
                    Err(error) => return Ok(Err(error)),
                };
                match steer_page(order, meant, true, control, out).await? {
                    Ok(done) => count += done,
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
        Select::Filter(mut filter) => {
            filter.state = only.or(filter.state);
            let mut pages = Pages::of(control);
            loop {
                let ids = match pages.next().await {
                    Ok(Some(page)) => {
                        let views = page.into_iter().map(|(_, view)| view);
                        views.filter(|view| filter.lets_through(view)).map(|view| view.id).collect()
                    }
                    Ok(None) => break,
                    Err(error) => return Ok(Err(error)),
                };
                match steer_page(order, ids, false, control, out).await? {
                    Ok(done) => count += done,
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
    }
    Ok(Ok(Response::Done { count, more: false }))
}

/// Those of the named messages that are in the state that was asked for; of the others it is said that they are not.
async fn meant(
    ids: &[QueueId],
    only: Option<State>,
    control: &dyn QueueControl,
    out: &mut Out,
) -> Result<Result<Vec<QueueId>, ControlError>, Gone> {
    let Some(only) = only else { return Ok(Ok(ids.to_vec())) };
    let mut meant = Vec::with_capacity(ids.len());
    for &id in ids {
        let why = match control.store().get(id).await {
            Ok(entry) if view(&entry, control).state == only => {
                meant.push(id);
                continue;
            }
            Ok(_) => not_in(only),
            Err(error) => error.into(),
        };
        out.put(&Response::Refused { id, why: why.to_string() }).await?;
    }
    Ok(Ok(meant))
}

/// A message is in another state than the one that was asked for.
fn not_in(state: State) -> ControlError {
    ControlError::Refused(match state {
        State::Quarantine => "the message is not in quarantine; see: staffetta queue show".to_owned(),
        other => format!("the message is not {}", other.name()),
    })
}

/// Steers some messages. One that has gone in the meantime is worth a word only when it was `named`.
async fn steer_page(
    order: Order,
    ids: Vec<QueueId>,
    named: bool,
    control: &dyn QueueControl,
    out: &mut Out,
) -> Result<Result<u64, ControlError>, Gone> {
    if ids.is_empty() {
        return Ok(Ok(0));
    }
    let results = match control.steer(order, ids.clone()).await {
        Ok(results) => results,
        Err(error) => return Ok(Err(error)),
    };
    let mut count = 0;
    for (id, result) in ids.into_iter().zip(results) {
        match result {
            Ok(()) => count += 1,
            Err(ControlError::Absent) if !named => {}
            Err(error) => out.put(&Response::Refused { id, why: error.to_string() }).await?,
        }
    }
    Ok(Ok(count))
}

async fn cat(id: QueueId, control: &dyn QueueControl, out: &mut Out) -> Answered {
    let entry = match control.store().get(id).await {
        Ok(entry) => entry,
        Err(error) => return Ok(Err(error.into())),
    };
    let body = match control.store().read_body(id).await {
        Ok(body) => body,
        Err(error) => return Ok(Err(error.into())),
    };
    out.put(&piece(&lines_on_top(&entry.record))).await?;
    match body {
        StoredBody::Memory(chunks) => {
            for part in chunks.iter().flat_map(|chunk| chunk.chunks(PIECE_BYTES)) {
                out.put(&piece(part)).await?;
            }
        }
        StoredBody::File { path, .. } => {
            let mut file = match tokio::fs::File::open(&path).await {
                Ok(file) => file,
                Err(error) => return Ok(Err(ControlError::Store(format!("{}: {error}", path.display())))),
            };
            let mut buffer = vec![0; PIECE_BYTES];
            loop {
                let read = match file.read(&mut buffer).await {
                    Ok(0) => break,
                    Ok(read) => read,
                    Err(error) => {
                        return Ok(Err(ControlError::Store(format!("{}: {error}", path.display()))));
                    }
                };
                out.put(&piece(buffer.get(..read).unwrap_or_default())).await?;
            }
        }
    }
    Ok(Ok(Response::Done { count: 1, more: false }))
}

fn piece(bytes: &[u8]) -> Response {
    Response::Bytes(BASE64.encode(bytes))
}

/// What stands above the message as received: our trace, and lines put before the header. Lines that are removed or
/// appended at delivery are left as they are: this shows what is stored.
fn lines_on_top(record: &MessageRecord) -> Vec<u8> {
    let mut lines = record.trace.clone();
    for edit in &record.edits {
        if let Edit::Prepend(line) = edit {
            lines.extend_from_slice(line);
        }
    }
    lines
}
