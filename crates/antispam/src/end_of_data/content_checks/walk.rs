//! Header fields and body lines of a message in their order, each told what it is: header_checks(5).
//!
//! A field comes whole, its lines joined by line feeds as they were folded, white space before its colon left out, cut
//! after [`Limits::header_bytes_max`]. Fields of the message's own header, of its MIME parts, and of attached messages are
//! told apart, but for those that MIME defines, which are MIME's wherever they stand. A body line comes with its place in
//! its part. The first line that is no field ends a header.
//!
//! RFC 5322 §2.1, RFC 2045, RFC 2046 §5.1. Nothing is decoded. Nothing can fail but reading.

use std::io::{self, BufRead};
use std::ops::{ControlFlow, Range};

use super::content_type::{self, Kind};
use super::lines::{Lines, Piece};

/// Bounds of what is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Longest field, in octets; a line that begins before it is still taken.
    pub header_bytes_max: usize,
    /// Boundaries that are known at once.
    pub depth_max: usize,
}

/// Which header a field belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// The message's own.
    Primary,
    /// A MIME part's, or defined by MIME.
    Mime,
    /// An attached message's.
    Nested,
}

/// A header field.
#[derive(Debug)]
pub(super) struct Field<'a> {
    /// Whose.
    pub class: Class,
    /// The field on one line, folded lines joined by line feeds.
    pub text: &'a [u8],
    /// Which field of the message's own header it is, from 0; none inside of the body.
    pub number: Option<u32>,
    /// Its octets in the message, the end of its last line among them.
    pub span: Range<u64>,
}

/// A line of a body, or a piece of one.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// Its octets, without its end.
    pub text: &'a [u8],
    /// How many octets of its part came before.
    pub offset: u64,
    /// Its octets in the message, its end among them.
    pub span: Range<u64>,
}

/// Who looks.
pub(super) trait Visitor {
    /// A field.
    fn field(&mut self, field: &Field<'_>) -> ControlFlow<()>;
    /// A line of a body, or a piece of one. Empty lines are not shown.
    fn line(&mut self, line: &Line<'_>) -> ControlFlow<()>;
    /// The message's own header has ended: break when the rest does not matter.
    fn header_end(&mut self) -> ControlFlow<()>;
}

/// Fields that MIME defines (RFC 2045 §3).
const MIME_FIELDS: [&str; 6] = [
    "Content-Description",
    "Content-Disposition",
    "Content-ID",
    "Content-Transfer-Encoding",
    "Content-Type",
    "MIME-Version",
];

/// Shows a message to a visitor, to its end or until the visitor breaks off.
///
/// # Errors
/// The message cannot be read.
pub(super) fn walk(reader: impl BufRead, limits: Limits, visitor: &mut impl Visitor) -> io::Result<()> {
    let mut lines = Lines::new(reader);
    let mut walker = Walker::new(limits);
    let mut begins = true;
    while let Some(piece) = lines.next()? {
        if walker.piece(piece, begins, visitor).is_break() {
            return Ok(());
        }
        begins = piece.is_last;
    }
    if walker.flush(visitor).is_continue() && walker.state == State::Header(Class::Primary) {
        let _ = visitor.header_end();
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header(Class),
    Body,
}

/// A boundary that may come.
#[derive(Debug)]
struct Boundary {
    text: Vec<u8>,
    digest: bool,
}

#[derive(Debug)]
struct Walker {
    limits: Limits,
    state: State,
    /// The field that is being joined; empty between fields.
    field: Vec<u8>,
    /// What the header that is being read says of its body.
    kind: Kind,
    /// From the outermost.
    boundaries: Vec<Boundary>,
    offset: u64,
    fields: u32,
    /// Octets of the message before the piece that is looked at.
    at: u64,
    /// Where the field that is being joined begins in the message.
    field_at: u64,
}

impl Walker {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Header(Class::Primary),
            field: Vec::new(),
            kind: Kind::Leaf,
            boundaries: Vec::new(),
            offset: 0,
            fields: 0,
            at: 0,
            field_at: 0,
        }
    }

    /// One piece of a line; `begins`: it is the first.
    fn piece(&mut self, piece: Piece<'_>, begins: bool, visitor: &mut impl Visitor) -> ControlFlow<()> {
        let end = self.at + piece.octets as u64;
        let flow = self.shown(piece.text, self.at..end, begins, visitor);
        self.at = end;
        flow
    }

    fn shown(
        &mut self,
        text: &[u8],
        span: Range<u64>,
        begins: bool,
        visitor: &mut impl Visitor,
    ) -> ControlFlow<()> {
        if let State::Header(class) = self.state {
            if !self.field.is_empty() {
                if !begins {
                    self.extend(&[text]);
                    return ControlFlow::Continue(());
                }
                if text.starts_with(b" ") || text.starts_with(b"\t") {
                    self.extend(&[b"\n", text]);
                    return ControlFlow::Continue(());
                }
                self.flush(visitor)?;
            }
            if let Some((name, rest)) = field_start(text) {
                self.field_at = span.start;
                self.field.extend_from_slice(name);
                self.field.extend_from_slice(rest);
                return ControlFlow::Continue(());
            }
            self.end_header(class, text, visitor)?;
        }
        if begins && text.starts_with(b"--") && text.len() > 2 {
            self.boundary(text.get(2..).unwrap_or_default());
        }
        let offset = self.offset;
        self.offset += text.len() as u64 + 1;
        if text.is_empty() { ControlFlow::Continue(()) } else { visitor.line(&Line { text, offset, span }) }
    }

    fn extend(&mut self, pieces: &[&[u8]]) {
        if self.field.len() < self.limits.header_bytes_max {
            pieces.iter().for_each(|piece| self.field.extend_from_slice(piece));
        }
    }

    /// Shows the field that has been joined.
    fn flush(&mut self, visitor: &mut impl Visitor) -> ControlFlow<()> {
        let State::Header(block) = self.state else { return ControlFlow::Continue(()) };
        if self.field.is_empty() {
            return ControlFlow::Continue(());
        }
        let name_end = self.field.iter().position(|b| *b == b':').unwrap_or(self.field.len());
        let (name, value) = self.field.split_at(name_end);
        if name.eq_ignore_ascii_case(b"Content-Type") {
            self.kind = content_type::parse(value.get(1..).unwrap_or_default());
        }
        let is_mime = MIME_FIELDS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        let number = (block == Class::Primary).then_some(self.fields);
        if number.is_some() {
            self.fields = self.fields.saturating_add(1);
        }
        let class = if is_mime { Class::Mime } else { block };
        let text = std::mem::take(&mut self.field);
        let flow = visitor.field(&Field { class, text: &text, number, span: self.field_at..self.at });
        self.push_boundaries();
        self.field = text;
        self.field.clear();
        flow
    }

    fn push_boundaries(&mut self) {
        if let Kind::Multipart { boundaries, digest } = &mut self.kind {
            for text in boundaries.drain(..) {
                if self.boundaries.len() < self.limits.depth_max {
                    self.boundaries.push(Boundary { text, digest: *digest });
                }
            }
        }
    }

    /// A line that is no field: the header has ended.
    fn end_header(&mut self, class: Class, line: &[u8], visitor: &mut impl Visitor) -> ControlFlow<()> {
        if class == Class::Primary {
            visitor.header_end()?;
        }
        let kind = std::mem::replace(&mut self.kind, Kind::Leaf);
        if line.is_empty() {
            self.offset = 0;
            self.state = if kind == Kind::Message { State::Header(Class::Nested) } else { State::Body };
        } else {
            // As if an empty line stood before it.
            self.offset += u64::from(class == Class::Primary);
            self.state = State::Body;
        }
        ControlFlow::Continue(())
    }

    /// A line that begins with two dashes; what follows them.
    fn boundary(&mut self, text: &[u8]) {
        let Some(place) = self.boundaries.iter().rposition(|known| text.starts_with(&known.text)) else {
            return;
        };
        self.boundaries.truncate(place + 1);
        let Some(known) = self.boundaries.last() else { return };
        let closes = text.get(known.text.len()..).is_some_and(|rest| rest.starts_with(b"--"));
        self.kind = if known.digest && !closes { Kind::Message } else { Kind::Leaf };
        if closes {
            self.boundaries.pop();
            self.state = State::Body;
        } else {
            self.state = State::Header(Class::Mime);
        }
    }
}

/// Name, and all from the colon on, when a field begins here. White space before the colon is left out (RFC 5322 §4.5).
fn field_start(line: &[u8]) -> Option<(&[u8], &[u8])> {
    // RFC 5322 §2.2: a field name is printable US-ASCII except colon.
    let name_end = line.iter().position(|b| !b.is_ascii_graphic() || *b == b':').filter(|end| *end > 0)?;
    let (name, rest) = line.split_at(name_end);
    let blank = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let rest = rest.get(blank..)?;
    rest.starts_with(b":").then_some((name, rest))
}

#[cfg(test)]
mod tests;
