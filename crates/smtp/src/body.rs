//! The message on the wire: end of data, dots, newlines, bounds; in chunks as it streams, never as a whole.
//!
//! DATA ends at exactly CRLF.CRLF (RFC 5321 §4.1.1.4); BDAT ends by count (RFC 3030 §2); both give the same bytes. A bare
//! CR or LF is refused or mended, by the caller's choice, and is the end of data in neither case (RFC 5321 §2.3.8), so
//! that no message can hide a second one. A refusal is remembered, the rest is thrown away, and the true end still found.
//!
//! Runs of text are found with vector instructions (memchr) and copied once.

mod header;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

use crate::dialogue::BodyAbort;
use crate::settings::Settings;
use header::HeaderScan;

/// Bytes are handed out in pieces of about this size, so that a slow peer's message is not a thousand small writes.
const CHUNK_BYTES: usize = 16_384;

/// Where in a line the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// After CRLF or at the very start, where a dot counts.
    LineStart,
    /// After a dot at the start of a line.
    Dot,
    /// After a dot and CR at the start of a line.
    DotCr,
    /// Anywhere else.
    Text,
    /// After a CR that is not handed out yet.
    Cr,
}

/// What one call has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that belong to the message.
    pub consumed: usize,
    /// The end of data was among them.
    pub ended: bool,
}

/// Reads one message.
#[derive(Debug)]
pub struct BodyReader {
    at: At,
    /// Bare CR and LF are mended; else the message is refused.
    mend: bool,
    bounds: Bounds,
    out: BytesMut,
    /// Bytes handed out or waiting in `out`.
    bytes: u64,
    /// Bytes of the present line so far.
    line_bytes: usize,
    header: HeaderScan,
    eight_bit: bool,
    bare_newlines: bool,
    refused: Option<BodyAbort>,
    /// Bytes read after the refusal.
    thrown_away: u64,
}

/// The bounds that a message is read under.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    message_bytes: u64,
    line_bytes: usize,
    header_bytes: usize,
    received_lines: usize,
}

impl BodyReader {
    /// A reader for one message; `mend` tells whether bare newlines are mended instead of refused.
    #[must_use]
    pub fn new(settings: &Settings, mend: bool) -> Self {
        Self {
            at: At::LineStart,
            mend,
            bounds: Bounds {
                message_bytes: settings.message_bytes_max,
                line_bytes: settings.text_line_bytes_max,
                header_bytes: settings.header_bytes_max,
                received_lines: settings.received_lines_max,
            },
            out: BytesMut::new(),
            bytes: 0,
            line_bytes: 0,
            header: HeaderScan::default(),
            eight_bit: false,
            bare_newlines: false,
            refused: None,
            thrown_away: 0,
        }
    }

    /// Reads what comes after DATA: dots are unstuffed, CRLF.CRLF ends.
    pub fn read_data(&mut self, input: &[u8]) -> Progress {
        self.out.reserve(if self.refused.is_none() { input.len() + 2 } else { 0 });
        let mut next = 0;
        while let Some(&byte) = input.get(next) {
            match self.at {
                At::LineStart if byte == b'.' => {
                    self.at = At::Dot;
                    next += 1;
                }
                At::Dot if byte == b'\r' => {
                    self.at = At::DotCr;
                    next += 1;
                }
                // RFC 5321 §4.5.2: a line of a dot alone ends the message.
                At::DotCr if byte == b'\n' => {
                    self.at = At::LineStart;
                    return self.progress(next + 1, true);
                }
                // RFC 5321 §4.5.2: of a longer line the first dot is taken away.
                At::Dot => self.at = At::Text,
                At::DotCr => self.at = At::Cr,
                _ => next = self.lines(input, next, true),
            }
        }
        self.progress(next, false)
    }

    /// Reads `input`, all of which is part of a BDAT chunk.
    pub fn read_chunk(&mut self, input: &[u8]) {
        self.out.reserve(if self.refused.is_none() { input.len() + 2 } else { 0 });
        let mut next = 0;
        while next < input.len() {
            next = self.lines(input, next, false);
        }
        self.progress(next, false);
    }

    /// The last BDAT chunk is complete: a CR that waited is bare, and a last line without CRLF gets it, as DATA would
    /// have had it (RFC 3030 §4.2 leaves that to the receiver).
    pub fn end_chunks(&mut self) {
        if self.at == At::Cr {
            self.bare_cr();
        }
        // A bare LF that was mended has ended its line, though no dot counts behind it.
        if self.at != At::LineStart && self.line_bytes > 0 {
            self.emit(b"\r\n");
        }
        self.at = At::LineStart;
    }

    /// Reads from `from` to the next line start with a dot (where dots count), or to the end of the input.
    fn lines(&mut self, input: &[u8], from: usize, dots: bool) -> usize {
        let (mut run, mut next) = (from, from);
        if self.at == At::Cr {
            if input.get(next) == Some(&b'\n') {
                self.emit(b"\r\n");
                self.end_line();
                self.at = At::LineStart;
                return next + 1;
            }
            self.bare_cr();
        }
        if self.at == At::LineStart {
            self.at = At::Text;
        }
        loop {
            let rest = input.get(next..).unwrap_or_default();
            let Some(found) = memchr2(b'\r', b'\n', rest) else {
                self.line_bytes += rest.len();
                self.emit_from(input, run, input.len());
                return input.len();
            };
            self.line_bytes += found;
            next += found;
            match (input.get(next), input.get(next + 1)) {
                (Some(b'\r'), Some(b'\n')) => {
                    next += 2;
                    self.end_line();
                    if dots && input.get(next) == Some(&b'.') {
                        self.at = At::LineStart;
                        self.emit_from(input, run, next);
                        return next;
                    }
                    if next == input.len() {
                        self.at = At::LineStart;
                    }
                }
                // What follows the CR is not known yet, or it is bare: both are settled at the next call.
                (Some(b'\r'), _) => {
                    self.emit_from(input, run, next);
                    self.at = At::Cr;
                    return next + 1;
                }
                _ => {
                    self.emit_from(input, run, next);
                    self.bare_lf();
                    next += 1;
                    run = next;
                }
            }
        }
    }

    /// RFC 5321 §2.3.8: CR and LF only together. A lone LF was meant as a line end.
    fn bare_lf(&mut self) {
        self.bare_newlines = true;
        if self.mend {
            self.emit(b"\r\n");
        } else {
            self.refuse(BodyAbort::BareNewline);
        }
        self.end_line();
    }

    /// A lone CR was meant as nothing: a blank takes its place, so that no line end appears where there was none.
    fn bare_cr(&mut self) {
        self.bare_newlines = true;
        self.at = At::Text;
        self.line_bytes += 1;
        if self.mend {
            self.emit(b" ");
        } else {
            self.refuse(BodyAbort::BareNewline);
        }
    }

    fn end_line(&mut self) {
        self.check_line();
        self.line_bytes = 0;
    }

    /// RFC 5321 §4.5.3.1.6.
    fn check_line(&mut self) {
        if self.line_bytes > self.bounds.line_bytes {
            self.refuse(BodyAbort::LineTooLong);
        }
    }

    fn emit_from(&mut self, input: &[u8], from: usize, to: usize) {
        self.emit(input.get(from..to).unwrap_or_default());
    }

    fn emit(&mut self, run: &[u8]) {
        self.check_line();
        if self.refused.is_some() || run.is_empty() {
            return;
        }
        self.bytes += run.len() as u64;
        self.eight_bit = self.eight_bit || !run.is_ascii();
        self.header.read(run);
        self.out.extend_from_slice(run);
        if self.bytes > self.bounds.message_bytes {
            self.refuse(BodyAbort::TooLarge);
        } else if self.header.bytes() > self.bounds.header_bytes as u64 {
            self.refuse(BodyAbort::HeaderTooLarge);
        } else if self.header.received_lines() > self.bounds.received_lines {
            self.refuse(BodyAbort::Loop);
        }
    }

    /// The first reason to refuse is kept; nothing more is handed out.
    pub(crate) fn refuse(&mut self, why: BodyAbort) {
        if self.refused.is_none() {
            self.refused = Some(why);
            self.out = BytesMut::new();
        }
    }

    fn progress(&mut self, consumed: usize, ended: bool) -> Progress {
        if self.refused.is_some() {
            self.thrown_away += consumed as u64;
        }
        Progress { consumed, ended }
    }

    /// What is ready to be handed out: all of it at the end, else only pieces worth handing out.
    pub fn take(&mut self, ended: bool) -> Option<Bytes> {
        let ready = !self.out.is_empty() && (ended || self.out.len() >= CHUNK_BYTES);
        ready.then(|| self.out.split().freeze())
    }

    /// Why the message is refused, if it is.
    #[must_use]
    pub fn refused(&self) -> Option<BodyAbort> {
        self.refused
    }

    /// Bytes read since it was refused.
    pub(crate) fn thrown_away(&self) -> u64 {
        self.thrown_away
    }

    /// Length of the message so far, as handed out.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Length of the header so far, with its empty line.
    #[must_use]
    pub fn header_bytes(&self) -> u64 {
        self.header.bytes()
    }

    /// Received fields so far.
    #[must_use]
    pub fn received_lines(&self) -> usize {
        self.header.received_lines()
    }

    /// A byte above 127 was seen.
    #[must_use]
    pub fn eight_bit(&self) -> bool {
        self.eight_bit
    }

    /// A bare CR or LF was seen.
    #[must_use]
    pub fn bare_newlines(&self) -> bool {
        self.bare_newlines
    }
}

#[cfg(test)]
mod tests;
