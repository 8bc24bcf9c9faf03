//! Replies and enhanced status codes: the three digits, the three numbers, the words (RFC 5321 §4.2, RFC 3463).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An enhanced status code, `class.subject.detail` (RFC 3463 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnhancedStatus(pub u8, pub u16, pub u16);

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The text is not `d.ddd.ddd` with class 2, 4 or 5 (RFC 3463 §2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an enhanced status code")]
pub struct EnhancedStatusError;

impl FromStr for EnhancedStatus {
    type Err = EnhancedStatusError;
    fn from_str(text: &str) -> Result<Self, EnhancedStatusError> {
        let number = |part: Option<&str>| -> Result<u16, EnhancedStatusError> {
            let part = part.ok_or(EnhancedStatusError)?;
            let fine = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            if fine { part.parse().map_err(|_| EnhancedStatusError) } else { Err(EnhancedStatusError) }
        };
        let mut parts = text.split('.');
        let (class, subject, detail) = (number(parts.next())?, number(parts.next())?, number(parts.next())?);
        match (class, parts.next()) {
            (2 | 4 | 5, None) => {
                Ok(Self(u8::try_from(class).map_err(|_| EnhancedStatusError)?, subject, detail))
            }
            _ => Err(EnhancedStatusError),
        }
    }
}

impl TryFrom<String> for EnhancedStatus {
    type Error = EnhancedStatusError;
    fn try_from(text: String) -> Result<Self, EnhancedStatusError> {
        text.parse()
    }
}

impl From<EnhancedStatus> for String {
    fn from(status: EnhancedStatus) -> Self {
        status.to_string()
    }
}

/// One reply of a server, whole: all its lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Three digits, 200 to 599.
    pub code: u16,
    /// The enhanced code, where there is one (RFC 2034).
    pub enhanced: Option<EnhancedStatus>,
    /// The words; lines are parted by `\n`. Never with a control character else.
    pub text: Cow<'static, str>,
}

/// Longest line of words that is written; RFC 5321 §4.5.3.1.5 bounds a reply line at 512 octets.
const TEXT_BYTES_MAX: usize = 490;

impl Reply {
    /// A reply with an enhanced code.
    #[must_use]
    pub fn new(code: u16, enhanced: (u8, u16, u16), text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, enhanced: Some(EnhancedStatus(enhanced.0, enhanced.1, enhanced.2)), text: text.into() }
    }

    /// A reply without one: greeting, EHLO, 354, AUTH challenges (RFC 2034 §4).
    #[must_use]
    pub fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, enhanced: None, text: text.into() }
    }

    /// 2xx or 3xx.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// 4xx.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// 5xx.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// Writes the wire form: every line with its code, `-` on all but the last (RFC 5321 §4.2.1).
    ///
    /// Control characters become `?`, so that no text can forge a second reply; over-long lines are cut.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            out.extend_from_slice(self.code.to_string().as_bytes());
            out.push(if lines.peek().is_some() { b'-' } else { b' ' });
            if let Some(enhanced) = self.enhanced {
                out.extend_from_slice(format!("{enhanced} ").as_bytes());
            }
            let mut cut = line.len().min(TEXT_BYTES_MAX);
            while !line.is_char_boundary(cut) {
                cut -= 1;
            }
            let (line, _) = line.split_at(cut);
            out.extend(line.bytes().map(|b| if b.is_ascii_control() { b'?' } else { b }));
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// On one line, for logs and reports: `550 5.1.1 No such user`.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        write!(f, " {}", self.text.replace('\n', " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_written_line_by_line() {
        let mut out = Vec::new();
        Reply::new(550, (5, 1, 1), "no such user\nhere").write_to(&mut out);
        assert_eq!(out, b"550-5.1.1 no such user\r\n550 5.1.1 here\r\n");
    }

    #[test]
    fn no_text_can_forge_a_second_reply() {
        let mut out = Vec::new();
        Reply::plain(250, "a\r250 b\0").write_to(&mut out);
        assert_eq!(out, b"250 a?250 b?\r\n");
    }

    #[test]
    fn enhanced_codes_parse_and_print() {
        assert_eq!("5.1.1".parse(), Ok(EnhancedStatus(5, 1, 1)));
        for bad in ["3.1.1", "5.1", "5.1.1.1", "5..1", "5.1.1234", "x.1.1", "+5.1.1"] {
            assert!(bad.parse::<EnhancedStatus>().is_err(), "{bad}");
        }
    }
}
