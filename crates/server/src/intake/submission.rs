//! What a message of our own users gets, and must fulfil: the From rule, Date, Message-ID, a DKIM signature.
//!
//! RFC 6409 §8 allows a submission server to complete what is missing; it never changes what is there. The From rule
//! (every mailbox in From: and Sender: belongs to the account) is certain knowledge, and decides alone.

use std::io;

use antispam::backscatter::message_id;
use bytes::Bytes;
use delivery::Resolution;
use mail::{Address, Domain, ForwardPath, Reply, ReversePath, header};
use mail_parser::MessageParser;
use store::{BodyEditor, Edit, NewBody};

use crate::clock;
use crate::maillog::Level;
use crate::services::Services;
use crate::session::body::ReceivedBody;
use crate::session::facts::ClientFacts;

const DAY_SECONDS: u64 = 86_400;

/// The header of a received message in one piece.
#[must_use]
pub fn header_of(body: &ReceivedBody) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in &body.head {
        out.extend_from_slice(chunk);
        // The empty line may lie across two chunks: ask the whole each time only when there are several.
        let end = header::body_offset(&out);
        if end < out.len() {
            out.truncate(end);
            break;
        }
    }
    out
}

/// `Err` with the refusal when a From: or Sender: mailbox is not the account's.
///
/// # Errors
/// The reply to speak: `550 5.7.1`, or 451 when a look-up failed.
pub async fn check_identity(services: &Services, facts: &ClientFacts, head: &[u8]) -> Result<(), Box<Reply>> {
    let refuse = |text: String| Err(Box::new(Reply::new(550, (5, 7, 1), text)));
    let mut named_from = false;
    // Every From: and Sender: field counts, also a second one that RFC 5322 §3.6 forbids: some reader would show it.
    for field in header::fields(head).filter(|field| field.is("From") || field.is("Sender")) {
        named_from |= field.is("From");
        let Some(mailboxes) = mailboxes(field.raw()) else {
            return refuse(format!("The {}: field cannot be read", field.name()));
        };
        for mailbox in mailboxes {
            let theirs = match Address::parse(&mailbox) {
                Ok(address) => owns(services, facts, &address).await?,
                Err(_) => false,
            };
            if !theirs {
                return refuse(format!("<{mailbox}> in {}: is not an address of yours", field.name()));
            }
        }
    }
    if named_from { Ok(()) } else { refuse("The message has no From: field (RFC 5322 section 3.6)".into()) }
}

/// True when the account or local user may send as this address: its own, one that an alias of ours leads to it, or one
/// that was granted.
///
/// # Errors
/// The reply to speak, 451, when a table could not be asked: that is no proof that the address is somebody else's (I9).
pub async fn owns(services: &Services, facts: &ClientFacts, address: &Address) -> Result<bool, Box<Reply>> {
    let Some(account) = &facts.account else {
        return Ok(facts.local_user.as_ref().is_none_or(|user| services.senders.may_send_as(user, address)));
    };
    // Nearly always: no table need be asked.
    if services.accounts.may_send_as(account, address, &[]) {
        return Ok(true);
    }
    match services.router.follow(&ForwardPath::Mailbox(address.clone())).await {
        Resolution::Local { recipients } => Ok(services.accounts.may_send_as(account, address, &recipients)),
        Resolution::Unavailable(why) => {
            services.shared.log.notice(Level::Warning, &format!("{address} could not be looked up: {why}"));
            let words = "The sender could not be looked up, try again later";
            Err(Box::new(Reply::new(451, (4, 3, 0), words)))
        }
        _ => Ok(false),
    }
}

/// The addresses of one raw From: or Sender: field; none when it cannot be read or holds none.
fn mailboxes(raw: &[u8]) -> Option<Vec<String>> {
    let mut text = raw.to_vec();
    text.extend_from_slice(b"\r\n");
    let parsed = MessageParser::new().parse_headers(&text)?;
    let list = parsed.from().or_else(|| parsed.sender())?;
    let found: Option<Vec<String>> = list.iter().map(|a| a.address().map(str::to_owned)).collect();
    found.filter(|all| !all.is_empty())
}

/// Date: and Message-ID:, where a header lacks them (RFC 6409 §8.1, §8.3).
#[must_use]
pub fn missing(services: &Services, id: mail::QueueId, head: &[u8]) -> Vec<Edit> {
    let mut lines = Vec::new();
    if header::find(head, "Date").is_none() {
        lines.extend_from_slice(format!("Date: {}\r\n", clock::now().rfc5322()).as_bytes());
    }
    if header::find(head, "Message-ID").is_none() {
        let made = message_id::make(&services.judge.marks().keys, id, &services.config.hostname);
        lines.extend_from_slice(format!("Message-ID: <{made}>\r\n").as_bytes());
    }
    if lines.is_empty() { Vec::new() } else { vec![Edit::Prepend(lines)] }
}

/// Remembers the Message-ID that a sender of ours has chosen, so that a report about the message is known for one.
///
/// `head` is the header as received, `edits` its changes. Reports go to the reverse-path: where that is in no domain of ours,
/// none can come here and nothing is remembered. Waits for nothing.
pub fn remember(services: &Services, sender: &ReversePath, head: &Bytes, edits: &[Edit]) {
    if !sender.mailbox().is_some_and(|sender| services.router.is_ours(&sender.domain)) {
        return;
    }
    let marks = services.judge.marks();
    let fields = store::edited(head, edits).concat();
    let Some(field) = header::find(&fields, "Message-ID") else { return };
    let text = field.text();
    let id = text.trim().trim_start_matches('<').trim_end_matches('>');
    let hash = message_id::remembered(&marks.keys, id);
    services.shared.sent.note(hash, marks.days * DAY_SECONDS, clock::now());
}

/// Signs for the domain of From:, when there is a key for it. `head` is the header as received, `edits` all its changes: a
/// change that came later would break the signature. Hashing runs on the blocking pool.
///
/// A message that cannot be signed goes unsigned, with a line in the log: DKIM failures are no reason to hold up mail.
///
/// # Errors
/// The reply to speak, 451, when the body got lost on the way: it must not be stored without.
pub async fn sign(
    services: &Services,
    head: &Bytes,
    edits: &[Edit],
    body: &mut ReceivedBody,
) -> Result<Option<Vec<u8>>, Box<Reply>> {
    let Some(keys) = services.dkim.clone() else { return Ok(None) };
    // Signed is what will be delivered.
    let fields = store::edited(head, edits).concat();
    let Some(domain) = author_domain(&fields).filter(|domain| keys.can_sign(domain)) else { return Ok(None) };
    let (from, editor) = (head.len(), BodyEditor::new(head.len() as u64..body.bytes, edits));
    // Lent to the pool and given back: the body may be a file that only this one knows.
    let lent = std::mem::replace(&mut body.body, NewBody::Memory(Vec::new()));
    let work = tokio::task::spawn_blocking(move || {
        let signed = match &lent {
            NewBody::Memory(chunks) => {
                keys.sign(&domain, &fields, edited(from, editor, chunks.iter().cloned().map(Ok)))
            }
            NewBody::File(file) => keys.sign(&domain, &fields, edited(from, editor, file.pieces())),
        };
        (lent, signed)
    });
    // Signing does not panic; were it to, the message is refused for now rather than stored without its body.
    let (lent, signed) = work.await.map_err(|panic| {
        services.shared.log.notice(Level::Error, &format!("signing a message failed: {panic}"));
        Box::new(Reply::new(451, (4, 3, 0), "The message could not be signed, try again later"))
    })?;
    body.body = lent;
    Ok(signed.unwrap_or_else(|error| {
        services.shared.log.notice(Level::Warning, &format!("a message was not signed: {error}"));
        None
    }))
}

/// The domain of the first mailbox in From:.
fn author_domain(head: &[u8]) -> Option<Domain> {
    let from = header::find(head, "From").and_then(|field| mailboxes(field.raw()))?;
    Some(Address::parse(from.first()?).ok()?.domain)
}

/// The body as it will be delivered: the chunks without their first `skip` octets, which are the header and signed apart,
/// and with their edits.
fn edited(
    mut skip: usize,
    mut editor: BodyEditor,
    chunks: impl Iterator<Item = io::Result<Bytes>>,
) -> impl Iterator<Item = io::Result<Bytes>> {
    // Behind the last chunk comes what is put behind it.
    chunks.map(Some).chain(std::iter::once(None)).flat_map(move |chunk| match chunk {
        Some(Ok(mut chunk)) => {
            let cut = skip.min(chunk.len());
            skip -= cut;
            bytes::Buf::advance(&mut chunk, cut);
            editor.feed(chunk).into_iter().map(Ok).collect()
        }
        Some(Err(error)) => vec![Err(error)],
        None => editor.finish().into_iter().map(Ok).collect::<Vec<_>>(),
    })
}
