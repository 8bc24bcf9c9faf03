//! Content assembly: the message as it leaves us, from the bytes as received and what is kept beside them.
//!
//! From the top: `Return-Path:` and `Delivered-To:` (final delivery only, RFC 5321 §4.4), our trace lines, the header lines
//! of this recipient, then the header as received with its edits, then the body. Header and body are shared slices; only
//! the lines that are put on top are copied. A body is changed where stored edits say so. Nothing here parses MIME or folds
//! a line. The only failure is a body file that cannot be read.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mail::{Address, ReversePath, header};
use store::edits::{BodyPiece, body_pieces, edited, without_field};
use store::{Edit, MessageRecord, StoredBody};

/// Octets that are read from a body file at once.
pub const BLOCK_BYTES: usize = 128 * 1024;

/// Longest header that is looked into, in octets; what a longer one holds below this is passed on as it is. The session
/// bounds what comes in far lower.
const HEADER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A message as received, opened once for all its recipients.
#[derive(Debug, Clone)]
pub struct Source {
    /// The fields, without the empty line.
    header: Bytes,
    /// From the empty line on, in memory.
    rest: Vec<Bytes>,
    /// What follows those, in a file.
    tail: Option<FileTail>,
    /// There are fields and text but no empty line between them.
    gap: bool,
}

/// The part of a body that stays in its file, with what edits put between its stretches.
#[derive(Debug, Clone)]
pub struct FileTail {
    file: Arc<File>,
    /// Each with where it begins in this tail. Never empty ones.
    pieces: Arc<[(u64, BodyPiece)]>,
    len: u64,
}

/// What is put on top for one recipient, or for several that share it.
#[derive(Debug, Clone, Copy)]
pub struct Top<'a> {
    /// Written as `Return-Path:`: final delivery.
    pub return_path: Option<&'a ReversePath>,
    /// Written as `Delivered-To:`.
    pub delivered_to: Option<&'a Address>,
    /// The recipient's own header lines.
    pub header_lines: &'a [u8],
}

/// A message as it leaves us.
#[derive(Debug, Clone)]
pub struct Content {
    /// Header and, unless it is in a file, body. Empty parts do not occur.
    parts: Vec<Bytes>,
    tail: Option<FileTail>,
    size: u64,
}

impl Source {
    /// Opens a body. Reads a file's header, so it may block: call it on a thread that may, or with bytes in memory.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(body: &StoredBody) -> io::Result<Self> {
        match body {
            StoredBody::Memory(chunks) => Ok(Self::from_memory(chunks)),
            StoredBody::File { path, size } => Self::from_file(path, *size),
        }
    }

    fn from_memory(chunks: &[Bytes]) -> Self {
        let mut chunks = chunks.iter();
        let mut top = chunks.next().cloned().unwrap_or_default();
        // The header runs on into later chunks: join them, looking again only when the size has doubled.
        while !header_is_whole(&top) && top.len() < HEADER_BYTES_MAX {
            let mut joined = BytesMut::from(top.as_ref());
            let goal = top.len() * 2;
            let before = joined.len();
            while joined.len() <= goal {
                let Some(chunk) = chunks.next() else { break };
                joined.extend_from_slice(chunk);
            }
            if joined.len() == before {
                break;
            }
            top = joined.freeze();
        }
        let (header, first, gap) = split(&top);
        let rest = std::iter::once(first).chain(chunks.cloned()).filter(|part| !part.is_empty()).collect();
        Self { header, rest, tail: None, gap }
    }

    fn from_file(path: &PathBuf, size: u64) -> io::Result<Self> {
        let file = Arc::new(File::open(path)?);
        let mut top = BytesMut::new();
        loop {
            let block = read_block(&file, top.len() as u64, BLOCK_BYTES.max(top.len()))?;
            top.extend_from_slice(&block);
            if block.is_empty() || header_is_whole(&top) || top.len() >= HEADER_BYTES_MAX {
                break;
            }
        }
        let (header, first, gap) = split(&top.freeze());
        let offset = (header.len() + first.len()) as u64;
        let tail = (size > offset).then(|| FileTail::new(file, vec![BodyPiece::Received(offset..size)]));
        Ok(Self { header, rest: if first.is_empty() { Vec::new() } else { vec![first] }, tail, gap })
    }

    /// Makes the edits of the body, once for all recipients; those of the header are made with each copy.
    pub fn edit_body(&mut self, edits: &[Edit]) {
        if !edits.iter().any(|edit| matches!(edit, Edit::Body { .. })) {
            return;
        }
        let begins = self.header.len() as u64;
        let in_memory: usize = self.rest.iter().map(Bytes::len).sum();
        let end = begins + in_memory as u64;
        let size = end + self.tail.as_ref().map_or(0, FileTail::len);
        let (mut rest, mut filed) = (Vec::new(), Vec::new());
        for piece in body_pieces(begins..size, edits) {
            match piece {
                BodyPiece::New(bytes) if filed.is_empty() => rest.push(bytes),
                BodyPiece::New(bytes) => filed.push(BodyPiece::New(bytes)),
                BodyPiece::Received(range) => {
                    rest.extend(stretch(&self.rest, begins, range.start..range.end.min(end)));
                    if range.end > end {
                        filed.push(BodyPiece::Received(range.start.max(end)..range.end));
                    }
                }
            }
        }
        self.rest = rest;
        let tail = self.tail.take().map(|tail| FileTail::new(tail.file, filed));
        self.tail = tail.filter(|tail| !tail.is_empty());
    }

    /// The header as received, without the empty line.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// True when a `Delivered-To:` field names this address: it has been here before, and goes in a circle.
    #[must_use]
    pub fn was_delivered_to(&self, address: &Address) -> bool {
        header::fields(&self.header).filter(|field| field.is("Delivered-To")).any(|field| {
            Address::parse(field.text().trim()).is_ok_and(|seen| seen.lookup_key() == address.lookup_key())
        })
    }

    /// True when the part that is in a file has an octet above 127; reads it through.
    pub async fn tail_has_eight_bit(&self) -> bool {
        let Some(tail) = &self.tail else { return false };
        let mut at = 0;
        while at < tail.len() {
            match tail.read_async(at).await {
                Ok(block) if block.is_ascii() => at += block.len() as u64,
                Ok(_) => return true,
                // The transaction will meet the same trouble and say so.
                Err(_) => return false,
            }
        }
        false
    }

    /// Puts a message together.
    #[must_use]
    pub fn assemble(&self, record: &MessageRecord, top: &Top<'_>) -> Content {
        let mut parts = Vec::with_capacity(4 + self.rest.len());
        parts.push(on_top(record, top));
        let mut fields = edited(&self.header, &record.edits);
        if top.return_path.is_some() {
            // RFC 5321 §4.4: final delivery may remove a Return-Path that is there already, before it adds its own.
            fields = without_field(&fields, "Return-Path");
        }
        parts.extend(fields);
        if self.gap {
            // RFC 5322 §2.1: an empty line parts header and body; without it our fields would end at a stray line.
            parts.push(Bytes::from_static(b"\r\n"));
        }
        parts.extend(self.rest.iter().cloned());
        parts.retain(|part| !part.is_empty());
        let in_memory: usize = parts.iter().map(Bytes::len).sum();
        let size = in_memory as u64 + self.tail.as_ref().map_or(0, |tail| tail.len);
        Content { parts, tail: self.tail.clone(), size }
    }
}

/// True when the line that ends the header is there to its end: what follows cannot change where that is.
fn header_is_whole(top: &[u8]) -> bool {
    top.get(header::fields_end(top)..).is_some_and(|rest| memchr::memchr(b'\n', rest).is_some())
}

/// These octets of a message, of whose chunks the first one begins at `begins`.
fn stretch(chunks: &[Bytes], begins: u64, range: Range<u64>) -> Vec<Bytes> {
    let mut at = begins;
    let part = |chunk: &Bytes| {
        let from = at;
        at += chunk.len() as u64;
        let [first, last] = [range.start, range.end]
            .map(|end| usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX).min(chunk.len()));
        (first < last).then(|| chunk.slice(first..last))
    };
    chunks.iter().filter_map(part).collect()
}

/// Header, what follows it, and whether an empty line is wanting between them.
fn split(top: &Bytes) -> (Bytes, Bytes, bool) {
    let end = header::fields_end(top).min(top.len());
    let first = top.slice(end..);
    let gap = !first.is_empty() && !first.starts_with(b"\r\n") && !first.starts_with(b"\n");
    (top.slice(..end), first, gap)
}

fn on_top(record: &MessageRecord, top: &Top<'_>) -> Bytes {
    let mut lines = Vec::with_capacity(record.trace.len() + top.header_lines.len() + 256);
    if let Some(path) = top.return_path {
        lines.extend_from_slice(format!("Return-Path: <{path}>\r\n").as_bytes());
    }
    if let Some(address) = top.delivered_to {
        lines.extend_from_slice(format!("Delivered-To: {address}\r\n").as_bytes());
    }
    lines.extend_from_slice(&record.trace);
    lines.extend_from_slice(top.header_lines);
    Bytes::from(lines)
}

impl Content {
    /// Octets in all.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What is in memory, in order; [`Self::tail`] follows.
    #[must_use]
    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// What is in a file, behind the parts.
    #[must_use]
    pub fn tail(&self) -> Option<&FileTail> {
        self.tail.as_ref()
    }

    /// True when what is in memory has an octet above 127.
    #[must_use]
    pub fn has_eight_bit(&self) -> bool {
        self.parts.iter().any(|part| !part.is_ascii())
    }
}

impl FileTail {
    fn new(file: Arc<File>, pieces: Vec<BodyPiece>) -> Self {
        let mut len = 0;
        let placed = pieces.into_iter().map(|piece| {
            let begins = len;
            len += match &piece {
                BodyPiece::Received(range) => range.end.saturating_sub(range.start),
                BodyPiece::New(bytes) => bytes.len() as u64,
            };
            (begins, piece)
        });
        let pieces = placed.collect();
        Self { file, pieces, len }
    }

    /// Octets in all.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True when nothing is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads up to [`BLOCK_BYTES`] from `at`; blocks. Empty at the end.
    ///
    /// # Errors
    /// The file cannot be read, or is shorter than it was.
    pub fn read(&self, at: u64) -> io::Result<Bytes> {
        let from = self.pieces.partition_point(|(begins, _)| *begins <= at).saturating_sub(1);
        let pieces = self.pieces.get(from..).unwrap_or_default();
        let mut block = BytesMut::new();
        for (begins, piece) in pieces {
            let room = BLOCK_BYTES - block.len();
            // Only the first one is begun in its middle.
            let skip = at.saturating_sub(*begins);
            if room == 0 || at >= self.len {
                break;
            }
            let part = match piece {
                BodyPiece::New(bytes) => {
                    let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
                    bytes.slice(skip..bytes.len().min(skip.saturating_add(room)))
                }
                BodyPiece::Received(range) => {
                    let from = range.start + skip;
                    let left = usize::try_from(range.end.saturating_sub(from)).unwrap_or(usize::MAX);
                    self.received(from, left.min(room))?
                }
            };
            if block.is_empty() && part.len() == room {
                return Ok(part);
            }
            block.extend_from_slice(&part);
        }
        Ok(block.freeze())
    }

    fn received(&self, from: u64, octets: usize) -> io::Result<Bytes> {
        let part = read_block(&self.file, from, octets)?;
        if part.len() == octets {
            return Ok(part);
        }
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the body file is shorter than recorded"))
    }

    /// The same on a thread that may block.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_async(&self, at: u64) -> io::Result<Bytes> {
        let tail = self.clone();
        tokio::task::spawn_blocking(move || tail.read(at)).await.map_err(io::Error::other)?
    }
}

fn read_block(file: &File, at: u64, len: usize) -> io::Result<Bytes> {
    let mut block = vec![0; len];
    let mut filled = 0;
    while let Some(space) = block.get_mut(filled..).filter(|space| !space.is_empty()) {
        match file.read_at(space, at + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    block.truncate(filled);
    Ok(Bytes::from(block))
}

#[cfg(test)]
mod tests;
