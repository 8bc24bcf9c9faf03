//! What a message says of itself, for people to look at: decoded (RFC 2047), on one line, short, and without anything that
//! steers a terminal or turns the direction of writing.

use bytes::Bytes;
use mail::QueueId;
use mail::header;
use mail_parser::MessageParser;
use policy::headers::Told;
use store::{QueueEntry, QueueStore, RecipientState, StoreError};

use crate::stored;

/// Octets of a message that are read for its header.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Characters of a subject or a name that are shown.
const CHARS_MAX: usize = 120;

/// Who has written a message, and about what, by its own account; empty where it does not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// The first mailbox in From.
    pub from: String,
    /// The subject.
    pub subject: String,
}

/// What a stored message says of itself.
///
/// # Errors
/// What the store says when it cannot be read.
pub async fn said(store: &dyn QueueStore, id: QueueId) -> Result<Said, StoreError> {
    Ok(said_in(&stored::beginning(store, id, HEAD_BYTES_MAX).await?))
}

fn said_in(message: &[u8]) -> Said {
    let head = Bytes::copy_from_slice(message.get(..header::body_offset(message)).unwrap_or(message));
    let Some(parsed) = MessageParser::new().parse_headers(&head) else { return Said::default() };
    let from = parsed.from().and_then(|from| from.first()).map(|mailbox| {
        match (mailbox.name(), mailbox.address()) {
            (Some(name), Some(address)) => format!("{} <{address}>", one_line(name)),
            (name, address) => address.or(name).unwrap_or_default().to_owned(),
        }
    });
    Said {
        from: one_line(&from.unwrap_or_default()),
        subject: one_line(parsed.subject().unwrap_or_default()),
    }
}

/// The verdict that a copy in quarantine carries; none when it carries none.
#[must_use]
pub fn told(entry: &QueueEntry) -> Option<Told> {
    let recipients = entry.record.recipients.iter().zip(&entry.state.recipients);
    let mut pending = recipients.filter(|(_, status)| status.state == RecipientState::Pending);
    pending.find_map(|(recipient, _)| Told::of(&recipient.header_lines))
}

/// Anybody's words on one line, at most 120 characters of them.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut words = String::new();
    let mut left = CHARS_MAX;
    for c in text.chars().filter(|c| !steers(*c)).map(|c| if c.is_whitespace() { ' ' } else { c }) {
        if c == ' ' && (words.is_empty() || words.ends_with(' ')) {
            continue;
        }
        if left == 0 {
            words.push('…');
            break;
        }
        words.push(c);
        left -= 1;
    }
    words.truncate(words.trim_end().len());
    words
}

/// Control characters, and those that are not seen or turn the direction of writing.
fn steers(c: char) -> bool {
    let unseen = matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    (c.is_control() && !c.is_whitespace()) || unseen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_decoded_short_and_harmless() {
        let said = said_in(
            b"From: =?utf-8?q?J=C3=B6rg=1B=5B31m?= <joerg@a.test>, b@b.test\r\n\
              Subject: =?utf-8?b?R2V0IHJpY2gK4oCubW9jLmx0?=\r\n  at\tonce \r\n\r\nSubject: not this\r\n",
        );
        assert_eq!(said.from, "Jörg[31m <joerg@a.test>");
        assert_eq!(said.subject, "Get rich moc.lt at once");
        assert_eq!(said_in(b"\r\nFrom: a@a.test\r\n"), Said::default());
        let nobody = said_in(b"From: undisclosed\r\n\r\n");
        assert!(!nobody.from.contains('<'), "{nobody:?}");
        let long = one_line(&"ä ".repeat(500));
        assert_eq!(long.chars().count(), CHARS_MAX + 1, "{long}");
        assert!(long.ends_with('…'));
    }
}
