//! A peer's replies, cut out of the bytes as they come (RFC 5321 §4.2, RFC 2034).
//!
//! Tolerant where peers are sloppy: bare LF ends a line, text and the space before it may be missing, the lines of one
//! reply may differ in code (the last one counts). Not tolerant of what is no reply at all, or has no end. What stands
//! behind a reply stays for the next question, so that an early 421 is not lost.

use bytes::BytesMut;
use mail::{EnhancedStatus, Reply};

/// Bytes from a peer, not yet read as replies.
#[derive(Debug)]
pub(crate) struct ReplyBuffer {
    pub(crate) bytes: BytesMut,
    /// The lines of a reply that is not complete.
    text: String,
    enhanced: Option<EnhancedStatus>,
    lines: usize,
    size: usize,
    bytes_max: usize,
}

/// What the peer said was no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReplyError {
    #[error("the peer's answer is no reply: {0:?}")]
    Malformed(String),
    #[error("the peer's reply is too long")]
    TooLong,
}

impl ReplyBuffer {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes: BytesMut::new(), text: String::new(), enhanced: None, lines: 0, size: 0, bytes_max }
    }

    /// True when nothing is there that was not asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.lines == 0
    }

    /// The next whole reply, if it is there.
    pub(crate) fn next(&mut self) -> Result<Option<Reply>, ReplyError> {
        while let Some(end) = memchr::memchr(b'\n', &self.bytes) {
            let line = self.bytes.split_to(end + 1);
            self.size += line.len();
            if self.size > self.bytes_max {
                return Err(ReplyError::TooLong);
            }
            if let Some(code) = self.take_line(&line)? {
                return Ok(Some(self.finish(code)));
            }
        }
        if self.size + self.bytes.len() > self.bytes_max {
            return Err(ReplyError::TooLong);
        }
        Ok(None)
    }

    /// Adds a line; gives the code when it was the reply's last.
    fn take_line(&mut self, line: &[u8]) -> Result<Option<u16>, ReplyError> {
        let line = line.trim_ascii_end();
        let malformed = || ReplyError::Malformed(excerpt(line));
        let (digits, rest) = line.split_at_checked(3).ok_or_else(malformed)?;
        // RFC 5321 §4.2.1: the first digit is 2 to 5.
        let fine = digits.iter().all(u8::is_ascii_digit) && matches!(digits.first(), Some(b'2'..=b'5'));
        let (text, last) = match rest.split_first() {
            None => (rest, true),
            Some((b' ' | b'\t', text)) => (text, true),
            Some((b'-', text)) => (text, false),
            Some(_) => return Err(malformed()),
        };
        if !fine {
            return Err(malformed());
        }
        let code = digits.iter().fold(0u16, |code, digit| code * 10 + u16::from(digit - b'0'));
        if self.lines > 0 {
            self.text.push('\n');
        }
        self.lines += 1;
        let text = String::from_utf8_lossy(text);
        let (enhanced, words) = enhanced_code(code, &text);
        self.enhanced = enhanced.or(self.enhanced);
        self.text.extend(words.chars().map(|c| if c.is_control() { '?' } else { c }));
        Ok(last.then_some(code))
    }

    fn finish(&mut self, code: u16) -> Reply {
        (self.lines, self.size) = (0, 0);
        Reply { code, enhanced: self.enhanced.take(), text: std::mem::take(&mut self.text).into() }
    }
}

/// RFC 2034 §4: the enhanced code is the first word, and its class is that of the reply.
fn enhanced_code(code: u16, text: &str) -> (Option<EnhancedStatus>, &str) {
    if code / 100 == 3 || text.as_bytes().get(1).is_none_or(|dot| *dot != b'.') {
        return (None, text);
    }
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match word.parse::<EnhancedStatus>() {
        Ok(status) if u16::from(status.0) == code / 100 => (Some(status), rest),
        _ => (None, text),
    }
}

/// The start of what was no reply, fit for a log.
fn excerpt(line: &[u8]) -> String {
    String::from_utf8_lossy(line.get(..80).unwrap_or(line)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8], step: usize) -> Result<Vec<Reply>, ReplyError> {
        let mut buffer = ReplyBuffer::new(1000);
        let mut replies = Vec::new();
        for chunk in input.chunks(step) {
            buffer.bytes.extend_from_slice(chunk);
            while let Some(reply) = buffer.next()? {
                replies.push(reply);
            }
        }
        Ok(replies)
    }

    #[test]
    fn replies_are_the_same_however_they_arrive() {
        let input = b"250-mx.test hello\r\n250-SIZE 1000\r\n250 HELP\r\n250 2.1.0 ok\r\n550-5.1.1 no\r\n550 5.1.1 such user\r\n";
        let want = [
            Reply::plain(250, "mx.test hello\nSIZE 1000\nHELP"),
            Reply::new(250, (2, 1, 0), "ok"),
            Reply::new(550, (5, 1, 1), "no\nsuch user"),
        ];
        for step in [1, 2, 5, 1000] {
            assert_eq!(all(input, step).unwrap(), want, "in steps of {step}");
        }
    }

    #[test]
    fn sloppy_replies_are_understood() {
        for (input, want) in [
            (&b"250\r\n"[..], Reply::plain(250, "")),
            (b"250 ok\n", Reply::plain(250, "ok")),
            (b"250-\r\n250 \r\n", Reply::plain(250, "\n")),
            (b"250-a\r\n550 b\r\n", Reply::plain(550, "a\nb")),
            (b"250\tok\r\n", Reply::plain(250, "ok")),
            (b"421 4.3.2\r\n", Reply::new(421, (4, 3, 2), "")),
            (b"250 5.1.1 class differs\r\n", Reply::plain(250, "5.1.1 class differs")),
            (b"354 3.0.0 go\r\n", Reply::plain(354, "3.0.0 go")),
            (b"250 a\0b\xff\r\n", Reply::plain(250, "a?b\u{fffd}")),
        ] {
            assert_eq!(all(input, 1).unwrap(), [want], "{}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for input in [
            &b"hello\r\n"[..],
            b"\r\n",
            b"25\r\n",
            b"250ok\r\n",
            b"150 x\r\n",
            b"650 x\r\n",
            b"HTTP/1.1 400\r\n",
        ] {
            assert!(
                matches!(all(input, 1), Err(ReplyError::Malformed(_))),
                "{}",
                String::from_utf8_lossy(input)
            );
        }
        let endless = [&b"250 "[..], &[b'x'; 2000]].concat();
        assert_eq!(all(&endless, 100), Err(ReplyError::TooLong));
        assert_eq!(all(&b"250-x\r\n".repeat(200), 7), Err(ReplyError::TooLong));
    }

    #[test]
    fn what_follows_a_reply_stays() {
        let mut buffer = ReplyBuffer::new(1000);
        buffer.bytes.extend_from_slice(b"250 ok\r\n421 bye\r\n");
        assert_eq!(buffer.next().unwrap().unwrap().code, 250);
        assert!(!buffer.is_empty());
        assert_eq!(buffer.next().unwrap().unwrap().code, 421);
        assert!(buffer.is_empty());
    }
}
