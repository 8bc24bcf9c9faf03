//! Messages of other systems as this one reads them: one kind of line end, no mailbox separator, nesting within bounds.
//!
//! For reading only: what is stored and passed on is never changed. Nothing here can fail; what lies behind a bound is
//! not looked at.

/// Content-Type fields that are looked at, and so how deep a message can be nested.
const CONTENT_TYPES_MAX: usize = 200;

/// The first `bytes_max` octets, with line feeds alone as line ends: reports with those of other systems are common.
///
/// Cut where it would be nested too deep, because parsers hold one message inside the other.
#[must_use]
pub(crate) fn normalised(message: &[u8], bytes_max: usize) -> Vec<u8> {
    let message = message.get(..bytes_max).unwrap_or(message);
    let mut out = Vec::with_capacity(message.len());
    if message.contains(&b'\r') {
        let mut previous = 0;
        for &octet in message {
            match (previous, octet) {
                (b'\r', b'\n') => {}
                (_, b'\r') => out.push(b'\n'),
                _ => out.push(octet),
            }
            previous = octet;
        }
    } else {
        out.extend_from_slice(message);
    }
    // The line that parts messages in a mailbox file is no field, and some hand it on.
    let parted = out.starts_with(b"From ").then(|| out.iter().position(|octet| *octet == b'\n'));
    out.drain(..parted.flatten().map_or(0, |newline| newline + 1));
    out.truncate(shallow(&out).len());
    out
}

/// As much of a message as is not nested too deep for a parser that holds one message inside the other.
pub(crate) fn shallow(message: &[u8]) -> &[u8] {
    let deepest = positions(message, b"content-type").nth(CONTENT_TYPES_MAX);
    message.get(..deepest.unwrap_or(message.len())).unwrap_or(message)
}

/// Where `word`, which is in lower case, stands in `text`, in any case.
pub(crate) fn positions<'a>(text: &'a [u8], word: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let first = word.first().copied().unwrap_or_default();
    let windows = text.windows(word.len()).enumerate();
    windows
        .filter(move |(_, window)| window.first().is_some_and(|octet| octet.to_ascii_lowercase() == first))
        .filter(move |(_, window)| window.eq_ignore_ascii_case(word))
        .map(|(at, _)| at)
}
